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
    /// [`RevocationError::Issuer`], [`RevocationError::Token`], [`RevocationError::Empty`] or [`RevocationError::Ended`] if the
    /// revocation cannot have an effect. [`RevocationError::Store`] if the
    /// [shared store](crate::ProtectApiBuilder::shared_store) fails.
    #[doc(alias("logout", "sign_out"))]
    pub async fn revoke(&self, revocation: Revocation) -> Result<(), RevocationError> {
        let revocation = revocation.with_token(|token| {
            BearerToken::resolved(token, usize::MAX).ok().map(|token| token.as_str().to_owned())
        });
        let revocation = revocation.ok_or(RevocationError::Token)?;
        if revocation.has_blank_value() {
            return Err(RevocationError::Empty);
        }
        if revocation.has_ended(self.state.clock.unix_time()) {
            return Err(RevocationError::Ended);
        }
        let mut sending = Vec::new();
        for (issuer, records) in self.records_for(&revocation)? {
            sending.extend(records.add(revocation.record(&issuer, records.times)));
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
    ) -> Result<Vec<(IssuerKey, ConfiguredRecords)>, RevocationError> {
        let has_tenants = self.has_tenants();
        let Some(issuer) = revocation.issuer() else {
            if let Some(token) = revocation.token_text() {
                return Ok(self.records_for_token(token));
            }
            if has_tenants {
                return Err(RevocationError::Issuer);
            }
            return Ok(self.states().iter().flat_map(|state| state.records_for_all()).collect());
        };
        let states = self.all_states();
        let of_state = |state: &Arc<State>| {
            if state.settings.accepts_issuer(issuer) {
                vec![(IssuerKey::new(issuer), state.records())]
            } else if state.settings.issuer.accepts(issuer) {
                // Its tokens have other names.
                state.records_for_all()
            } else {
                Vec::new()
            }
        };
        let named: Vec<_> = states.iter().flat_map(of_state).collect();
        match named {
            // The tenant may be cached later.
            named if named.is_empty() && has_tenants => {
                Ok(vec![(IssuerKey::new(issuer), self.state.records())])
            }
            named if named.is_empty() => Err(RevocationError::Issuer),
            named => Ok(named),
        }
    }

    /// Returns the records with which one token can be compared: those of the configured issuers, and of cached tenants with another
    /// shared store. The issuer makes a difference only if the record is widened. That of an opaque token is not known if there are
    /// several.
    fn records_for_token(&self, token: &str) -> Vec<(IssuerKey, ConfiguredRecords)> {
        let issuer = jwt::unverified_issuer(token).ok().flatten();
        let issuer = issuer.map(|issuer| IssuerKey::new(&issuer)).or_else(|| self.only_issuer());
        let mut records: Vec<ConfiguredRecords> = self.states().iter().map(|state| state.records()).collect();
        for tenant in self.all_states().iter().skip(self.states().len()) {
            let of_tenant = &tenant.validator.revocations;
            if !records.iter().any(|known| known.revocations.shares_index(of_tenant)) {
                records.push(tenant.records());
            }
        }
        let issuer = issuer.unwrap_or(IssuerKey::NONE);
        records.into_iter().map(|records| (issuer, records)).collect()
    }

    /// Returns the issuer of all tokens, if there is only one.
    fn only_issuer(&self) -> Option<IssuerKey> {
        let [only] = self.states() else { return None };
        let mut issuers = only.settings.issuers().map(IssuerKey::new);
        let first = issuers.next()?;
        (!self.has_tenants() && issuers.all(|issuer| issuer == first)).then_some(first)
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

    /// Returns each issuer that tokens can name, with the records.
    fn records_for_all(&self) -> Vec<(IssuerKey, ConfiguredRecords)> {
        self.settings.issuers().map(|issuer| (IssuerKey::new(issuer), self.records())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(name: &str) -> crate::ProtectApiBuilder {
        ProtectApi::builder(format!("https://{name}.example.test"), "api")
    }

    /// The issuers to whose tokens the record of this token is widened.
    fn widened(protect: &ProtectApi, token: &str) -> Vec<IssuerKey> {
        let records = protect.records_for(&Revocation::token(token)).unwrap();
        records.into_iter().map(|(issuer, _)| issuer).collect()
    }

    #[test]
    fn the_record_of_an_opaque_token_is_not_widened_to_the_tokens_of_another_issuer() {
        let [one, two] = ["one", "two"].map(|name| issuer(name).build().unwrap());
        let key = |name: &str| IssuerKey::new(&format!("https://{name}.example.test"));
        assert_eq!(widened(&one, "opaque"), [key("one")]);
        let both = ProtectApi::any_of([one.clone(), two]).build().unwrap();
        assert_eq!(widened(&both, "opaque"), [IssuerKey::NONE; 2]);
        // `{"alg":"ES256"}` and `{"iss":"https://two.example.test"}`.
        let jwt = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL3R3by5leGFtcGxlLnRlc3QifQ.AA";
        assert_eq!(widened(&both, jwt), [key("two"); 2]);
        let renamed = issuer("one").token_issuers(["https://a.example.test"]).build().unwrap();
        assert_eq!(widened(&renamed, "opaque"), [IssuerKey::NONE]);
        let tenants = ProtectApi::any_of([one]).tenants(|_| None, |_| Box::pin(async { Ok(None) }));
        assert_eq!(widened(&tenants.build().unwrap(), "opaque"), [IssuerKey::NONE]);
    }

    #[test]
    fn a_widened_record_takes_the_clock_of_the_issuer_into_account() {
        let protect = issuer("ahead").clock_skew(std::time::Duration::from_secs(77)).build().unwrap();
        assert!(protect.state.validator.revocations.issued_until(0) >= 77);
    }
}
