//! The settings of one API, the builder that makes them, and the one place where they are validated.

pub(crate) mod env;

use std::{fmt, sync::Arc, time::Duration};

use actix_web::{HttpRequest, http::Uri};
use futures_util::future::{LocalBoxFuture, ready};

use crate::{
    algorithm::Algorithm,
    cache::IntrospectionCache,
    certificate::{CertificateBinding, CertificateResolver, ResolverError},
    challenge::is_quotable,
    client_auth::ClientAuthentication,
    clock::{Clock, SystemClock},
    discovery::{Issuer, endpoint},
    error::{ConfigError, ConfigProblem},
    middleware::ProtectApi,
    policy::{GroupsClaim, Rules},
    response::ErrorRenderer,
    shared::Shared,
};

/// Everything that can be compared: two equal ones share their state within a process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) issuer: Issuer,
    pub(crate) rules: Rules,
    pub(crate) client: Option<Client>,
    pub(crate) introspection_endpoint: Option<Uri>,
    pub(crate) jwks_uri: Option<Uri>,
    pub(crate) trust_store: Option<String>,
    pub(crate) introspect_jwt_tokens: bool,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) require_at_jwt: bool,
    pub(crate) remember_jwts: bool,
    pub(crate) metadata_lifetime: Duration,
    pub(crate) jwks_lifetime: Duration,
    pub(crate) jwks_cooldown: Duration,
    pub(crate) max_stale: Duration,
    pub(crate) response_timeout: Duration,
    pub(crate) max_response_size: usize,
    pub(crate) max_token_length: usize,
    pub(crate) introspection_cache: Option<Duration>,
    pub(crate) cache_entries: usize,
    pub(crate) cache_bytes: u64,
    pub(crate) max_calls: usize,
    pub(crate) max_waiting: usize,
    pub(crate) realm: Option<String>,
    pub(crate) resource_metadata: Option<String>,
}

/// This API as a client of the authorization server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) authentication: ClientAuthentication,
}

/// The user's own code. Compared by identity.
#[derive(Clone)]
pub(crate) struct Hooks {
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) renderer: Option<Arc<dyn ErrorRenderer>>,
    pub(crate) token_resolver: Option<Arc<TokenResolver>>,
    pub(crate) certificate_resolver: Option<Arc<dyn CertificateResolver>>,
    pub(crate) cache: Option<Arc<dyn IntrospectionCache>>,
}

pub(crate) type TokenResolver = dyn for<'r> Fn(&'r HttpRequest) -> LocalBoxFuture<'r, Result<Option<String>, ResolverError>>
    + Send
    + Sync;

impl Hooks {
    pub(crate) fn same(&self, other: &Self) -> bool {
        fn same<T: ?Sized>(left: Option<&Arc<T>>, right: Option<&Arc<T>>) -> bool {
            match (left, right) {
                (None, None) => true,
                (Some(left), Some(right)) => Arc::ptr_eq(left, right),
                _ => false,
            }
        }
        same(self.clock.as_ref(), other.clock.as_ref())
            && same(self.renderer.as_ref(), other.renderer.as_ref())
            && same(self.token_resolver.as_ref(), other.token_resolver.as_ref())
            && same(self.certificate_resolver.as_ref(), other.certificate_resolver.as_ref())
            && same(self.cache.as_ref(), other.cache.as_ref())
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone().unwrap_or_else(|| Arc::new(SystemClock::new()))
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

/// Builds a [`ProtectApi`] in code; [`ProtectApi::from_env`] reads the same settings from variables.
///
/// Issuer and audience are positional because there is no API without them. Every other setting has a default that is
/// safe without knowing it; [`build`](Self::build) validates everything and reports all problems at once.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ProtectApiBuilder {
    issuer: String,
    audience: String,
    client: Option<Client>,
    introspection_endpoint: Option<String>,
    jwks_uri: Option<String>,
    trust_store: Option<String>,
    groups_claim: String,
    groups_match_all: bool,
    clock_skew: Duration,
    clock_tolerance: Duration,
    accept_missing_issuer: bool,
    accept_missing_audience: bool,
    binding: CertificateBinding,
    introspect_jwt_tokens: bool,
    algorithms: Vec<Algorithm>,
    require_at_jwt: bool,
    remember_jwts: bool,
    metadata_lifetime: Duration,
    jwks_lifetime: Duration,
    jwks_cooldown: Duration,
    max_stale: Duration,
    response_timeout: Duration,
    max_response_size: usize,
    max_token_length: usize,
    introspection_cache: Option<Duration>,
    cache_entries: usize,
    cache_bytes: u64,
    max_calls: usize,
    max_waiting: usize,
    realm: Option<String>,
    resource_metadata: Option<String>,
    hooks: Hooks,
    /// By which names problems are reported: the builder's methods or the variables.
    names: Names,
}

/// How a setting is called where it was set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// The prefix of the variables, `None` for the builder's methods.
    prefix: Option<String>,
}

