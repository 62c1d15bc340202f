//! The verdict cache of this process: two bounded segments, exact lifetimes, no waiting.

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use quick_cache::{UnitWeighter, sync::Cache as Segment};

use crate::{
    cache::{
        Age, AgedVerdict, CacheKey, ClockReading, Lifetime, Requested, Ticket, Verdict,
        bounded::{BySize, EntrySize, bounded_by_size, segment, u64_of},
        expires_at,
    },
    claims::Claims,
};

/// The limits for the number, the memory and the lifetime of entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheLimits {
    /// The longest time for which the verdict on an active token is used. A random part of up to a tenth is
    /// subtracted for each token.
    pub(crate) lifetime: Duration,
    /// The same for an inactive token.
    pub(crate) inactive_lifetime: Duration,
    /// The maximum number of active tokens.
    pub(crate) active: usize,
    /// The maximum number of inactive tokens. They are in a separate segment, so that random tokens evict only each
    /// other. An entry has about 100 bytes, so the default costs at most 2 MiB. With 0, inactive verdicts are not
    /// cached.
    pub(crate) inactive: usize,
    /// The maximum number of bytes of the active segment, estimated from the claims. A verdict of more than 1 MiB
    /// may not be cached, but it is used for its request.
    pub(crate) bytes: u64,
    /// Whether the times are set at which a verdict is introspected again.
    pub(crate) refresh_ahead: bool,
    /// The time for which an expired verdict on an active token may be used during an outage.
    pub(crate) outage_grace: Duration,
}

/// The verdict cache in memory.
///
/// A lookup takes the read lock of one shard while it copies the entry, and allocates nothing. Each change of the
/// cache follows a network call or an action of the operator, and takes one common lock. An unused entry stays
/// until its place is needed.
pub(crate) struct VerdictCache {
    active: Segment<CacheKey, Active, BySize>,
    inactive: Segment<CacheKey, Times>,
    lifetime: Lifetime,
    refresh_ahead: bool,
    outage_grace: Duration,
    /// Locked while both segments change.
    changes: Mutex<()>,
}

#[derive(Clone)]
struct Active {
    claims: Claims,
    weight: u64,
    times: Times,
}

/// The start and the end of an entry on both clocks. The wall clock alone could be set back, and the monotonic
/// clock alone would not show that the wall clock was set forward.
#[derive(Clone, Copy)]
struct Times {
    sent: Duration,
    /// The age at `sent`, if another replica requested the verdict.
    aged: Duration,
    ends: Duration,
    /// The end of its use during an outage.
    grace_ends: Duration,
    exp: Option<i64>,
    /// The number of revocation records before the request was sent.
    generation: u64,
}

impl Times {
    fn is_over(&self, now: ClockReading) -> bool {
        now.monotonic >= self.ends || self.is_past_exp(now)
    }

    fn is_past_grace(&self, now: ClockReading) -> bool {
        now.monotonic >= self.grace_ends || self.is_past_exp(now)
    }

    fn is_past_exp(&self, now: ClockReading) -> bool {
        self.exp.is_some_and(|exp| now.unix >= exp)
    }

    /// Returns whether the entry ends with its token, so that another verdict would not be usable for longer.
    fn end_with_token(&self, now: ClockReading) -> bool {
        let left = self.ends.saturating_sub(now.monotonic);
        self.exp.is_some_and(|exp| u64::try_from(exp.saturating_sub(now.unix)).unwrap_or(0) <= left.as_secs())
    }

    /// Returns the time on the monotonic clock at which the verdict was requested; zero if that was before its start.
    fn requested(&self) -> Duration {
        self.sent.saturating_sub(self.aged)
    }

    fn age(&self, now: ClockReading) -> Duration {
        self.aged.saturating_add(now.monotonic.saturating_sub(self.sent))
    }
}

