//! The cache of introspection verdicts, so that not every request causes a call to the authorization server.
//!
//! Only the issuer's statements about tokens are cached. The policy runs on every request, after a cache hit and after
//! a cache miss. A failed call caches nothing, in particular no inactive verdict.

pub(crate) mod bounded;
mod key;
mod key_history;
mod lifetime;
mod memory;
mod store;
mod ticket;

use std::time::Duration;

pub(crate) use self::lifetime::Lifetime;
pub use self::{
    key::CacheKey,
    store::{CacheError, CacheFuture, CachedVerdict, IntrospectionCache},
};
pub(crate) use self::{
    key::CacheKeyHasher,
    key_history::{KeyHistory, TokenKeys},
    memory::{CacheLimits, VerdictCache},
    store::CustomStore,
    ticket::Ticket,
};
use crate::{claims::Claims, clock::Clock};

/// The issuer's statement about a token (RFC 7662 section 2.2). A clone costs one reference count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The token is active and has these claims.
    Active(Claims),
    /// The token is not active: it is expired, revoked, or was never issued.
    Inactive,
}

/// A verdict from the cache.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AgedVerdict {
    pub(crate) verdict: Verdict,
    pub(crate) requested: Requested,
    /// The age; `None` for a JWT that was validated locally, because a signature does not age.
    pub(crate) age: Option<Age>,
}

/// The moment before a verdict was requested, to compare it with revocation records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requested {
    /// By this process, when there was this number of records.
    Here(u64),
    /// By a process that shares a store, at this time in seconds since 1970.
    Somewhere(i64),
    /// Not at all: the signature of a JWT was verified.
    Never,
}

/// The age of a verdict: the time since the introspection request was sent, or slightly more if the exact time is
/// not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    age: Duration,
    /// The reading of the monotonic clock at which the verdict had this age.
    read_at: Duration,
}

impl Age {
    /// Returns an age at this reading of the monotonic clock.
    pub(crate) fn new(age: Duration, read_at: Duration) -> Self {
        Self { age, read_at }
    }

    /// Returns the age at a later reading of the monotonic clock.
    pub(crate) fn at(self, monotonic: Duration) -> Duration {
        self.age.saturating_add(monotonic.saturating_sub(self.read_at))
    }
}

/// A reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockReading {
    pub(crate) monotonic: Duration,
    pub(crate) unix: i64,
}

impl AgedVerdict {
    /// Returns the verdict on a token that was validated locally.
    pub(crate) fn without_age(claims: Claims) -> Self {
        Self { verdict: Verdict::Active(claims), requested: Requested::Never, age: None }
    }
}

impl ClockReading {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        Self { monotonic: clock.monotonic(), unix: clock.unix_time() }
    }
}

/// The cache of verdicts. One per configuration, shared by all workers.
#[derive(Debug)]
pub(crate) enum Cache {
    /// Nothing is cached: each request gets a fresh verdict.
    Off,
    /// Verdicts are cached in this process. A lookup neither waits nor allocates.
    Memory(VerdictCache),
    /// Verdicts are cached in a store of the application.
    Custom(CustomStore),
}

impl Cache {
    /// Returns whether a lookup or an insertion may wait for a custom store.
    pub(crate) fn may_wait(&self) -> bool {
        matches!(self, Self::Custom(_))
    }

    /// Returns the verdict on a token, unless there is none, it has expired, or it is older than `max_age`.
    pub(crate) async fn get(
        &self,
        key: &CacheKey,
        now: impl FnOnce() -> ClockReading,
        max_age: Option<Duration>,
    ) -> Option<AgedVerdict> {
        match self {
            Self::Off => None,
            Self::Memory(cache) => cache.get(key, now(), max_age),
            Self::Custom(store) => store.get(key, now, max_age).await,
        }
    }

    /// Like [`get`](Self::get), but does not wait: a custom store is not queried.
    pub(crate) fn lookup(
        &self,
        key: &CacheKey,
        now: ClockReading,
        max_age: Option<Duration>,
    ) -> Option<AgedVerdict> {
        match self {
            Self::Memory(cache) => cache.get(key, now, max_age),
            Self::Off | Self::Custom(_) => None,
        }
    }

