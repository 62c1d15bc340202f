//! One replica introspects, and the others use its verdict.

use std::{sync::Arc, time::Duration};

use actix_protect_api::{
    Revocation, SharedStoreState, TokenFault,
    test::{Endpoint, Fault, MemoryStore, TestIssuer},
};
use futures_util::future::{join, join_all};
use serde_json::json;

use super::{Replica, calls, hooked_store::HookedStore, stored};
use crate::support::{
    service::{OK, introspecting, timed_issuer, token},
    time::{eventually, seconds},
};

#[actix_web::test]
async fn a_cold_replica_takes_the_verdict_from_the_store() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let (alice, unknown) = (issuer.opaque(json!({ "sub": "alice" })), "unknown");
    assert_eq!(one.api.outcome(&alice).await, OK);
    stored(&store, 1).await;
    let two = Replica::start(&issuer, &store, &clock).await;
    assert_eq!((two.api.outcome(&alice).await, calls(&issuer)), (OK, 1));
    assert_eq!(two.api.get("/", &alice).await.body["sub"], "alice");
    // It is cached in the process.
    store.set_available(false);
    assert_eq!((two.api.outcome(&alice).await, calls(&issuer)), (OK, 1));
    store.set_available(true);
    clock.advance(seconds(2));
    assert_eq!(one.api.outcome(unknown).await, token(TokenFault::Inactive));
    stored(&store, 2).await;
    assert_eq!((two.api.outcome(unknown).await, calls(&issuer)), (token(TokenFault::Inactive), 2));
}

#[actix_web::test]
async fn a_stored_verdict_is_used_for_the_configured_duration_and_not_past_exp() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    let bob = issuer.opaque(json!({ "sub": "bob", "exp": issuer_time(&clock) + 50 }));
    assert_eq!([one.api.outcome(&alice).await, one.api.outcome(&bob).await], [OK; 2]);
    stored(&store, 2).await;
    clock.advance(seconds(51));
    let two = Replica::start(&issuer, &store, &clock).await;
    assert_eq!((two.api.outcome(&alice).await, calls(&issuer)), (OK, 2));
    assert_ne!(two.api.outcome(&bob).await, OK);
    assert_eq!(calls(&issuer), 3, "past `exp`, the stored verdict is not used");
    // The age counts from the introspection by the first replica.
    clock.advance(seconds(50));
    assert_eq!((two.api.outcome(&alice).await, calls(&issuer)), (OK, 4));
}

/// The server may decide by these fields.
#[actix_web::test]
async fn a_stored_verdict_belongs_to_the_fields_of_its_request() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    for (tenant, expected) in [("one", 1), ("two", 2), ("one", 2)] {
        let builder = super::settings(&issuer, &store, &clock).introspection_parameter("tenant", tenant);
        let replica = Replica::of(builder).await;
        replica.becomes(SharedStoreState::Reading).await;
        assert_eq!((replica.api.outcome(&alice).await, calls(&issuer)), (OK, expected));
        stored(&store, expected).await;
    }
}

fn issuer_time(clock: &actix_protect_api::test::TestClock) -> i64 {
    actix_protect_api::Clock::unix_time(clock)
}

#[actix_web::test]
async fn many_cold_requests_of_three_replicas_cause_one_call() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Replica::start(&issuer, &store, &clock).await);
    }
    // The metadata is fetched before.
    for replica in &replicas {
        replica.api.outcome("unknown").await.unwrap_err();
    }
    let before = calls(&issuer);
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    issuer.fault(Endpoint::Introspection, Fault::hold());
    let requests = replicas.iter().flat_map(|replica| (0..5).map(|_| replica.api.outcome(&alice)));
    let release = async {
        issuer.received(Endpoint::Introspection, before + 1).await;
        issuer.release(Endpoint::Introspection);
    };
    let (outcomes, ()) = join(join_all(requests), release).await;
    assert_eq!(outcomes, vec![OK; 15]);
    assert_eq!(calls(&issuer) - before, 1);
}

#[actix_web::test]
async fn a_failed_call_is_not_shared_and_releases_its_claim() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let (one, two) =
        (Replica::start(&issuer, &store, &clock).await, Replica::start(&issuer, &store, &clock).await);
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    issuer.fault(Endpoint::Introspection, Fault::status(500).times(1));
    one.api.outcome(&alice).await.unwrap_err();
    assert_eq!(two.api.outcome(&alice).await, OK);
}

#[actix_web::test]
async fn a_failed_call_leaves_the_verdict_of_another_replica() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let (one, two) =
        (Replica::start(&issuer, &store, &clock).await, Replica::start(&issuer, &store, &clock).await);
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    assert_eq!(one.api.outcome(&alice).await, OK);
    stored(&store, 1).await;
    issuer.fault(Endpoint::Introspection, Fault::status(500).times(1));
    two.api.outcome_at("/fresh", &alice).await.unwrap_err();
    let before = calls(&issuer);
    assert_eq!((two.api.outcome(&alice).await, calls(&issuer) - before), (OK, 0));
}

#[actix_web::test]
async fn a_route_without_cached_verdicts_uses_no_stored_verdict() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    assert_eq!(one.api.outcome(&alice).await, OK);
    stored(&store, 1).await;
    issuer.revoke(&alice);
    let two = Replica::start(&issuer, &store, &clock).await;
    assert_eq!(two.api.outcome_at("/fresh", &alice).await, token(TokenFault::Inactive));
    assert_eq!(two.api.outcome(&alice).await, token(TokenFault::Inactive), "the newer verdict is cached");
}

