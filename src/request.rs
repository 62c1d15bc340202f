//! [`AuthenticatedRequest`]: what a handler gets to know of its caller.

use std::{
    any::Any,
    fmt,
    future::{Ready, ready},
    rc::Rc,
    sync::{Arc, LazyLock},
};

use actix_web::{FromRequest, HttpMessage as _, HttpRequest, dev::Payload};
use serde::de::DeserializeOwned;

use crate::{
    bearer::BearerToken,
    claims::{Audience, Claims},
    error::{AuthError, AuthErrorKind, SetupFault, TokenFault},
    observe::Via,
    policy,
    response::{Answers, Rejection},
    scope::Scopes,
    shared::Shared,
    validator::Validated,
};

/// A worker's own handle to what all workers share: what each request clones is counted where no other worker counts.
pub(crate) type Handle = Rc<Arc<Shared>>;

/// What a mount leaves in the request's extensions.
#[derive(Clone)]
pub(crate) struct Session {
    shared: Handle,
    authenticated: Option<Rc<Authenticated>>,
    /// How this mount came to its verdict; `None` for the anonymous.
    via: Option<Via>,
}

/// A caller with a valid token.
pub(crate) struct Authenticated {
    pub(crate) validated: Validated,
    pub(crate) token: BearerToken,
}

impl Session {
    pub(crate) fn anonymous(shared: &Handle) -> Self {
        Self { shared: Rc::clone(shared), authenticated: None, via: None }
    }

    pub(crate) fn of(shared: &Handle, authenticated: Authenticated) -> Self {
        let via = Some(authenticated.validated.via);
        Self { shared: Rc::clone(shared), authenticated: Some(Rc::new(authenticated)), via }
    }

    /// With the verdict of a mount further out.
    pub(crate) fn inherited(shared: &Handle, authenticated: Rc<Authenticated>) -> Self {
        Self { shared: Rc::clone(shared), authenticated: Some(authenticated), via: Some(Via::OuterMount) }
    }

    pub(crate) fn via(&self) -> Option<Via> {
        self.via
    }

    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }

    pub(crate) fn authenticated(&self) -> Option<&Rc<Authenticated>> {
        self.authenticated.as_ref()
    }
}

/// The caller of a protected route: takes part in a handler's arguments.
///
/// `C` is the type of [`claims`](Self::claims): [`Claims`] by default, or your own `Deserialize` type. Claims that do not
/// fit it are answered 401, because such a token is of no use to this API.
///
/// - On a route that no [`ProtectApi`](crate::ProtectApi) is wrapped around it answers 500 and says so in the log.
/// - Under [`optional`](crate::ProtectApi::optional) and without a token it answers 401; take
///   `Option<AuthenticatedRequest>` there, which is `None` then. Mind that actix makes **every** failure of an extractor
///   `None` in an `Option`, also a missing mount (which is logged as an error).
pub struct AuthenticatedRequest<C = Claims> {
    request: HttpRequest,
    shared: Handle,
    authenticated: Rc<Authenticated>,
    claims: C,
}

impl<C> AuthenticatedRequest<C> {
    /// The claims, as the type that the handler asks for.
    pub fn claims(&self) -> &C {
        &self.claims
    }

    /// The claims, taken out.
    pub fn into_claims(self) -> C {
        self.claims
    }

    fn verdict(&self) -> &Claims {
        &self.authenticated.validated.claims
    }

    /// `sub`: the user, or the client where a machine speaks for itself. Some servers send none then.
    pub fn subject(&self) -> Option<&str> {
        self.verdict().subject()
    }

    /// The client that the token was issued to (`client_id`, else `azp`).
    pub fn client_id(&self) -> Option<&str> {
        self.verdict().client_id()
    }

    /// The granted scopes.
    pub fn scopes(&self) -> &Scopes {
        self.verdict().scopes()
    }

    /// Every name by which the subject's groups can be meant: the strings of the groups claim, and the `id` and `name`
    /// of its objects.
    pub fn groups(&self) -> Vec<&str> {
        policy::group_names(self.verdict(), &self.shared.settings.rules.groups).collect()
    }

    /// The issuer, as its metadata spells it.
    pub fn issuer(&self) -> &str {
        let Validated { claims, issuer, .. } = &self.authenticated.validated;
        claims.issuer().or(issuer.as_deref()).unwrap_or_default()
    }

    /// The audiences of the token.
    pub fn audience(&self) -> &Audience {
        self.verdict().audience()
    }

    /// When the token expires, in seconds since 1970; `None` if the issuer did not say.
    pub fn expires_at(&self) -> Option<i64> {
        self.verdict().expires_at()
    }

