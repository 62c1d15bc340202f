//! [`AuthenticatedRequest`]: the authenticated caller, as an argument of handlers.

pub(crate) mod scoped;

mod auth_context;
mod expiry;
mod grants;
pub(crate) mod lease;
pub(crate) mod mount_chain;
mod principal;
mod step_up;
mod validated_token;

pub(crate) use self::auth_context::{AuthContext, Caller, LocalState};
pub use self::{
    lease::{Lease, LeaseEnd},
    principal::Principal,
    scoped::{RequiredScopes, Scoped},
    validated_token::ValidatedToken,
};

use std::{
    fmt,
    future::{Ready, ready},
    rc::Rc,
    sync::LazyLock,
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};
use serde::de::DeserializeOwned;

use self::grants::Grants;
use crate::{
    bearer::BearerToken,
    claims::{Audience, Claims, scope::Scopes},
    error::{AuthError, SetupFault},
    policy::GroupOptions,
    response::{Rejection, RejectionBuilder},
};

/// The caller of a protected route, as a handler argument (an actix extractor).
///
/// `C` is the type of [`claims`](Self::claims): [`Claims`] by default, or a `Deserialize` type of the application.
/// Claims that do not deserialize into it are rejected with 401.
///
/// - On a route without a [`ProtectApi`](crate::ProtectApi) the extractor responds with 500 and logs the missing
///   mount.
/// - Under [`optional`](crate::ProtectApi::optional), a request without a token is rejected with 401. Use
///   `Option<AuthenticatedRequest>` there: it is `None` for such requests. Note that actix turns **every** failure
///   of an extractor into `None`, including a missing mount (logged as an error).
#[doc(alias("current_user", "extractor", "user"))]
pub struct AuthenticatedRequest<C = Claims> {
    request: HttpRequest,
    context: AuthContext,
    authenticated: Rc<Caller>,
    claims: C,
}

impl<C> AuthenticatedRequest<C> {
    /// Returns the claims, in the type that the handler chose.
    pub fn claims(&self) -> &C {
        &self.claims
    }

    /// Returns the claims by value.
    pub fn into_claims(self) -> C {
        self.claims
    }

    /// Returns the error with which this request would be rejected if the rules that are only
    /// [reported](crate::ProtectApi::report_only) were enforced: of the outermost mount that has such a rule, or of the
    /// [trial](crate::ProtectApiBuilder::trial).
    pub fn would_be_rejected(&self) -> Option<&AuthError> {
        self.context.would_be_rejected()
    }

    fn verdict(&self) -> &Claims {
        &self.authenticated.valid.claims
    }

