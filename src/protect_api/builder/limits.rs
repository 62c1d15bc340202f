//! The settings of caches, calls and sizes.

use std::time::Duration;

use super::ProtectApiBuilder;

impl ProtectApiBuilder {
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

    /// Sets the maximum time for which verdicts of introspection are cached (and never past `exp`): **a revoked token
    /// is still accepted during that time**. Default: 0 s, nothing is cached. Concurrent requests with one token share
    /// one call nevertheless.
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

    /// Sets whether a token in active use is introspected again in the background before its cached verdict expires, so
    /// that no request waits for it. This costs about a fifth more calls for such tokens. Default: yes.
    ///
    /// The verdict on an active token is refreshed at most once: if it is used at least twice in the last quarter of its
    /// lifetime, and if fewer than half of [`max_calls`](Self::max_calls) are in flight. Without a verdict cache, and with a
    /// [custom store](Self::cache_store), nothing is refreshed.
    pub fn refresh_ahead(mut self, refresh: bool) -> Self {
        self.tuning.refresh_ahead = refresh;
        self
    }

    /// Sets the time for which an expired verdict on an active token is used while the authorization server is unavailable:
    /// **a token that is revoked during an outage is accepted during that time**. Up to a day, and never past the `exp` of
    /// the token. It needs the verdict cache in memory. Default: 0 s, requests are rejected with 503.
    ///
    /// A [revocation](crate::ProtectApi::revoke) and an [eviction](crate::ProtectApi::evict) end such a use at once. Mounts
    /// with [`max_age`](crate::ProtectApi::max_age) accept no expired verdict. See
    /// [`has_expired_verdict`](crate::AuthenticatedRequest::has_expired_verdict).
    pub fn outage_grace(mut self, duration: Duration) -> Self {
        self.tuning.outage_grace = duration;
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

    /// Sets the time for which a [revocation](crate::ProtectApi::revoke) is in effect if it does not name its end. It must be
    /// at least the longest lifetime of an access token: a token that expires later would be accepted again.
    /// Default: 24 h.
    pub fn revocation_lifetime(mut self, duration: Duration) -> Self {
        self.tuning.revocation_lifetime = duration;
        self
    }

    /// Sets the maximum number of revocations in effect, each of about 150 bytes. If it is reached, a further revocation
    /// revokes all tokens of the issuer that were issued until then. The largest number of all configurations of the issuer
    /// applies. Default: 1 000 000.
    pub fn max_revocations(mut self, revocations: usize) -> Self {
        self.tuning.max_revocations = revocations;
        self
    }
}