impl Names {
    pub(crate) fn variables(prefix: &str) -> Self {
        Self { prefix: Some(prefix.to_owned()) }
    }

    fn of(&self, method: &str, variable: &str) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix}{variable}"),
            None => method.to_owned(),
        }
    }
}

impl ProtectApiBuilder {
    pub(crate) fn new(issuer: String, audience: String) -> Self {
        Self {
            issuer,
            audience,
            client: None,
            introspection_endpoint: None,
            jwks_uri: None,
            trust_store: None,
            groups_claim: "groups".to_owned(),
            groups_match_all: false,
            clock_skew: Duration::ZERO,
            clock_tolerance: Duration::from_secs(60),
            accept_missing_issuer: false,
            accept_missing_audience: false,
            binding: CertificateBinding::default(),
            introspect_jwt_tokens: false,
            algorithms: Algorithm::ALL.to_vec(),
            require_at_jwt: false,
            remember_jwts: true,
            metadata_lifetime: Duration::from_secs(300),
            jwks_lifetime: Duration::from_secs(300),
            jwks_cooldown: Duration::from_secs(30),
            max_stale: Duration::from_secs(3600),
            response_timeout: Duration::from_secs(10),
            max_response_size: 1024 * 1024,
            max_token_length: 16 * 1024,
            introspection_cache: None,
            cache_entries: 10_000,
            cache_bytes: 64 * 1024 * 1024,
            max_calls: 64,
            max_waiting: 1024,
            realm: None,
            resource_metadata: None,
            hooks: Hooks {
                clock: None,
                renderer: None,
                token_resolver: None,
                certificate_resolver: None,
                cache: None,
            },
            names: Names::default(),
        }
    }

    pub(crate) fn reported_as(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// The client id and credentials with which this API introspects tokens (RFC 7662 section 2.1).
    ///
    /// By default there are none: JWTs are validated locally, and opaque tokens are refused.
    pub fn client(mut self, id: impl Into<String>, authentication: ClientAuthentication) -> Self {
        self.client = Some(Client { id: id.into(), authentication });
        self
    }

    /// The introspection endpoint, where it shall not be discovered. Must be https or on loopback.
    ///
    /// Without [`jwks_uri`](Self::jwks_uri) beside it nothing is discovered at all, and JWTs are introspected too.
    pub fn introspection_endpoint(mut self, url: impl Into<String>) -> Self {
        self.introspection_endpoint = Some(url.into());
        self
    }

    /// The address of the key set (RFC 7517), where it shall not be discovered. Must be https or on loopback.
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.jwks_uri = Some(url.into());
        self
    }

    /// Which of the published `mtls_additional_endpoint_aliases` to use for mutual TLS. Default: the plain
    /// `mtls_endpoint_aliases` (RFC 8705 section 5).
    pub fn trust_store_id(mut self, id: impl Into<String>) -> Self {
        self.trust_store = Some(id.into());
        self
    }

    /// The claim that lists the subject's groups: a name (default `groups`), or a JSON pointer (RFC 6901) such as
    /// `/realm_access/roles`. Its value must be an array of strings, or of objects with `id` or `name`.
    pub fn groups_claim(mut self, claim: impl Into<String>) -> Self {
        self.groups_claim = claim.into();
        self
    }

