//! The evidence of the last calls about the authorization server.

use std::time::Duration;

use super::{BETWEEN_CHECKS, CircuitBreaker, Phase, VERDICT_COUNTS, is_after};
use crate::error::Evidence;

impl CircuitBreaker {
    /// Returns whether calls are paused, or a call has failed since the last success.
    pub(crate) fn has_failed(&self) -> bool {
        let state = self.state();
        !matches!(state.phase, Phase::Closed) || state.failures > 0 || state.failed_connections > 0
    }

    /// Returns whether the server gave a verdict in a call after `since`, or in a health check of the last second.
    /// [`Evidence::Recent`] includes a verdict shortly before. Returns `None` if a health check is needed.
    pub(crate) fn gives_verdicts(&self, since: Duration, evidence: Evidence, now: Duration) -> Option<bool> {
        let state = self.state();
        let is_recent = |verdict| now.saturating_sub(verdict) < VERDICT_COUNTS;
        if is_after(state.last_verdict_started, since)
            || (evidence == Evidence::Recent && state.last_verdict.is_some_and(is_recent))
        {
            return Some(true);
        }
        let recent = state.last_check.filter(|check| now.saturating_sub(check.started) < BETWEEN_CHECKS);
        recent.map(|check| check.gave_a_verdict)
    }
}
