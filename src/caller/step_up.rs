//! The authentication of the user, in handlers (RFC 9470).

use std::time::Duration;

use super::AuthenticatedRequest;
use crate::response::Rejection;

impl<C> AuthenticatedRequest<C> {
    /// Returns the authentication context of the user (`acr`); `None` if the token does not state it.
    pub fn acr(&self) -> Option<&str> {
        self.verdict().acr()
    }

    /// Returns the time at which the user signed in (`auth_time`), in seconds since 1970; `None` if the token does not
    /// state it. A refreshed token has the time of the first one.
    pub fn auth_time(&self) -> Option<i64> {
        self.verdict().auth_time()
    }

    /// Returns the methods with which the user signed in (`amr`).
    pub fn amr(&self) -> Vec<&str> {
        self.verdict().amr()
    }

    /// Requires **one** of these authentication contexts. They are compared exactly with `acr`. An empty list requires
    /// nothing; a token without `acr` does not meet any other list.
    ///
    /// # Errors
    /// Returns the same 401 as the middleware. Return it from the handler with `?`.
    pub fn require_acr<S: AsRef<str>>(&self, contexts: impl IntoIterator<Item = S>) -> Result<(), Rejection> {
        let contexts = contexts.into_iter().map(|context| context.as_ref().into()).collect();
        self.require_step_up(vec![contexts], None, &[])
    }

    /// Requires that the user signed in within this time, by `auth_time`. The
    /// [tolerance](crate::ProtectApiBuilder::clock_tolerance) is added, at least 5 s. A token without `auth_time` does not
    /// meet the requirement.
    ///
    /// # Errors
    /// Returns the same 401 as the middleware. Return it from the handler with `?`.
    pub fn require_authenticated_within(&self, duration: Duration) -> Result<(), Rejection> {
        self.require_step_up(Vec::new(), Some(seconds(duration)), &[])
    }

    /// Requires this authentication of the user. Its challenge names these scopes too, so that a client requests both
    /// together.
    pub(super) fn require_authentication(
        &self,
        scopes: &[&str],
        contexts: &[&str],
        within: Option<Duration>,
    ) -> Result<(), Rejection> {
        if contexts.is_empty() && within.is_none() {
            return Ok(());
        }
        let contexts = contexts.iter().map(|&context| context.into()).collect();
        self.require_step_up(vec![contexts], within.map(seconds), scopes)
    }

    fn require_step_up(
        &self,
        contexts: Vec<Vec<Box<str>>>,
        within: Option<i64>,
        scopes: &[&str],
    ) -> Result<(), Rejection> {
        let now = self.context.state().clock.unix_time();
        let outcome = self.grants().require_step_up(contexts, within, now);
        outcome.map_err(|error| self.reject(error.with_required_scopes(scopes.join(" "))))
    }
}

pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
