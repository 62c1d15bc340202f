//! Verdicts that were given a moment ago, so that not every request costs a call to the authorization server.
//!
//! What is kept is what the issuer said of the token, and nothing of what we made of it: the policy runs on every
//! request, after a hit as after a miss. A failed call leaves nothing behind, least of all an "inactive".

pub(crate) mod bounded;
mod key;
mod memory;
mod store;

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

pub use self::{
    key::CacheKey,
    store::{CacheError, CacheFuture, CachedVerdict, IntrospectionCache},
};
pub(crate) use self::{
    key::Keyer,
    memory::{Limits, VerdictCache},
    store::CustomStore,
};
use crate::{claims::Claims, clock::Clock};

/// What the issuer said of a token (RFC 7662 section 2.2). A clone costs one reference count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It is active, and this is what it carries.
    Active(Claims),
    /// It is not: expired, revoked, or never issued.
    Inactive,
}

/// A verdict from the cache.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hit {
    pub(crate) verdict: Verdict,
    /// How long ago the issuer gave it.
    pub(crate) age: Duration,
}

/// Both clocks, read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) monotonic: Duration,
    pub(crate) unix: i64,
}

impl Hit {
    /// Claims that were found just now.
    pub(crate) fn fresh(claims: Claims) -> Self {
        Self { verdict: Verdict::Active(claims), age: Duration::ZERO }
    }
}

impl Now {
    pub(crate) fn of(clock: &dyn Clock) -> Self {
        Self { monotonic: clock.monotonic(), unix: clock.unix_time() }
    }
}

/// Proof of when a question was asked: an answer whose token was evicted meanwhile does not enter the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Where verdicts are kept. One per configuration, shared by all workers.
#[derive(Debug)]
pub(crate) enum Cache {
    /// Nowhere: each request gets a fresh verdict.
    Off,
    /// In this process. Answers without waiting and without allocating.
    Memory(VerdictCache),
    /// In the user's own store.
    Custom(CustomStore),
}

impl Cache {
    /// The verdict on a token, unless there is none, it is no longer to be used, or it is older than `max_age`.
    pub(crate) async fn get(
        &self,
        key: &CacheKey,
        now: impl FnOnce() -> Now,
        max_age: Option<Duration>,
    ) -> Option<Hit> {
        match self {
            Self::Off => None,
            Self::Memory(cache) => cache.get(key, now(), max_age),
            Self::Custom(store) => store.get(key, now(), max_age).await,
        }
    }

    /// The same as far as it can be told without waiting.
    pub(crate) fn recall(&self, key: &CacheKey, now: Now, max_age: Option<Duration>) -> Option<Hit> {
        match self {
            Self::Memory(cache) => cache.get(key, now, max_age),
            Self::Off | Self::Custom(_) => None,
        }
    }

    /// To be drawn **before** the authorization server is asked, and handed to [`insert`](Self::insert) with the answer.
    pub(crate) fn ticket(&self) -> Ticket {
        match self {
            Self::Off => Ticket(0),
            Self::Memory(cache) => cache.ticket(),
            Self::Custom(store) => store.ticket(),
        }
    }

    /// Keeps a verdict that the issuer gave just now.
    pub(crate) async fn insert(
        &self,
        key: &CacheKey,
        verdict: &Verdict,
        asked: Ticket,
        now: impl FnOnce() -> Now,
    ) {
        match self {
            Self::Off => {}
            Self::Memory(cache) => cache.insert(*key, verdict, asked, now()),
            Self::Custom(store) => store.insert(key, verdict, asked, now()).await,
        }
    }

    /// Forgets one token; an answer that is on its way does not bring it back.
    pub(crate) async fn evict(&self, key: &CacheKey) -> Result<(), CacheError> {
        match self {
            Self::Off => Ok(()),
            Self::Memory(cache) => {
                cache.evict(key);
                Ok(())
            }
            Self::Custom(store) => store.evict(key).await,
        }
    }

    /// Forgets every token of a subject and tells how many there were; `None` where the store cannot be searched.
    pub(crate) fn evict_subject(&self, subject: &str) -> Option<usize> {
        match self {
            Self::Off => Some(0),
            Self::Memory(cache) => Some(cache.evict_subject(subject)),
            Self::Custom(_) => None,
        }
    }

    /// Forgets everything; `false` where the store cannot be emptied.
    pub(crate) fn clear(&self) -> bool {
        match self {
            Self::Off => true,
            Self::Memory(cache) => {
                cache.clear();
                true
            }
            Self::Custom(_) => false,
        }
    }

    /// How many verdicts are kept in this process.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Off | Self::Custom(_) => 0,
            Self::Memory(cache) => cache.len(),
        }
    }
}

/// How long verdicts are kept: the configured duration, and never past the token's `exp`.
#[derive(Debug)]
struct Lifetime {
    configured: Duration,
    /// Seeded anew in each process, so that instances which met a token at the same moment do not forget it together.
    jitter: RandomState,
}

impl Lifetime {
    fn new(configured: Duration) -> Self {
        Self { configured, jitter: RandomState::new() }
    }

