//! The periodic validation of the token of a lease.

use std::{
    hash::{BuildHasher as _, RandomState},
    rc::Rc,
    time::Duration,
};

use super::{Entry, Grant, LeaseEnd, worker};
use crate::{bearer::BearerToken, protect_api::state::State, telemetry::Denial, validator::ValidToken};

/// The limits of the time between a failed validation and the next one.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The state of the re-validation of one lease.
pub(super) struct Recheck {
    token: BearerToken,
    /// The number of revocation records when the present verdict was requested.
    pub(super) requested_at: u64,
    /// The time of the last successful validation, on the monotonic clock of the configuration.
    confirmed: Duration,
    /// The time of the next validation; `None` while it runs.
    pub(super) next: Option<Duration>,
}

impl Recheck {
    pub(super) fn new(state: &State, token: &BearerToken, valid: &ValidToken) -> Self {
        Self {
            token: token.detached(),
            requested_at: valid.claims.record_memo().requested_at(),
            confirmed: state.clock.monotonic(),
            next: None,
        }
    }
}

/// Returns a random time between three quarters of this time and this time, so that leases that start together are not
/// validated together.
pub(super) fn with_jitter(time: Duration) -> Duration {
    let random = u32::try_from(RandomState::new().hash_one(()) % 256).unwrap_or(0);
    time.saturating_sub(time / 1024 * random)
}

/// Validates the token of a lease and applies the result.
pub(super) async fn run(entry: Rc<Entry>) {
    let Some(token) = entry.with_recheck(|recheck| recheck.token.clone()) else { return };
    let outcome = entry.validate(&token).await;
    // The lease may have been renewed, or dropped, in the meantime.
    let is_current = entry.with_recheck(|recheck| recheck.token.as_str() == token.as_str());
    if is_current == Some(true) {
        apply(&entry, &token, outcome);
    }
}

fn apply(entry: &Rc<Entry>, token: &BearerToken, outcome: Result<ValidToken, Denial>) {
    let end = match outcome {
        // An expired verdict is as good as none: it was used because the authorization server is unavailable.
        Ok(valid) if valid.is_expired_verdict() => None,
        Ok(valid) => {
            let grant = Grant::new(&entry.state, token, &valid);
            worker::replace(entry, || entry.replace(grant, token, &valid));
            return;
        }
        Err(denial) => LeaseEnd::from_error(denial.error.kind()),
    };
    if let Some(end) = end.or_else(|| is_overdue(entry).then_some(LeaseEnd::Unavailable)) {
        worker::end(entry, end);
        return;
    }
    let interval = entry.interval().unwrap_or(LONGEST_RETRY);
    let retry = (interval / 4).clamp(SHORTEST_RETRY, LONGEST_RETRY).min(interval);
    worker::schedule(entry, with_jitter(retry));
}

/// Returns whether the token has not been validated for longer than the keys may be stale.
fn is_overdue(entry: &Entry) -> bool {
    let confirmed = entry.with_recheck(|recheck| recheck.confirmed).unwrap_or_default();
    let since = entry.state.clock.monotonic().saturating_sub(confirmed);
    since > entry.state.settings.tuning.max_stale
}
