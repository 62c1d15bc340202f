//! The metadata in use, and the values derived from it.

use std::{sync::Arc, time::Duration};

use super::{
    discovery::{Metadata, PublishedEndpoint},
    refresh::Document,
};
use crate::{
    cache::{CacheKey, CacheKeyHasher, KeyHistory},
    error::AuthError,
};

/// The metadata, and the values derived from it.
#[derive(Debug)]
pub(crate) struct IssuerMetadata {
    pub(crate) metadata: Metadata,
    /// The issuer as text, for client assertions.
    pub(crate) issuer: Arc<str>,
    hasher: Arc<CacheKeyHasher>,
    /// Whether the application provides the keys.
    has_own_keys: bool,
    /// The time at which an endpoint of earlier metadata becomes too old, if one is used.
    good_until: Option<Duration>,
}

impl Document for IssuerMetadata {
    fn good_until(&self) -> Option<Duration> {
        self.good_until
    }

    fn interruption(&self) -> Option<&AuthError> {
        self.metadata.interruption.as_ref()
    }
}

impl IssuerMetadata {
    pub(super) fn new(
        metadata: Metadata,
        keys: &KeyHistory,
        has_own_keys: bool,
        good_until: Option<Duration>,
    ) -> Self {
        let endpoint = metadata.introspection_endpoint.usable();
        let endpoint = endpoint.map(|endpoint| endpoint.uri.to_string()).unwrap_or_default();
        let hasher = keys.hasher(&metadata.issuer, &endpoint);
        Self { issuer: metadata.issuer.as_str().into(), hasher, metadata, has_own_keys, good_until }
    }

    /// Returns the same metadata, which is not used from this time on the monotonic clock.
    pub(super) fn used_until(self, time: Duration) -> Self {
        Self { good_until: Some(self.good_until.map_or(time, |until| until.min(time))), ..self }
    }

    /// Returns whether the server publishes keys, even if the address cannot be used, or the application provides them.
    pub(crate) fn has_keys(&self) -> bool {
        self.has_own_keys || !matches!(self.metadata.jwks_uri, PublishedEndpoint::Absent)
    }

    /// Returns the cache key of a token. It differs for every issuer, endpoint, client and token.
    pub(crate) fn key(&self, token: &str) -> CacheKey {
        self.hasher.key(token)
    }
}
