//! Cached verdicts, and their comparison with the revocation records.

use std::{sync::Arc, time::Duration};

use actix_web::rt;

use super::Introspection;
use crate::{
    bearer::BearerToken,
    cache::{AgedVerdict, CacheKey, ClockReading, Requested, Ticket, Verdict},
    deadline::Deadline,
    revocation::Standing,
};

impl Introspection {
    /// Returns the verdict that this process has cached, if it is not older than `max_age`.
    pub(crate) fn lookup(
        &self,
        key: &CacheKey,
        token: &BearerToken,
        now: ClockReading,
        max_age: Option<Duration>,
    ) -> Option<AgedVerdict> {
        let cached = self.cache.lookup(key, now, max_age)?;
        (self.allows_age(&cached, now.monotonic) && !self.is_stale(token, &cached, now.unix))
            .then_some(cached)
    }

    /// Returns the verdict that this process or the store has cached, if it is not older than `max_age`.
    pub(crate) async fn cached(
        &self,
        key: &CacheKey,
        token: &BearerToken,
        max_age: Option<Duration>,
        deadline: Deadline,
    ) -> Option<AgedVerdict> {
        let generation = self.revocations.generation();
        // The store may be slow.
        let cached = self.cache.get(key, || ClockReading::now(&*self.clock), max_age);
        let cached = deadline.wait(cached).await.flatten()?;
        let now = ClockReading::now(&*self.clock);
        if !self.allows_age(&cached, now.monotonic) || self.is_stale(token, &cached, now.unix) {
            return None;
        }
        if let (Requested::Somewhere(_), Verdict::Active(claims)) = (cached.requested, &cached.verdict) {
            claims.record_memo().set_requested_at(generation);
        }
        Some(cached)
    }

    /// Returns whether a verdict is young enough, in case the records of the shared store are not read.
    pub(super) fn allows_age(&self, cached: &AgedVerdict, now: Duration) -> bool {
        let Some(replica) = &self.replica else { return true };
        cached.age.is_none_or(|age| replica.allows_age(age.at(now), now))
    }

    /// Returns whether a verdict was requested before a record that concerns its token.
    pub(super) fn is_stale(&self, token: &BearerToken, cached: &AgedVerdict, now: i64) -> bool {
        match (cached.requested, &cached.verdict) {
            (Requested::Never, _) => false,
            (Requested::Here(_), Verdict::Active(claims)) => {
                self.revocations.check(|| token.as_str(), claims, || now) == Standing::Stale
            }
            (Requested::Here(generation), Verdict::Inactive) => {
                self.revocations.discards_inactive(token.as_str(), generation, now)
            }
            (Requested::Somewhere(time), Verdict::Active(claims)) => {
                self.revocations.discards_since(token.as_str(), Some(claims), time, now)
            }
            (Requested::Somewhere(time), Verdict::Inactive) => {
                self.revocations.discards_since(token.as_str(), None, time, now)
            }
        }
    }

    /// Caches a verdict.
    pub(super) async fn insert(
        self: &Arc<Self>,
        ticket: Ticket,
        token: &BearerToken,
        verdict: &Verdict,
        deadline: Deadline,
    ) {
        let now = |this: &Self| ClockReading::now(&*this.clock);
        if !self.cache.may_wait() {
            return self.cache.insert(&ticket, verdict, || now(self), || false).await;
        }
        // A separate task, so that it still checks after the deadline whether the token was evicted in the meantime.
        let (this, verdict, token) = (Arc::clone(self), verdict.clone(), token.clone());
        let insert = rt::spawn(async move {
            let requested = Requested::Here(ticket.generation());
            let inserted = AgedVerdict { verdict, requested, age: None };
            let is_stale = || this.is_stale(&token, &inserted, this.clock.unix_time());
            this.cache.insert(&ticket, &inserted.verdict, || now(&this), is_stale).await;
        });
        let _is_in_time = deadline.wait(insert).await;
    }
}