    /// Returns the verdict on an active token during an outage, although it has expired.
    pub(crate) fn lookup_expired(&self, key: &CacheKey, now: ClockReading) -> Option<AgedVerdict> {
        match self {
            Self::Memory(cache) => cache.get_expired(key, now),
            Self::Off | Self::Custom(_) => None,
        }
    }

    /// Caches a verdict. `is_stale` returns whether a record concerns it that was added after its request was sent: a store
    /// of several processes must not contain it.
    ///
    /// Waits only if [`may_wait`](Self::may_wait).
    pub(crate) async fn insert(
        &self,
        ticket: &Ticket,
        verdict: &Verdict,
        now: impl FnOnce() -> ClockReading,
        is_stale: impl Fn() -> bool,
    ) {
        match self {
            Self::Off => {}
            Self::Memory(cache) => cache.insert(ticket, verdict, now()),
            Self::Custom(store) => store.insert(ticket, verdict, now(), is_stale).await,
        }
    }

    /// Caches a verdict of another replica in memory.
    pub(crate) fn insert_here(&self, ticket: &Ticket, verdict: &Verdict, now: ClockReading) {
        if let Self::Memory(cache) = self {
            cache.insert(ticket, verdict, now);
        }
    }

    /// Evicts one token under all of its keys.
    pub(crate) async fn evict(&self, keys: &[CacheKey]) -> Result<(), CacheError> {
        match self {
            Self::Off => Ok(()),
            Self::Memory(cache) => {
                cache.evict(keys);
                Ok(())
            }
            Self::Custom(store) => store.evict(keys).await,
        }
    }

    /// Returns the number of verdicts in the cache of this process.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Off | Self::Custom(_) => 0,
            Self::Memory(cache) => cache.len(),
        }
    }
}

/// Returns the time at which a verdict expires: its `exp`, or the expiry of the token itself if that is earlier.
fn expires_at(verdict: &Verdict, token_expires_at: Option<i64>) -> Option<i64> {
    match verdict {
        Verdict::Active(claims) => [claims.expires_at(), token_expires_at].into_iter().flatten().min(),
        Verdict::Inactive => None,
    }
}

const _: fn() = || {
    fn is_shared_by_workers<T: Send + Sync + 'static>() {}
    is_shared_by_workers::<Cache>();
    is_shared_by_workers::<CacheKeyHasher>();
};

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Returns the verdict on an active token with these claims, for the tests of this module and its submodules.
    pub(super) fn active(claims: Value) -> Verdict {
        let Value::Object(members) = claims else { panic!("not an object") };
        Verdict::Active(Claims::from_members(members).unwrap())
    }

    pub(super) fn at(monotonic: u64, unix: i64) -> ClockReading {
        ClockReading { monotonic: Duration::from_secs(monotonic), unix }
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

        assert_eq!(ClockReading::now(&Fixed), at(7, 1_800_000_000));
    }

    #[actix_web::test]
    async fn a_cache_that_is_off_keeps_nothing() {
        let (cache, key) = (Cache::Off, CacheKey::numbered(1));
        cache.insert(&Ticket::new(key, at(0, 0), 0), &Verdict::Inactive, || at(0, 0), || false).await;
        cache.evict(&[key]).await.unwrap();
        assert_eq!(cache.get(&key, || at(0, 0), None).await, None);
    }

    #[actix_web::test]
    async fn the_memory_cache_answers_through_the_enum() {
        let cache = Cache::Memory(VerdictCache::new(CacheLimits::new(Duration::from_secs(60))));
        let key = CacheKey::numbered(1);
        let alice = active(json!({"sub": "alice"}));
        cache.insert(&Ticket::new(key, at(5, 0), 0), &alice, || at(5, 0), || false).await;
        let age = cache.get(&key, || at(7, 2), None).await.unwrap().age.unwrap();
        assert_eq!([7, 9].map(|now| age.at(Duration::from_secs(now)).as_secs()), [2, 4]);
        assert_eq!(cache.get(&key, || at(7, 2), Some(Duration::from_secs(1))).await, None);
        cache.insert(&Ticket::new(key, at(6, 0), 0), &Verdict::Inactive, || at(6, 0), || false).await;
        assert!(cache.get(&key, || at(6, 0), None).await.is_some());
        cache.evict(&[key]).await.unwrap();
        assert_eq!(cache.get(&key, || at(6, 0), None).await, None);
    }
}
