//! Revocations and evictions.

use std::sync::Arc;

use super::{ProtectApi, state::State};
use crate::{
    bearer::BearerToken,
    cache::CacheError,
    jwt,
    revocation::{IssuerKey, Record, Revocation, RevocationError, RevocationIndexes},
    settings::IssuerUrl,
    shared_store::{Replica, Sending, StoreError},
};

/// The time in addition to the cache duration for which an eviction is kept: the time of a call in flight.
const EVICTION_MARGIN: i64 = 300;

impl ProtectApi {
    /// Revokes tokens. From now on, requests with such a token are rejected with 401: with a cached verdict, with a JWT that is
    /// validated locally, and also if the authorization server still reports the token as active.
    ///
    /// The revocation applies to every API of this issuer in this process, or in all processes with the same
    /// [shared store](crate::ProtectApiBuilder::shared_store). It ends after
    /// [`revocation_lifetime`](crate::ProtectApiBuilder::revocation_lifetime), or at the time given by
    /// [`Revocation::until`]: a token that expires later would then be accepted again.
    ///
    /// ```
    /// # async fn sign_out(protect: &actix_protect_api::ProtectApi) -> Result<(), Box<dyn std::error::Error>> {
    /// use actix_protect_api::Revocation;
    ///
    /// protect.revoke(Revocation::subject("alice")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`RevocationError::Issuer`] if the revocation names an issuer that is not configured; with
    /// [tenants](crate::AnyOf::tenants), also if it names no issuer and no JWT. [`RevocationError::Store`] if the
    /// [shared store](crate::ProtectApiBuilder::shared_store) fails.
    pub async fn revoke(&self, revocation: Revocation) -> Result<(), RevocationError> {
        let mut sending = Vec::new();
        for records in self.records_for(&revocation)? {
            let issued = records.now.saturating_add(records.skew);
            sending.extend(records.add(revocation.record(&records.issuer, issued, records.lifetime)));
        }
        self.detach_calls();
        sent(sending).await.map_err(|error| RevocationError::Store(Box::new(error)))
    }

    /// Stops the use of the cached verdict on this token, for example after its groups have changed. The next request with it is
    /// introspected again. A JWT that is validated locally is not affected; see [`revoke`](Self::revoke).
    ///
    /// # Errors
    /// With a [shared store](crate::ProtectApiBuilder::shared_store): the store failed. The eviction is sent to the other
    /// replicas later. With a [custom store](crate::ProtectApiBuilder::cache_store): the store failed or timed out, or the
    /// metadata, from which its keys are derived, is not known to this process yet. Other processes may then use the verdict.
    pub async fn evict(&self, token: &str) -> Result<(), CacheError> {
        // A malformed token was never cached.
        let Ok(token) = BearerToken::resolved(token, usize::MAX) else { return Ok(()) };
        let (mut evicted, mut sending) = (Ok(()), Vec::new());
        for state in self.all_states() {
            sending.extend(state.discard(&Revocation::token(token.as_str())));
            evicted = evicted.and(state.validator.evict(&token).await);
        }
        evicted.and(sent(sending).await.map_err(CacheError::new))
    }

    /// Stops the use of all cached verdicts on tokens of this subject. JWTs that are validated locally are not affected; see
    /// [`revoke`](Self::revoke). Other processes that share a [custom store](crate::ProtectApiBuilder::cache_store) may still
    /// use its verdicts. With a [shared store](crate::ProtectApiBuilder::shared_store), the eviction is sent to the other
    /// replicas in the background.
    ///
    /// # Errors
    /// None at present.
    pub fn evict_subject(&self, subject: &str) -> Result<(), CacheError> {
        self.discard(&Revocation::subject(subject));
        Ok(())
    }

    /// Stops the use of all cached verdicts; otherwise like [`evict_subject`](Self::evict_subject).
    ///
    /// # Errors
    /// None at present.
    pub fn clear_caches(&self) -> Result<(), CacheError> {
        self.discard(&Revocation::all_tokens());
        Ok(())
    }

