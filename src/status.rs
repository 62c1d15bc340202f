//! How an API stands with its authorization server: for readiness probes and dashboards.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    breaker::BreakerState,
    clock::Clock,
    error::{AuthError, AuthErrorKind, UpstreamFault},
};

/// What failed last, and when on the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<Option<(AuthErrorKind, Duration)>>);

impl Failures {
    /// Takes note of a failure that is ours or the authorization server's; what callers do wrong, or may have caused, is
    /// none. A pause or a full queue is no failure either: they follow from one, and would hide which.
    pub(crate) fn note(&self, error: &AuthError, clock: &dyn Clock) {
        use UpstreamFault::{Paused, Saturated};

        let kind = error.kind();
        let follows = matches!(kind, AuthErrorKind::Upstream(Paused | Saturated));
        if error.is_failure_for_certain() && !follows {
            *self.lock() = Some((kind, clock.monotonic()));
        }
    }

    pub(crate) fn last(&self, clock: &dyn Clock) -> Option<LastError> {
        let last = *self.lock();
        last.map(|(kind, at)| LastError { kind, ago: clock.monotonic().saturating_sub(at) })
    }

    fn lock(&self) -> MutexGuard<'_, Option<(AuthErrorKind, Duration)>> {
        // Nothing panics while it holds the lock; should it ever, the value is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot; see [`ProtectApi::status`](crate::ProtectApi::status). Taking it makes no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether the metadata is known. It is fetched with the first token, so a server that has seen none does not
    /// know it yet.
    pub metadata_known: bool,
    /// Whether the key set is known, where JWTs are validated locally; it is fetched with the first JWT.
    pub keys_known: bool,
    /// Whether introspection is paused, because the authorization server failed repeatedly.
    pub introspection: Introspecting,
    /// Introspections under way, over all workers.
    pub calls_in_flight: usize,
    /// The most that were ever under way at once.
    pub most_calls_in_flight: usize,
    /// Requests that wait for their turn to introspect.
    pub calls_waiting: usize,
    /// Verdicts in the in-memory cache, those included whose time is over and whose place is not needed yet.
    pub cached_verdicts: usize,
    /// What went wrong last at the authorization server or with our configuration: what a request was answered 503 or 500
    /// for, or why metadata or keys could not be fetched again, also while the last good ones still serve. A later one
    /// takes its place; a success does not erase it: [`ago`](LastError::ago) tells whether it still matters. What a single
    /// odd token may have caused (a 4xx here, a 400 or 413 of the authorization server) is not in here.
    pub last_error: Option<LastError>,
}

/// The last failure; see [`Status::last_error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastError {
    /// [`Upstream`](AuthErrorKind::Upstream) or [`Misconfigured`](AuthErrorKind::Misconfigured), with the reason. While
    /// introspection is paused, the reason is mostly the failure that led to the pause.
    pub kind: AuthErrorKind,
    /// How long ago it was.
    pub ago: Duration,
}

/// What the circuit breaker of introspection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Introspecting {
    /// There are no client credentials: nothing is introspected.
    Off,
    /// Calls go through.
    Calling,
    /// Calls are answered 503 at once, for some seconds.
    Paused,
    /// One call is under way to find out whether the others may follow.
    Probing,
}

impl From<BreakerState> for Introspecting {
    fn from(state: BreakerState) -> Self {
        match state {
            BreakerState::Closed => Self::Calling,
            BreakerState::Open => Self::Paused,
            BreakerState::HalfOpen => Self::Probing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::SystemClock,
        error::{SetupFault, TokenFault},
    };

    #[test]
    fn the_last_failure_stays_until_the_next_and_callers_faults_and_pauses_are_none() {
        let (failures, clock) = (Failures::default(), SystemClock::new());
        let kind = || failures.last(&clock).map(|last| last.kind);
        for error in [
            AuthError::new(AuthErrorKind::MissingToken),
            AuthError::token(TokenFault::Signature),
            AuthError::new(AuthErrorKind::InsufficientScope),
            AuthError::upstream(UpstreamFault::Paused),
        ] {
            failures.note(&error, &clock);
            assert_eq!(kind(), None, "{error}");
        }
        for error in [AuthError::upstream(UpstreamFault::TimedOut), AuthError::setup(SetupFault::Refused)] {
            failures.note(&error, &clock);
            failures.note(&AuthError::upstream(UpstreamFault::Paused), &clock);
            assert_eq!(kind(), Some(error.kind()));
        }
    }
}