    /// The token itself, for calling another service in the caller's name. Keep it out of logs.
    pub fn token(&self) -> &str {
        self.authenticated.token.as_str()
    }

    /// Whether the token grants exactly this scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().contains(scope)
    }

    /// Whether the subject is in this group.
    pub fn has_group(&self, group: &str) -> bool {
        let mut names = policy::group_names(self.verdict(), &self.shared.settings.rules.groups);
        names.any(|name| name == group)
    }

    /// Goes on only with **all** of these scopes. An empty list asks for nothing.
    ///
    /// # Errors
    /// The 403 of the middleware, to be returned with `?`.
    pub fn require_scopes<S: AsRef<str>>(
        &self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<(), Rejection> {
        let scopes: Vec<S> = scopes.into_iter().collect();
        let fulfilled = scopes.iter().all(|scope| self.has_scope(scope.as_ref()));
        if fulfilled { Ok(()) } else { Err(self.insufficient_scope(&scopes)) }
    }

    /// Goes on only with **one** of these scopes. An empty list asks for nothing.
    ///
    /// # Errors
    /// The 403 of the middleware, to be returned with `?`.
    pub fn require_any_scope<S: AsRef<str>>(
        &self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<(), Rejection> {
        let scopes: Vec<S> = scopes.into_iter().collect();
        let fulfilled = scopes.is_empty() || scopes.iter().any(|scope| self.has_scope(scope.as_ref()));
        if fulfilled { Ok(()) } else { Err(self.insufficient_scope(&scopes)) }
    }

    /// Goes on only if the subject is in one of these groups, or in all of them if the configuration says so. An empty
    /// list asks for nothing.
    ///
    /// # Errors
    /// The 403 of the middleware, to be returned with `?`.
    pub fn require_groups<S: AsRef<str>>(
        &self,
        groups: impl IntoIterator<Item = S>,
    ) -> Result<(), Rejection> {
        let groups: Vec<S> = groups.into_iter().collect();
        let fulfilled = policy::in_groups(self.verdict(), &self.shared.settings.rules, &groups);
        if fulfilled { Ok(()) } else { Err(self.reject(AuthError::new(AuthErrorKind::InsufficientGroups))) }
    }

    fn insufficient_scope<S: AsRef<str>>(&self, scopes: &[S]) -> Rejection {
        let names: Vec<&str> = scopes.iter().map(AsRef::as_ref).collect();
        self.reject(AuthError::new(AuthErrorKind::InsufficientScope).requiring(names.join(" ")))
    }

    fn reject(&self, error: AuthError) -> Rejection {
        self.shared.answers.reject(error, &self.request)
    }
}

/// Shows neither the token nor any claim's value.
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
        ready(Self::of(request))
    }
}

impl<C: DeserializeOwned + 'static> AuthenticatedRequest<C> {
    /// The caller of this request, for code that has only the request at hand: extractors and middleware of your own.
    ///
    /// **In middleware, drop it before you call the inner service**, and do not put it into the request's extensions: it holds
    /// the request, and actix panics where somebody else does while it chooses the route. Take what you need out of it,
    /// such as a clone of the [claims](Self::claims).
    ///
    /// # Errors
    /// As the extractor.
    pub fn of(request: &HttpRequest) -> Result<Self, Rejection> {
        let session = request.extensions().get::<Session>().cloned();
        let Some(session) = session else {
            return Err(UNMOUNTED.reject(AuthError::setup(SetupFault::NotMounted), request));
        };
        let Session { shared, authenticated, via: _ } = session;
        let reject = |error| shared.answers.reject(error, request);
        let Some(authenticated) = authenticated else {
            return Err(reject(AuthError::new(AuthErrorKind::MissingToken)));
        };
        let claims = claims_as::<C>(&authenticated.validated.claims).map_err(reject)?;
        Ok(Self { request: request.clone(), shared, authenticated, claims })
    }
}

/// The answers of routes without a mount. One for all, so that its loud log lines are few.
static UNMOUNTED: LazyLock<Answers> = LazyLock::new(Answers::default);

fn claims_as<C: DeserializeOwned + 'static>(claims: &Claims) -> Result<C, AuthError> {
    // For `Claims` themselves: one reference count instead of a copy of every claim.
    let mut same: Option<C> = None;
    let untyped: &mut dyn Any = &mut same;
    if let Some(slot) = untyped.downcast_mut::<Option<Claims>>() {
        *slot = Some(claims.clone());
    }
    match same {
        Some(claims) => Ok(claims),
        None => C::deserialize(claims.members())
            // The text of the error may quote a claim's value: it stays out of the log.
            .map_err(|_| AuthError::token(TokenFault::Claims).because(std::any::type_name::<C>())),
    }
}
