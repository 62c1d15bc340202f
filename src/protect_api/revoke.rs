//! Revocations and evictions.

use std::sync::Arc;

use super::{ProtectApi, state::State};
use crate::{
    bearer::BearerToken,
    cache::CacheError,
    jwt,
    revocation::{IssuerKey, Record, RecordTimes, Revocation, RevocationError, Revocations},
    settings::Settings,
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
    /// [`RevocationError::Issuer`], [`RevocationError::Token`] or [`RevocationError::Ended`] if the revocation cannot have an
    /// effect. [`RevocationError::Store`] if the [shared store](crate::ProtectApiBuilder::shared_store) fails.
    #[doc(alias("logout", "sign_out"))]
    pub async fn revoke(&self, revocation: Revocation) -> Result<(), RevocationError> {
        let revocation = revocation.with_token(|token| {
            BearerToken::resolved(token, usize::MAX).ok().map(|token| token.as_str().to_owned())
        });
        let revocation = revocation.ok_or(RevocationError::Token)?;
        if revocation.has_ended(self.state.clock.unix_time()) {
            return Err(RevocationError::Ended);
        }
        let mut sending = Vec::new();
        for (issuer, records) in self.records_for(&revocation)? {
            sending.extend(records.add(revocation.record(&IssuerKey::new(&issuer), records.times)));
        }
        if revocation.is_verdicts_only() {
            self.detach_calls();
        }
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

    /// Returns the issuers to which a revocation applies, as the `iss` of tokens names them, each with its records.
    fn records_for(
        &self,
        revocation: &Revocation,
    ) -> Result<Vec<(String, ConfiguredRecords)>, RevocationError> {
        let has_tenants = self.has_tenants();
        let Some(issuer) = revocation.issuer() else {
            if let Some(token) = revocation.token_text() {
                // The issuer makes no difference. It is needed if the record is widened.
                let issuer = jwt::unverified_issuer(token).ok().flatten();
                let issuer = issuer.unwrap_or_else(|| self.state.settings.issuer.as_str().to_owned());
                let records = self.states().iter().map(|state| (issuer.clone(), state.records()));
                return Ok(records.collect());
            }
            if has_tenants {
                return Err(RevocationError::Issuer);
            }
            let of_state = |state: &Arc<State>| -> Vec<_> {
                state.settings.issuers().map(|issuer| (issuer.to_owned(), state.records())).collect()
            };
            return Ok(self.states().iter().flat_map(of_state).collect());
        };
        let states = self.all_states();
        let named = states.iter().filter(|state| state.settings.accepts_issuer(issuer));
        let named: Vec<_> = named.map(|state| (issuer.to_owned(), state.records())).collect();
        match named {
            // The tenant may be cached later.
            named if named.is_empty() && has_tenants => Ok(vec![(issuer.to_owned(), self.state.records())]),
            named if named.is_empty() => Err(RevocationError::Issuer),
            named => Ok(named),
        }
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

/// The records of one configuration, and the times of a new one.
struct ConfiguredRecords {
    revocations: Revocations,
    replica: Option<Arc<Replica>>,
    times: RecordTimes,
}

impl ConfiguredRecords {
    /// Adds a record in this process, and sends it to the other replicas if there is a shared store.
    fn add(&self, record: Record) -> Option<Sending> {
        self.revocations.add(&record, self.times.latest);
        self.replica.as_ref().map(|replica| replica.send(record))
    }
}

impl State {
    /// Adds records that stop the use of cached verdicts.
    fn discard(&self, revocation: &Revocation) -> Vec<Sending> {
        let cached = self.settings.tuning.introspection_cache.unwrap_or_default();
        let lifetime = i64::try_from(cached.as_secs()).unwrap_or(i64::MAX).saturating_add(EVICTION_MARGIN);
        let (records, revocation) = (self.records(), revocation.clone().verdicts_only());
        let times = RecordTimes { lifetime, ..records.times };
        let issuers = self.settings.issuers().map(IssuerKey::new);
        issuers.filter_map(|issuer| records.add(revocation.record(&issuer, times))).collect()
    }

    fn records(&self) -> ConfiguredRecords {
        let Settings { tuning, rules, .. } = &self.settings;
        let now = self.clock.unix_time();
        ConfiguredRecords {
            revocations: self.validator.revocations.clone(),
            replica: self.validator.replica.clone(),
            times: RecordTimes {
                now,
                latest: self.validator.replica.as_ref().map_or(now, |replica| replica.latest_time()),
                skew: rules.clock_skew,
                tolerance: rules.clock_tolerance,
                lifetime: i64::try_from(tuning.revocation_lifetime.as_secs()).unwrap_or(i64::MAX),
            },
        }
    }
}
