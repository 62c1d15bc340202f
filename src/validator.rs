//! Selects the validator of a token. A JWT is validated locally, or introspected if the settings require it. Every
//! other token is opaque and is introspected.

mod check;
mod introspected_jwts;
mod refresh_ahead;

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::Either;

use crate::{
    bearer::BearerToken,
    cache::{Age, AgedVerdict, CacheError, CacheKey, ClockReading, Verdict},
    claims::{Claims, scope::Scopes, scope_mapping::ScopeMapping},
    clock::Clock,
    deadline::Deadline,
    error::{AuthError, SetupFault, TokenFault, UpstreamFault},
    introspection::{Introspection, IntrospectionTarget, Query, concurrency_limit::ConcurrencyLimit},
    issuer::{IssuerMetadata, MetadataCache, http::CallLimits, refresh::Reader},
    jwt::{self, JwtOutcome, JwtValidator, verified_tokens::TokenTag},
    revocation::{RevocationIndex, Revocations},
    settings::{Hooks, JwtsWhenBlind, Settings},
    shared_store::Replica,
    telemetry::{
        Denial, Telemetry, VerdictSource,
        status::{IntrospectionState, SharedStoreState, Status},
    },
};

/// A valid token. The policy has not been applied.
#[derive(Clone, Debug)]
pub(crate) struct ValidToken {
    pub(crate) claims: Claims,
    /// The granted scopes, if other claims than the standard ones grant them.
    scopes: Option<Scopes>,
    /// The issuer, if the claims have no `iss`.
    pub(crate) issuer: Option<Arc<str>>,
    /// The age of the verdict; `None` for a JWT that was validated locally.
    pub(crate) age: Option<Age>,
    pub(crate) via: VerdictSource,
    /// The error that rules of the outermost mount would cause that are not enforced.
    pub(crate) would_be_rejected: Option<AuthError>,
}

impl ValidToken {
    /// Returns the granted scopes.
    pub(crate) fn scopes(&self) -> &Scopes {
        self.scopes.as_ref().unwrap_or_else(|| self.claims.scopes())
    }

    /// Returns whether the verdict had expired and is used because the authorization server is unavailable.
    pub(crate) fn is_expired_verdict(&self) -> bool {
        self.via == VerdictSource::Grace
    }

    /// Returns the issuer, spelled as in the metadata.
    pub(crate) fn issuer(&self) -> &str {
        self.claims.issuer().or(self.issuer.as_deref()).unwrap_or_default()
    }
}

/// The result of a lookup in the caches.
enum Lookup {
    Found(AgedVerdict, VerdictSource),
    Missed(LookupKeys),
}

/// The cache keys of a lookup that missed, so that they are not computed again.
#[derive(Default)]
struct LookupKeys {
    tag: Option<TokenTag>,
    key: Option<CacheKey>,
}

#[derive(Debug)]
pub(crate) struct Validator {
    pub(crate) metadata: MetadataCache,
    pub(crate) introspection: Option<Arc<Introspection>>,
    pub(crate) local: JwtValidator,
    /// The revocation records.
    pub(crate) revocations: Revocations,
    /// The shared store.
    pub(crate) replica: Option<Arc<Replica>>,
    jwts_when_blind: JwtsWhenBlind,
    scopes: ScopeMapping,
    has_own_store: bool,
    /// The longest time that a request waits for calls, fetches and the store together.
    timeout: Duration,
    warned_of_opaque_tokens: AtomicBool,
    telemetry: Arc<Telemetry>,
}

impl Validator {
    pub(crate) fn new(
        settings: &Settings,
        hooks: &Hooks,
        clock: &Arc<dyn Clock>,
        telemetry: &Arc<Telemetry>,
    ) -> Self {
        let limits = CallLimits {
            deadline: settings.tuning.response_timeout,
            max_body: settings.tuning.max_response_size,
            traceparent: hooks.traceparent,
        };
        let replica = hooks.replica(&settings.tuning);
        let index =
            replica.as_ref().map_or_else(RevocationIndex::of_process, |replica| Arc::clone(&replica.index));
        index.allow_skew(settings.rules.clock_skew);
        let revocations = Revocations::new(index, settings.issuer.as_str(), settings.tuning.max_revocations);
        let introspection =
            Introspection::new(settings, hooks, limits, clock, telemetry, &revocations, replica.as_ref());
        Self {
            metadata: MetadataCache::new(settings, hooks, limits, telemetry),
            introspection: introspection.map(Arc::new),
            revocations,
            replica,
            jwts_when_blind: settings.tuning.jwts_when_blind,
            local: JwtValidator::new(settings, hooks, limits, telemetry),
            scopes: settings.rules.scopes.clone(),
            has_own_store: hooks.cache.is_some(),
            timeout: settings.tuning.response_timeout,
            warned_of_opaque_tokens: AtomicBool::new(false),
            telemetry: Arc::clone(telemetry),
        }
    }

