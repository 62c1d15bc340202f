//! Single steps of a request, for the benchmarks. **Not part of the API**: available only with the feature
//! `__bench`, and changes without notice.

use std::{sync::Arc, time::Duration};

use actix_web::{
    dev::ServiceRequest,
    http::header::{HeaderMap, HeaderValue},
};

use crate::{
    ProtectApi,
    bearer::BearerToken,
    cache::{CacheKey, CacheKeyHasher, ClockReading, Ticket, Verdict, VerdictCache},
    claims::Claims,
    clock::{Clock as _, SystemClock},
    error::{AuthError, TokenFault},
    jwt::{
        key_set::KeySet,
        token::{Jwt, JwtRules},
        verified_tokens::VerifiedTokens,
    },
    middleware::authenticate::WorkerContext,
    policy::{self, Requirements},
    response::challenge::Challenge,
    revocation::{IssuerKey, RecordTimes, Revocation, Revocations, Standing},
    settings::Tuning,
};

/// The complete path of a request, up to the handler.
#[derive(Debug)]
pub struct RequestPath {
    protect: ProtectApi,
    worker: WorkerContext,
}

impl RequestPath {
    /// Creates the path as a worker does.
    pub fn new(protect: &ProtectApi) -> Self {
        Self { worker: WorkerContext::new(protect), protect: protect.clone() }
    }

    /// Authenticates a request and returns whether it may reach the handler.
    pub async fn accepts(&self, request: &ServiceRequest) -> bool {
        self.protect.authenticate(request, &self.worker).await.is_ok()
    }

    /// Runs the policy alone, with the issuer that the claims name.
    pub fn allows(&self, claims: &Claims) -> bool {
        let rules = &self.protect.state.settings.rules;
        let (issuer, now) = (claims.issuer().unwrap_or_default(), SystemClock::new().unix_time());
        policy::check(claims, claims.scopes(), rules, &Requirements::default(), issuer, now, None).is_ok()
    }
}

/// Extracts the token and returns its length; `None` if there is no token.
pub fn find_token(headers: &HeaderMap) -> Option<usize> {
    let token = BearerToken::from_headers(headers, 16 * 1024).ok()??;
    Some(token.as_str().len())
}

/// Computes the tags of verified JWTs.
#[derive(Debug)]
pub struct Tagger(VerifiedTokens);

impl Tagger {
    /// Creates a random key; `None` without a source of randomness.
    pub fn new() -> Option<Self> {
        VerifiedTokens::new().map(Self)
    }

    /// Computes the tag of a token and returns whether that succeeded.
    pub fn tag(&self, token: &str) -> bool {
        self.0.tag(token).is_some()
    }
}

/// A verdict cache and its key hasher.
#[derive(Debug)]
pub struct CachedVerdicts {
    hasher: CacheKeyHasher,
    cache: VerdictCache,
    clock: SystemClock,
}

impl CachedVerdicts {
    /// Creates a cache with the default limits.
    pub fn new(issuer: &str, endpoint: &str, client_id: &str) -> Self {
        let tuning = Tuning { introspection_cache: Some(Duration::from_secs(3600)), ..Tuning::default() };
        Self {
            hasher: CacheKeyHasher::new(issuer, endpoint, client_id),
            cache: VerdictCache::new(tuning.cache_limits()),
            clock: SystemClock::new(),
        }
    }

    /// Returns the cache key of a token.
    pub fn key(&self, token: &str) -> CacheKey {
        self.hasher.key(token)
    }

    /// Caches an active verdict.
    pub fn insert(&self, key: CacheKey, claims: &Claims) {
        let now = ClockReading::now(&self.clock);
        self.cache.insert(&Ticket::new(key, now, 0), &Verdict::Active(claims.clone()), now);
    }

    /// Returns whether a verdict is cached.
    pub fn get(&self, key: &CacheKey) -> bool {
        self.cache.get(key, ClockReading::now(&self.clock), None).is_some()
    }
}

/// The revocation records of one issuer.
#[derive(Debug)]
pub struct RevocationRecords(Revocations, IssuerKey);

impl RevocationRecords {
    /// Creates an empty index.
    pub fn new(issuer: &str, capacity: usize) -> Self {
        Self(Revocations::new(Arc::default(), issuer, capacity), IssuerKey::new(issuer))
    }

    /// Adds a record.
    pub fn add(&self, revocation: &Revocation, now: i64) {
        let times = RecordTimes { now, latest: now, skew: 0, tolerance: 60, lifetime: 86_400 };
        self.0.add(&revocation.record(&self.1, times), now);
    }

    /// Returns whether a token is not revoked.
    pub fn accepts(&self, token: &str, claims: &Claims, now: i64) -> bool {
        self.0.check(|| token, claims, || now) == Standing::Clear
    }
}

/// A key set to verify tokens.
#[derive(Debug)]
pub struct PublishedKeys(KeySet, JwtRules);

impl PublishedKeys {
    /// Parses a JWK set; `None` if it is not one.
    pub fn parse(document: &[u8]) -> Option<Self> {
        Some(Self(KeySet::parse(document).ok()?, JwtRules::new(&Tuning::default())))
    }

    /// Verifies a token that is in no cache.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        Jwt::read(token).ok()??.verify(&self.0, &self.1).ok()
    }
}

/// The challenge of a rejection.
#[derive(Debug)]
pub struct Refusal(Challenge, AuthError);

impl Refusal {
    /// Creates the challenges of an API with this realm.
    pub fn new(realm: &str) -> Self {
        Self(Challenge::new(Some(realm), None), AuthError::token(TokenFault::Inactive))
    }

    /// Returns the challenge for an invalid token.
    pub fn challenge(&self) -> HeaderValue {
        self.0.write("invalid_token", "the access token is invalid", &self.1)
    }
}
