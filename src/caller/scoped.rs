//! Scopes in a handler's signature ([`Scoped`]), and scopes that choose a route ([`has_scopes`]).

use std::{
    fmt,
    future::{Ready, ready},
    marker::PhantomData,
    ops::Deref,
    time::Duration,
};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    guard::{Guard, GuardContext},
};
use serde::de::DeserializeOwned;

use crate::{
    caller::{AuthContext, AuthenticatedRequest},
    claims::Claims,
    protect_api::ProtectApi,
    response::Rejection,
};

/// A set of scopes as a type, for [`Scoped`].
///
/// ```
/// use actix_protect_api::{RequiredScopes, Scoped};
///
/// struct PostsWrite;
///
/// impl RequiredScopes for PostsWrite {
///     const SCOPES: &'static [&'static str] = &["posts:write"];
/// }
///
/// async fn publish(caller: Scoped<PostsWrite>) -> String {
///     format!("published by {}", caller.subject().unwrap_or("a machine"))
/// }
/// ```
pub trait RequiredScopes {
    /// The required scopes. All of them are required.
    const SCOPES: &'static [&'static str];
    /// The accepted authentication contexts; see [`acr`](crate::ProtectApi::acr). Default: any.
    const ACR: &'static [&'static str] = &[];
    /// The longest time since the user signed in; see
    /// [`authenticated_within`](crate::ProtectApi::authenticated_within). Default: unlimited.
    const AUTHENTICATED_WITHIN: Option<Duration> = None;
}

/// An [`AuthenticatedRequest`] whose token grants all scopes of `R`. A handler that takes it cannot be called
/// without them: the request is rejected with the same 403 as by the middleware.
///
/// A type that does not implement [`RequiredScopes`] does not compile as a handler argument:
///
/// ```compile_fail,E0277
/// # use actix_protect_api::Scoped;
/// # use actix_web::web;
/// struct NoScopes;
/// async fn publish(_: Scoped<NoScopes>) -> &'static str { "published" }
/// web::post().to(publish);
/// ```
pub struct Scoped<R, C = Claims> {
    request: AuthenticatedRequest<C>,
    scopes: PhantomData<fn() -> R>,
}

impl<R, C> Scoped<R, C> {
    /// Returns the caller without the scopes in the type.
    pub fn into_inner(self) -> AuthenticatedRequest<C> {
        self.request
    }
}

impl<R, C> Deref for Scoped<R, C> {
    type Target = AuthenticatedRequest<C>;

    fn deref(&self) -> &Self::Target {
        &self.request
    }
}

impl<R, C> fmt::Debug for Scoped<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Scoped").field(&self.request).finish()
    }
}

impl<R: RequiredScopes + 'static, C: DeserializeOwned + 'static> FromRequest for Scoped<R, C> {
    type Error = Rejection;
    type Future = Ready<Result<Self, Rejection>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller =
            AuthenticatedRequest::requiring(request, R::SCOPES).and_then(AuthenticatedRequest::with_claims);
        ready(caller.and_then(|request| {
            request.require_authentication(R::SCOPES, R::ACR, R::AUTHENTICATED_WITHIN)?;
            request.require_scopes(R::SCOPES)?;
            Ok(Self { request, scopes: PhantomData })
        }))
    }
}

impl ProtectApi {
    /// Requires the scopes and the authentication of this type, as [`Scoped<R>`](Scoped) does in a handler. With both, the
    /// type is the only declaration: the mount rejects requests, its challenges, the
    /// [metadata document](Self::resource_metadata) and [`explain`](Self::explain) name the scopes, and the handler cannot be
    /// mounted without them.
    ///
    /// ```
    /// use actix_protect_api::{ProtectApi, RequiredScopes, Scoped};
    /// use actix_web::{App, test, web};
    ///
    /// struct PostsWrite;
    ///
    /// impl RequiredScopes for PostsWrite {
    ///     const SCOPES: &'static [&'static str] = &["posts:write"];
    /// }
    ///
    /// async fn publish(_: Scoped<PostsWrite>) -> &'static str {
    ///     "published"
    /// }
    ///
    /// # #[actix_web::main] async fn main() {
    /// let protect = ProtectApi::builder("https://issuer.example", "my-api").build().unwrap();
    /// let posts = protect.scoped::<PostsWrite>().routes(["POST /posts"]);
    /// let posts = web::resource("/posts").wrap(posts).route(web::post().to(publish));
    /// let app = test::init_service(App::new().service(posts)).await;
    /// assert_eq!(protect.explain().to_string(), "POST /posts: scopes posts:write\n");
    /// # }
    /// ```
    ///
    /// # Panics
    /// The same as for [`scopes`](Self::scopes) and [`acr`](Self::acr).
    #[track_caller]
    pub fn scoped<R: RequiredScopes>(&self) -> Self {
        let mount = self.scopes(R::SCOPES);
        let mount = if R::ACR.is_empty() { mount } else { mount.acr(R::ACR) };
        match R::AUTHENTICATED_WITHIN {
            Some(within) => mount.authenticated_within(within),
            None => mount,
        }
    }
}

/// Returns an actix guard that matches only tokens that grant **all** of these scopes, for example to serve
/// administrators another view of one path.
///
/// If a guard does not match, actix tries the next route and finally responds with 404 or 405, never 403. To
/// protect a route, wrap it in a `ProtectApi` or take [`Scoped`]. The mount must be **outside** of the guarded
/// route (on the app or a scope), because guards run before the middleware of the route itself.
pub fn has_scopes<S: Into<String>>(scopes: impl IntoIterator<Item = S>) -> HasScopes {
    HasScopes(scopes.into_iter().map(Into::into).collect())
}

/// The guard returned by [`has_scopes`].
#[derive(Clone, Debug)]
pub struct HasScopes(Vec<String>);

impl Guard for HasScopes {
    fn check(&self, context: &GuardContext<'_>) -> bool {
        let extensions = context.req_data();
        let Some(context) = extensions.get::<AuthContext>() else { return false };
        let hierarchy = &context.state().settings.rules.hierarchy;
        context
            .authenticated()
            .is_some_and(|caller| self.0.iter().all(|scope| hierarchy.grants(caller.valid.scopes(), scope)))
    }
}