    /// Zero if the verdict is over already.
    fn of(&self, key: &CacheKey, verdict: &Verdict, now: Now) -> Duration {
        let left = expires_at(verdict)
            .map(|exp| Duration::from_secs(u64::try_from(exp.saturating_sub(now.unix)).unwrap_or(0)));
        self.shortened(key, now).min(left.unwrap_or(Duration::MAX))
    }

    /// The configured duration without a random part of up to a tenth, so that tokens which arrived together do not all
    /// ask again together.
    fn shortened(&self, key: &CacheKey, now: Now) -> Duration {
        let per_mille = self.jitter.hash_one((key, now.monotonic)) % 101;
        let off = self.configured / 1000 * u32::try_from(per_mille).unwrap_or(0);
        self.configured.saturating_sub(off)
    }
}

fn expires_at(verdict: &Verdict) -> Option<i64> {
    match verdict {
        Verdict::Active(claims) => claims.expires_at(),
        Verdict::Inactive => None,
    }
}

const _: fn() = || {
    fn is_shared_by_workers<T: Send + Sync + 'static>() {}
    is_shared_by_workers::<Cache>();
    is_shared_by_workers::<Keyer>();
};

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Claims of a token, for the tests of the whole chapter.
    pub(super) fn active(claims: Value) -> Verdict {
        let Value::Object(members) = claims else { panic!("not an object") };
        Verdict::Active(Claims::from_members(members).unwrap())
    }

    pub(super) fn at(monotonic: u64, unix: i64) -> Now {
        Now { monotonic: Duration::from_secs(monotonic), unix }
    }

    #[test]
    fn now_reads_both_clocks() {
        #[derive(Debug)]
        struct Fixed;

        impl Clock for Fixed {
            fn unix_time(&self) -> i64 {
                1_800_000_000
            }

            fn monotonic(&self) -> Duration {
                Duration::from_secs(7)
            }
        }

        assert_eq!(Now::of(&Fixed), at(7, 1_800_000_000));
    }

    #[test]
    fn lifetime_is_the_shorter_of_duration_and_exp() {
        let lifetime = Lifetime::new(Duration::from_secs(60));
        let lives =
            |verdict: &Verdict, now| lifetime.of(&CacheKey::numbered(1), verdict, at(0, now)).as_millis();
        for unlimited in [Verdict::Inactive, active(json!({})), active(json!({"exp": 1000}))] {
            assert!((54_000..=60_000).contains(&lives(&unlimited, 0)), "{unlimited:?}");
        }
        let limited = active(json!({"exp": 1000}));
        assert_eq!([970, 1000, 2000, i64::MAX].map(|now| lives(&limited, now)), [30_000, 0, 0, 0]);
        assert!(lives(&active(json!({"exp": 253_402_300_799_i64})), i64::MIN) >= 54_000);
    }

    #[test]
    fn lifetimes_are_spread_over_the_last_tenth() {
        let lifetime = Lifetime::new(Duration::from_secs(100));
        let lives: Vec<_> = (0..1000)
            .map(|number| lifetime.of(&CacheKey::numbered(number), &Verdict::Inactive, at(0, 0)).as_millis())
            .collect();
        let (shortest, longest) = (lives.iter().min().unwrap(), lives.iter().max().unwrap());
        assert!(*shortest >= 90_000 && *longest <= 100_000, "{shortest}..{longest}");
        assert!(*shortest < 91_000 && *longest > 99_000, "{shortest}..{longest}");
        for edge in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let life = Lifetime::new(edge).of(&CacheKey::numbered(1), &Verdict::Inactive, at(0, 0));
            assert!(life <= edge && life >= edge / 10 * 8, "{edge:?}");
        }
    }

    #[actix_web::test]
    async fn a_cache_that_is_off_keeps_nothing() {
        let (cache, key) = (Cache::Off, CacheKey::numbered(1));
        cache.insert(&key, &Verdict::Inactive, cache.ticket(), || at(0, 0)).await;
        cache.evict(&key).await.unwrap();
        assert_eq!(cache.get(&key, || at(0, 0), None).await, None);
        assert_eq!(cache.evict_subject("alice"), Some(0));
    }

    #[actix_web::test]
    async fn the_memory_cache_answers_through_the_enum() {
        let cache = Cache::Memory(VerdictCache::new(Limits::new(Duration::from_secs(60))));
        let key = CacheKey::numbered(1);
        cache.insert(&key, &active(json!({"sub": "alice"})), cache.ticket(), || at(5, 0)).await;
        assert_eq!(cache.get(&key, || at(7, 2), None).await.unwrap().age, Duration::from_secs(2));
        assert_eq!(cache.get(&key, || at(7, 2), Some(Duration::from_secs(1))).await, None);
        assert_eq!(cache.evict_subject("alice"), Some(1));
        assert_eq!(cache.get(&key, || at(7, 2), None).await, None);
        cache.insert(&key, &Verdict::Inactive, cache.ticket(), || at(5, 0)).await;
        cache.evict(&key).await.unwrap();
        assert_eq!(cache.get(&key, || at(5, 0), None).await, None);
    }
}
