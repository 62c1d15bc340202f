//! The state of the metadata, the keys and introspection, for readiness probes and dashboards.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    clock::Clock,
    error::{AuthError, AuthErrorKind, UpstreamFault},
};

/// The last failure, and its time on the monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct LastFailure(Mutex<Option<(AuthErrorKind, Duration)>>);

impl LastFailure {
    /// Records a failure of the authorization server or of the setup. Ignores failures that a caller caused or may
    /// have caused. Also ignores an open circuit breaker and a full queue: they follow from another failure and
    /// would hide it.
    pub(crate) fn note(&self, error: &AuthError, clock: &dyn Clock) {
        use UpstreamFault::{Paused, Saturated};

        let kind = error.kind();
        let follows = matches!(kind, AuthErrorKind::Upstream(Paused | Saturated));
        if error.is_server_fault() && !follows {
            *self.lock() = Some((kind, clock.monotonic()));
        }
    }

    pub(crate) fn last(&self, clock: &dyn Clock) -> Option<LastError> {
        let last = *self.lock();
        last.map(|(kind, at)| LastError { kind, ago: clock.monotonic().saturating_sub(at) })
    }

    fn lock(&self) -> MutexGuard<'_, Option<(AuthErrorKind, Duration)>> {
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
    /// The last failure of the authorization server or of the setup: the reason of a 503 or 500, or of a failed
    /// refresh of metadata or keys, even while the last good ones are still used. The next failure replaces it, and
    /// a success does not remove it: [`ago`](LastError::ago) is its age. Failures that a single token may have
    /// caused (a 4xx, or a 400 or 413 of the authorization server) are not recorded.
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
    use crate::{
        clock::SystemClock,
        error::{SetupFault, TokenFault},
    };

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
