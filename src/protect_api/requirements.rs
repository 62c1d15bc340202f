//! Requirements of a mount for the authentication of the user (RFC 9470), and scopes that its challenges also name.

use std::time::Duration;

use super::{ProtectApi, parse_scopes};

impl ProtectApi {
    /// Requires **one** of these authentication contexts, in the order of preference (RFC 9470). They are compared exactly
    /// with the claim `acr`, which is a name and no level. A token with another context, or without `acr`, is rejected
    /// with 401 and `error="insufficient_user_authentication"`, and the challenge names the contexts. Each further call
    /// adds a list. An empty list requires nothing.
    ///
    /// # Panics
    /// If a value is empty, or has a character that a scope cannot have, such as a space or a quote.
    #[track_caller]
    pub fn acr<S: AsRef<str>>(&self, contexts: impl IntoIterator<Item = S>) -> Self {
        let contexts = parse_scopes(contexts).iter().map(|context| context.as_str().into()).collect();
        self.mounted(|mount| mount.requirements.step_up.contexts.push(contexts))
    }

    /// Requires that the user signed in within this time (RFC 9470), in whole seconds. A token with an earlier
    /// `auth_time`, or without one, is rejected with 401 and `error="insufficient_user_authentication"`, and the
    /// challenge contains `max_age`. The [tolerance](crate::ProtectApiBuilder::clock_tolerance) is added, at least 5 s,
    /// because a sign-in takes time. The shortest time of several calls applies.
    ///
    /// This is not the age of the verdict, which [`max_age`](Self::max_age) limits.
    pub fn authenticated_within(&self, duration: Duration) -> Self {
        let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        self.mounted(|mount| mount.requirements.step_up.limit(seconds))
    }

    /// Adds scopes to the challenges of this mount that it does not require. For a mount around several routes: it
    /// rejects a request before the route is selected, so it cannot determine the scopes of the route. A client then
    /// requests them with its first token. Challenges of inner mounts and of handlers do not contain them.
    ///
    /// # Panics
    /// The same as for [`scopes`](Self::scopes).
    #[track_caller]
    pub fn hint_scopes<S: AsRef<str>>(&self, scopes: impl IntoIterator<Item = S>) -> Self {
        let mut scopes = parse_scopes(scopes);
        self.mounted(|mount| mount.requirements.hinted_scopes.append(&mut scopes))
    }
}
