//! The state of the metadata, the keys and introspection, for readiness probes and dashboards.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    clock::Clock,
    error::{AuthError, AuthErrorKind, SetupFault, UpstreamFault},
};

/// The last failure, until a later success of the same kind of call.
#[derive(Debug, Default)]
pub(crate) struct LastFailure(Mutex<Option<Failure>>);

#[derive(Clone, Copy, Debug)]
struct Failure {
    kind: AuthErrorKind,
    /// The kind of call whose success ends the failure: [`ANY`] or [`NONE`] if it is not one.
    call: &'static str,
    /// The time on the monotonic clock.
    at: Duration,
}

/// The success of each kind of call ends the failure.
const ANY: &str = "any";
/// No success ends the failure.
const NONE: &str = "none";

/// Returns the kind of call whose success ends a failure that a request reports.
fn call_of(kind: AuthErrorKind) -> &'static str {
    use SetupFault::{
        Credentials, Endpoint, InsecureEndpoint, Issuer, NotMounted, Refused, RevocationIssuer,
    };

    match kind {
        AuthErrorKind::Upstream(UpstreamFault::NoKeys) => "key_set",
        AuthErrorKind::Misconfigured(Issuer | Endpoint | InsecureEndpoint) => "metadata",
        AuthErrorKind::Misconfigured(Refused | Credentials) => "introspection",
        AuthErrorKind::Misconfigured(NotMounted | RevocationIssuer) => NONE,
        _ => ANY,
    }
}

impl LastFailure {
    /// Records a failure of the authorization server or of the setup, of a call or of a request. Ignores failures that
    /// a caller caused or may have caused. Also ignores an open circuit breaker and a full queue: they follow from
    /// another failure and would hide it.
    pub(crate) fn note(&self, call: Option<&'static str>, error: &AuthError, clock: &dyn Clock) {
        use UpstreamFault::{Paused, Saturated};

        let kind = error.kind();
        let follows = matches!(kind, AuthErrorKind::Upstream(Paused | Saturated));
        if !error.is_server_fault() || follows {
            return;
        }
        let (at, mut last) = (clock.monotonic(), self.lock());
        // The call of the request has reported the same failure with its kind.
        let known = last.filter(|known| call.is_none() && known.kind == kind);
        let call = call.or_else(|| known.map(|known| known.call)).unwrap_or_else(|| call_of(kind));
        *last = Some(Failure { kind, call, at });
    }

    /// Removes the failure, if it is of this kind of call. A call that started before the failure does not show that
    /// the failure is over.
    pub(crate) fn end(&self, call: &'static str, started: Duration) {
        let mut last = self.lock();
        let is_over = |failure: Failure| [call, ANY].contains(&failure.call) && failure.at <= started;
        if last.is_some_and(is_over) {
            *last = None;
        }
    }

    pub(crate) fn last(&self, clock: &dyn Clock) -> Option<LastError> {
        let last = *self.lock();
        last.map(|Failure { kind, at, .. }| LastError { kind, ago: clock.monotonic().saturating_sub(at) })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        // No code panics while it holds the lock. Even after a panic the value would be valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A snapshot; see [`ProtectApi::status`](crate::ProtectApi::status). Taking it makes no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether the metadata is known. It is fetched for the first token, so it is not known before.
    pub metadata_known: bool,
    /// Whether the key set is known. It is fetched for the first JWT, if keys are published.
    pub keys_known: bool,
    /// The state of introspection.
    pub introspection: IntrospectionState,
    /// Introspection calls in flight, over all workers.
    pub calls_in_flight: usize,
    /// The highest number of introspection calls in flight so far.
    pub most_calls_in_flight: usize,
    /// Requests that wait for a free call, for the call of another request with the same token, or for a fetch of
    /// metadata or keys that another request has started. A request that waits for a call or fetch that it started
    /// is not counted.
    pub calls_waiting: usize,
    /// Verdicts in the in-memory cache. Expired verdicts are included until their memory is needed.
    pub cached_verdicts: usize,
    /// Whether the revocations in the shared store are read.
    pub shared_store: SharedStoreState,
    /// The last failure of the authorization server or of the setup: the reason of a 503 or 500, or of a failed
    /// refresh of metadata or keys, even while the last good ones are still used. The next failure replaces it. The
    /// next success of the same kind of call (metadata, keys, or introspection) removes it, if that call started after
    /// the failure. [`ago`](LastError::ago) is its age. Failures that a single token may have caused (a 4xx, or a
    /// 400 or 413 of the authorization server) are not recorded.
    pub last_error: Option<LastError>,
}

/// The last failure; see [`Status::last_error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastError {
    /// [`Upstream`](AuthErrorKind::Upstream) or [`Misconfigured`](AuthErrorKind::Misconfigured), with the reason.
    /// While introspection is paused, usually the failure that caused the pause.
    pub kind: AuthErrorKind,
    /// The time since the failure.
    pub ago: Duration,
}