    /// Validates a token. One deadline covers everything that the request waits for. Calls and fetches that other
    /// requests may share continue after it. `client` returns the HTTP client of this worker and runs only if a
    /// call is necessary.
    pub(crate) async fn validate(
        self: &Arc<Self>,
        token: &BearerToken,
        max_age: Option<Duration>,
        client: impl Fn() -> awc::Client,
    ) -> Result<ValidToken, Denial> {
        let (verdict, via) = match self.lookup(token, max_age, &client) {
            Lookup::Found(verdict, via) => (verdict, via),
            Lookup::Missed(keys) => {
                let deadline = Deadline::after(self.timeout);
                // Boxed, so that the future of a request with a cached verdict stays small.
                let obtain = Box::pin(self.obtain(deadline, token, keys, max_age, client));
                deadline.bound(obtain).await?
            }
        };
        self.valid_token(verdict, via)
    }

    /// Looks a token up without waiting and without fresh metadata, so that cached verdicts outlive an outage of the
    /// issuer.
    fn lookup(
        self: &Arc<Self>,
        token: &BearerToken,
        max_age: Option<Duration>,
        client: &impl Fn() -> awc::Client,
    ) -> Lookup {
        let metadata = self.metadata.load();
        let Some(metadata) = metadata.as_deref().map(|metadata| &metadata.document) else {
            return Lookup::Missed(LookupKeys::default());
        };
        let text = token.as_str();
        if let Some(local) = self.local(metadata.has_keys()).filter(|local| !local.introspects())
            && jwt::may_be_jwt(text)
        {
            let (tag, now) = (local.tag(text), self.telemetry.clock.monotonic());
            return match local.lookup(tag.as_ref(), now) {
                Some(claims) if self.jwts_now(now) == JwtsWhenBlind::Accept => {
                    Lookup::Found(AgedVerdict::without_age(claims), VerdictSource::RememberedSignature)
                }
                _ => Lookup::Missed(LookupKeys { tag, key: None }),
            };
        }
        let Some(introspection) = &self.introspection else { return Lookup::Missed(LookupKeys::default()) };
        let key = metadata.key(text);
        let now = ClockReading::now(&*self.telemetry.clock);
        match introspection.lookup(&key, token, now, max_age) {
            Some(verdict) => {
                if let Some(claims) = introspection.due_refresh(&verdict, now) {
                    self.refresh_ahead(introspection, key, claims, token, &client());
                }
                Lookup::Found(verdict, VerdictSource::Cache)
            }
            None => Lookup::Missed(LookupKeys { tag: None, key: Some(key) }),
        }
    }

    /// Obtains the verdict on a token that is in no cache: verifies its signature, or introspects it.
    async fn obtain(
        &self,
        deadline: Deadline,
        token: &BearerToken,
        keys: LookupKeys,
        max_age: Option<Duration>,
        client: impl Fn() -> awc::Client,
    ) -> Result<(AgedVerdict, VerdictSource), AuthError> {
        let has_keys = self.metadata.with_current(&client, deadline, IssuerMetadata::has_keys).await?;
        let jwts_now = self.jwts_now(self.telemetry.clock.monotonic());
        if let Some(local) = self.local(has_keys).filter(|local| !local.introspects())
            && jwts_now != JwtsWhenBlind::Introspect
        {
            let tag = keys.tag.or_else(|| local.tag(token.as_str()));
            let outcome =
                Box::pin(local.validate(tag, token.as_str(), &self.metadata, &client, deadline, false))
                    .await?;
            if let JwtOutcome::Verified(claims, via) = outcome {
                if jwts_now == JwtsWhenBlind::Reject {
                    return Err(AuthError::upstream(UpstreamFault::NoRevocations));
                }
                return Ok((AgedVerdict::without_age(claims), via));
            }
        }
        let Some(introspection) = &self.introspection else {
            // Without keys and without credentials no token can be validated. This is not the caller's fault.
            if !has_keys {
                return Err(
                    AuthError::setup(SetupFault::Endpoint).with_source("the metadata has no jwks_uri")
                );
            }
            return Err(self.unsupported());
        };
        let key = match keys.key {
            Some(key) => key,
            None => {
                self.metadata.with_current(&client, deadline, |metadata| metadata.key(token.as_str())).await?
            }
        };
        if let Some(hit) = introspection.cached(&key, token, max_age, deadline).await {
            return Ok((hit, VerdictSource::Cache));
        }
        // Runs before the introspection. A cached verdict does not need it, because the JWT was verified when the
        // verdict was fetched.
        let verified = self.verified_jwt(has_keys, token, &client, deadline).await?;
        // Boxed if the metadata must be fetched: that future needs a kilobyte, and most calls do not need it.
        let target = || {
            if let Some(target) = self.metadata.with_fresh(IntrospectionTarget::from_metadata) {
                return Either::Left(ready(target));
            }
            let fresh = self.metadata.get(client(), Reader::task(deadline));
            Either::Right(Box::pin(async move { IntrospectionTarget::from_metadata(&fresh.await?.document) }))
        };
        let query = Query { token, jwt: verified.as_ref(), max_age };
        let outcome = introspection.verdict(key, query, &client, deadline, target).await;
        outcome.or_else(|failure| {
            // A mount with a maximum age requires a verdict that is not expired.
            let expired = max_age.is_none().then(|| introspection.verdict_in_outage(&key, token, &failure));
            expired.flatten().map(|verdict| (verdict, VerdictSource::Grace)).ok_or(failure)
        })
    }

