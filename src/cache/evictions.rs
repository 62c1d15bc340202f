//! Evictions during calls. If a token is evicted after its introspection request was sent, the verdict is not
//! cached. Only the evicted token, or the tokens of the evicted subject, are affected.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::cache::{CacheKey, ClockReading, Verdict};

/// The maximum number of evictions that are recorded during calls. If there are more, the verdict of a call that is
/// older than all recorded evictions is not cached, for any token.
const MAX_RECENT: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Evictions {
    log: Mutex<EvictionLog>,
    subjects: RandomState,
}

#[derive(Debug, Default)]
pub(super) struct EvictionLog {
    /// The number of evictions so far.
    count: u64,
    /// The number of outstanding tickets that were taken at each count.
    outstanding: BTreeMap<u64, usize>,
    /// The evictions that are newer than an outstanding ticket, with their number, the oldest first.
    recent: VecDeque<(u64, Evicted)>,
    /// Every ticket that was taken before this eviction is invalid.
    all_before: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evicted {
    Token(CacheKey),
    /// A hash of the subject. If two subjects have the same hash, the only effect is that a verdict is not cached.
    Subject(u64),
}

/// Contains the time at which an introspection request was sent. It is created before the request is sent. While it
/// exists, later evictions are recorded.
#[derive(Debug)]
pub(crate) struct Ticket {
    key: CacheKey,
    sent: ClockReading,
    /// The time on the wall clock at which the token expires, if it is known from another source than the verdict.
    token_expires_at: Option<i64>,
    /// The number of evictions when the ticket was taken.
    drawn_at: u64,
    /// The evictions; `None` if nothing is cached.
    evictions: Option<Arc<Evictions>>,
}

impl Ticket {
    /// Returns a ticket for a cache that is off. Only its time is used.
    pub(super) fn without_cache(key: CacheKey, sent: ClockReading) -> Self {
        Self { key, sent, token_expires_at: None, drawn_at: 0, evictions: None }
    }

    /// Limits the lifetime of an active verdict to the expiry of the token itself, by the local wall clock.
    pub(crate) fn expiring_at(mut self, token_expires_at: Option<i64>) -> Self {
        self.token_expires_at = token_expires_at;
        self
    }

    pub(crate) fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Returns the time at which the introspection request was sent.
    pub(crate) fn sent(&self) -> ClockReading {
        self.sent
    }

    pub(super) fn token_expires_at(&self) -> Option<i64> {
        self.token_expires_at
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(evictions) = &self.evictions {
            evictions.lock().release(self.drawn_at);
        }
    }
}

impl Evictions {
    pub(super) fn ticket(self: &Arc<Self>, key: CacheKey, sent: ClockReading) -> Ticket {
        let drawn_at = self.lock().draw();
        Ticket { key, sent, token_expires_at: None, drawn_at, evictions: Some(Arc::clone(self)) }
    }

    pub(super) fn record_subject(&self, log: &mut EvictionLog, subject: &str) {
        log.record(Evicted::Subject(self.subjects.hash_one(subject)));
    }

