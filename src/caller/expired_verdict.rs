//! Whether a caller was accepted during an outage of the authorization server.

use super::AuthenticatedRequest;

impl<C> AuthenticatedRequest<C> {
    /// Returns whether the verdict on the token had expired, and is used because the authorization server is unavailable
    /// ([`outage_grace`](crate::ProtectApiBuilder::outage_grace)). The token may be revoked: reject critical operations.
    pub fn has_expired_verdict(&self) -> bool {
        self.authenticated.valid.is_expired_verdict()
    }
}
