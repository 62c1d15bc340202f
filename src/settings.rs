//! The validated settings of one API, as plain data.

mod document;
mod endpoint_url;
mod issuer_url;
mod jwts_when_blind;
mod network;
mod proxy;
mod request_extras;
mod resource;
mod traceparent;

use std::{fmt, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use actix_web::HttpRequest;

pub use self::jwts_when_blind::{JwtsWhenBlind, UnknownJwtsWhenBlind};
pub use self::request_extras::IntrospectionValue;
pub use self::resource::Resource;
pub(crate) use self::{
    document::{DocumentFuture, DocumentResolver, DocumentSource, JsonText},
    endpoint_url::EndpointUrl,
    issuer_url::{IssuerUrl, has_placeholder},
    network::{Network, RootCertificates},
    proxy::{Proxy, ProxyCredentials, ProxyException, ProxyUrl},
    request_extras::RequestExtras,
    resource::PlacedResource,
    traceparent::Traceparent,
};
use crate::{
    algorithm::Algorithm,
    cache::{CacheLimits, IntrospectionCache},
    certificate::{CertificateResolver, ResolverError},
    client_auth::{ClientAssertionAudience, ClientAuthentication},
    clock::{Clock, SystemClock},
    policy::{Rules, TrialRules},
    redact::UrlText,
    response::ErrorRenderer,
    shared_store::{Replica, ReplicaSettings, StoreHook},
};

/// All settings that can be compared. Equal settings share their state within a process.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) issuer: IssuerUrl,
    /// The only URL of the metadata, in place of the well-known ones.
    pub(crate) metadata_url: Option<EndpointUrl>,
    pub(crate) rules: Rules,
    pub(crate) trial: Option<TrialRules>,
    pub(crate) client: Option<ClientSettings>,
    pub(crate) introspection_endpoint: Option<EndpointUrl>,
    pub(crate) request_extras: RequestExtras,
    pub(crate) jwks_uri: Option<EndpointUrl>,
    pub(crate) metadata_document: Option<JsonText>,
    pub(crate) jwks_document: Option<JsonText>,
    /// The directory in which fetched metadata and keys are saved.
    pub(crate) document_directory: Option<PathBuf>,
    pub(crate) trust_store: Option<String>,
    pub(crate) resources: Vec<PlacedResource>,
    pub(crate) network: Network,
    pub(crate) tuning: Tuning,
}

/// The settings that are used as they were given, after their ranges were checked. The builder's methods
/// document their meaning and the reasons for their defaults.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Tuning {
    pub(crate) client_assertion_audience: ClientAssertionAudience,
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
    pub(crate) inactive_cache: Option<Duration>,
    pub(crate) cache_entries: usize,
    pub(crate) cache_bytes: u64,
    pub(crate) refresh_ahead: bool,
    pub(crate) outage_grace: Duration,
    pub(crate) max_calls: usize,
    pub(crate) max_waiting: usize,
    pub(crate) max_revocations: usize,
    pub(crate) revocation_lifetime: Duration,
    pub(crate) store_timeout: Duration,
    pub(crate) blind_for: Duration,
    pub(crate) jwts_when_blind: JwtsWhenBlind,
    pub(crate) realm: Option<String>,
    pub(crate) resource_metadata: Option<UrlText>,
    pub(crate) insufficient_scope_for_groups: bool,
    pub(crate) error_reference: bool,
}

/// The code states each default once: here, or for the rules of the policy in `ProtectApiBuilder::new`. A test compares
/// them with the documentation.
impl Default for Tuning {
    fn default() -> Self {
        Self {
            client_assertion_audience: ClientAssertionAudience::default(),
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
            inactive_cache: None,
            cache_entries: 10_000,
            cache_bytes: 64 * 1024 * 1024,
            refresh_ahead: true,
            outage_grace: Duration::ZERO,
            max_calls: 64,
            max_waiting: 1024,
            max_revocations: 1_000_000,
            revocation_lifetime: Duration::from_secs(86_400),
            store_timeout: Duration::from_millis(50),
            blind_for: Duration::from_secs(1),
            jwts_when_blind: JwtsWhenBlind::default(),
            realm: None,
            resource_metadata: None,
            insufficient_scope_for_groups: false,
            error_reference: false,
        }
    }
}

impl Settings {
    /// Returns whether tokens with this `iss` belong to this configuration.
    pub(crate) fn accepts_issuer(&self, issuer: &str) -> bool {
        let token_issuers = &self.rules.token_issuers;
        token_issuers.iter().any(|accepted| accepted == issuer)
            || (token_issuers.is_empty() && self.issuer.accepts(issuer))
    }

