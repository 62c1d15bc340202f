//! Continues a lease with a new token.

use super::{Grant, Lease, LeaseEnd, worker};
use crate::{
    bearer::BearerToken,
    error::{AuthError, TokenFault, UpstreamFault},
};

impl Lease {
    /// Continues the lease with a new token, so that a WebSocket need not be closed when its token expires. The new token is
    /// validated as for a request of the same mount, with the client certificate of the connection. It must have
    ///
    /// - the same issuer and the same subject (without a subject: the same client),
    /// - a certificate binding if and only if the old token has one,
    /// - all scopes of the old token, or scopes that include them.
    ///
    /// From then on, the expiry and the revocation of the new token end the lease. A lease that has expired can be renewed too.
    ///
    /// # Errors
    /// If the new token is rejected, or cannot be validated. The lease then continues unchanged with the old token. A lease that
    /// ended for another reason than the expiry stays ended.
    pub async fn renew(&mut self, token: &str) -> Result<(), AuthError> {
        let entry = &self.0;
        self.check_renewable()?;
        let token = BearerToken::resolved(token, entry.max_token_length())
            .map_err(|_| AuthError::token(TokenFault::Malformed))?;
        let outcome = entry.validate(&token).await;
        entry.state.telemetry.decided(outcome.as_ref().map(|valid| Some(valid.via)));
        let valid = outcome.map_err(|denial| denial.error)?;
        let grant = Grant::new(&entry.state, &token, &valid);
        entry.check_successor(&grant, &valid)?;
        // The old token may have been revoked during the validation.
        self.check_renewable()?;
        worker::replace_or_add(entry, || entry.replace(grant, &token, &valid));
        Ok(())
    }

    fn check_renewable(&self) -> Result<(), AuthError> {
        match self.0.end() {
            None | Some(LeaseEnd::Expired) => Ok(()),
            Some(LeaseEnd::Revoked) => Err(AuthError::token(TokenFault::Revoked)),
            Some(LeaseEnd::Rejected(kind)) => Err(AuthError::new(kind)),
            Some(LeaseEnd::Unavailable) => Err(AuthError::upstream(UpstreamFault::TimedOut)),
        }
    }
}