/// The store never responds: a hang would end the test.
#[actix_web::test]
async fn a_store_that_does_not_respond_delays_a_request_for_a_short_time_only() {
    let (issuer, store) = (TestIssuer::start(), MemoryStore::new());
    store.set_delay(Duration::from_secs(1_000_000));
    let builder = introspecting(&issuer)
        .introspection_cache_duration(seconds(100))
        .shared_store(Arc::new(store.clone()), super::KEY);
    let one = Replica::of(builder).await;
    for number in 0..3 {
        let bearer = issuer.opaque(json!({ "sub": number.to_string() }));
        assert_eq!(one.api.outcome(&bearer).await, OK);
    }
    assert_eq!(calls(&issuer), 3);
}

/// The store is skipped for 100 ms, then 200 ms, and for 100 ms again after it has responded.
#[actix_web::test]
async fn a_failing_store_is_skipped_for_a_short_time_that_grows() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let bearers: Vec<_> = (0..8).map(|number| issuer.opaque(json!({ "sub": number.to_string() }))).collect();
    for bearer in &bearers {
        assert_eq!(one.api.outcome(bearer).await, OK);
    }
    stored(&store, bearers.len()).await;
    let two = Replica::start(&issuer, &store, &clock).await;
    let mut bearers = bearers.iter();
    let mut is_skipped = async |after: u64| {
        clock.advance(Duration::from_millis(after));
        let before = calls(&issuer);
        assert_eq!(two.api.outcome(bearers.next().unwrap()).await, OK);
        calls(&issuer) > before
    };
    store.set_available(false);
    assert!(is_skipped(0).await, "the first failure");
    store.set_available(true);
    assert!(is_skipped(99).await);
    store.set_available(false);
    assert!(is_skipped(1).await, "the second failure");
    store.set_available(true);
    assert!(is_skipped(199).await);
    assert!(!is_skipped(1).await);
    store.set_available(false);
    assert!(is_skipped(0).await, "the first failure again");
    store.set_available(true);
    assert!(is_skipped(99).await);
    assert!(!is_skipped(1).await);
}

#[actix_web::test]
async fn a_store_that_responds_to_others_is_not_skipped() {
    let (issuer, content) = (TestIssuer::start(), MemoryStore::new());
    let store = HookedStore::new(&content);
    let replica = || async {
        let builder = introspecting(&issuer)
            .introspection_cache_duration(seconds(100))
            .store_timeout(seconds(2))
            .shared_store(Arc::new(store.clone()), super::KEY);
        let replica = Replica::of(builder).await;
        replica.becomes(SharedStoreState::Reading).await;
        replica
    };
    let (one, two) = (replica().await, replica().await);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|sub| issuer.opaque(json!({ "sub": sub })));
    for bearer in [&bob, &carol] {
        assert_eq!(one.api.outcome(bearer).await, OK);
    }
    stored(&content, 2).await;
    store.ignore_next_claim();
    let later = async {
        assert!(eventually(async || store.has_ignored_claim()).await);
        // The store responds in a later millisecond than that of the request without response.
        tokio::time::sleep(Duration::from_millis(5)).await;
        two.api.outcome(&bob).await
    };
    assert_eq!(join(two.api.outcome(&alice), later).await, (OK, OK));
    assert_eq!((two.api.outcome(&carol).await, calls(&issuer)), (OK, 3), "the verdict of the store is used");
}

#[actix_web::test]
async fn a_verdict_that_was_requested_before_an_eviction_is_not_taken_from_the_store() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let tokens = ["alice", "bob"].map(|sub| issuer.opaque(json!({ "sub": sub })));
    for token in &tokens {
        assert_eq!(one.api.outcome(token).await, OK);
    }
    stored(&store, 2).await;
    one.protect.revoke(Revocation::subject("alice").verdicts_only()).await.unwrap();
    let cold = Replica::start(&issuer, &store, &clock).await;
    assert_eq!((cold.api.outcome(&tokens[1]).await, calls(&issuer)), (OK, 2));
    assert_eq!((cold.api.outcome(&tokens[0]).await, calls(&issuer)), (OK, 3));
    assert_eq!((cold.api.outcome(&tokens[0]).await, calls(&issuer)), (OK, 3), "the new verdict is cached");
}

/// The second replica finds the claim of the first one in the place of the evicted verdict.
#[actix_web::test]
async fn after_an_eviction_one_replica_makes_the_call() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    assert_eq!(one.api.outcome(&alice).await, OK);
    stored(&store, 1).await;
    one.protect.revoke(Revocation::subject("alice").verdicts_only()).await.unwrap();
    let two = Replica::start(&issuer, &store, &clock).await;
    two.api.outcome("unknown").await.unwrap_err();
    // The first replica has read its record when it has read a later one, and begun another read.
    for name in ["bob", "carol"] {
        two.protect.revoke(Revocation::subject(name)).await.unwrap();
        let bearer = issuer.jwt(json!({ "sub": name }));
        assert!(eventually(async || one.api.outcome(&bearer).await == token(TokenFault::Revoked)).await);
    }
    let before = calls(&issuer);
    issuer.fault(Endpoint::Introspection, Fault::hold());
    let second = async {
        issuer.received(Endpoint::Introspection, before + 1).await;
        let release = async { issuer.release(Endpoint::Introspection) };
        join(two.api.outcome(&alice), release).await.0
    };
    assert_eq!(join(one.api.outcome(&alice), second).await, (OK, OK));
    assert_eq!(calls(&issuer) - before, 1);
}

#[actix_web::test]
async fn verdicts_are_not_shared_without_a_cache_duration() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let builder =
        introspecting(&issuer).clock(clock.clone()).shared_store(Arc::new(store.clone()), super::KEY);
    let one = Replica::of(builder).await;
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    for _ in 0..2 {
        assert_eq!(one.api.outcome(&alice).await, OK);
    }
    assert_eq!((calls(&issuer), store.verdicts().len()), (2, 0));
}
