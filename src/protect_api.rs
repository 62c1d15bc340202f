//! [`ProtectApi`]: the handle that apps hold, and what each mount of it asks for.

use std::{ffi::OsString, fmt, sync::Arc, time::Duration};

use crate::{
    bearer::BearerToken,
    cache::CacheError,
    config::{ProtectApiBuilder, env},
    error::ConfigError,
    policy::Requirements,
    scope::Scope,
    shared::Shared,
    status::Status,
};

/// Lets only requests with a valid access token through: wrap it around an app, a scope, a resource or a route.
///
/// A handle to state that all its clones share: settings, metadata, keys, verdicts, calls in flight. Cloning is cheap,
/// and the methods below say what **this mount** asks for beyond a valid token. Nested mounts of one configuration
/// validate the token once; each checks its own requirements.
///
/// # What is checked
/// The token's signature or the issuer's word that it is active, and then on every request its issuer, audience,
/// expiry, not-before, this mount's scopes and groups, and the client certificate that it is bound to.
///
/// # What is not checked
/// What the token's subject may do with *this* object: only your handler knows that.
///
/// # How the defaults were chosen
/// So that a team which copies the first example is safe: no verdict is kept (a revoked token fails at once), a missing
/// `iss` or `aud` is refused, the token comes from the `Authorization` header only, every call has a deadline.
#[derive(Clone)]
#[must_use = "it protects what it is wrapped around"]
pub struct ProtectApi {
    pub(crate) shared: Arc<Shared>,
    pub(crate) mount: Arc<Mount>,
}

/// What one mount asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mount {
    pub(crate) requirements: Requirements,
    pub(crate) is_optional: bool,
    pub(crate) allows_preflight: bool,
    pub(crate) max_age: Option<Duration>,
}

impl ProtectApi {
    /// Reads the variables `MONOCLOUD_BACKEND_*` (see the crate's documentation for the table).
    ///
    /// # Panics
    /// If the configuration is not valid, with **all** its problems: a server without it must not start. Call it before
    /// `HttpServer::new` for a clean message, and clone the handle into the closure.
    #[track_caller]
    pub fn from_env() -> Self {
        Self::from_env_with_prefix(env::PREFIX)
    }

    /// [`from_env`](Self::from_env) with another prefix, for a second issuer or your own naming: `"MY_API_"`.
    ///
    /// # Panics
    /// As [`from_env`](Self::from_env).
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

    /// [`from_env`](Self::from_env) for those who print the problems themselves.
    ///
    /// # Errors
    /// Lists every problem, naming the variable.
    pub fn try_from_env() -> Result<Self, ConfigError> {
        Self::try_from_env_with_prefix(env::PREFIX)
    }

    /// [`try_from_env`](Self::try_from_env) with another prefix.
    ///
    /// # Errors
    /// Lists every problem, naming the variable.
    pub fn try_from_env_with_prefix(prefix: &str) -> Result<Self, ConfigError> {
        env::from_process(prefix)
    }