/// The state of the [shared store](crate::ProtectApiBuilder::shared_store).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedStoreState {
    /// No shared store is configured.
    Off,
    /// All revocations were read, not longer than [`blind_for`](crate::ProtectApiBuilder::blind_for) ago.
    Reading,
    /// The revocations are not read. Cached verdicts are used for at most
    /// [`blind_for`](crate::ProtectApiBuilder::blind_for).
    Blind,
}

/// The state of introspection and its circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IntrospectionState {
    /// No client credentials are configured, so no token is introspected.
    Off,
    /// Calls are made.
    Calling,
    /// The circuit breaker is open: requests that need a call are rejected with 503 for some seconds. If the server
    /// responds with failures, a few calls are still made.
    Paused,
    /// The circuit breaker is half-open: a health check tests whether the authorization server is available again.
    Probing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::SystemClock, error::TokenFault};

    #[test]
    fn the_last_failure_stays_until_the_next_and_callers_faults_and_pauses_are_none() {
        let (failures, clock) = (LastFailure::default(), SystemClock::new());
        let kind = || failures.last(&clock).map(|last| last.kind);
        for error in [
            AuthError::new(AuthErrorKind::MissingToken),
            AuthError::token(TokenFault::Signature),
            AuthError::new(AuthErrorKind::InsufficientScope),
            AuthError::upstream(UpstreamFault::Paused),
        ] {
            failures.note(None, &error, &clock);
            assert_eq!(kind(), None, "{error}");
        }
        for error in [AuthError::upstream(UpstreamFault::TimedOut), AuthError::setup(SetupFault::Refused)] {
            failures.note(None, &error, &clock);
            failures.note(None, &AuthError::upstream(UpstreamFault::Paused), &clock);
            assert_eq!(kind(), Some(error.kind()));
        }
    }
    #[test]
    fn a_later_success_of_the_same_kind_of_call_ends_a_failure() {
        let (failures, clock) = (LastFailure::default(), SystemClock::new());
        let is_over = |call, started| {
            failures.end(call, started);
            failures.last(&clock).is_none()
        };
        let failed_at = |call, error: &AuthError| {
            failures.note(call, error, &clock);
            failures.lock().unwrap().at
        };
        let refused = AuthError::setup(SetupFault::Refused);
        let at = failed_at(Some("introspection"), &refused);
        assert!(!is_over("metadata", at) && !is_over("key_set", at), "another kind");
        assert!(
            !is_over("introspection", at.saturating_sub(Duration::from_nanos(1))),
            "it started before the failure"
        );
        // The request reports the failure of its call.
        let at = failed_at(None, &refused);
        assert!(!is_over("metadata", at) && is_over("introspection", at));
        let unreachable = AuthError::upstream(UpstreamFault::Unreachable);
        failures.note(Some("metadata"), &unreachable, &clock);
        let at = failed_at(None, &unreachable);
        assert!(!is_over("introspection", at) && is_over("metadata", at));
        // A request waited for the call of another request, which failed.
        let at = failed_at(None, &AuthError::upstream(UpstreamFault::TimedOut));
        assert!(is_over("key_set", at));
        let at = failed_at(None, &AuthError::setup(SetupFault::NotMounted));
        assert!(["metadata", "key_set", "introspection"].iter().all(|call| !is_over(call, at)));
    }
}