    /// Returns the issuers that tokens of this configuration may name, and that of the configuration.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &str> {
        let token_issuers = self.rules.token_issuers.iter().map(String::as_str);
        token_issuers.chain([self.issuer.as_str()])
    }

    /// Returns whether two configurations accept tokens with the same `iss`.
    pub(crate) fn shares_issuer(&self, other: &Self) -> bool {
        other.rules.token_issuers.iter().any(|issuer| self.accepts_issuer(issuer))
            || (other.rules.token_issuers.is_empty() && self.accepts_issuer(other.issuer.as_str()))
    }
}

impl Tuning {
    /// Returns the limits of the in-memory cache.
    pub(crate) fn cache_limits(&self) -> CacheLimits {
        CacheLimits {
            lifetime: self.introspection_cache.unwrap_or_default(),
            inactive_lifetime: self.inactive_verdict_lifetime(),
            active: self.cache_entries,
            inactive: self.cache_entries,
            bytes: self.cache_bytes,
            refresh_ahead: self.refresh_ahead,
            outage_grace: self.outage_grace,
        }
    }

    /// Returns the time for which an inactive verdict is cached. If the authorization server replicates with a
    /// delay, a new token may be rejected for this time.
    pub(crate) fn inactive_verdict_lifetime(&self) -> Duration {
        let most = self.introspection_cache.unwrap_or_default();
        self.inactive_cache.unwrap_or(Duration::from_secs(2)).min(most)
    }
}

/// The client id and credentials of this API at the authorization server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClientSettings {
    pub(crate) id: String,
    pub(crate) authentication: ClientAuthentication,
}

/// Functions and objects of the application. They are compared by identity.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) clock: Option<Arc<dyn Clock>>,
    pub(crate) renderer: Option<Arc<dyn ErrorRenderer>>,
    pub(crate) token_resolver: Option<Arc<TokenResolver>>,
    pub(crate) certificate_resolver: Option<Arc<dyn CertificateResolver>>,
    pub(crate) cache: Option<Arc<dyn IntrospectionCache>>,
    pub(crate) shared_store: Option<StoreHook>,
    pub(crate) metadata_resolver: Option<Arc<DocumentResolver>>,
    pub(crate) jwks_resolver: Option<Arc<DocumentResolver>>,
    pub(crate) traceparent: Traceparent,
}

/// The future of a token resolver. It uses only types of `std`, because it is part of a public signature.
pub(crate) type TokenFuture<'r> = Pin<Box<dyn Future<Output = Result<Option<String>, ResolverError>> + 'r>>;

pub(crate) type TokenResolver = dyn for<'r> Fn(&'r HttpRequest) -> TokenFuture<'r> + Send + Sync;

/// Returns whether both are the same object, or both are absent.
pub(crate) fn same<T: ?Sized>(left: Option<&Arc<T>>, right: Option<&Arc<T>>) -> bool {
    match (left, right) {
        (None, None) => true,
        (Some(left), Some(right)) => Arc::ptr_eq(left, right),
        _ => false,
    }
}

impl Hooks {
    pub(crate) fn same(&self, other: &Self) -> bool {
        same(self.clock.as_ref(), other.clock.as_ref())
            && same(self.renderer.as_ref(), other.renderer.as_ref())
            && same(self.token_resolver.as_ref(), other.token_resolver.as_ref())
            && same(self.certificate_resolver.as_ref(), other.certificate_resolver.as_ref())
            && same(self.cache.as_ref(), other.cache.as_ref())
            && match (&self.shared_store, &other.shared_store) {
                (None, None) => true,
                (Some(one), Some(other)) => one.same(other),
                _ => false,
            }
            && same(self.metadata_resolver.as_ref(), other.metadata_resolver.as_ref())
            && same(self.jwks_resolver.as_ref(), other.jwks_resolver.as_ref())
            && self.traceparent == other.traceparent
    }

    /// Returns the part of this process in the shared store.
    pub(crate) fn replica(&self, tuning: &Tuning) -> Option<Arc<Replica>> {
        let settings = ReplicaSettings {
            timeout: tuning.store_timeout,
            blind_for: tuning.blind_for,
            keep_for: tuning.revocation_lifetime,
            max_records: tuning.max_revocations,
        };
        self.shared_store.as_ref().map(|hook| Replica::obtain(hook, self.clock.as_ref(), settings))
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
