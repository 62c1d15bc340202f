//! The user's own store of verdicts, and what keeps a bad one from doing harm.

use std::{
    error::Error as StdError,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{CacheKey, Hit, Lifetime, Now, Ticket, Verdict, expires_at};
use crate::{claims::Claims, limiter::Limiter};

/// What a store's methods return: a boxed future. It need not be `Send`, because it is awaited on the worker that the
/// request came to, and there it stays.
pub type CacheFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, CacheError>> + 'a>>;

/// A store of your own for introspection verdicts, to share them between processes.
///
/// The store sees no token: keys are digests. It does see claims, which are personal data, and whoever can write to it
/// decides who is let in. What it returns is checked again: an entry older than the configured duration, or one past
/// its `exp`, or one from the future, is a miss. (By the wall clock and to the second: an entry that several machines
/// share has no other.)
///
/// An error, or no answer within the deadline (250 ms unless configured), is a miss and a warning in the log, never a
/// refused request. The future is then dropped.
///
/// ```
/// use std::{collections::HashMap, sync::Mutex, time::Duration};
///
/// use actix_protect_api::cache::{CacheError, CacheFuture, CacheKey, CachedVerdict, IntrospectionCache};
///
/// /// Stands for a client of a store that speaks text and drops entries by itself.
/// #[derive(Debug, Default)]
/// struct Shared(Mutex<HashMap<String, String>>);
///
/// impl IntrospectionCache for Shared {
///     fn get<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, Option<CachedVerdict>> {
///         Box::pin(async move {
///             let entry = self.0.lock().unwrap().get(&key.to_hex()).cloned();
///             entry.map(|json| serde_json::from_str(&json)).transpose().map_err(CacheError::new)
///         })
///     }
///
///     fn set<'a>(&'a self, key: &'a CacheKey, value: &'a CachedVerdict, _lifetime: Duration) -> CacheFuture<'a, ()> {
///         Box::pin(async move {
///             let json = serde_json::to_string(value).map_err(CacheError::new)?;
///             self.0.lock().unwrap().insert(key.to_hex(), json);
///             Ok(())
///         })
///     }
///
///     fn delete<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, ()> {
///         Box::pin(async move {
///             self.0.lock().unwrap().remove(&key.to_hex());
///             Ok(())
///         })
///     }
/// }
/// ```
pub trait IntrospectionCache: fmt::Debug + Send + Sync {
    /// The entry under this key, if there is one.
    ///
    /// # Errors
    /// Whatever keeps the store from telling, an unreadable entry included. It counts as a miss.
    fn get<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, Option<CachedVerdict>>;

    /// Puts an entry under this key, over another that may be there. The store has to drop it after `lifetime`, which
    /// ends at the token's `exp` at the latest.
    ///
    /// # Errors
    /// Whatever keeps the store from doing so. The request goes on.
    fn set<'a>(
        &'a self,
        key: &'a CacheKey,
        value: &'a CachedVerdict,
        lifetime: Duration,
    ) -> CacheFuture<'a, ()>;

    /// Drops the entry under this key, if there is one.
    ///
    /// # Errors
    /// Whatever keeps the store from doing so.
    fn delete<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, ()>;
}

/// A verdict as an [`IntrospectionCache`] keeps it: whether the token is active, its claims if it is, and when the
/// issuer said so.
///
/// Serializes to `{"active":true,"claims":{…},"stored_at":1800000000}`, times in seconds since 1970. Deserializing
/// needs a self-describing format such as JSON, and refuses an active entry without claims or with malformed ones. A
/// clone is cheap. `Debug` shows the names of the claims, not their values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Entry", into = "Entry")]
pub struct CachedVerdict {
    verdict: Verdict,
    stored_at: i64,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    active: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claims: Option<Claims>,
    stored_at: i64,
}

impl CachedVerdict {
    /// Whether the issuer said that the token is active.
    pub fn is_active(&self) -> bool {
        self.claims().is_some()
    }