    /// Whether a subject must be in all groups that a mount names. Default: in any of them.
    pub fn groups_match_all(mut self, all: bool) -> Self {
        self.groups_match_all = all;
        self
    }

    /// By how much this machine's clock is behind the issuer's: added to the time before `exp` and `nbf` are compared.
    /// Whole seconds, at most an hour. Default: 0.
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.clock_skew = skew;
        self
    }

    /// By how much `exp` and `nbf` may be missed. Whole seconds, at most an hour. Default: 60 s.
    pub fn clock_tolerance(mut self, tolerance: Duration) -> Self {
        self.clock_tolerance = tolerance;
        self
    }

    /// Whether an introspection answer without `iss` is accepted; RFC 7662 makes it optional. A wrong one is always
    /// refused. Default: no.
    pub fn accept_missing_issuer(mut self, accept: bool) -> Self {
        self.accept_missing_issuer = accept;
        self
    }

    /// How tokens that are bound to a client certificate are checked (RFC 8705). Default:
    /// [`CertificateBinding::WhenPresent`].
    pub fn certificate_binding(mut self, binding: CertificateBinding) -> Self {
        self.binding = binding;
        self
    }

    /// Whether JWTs are introspected like opaque tokens rather than validated locally: each request then sees a
    /// revocation. Needs a [`client`](Self::client). Default: no.
    pub fn introspect_jwt_tokens(mut self, introspect: bool) -> Self {
        self.introspect_jwt_tokens = introspect;
        self
    }

    /// The signature algorithms that JWTs may use. Default: all of [`Algorithm::ALL`].
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Whether a JWT's `typ` must be `at+jwt` (RFC 9068 section 4). Default: no; `JWT` or none will do.
    pub fn require_at_jwt(mut self, require: bool) -> Self {
        self.require_at_jwt = require;
        self
    }

    /// Whether a JWT whose signature was verified is remembered, by its digest, until it expires or the keys change.
    /// Everything else is checked on each request all the same. Default: yes.
    pub fn remember_jwts(mut self, remember: bool) -> Self {
        self.remember_jwts = remember;
        self
    }

    /// How long the metadata counts before it is fetched again: from 1 s to a day. Default: 300 s.
    pub fn metadata_cache(mut self, lifetime: Duration) -> Self {
        self.metadata_lifetime = lifetime;
        self
    }

    /// How long the key set counts before it is fetched again, and so how long a withdrawn key still works at most:
    /// from 1 s to a day. Default: 300 s.
    pub fn jwks_cache(mut self, lifetime: Duration) -> Self {
        self.jwks_lifetime = lifetime;
        self
    }

    /// At most one fetch of the key set because of an unknown `kid` in this time. Default: 30 s.
    pub fn jwks_cooldown(mut self, cooldown: Duration) -> Self {
        self.jwks_cooldown = cooldown;
        self
    }

    /// How old the last good metadata and keys may get while fetching fails; past that the answer is 503. At least as
    /// long as both lifetimes. Default: an hour.
    pub fn max_stale(mut self, age: Duration) -> Self {
        self.max_stale = age;
        self
    }

    /// The deadline of each call to the authorization server, from connecting to the last byte of the body: from 1 ms
    /// to 2 minutes. Default: 10 s.
    pub fn response_timeout(mut self, deadline: Duration) -> Self {
        self.response_timeout = deadline;
        self
    }

    /// The largest answer of the authorization server, in bytes. Default: 1 MiB.
    pub fn max_response_size(mut self, bytes: usize) -> Self {
        self.max_response_size = bytes;
        self
    }

    /// The longest token, in bytes; a longer one is answered 400. Default: 16 KiB, twice what common servers accept
    /// for all headers together.
    pub fn max_token_length(mut self, bytes: usize) -> Self {
        self.max_token_length = bytes;
        self
    }

    /// Keeps introspection's verdicts for at most this long (and never past `exp`): **a revoked token still works for
    /// that time**. Zero, the default, keeps none; concurrent requests with one token share one call all the same.
    pub fn introspection_cache(mut self, duration: Duration) -> Self {
        self.introspection_cache = Some(duration).filter(|duration| !duration.is_zero());
        self
    }

    /// How many good tokens the in-memory cache holds, and how many inactive ones beside them. Default: 10 000.
    pub fn cache_entries(mut self, entries: usize) -> Self {
        self.cache_entries = entries;
        self
    }

    /// How much memory the claims in the in-memory cache may take, in bytes. Default: 64 MiB.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// A store of your own for verdicts, shared by several processes for example. Needs
    /// [`introspection_cache`](Self::introspection_cache).
    pub fn cache_store(mut self, store: impl IntrospectionCache + 'static) -> Self {
        self.hooks.cache = Some(Arc::new(store));
        self
    }

    /// How many introspections are under way at most, over all workers. Default: 64, below the 100 connections of
    /// one worker's pool, so that no call waits inside the HTTP client.
    pub fn max_calls(mut self, calls: usize) -> Self {
        self.max_calls = calls;
        self
    }

    /// How many requests wait for one of these calls at most; further ones are answered 503 at once. Default: 1024.
    pub fn max_waiting(mut self, requests: usize) -> Self {
        self.max_waiting = requests;
        self
    }

    /// The `realm` of challenges. Default: none.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = Some(realm.into());
        self
    }

    /// The `resource_metadata` of challenges (RFC 9728 section 5.1). Default: none.
    pub fn resource_metadata(mut self, url: impl Into<String>) -> Self {
        self.resource_metadata = Some(url.into());
        self
    }

    /// Writes the bodies of refusals. Default: `{"message":"unauthorized"}` and the like.
    pub fn renderer(mut self, renderer: impl ErrorRenderer + 'static) -> Self {
        self.hooks.renderer = Some(Arc::new(renderer));
        self
    }

    /// Takes the token from somewhere else than the `Authorization` header: a cookie, a WebSocket subprotocol.
    ///
    /// `Ok(None)` falls back to the header; `Ok(Some(token))` is trimmed and is the token, also if it is empty; an error
    /// is answered 401 and logged. Mind that browsers send cookies by themselves: protect against forged requests.
    pub fn token_resolver<F>(self, resolver: F) -> Self
    where
        F: Fn(&HttpRequest) -> Result<Option<String>, ResolverError> + Send + Sync + 'static,
    {
        self.async_token_resolver(move |request| Box::pin(ready(resolver(request))))
    }

    /// [`token_resolver`](Self::token_resolver) for resolvers that wait for something:
    /// `|request| Box::pin(async move { … })`. Do not keep a clone of the request.
    pub fn async_token_resolver<F>(mut self, resolver: F) -> Self
    where
        F: for<'r> Fn(&'r HttpRequest) -> LocalBoxFuture<'r, Result<Option<String>, ResolverError>>
            + Send
            + Sync
            + 'static,
    {
        self.hooks.token_resolver = Some(Arc::new(resolver));
        self
    }

    /// Where the caller's certificate comes from when a proxy terminates TLS. Default: the TLS connection, if
    /// [`certificate::on_connect`](crate::certificate::on_connect) is installed.
    pub fn certificate_resolver(mut self, resolver: impl CertificateResolver + 'static) -> Self {
        self.hooks.certificate_resolver = Some(Arc::new(resolver));
        self
    }

    /// The clock. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.hooks.clock = Some(Arc::new(clock));
        self
    }

    /// Settings that switch a check off. Each says who must check instead.
    pub fn dangerous(self) -> Dangerous {
        Dangerous(self)
    }

    /// Validates everything and makes the [`ProtectApi`]. Does no network I/O: the server may start before the issuer.
    ///
    /// Equal configurations share their caches, keys and calls in flight within one process; resolvers, renderers and
    /// stores are equal only if they are the same object.
    ///
    /// # Errors
    /// Lists every problem of the configuration.
    pub fn build(self) -> Result<ProtectApi, ConfigError> {
        self.build_with(Vec::new())
    }

    pub(crate) fn build_with(self, problems: Vec<ConfigProblem>) -> Result<ProtectApi, ConfigError> {
        let hooks = self.hooks.clone();
        let settings = self.validate(problems)?;
        Ok(ProtectApi::of(Shared::obtain(settings, hooks)))
    }

    fn validate(self, problems: Vec<ConfigProblem>) -> Result<Settings, ConfigError> {
        let mut check = Check { problems, names: self.names.clone() };
        let issuer = check.parsed("issuer", "TENANT_DOMAIN", &self.issuer, Issuer::parse);
        if self.audience.trim().is_empty() {
            check.problem(
                "audience",
                "AUDIENCE",
                "is missing or empty, wanted is the identifier of this API as it stands in `aud`",
            );
        }
        let introspection_endpoint = self
            .introspection_endpoint
            .as_deref()
            .and_then(|url| check.parsed("introspection_endpoint", "", url, endpoint));
        let jwks_uri = self.jwks_uri.as_deref().and_then(|url| check.parsed("jwks_uri", "", url, endpoint));
        check.client(self.client.as_ref());
        if self.client.is_none() && self.introspect_jwt_tokens {
            check.problem(
                "introspect_jwt_tokens",
                "INTROSPECT_JWT_TOKENS",
                "is true, but there are no client credentials to introspect with",
            );
        }
        if self.client.is_none() && self.introspection_endpoint.is_some() {
            check.problem(
                "introspection_endpoint",
                "",
                "is set, but there are no client credentials to introspect with",
            );
        }
        let uses_mtls = self.client.as_ref().is_some_and(|client| client.authentication.uses_mtls());
        if self.trust_store.is_some() && !uses_mtls {
            check.problem(
                "trust_store_id",
                "TRUST_STORE_ID",
                "is set, but the client authentication method does not use mutual TLS",
            );
        }
        if self.groups_claim.trim().is_empty() {
            check.problem(
                "groups_claim",
                "GROUPS_CLAIM",
                "is empty, wanted is a claim's name or a JSON pointer",
            );
        }
        if self.algorithms.is_empty() {
            check.problem("algorithms", "", "is an empty list: no JWT could pass");
        }
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
        let clock_skew = check.seconds("clock_skew", "CLOCK_SKEW", self.clock_skew, hour);
        let clock_tolerance = check.seconds("clock_tolerance", "CLOCK_TOLERANCE", self.clock_tolerance, hour);
        let second = Duration::from_secs(1);
        check.range("metadata_cache", "METADATA_CACHE_DURATION", self.metadata_lifetime, second, day);
        check.range("jwks_cache", "JWKS_CACHE_DURATION", self.jwks_lifetime, second, day);
        check.range("jwks_cooldown", "", self.jwks_cooldown, second, hour);
        check.range("max_stale", "", self.max_stale, second, 7 * day);
        check.range(
            "response_timeout",
            "RESPONSE_TIMEOUT",
            self.response_timeout,
            Duration::from_millis(1),
            Duration::from_secs(120),
        );
        check.range(
            "introspection_cache",
            "INTROSPECTION_CACHE_DURATION",
            self.introspection_cache.unwrap_or_default(),
            Duration::ZERO,
            day,
        );
        if self.hooks.cache.is_some() && self.introspection_cache.is_none() {
            check.problem("cache_store", "", "is set, but introspection_cache is not: nothing would be kept");
        }
        for (name, value) in [
            ("max_response_size", self.max_response_size),
            ("max_token_length", self.max_token_length),
            ("max_calls", self.max_calls),
            ("cache_entries", self.cache_entries),
        ] {
            if value == 0 {
                check.problem(name, "", "is 0: no request could pass");
            }
        }
        for (name, value) in [("realm", &self.realm), ("resource_metadata", &self.resource_metadata)] {
            if value.as_deref().is_some_and(|value| !is_quotable(value)) {
                check.problem(
                    name,
                    "",
                    "has characters outside printable ASCII, which a header cannot carry",
                );
            }
        }
        let issuer = match issuer {
            Some(issuer) if check.problems.is_empty() => issuer,
            _ => return Err(ConfigError::of(check.problems)),
        };
        Ok(Settings {
            rules: Rules {
                audience: self.audience,
                accept_missing_issuer: self.accept_missing_issuer,
                accept_missing_audience: self.accept_missing_audience,
                clock_skew,
                clock_tolerance,
                groups: GroupsClaim::new(&self.groups_claim),
                groups_match_all: self.groups_match_all,
                binding: self.binding,
            },
            issuer,
            client: self.client,
            introspect_jwt_tokens: self.introspect_jwt_tokens
                || (introspection_endpoint.is_some() && jwks_uri.is_none()),
            introspection_endpoint,
            jwks_uri,
            trust_store: self.trust_store,
            algorithms: self.algorithms,
            require_at_jwt: self.require_at_jwt,
            remember_jwts: self.remember_jwts,
            max_stale: self.max_stale.max(self.metadata_lifetime).max(self.jwks_lifetime),
            metadata_lifetime: self.metadata_lifetime,
            jwks_lifetime: self.jwks_lifetime,
            jwks_cooldown: self.jwks_cooldown,
            response_timeout: self.response_timeout,
            max_response_size: self.max_response_size,
            max_token_length: self.max_token_length,
            introspection_cache: self.introspection_cache,
            cache_entries: self.cache_entries,
            cache_bytes: self.cache_bytes,
            max_calls: self.max_calls,
            max_waiting: self.max_waiting,
            realm: self.realm,
            resource_metadata: self.resource_metadata,
        })
    }
}

