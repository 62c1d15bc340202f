//! The result of validating a token that did not come with an HTTP request.

use std::fmt;

use super::{
    ProtectApi,
    validation::{Selected, Validation},
};
use crate::{
    bearer::BearerToken,
    certificate::CertificateThumbprint,
    claims::{Claims, scope::Scopes},
    error::{AuthError, TokenFault},
    validator::ValidToken,
};

/// A valid token that did not come with an HTTP request; see [`ProtectApi::validate`].
#[derive(Clone)]
pub struct ValidatedToken {
    valid: ValidToken,
}

impl ValidatedToken {
    /// Returns the claims.
    pub fn claims(&self) -> &Claims {
        &self.valid.claims
    }

    /// Returns the granted scopes.
    pub fn scopes(&self) -> &Scopes {
        self.valid.scopes()
    }

    /// Returns `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.valid.claims.subject()
    }

    /// Returns the issuer, spelled as in the metadata.
    pub fn issuer(&self) -> &str {
        self.valid.issuer()
    }
}

/// Shows only that there is a token. Its claims may be personal data.
impl fmt::Debug for ValidatedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValidatedToken").field("issuer", &self.issuer()).finish_non_exhaustive()
    }
}

impl ProtectApi {
    /// Validates a token that does not come with an HTTP request: from the first message of a WebSocket, a queue, or the
    /// metadata of gRPC. The same checks, limits, caches and requirements of this mount apply as for a request. `certificate`
    /// is the client certificate of the connection, if there is one.
    ///
    /// Call it where an actix worker or another `tokio::task::LocalSet` runs, because it may make calls with awc. Tokens that
    /// are selected [by request](crate::AnyOf::opaque_by_request) are rejected, since there is no request.
    ///
    /// # Errors
    /// As for a request: [`AuthErrorKind`](crate::AuthErrorKind) tells whether the token, this API or the authorization server
    /// is at fault. A token that is longer than [`max_token_length`](crate::ProtectApiBuilder::max_token_length), empty, or has
    /// other characters than a bearer token is malformed.
    pub async fn validate(
        &self,
        token: &str,
        certificate: Option<&CertificateThumbprint>,
    ) -> Result<ValidatedToken, AuthError> {
        let token = BearerToken::resolved(token, self.state.settings.tuning.max_token_length)
            .map_err(|_| AuthError::token(TokenFault::Malformed))?;
        let client = |selected: &Selected| self.selected(selected).thread_client();
        let validation = Validation { token: &token, certificate, request: None, client };
        let outcome = self.validate_token(validation).await;
        let (selected, outcome) = match outcome {
            Ok((selected, valid)) => (selected, Ok(valid)),
            Err((selected, denial)) => (selected, Err(denial)),
        };
        self.selected(&selected).telemetry.decided(outcome.as_ref().map(|valid| Some(valid.via)));
        outcome.map(|valid| ValidatedToken { valid }).map_err(|denial| denial.error)
    }
}