    /// The claims of an active token.
    pub fn claims(&self) -> Option<&Claims> {
        match &self.verdict {
            Verdict::Active(claims) => Some(claims),
            Verdict::Inactive => None,
        }
    }

    /// When the issuer said so, in seconds since 1970.
    pub fn stored_at(&self) -> i64 {
        self.stored_at
    }

    /// What is still to be used of it: nothing from the future, nothing too old, nothing past its `exp`.
    fn check(self, configured: Duration, now: Now) -> Option<Hit> {
        let age = Duration::from_secs(u64::try_from(now.unix.checked_sub(self.stored_at)?).ok()?);
        let expired = expires_at(&self.verdict).is_some_and(|exp| now.unix >= exp);
        (age < configured && !expired).then_some(Hit { verdict: self.verdict, age })
    }
}

impl TryFrom<Entry> for CachedVerdict {
    type Error = &'static str;

    fn try_from(entry: Entry) -> Result<Self, Self::Error> {
        let verdict = match entry {
            Entry { active: true, claims: Some(claims), .. } => Verdict::Active(claims),
            Entry { active: true, claims: None, .. } => return Err("an active entry without claims"),
            Entry { active: false, .. } => Verdict::Inactive,
        };
        Ok(Self { verdict, stored_at: entry.stored_at })
    }
}

impl From<CachedVerdict> for Entry {
    fn from(cached: CachedVerdict) -> Self {
        Self { active: cached.is_active(), claims: cached.claims().cloned(), stored_at: cached.stored_at }
    }
}

/// Why a store could not do what it was asked. Ends up in a warning in the log, so it must not name credentials.
#[derive(Debug)]
pub struct CacheError(Box<dyn StdError + Send + Sync>);

impl CacheError {
    /// An error of the store's client, or a text.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store of introspection verdicts failed")
    }
}

impl StdError for CacheError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.0.as_ref())
    }
}

/// The user's store behind its deadline: it may be slow, down, or wrong, and none of that reaches a request.
#[derive(Debug)]
pub(crate) struct CustomStore {
    store: Arc<dyn IntrospectionCache>,
    lifetime: Lifetime,
    deadline: Duration,
    evictions: AtomicU64,
    warnings: Limiter,
}

impl CustomStore {
    /// How long a store may take for one operation.
    pub(crate) const DEADLINE: Duration = Duration::from_millis(250);

    pub(crate) fn new(store: Arc<dyn IntrospectionCache>, lifetime: Duration, deadline: Duration) -> Self {
        let lifetime = Lifetime::new(lifetime);
        Self { store, lifetime, deadline, evictions: AtomicU64::new(0), warnings: Limiter::default() }
    }

    pub(crate) async fn get(&self, key: &CacheKey, now: Now, max_age: Option<Duration>) -> Option<Hit> {
        let entry = self.within_deadline(self.store.get(key), now).await.flatten()?;
        let hit = entry.check(self.lifetime.configured, now)?;
        // Stores keep whole seconds, so an entry may be up to one older than it looks.
        let oldest = hit.age.saturating_add(Duration::from_secs(1));
        max_age.is_none_or(|max_age| oldest <= max_age).then_some(hit)
    }

    pub(crate) fn ticket(&self) -> Ticket {
        Ticket(self.evictions.load(Ordering::SeqCst))
    }

    pub(crate) async fn insert(&self, key: &CacheKey, verdict: &Verdict, asked: Ticket, now: Now) {
        let lifetime = self.lifetime.of(key, verdict, now);
        if self.ticket() != asked || lifetime.is_zero() {
            return;
        }
        let value = CachedVerdict { verdict: verdict.clone(), stored_at: now.unix };
        self.within_deadline(self.store.set(key, &value, lifetime), now).await;
        // An eviction while the entry was on its way may have passed it.
        if self.ticket() != asked {
            self.within_deadline(self.store.delete(key), now).await;
        }
    }

    /// A failed request for a verdict is a miss; a failed eviction is told, since the entry may still be there.
    pub(crate) async fn evict(&self, key: &CacheKey) -> Result<(), CacheError> {
        self.evictions.fetch_add(1, Ordering::SeqCst);
        match tokio::time::timeout(self.deadline, self.store.delete(key)).await {
            Ok(deleted) => deleted,
            Err(_) => Err(CacheError::new("no answer within the deadline")),
        }
    }