/// The settings that switch a check off; see [`ProtectApiBuilder::dangerous`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Dangerous(ProtectApiBuilder);

impl Dangerous {
    /// Accepts introspection answers and tokens without `aud`. A wrong one is still refused.
    ///
    /// **A token that was issued for another API then opens this one too**, unless the authorization server answers
    /// `active: false` to this client for tokens that are not meant for it.
    pub fn accept_missing_audience(mut self) -> ProtectApiBuilder {
        self.0.accept_missing_audience = true;
        self.0
    }
}

/// Collects the problems of a configuration.
struct Check {
    problems: Vec<ConfigProblem>,
    names: Names,
}

impl Check {
    fn problem(&mut self, method: &str, variable: &str, message: impl Into<String>) {
        self.problems.push(ConfigProblem::new(self.names.of(method, variable), message));
    }

    fn parsed<T>(
        &mut self,
        method: &str,
        variable: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            // Credentials in a URL are refused, but must not be shown either.
            Err(wanted) => {
                let seen = if text.contains('@') {
                    "[not shown: it may hold credentials]".to_owned()
                } else {
                    format!("{text:?}")
                };
                self.problem(method, variable, format!("is {seen}, wanted is {wanted}"));
                None
            }
        }
    }

    fn seconds(&mut self, method: &str, variable: &str, value: Duration, most: Duration) -> i64 {
        if value > most || value.subsec_nanos() > 0 {
            self.problem(
                method,
                variable,
                format!("is {value:?}, wanted are whole seconds up to {}", most.as_secs()),
            );
        }
        i64::try_from(value.as_secs()).unwrap_or(i64::MAX)
    }

    fn range(&mut self, method: &str, variable: &str, value: Duration, least: Duration, most: Duration) {
        if !(least..=most).contains(&value) {
            self.problem(
                method,
                variable,
                format!("is {value:?}, wanted is a duration from {least:?} to {most:?}"),
            );
        }
    }

    fn client(&mut self, client: Option<&Client>) {
        let Some(client) = client else { return };
        if client.id.is_empty() {
            self.problem("client", "CLIENT_ID", "is empty");
        }
        if let Err(message) = client.authentication.check(&client.id) {
            let method = client.authentication.method();
            self.problem("client", "CLIENT_SECRET", format!("does not fit {method}: {message}"));
        }
    }
}
