//! The expiry of the token of a caller, and of the verdict on it.

use super::AuthenticatedRequest;

impl<C> AuthenticatedRequest<C> {
    /// Returns `exp` in seconds since 1970; `None` if the token has no `exp`.
    pub fn expires_at(&self) -> Option<i64> {
        self.verdict().expires_at()
    }

    /// Returns whether the verdict on the token had expired, and is used because the authorization server is unavailable
    /// ([`outage_grace`](crate::ProtectApiBuilder::outage_grace)). The token may be revoked: reject critical operations.
    pub fn has_expired_verdict(&self) -> bool {
        self.authenticated.valid.is_expired_verdict()
    }
}