impl VerdictCache {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        Self {
            active: bounded_by_size(limits.active, limits.bytes),
            inactive: segment(limits.inactive, u64_of(limits.inactive), UnitWeighter),
            lifetime: Lifetime::new(limits.lifetime, limits.inactive_lifetime),
            refresh_ahead: limits.refresh_ahead,
            outage_grace: limits.outage_grace,
            changes: Mutex::default(),
        }
    }

    /// Returns the verdict on an active token for use during an outage, unless its token has expired.
    pub(crate) fn get_expired(&self, key: &CacheKey, now: ClockReading) -> Option<AgedVerdict> {
        let Active { claims, times, .. } =
            self.active.get(key).filter(|entry| !entry.times.is_past_grace(now))?;
        let age = Some(Age::new(times.age(now), now.monotonic));
        Some(AgedVerdict {
            verdict: Verdict::Active(claims),
            requested: Requested::Here(times.generation),
            age,
        })
    }

    /// Returns the verdict on a token. Removes the entry if it has expired and is not kept for an outage. An entry that is only older than
    /// `max_age` stays, because the next request may accept it.
    pub(crate) fn get(
        &self,
        key: &CacheKey,
        now: ClockReading,
        max_age: Option<Duration>,
    ) -> Option<AgedVerdict> {
        let (verdict, times) = self.find(key, now)?;
        let age = times.age(now);
        let requested = Requested::Here(times.generation);
        let hit = AgedVerdict { verdict, requested, age: Some(Age::new(age, now.monotonic)) };
        max_age.is_none_or(|max_age| age <= max_age).then_some(hit)
    }

    fn find(&self, key: &CacheKey, now: ClockReading) -> Option<(Verdict, Times)> {
        if let Some(entry) = self.active.get(key) {
            if !entry.times.is_over(now) {
                return Some((Verdict::Active(entry.claims), entry.times));
            }
            // Only an expired entry is removed, because a fresh verdict may have replaced it in the meantime.
            self.active.remove_if(key, |entry| entry.times.is_past_grace(now));
        }
        let times = self.inactive.get(key)?;
        if !times.is_over(now) {
            return Some((Verdict::Inactive, times));
        }
        self.inactive.remove_if(key, |times| times.is_over(now));
        None
    }

    /// Caches a verdict, unless a later call has already inserted one, or the verdict has expired.
    pub(crate) fn insert(&self, ticket: &Ticket, verdict: &Verdict, now: ClockReading) {
        let key = *ticket.key();
        let times = self.times(ticket, verdict, now);
        // No code panics while it holds the lock, and it protects no data.
        let _changing = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_newer_than(&key, times) {
            return;
        }
        if times.is_over(now) {
            self.remove(&key);
            return;
        }
        // The insertion comes before the removal, so that the token is always in one of the segments.
        match verdict {
            Verdict::Active(claims) => {
                let weight = size(claims);
                if self.refresh_ahead && !times.end_with_token(now) {
                    let (last_part, refresh_at) = self.lifetime.refresh_times(ticket, times.ends);
                    claims.refresh_times().set(last_part, refresh_at);
                }
                self.active.insert(key, Active { claims: claims.clone(), weight, times });
                self.inactive.remove(&key);
            }
            Verdict::Inactive => {
                self.inactive.insert(key, times);
                self.active.remove(&key);
            }
        }
    }

    /// Removes the entries under these keys.
    pub(crate) fn evict(&self, keys: &[CacheKey]) {
        let _changing = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            self.remove(key);
        }
    }

    /// Returns the number of entries, including expired ones that no request has looked up since.
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
        cached.is_some_and(|cached| cached.requested() > times.requested())
    }

    fn times(&self, ticket: &Ticket, verdict: &Verdict, now: ClockReading) -> Times {
        let remaining = self.lifetime.remaining(ticket, verdict, now);
        let exp = expires_at(verdict, ticket.token_expires_at());
        let until_exp = exp.map_or(Duration::MAX, |exp| {
            Duration::from_secs(u64::try_from(exp.saturating_sub(now.unix)).unwrap_or(0))
        });
        let grace = remaining.saturating_add(self.outage_grace).min(until_exp);
        Times {
            sent: ticket.sent().monotonic,
            aged: ticket.age(ticket.sent().monotonic),
            ends: now.monotonic.saturating_add(remaining),
            grace_ends: now.monotonic.saturating_add(grace),
            exp,
            generation: ticket.generation(),
        }
    }
}

/// Prints only the number of entries.
impl fmt::Debug for VerdictCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerdictCache")
            .field("lifetime", &self.lifetime)
            .field("active", &self.active.len())
            .field("inactive", &self.inactive.len())
            .finish_non_exhaustive()
    }
}

/// Estimates the bytes of an active entry: its slots, and the heap memory of its claims.
fn size(claims: &Claims) -> u64 {
    const ENTRY: usize = 400;
    u64_of(ENTRY + claims.footprint())
}

impl EntrySize for Active {
    fn entry_size(&self) -> u64 {
        self.weight
    }
}