    /// The same from variables of your choice, whose names start with the prefix, instead of the process's.
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
        env::from_variables(prefix, variables.into_iter().map(|(name, value)| (name.into(), value.into())))
    }

    /// Starts a configuration in code.
    ///
    /// `issuer` is the authorization server's identifier: an https URL (`http` is for loopback hosts), or a bare host.
    /// `audience` is this API's identifier, which `aud` must contain.
    pub fn builder(issuer: impl Into<String>, audience: impl Into<String>) -> ProtectApiBuilder {
        ProtectApiBuilder::new(issuer.into(), audience.into())
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { shared, mount: Arc::default() }
    }

    /// Asks for **all** of these scopes, besides those that this handle asks for already. A token without is answered
    /// 403 with the scopes in the challenge. An empty list asks for nothing.
    ///
    /// # Panics
    /// If one is not a scope of RFC 6749 section 3.3 (empty, or with a space, a quote, a backslash): no token has it.
    #[track_caller]
    pub fn scopes<S: AsRef<str>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        let mut scopes = parse_scopes(scopes);
        self.mounted(|mount| mount.requirements.all_scopes.append(&mut scopes))
    }

    /// Asks for **one** of these scopes. Called again, it asks for one of each list. An empty list asks for nothing.
    ///
    /// # Panics
    /// As [`scopes`](Self::scopes).
    #[track_caller]
    pub fn any_scope<S: AsRef<str>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        let scopes = parse_scopes(scopes);
        self.mounted(|mount| mount.requirements.any_scopes.push(scopes))
    }

    /// Asks that the subject is in **one** of these groups, or in all of them if the configuration says so. Called
    /// again, it asks for each list. A token without is answered 403. An empty list asks for nothing.
    pub fn groups<S: Into<String>>(self, groups: impl IntoIterator<Item = S>) -> Self {
        let groups = groups.into_iter().map(Into::into).collect();
        self.mounted(|mount| mount.requirements.groups.push(groups))
    }

    /// Lets requests **without** a token through, as anonymous: handlers take `Option<AuthenticatedRequest>`. A token
    /// that is there must be valid and fulfil this mount's requirements; a bad one is refused as ever.
    pub fn optional(self) -> Self {
        self.mounted(|mount| mount.is_optional = true)
    }

    /// Lets CORS preflights through: `OPTIONS` with `Origin` and `Access-Control-Request-Method`, which browsers send
    /// without credentials.
    ///
    /// For CORS that is answered **inside** this mount. Where the CORS middleware is outside, which is the better order
    /// (it then also covers refusals), preflights never get here. No handler that serves `OPTIONS` is protected from
    /// such requests; [`AuthenticatedRequest`](crate::AuthenticatedRequest) refuses them.
    pub fn allow_preflight(self) -> Self {
        self.mounted(|mount| mount.allows_preflight = true)
    }

    /// Asks for a verdict that is not older than this, whatever the cache's duration; zero introspects now. The newer
    /// verdict is kept for everyone. Means nothing for JWTs that are validated locally.
    pub fn max_age(self, age: Duration) -> Self {
        self.mounted(|mount| mount.max_age = Some(mount.max_age.map_or(age, |before| before.min(age))))
    }

    /// How this API stands with its authorization server. Makes no call.
    pub fn status(&self) -> Status {
        self.shared.validator.status()
    }

    /// Forgets what is remembered of this token, for whoever learns of a revocation: the next request with it asks
    /// anew. A JWT that is validated locally is not revoked by this.
    ///
    /// # Errors
    /// Only with a [store of your own](ProtectApiBuilder::cache_store): it failed or did not answer in time, or the metadata,
    /// which its keys are made of, is not known to this process yet. The verdict may still be in it then.
    pub async fn evict(&self, token: &str) -> Result<(), CacheError> {
        match BearerToken::resolved(token, usize::MAX) {
            Ok(token) => self.shared.validator.evict(&token).await,
            // What is no token was never remembered.
            Err(_) => Ok(()),
        }
    }

    /// Forgets what is remembered of every token of this subject. Looks at every entry.
    ///
    /// # Errors
    /// With a [store of your own](ProtectApiBuilder::cache_store), which cannot be searched: its entries stay.
    pub fn evict_subject(&self, subject: &str) -> Result<(), CacheError> {
        self.shared.validator.evict_subject(subject)
    }

    /// Forgets everything that is remembered of tokens.
    ///
    /// # Errors
    /// With a [store of your own](ProtectApiBuilder::cache_store), which cannot be emptied from here: its entries stay.
    pub fn clear(&self) -> Result<(), CacheError> {
        self.shared.validator.clear()
    }

    #[track_caller]
    fn mounted(mut self, change: impl FnOnce(&mut Mount)) -> Self {
        change(Arc::make_mut(&mut self.mount));
        self
    }
}

#[track_caller]
#[expect(clippy::panic, reason = "documented: a programmer's mistake that shows at start-up")]
fn parse_scopes<S: AsRef<str>>(scopes: impl IntoIterator<Item = S>) -> Vec<Scope> {
    let parse = |scope: S| match Scope::new(scope.as_ref()) {
        Some(parsed) => parsed,
        None => panic!("{:?} is not a scope (RFC 6749 section 3.3)", scope.as_ref()),
    };
    scopes.into_iter().map(parse).collect()
}

impl fmt::Debug for ProtectApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectApi")
            .field("settings", &self.shared.settings)
            .field("mount", &self.mount)
            .finish()
    }
}
