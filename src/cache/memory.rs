//! The verdict cache in this process: two bounded segments, exact lifetimes, no waiting.

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

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use serde_json::{Map, Value, json};

    use super::*;
    use crate::{
        cache::{
            CacheKeyHasher,
            tests::{active, at},
        },
        settings::Tuning,
    };

    const MINUTE: u64 = 60;

    impl CacheLimits {
        /// Returns the default limits, with this lifetime for all verdicts.
        pub(in crate::cache) fn new(lifetime: Duration) -> Self {
            Self { lifetime, inactive_lifetime: lifetime, ..Tuning::default().cache_limits() }
        }
    }

    fn limits() -> CacheLimits {
        CacheLimits::new(Duration::from_secs(MINUTE))
    }

    fn put(cache: &VerdictCache, key: CacheKey, verdict: &Verdict, now: ClockReading) {
        cache.insert(&cache.ticket(key, now), verdict, now);
    }

    fn one(verdict: &Verdict, now: ClockReading) -> (VerdictCache, CacheKey) {
        let (cache, key) = (VerdictCache::new(limits()), CacheKey::numbered(1));
        put(&cache, key, verdict, now);
        (cache, key)
    }

    #[test]
    fn a_hit_is_the_verdict_with_its_age() {
        let alice = active(json!({"sub": "alice"}));
        let (cache, key) = one(&alice, at(100, 0));
        assert_eq!(
            cache.get(&key, at(130, 30), None),
            Some(AgedVerdict {
                verdict: alice,
                age: Some(Age::new(Duration::from_secs(30), Duration::from_secs(130)))
            })
        );
        assert_eq!(cache.get(&CacheKey::numbered(2), at(130, 30), None), None);
    }

    #[test]
    fn a_hit_shares_the_claims() {
        let alice = active(json!({"sub": "alice"}));
        let (cache, key) = one(&alice, at(0, 0));
        let (Verdict::Active(put), Some(AgedVerdict { verdict: Verdict::Active(got), .. })) =
            (alice, cache.get(&key, at(0, 0), None))
        else {
            panic!("no hit")
        };
        assert!(std::ptr::eq(put.members(), got.members()));
    }

    #[test]
    fn a_verdict_without_exp_dies_when_its_lifetime_is_over() {
        for verdict in [active(json!({"sub": "alice"})), Verdict::Inactive] {
            let (cache, key) = one(&verdict, at(100, 0));
            assert!(cache.get(&key, at(100 + MINUTE * 9 / 10 - 1, 0), None).is_some(), "{verdict:?}");
            assert_eq!(cache.get(&key, at(100 + MINUTE, 0), None), None, "{verdict:?}");
            assert_eq!(cache.len(), 0, "dropped on access");
        }
    }

    #[test]
    fn a_verdict_dies_at_exp_also_without_iat() {
        let (cache, key) = one(&active(json!({"exp": 1010})), at(100, 1000));
        assert!(cache.get(&key, at(109, 1009), None).is_some());
        // The wall clock alone is enough: it was set forward.
        assert_eq!(cache.get(&key, at(109, 1010), None), None);
        assert_eq!(cache.len(), 0, "dropped on access");
    }

    #[test]
    fn a_verdict_dies_at_exp_also_when_the_wall_clock_is_set_back() {
        let (cache, key) = one(&active(json!({"exp": 1010})), at(100, 1000));
        assert!(cache.get(&key, at(109, 500), None).is_some());
        assert_eq!(cache.get(&key, at(110, 500), None), None);
    }

    #[test]
    fn a_verdict_past_its_exp_is_never_kept() {
        for exp in [999, 1000] {
            let (cache, _) = one(&active(json!({"exp": exp})), at(100, 1000));
            assert_eq!(cache.len(), 0);
        }
        let (cache, key) = one(&active(json!({"exp": 1010})), at(100, 1000));
        put(&cache, key, &active(json!({"exp": 1000})), at(100, 1000));
        assert_eq!(
            cache.get(&key, at(100, 1000), None),
            None,
            "the newer verdict counts, even if it cannot be kept"
        );
    }

    #[test]
    fn an_entry_older_than_max_age_is_a_miss_but_stays_for_others() {
        let (cache, key) = one(&active(json!({})), at(100, 0));
        let age = |seconds| Some(Duration::from_secs(seconds));
        assert!(cache.get(&key, at(110, 10), age(10)).is_some());
        assert!(cache.get(&key, at(110, 10), age(9)).is_none());
        assert!(cache.get(&key, at(110, 10), None).is_some());
    }

    #[test]
    fn a_lifetime_of_zero_keeps_nothing() {
        let cache = VerdictCache::new(CacheLimits::new(Duration::ZERO));
        put(&cache, CacheKey::numbered(1), &Verdict::Inactive, at(0, 0));
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn the_newest_verdict_counts() {
        let alice = active(json!({"sub": "alice"}));
        let (cache, key) = one(&alice, at(0, 0));
        put(&cache, key, &Verdict::Inactive, at(1, 1));
        assert_eq!(cache.get(&key, at(2, 2), None).unwrap().verdict, Verdict::Inactive);
        put(&cache, key, &alice, at(3, 3));
        assert_eq!(cache.get(&key, at(4, 4), None).unwrap().verdict, alice);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn eviction_forgets_one_token_one_subject_or_everything() {
        let cache = VerdictCache::new(limits());
        for number in 0..6 {
            let sub = if number % 2 == 0 { "alice" } else { "bob" };
            put(&cache, CacheKey::numbered(number), &active(json!({"sub": sub})), at(0, 0));
        }
        put(&cache, CacheKey::numbered(6), &Verdict::Inactive, at(0, 0));
        cache.evict(&[CacheKey::numbered(1), CacheKey::numbered(6)]);
        assert_eq!(cache.len(), 5);
        assert_eq!(cache.evict_subject("alice"), 3);
        assert_eq!(cache.evict_subject("alice"), 0);
        assert!(cache.get(&CacheKey::numbered(0), at(0, 0), None).is_none());
        assert!(cache.get(&CacheKey::numbered(3), at(0, 0), None).is_some());
        put(&cache, CacheKey::numbered(6), &Verdict::Inactive, at(0, 0));
        cache.clear();
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn an_answer_that_was_asked_for_before_an_eviction_does_not_enter() {
        let evictions: [fn(&VerdictCache); 3] = [
            |cache| cache.evict(&[CacheKey::numbered(1)]),
            |cache| assert_eq!(cache.evict_subject("alice"), 0),
            VerdictCache::clear,
        ];
        for evict in evictions {
            let cache = VerdictCache::new(limits());
            let asked = cache.ticket(CacheKey::numbered(1), at(0, 0));
            evict(&cache);
            cache.insert(&asked, &active(json!({"sub": "alice"})), at(0, 0));
            assert_eq!(cache.len(), 0);
        }
    }

    #[test]
    fn an_eviction_keeps_no_answer_about_another_token_or_subject_out() {
        let evictions: [fn(&VerdictCache); 2] = [
            |cache| cache.evict(&[CacheKey::numbered(1)]),
            |cache| assert_eq!(cache.evict_subject("alice"), 0),
        ];
        for evict in evictions {
            for verdict in [active(json!({"sub": "bob"})), active(json!({})), Verdict::Inactive] {
                let cache = VerdictCache::new(limits());
                let asked = cache.ticket(CacheKey::numbered(2), at(0, 0));
                evict(&cache);
                cache.insert(&asked, &verdict, at(0, 0));
                assert_eq!(cache.len(), 1, "{verdict:?}");
            }
        }
    }

    #[test]
    fn a_verdict_is_as_old_as_its_request() {
        let (cache, key) = (VerdictCache::new(limits()), CacheKey::numbered(1));
        cache.insert(&cache.ticket(key, at(100, 0)), &active(json!({})), at(130, 30));
        assert_eq!(cache.get(&key, at(130, 30), Some(Duration::from_secs(29))), None);
        assert!(cache.get(&key, at(130, 30), Some(Duration::from_secs(30))).is_some());
        assert_eq!(cache.get(&key, at(100 + MINUTE, 60), None), None);
        cache.insert(&cache.ticket(key, at(100, 0)), &active(json!({})), at(100 + MINUTE, 60));
        assert_eq!(cache.len(), 0, "the answer took as long as it may be cached");
    }

    #[test]
    fn an_inactive_verdict_has_a_duration_of_its_own() {
        let limits = CacheLimits { inactive_lifetime: Duration::from_secs(2), ..limits() };
        let (cache, key) = (VerdictCache::new(limits), CacheKey::numbered(1));
        put(&cache, key, &Verdict::Inactive, at(100, 0));
        assert!(cache.get(&key, at(101, 1), None).is_some());
        assert_eq!(cache.get(&key, at(102, 2), None), None);
        put(&cache, key, &active(json!({})), at(102, 2));
        assert!(cache.get(&key, at(150, 50), None).is_some());
        let cache = VerdictCache::new(CacheLimits { inactive_lifetime: Duration::ZERO, ..limits });
        put(&cache, key, &active(json!({})), at(100, 0));
        put(&cache, key, &Verdict::Inactive, at(101, 1));
        assert_eq!(cache.len(), 0, "the newer verdict counts, even if it is not cached");
    }

    #[test]
    fn an_answer_does_not_replace_one_that_was_asked_for_later() {
        let (cache, key) = (VerdictCache::new(limits()), CacheKey::numbered(1));
        let early = cache.ticket(key, at(100, 0));
        for newer in [Verdict::Inactive, active(json!({"sub": "bob"}))] {
            put(&cache, key, &newer, at(110, 10));
            cache.insert(&early, &active(json!({"sub": "alice"})), at(111, 11));
            cache.insert(&early, &active(json!({"sub": "alice", "exp": 1})), at(111, 11));
            assert_eq!(cache.get(&key, at(111, 11), None).unwrap().verdict, newer);
        }
    }

    fn spray(tokens: u64) {
        let cache = VerdictCache::new(CacheLimits { active: 200, inactive: 1000, ..limits() });
        let good: Vec<_> = (0..100).map(CacheKey::numbered).collect();
        for key in &good {
            put(&cache, *key, &active(json!({"sub": "alice"})), at(0, 0));
        }
        let keyer = CacheKeyHasher::new("i", "e", "c");
        for number in 0..tokens {
            put(&cache, keyer.key(&number.to_string()), &Verdict::Inactive, at(1, 1));
            assert!(cache.len() <= 100 + 1000);
        }
        assert!(good.iter().all(|key| cache.get(key, at(2, 2), None).is_some()));
        assert!(cache.len() > 100 + 900, "and the last of the others are there");
    }

    #[test]
    fn a_hundred_thousand_random_tokens_push_out_no_good_one() {
        spray(100_000);
    }

    #[test]
    #[ignore = "the same with more tokens, for a calm machine"]
    fn a_million_random_tokens_push_out_no_good_one() {
        spray(1_000_000);
    }

    #[test]
    fn active_entries_are_bounded_in_number() {
        for capacity in [0, 1, 2, 3, 31, 64, 100, 1000, 1001] {
            let cache = VerdictCache::new(CacheLimits { active: capacity, ..limits() });
            for number in 0..3000 {
                put(&cache, CacheKey::numbered(number), &active(json!({"sub": "alice"})), at(0, 0));
                assert!(cache.len() <= capacity, "{} of {capacity}", cache.len());
            }
            assert!(cache.len() >= capacity * 9 / 10, "{} of {capacity}", cache.len());
        }
    }

    #[test]
    fn active_entries_are_bounded_in_bytes() {
        let big = active(json!({"sub": "alice", "photo": "x".repeat(10_000)}));
        let Verdict::Active(claims) = &big else { panic!("inactive") };
        assert!((10_000..12_000).contains(&size(claims)), "{}", size(claims));
        let cache = VerdictCache::new(CacheLimits { bytes: 1 << 20, ..limits() });
        for number in 0..1000 {
            put(&cache, CacheKey::numbered(number), &big, at(0, 0));
        }
        assert!((90..=104).contains(&cache.len()), "{}", cache.len());
    }

    #[test]
    fn a_verdict_larger_than_its_share_is_not_kept() {
        let cache = VerdictCache::new(CacheLimits { bytes: 1 << 20, ..limits() });
        let huge = active(json!({"photo": "x".repeat(1 << 20)}));
        put(&cache, CacheKey::numbered(1), &huge, at(0, 0));
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn many_short_strings_weigh_what_they_take() {
        let scopes = active(json!({"scope": "a ".repeat(1000)}));
        let groups = active(json!({"groups": vec!["a"; 1000]}));
        let members: Map<_, _> = (0..1000).map(|n| (n.to_string(), json!(null))).collect();
        for verdict in [scopes, groups, active(Value::Object(members))] {
            let Verdict::Active(claims) = verdict else { panic!("inactive") };
            assert!(size(&claims) > 33_000, "{}", size(&claims));
        }
    }

    #[test]
    fn neither_token_nor_claims_appear_in_debug() {
        let token = "s3cr3t-token";
        let cache = VerdictCache::new(limits());
        let key = CacheKeyHasher::new("https://as.example.test", "https://as.example.test/introspect", "api")
            .key(token);
        put(&cache, key, &active(json!({"sub": "alice"})), at(0, 0));
        let hit = cache.get(&key, at(0, 0), None);
        let dump = format!("{cache:?} {key:?} {hit:?} {}", key.to_hex());
        assert!(dump.contains("active: 1"), "{dump}");
        for secret in [token, "s3cr3t", "alice"] {
            assert!(!dump.contains(secret), "{dump}");
        }
    }

    /// While one thread keeps replacing the verdict, a reader always finds one, and never one of another token.
    #[test]
    fn workers_share_it() {
        let cache = VerdictCache::new(limits());
        let verdicts = [active(json!({"sub": "alice"})), Verdict::Inactive];
        let key = CacheKey::numbered(1);
        put(&cache, key, &verdicts[0], at(0, 0));
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        // Between the two lookups the verdict may change from one segment to the other. That is a miss,
                        // but not a hundred times in a row.
                        let hit = (0..100).find_map(|_| cache.get(&key, at(0, 0), None));
                        assert!(verdicts.contains(&hit.unwrap().verdict));
                    }
                });
            }
            for round in 0..20_000 {
                put(&cache, key, &verdicts[round % 2], at(0, 0));
                put(&cache, CacheKey::numbered(2), &active(json!({"sub": "bob"})), at(0, 0));
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