    /// Returns whether a verdict may be cached. The caller holds the lock of the log until it is inserted.
    pub(super) fn allow(&self, log: &EvictionLog, ticket: &Ticket, verdict: &Verdict) -> bool {
        let subject = match verdict {
            Verdict::Active(claims) => claims.subject(),
            Verdict::Inactive => None,
        };
        let subject = subject.map(|subject| Evicted::Subject(self.subjects.hash_one(subject)));
        let concerns = |evicted: Evicted| evicted == Evicted::Token(ticket.key) || Some(evicted) == subject;
        let later = log.recent.iter().filter(|(number, _)| *number > ticket.drawn_at);
        log.all_before <= ticket.drawn_at && !later.into_iter().any(|(_, evicted)| concerns(*evicted))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, EvictionLog> {
        // No code panics while it holds the lock. Even after a panic the log would be consistent.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EvictionLog {
    pub(super) fn record_token(&mut self, key: &CacheKey) {
        self.record(Evicted::Token(*key));
    }

    /// Makes every outstanding ticket invalid.
    pub(super) fn record_everything(&mut self) {
        self.count = self.count.saturating_add(1);
        self.all_before = self.count;
        self.recent.clear();
    }

    fn record(&mut self, evicted: Evicted) {
        self.count = self.count.saturating_add(1);
        if self.outstanding.is_empty() {
            return;
        }
        if self.recent.len() >= MAX_RECENT
            && let Some((number, _)) = self.recent.pop_front()
        {
            self.all_before = number;
        }
        self.recent.push_back((self.count, evicted));
    }

    fn draw(&mut self) -> u64 {
        *self.outstanding.entry(self.count).or_default() += 1;
        self.count
    }

    fn release(&mut self, drawn_at: u64) {
        if let Some(tickets) = self.outstanding.get_mut(&drawn_at) {
            *tickets = tickets.saturating_sub(1);
            if *tickets == 0 {
                self.outstanding.remove(&drawn_at);
            }
        }
        let oldest = self.outstanding.first_key_value().map_or(u64::MAX, |(drawn_at, _)| *drawn_at);
        while self.recent.front().is_some_and(|(number, _)| *number <= oldest) {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::tests::{active, at};

    fn ticket(evictions: &Arc<Evictions>, number: u64) -> Ticket {
        evictions.ticket(CacheKey::numbered(number), at(0, 0))
    }

    fn evict(evictions: &Evictions, number: u64) {
        evictions.lock().record_token(&CacheKey::numbered(number));
    }

    fn allows(evictions: &Evictions, ticket: &Ticket, verdict: &Verdict) -> bool {
        evictions.allow(&evictions.lock(), ticket, verdict)
    }

    #[test]
    fn an_eviction_concerns_its_own_token_or_subject() {
        let evictions = Arc::new(Evictions::default());
        let (one, other) = (ticket(&evictions, 1), ticket(&evictions, 2));
        evict(&evictions, 1);
        assert!(!allows(&evictions, &one, &Verdict::Inactive));
        assert!(allows(&evictions, &other, &Verdict::Inactive));
        evictions.record_subject(&mut evictions.lock(), "alice");
        assert!(!allows(&evictions, &other, &active(json!({"sub": "alice"}))));
        assert!(allows(&evictions, &other, &active(json!({"sub": "bob"}))));
        assert!(allows(&evictions, &other, &active(json!({}))));
        evictions.lock().record_everything();
        assert!(!allows(&evictions, &other, &active(json!({"sub": "bob"}))));
        assert!(allows(&evictions, &ticket(&evictions, 1), &active(json!({"sub": "alice"}))), "asked later");
    }

    #[test]
    fn evictions_are_forgotten_with_the_last_ticket_that_is_older() {
        let evictions = Arc::new(Evictions::default());
        evict(&evictions, 1);
        assert_eq!(evictions.lock().recent.len(), 0, "no call is under way");
        let old = ticket(&evictions, 1);
        evict(&evictions, 1);
        let (young, twin) = (ticket(&evictions, 1), ticket(&evictions, 1));
        evict(&evictions, 2);
        assert_eq!(evictions.lock().recent.len(), 2);
        drop(old);
        assert_eq!(evictions.lock().recent.len(), 1);
        drop(young);
        assert_eq!(evictions.lock().recent.len(), 1);
        drop(twin);
        let log = evictions.lock();
        assert_eq!((log.recent.len(), log.outstanding.len()), (0, 0));
    }

    #[test]
    fn too_many_evictions_widen_to_every_token_of_the_calls_before_them() {
        let evictions = Arc::new(Evictions::default());
        let old = ticket(&evictions, 0);
        evict(&evictions, 1);
        let young = ticket(&evictions, 0);
        for number in 2..=MAX_RECENT.try_into().unwrap() {
            evict(&evictions, number);
        }
        assert!(allows(&evictions, &old, &Verdict::Inactive));
        evict(&evictions, 1);
        assert_eq!(evictions.lock().recent.len(), MAX_RECENT);
        assert!(!allows(&evictions, &old, &Verdict::Inactive), "the first eviction is forgotten");
        assert!(allows(&evictions, &young, &Verdict::Inactive), "it was asked after the forgotten one");
    }
}
