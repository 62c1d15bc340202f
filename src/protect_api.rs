//! [`ProtectApi`]: the handle of the application, and the requirements of each mount.

mod any_of;
mod builder;
mod check;
pub(crate) mod env;
mod explanation;
mod granted;
pub(crate) mod issuer_set;
mod mounts;
mod report_only;
mod requirements;
pub(crate) mod resolvers;
mod resource_metadata;
mod revoke;
pub(crate) mod state;
mod streams;
mod summary;
mod tenants;
mod validate;
pub(crate) mod validation;
mod variables;

pub use self::{
    any_of::AnyOf,
    builder::{Dangerous, ProtectApiBuilder},
    explanation::Explanation,
    resource_metadata::ResourceMetadata,
    tenants::TenantRequest,
};

use std::{ffi::OsString, fmt, sync::Arc, time::Duration};

use self::{issuer_set::IssuerSet, resolvers::Resolvers, state::State, tenants::Tenants};
use crate::{claims::scope::Scope, error::ConfigError, policy::Requirements, telemetry::status::Status};

/// Forwards only requests with a valid access token. Wrap it around an app, a scope, a resource or a route.
///
/// All clones share one state: settings, metadata, keys, verdicts, and calls in flight. Cloning is cheap. The
/// methods below add the requirements of **one mount** to a valid token. Nested mounts of one configuration
/// validate the token once, and each mount checks its own requirements.
///
/// # What is checked
/// The token's signature, or that the issuer reports it as active. Then, on every request: issuer, audience,
/// expiry, not-before, the scopes and groups of this mount, and the client certificate to which the token is bound.
///
/// # What is not checked
/// Permissions on single objects. Check them in the handler.
///
/// # Defaults
/// The defaults are the safe choice: no verdict is cached (a revoked token is rejected at once), a missing `iss` or
/// `aud` is rejected, the token is read from the `Authorization` header only, and every call has a deadline.
#[derive(Clone)]
#[must_use = "a handle protects nothing until it is wrapped around an app, scope, resource or route"]
#[doc(alias("authentication", "bearer", "middleware", "oauth2", "resource server"))]
pub struct ProtectApi {
    /// The state of the issuer; of the first one if there are several.
    pub(crate) state: Arc<State>,
    /// All issuers, if there are several.
    pub(crate) issuers: Option<Arc<IssuerSet>>,
    pub(crate) mount: Arc<Mount>,
}

/// The requirements and resolvers of one mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate setting")]
pub(crate) struct Mount {
    pub(crate) requirements: Requirements,
    /// Whether the requirements are reported and not enforced.
    pub(crate) is_report_only: bool,
    pub(crate) is_optional: bool,
    pub(crate) allows_preflight: bool,
    pub(crate) max_age: Option<Duration>,
    /// The time between validations of the token of a long stream.
    pub(crate) recheck: Option<Duration>,
    pub(crate) ends_streams: bool,
    pub(crate) resolvers: Resolvers,
    /// The names of the routes inside, for `explain`.
    pub(crate) routes: Vec<String>,
    /// The scopes that operations inside require in addition, for documents about the API.
    pub(crate) inner_scopes: Vec<Scope>,
}

impl ProtectApi {
    /// Reads the variables `MONOCLOUD_BACKEND_*` (see [`guide::configuration`](crate::guide::configuration)).
    ///
    /// # Panics
    /// If the configuration is invalid, with **all** its problems in the message. Call it before `HttpServer::new`, so
    /// that there is only one message, and clone the handle into the closure.
    #[track_caller]
    pub fn from_env() -> Self {
        Self::from_env_with_prefix(env::PREFIX)
    }