    /// Returns the JWT validator if the issuer publishes keys. Without keys, JWTs are introspected.
    fn local(&self, has_keys: bool) -> Option<&JwtValidator> {
        Some(&self.local).filter(|_| has_keys)
    }

    /// Turns a verdict into a valid token, or into a denial if the token is inactive.
    pub(crate) fn valid_token(&self, verdict: AgedVerdict, via: VerdictSource) -> Result<ValidToken, Denial> {
        let AgedVerdict { verdict, age, .. } = verdict;
        let Verdict::Active(claims) = verdict else {
            return Err(Denial::new(AuthError::token(TokenFault::Inactive), via));
        };
        let has_issuer = claims.issuer().is_some();
        let issuer = (!has_issuer).then(|| self.metadata.issuer(self.metadata.load().as_deref()).into());
        let scopes = self.scopes.map(&claims);
        Ok(ValidToken { claims, scopes, issuer, age, via, would_be_rejected: None })
    }

    pub(crate) fn status(&self) -> Status {
        let introspection = self.introspection.as_ref();
        let count = |count: fn(&ConcurrencyLimit) -> usize| {
            introspection.map_or(0, |introspection| count(&introspection.concurrency_limit))
        };
        Status {
            metadata_known: self.metadata.load_full().is_some(),
            keys_known: self.local.knows_keys(),
            introspection: introspection
                .map_or(IntrospectionState::Off, |introspection| introspection.breaker_state().into()),
            calls_in_flight: count(ConcurrencyLimit::in_flight),
            most_calls_in_flight: count(ConcurrencyLimit::most_in_flight),
            calls_waiting: self.waiting(),
            cached_verdicts: introspection.map_or(0, |introspection| introspection.cache.len()),
            shared_store: self.replica.as_ref().map_or(SharedStoreState::Off, |replica| {
                let reads = replica.reads_records(self.telemetry.clock.monotonic());
                if reads { SharedStoreState::Reading } else { SharedStoreState::Blind }
            }),
            last_error: self.telemetry.last_error(),
        }
    }

    /// Returns the number of requests that wait for a call or a fetch of another request, or for a free place to
    /// call.
    fn waiting(&self) -> usize {
        let calls = self
            .introspection
            .as_ref()
            .map_or(0, |introspection| introspection.concurrency_limit.room.waiting());
        let keys = self.local.waiting();
        calls + self.metadata.waiting() + keys
    }

    /// Removes the verdict on a token from the cache. An error means that a store may still contain it.
    pub(crate) async fn evict(&self, token: &BearerToken) -> Result<(), CacheError> {
        if self.metadata.load_full().is_none() {
            // Without metadata this process has cached nothing. A store may contain a verdict from another process,
            // but its key cannot be computed without the metadata.
            return if self.has_own_store {
                Err(CacheError::new("the metadata is not known yet"))
            } else {
                Ok(())
            };
        }
        match &self.introspection {
            Some(introspection) => introspection.evict(&self.metadata.keys(token.as_str())).await,
            None => Ok(()),
        }
    }

    fn unsupported(&self) -> AuthError {
        if !self.warned_of_opaque_tokens.swap(true, Ordering::Relaxed) {
            let issuer = &*self.telemetry.issuer;
            record!(
                log::Level::Warn, event = "opaque_token_without_client", issuer;
                "an opaque token was rejected: no client credentials are configured to introspect it; all other \
                 opaque tokens are rejected too ({issuer})"
            );
        }
        AuthError::token(TokenFault::Unsupported).with_source("introspection is not configured")
    }
}

impl IntrospectionTarget {
    fn from_metadata(metadata: &IssuerMetadata) -> Result<Self, AuthError> {
        let endpoint = metadata.metadata.introspection_endpoint.require("introspection_endpoint")?.clone();
        Ok(Self { issuer: Arc::clone(&metadata.issuer), endpoint })
    }
}