    async fn within_deadline<T>(&self, call: CacheFuture<'_, T>, now: Now) -> Option<T> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(Ok(done)) => Some(done),
            Ok(Err(error)) => {
                self.warn(&error.0, now);
                None
            }
            Err(_) => {
                self.warn(&"no answer within the deadline", now);
                None
            }
        }
    }

    fn warn(&self, cause: &dyn fmt::Display, now: Now) {
        if self.warnings.is_due_at(now.monotonic) {
            log::warn!(
                target: crate::LOG, event = "cache_store_failed";
                "the store of introspection verdicts failed, which counts as a miss: {cause}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, future::pending, sync::Mutex};

    use serde_json::{Value, json};

    use super::*;
    use crate::cache::{
        Cache,
        tests::{active, at},
    };

    /// A store that keeps JSON, and can be told to fail or to hang.
    #[derive(Debug, Default)]
    struct Shared {
        entries: Mutex<HashMap<String, (String, Duration)>>,
        mood: Mutex<Mood>,
        /// What happens elsewhere while the next `set` is under way: an eviction in this one.
        evicted_meanwhile: Mutex<Option<Arc<CustomStore>>>,
    }

    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    enum Mood {
        #[default]
        Fine,
        Failing,
        Hanging,
    }

    impl Shared {
        async fn suffer(&self) -> Result<(), CacheError> {
            let mood = *self.mood.lock().unwrap();
            match mood {
                Mood::Fine => Ok(()),
                Mood::Failing => Err(CacheError::new("connection refused")),
                Mood::Hanging => pending().await,
            }
        }

        fn raw(&self, key: &CacheKey) -> Option<(String, Duration)> {
            self.entries.lock().unwrap().get(&key.to_hex()).cloned()
        }

        fn put_raw(&self, key: &CacheKey, json: &Value) {
            self.entries.lock().unwrap().insert(key.to_hex(), (json.to_string(), Duration::ZERO));
        }
    }

    impl IntrospectionCache for Shared {
        fn get<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, Option<CachedVerdict>> {
            Box::pin(async move {
                self.suffer().await?;
                self.raw(key)
                    .map(|(json, _)| serde_json::from_str(&json))
                    .transpose()
                    .map_err(CacheError::new)
            })
        }

        fn set<'a>(
            &'a self,
            key: &'a CacheKey,
            value: &'a CachedVerdict,
            lifetime: Duration,
        ) -> CacheFuture<'a, ()> {
            Box::pin(async move {
                self.suffer().await?;
                let json = serde_json::to_string(value).map_err(CacheError::new)?;
                self.entries.lock().unwrap().insert(key.to_hex(), (json, lifetime));
                if let Some(store) = self.evicted_meanwhile.lock().unwrap().take() {
                    store.evictions.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        }

        fn delete<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, ()> {
            Box::pin(async move {
                self.suffer().await?;
                self.entries.lock().unwrap().remove(&key.to_hex());
                Ok(())
            })
        }
    }

    const TTL: Duration = Duration::from_secs(60);

    fn shared() -> (Arc<Shared>, CustomStore, CacheKey) {
        let shared = Arc::new(Shared::default());
        let store = CustomStore::new(shared.clone(), TTL, Duration::from_millis(20));
        (shared, store, CacheKey::numbered(1))
    }

    #[actix_web::test]
    async fn a_verdict_comes_back_as_it_went_in() {
        let (shared, store, key) = shared();
        for verdict in
            [active(json!({"sub": "alice", "exp": 2000, "deep": {"a": [1, null]}})), Verdict::Inactive]
        {
            store.insert(&key, &verdict, store.ticket(), at(5, 1000)).await;
            let hit = store.get(&key, at(1, 1007), None).await;
            assert_eq!(hit, Some(Hit { verdict, age: Duration::from_secs(7) }));
        }
        assert_eq!(shared.raw(&key).unwrap().0, r#"{"active":false,"stored_at":1000}"#);
        let _ = store.evict(&key).await;
        assert_eq!(shared.raw(&key), None);
    }

    #[actix_web::test]
    async fn the_store_is_told_a_lifetime_that_ends_at_exp() {
        let (shared, store, key) = shared();
        store.insert(&key, &active(json!({"exp": 1010})), store.ticket(), at(0, 1000)).await;
        assert_eq!(shared.raw(&key).unwrap().1, Duration::from_secs(10));
        store.insert(&key, &Verdict::Inactive, store.ticket(), at(0, 1000)).await;
        assert!((54..=60).contains(&shared.raw(&key).unwrap().1.as_secs()));
        let _ = store.evict(&key).await;
        store.insert(&key, &active(json!({"exp": 1000})), store.ticket(), at(0, 1000)).await;
        assert_eq!(shared.raw(&key), None);
    }

    #[actix_web::test]
    async fn what_the_store_returns_is_checked_again() {
        let (shared, store, key) = shared();
        let now = at(0, 1000);
        let good = json!({"active": true, "claims": {"sub": "alice", "exp": 1001}, "stored_at": 941});
        shared.put_raw(&key, &good);
        assert!(store.get(&key, now, None).await.is_some());
        assert!(store.get(&key, now, Some(Duration::from_secs(58))).await.is_none());
        for (path, value) in [
            ("/stored_at", json!(940)),  // as old as the configured lifetime
            ("/stored_at", json!(1001)), // from the future
            ("/stored_at", json!(i64::MIN)),
            ("/stored_at", json!("941")),
            ("/claims/exp", json!(1000)),   // expired
            ("/claims/exp", json!("2000")), // malformed
            ("/claims/sub", json!(["alice"])),
            ("/claims", json!(null)),
            ("/claims", json!([])),
            ("/active", json!("true")),
            ("/active", json!(1)),
            ("/active", json!(null)),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(path).unwrap() = value;
            shared.put_raw(&key, &bad);
            assert_eq!(store.get(&key, now, None).await, None, "{bad}");
        }
    }

    #[actix_web::test]
    async fn a_failing_or_hanging_store_is_a_miss() {
        let (shared, store, key) = shared();
        let store = Cache::Custom(store);
        store.insert(&key, &Verdict::Inactive, store.ticket(), || at(0, 0)).await;
        for mood in [Mood::Failing, Mood::Hanging] {
            *shared.mood.lock().unwrap() = mood;
            assert_eq!(store.get(&key, || at(0, 0), None).await, None, "{mood:?}");
            store.insert(&key, &Verdict::Inactive, store.ticket(), || at(0, 0)).await;
            let _ = store.evict(&key).await;
        }
        *shared.mood.lock().unwrap() = Mood::Fine;
        assert!(store.get(&key, || at(0, 0), None).await.is_some());
        assert_eq!(store.evict_subject("alice"), None);
    }

    #[actix_web::test]
    async fn an_answer_that_was_asked_for_before_an_eviction_does_not_stay() {
        let (shared, store, key) = shared();
        let asked = store.ticket();
        let _ = store.evict(&key).await;
        store.insert(&key, &Verdict::Inactive, asked, at(0, 0)).await;
        assert_eq!(shared.raw(&key), None);

        // Evicted while the entry is being stored.
        let store = Arc::new(store);
        *shared.evicted_meanwhile.lock().unwrap() = Some(store.clone());
        store.insert(&key, &Verdict::Inactive, store.ticket(), at(0, 0)).await;
        assert_eq!(shared.raw(&key), None);
    }

    #[test]
    fn debug_and_errors_show_no_claims() {
        let cached = CachedVerdict { verdict: active(json!({"sub": "alice"})), stored_at: 1 };
        assert!(!format!("{cached:?}").contains("alice"));
        let error = CacheError::new("connection refused");
        assert_eq!(error.to_string(), "the store of introspection verdicts failed");
        assert_eq!(error.source().unwrap().to_string(), "connection refused");
    }
}