    fn discard(&self, revocation: &Revocation) {
        self.all_states().iter().for_each(|state| drop(state.discard(revocation)));
        self.detach_calls();
    }

    /// Ensures that later requests join no call that was sent before a record.
    fn detach_calls(&self) {
        for state in self.all_states() {
            state.validator.introspection.iter().for_each(|introspection| introspection.detach_all());
        }
    }

    /// Returns the records of the issuers to which a revocation applies.
    fn records_for(&self, revocation: &Revocation) -> Result<Vec<IssuerRecords>, RevocationError> {
        let has_tenants = self.issuers.as_ref().is_some_and(|issuers| issuers.tenants.is_some());
        let issuer = match (revocation.issuer(), revocation.token_text()) {
            // A tenant that is not cached has no state, so the issuer must be known.
            (None, Some(token)) if has_tenants => jwt::unverified_issuer(token).ok().flatten(),
            (issuer, _) => issuer.map(str::to_owned),
        };
        let Some(issuer) = issuer else {
            if has_tenants {
                return Err(RevocationError::Issuer);
            }
            return Ok(self.states().iter().map(|state| state.records()).collect());
        };
        let states = self.all_states();
        let named: Vec<_> = states.iter().filter(|state| state.settings.accepts_issuer(&issuer)).collect();
        if !named.is_empty() {
            return Ok(named.into_iter().map(|state| state.records()).collect());
        }
        let tenant = IssuerUrl::parse(&issuer).ok().filter(|_| has_tenants);
        let issuer = IssuerKey::new(tenant.ok_or(RevocationError::Issuer)?.as_str());
        Ok(vec![IssuerRecords { issuer, skew: 0, ..self.state.records() }])
    }
}

/// Waits until records are in the shared store.
async fn sent(sending: Vec<Sending>) -> Result<(), StoreError> {
    let mut outcome = Ok(());
    for sending in sending {
        let ended = || Err(StoreError::new("the thread of the shared store has ended"));
        outcome = outcome.and(sending.await.unwrap_or_else(|_| ended()));
    }
    outcome
}

/// The records of one issuer, and the values for a new one. Times are in seconds.
struct IssuerRecords {
    issuer: IssuerKey,
    indexes: Arc<RevocationIndexes>,
    replica: Option<Arc<Replica>>,
    capacity: usize,
    now: i64,
    skew: i64,
    lifetime: i64,
}

impl IssuerRecords {
    /// Adds a record in this process, and sends it to the other replicas if there is a shared store.
    fn add(&self, record: Record) -> Option<Sending> {
        self.indexes.index(self.issuer, self.capacity).add(&record, self.now);
        self.replica.as_ref().map(|replica| replica.send(record))
    }
}

impl State {
    /// Adds a record that stops the use of cached verdicts.
    fn discard(&self, revocation: &Revocation) -> Option<Sending> {
        let cached = self.settings.tuning.introspection_cache.unwrap_or_default();
        let lifetime = i64::try_from(cached.as_secs()).unwrap_or(i64::MAX).saturating_add(EVICTION_MARGIN);
        let records = self.records();
        records.add(revocation.clone().verdicts_only().record(&records.issuer, records.now, lifetime))
    }

    fn records(&self) -> IssuerRecords {
        let tuning = &self.settings.tuning;
        IssuerRecords {
            issuer: *self.validator.revocations.issuer(),
            indexes: Arc::clone(&self.validator.indexes),
            replica: self.validator.replica.clone(),
            capacity: tuning.max_revocations,
            now: self.clock.unix_time(),
            skew: self.settings.rules.clock_skew,
            lifetime: i64::try_from(tuning.revocation_lifetime.as_secs()).unwrap_or(i64::MAX),
        }
    }
}
