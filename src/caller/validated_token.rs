//! The result of validating a token that did not come with an HTTP request.

use std::{fmt, rc::Rc, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use super::{
    Principal,
    grants::Grants,
    lease::{Lease, LeaseTerms},
    mount_chain::MountChain,
    step_up,
};
use crate::{
    bearer::BearerToken,
    certificate::CertificateThumbprint,
    claims::{Audience, Claims, scope::Scopes},
    error::{AuthError, TokenFault},
    policy::GroupOptions,
    protect_api::{
        ProtectApi,
        state::State,
        validation::{Selected, Validation},
    },
    telemetry::spans::AuthenticationSpan,
    validator::ValidToken,
};

/// A valid token that did not come with an HTTP request; see [`ProtectApi::validate`].
///
/// It has the methods of [`AuthenticatedRequest`](crate::AuthenticatedRequest) that need no request. The value does not expire:
/// use a [`lease`](Self::lease) if you keep it, for example for a WebSocket.
#[derive(Clone)]
pub struct ValidatedToken {
    mount: ProtectApi,
    state: Arc<State>,
    valid: ValidToken,
    token: BearerToken,
    certificate: Option<CertificateThumbprint>,
}

impl ValidatedToken {
    /// Returns the claims.
    pub fn claims(&self) -> &Claims {
        &self.valid.claims
    }

    /// Returns the error with which the token would be rejected if the rules that are only
    /// [reported](crate::ProtectApi::report_only) were enforced.
    pub fn would_be_rejected(&self) -> Option<&AuthError> {
        self.valid.would_be_rejected.as_ref()
    }

    /// Returns the claims by value.
    pub fn into_claims(self) -> Claims {
        self.valid.claims
    }

    /// Converts the claims into a type of the application.
    ///
    /// # Errors
    /// [`TokenFault::Claims`] if the claims do not deserialize into `C`.
    pub fn claims_as<C: DeserializeOwned + 'static>(&self) -> Result<C, AuthError> {
        self.grants().claims_as()
    }

    fn grants(&self) -> Grants<'_> {
        Grants { valid: &self.valid, rules: &self.state.settings.rules }
    }

    /// Returns `sub`: the user, or the client in the client credentials grant.
    pub fn subject(&self) -> Option<&str> {
        self.valid.claims.subject()
    }

    /// Returns the client to which the token was issued: the first of `client_id`, `azp`, `cid` and `appid` that is
    /// present.
    pub fn client_id(&self) -> Option<&str> {
        self.valid.claims.client_id()
    }

    /// Returns the granted scopes, from the configured [claims](crate::ProtectApiBuilder::scope_claims).
    pub fn scopes(&self) -> &Scopes {
        self.valid.scopes()
    }

    /// Returns the names of the subject's groups, from the configured [claims](crate::ProtectApiBuilder::groups_claims) of the
    /// issuer of the token.
    pub fn groups(&self) -> Vec<&str> {
        self.grants().groups()
    }

    /// Returns the `iss` of the token. If an introspection response has none, returns the issuer as the metadata spells
    /// it.
    pub fn issuer(&self) -> &str {
        self.valid.issuer()
    }

    /// Returns issuer and subject together; `None` if the token has no subject. A subject is unique only within its issuer
    /// (RFC 7519 section 4.1.2).
    pub fn principal(&self) -> Option<Principal> {
        self.grants().principal()
    }

    /// Returns the audiences of the token.
    pub fn audience(&self) -> &Audience {
        self.valid.claims.audience()
    }

    /// Returns `exp` in seconds since 1970; `None` if the token has no `exp`.
    pub fn expires_at(&self) -> Option<i64> {
        self.valid.claims.expires_at()
    }

    /// Returns whether the verdict on the token had expired, and is used because the authorization server is unavailable
    /// ([`outage_grace`](crate::ProtectApiBuilder::outage_grace)). The token may be revoked: reject critical operations.
    pub fn has_expired_verdict(&self) -> bool {
        self.valid.is_expired_verdict()
    }

    /// Returns whether the token grants this scope, or a scope that
    /// [includes](crate::ProtectApiBuilder::scope_implies) it.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.grants().has_scope(scope)
    }

    /// Returns whether the subject is in this group.
    pub fn has_group(&self, group: &str) -> bool {
        self.grants().has_group(group)
    }

    /// Returns whether the subject is in one of these groups (or in all of them), with another claim or another mode than the
    /// configuration. An empty list requires nothing.
    pub fn is_in_groups<S: AsRef<str>>(
        &self,
        groups: impl IntoIterator<Item = S>,
        options: &GroupOptions,
    ) -> bool {
        self.grants().is_in_groups(groups, options)
    }

    /// Requires **all** of these scopes. An empty list requires nothing.
    ///
    /// # Errors
    /// [`InsufficientScope`](crate::AuthErrorKind::InsufficientScope). The error is neither logged nor counted: there is no
    /// response.
    pub fn require_scopes<S: AsRef<str>>(
        &self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<(), AuthError> {
        self.grants().require_scopes(scopes)
    }

    /// Requires **one** of these scopes. An empty list requires nothing.
    ///
    /// # Errors
    /// As for [`require_scopes`](Self::require_scopes).
    pub fn require_any_scope<S: AsRef<str>>(
        &self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<(), AuthError> {
        self.grants().require_any_scope(scopes)
    }

    /// Requires that the subject is in one of these groups, or in all of them if `groups_match_all` is set. An empty list
    /// requires nothing.
    ///
    /// # Errors
    /// [`InsufficientGroups`](crate::AuthErrorKind::InsufficientGroups). The error is neither logged nor counted.
    pub fn require_groups<S: AsRef<str>>(
        &self,
        groups: impl IntoIterator<Item = S>,
    ) -> Result<(), AuthError> {
        self.grants().require_groups(groups)
    }
}

impl ValidatedToken {
    /// Returns the authentication context of the user (`acr`); `None` if the token does not state it.
    pub fn acr(&self) -> Option<&str> {
        self.valid.claims.acr()
    }

    /// Returns the time at which the user signed in (`auth_time`), in seconds since 1970; `None` if the token does not
    /// state it. A refreshed token has the time of the first one.
    pub fn auth_time(&self) -> Option<i64> {
        self.valid.claims.auth_time()
    }

    /// Returns the methods with which the user signed in (`amr`).
    pub fn amr(&self) -> Vec<&str> {
        self.valid.claims.amr()
    }

    /// Requires **one** of these authentication contexts; see
    /// [`AuthenticatedRequest::require_acr`](crate::AuthenticatedRequest::require_acr).
    ///
    /// # Errors
    /// [`InsufficientAuthentication`](crate::AuthErrorKind::InsufficientAuthentication). The error is neither logged nor
    /// counted. It has the [`acr_values`](AuthError::acr_values) for a response of the application.
    pub fn require_acr<S: AsRef<str>>(&self, contexts: impl IntoIterator<Item = S>) -> Result<(), AuthError> {
        let contexts = contexts.into_iter().map(|context| context.as_ref().into()).collect();
        self.require_step_up(vec![contexts], None)
    }

    /// Requires that the user signed in within this time; see
    /// [`AuthenticatedRequest::require_authenticated_within`](crate::AuthenticatedRequest::require_authenticated_within).
    ///
    /// # Errors
    /// As for [`require_acr`](Self::require_acr), with the
    /// [`max_authentication_age`](AuthError::max_authentication_age).
    pub fn require_authenticated_within(&self, duration: Duration) -> Result<(), AuthError> {
        self.require_step_up(Vec::new(), Some(step_up::seconds(duration)))
    }

    fn require_step_up(&self, contexts: Vec<Vec<Box<str>>>, within: Option<i64>) -> Result<(), AuthError> {
        self.grants().require_step_up(contexts, within, self.state.clock.unix_time())
    }

    /// Creates a lease: a future that completes when the token expires, is revoked, or is no longer accepted. Call it where
    /// [`ProtectApi::validate`] may be called.
    ///
    /// # Panics
    /// If no actix worker and no `tokio::task::LocalSet` runs on this thread.
    pub fn lease(&self) -> Lease {
        let Self { mount, state, valid, token, certificate } = self;
        Lease::new(LeaseTerms {
            mounts: Rc::new(MountChain::new(Rc::new(mount.clone()), None)),
            state: Arc::clone(state),
            client: None,
            certificate: *certificate,
            token,
            valid,
            is_simulated: false,
        })
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
        let span = AuthenticationSpan::open();
        let outcome = span.around(self.validate_token(validation)).await;
        let (selected, outcome) = match outcome {
            Ok((selected, valid)) => (selected, Ok(valid)),
            Err((selected, denial)) => (selected, Err(denial)),
        };
        let state = self.selected(&selected);
        span.decided(&state.telemetry, outcome.as_ref().map(|valid| Some(valid.via)));
        let valid = outcome.map_err(|denial| denial.error)?;
        let (mount, state) = (self.clone(), Arc::clone(state));
        Ok(ValidatedToken { mount, state, valid, token, certificate: certificate.copied() })
    }
}
