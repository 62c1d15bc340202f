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
    cache.insert(&Ticket::new(key, now, 0), verdict, now);
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
            requested: Requested::Here(0),
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
    // The entry has expired by the wall clock alone, because it was set forward.
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
fn an_evicted_token_is_not_cached_under_any_of_its_keys() {
    let cache = VerdictCache::new(limits());
    for number in 0..6 {
        put(&cache, CacheKey::numbered(number), &active(json!({})), at(0, 0));
    }
    put(&cache, CacheKey::numbered(6), &Verdict::Inactive, at(0, 0));
    cache.evict(&[CacheKey::numbered(1), CacheKey::numbered(6)]);
    assert_eq!(cache.len(), 5);
    assert!(cache.get(&CacheKey::numbered(1), at(0, 0), None).is_none());
    assert!(cache.get(&CacheKey::numbered(3), at(0, 0), None).is_some());
}

#[test]
fn a_verdict_is_as_old_as_its_request() {
    let (cache, key) = (VerdictCache::new(limits()), CacheKey::numbered(1));
    cache.insert(&Ticket::new(key, at(100, 0), 0), &active(json!({})), at(130, 30));
    assert_eq!(cache.get(&key, at(130, 30), Some(Duration::from_secs(29))), None);
    assert!(cache.get(&key, at(130, 30), Some(Duration::from_secs(30))).is_some());
    assert_eq!(cache.get(&key, at(100 + MINUTE, 60), None), None);
    cache.insert(&Ticket::new(key, at(100, 0), 0), &active(json!({})), at(100 + MINUTE, 60));
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
    let early = Ticket::new(key, at(100, 0), 0);
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
    let hasher = CacheKeyHasher::new("i", "e", "c");
    for number in 0..tokens {
        put(&cache, hasher.key(&number.to_string()), &Verdict::Inactive, at(1, 1));
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

/// While one thread replaces the verdict, a reader always finds a verdict, and never that of another token.
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
                    // Between the lookups in the two segments the verdict may move from one to the other. That is a
                    // miss, but it cannot happen a hundred times in a row.
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
