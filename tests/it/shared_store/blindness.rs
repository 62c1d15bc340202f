//! While the records of the store cannot be read, cached verdicts are used for a short time only.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_protect_api::{
    JwtsWhenBlind, ProtectApi, SharedStoreState, TokenFault, UpstreamFault,
    cache::CacheKey,
    shared_store::{Position, RecordBatch, SharedStore, StoreEntry, StoreFuture},
    test::{MemoryStore, TestClock},
};
use serde_json::json;

use super::{KEY, Replica, calls, settings};
use crate::support::{
    service::{OK, jwts_only, timed_issuer, token, upstream},
    time::eventually,
};

const MILLISECOND: Duration = Duration::from_millis(1);

#[actix_web::test]
async fn a_cached_verdict_is_not_used_beyond_blind_for_while_records_are_not_read() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    assert_eq!((one.api.outcome(&alice).await, calls(&issuer)), (OK, 1));
    store.set_records_available(false);
    clock.advance(1000 * MILLISECOND);
    assert_eq!((one.api.outcome(&alice).await, calls(&issuer)), (OK, 1));
    clock.advance(MILLISECOND);
    assert_eq!(one.protect.status().shared_store, SharedStoreState::Blind);
    assert_eq!((one.api.outcome(&alice).await, calls(&issuer)), (OK, 2));
    // The new verdict is used for `blind_for`.
    clock.advance(1000 * MILLISECOND);
    assert_eq!((one.api.outcome(&alice).await, calls(&issuer)), (OK, 2));
    issuer.revoke(&alice);
    clock.advance(MILLISECOND);
    assert_eq!(one.api.outcome(&alice).await, token(TokenFault::Inactive));
}

#[actix_web::test]
async fn a_stored_verdict_is_not_used_beyond_blind_for_either() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    assert_eq!(one.api.outcome(&alice).await, OK);
    super::stored(&store, 1).await;
    store.set_records_available(false);
    let cold = Replica::of(settings(&issuer, &store, &clock)).await;
    clock.advance(1001 * MILLISECOND);
    assert_eq!((cold.api.outcome(&alice).await, calls(&issuer)), (OK, 2));
}

#[actix_web::test]
async fn verdicts_are_cached_again_after_the_records_are_read_again() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    store.set_records_available(false);
    let one = Replica::of(settings(&issuer, &store, &clock)).await;
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    assert_eq!((one.api.outcome(&alice).await, calls(&issuer)), (OK, 1));
    clock.advance(1001 * MILLISECOND);
    store.set_records_available(true);
    one.becomes(SharedStoreState::Reading).await;
    assert_eq!((one.api.outcome(&alice).await, calls(&issuer)), (OK, 1), "the cached verdict is used again");
}

#[actix_web::test]
async fn jwts_are_accepted_introspected_or_rejected_while_records_are_not_read() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    store.set_records_available(false);
    let jwt = issuer.jwt(json!({ "sub": "alice" }));
    let forged = format!("{}x", jwt.trim_end_matches('x'));
    for (treatment, outcome, introspections) in [
        (JwtsWhenBlind::Accept, OK, 0),
        (JwtsWhenBlind::Introspect, OK, 1),
        (JwtsWhenBlind::Reject, upstream(UpstreamFault::NoRevocations), 0),
    ] {
        store.set_records_available(true);
        let one = Replica::of(settings(&issuer, &store, &clock).jwts_when_blind(treatment)).await;
        one.becomes(SharedStoreState::Reading).await;
        let before = calls(&issuer);
        assert_eq!((one.api.outcome(&jwt).await, calls(&issuer) - before), (OK, 0), "{treatment:?}");
        store.set_records_available(false);
        clock.advance(1001 * MILLISECOND);
        assert_eq!(one.api.outcome(&jwt).await, outcome, "{treatment:?}");
        assert_eq!(calls(&issuer) - before, introspections, "{treatment:?}");
        assert!(matches!(one.api.outcome(&forged).await, Err(kind) if kind.class() == "invalid_token"));
        store.set_records_available(true);
        one.becomes(SharedStoreState::Reading).await;
        assert_eq!(one.api.outcome(&jwt).await, OK, "{treatment:?}");
    }
    let one = Replica::of(settings(&issuer, &store, &clock).jwts_when_blind(JwtsWhenBlind::Introspect)).await;
    store.set_records_available(false);
    clock.advance(1001 * MILLISECOND);
    issuer.revoke(&jwt);
    assert_eq!(one.api.outcome(&jwt).await, token(TokenFault::Inactive));
}

