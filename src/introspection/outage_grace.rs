//! Expired verdicts during an outage of the authorization server.

use super::Introspection;
use crate::{
    bearer::BearerToken,
    cache::{AgedVerdict, CacheKey, ClockReading},
    error::{AuthError, AuthErrorKind, UpstreamFault},
};

impl Introspection {
    /// Returns the expired verdict on an active token whose introspection failed, if the authorization server has an outage and
    /// the operator has allowed it.
    pub(crate) fn verdict_in_outage(
        &self,
        key: &CacheKey,
        token: &BearerToken,
        failure: &AuthError,
    ) -> Option<AgedVerdict> {
        if self.outage_grace.is_zero() || !self.is_outage(failure) {
            return None;
        }
        let now = ClockReading::now(&*self.clock);
        let expired = self.cache.lookup_expired(key, now)?;
        if !self.allows_age(&expired, now.monotonic) || self.is_stale(token, &expired, now.unix) {
            return None;
        }
        if self.grace_warnings.is_due_at(now.monotonic) {
            let (issuer, fault) = (&*self.telemetry.issuer, failure.kind().fault());
            record!(
                log::Level::Warn, event = "outage_grace", issuer, fault;
                "the authorization server has an outage, and expired verdicts are used for up to {:?}: {}",
                self.outage_grace, failure.describe(issuer)
            );
        }
        Some(expired)
    }

    /// Returns whether a failure shows an outage. A full queue does not, because callers can cause it. A failure for one token
    /// does not while other calls succeed.
    fn is_outage(&self, failure: &AuthError) -> bool {
        use UpstreamFault::{Failing, Paused, TimedOut, Unreachable};

        let is_of_server =
            matches!(failure.kind(), AuthErrorKind::Upstream(Unreachable | TimedOut | Failing | Paused));
        is_of_server && failure.is_server_fault() && self.breaker.has_failed()
    }
}
