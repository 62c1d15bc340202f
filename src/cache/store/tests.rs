use std::{collections::HashMap, future::pending, sync::Mutex};

use serde_json::{Value, json};

use super::*;
use crate::cache::{
    Cache,
    tests::{active, at},
};

/// A store that contains JSON. A test can make it fail or hang.
#[derive(Debug, Default)]
struct Shared {
    entries: Mutex<HashMap<String, (String, Duration)>>,
    mood: Mutex<Mood>,
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
            self.raw(key).map(|(json, _)| serde_json::from_str(&json)).transpose().map_err(CacheError::new)
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
    let store = CustomStore::new(shared.clone(), TTL, TTL, Duration::from_millis(20));
    (shared, store, CacheKey::numbered(1))
}

#[actix_web::test]
async fn a_verdict_comes_back_as_it_went_in() {
    let (shared, store, key) = shared();
    for verdict in [active(json!({"sub": "alice", "exp": 2000, "deep": {"a": [1, null]}})), Verdict::Inactive]
    {
        store.insert(&Ticket::new(key, at(5, 1000), 0), &verdict, at(5, 1000), || false).await;
        let hit = store.get(&key, || at(1, 1007), None).await;
        let age = Some(Age::new(Duration::from_secs(8), Duration::from_secs(1)));
        let requested = Requested::Somewhere(1000);
        assert_eq!(hit, Some(AgedVerdict { verdict, requested, age }));
    }
    assert_eq!(shared.raw(&key).unwrap().0, r#"{"active":false,"stored_at":1000}"#);
    let _ = store.evict(&[key]).await;
    assert_eq!(shared.raw(&key), None);
}

#[actix_web::test]
async fn the_store_is_told_a_lifetime_that_ends_at_exp() {
    let (shared, store, key) = shared();
    store
        .insert(&Ticket::new(key, at(0, 1000), 0), &active(json!({"exp": 1010})), at(0, 1000), || false)
        .await;
    assert_eq!(shared.raw(&key).unwrap().1, Duration::from_secs(10));
    let ticket = Ticket::new(key, at(0, 1000), 0).expiring_at(Some(1005));
    store.insert(&ticket, &active(json!({"exp": 1010})), at(0, 1000), || false).await;
    assert_eq!(shared.raw(&key).unwrap().1, Duration::from_secs(5), "the token itself ends earlier");
    let hit = async |now| store.get(&key, || at(now, 1000 + i64::try_from(now).unwrap()), None).await;
    assert_eq!((hit(4).await.is_some(), hit(5).await), (true, None), "though the store still has it");
    let ticket = Ticket::new(key, at(0, 1000), 0).expiring_at(Some(1005));
    store.insert(&ticket, &Verdict::Inactive, at(0, 1000), || false).await;
    assert!((54..=60).contains(&shared.raw(&key).unwrap().1.as_secs()));
    let _ = store.evict(&[key]).await;
    store
        .insert(&Ticket::new(key, at(0, 1000), 0), &active(json!({"exp": 1000})), at(0, 1000), || false)
        .await;
    assert_eq!(shared.raw(&key), None);
}

#[actix_web::test]
async fn what_the_store_returns_is_checked_again() {
    let (shared, store, key) = shared();
    let now = at(0, 1000);
    let good = json!({"active": true, "claims": {"sub": "alice", "exp": 1001}, "stored_at": 941});
    shared.put_raw(&key, &good);
    assert!(store.get(&key, || now, None).await.is_some());
    assert!(store.get(&key, || now, Some(Duration::from_secs(59))).await.is_none());
    assert!(store.get(&key, || now, Some(Duration::from_secs(60))).await.is_some());
    for (path, value) in [
        ("/stored_at", json!(940)), // as old as the configured lifetime, or up to a second older
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
        assert_eq!(store.get(&key, || now, None).await, None, "{bad}");
    }
}

#[actix_web::test]
async fn a_failing_or_hanging_store_is_a_miss() {
    let (shared, store, key) = shared();
    let store = Cache::Custom(store);
    store.insert(&Ticket::new(key, at(0, 0), 0), &Verdict::Inactive, || at(0, 0), || false).await;
    for mood in [Mood::Failing, Mood::Hanging] {
        *shared.mood.lock().unwrap() = mood;
        assert_eq!(store.get(&key, || at(0, 0), None).await, None, "{mood:?}");
        store.insert(&Ticket::new(key, at(0, 0), 0), &Verdict::Inactive, || at(0, 0), || false).await;
        let _ = store.evict(&[key]).await;
    }
    *shared.mood.lock().unwrap() = Mood::Fine;
    assert!(store.get(&key, || at(0, 0), None).await.is_some());
}

#[actix_web::test]
async fn a_stale_verdict_does_not_stay() {
    let (shared, store, key) = shared();
    let ticket = Ticket::new(key, at(0, 0), 0);
    store.insert(&ticket, &Verdict::Inactive, at(0, 0), || true).await;
    assert_eq!(shared.raw(&key), None);
    // It becomes stale while it is being stored.
    let is_stale = || shared.raw(&key).is_some();
    store.insert(&ticket, &Verdict::Inactive, at(0, 0), is_stale).await;
    assert_eq!(shared.raw(&key), None);
}

#[actix_web::test]
async fn an_eviction_deletes_under_every_key() {
    let (shared, store, key) = shared();
    let other = CacheKey::numbered(2);
    for key in [key, other] {
        store.insert(&Ticket::new(key, at(0, 0), 0), &Verdict::Inactive, at(0, 0), || false).await;
    }
    store.evict(&[key, other]).await.unwrap();
    assert_eq!((shared.raw(&key), shared.raw(&other)), (None, None));
}

#[actix_web::test]
async fn an_entry_is_as_old_as_its_request() {
    let (shared, store, key) = shared();
    store.insert(&Ticket::new(key, at(100, 1000), 0), &active(json!({})), at(130, 1030), || false).await;
    let (json, lifetime) = shared.raw(&key).unwrap();
    assert!(json.contains("\"stored_at\":1000"), "{json}");
    assert!((24..=30).contains(&lifetime.as_secs()), "{lifetime:?}");
    assert!(store.get(&key, || at(159, 1059), None).await.is_some());
    assert_eq!(store.get(&key, || at(160, 1060), None).await, None);
    store.insert(&Ticket::new(key, at(100, 1000), 0), &active(json!({})), at(160, 1060), || false).await;
    assert_eq!(shared.raw(&key), None, "the answer took as long as it may be cached");
}

#[actix_web::test]
async fn an_inactive_entry_has_a_duration_of_its_own() {
    let shared = Arc::new(Shared::default());
    let of_inactive = |seconds| {
        CustomStore::new(shared.clone(), TTL, Duration::from_secs(seconds), Duration::from_millis(20))
    };
    let (store, key) = (of_inactive(2), CacheKey::numbered(1));
    store.insert(&Ticket::new(key, at(0, 1000), 0), &Verdict::Inactive, at(0, 1000), || false).await;
    assert!(shared.raw(&key).unwrap().1 <= Duration::from_secs(2));
    assert!(store.get(&key, || at(1, 1001), None).await.is_some());
    assert_eq!(store.get(&key, || at(2, 1002), None).await, None);
    store.insert(&Ticket::new(key, at(0, 1000), 0), &active(json!({})), at(0, 1000), || false).await;
    assert!(store.get(&key, || at(50, 1050), None).await.is_some());
    let store = of_inactive(0);
    store.insert(&Ticket::new(key, at(60, 1060), 0), &Verdict::Inactive, at(60, 1060), || false).await;
    assert_eq!(shared.raw(&key), None, "the newer verdict counts, even if it is not cached");
}

#[test]
fn debug_and_errors_show_no_claims() {
    let verdict = active(json!({"sub": "alice"}));
    let cached = CachedVerdict { verdict, stored_at: 1, token_expires_at: Some(1_900_000_000) };
    let debug = format!("{cached:?}");
    assert!(!debug.contains("alice") && !debug.contains("1900000000"), "{debug}");
    let error = CacheError::new("connection refused");
    assert_eq!(error.to_string(), "the store of introspection verdicts failed");
    assert_eq!(error.source().unwrap().to_string(), "connection refused");
}