/// A store in which each read takes the same time on the test clock. Notes the state of the replica at the start of each read, when
/// the last one has just returned, and at its end, when the last one is as old as it can be.
#[derive(Debug)]
struct SlowStore {
    store: MemoryStore,
    clock: TestClock,
    duration: Duration,
    protect: Mutex<Option<ProtectApi>>,
    states: Mutex<Vec<SharedStoreState>>,
}

impl SlowStore {
    fn note_state(&self) {
        if let Some(protect) = &*self.protect.lock().unwrap() {
            self.states.lock().unwrap().push(protect.status().shared_store);
        }
    }
}

impl SharedStore for SlowStore {
    fn get_or_claim<'a>(&'a self, key: &'a CacheKey, lifetime: Duration) -> StoreFuture<'a, StoreEntry> {
        self.store.get_or_claim(key, lifetime)
    }

    fn get<'a>(&'a self, key: &'a CacheKey) -> StoreFuture<'a, Option<StoreEntry>> {
        self.store.get(key)
    }

    fn put<'a>(&'a self, key: &'a CacheKey, verdict: &'a [u8], lifetime: Duration) -> StoreFuture<'a, ()> {
        self.store.put(key, verdict, lifetime)
    }

    fn remove<'a>(&'a self, key: &'a CacheKey) -> StoreFuture<'a, ()> {
        self.store.remove(key)
    }

    fn append<'a>(&'a self, record: &'a [u8], keep_for: Duration) -> StoreFuture<'a, Position> {
        self.store.append(record, keep_for)
    }

    fn read(&self, after: Option<Position>) -> StoreFuture<'_, RecordBatch> {
        Box::pin(async move {
            self.note_state();
            let batch = self.store.read(after).await?;
            self.clock.advance(self.duration);
            self.note_state();
            Ok(batch)
        })
    }

    fn trim(&self, before: Position) -> StoreFuture<'_, ()> {
        self.store.trim(before)
    }
}

#[actix_web::test]
async fn a_replica_with_a_steadily_slow_store_is_either_always_or_never_blind() {
    for (millis, expected) in [
        (450, SharedStoreState::Reading),
        (650, SharedStoreState::Reading),
        (1000, SharedStoreState::Reading),
        (1001, SharedStoreState::Blind),
        (1800, SharedStoreState::Blind),
    ] {
        let (issuer, clock) = timed_issuer();
        let slow = Arc::new(SlowStore {
            store: MemoryStore::new(),
            clock: clock.clone(),
            duration: Duration::from_millis(millis),
            protect: Mutex::default(),
            states: Mutex::default(),
        });
        let store: Arc<dyn SharedStore> = slow.clone();
        let protect = jwts_only(&issuer).clock(clock).shared_store(store, KEY).build().unwrap();
        *slow.protect.lock().unwrap() = Some(protect);
        let has_read = async || slow.states.lock().unwrap().len() > 8;
        assert!(eventually(has_read).await);
        // Without those before the end of the first read.
        let states = slow.states.lock().unwrap()[3..].to_vec();
        // The thread ends.
        *slow.protect.lock().unwrap() = None;
        assert!(states.iter().all(|state| *state == expected), "{millis} ms: {states:?}");
    }
}