    /// Like [`from_env`](Self::from_env), with another prefix such as `"MY_API_"`: for a second issuer, or for
    /// other names.
    ///
    /// # Panics
    /// The same as for [`from_env`](Self::from_env).
    #[track_caller]
    #[expect(
        clippy::panic,
        reason = "documented: there is no safe way to go on, and `wrap` takes no `Result`"
    )]
    pub fn from_env_with_prefix(prefix: &str) -> Self {
        match Self::try_from_env_with_prefix(prefix) {
            Ok(protect) => protect,
            Err(error) => panic!("{error}"),
        }
    }

    /// Like [`from_env`](Self::from_env), but returns the problems instead of panicking.
    ///
    /// # Errors
    /// Lists every problem, naming the variable.
    pub fn try_from_env() -> Result<Self, ConfigError> {
        Self::try_from_env_with_prefix(env::PREFIX)
    }

    /// Like [`try_from_env`](Self::try_from_env), with another prefix.
    ///
    /// # Errors
    /// Lists every problem, naming the variable.
    pub fn try_from_env_with_prefix(prefix: &str) -> Result<Self, ConfigError> {
        Self::builder_from_env_with_prefix(prefix).build()
    }

    /// Reads the given variables instead of those of the process. Their names start with the prefix.
    ///
    /// # Errors
    /// Lists every problem, naming the variable.
    pub fn try_from_variables<N, V>(
        prefix: &str,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        Self::builder_from_variables(prefix, variables).build()
    }

    /// Starts a configuration in code.
    ///
    /// `issuer` is the authorization server's identifier: an https URL (`http` is for loopback hosts), or a bare host.
    /// `audience` is this API's identifier, which `aud` must contain.
    pub fn builder(issuer: impl Into<String>, audience: impl Into<String>) -> ProtectApiBuilder {
        ProtectApiBuilder::new().issuer(issuer).audience(audience)
    }

    /// Starts a configuration without an audience, for a server whose access tokens have no `aud`. Only tokens of these
    /// clients are accepted; see [`allowed_clients`](ProtectApiBuilder::allowed_clients).
    pub fn builder_for_clients(
        issuer: impl Into<String>,
        clients: impl IntoIterator<Item = impl Into<String>>,
    ) -> ProtectApiBuilder {
        ProtectApiBuilder::new().issuer(issuer).allowed_clients(clients)
    }

    /// Starts a configuration with the variables `MONOCLOUD_BACKEND_*`, which code can override:
    /// `ProtectApi::builder_from_env().renderer(ProblemJson).build()`.
    ///
    /// The problems of the variables are reported by [`build`](ProtectApiBuilder::build). A required variable may be
    /// missing if code sets the same setting.
    pub fn builder_from_env() -> ProtectApiBuilder {
        Self::builder_from_env_with_prefix(env::PREFIX)
    }

    /// Like [`builder_from_env`](Self::builder_from_env), with another prefix.
    pub fn builder_from_env_with_prefix(prefix: &str) -> ProtectApiBuilder {
        env::from_process(prefix)
    }

    /// Like [`builder_from_env`](Self::builder_from_env), with the given variables instead of those of the process. Their
    /// names start with the prefix.
    pub fn builder_from_variables<N, V>(
        prefix: &str,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> ProtectApiBuilder
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        env::from_variables(prefix, variables.into_iter().map(|(name, value)| (name.into(), value.into())))
    }

    /// Accepts the tokens of several issuers behind one mount. The requirements of a mount are set on the result.
    ///
    /// - A **JWT** is validated by the issuer that its `iss` names, with the rules, credentials, keys and caches of this
    ///   issuer only. A JWT of another issuer is rejected with 401, and nothing is fetched for it.
    /// - An **opaque token** names no issuer. [`AnyOf`] has three ways to select one; without any of them it is rejected with
    ///   401.
    ///
    /// ```
    /// # fn main() -> Result<(), actix_protect_api::ConfigError> {
    /// use actix_protect_api::ProtectApi;
    ///
    /// let staff = ProtectApi::builder("staff.example.com", "my-api").build()?;
    /// let partners = ProtectApi::builder("partners.example.com", "my-api").build()?;
    /// let protect = ProtectApi::any_of([staff, partners]).build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Two issuers may have users with the same `sub`: use [`principal`](crate::AuthenticatedRequest::principal) as the key
    /// of a user.
    pub fn any_of(issuers: impl IntoIterator<Item = Self>) -> AnyOf {
        AnyOf::new(issuers.into_iter().collect())
    }

    /// Returns the states of the configured issuers.
    pub(crate) fn states(&self) -> &[Arc<State>] {
        match &self.issuers {
            Some(issuers) => &issuers.states,
            None => std::slice::from_ref(&self.state),
        }
    }

    /// Returns whether there are issuers that are found at run time.
    pub(crate) fn has_tenants(&self) -> bool {
        self.issuers.as_ref().is_some_and(|issuers| issuers.tenants.is_some())
    }

    /// Returns the states of the configured issuers, and of the cached tenants.
    fn all_states(&self) -> Vec<Arc<State>> {
        let tenants = self.issuers.iter().filter_map(|issuers| issuers.tenants.as_ref());
        self.states().iter().map(Arc::clone).chain(tenants.flat_map(Tenants::states)).collect()
    }

    pub(crate) fn from_state(state: Arc<State>) -> Self {
        Self { state, issuers: None, mount: Arc::default() }
    }

    /// Requires **all** of these scopes, in addition to those already required. A token that lacks one is rejected
    /// with 403. A scope that [includes](ProtectApiBuilder::scope_implies) a required one is sufficient. The challenge
    /// names all scopes that the mounts around the operation require. An empty list requires nothing.
    ///
    /// # Panics
    /// If a value is not a scope of RFC 6749 section 3.3 (empty, or with a space, a quote or a backslash).
    #[track_caller]
    #[doc(alias("authorize", "permissions"))]
    pub fn scopes<S: AsRef<str>>(&self, scopes: impl IntoIterator<Item = S>) -> Self {
        let mut scopes = parse_scopes(scopes);
        self.mounted(|mount| mount.requirements.all_scopes.append(&mut scopes))
    }

    /// Requires **one** of these scopes. Each further call adds a list of which one scope is required. An empty
    /// list requires nothing.
    ///
    /// # Panics
    /// The same as for [`scopes`](Self::scopes).
    #[track_caller]
    pub fn any_scope<S: AsRef<str>>(&self, scopes: impl IntoIterator<Item = S>) -> Self {
        let scopes = parse_scopes(scopes);
        self.mounted(|mount| mount.requirements.any_scopes.push(scopes))
    }

    /// Requires that the subject is in **one** of these groups, or in all of them if `groups_match_all` is set. Each
    /// further call adds a list. A request of another subject is rejected with 403, without an error code, because a new
    /// token would not help. An empty list requires nothing.
    #[doc(alias("roles"))]
    pub fn groups<S: Into<String>>(&self, groups: impl IntoIterator<Item = S>) -> Self {
        let groups = groups.into_iter().map(Into::into).collect();
        self.mounted(|mount| mount.requirements.groups.push(groups))
    }

    /// Forwards requests **without** a token as anonymous. Handlers take `Option<AuthenticatedRequest>`. A token that
    /// is present must be valid and meet the requirements of this mount; otherwise the request is rejected as usual.
    pub fn optional(&self) -> Self {
        self.mounted(|mount| mount.is_optional = true)
    }

    /// Forwards CORS preflight requests: `OPTIONS` with `Origin` and `Access-Control-Request-Method`. Browsers send
    /// them without credentials.
    ///
    /// Needed only if the CORS middleware is **inside** this mount. Place it outside if possible: rejections then
    /// carry CORS headers too, and preflight requests do not reach this mount. A handler for `OPTIONS` is not
    /// protected from such requests, but [`AuthenticatedRequest`](crate::AuthenticatedRequest) rejects them.
    pub fn allow_preflight(&self) -> Self {
        self.mounted(|mount| mount.allows_preflight = true)
    }

    /// Requires a verdict that is not older than this. The cache duration does not change this. With zero, no cached
    /// verdict is used: each request introspects the token, or joins a call for the same token that is in flight. The
    /// new verdict is cached for all mounts. Has no effect on JWTs that are validated locally.
    pub fn max_age(&self, age: Duration) -> Self {
        self.mounted(|mount| mount.max_age = Some(mount.max_age.map_or(age, |before| before.min(age))))
    }

    /// Reports the state of metadata, keys, introspection and caches. Makes no call.
    ///
    /// With several issuers: the state of the first one. See [`statuses`](Self::statuses).
    pub fn status(&self) -> Status {
        self.state.validator.status()
    }

    /// Returns each issuer with its state.
    pub fn statuses(&self) -> Vec<(String, Status)> {
        let status =
            |state: &Arc<State>| (state.settings.issuer.as_str().to_owned(), state.validator.status());
        self.all_states().iter().map(status).collect()
    }

    /// Returns a handle for another mount, with these requirements changed.
    pub(crate) fn mounted(&self, change: impl FnOnce(&mut Mount)) -> Self {
        let mut mount = (*self.mount).clone();
        change(&mut mount);
        Self { state: Arc::clone(&self.state), issuers: self.issuers.clone(), mount: Arc::new(mount) }
    }
}

#[track_caller]
#[expect(clippy::panic, reason = "documented: a programmer's mistake that shows at start-up")]
pub(crate) fn parse_scopes<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Vec<Scope> {
    let parse = |scope: S| match Scope::new(scope.as_ref()) {
        Some(parsed) => parsed,
        None => panic!("{:?} is not a scope (RFC 6749 section 3.3)", scope.as_ref()),
    };
    scopes.into_iter().map(parse).collect()
}

impl fmt::Debug for ProtectApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectApi")
            .field("settings", &self.state.settings)
            .field("issuers", &self.issuers)
            .field("mount", &self.mount)
            .finish()
    }
}
