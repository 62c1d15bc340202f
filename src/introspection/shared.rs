//! Verdicts of the shared store: one replica calls the authorization server, and the others use its verdict.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{Introspection, IntrospectionCall, IntrospectionTarget, TimedVerdict};
use crate::{
    cache::{Age, CacheKey, CachedVerdict, ClockReading, Lifetime, Ticket, Verdict},
    error::AuthError,
    settings::Settings,
    shared_store::{Position, Replica, StoredEntry, StoredVerdict},
    telemetry::{VerdictSource, spans::record_outcome},
};

/// The longest time for which a token is claimed. The other replicas then make the call themselves.
const CLAIM: Duration = Duration::from_secs(2);

/// The interval in which a replica requests the verdict of another one.
const POLL: Duration = Duration::from_millis(20);

/// The verdicts of one configuration in the shared store.
#[derive(Debug)]
pub(crate) struct SharedVerdicts {
    replica: Arc<Replica>,
    lifetime: Lifetime,
    /// The lifetime of an active verdict.
    active: Duration,
    claim: Duration,
}

/// The response of the shared store before a call.
enum StoreResponse {
    Verdict(TimedVerdict),
    /// This process makes the call for all replicas.
    Claimed,
    /// This process makes the call for itself.
    NoVerdict,
}

impl SharedVerdicts {
    /// Returns `None` if verdicts are not cached.
    pub(super) fn new(settings: &Settings, replica: &Arc<Replica>) -> Option<Self> {
        let active = settings.tuning.introspection_cache?;
        Some(Self {
            replica: Arc::clone(replica),
            lifetime: Lifetime::new(active, settings.tuning.inactive_verdict_lifetime()),
            active,
            claim: CLAIM.min(settings.tuning.response_timeout / 2),
        })
    }
}

impl Introspection {
    /// Takes the verdict of another replica, or makes the call.
    pub(super) async fn share_or_introspect(
        self: &Arc<Self>,
        call: IntrospectionCall,
        max_age: Option<Duration>,
        target: impl Future<Output = Result<IntrospectionTarget, AuthError>>,
    ) -> Result<TimedVerdict, AuthError> {
        let (key, response) = (call.key, self.before_call(&call, max_age).await);
        if let StoreResponse::Verdict(verdict) = response {
            return Ok(verdict);
        }
        let outcome = self.introspect(call, target).await;
        if outcome.is_err() && matches!(response, StoreResponse::Claimed) {
            self.release(key);
        }
        outcome
    }

    /// Returns the verdict of another replica, waiting for it if that replica is making the call. `max_age` is that of the
    /// request.
    async fn before_call(&self, call: &IntrospectionCall, max_age: Option<Duration>) -> StoreResponse {
        let Some(shared) = &self.shared else { return StoreResponse::NoVerdict };
        // The age of a stored verdict is known in seconds.
        if max_age.is_some_and(|max_age| max_age < Duration::from_secs(1)) {
            return StoreResponse::NoVerdict;
        }
        let (key, waiting) = (&call.key, call.deadline.half().at_most(shared.claim));
        let (mut entry, mut has_removed) = (shared.replica.get_or_claim(key, shared.claim).await, false);
        loop {
            entry = match entry {
                // Removed, so that one replica can claim the token, and the others get its new verdict.
                StoredEntry::Found(stored) if !has_removed && self.is_evicted(&stored, call) => {
                    has_removed = true;
                    shared.replica.remove(key).await;
                    shared.replica.get_or_claim(key, shared.claim).await
                }
                StoredEntry::Found(stored) => {
                    let accepted = self.accept(shared, &stored, call, max_age);
                    return accepted.map_or(StoreResponse::NoVerdict, StoreResponse::Verdict);
                }
                StoredEntry::Busy if !waiting.time_left().is_zero() => {
                    sleep(POLL).await;
                    shared.replica.get(key).await
                }
                // The call of the other replica has failed, or its claim has ended.
                StoredEntry::Missing => shared.replica.get_or_claim(key, shared.claim).await,
                StoredEntry::Claimed => return StoreResponse::Claimed,
                StoredEntry::Busy | StoredEntry::Unusable => return StoreResponse::NoVerdict,
            };
        }
    }

    /// Returns the age up to which a verdict of another replica counts as refreshed.
    pub(super) fn refreshed_age(&self) -> Option<Duration> {
        self.shared.as_ref().map(|shared| shared.active / 2)
    }

    /// Returns whether a stored verdict was requested before a record that concerns its token.
    fn is_evicted(&self, stored: &StoredVerdict, call: &IntrospectionCall) -> bool {
        let (token, now) = (call.token.as_str(), self.clock.unix_time());
        self.revocations.discards_stored(token, stored.verdict().claims(), stored.read_until(), now)
    }

    /// Checks a stored verdict, and caches it in this process.
    fn accept(
        &self,
        shared: &SharedVerdicts,
        stored: &StoredVerdict,
        call: &IntrospectionCall,
        max_age: Option<Duration>,
    ) -> Option<TimedVerdict> {
        let IntrospectionCall { key, jwt, .. } = call;
        // Read before the records are checked: a record that is added in between is later.
        let generation = self.revocations.generation();
        let now = ClockReading::now(&*self.clock);
        let checked = stored.verdict().clone().check(&shared.lifetime, max_age, now)?;
        let age = checked.age.map_or(Duration::MAX, |age| age.at(now.monotonic));
        let claims = match &checked.verdict {
            Verdict::Active(claims) => Some(claims),
            Verdict::Inactive => None,
        };
        if !shared.replica.allows_age(age, now.monotonic) || self.is_evicted(stored, call) {
            return None;
        }
        if let Some(claims) = claims {
            claims.record_memo().set_requested_at(generation);
        }
        let expires_at = [stored.verdict().token_expires_at(), jwt.as_ref().and_then(|jwt| jwt.expires_at)];
        let ticket =
            Ticket::new(*key, now, generation).aged(age).expiring_at(expires_at.into_iter().flatten().min());
        self.cache.insert_here(&ticket, &checked.verdict, now);
        record_outcome(VerdictSource::SharedStore.name());
        let age = Age::new(age, now.monotonic);
        Some(TimedVerdict { verdict: checked.verdict, age, generation, is_stored: true })
    }

    /// Stores the verdict of a call for the other replicas.
    pub(super) fn after_call(&self, ticket: &Ticket, verdict: &Verdict, read_until: Option<Position>) {
        let Some(shared) = &self.shared else { return };
        let now = ClockReading::now(&*self.clock);
        let lifetime = shared.lifetime.remaining(ticket, verdict, now);
        let stored = (!lifetime.is_zero()).then(|| {
            let cached = CachedVerdict::new(verdict.clone(), ticket);
            (StoredVerdict::new(cached, read_until), lifetime)
        });
        shared.replica.put(*ticket.key(), stored);
    }

    /// Ends the claim of this process after a call that failed.
    fn release(&self, key: CacheKey) {
        if let Some(shared) = &self.shared {
            shared.replica.put(key, None);
        }
    }
}
