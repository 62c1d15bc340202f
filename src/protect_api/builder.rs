//! The builder: every setting, its default and its effect.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use actix_web::HttpRequest;
use futures_util::future::ready;

use crate::{
    algorithm::Algorithm,
    cache::IntrospectionCache,
    certificate::{CertificateBinding, CertificateResolver, ResolverError},
    client_auth::{ClientAssertionAudience, ClientAuthentication},
    clock::Clock,
    error::ConfigError,
    protect_api::{ProtectApi, env::VariableSource, state::State},
    redact::UrlText,
    response::ErrorRenderer,
    settings::{ClientSettings, Hooks, TokenFuture, Tuning},
};

/// Builds a [`ProtectApi`] in code, or from variables and code together: [`ProtectApi::builder_from_env`].
///
/// Issuer and audience are required. Every other setting has a safe default.
/// [`build`](Self::build) validates everything and reports all problems at once.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ProtectApiBuilder {
    pub(crate) issuer: Option<UrlText>,
    pub(crate) audiences: Vec<String>,
    pub(crate) client: Option<ClientSettings>,
    pub(crate) introspection_endpoint: Option<UrlText>,
    pub(crate) jwks_uri: Option<UrlText>,
    pub(crate) trust_store: Option<String>,
    pub(crate) groups_claim: String,
    pub(crate) groups_match_all: bool,
    pub(crate) clock_skew: Duration,
    pub(crate) clock_tolerance: Duration,
    pub(crate) accept_missing_issuer: bool,
    pub(crate) accept_missing_audience: bool,
    pub(crate) required_claims: Vec<String>,
    pub(crate) binding: CertificateBinding,
    pub(crate) tuning: Tuning,
    pub(crate) hooks: Hooks,
    /// The variables that were read, if the builder was made from variables.
    pub(crate) source: Option<VariableSource>,
}

impl ProtectApiBuilder {
    pub(crate) fn new() -> Self {
        Self {
            issuer: None,
            audiences: Vec::new(),
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
            required_claims: Vec::new(),
            binding: CertificateBinding::default(),
            tuning: Tuning::default(),
            hooks: Hooks::default(),
            source: None,
        }
    }

    /// Sets the identifier of the authorization server: an https URL (`http` is for loopback hosts), or a bare host.
    /// Default: none, it is required.
    pub fn issuer(mut self, url: impl Into<String>) -> Self {
        self.issuer = Some(url.into().into());
        self
    }

