//! The metadata of the issuer: discovered and refreshed, or configured by the operator.

mod auth_method;
pub(crate) mod discovery;
pub(crate) mod http;
mod issuer_metadata;
pub(crate) mod refresh;
mod restore;
pub(crate) mod saved_document;
#[cfg(feature = "rustls")]
pub(crate) mod tls;

pub use self::http::hardened_client;
pub(crate) use self::issuer_metadata::IssuerMetadata;

use std::{
    error::Error as _,
    future::Future,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::Guard;

use self::{
    discovery::{Metadata, PublishedEndpoint, RequiredEndpoints},
    http::CallLimits,
    refresh::{Fetched, Lifetimes, Reader, RefreshingCache},
    saved_document::SavedDocument,
};
use crate::{
    cache::{KeyHistory, TokenKeys},
    deadline::Deadline,
    error::{AuthError, AuthErrorKind, SetupFault},
    settings::{DocumentSource, EndpointUrl, Hooks, IssuerUrl, Settings},
    telemetry::{Telemetry, log_throttle::LogThrottle},
};

#[derive(Debug)]
pub(crate) struct MetadataCache {
    discovery: Arc<Discovery>,
    cache: Arc<RefreshingCache<IssuerMetadata>>,
    telemetry: Arc<Telemetry>,
}

/// The endpoint of the last good metadata, and the time at which it becomes too old.
type LastGood = Mutex<Option<(EndpointUrl, Duration)>>;

/// The settings and the state of discovery.
#[derive(Debug)]
struct Discovery {
    issuer: IssuerUrl,
    url: Option<EndpointUrl>,
    /// The document of the application, in place of a fetched one.
    source: Option<DocumentSource>,
    saved: Option<SavedDocument>,
    /// Whether the application provides the keys.
    has_own_keys: bool,
    needs: RequiredEndpoints,
    limits: CallLimits,
    keys: KeyHistory,
    introspection_endpoint: Option<EndpointUrl>,
    jwks_uri: Option<EndpointUrl>,
    last_good_introspection_endpoint: LastGood,
    last_good_jwks_uri: LastGood,
    max_stale: Duration,
    metadata_warnings: LogThrottle,
    endpoint_warnings: LogThrottle,
    /// The configured client authentication method, if the endpoint is discovered.
    auth_method: Option<&'static str>,
    warned_of_auth_method: AtomicBool,
}

impl MetadataCache {
    pub(crate) fn new(
        settings: &Settings,
        hooks: &Hooks,
        limits: CallLimits,
        telemetry: &Arc<Telemetry>,
    ) -> Self {
        let client = settings.client.as_ref();
        let has_own_keys = settings.jwks_document.is_some() || hooks.jwks_resolver.is_some();
        let discovery = Discovery {
            issuer: settings.issuer.clone(),
            url: settings.metadata_url.clone(),
            source: DocumentSource::new(
                settings.metadata_document.as_ref(),
                hooks.metadata_resolver.as_ref(),
            ),
            saved: SavedDocument::new("metadata", settings, telemetry),
            needs: RequiredEndpoints::new(
                client,
                settings.trust_store.as_deref(),
                settings.tuning.introspect_jwt_tokens,
                settings.introspection_endpoint.is_some(),
                settings.jwks_uri.is_some() || has_own_keys,
            ),
            has_own_keys,
            limits,
            keys: KeyHistory::new(
                client.map(|client| client.id.as_str()).unwrap_or_default(),
                &settings.request_extras.parts(),
            ),
            introspection_endpoint: settings.introspection_endpoint.clone(),
            jwks_uri: settings.jwks_uri.clone(),
            last_good_introspection_endpoint: LastGood::default(),
            last_good_jwks_uri: LastGood::default(),
            max_stale: settings.tuning.max_stale,
            metadata_warnings: LogThrottle::default(),
            endpoint_warnings: LogThrottle::default(),
            auth_method: client
                .filter(|_| settings.introspection_endpoint.is_none())
                .map(|client| client.authentication.method()),
            warned_of_auth_method: AtomicBool::new(false),
        };
        let lifetimes = Lifetimes {
            max_age: settings.tuning.metadata_lifetime,
            stale_if_error: settings.tuning.max_stale,
            min_refetch_interval: settings.tuning.metadata_lifetime,
        };
        let cache = if let Some(fixed) = discovery.fixed() {
            RefreshingCache::fixed("metadata", fixed, Arc::clone(telemetry))
        } else {
            let max_waiting = settings.tuning.max_waiting;
            RefreshingCache::new("metadata", lifetimes, max_waiting, Arc::clone(telemetry))
        };
        Self { discovery: Arc::new(discovery), cache: Arc::new(cache), telemetry: Arc::clone(telemetry) }
    }

    /// Returns the last good metadata of any age.
    pub(crate) fn load_full(&self) -> Option<Arc<Fetched<IssuerMetadata>>> {
        self.cache.load_full()
    }

    /// Returns every key under which a token may be cached, including those of earlier metadata.
    pub(crate) fn keys(&self, token: &str) -> TokenKeys {
        self.discovery.keys.keys(token)
    }

    /// Applies a function to the metadata, if it needs no refresh.
    pub(crate) fn with_fresh<T>(&self, read: impl FnOnce(&IssuerMetadata) -> T) -> Option<T> {
        self.cache.with_fresh(self.telemetry.clock.monotonic(), read)
    }

    /// Borrows the last good metadata of any age.
    pub(crate) fn load(&self) -> Guard<Option<Arc<Fetched<IssuerMetadata>>>> {
        self.cache.load()
    }

    /// Applies a function to the last good metadata of any age. Fetches it only if there is none.
    pub(crate) async fn with_current<T>(
        &self,
        client: &impl Fn() -> awc::Client,
        deadline: Deadline,
        read: impl Fn(&IssuerMetadata) -> T,
    ) -> Result<T, AuthError> {
        let known = self.load().as_deref().map(|known| read(&known.document));
        match known {
            Some(seen) => Ok(seen),
            None => Ok(read(&Box::pin(self.get(client(), Reader::request(deadline))).await?.document)),
        }
    }

    /// Returns the issuer as this metadata spells it, or the configured issuer if there is none.
    pub(crate) fn issuer<'a>(&'a self, metadata: Option<&'a Fetched<IssuerMetadata>>) -> &'a str {
        metadata.map_or_else(|| self.discovery.issuer.as_str(), |known| &known.document.metadata.issuer)
    }

    /// Returns the current metadata. The future is `'static`, so that a separate task can wait for it.
    pub(crate) fn get(
        &self,
        client: awc::Client,
        reader: Reader,
    ) -> impl Future<Output = Result<Arc<Fetched<IssuerMetadata>>, AuthError>> + use<> {
        let (discovery, cache) = (Arc::clone(&self.discovery), Arc::clone(&self.cache));
        let (telemetry, known) = (Arc::clone(&self.telemetry), Arc::clone(&self.cache));
        let fetch = move || {
            let (discovery, client) = (Arc::clone(&discovery), client.clone());
            let (now, unix_time) = (telemetry.clock.monotonic(), telemetry.clock.unix_time());
            let (fetching, telemetry) = (Arc::clone(&discovery), Arc::clone(&telemetry));
            let is_first = known.load().is_none();
            async move {
                let fetching = async move { fetching.fetch(&client, now, unix_time).await };
                match telemetry.fetch("metadata", fetching).await {
                    Err(error) if is_first => Box::pin(discovery.restore(error)).await,
                    outcome => outcome,
                }
            }
        };
        async move { cache.get(fetch, reader).await }
    }

    /// Adds to an error of the introspection endpoint that the configured authentication method is not published.
    pub(crate) fn with_unpublished_auth_method(
        &self,
        error: AuthError,
        metadata: &IssuerMetadata,
    ) -> AuthError {
        let is_refused = error.kind() == AuthErrorKind::Misconfigured(SetupFault::Refused);
        match self.discovery.unpublished_auth_method(&metadata.metadata).filter(|_| is_refused) {
            None => error,
            Some((method, published)) => {
                let cause = error.source().map(|cause| format!("{cause}; ")).unwrap_or_default();
                error.with_source(format!(
                    "{cause}the server does not publish the client authentication method {method:?}, only \
                     {published:?}"
                ))
            }
        }
    }

    /// Returns the number of requests that wait for the metadata.
    pub(crate) fn waiting(&self) -> usize {
        self.cache.waiting()
    }
}

impl Discovery {
    /// Fetches the metadata. `now` is the time at which the fetch starts, on the monotonic clock, and `unix_time` the same.
    async fn fetch(
        &self,
        client: &awc::Client,
        now: Duration,
        unix_time: i64,
    ) -> Result<IssuerMetadata, AuthError> {
        let mut errors = Vec::new();
        let found = match &self.source {
            None => {
                let url = self.url.as_ref();
                discovery::fetch(client, &self.issuer, url, &self.needs, self.limits, &mut errors).await
            }
            Some(source) => {
                let document = source.document(Deadline::after(self.limits.deadline)).await;
                document.and_then(|document| {
                    discovery::read(
                        &[document],
                        &self.issuer,
                        self.issuer.is_loopback,
                        &self.needs,
                        &mut errors,
                    )
                })
            }
        };
        if !errors.is_empty() {
            let level = self.metadata_warnings.level_at(now, log::Level::Error);
            discovery::log_errors(&self.issuer, &errors, level);
        }
        let found = found?;
        self.save(&found, unix_time);
        self.compare_auth_method(&found);
        Ok(self.complete(found, now))
    }

    /// Returns an endpoint of new metadata. If it is unusable, returns that of the last good metadata until it is
    /// too old, with this time.
    fn or_last_good(
        &self,
        published: PublishedEndpoint,
        name: &str,
        last_good: &LastGood,
        now: Duration,
    ) -> (PublishedEndpoint, Option<Duration>) {
        // No code panics while it holds the lock.
        let mut last_good = last_good.lock().unwrap_or_else(PoisonError::into_inner);
        match (&published, &*last_good) {
            (PublishedEndpoint::Unusable(error), Some((endpoint, until))) if now < *until => {
                let level = self.endpoint_warnings.level_at(now, log::Level::Warn);
                let (issuer, fault) = (self.issuer.as_str(), error.kind().fault());
                record!(
                    level, event = "endpoint_kept", issuer, fault;
                    "{name} of the new metadata cannot be used, the last good one stays in use: {}",
                    error.describe(issuer)
                );
                return (PublishedEndpoint::Usable(endpoint.clone()), Some(*until));
            }
            (PublishedEndpoint::Unusable(_), _) => {}
            (PublishedEndpoint::Usable(endpoint), _) => {
                *last_good = Some((endpoint.clone(), now.saturating_add(self.max_stale)));
            }
            // The server no longer publishes the endpoint.
            (PublishedEndpoint::Absent, _) => *last_good = None,
        }
        (published, None)
    }

    fn forget_last_good(&self) {
        for last_good in [&self.last_good_introspection_endpoint, &self.last_good_jwks_uri] {
            *last_good.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Returns the metadata that is never fetched: a document of the application, or that of a configuration that needs no
    /// discovery. The builder has validated the document.
    fn fixed(&self) -> Option<IssuerMetadata> {
        if !self.needs.introspection && !self.needs.jwks {
            return Some(self.given());
        }
        let document = self.source.as_ref()?.given()?;
        let found =
            discovery::read(&[document], &self.issuer, self.issuer.is_loopback, &self.needs, &mut Vec::new())
                .ok()?;
        self.compare_auth_method(&found);
        Some(self.complete(found, Duration::ZERO))
    }

    /// Returns the metadata without discovery: the configured issuer and endpoints.
    fn given(&self) -> IssuerMetadata {
        let none = Metadata {
            issuer: self.issuer.as_str().to_owned(),
            introspection_endpoint: PublishedEndpoint::Absent,
            jwks_uri: PublishedEndpoint::Absent,
            introspection_auth_methods: None,
            interruption: None,
            documents: Vec::new(),
        };
        self.complete(none, Duration::ZERO)
    }

    /// Completes the metadata. Configured endpoints override discovered ones.
    fn complete(&self, mut found: Metadata, now: Duration) -> IssuerMetadata {
        let (introspection_endpoint, one_until) = self.or_last_good(
            found.introspection_endpoint,
            "introspection_endpoint",
            &self.last_good_introspection_endpoint,
            now,
        );
        let (jwks_uri, other_until) =
            self.or_last_good(found.jwks_uri, "jwks_uri", &self.last_good_jwks_uri, now);
        let configured = |endpoint: &Option<EndpointUrl>| PublishedEndpoint::from(endpoint.clone());
        found.introspection_endpoint = configured(&self.introspection_endpoint).or(introspection_endpoint);
        let can_introspect = found.introspection_endpoint.usable().is_some();
        found.jwks_uri = match configured(&self.jwks_uri).or(jwks_uri) {
            PublishedEndpoint::Unusable(_) if !self.needs.jwks => PublishedEndpoint::Absent,
            // It is not known whether the server publishes keys. JWTs are introspected until it is known.
            PublishedEndpoint::Unusable(error) if can_introspect && !discovery::is_absence(&error) => {
                PublishedEndpoint::Absent
            }
            endpoint => endpoint,
        };
        let good_until = one_until.into_iter().chain(other_until).min();
        IssuerMetadata::new(found, &self.keys, self.has_own_keys, good_until)
    }
}
