//! The verdict cache in this process: two bounded segments, exact lifetimes, no waiting.

#[cfg(test)]
mod tests;

use std::{cell::Cell, fmt, sync::Arc, time::Duration};

use quick_cache::{UnitWeighter, sync::Cache as Segment};

use crate::{
    cache::{
        Age, AgedVerdict, CacheKey, ClockReading, Lifetime, Ticket, Verdict,
        bounded::{BySize, EntrySize, bounded_by_size, segment, u64_of},
        evictions::Evictions,
        expires_at,
    },
    claims::Claims,
};

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheLimits {
    /// How long the verdict on an active token is used at most; a random part of up to a tenth is taken off each one.
    pub(crate) lifetime: Duration,
    /// The same for an inactive one.
    pub(crate) inactive_lifetime: Duration,
    /// How many active tokens are kept.
    pub(crate) active: usize,
    /// The maximum number of inactive tokens. They are in a separate segment, so that random tokens evict only each
    /// other. An entry has about 100 bytes, so the default costs at most 2 MiB. With 0, inactive verdicts are not
    /// cached.
    pub(crate) inactive: usize,
    /// How many bytes the active segment holds, as estimated from the claims. A verdict that takes more than 1 MiB by
    /// itself may not be kept; it is used all the same.
    pub(crate) bytes: u64,
}

/// The verdict cache in memory.
///
/// A lookup takes one shard's lock for reading, for as long as it takes to copy the entry, and allocates nothing.
/// Everything that changes the cache follows a call over the network or an operator's wish and goes through one lock.
/// An entry that nobody asks for any more stays until its place is needed.
pub(crate) struct VerdictCache {
    active: Segment<CacheKey, Active, BySize>,
    inactive: Segment<CacheKey, Times>,
    lifetime: Lifetime,
    /// Its log is locked while both segments change.
    evictions: Arc<Evictions>,
}

#[derive(Clone)]
struct Active {
    claims: Claims,
    weight: u64,
    times: Times,
}

/// When an entry was asked for, and when it ends, by both clocks: the wall clock alone could be set back, and the monotonic one
/// alone would not see it set forward.
#[derive(Clone, Copy)]
struct Times {
    sent: Duration,
    ends: Duration,
    exp: Option<i64>,
}

impl Times {
    fn is_over(&self, now: ClockReading) -> bool {
        now.monotonic >= self.ends || self.exp.is_some_and(|exp| now.unix >= exp)
    }

    fn age(&self, now: ClockReading) -> Duration {
        now.monotonic.saturating_sub(self.sent)
    }
}

impl VerdictCache {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        Self {
            active: bounded_by_size(limits.active, limits.bytes),
            inactive: segment(limits.inactive, u64_of(limits.inactive), UnitWeighter),
            lifetime: Lifetime::new(limits.lifetime, limits.inactive_lifetime),
            evictions: Arc::default(),
        }
    }

    /// The verdict on a token. An entry whose time is over is dropped on the way; one older than `max_age` is not: the
    /// next request may accept it.
    pub(crate) fn get(
        &self,
        key: &CacheKey,
        now: ClockReading,
        max_age: Option<Duration>,
    ) -> Option<AgedVerdict> {
        let (verdict, times) = self.find(key, now)?;
        let age = times.age(now);
        let hit = AgedVerdict { verdict, age: Some(Age::new(age, now.monotonic)) };
        max_age.is_none_or(|max_age| age <= max_age).then_some(hit)
    }

    fn find(&self, key: &CacheKey, now: ClockReading) -> Option<(Verdict, Times)> {
        if let Some(entry) = self.active.get(key) {
            if !entry.times.is_over(now) {
                return Some((Verdict::Active(entry.claims), entry.times));
            }
            // Only what is over: a fresh verdict may have taken its place meanwhile.
            self.active.remove_if(key, |entry| entry.times.is_over(now));
        }
        let times = self.inactive.get(key)?;
        if !times.is_over(now) {
            return Some((Verdict::Inactive, times));
        }
        self.inactive.remove_if(key, |times| times.is_over(now));
        None
    }

    pub(crate) fn ticket(&self, key: CacheKey, sent: ClockReading) -> Ticket {
        self.evictions.ticket(key, sent)
    }

    /// Caches a verdict, unless its token was evicted since it was asked for, a later request has got one already, or its
    /// time is over.
    pub(crate) fn insert(&self, ticket: &Ticket, verdict: &Verdict, now: ClockReading) {
        let key = *ticket.key();
        let times = self.times(ticket, verdict, now);
        let log = self.evictions.lock();
        if !self.evictions.allow(&log, ticket, verdict) || self.has_newer_than(&key, times) {
            return;
        }
        if times.is_over(now) {
            self.remove(&key);
            return;
        }
        // First in, then out, so that the token is always in one of them.
        match verdict {
            Verdict::Active(claims) => {
                let weight = size(claims);
                self.active.insert(key, Active { claims: claims.clone(), weight, times });
                self.inactive.remove(&key);
            }
            Verdict::Inactive => {
                self.inactive.insert(key, times);
                self.active.remove(&key);
            }
        }
    }

    pub(crate) fn evict(&self, keys: &[CacheKey]) {
        let mut log = self.evictions.lock();
        for key in keys {
            log.record_token(key);
            self.remove(key);
        }
    }

    /// Looks at every active entry, so its cost grows with the cache; other lookups go on between two shards.
    pub(crate) fn evict_subject(&self, subject: &str) -> usize {
        let mut log = self.evictions.lock();
        self.evictions.record_subject(&mut log, subject);
        let evicted = Cell::new(0);
        self.active.retain(|_, entry| {
            let other = entry.claims.subject() != Some(subject);
            evicted.update(|count| count + usize::from(!other));
            other
        });
        evicted.get()
    }

    pub(crate) fn clear(&self) {
        let mut log = self.evictions.lock();
        log.record_everything();
        self.active.clear();
        self.inactive.clear();
    }

    /// The number of entries, those included whose time is over but which nobody asked for since.
    pub(crate) fn len(&self) -> usize {
        self.active.len() + self.inactive.len()
    }

    fn remove(&self, key: &CacheKey) {
        self.active.remove(key);
        self.inactive.remove(key);
    }

    fn has_newer_than(&self, key: &CacheKey, times: Times) -> bool {
        let active = self.active.peek(key).map(|entry| entry.times);
        let cached = active.or_else(|| self.inactive.peek(key));
        cached.is_some_and(|cached| cached.sent > times.sent)
    }

    fn times(&self, ticket: &Ticket, verdict: &Verdict, now: ClockReading) -> Times {
        let remaining = self.lifetime.remaining(ticket, verdict, now);
        Times {
            sent: ticket.sent().monotonic,
            ends: now.monotonic.saturating_add(remaining),
            exp: expires_at(verdict, ticket.token_expires_at()),
        }
    }
}

/// Tells how many there are, and nothing of them.
impl fmt::Debug for VerdictCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerdictCache")
            .field("lifetime", &self.lifetime)
            .field("active", &self.active.len())
            .field("inactive", &self.inactive.len())
            .finish_non_exhaustive()
    }
}

/// About how many bytes an active entry takes: its slots, and what its claims own on the heap.
fn size(claims: &Claims) -> u64 {
    const ENTRY: usize = 400;
    u64_of(ENTRY + claims.footprint())
}

impl EntrySize for Active {
    fn entry_size(&self) -> u64 {
        self.weight
    }
}