    /// Sets the identifier of this API, which the token's `aud` must contain. Default: none, it is required.
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.audiences([audience])
    }

    /// Sets several identifiers of this API. The token's `aud` must contain one of them. Default: none, one audience is
    /// required.
    pub fn audiences(mut self, audiences: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.audiences = audiences.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the client id and credentials with which this API introspects tokens (RFC 7662 section 2.1).
    ///
    /// Default: none. JWTs are validated locally, and opaque tokens are rejected.
    pub fn client(mut self, id: impl Into<String>, authentication: ClientAuthentication) -> Self {
        self.client = Some(ClientSettings { id: id.into(), authentication });
        self
    }

    /// Sets the `aud` claim of client assertions (`client_secret_jwt`, `private_key_jwt`). Other methods do not use it. Default:
    /// [`ClientAssertionAudience::Issuer`].
    pub fn client_assertion_audience(mut self, audience: ClientAssertionAudience) -> Self {
        self.tuning.client_assertion_audience = audience;
        self
    }

    /// Sets the introspection endpoint: an https URL, or http on a loopback host. Default: discovered.
    ///
    /// Without [`jwks_uri`](Self::jwks_uri), nothing is discovered, and JWTs are introspected too.
    pub fn introspection_endpoint(mut self, url: impl Into<String>) -> Self {
        self.introspection_endpoint = Some(url.into().into());
        self
    }

    /// Sets the URL of the key set (RFC 7517): an https URL, or http on a loopback host. Default: discovered.
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.jwks_uri = Some(url.into().into());
        self
    }

    /// Selects one of the published `mtls_additional_endpoint_aliases` for mutual TLS. Default:
    /// `mtls_endpoint_aliases` (RFC 8705 section 5).
    pub fn trust_store_id(mut self, id: impl Into<String>) -> Self {
        self.trust_store = Some(id.into());
        self
    }

    /// Sets the claim that lists the subject's groups: a name, or a JSON pointer (RFC 6901) such as
    /// `/realm_access/roles`. Its value must be an array of strings, or of objects with `id` or `name`. Default:
    /// `groups`.
    pub fn groups_claim(mut self, claim: impl Into<String>) -> Self {
        self.groups_claim = claim.into();
        self
    }

    /// Sets whether a subject must be in all groups that a mount requires. Default: no, one of them is enough.
    pub fn groups_match_all(mut self, all: bool) -> Self {
        self.groups_match_all = all;
        self
    }

    /// Sets the time by which the local clock is behind the issuer's clock. It is added to the current time before
    /// `exp` and `nbf` are compared, and to the times of client assertions. Whole seconds, at most an hour. Default: 0 s.
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.clock_skew = skew;
        self
    }

    /// Sets the tolerance for `exp` and `nbf`. Whole seconds, at most an hour. Default: 60 s.
    pub fn clock_tolerance(mut self, tolerance: Duration) -> Self {
        self.clock_tolerance = tolerance;
        self
    }

    /// Sets whether an introspection response without `iss` is accepted. RFC 7662 makes `iss` optional. A wrong one
    /// is always rejected. Default: no.
    pub fn accept_missing_issuer(mut self, accept: bool) -> Self {
        self.accept_missing_issuer = accept;
        self
    }

    /// Sets the names of claims that each token must have, such as `client_id` if ID tokens lack it. Their values
    /// are not checked. A token without one of them is rejected with 401. Default: none beyond `iss`, `aud` and,
    /// for JWTs, `exp`.
    pub fn required_claims(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.required_claims = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how certificate-bound tokens are checked (RFC 8705). Default: [`CertificateBinding::WhenPresent`].
    pub fn certificate_binding(mut self, binding: CertificateBinding) -> Self {
        self.binding = binding;
        self
    }

    /// Sets whether JWTs are introspected too, so that a revocation takes effect at the next request. If keys are
    /// published, a JWT is verified locally first. Requires a [`client`](Self::client). Default: no.
    pub fn introspect_jwt_tokens(mut self, introspect: bool) -> Self {
        self.tuning.introspect_jwt_tokens = introspect;
        self
    }

    /// Sets the signature algorithms that JWTs may use. Default: all of [`Algorithm::ALL`].
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.tuning.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Sets whether the header of a JWT must have the type `at+jwt` (RFC 9068 section 4). Default: no; `JWT` or no
    /// type is accepted too.
    pub fn require_at_jwt(mut self, require: bool) -> Self {
        self.tuning.require_at_jwt = require;
        self
    }

    /// Sets whether verified JWTs are cached while the key set stays the same. The token itself is not stored, and
    /// all other checks (also the expiry) run on each request. Default: yes.
    pub fn remember_jwts(mut self, remember: bool) -> Self {
        self.tuning.remember_jwts = remember;
        self
    }

    /// Sets how long the metadata is used before it is fetched again: from 1 s to a day. Default: 300 s.
    pub fn metadata_cache_duration(mut self, lifetime: Duration) -> Self {
        self.tuning.metadata_lifetime = lifetime;
        self
    }

    /// Sets how long the key set is used before it is fetched again: from 1 s to a day. A withdrawn key is accepted
    /// for at most this time. Default: 300 s.
    pub fn jwks_cache_duration(mut self, lifetime: Duration) -> Self {
        self.tuning.jwks_lifetime = lifetime;
        self
    }

    /// Sets the minimum time between two fetches of the key set that are caused by an unknown `kid`. Default: 30 s.
    pub fn jwks_cooldown(mut self, cooldown: Duration) -> Self {
        self.tuning.jwks_cooldown = cooldown;
        self
    }

    /// Sets the maximum age of metadata and keys while fetching them fails. Above this age, requests are rejected
    /// with 503. At least as long as both cache durations. Default: 1 h.
    pub fn max_stale(mut self, age: Duration) -> Self {
        self.tuning.max_stale = age;
        self
    }

    /// Sets the maximum time for everything that one request waits for: metadata, keys, the queue for a call, the
    /// call itself and a cache store. A request that waits longer is rejected with 503. From 1 ms to 2 minutes.
    /// Default: 10 s.
    ///
    /// Each call to the authorization server has this deadline at most, from connecting to the last byte of the
    /// body. The time of a token resolver is not included.
    pub fn response_timeout(mut self, deadline: Duration) -> Self {
        self.tuning.response_timeout = deadline;
        self
    }

    /// Sets the maximum size of a response of the authorization server in bytes: introspection responses, metadata
    /// and key sets. Default: 1 MiB.
    pub fn max_response_size(mut self, bytes: usize) -> Self {
        self.tuning.max_response_size = bytes;
        self
    }

    /// Sets the maximum length of a token in bytes. A longer token is rejected with 400. Default: 16 KiB, twice the
    /// limit of common servers for all headers together.
    pub fn max_token_length(mut self, bytes: usize) -> Self {
        self.tuning.max_token_length = bytes;
        self
    }

    /// Sets the maximum time for which verdicts of introspection are cached (and never past `exp`): **a revoked
    /// token is still accepted during that time**. Default: 0 s, which caches none. Concurrent requests with one
    /// token share one call nevertheless.
    pub fn introspection_cache_duration(mut self, duration: Duration) -> Self {
        self.tuning.introspection_cache = Some(duration).filter(|duration| !duration.is_zero());
        self
    }

    /// Sets the maximum time for which the verdict "inactive" is cached. An authorization server with replicas may
    /// respond "inactive" for a token that it has just issued, and **that token is then rejected during this
    /// time**. With zero, none is cached, and each request with such a token causes a call. At most
    /// [`introspection_cache_duration`](Self::introspection_cache_duration). Default: 2 s, or that duration if it
    /// is shorter.
    pub fn inactive_cache_duration(mut self, duration: Duration) -> Self {
        self.tuning.inactive_cache = Some(duration);
        self
    }

    /// Sets the maximum number of active tokens in the in-memory cache, and of inactive ones. Default: 10 000.
    pub fn cache_entries(mut self, entries: usize) -> Self {
        self.tuning.cache_entries = entries;
        self
    }

    /// Sets the maximum memory of the claims in the in-memory cache, in bytes. Default: 64 MiB.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.tuning.cache_bytes = bytes;
        self
    }

    /// Sets a custom store for verdicts, for example one shared by several processes. Requires
    /// [`introspection_cache_duration`](Self::introspection_cache_duration) of at least 1 s: its entries have their age in whole seconds, and
    /// an entry that may be too old is not used. Default: in memory.
    pub fn cache_store(mut self, store: impl IntrospectionCache + 'static) -> Self {
        self.hooks.cache = Some(Arc::new(store));
        self
    }

    /// Sets the maximum number of introspection calls in flight, over all workers. Default: 64. This is less than
    /// the 100 connections of one worker's pool, so that no call waits inside the HTTP client.
    pub fn max_calls(mut self, calls: usize) -> Self {
        self.tuning.max_calls = calls;
        self
    }

    /// Sets the maximum number of requests that wait for introspection: for a free call, or for the call of another
    /// request with the same token. Further requests are rejected with 503 at once. Default: 1024.
    ///
    /// The same limit applies to requests that wait for metadata, to those that wait for keys, and to JWTs with an
    /// unknown `kid` that wait for a newer key set. Each of them is counted separately.
    pub fn max_waiting(mut self, requests: usize) -> Self {
        self.tuning.max_waiting = requests;
        self
    }

    /// Sets the `realm` of challenges. Default: none.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.tuning.realm = Some(realm.into());
        self
    }

    /// Sets the `resource_metadata` of challenges (RFC 9728 section 5.1). Every caller can read this URL, so
    /// credentials in it are an error. Default: none.
    pub fn resource_metadata(mut self, url: impl Into<String>) -> Self {
        self.tuning.resource_metadata = Some(url.into().into());
        self
    }

    /// Sets whether the default body of a rejection contains a random `reference`. The log record has the same
    /// reference, so the operator can find the reason without revealing it to the caller. A
    /// [`renderer`](Self::renderer) gets it from [`AuthError::reference`](crate::AuthError::reference). Default:
    /// no.
    pub fn error_reference(mut self, show: bool) -> Self {
        self.tuning.error_reference = show;
        self
    }

    /// Sets the renderer of rejection bodies. Default: `{"message":"unauthorized"}` and similar.
    pub fn renderer(mut self, renderer: impl ErrorRenderer + 'static) -> Self {
        self.hooks.renderer = Some(Arc::new(renderer));
        self
    }

    /// Sets a function that reads the token from another place than the `Authorization` header, such as a cookie or
    /// a WebSocket subprotocol.
    ///
    /// `Ok(None)` falls back to the header. `Ok(Some(token))` is the token, with white space trimmed, even if it is
    /// empty. An error is logged, and the request is rejected with 401. Browsers send cookies automatically:
    /// protect against cross-site request forgery. Default: the `Authorization` header.
    pub fn token_resolver<F>(self, resolver: F) -> Self
    where
        F: Fn(&HttpRequest) -> Result<Option<String>, ResolverError> + Send + Sync + 'static,
    {
        self.async_token_resolver(move |request| Box::pin(ready(resolver(request))))
    }

    /// Sets an async [`token_resolver`](Self::token_resolver): `|request| Box::pin(async move { … })`. It must not
    /// keep a clone of the request.
    pub fn async_token_resolver<F>(mut self, resolver: F) -> Self
    where
        F: for<'r> Fn(&'r HttpRequest) -> TokenFuture<'r> + Send + Sync + 'static,
    {
        self.hooks.token_resolver = Some(Arc::new(resolver));
        self
    }

    /// Sets the source of the caller's certificate if a proxy terminates TLS. Default: the TLS connection, if
    /// [`certificate::on_connect`](crate::certificate::on_connect) is installed.
    pub fn certificate_resolver(mut self, resolver: impl CertificateResolver + 'static) -> Self {
        self.hooks.certificate_resolver = Some(Arc::new(resolver));
        self
    }

    /// Sets the clock. Default: [`SystemClock`](crate::SystemClock).
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.hooks.clock = Some(Arc::new(clock));
        self
    }

    /// Opens the settings that disable a check. Each of them documents the risk.
    pub fn dangerous(self) -> Dangerous {
        Dangerous(self)
    }

    /// Validates everything and creates the [`ProtectApi`]. Makes no network call, so the server may start before
    /// the issuer.
    ///
    /// Equal configurations of one process share their caches, keys and calls in flight. Resolvers, renderers and
    /// stores are equal only if they are the same object.
    ///
    /// # Errors
    /// Lists every problem of the configuration.
    pub fn build(self) -> Result<ProtectApi, ConfigError> {
        let hooks = self.hooks.clone();
        let settings = self.validate()?;
        Ok(ProtectApi::from_state(State::obtain(settings, hooks)))
    }
}

/// Settings that disable a check; see [`ProtectApiBuilder::dangerous`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Dangerous(ProtectApiBuilder);

impl Dangerous {
    /// Accepts introspection responses and tokens without `aud`. A wrong one is still rejected.
    ///
    /// **A token that was issued for another API is then accepted by this one**, unless the authorization server
    /// responds `active: false` to this client for such tokens.
    pub fn accept_missing_audience(mut self) -> ProtectApiBuilder {
        self.0.accept_missing_audience = true;
        self.0
    }
}
