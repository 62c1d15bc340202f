//! The steps of a request one by one, for the benchmarks. **Not part of the API**: it is there with the feature `__bench`
//! only, and changes without notice.

use std::time::Duration;

use actix_web::{
    dev::ServiceRequest,
    http::header::{HeaderMap, HeaderValue},
};

use crate::{
    ProtectApi,
    authenticate::{Halt, Worker},
    bearer::BearerToken,
    cache::{CacheKey, Keyer, Limits, Now, Verdict, VerdictCache},
    challenge::Challenge,
    claims::Claims,
    clock::{Clock as _, SystemClock},
    jwks::KeySet,
    policy::{self, Requirements},
    validator::{
        jwt::{Jwt, Rules},
        remembered::Remembered,
    },
};

/// The whole way of a request, up to the handler.
#[derive(Debug)]
pub struct Way {
    protect: ProtectApi,
    worker: Worker,
}

impl Way {
    /// As a worker goes it.
    pub fn new(protect: &ProtectApi) -> Self {
        Self { worker: Worker::of(protect), protect: protect.clone() }
    }

    /// Token, verdict and policy; whether the request may go on to the handler.
    pub async fn accepts(&self, request: &ServiceRequest) -> bool {
        match self.protect.authenticate(request, &self.worker) {
            Ok(_) => true,
            Err(Halt::Refused(_)) => false,
            Err(Halt::Waits(errand)) => self.protect.run(*errand, request, &self.worker).await.is_ok(),
        }
    }

    /// The policy alone, with the issuer that the claims name.
    pub fn allows(&self, claims: &Claims) -> bool {
        let rules = &self.protect.shared.settings.rules;
        let (issuer, now) = (claims.issuer().unwrap_or_default(), SystemClock::new().unix_time());
        policy::check(claims, rules, &Requirements::default(), issuer, now, None).is_ok()
    }
}

/// The token in these headers: its length.
pub fn find_token(headers: &HeaderMap) -> Option<usize> {
    let token = BearerToken::from_headers(headers, 16 * 1024).ok()??;
    Some(token.as_str().len())
}

/// What names remembered JWTs.
#[derive(Debug)]
pub struct Tagger(Remembered);

impl Tagger {
    /// With a random key; `None` without a source of randomness.
    pub fn new() -> Option<Self> {
        Remembered::new().map(Self)
    }

    /// Names a token; whether that worked.
    pub fn tag(&self, token: &str) -> bool {
        self.0.tag(token).is_some()
    }
}

/// The cache of verdicts, and what names them.
#[derive(Debug)]
pub struct Kept {
    keyer: Keyer,
    cache: VerdictCache,
    clock: SystemClock,
}

impl Kept {
    /// With room for ten thousand verdicts.
    pub fn new(issuer: &str, endpoint: &str, client_id: &str) -> Self {
        let lifetime = Duration::from_secs(3600);
        let limits = Limits { lifetime, active: 10_000, inactive: 10_000, bytes: 64 << 20 };
        Self {
            keyer: Keyer::new(issuer, endpoint, client_id),
            cache: VerdictCache::new(limits),
            clock: SystemClock::new(),
        }
    }

    /// The name of a verdict.
    pub fn key(&self, token: &str) -> CacheKey {
        self.keyer.key(token)
    }

    /// Keeps that the token is active.
    pub fn insert(&self, key: CacheKey, claims: &Claims) {
        let asked = self.cache.ticket();
        self.cache.insert(key, &Verdict::Active(claims.clone()), asked, Now::of(&self.clock));
    }

    /// Whether there is a verdict.
    pub fn get(&self, key: &CacheKey) -> bool {
        self.cache.get(key, Now::of(&self.clock), None).is_some()
    }
}

/// A key set that tokens are verified with.
#[derive(Debug)]
pub struct PublishedKeys(KeySet, Rules);

impl PublishedKeys {
    /// From a JWK set; `None` where it is not one.
    pub fn parse(document: &[u8]) -> Option<Self> {
        Some(Self(KeySet::parse(document).ok()?, Rules::default()))
    }

    /// The claims of a token seen for the first time.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        Jwt::read(token)?.verify(&self.0, &self.1).ok()
    }
}

/// The challenge of a refusal.
#[derive(Debug)]
pub struct Refusal(Challenge);

impl Refusal {
    /// For an API with this realm.
    pub fn new(realm: &str) -> Self {
        Self(Challenge::new(Some(realm), None))
    }

    /// Of an invalid token.
    pub fn challenge(&self) -> HeaderValue {
        self.0.error("invalid_token", "the access token is invalid", "")
    }
}