    fn grants(&self) -> Grants<'_> {
        Grants { valid: &self.authenticated.valid, rules: &self.context.state().settings.rules }
    }

    /// Returns `sub`: the user, or the client in the client credentials grant. For the latter, some servers send no
    /// `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.verdict().subject()
    }

    /// Returns the client to which the token was issued: the first of `client_id`, `azp`, `cid` and `appid` that is
    /// present.
    pub fn client_id(&self) -> Option<&str> {
        self.verdict().client_id()
    }

    /// Returns the granted scopes, from the configured [claims](crate::ProtectApiBuilder::scope_claims).
    pub fn scopes(&self) -> &Scopes {
        self.authenticated.valid.scopes()
    }

    /// Returns the names of the subject's groups, from the configured
    /// [claims](crate::ProtectApiBuilder::groups_claims).
    pub fn groups(&self) -> Vec<&str> {
        self.grants().groups()
    }

    /// Returns the `iss` of the token. If an introspection response has none, returns the issuer as the metadata spells
    /// it.
    pub fn issuer(&self) -> &str {
        self.authenticated.valid.issuer()
    }

    /// Returns issuer and subject together; `None` if the token has no subject. A subject is unique only within its issuer
    /// (RFC 7519 section 4.1.2).
    pub fn principal(&self) -> Option<Principal> {
        self.grants().principal()
    }

    /// Returns the audiences of the token.
    pub fn audience(&self) -> &Audience {
        self.verdict().audience()
    }

    /// Returns the token, for calls to other services that accept tokens with the audience of this API. Do not log it.
    ///
    /// The Model Context Protocol forbids MCP servers to pass the token on: its section "Authorization" requires that a server
    /// does not send the token of its client to other services. Request another token for them, for example by token
    /// exchange (RFC 8693).
    pub fn token(&self) -> &str {
        self.authenticated.token.as_str()
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

    /// Returns whether the subject is in one of these groups (or in all of them), with another claim or another mode
    /// than the configuration: `caller.is_in_groups(["admin"], &GroupOptions::default().claim("roles"))`. An empty list
    /// requires nothing.
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
    /// Returns the same 403 as the middleware. Return it from the handler with `?`.
    pub fn require_scopes<S: AsRef<str>>(
        &self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<(), Rejection> {
        self.grants().require_scopes(scopes).map_err(|error| self.reject(error))
    }

    /// Requires **one** of these scopes. An empty list requires nothing.
    ///
    /// # Errors
    /// Returns the same 403 as the middleware. Return it from the handler with `?`.
    pub fn require_any_scope<S: AsRef<str>>(
        &self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<(), Rejection> {
        self.grants().require_any_scope(scopes).map_err(|error| self.reject(error))
    }

    /// Requires that the subject is in one of these groups, or in all of them if `groups_match_all` is set. An
    /// empty list requires nothing.
    ///
    /// # Errors
    /// Returns the same 403 as the middleware. Return it from the handler with `?`.
    pub fn require_groups<S: AsRef<str>>(
        &self,
        groups: impl IntoIterator<Item = S>,
    ) -> Result<(), Rejection> {
        self.grants().require_groups(groups).map_err(|error| self.reject(error))
    }

    /// Creates a lease: a future that completes when the token expires, is revoked, or is no longer accepted. For a
    /// WebSocket or another long stream that the handler ends. [`end_streams`](crate::ProtectApi::end_streams) does it without the handler.
    pub fn lease(&self) -> Lease {
        self.context.lease_for(&self.authenticated, &self.request)
    }

    fn reject(&self, error: AuthError) -> Rejection {
        let valid = &self.authenticated.valid;
        let error = self.context.complete(error, Some(valid.scopes()), self.request.path());
        self.context.state().rejections.reject_in_handler(error, &self.request)
    }
}

/// Prints neither the token nor the value of a claim.
impl<C> fmt::Debug for AuthenticatedRequest<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthenticatedRequest")
            .field("claims", self.verdict())
            .field("token", &self.authenticated.token)
            .finish_non_exhaustive()
    }
}

impl<C: DeserializeOwned + 'static> FromRequest for AuthenticatedRequest<C> {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(AuthenticatedRequest::try_from_request(request).and_then(AuthenticatedRequest::with_claims))
    }
}

impl AuthenticatedRequest {
    /// Returns the caller of this request. Use it in code that has only the request, such as extractors and
    /// middleware of the application.
    ///
    /// **In a middleware, drop the value before calling the inner service**, and do not store it in the request's
    /// extensions: the value holds a reference to the request, and actix panics if there is such a reference while it
    /// selects the route. Clone the needed parts first, such as the [claims](Self::claims).
    ///
    /// # Errors
    /// The same as those of the extractor.
    pub fn try_from_request(request: &HttpRequest) -> Result<Self, Rejection> {
        Self::requiring(request, &[])
    }

    /// Returns the caller. The challenge for a request without a token also names these scopes.
    pub(crate) fn requiring(request: &HttpRequest, scopes: &[&str]) -> Result<Self, Rejection> {
        let context = request.extensions().get::<AuthContext>().cloned();
        let Some(context) = context else {
            return Err(UNMOUNTED.reject(AuthError::setup(SetupFault::NotMounted), request));
        };
        let Some(authenticated) = context.authenticated().cloned() else {
            let error = BearerToken::missing(request.headers()).with_required_scopes(scopes.join(" "));
            let error = context.complete(error, None, request.path());
            return Err(context.state().rejections.reject_in_handler(error, request));
        };
        let claims = authenticated.valid.claims.clone();
        Ok(Self { request: request.clone(), context, authenticated, claims })
    }
}

impl<C> AuthenticatedRequest<C> {
    /// Converts the claims into a type of the application.
    ///
    /// # Errors
    /// Rejects the request with 401 if the claims do not deserialize into `D`.
    pub fn with_claims<D: DeserializeOwned + 'static>(self) -> Result<AuthenticatedRequest<D>, Rejection> {
        let claims = self.grants().claims_as::<D>().map_err(|error| self.reject(error))?;
        let Self { request, context, authenticated, .. } = self;
        Ok(AuthenticatedRequest { request, context, authenticated, claims })
    }
}

/// Builds the rejections of routes without a mount. Shared by all requests, so that its log records are throttled
/// together.
static UNMOUNTED: LazyLock<RejectionBuilder> = LazyLock::new(RejectionBuilder::default);
