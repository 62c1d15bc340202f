//! Revocations and evictions reach all replicas.

use std::{sync::Arc, time::Duration};

use actix_protect_api::{
    Revocation, RevocationError, SecretSource, SharedStoreState, TokenFault,
    shared_store::SharedStore,
    test::{MemoryStore, TestIssuer},
};
use serde_json::json;

use super::{Replica, calls, hooked_store::HookedStore, settings, stored};
use crate::support::{
    folder::Folder,
    service::{OK, Outcome, jwts_only, timed_issuer, token},
    time::{eventually, seconds},
};

const REVOKED: Outcome = token(TokenFault::Revoked);

#[actix_web::test]
async fn a_revocation_on_one_replica_rejects_the_token_on_all() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let (one, two) =
        (Replica::start(&issuer, &store, &clock).await, Replica::start(&issuer, &store, &clock).await);
    let opaque = issuer.opaque(json!({ "sub": "alice" }));
    let jwt = issuer.jwt(json!({ "sub": "alice" }));
    let bob = issuer.opaque(json!({ "sub": "bob" }));
    for bearer in [&opaque, &jwt, &bob] {
        assert_eq!([one.api.outcome(bearer).await, two.api.outcome(bearer).await], [OK; 2]);
    }
    one.protect.revoke(Revocation::subject("alice")).await.unwrap();
    for bearer in [&opaque, &jwt] {
        assert_eq!(one.api.outcome(bearer).await, REVOKED);
        assert!(eventually(async || two.api.outcome(bearer).await == REVOKED).await);
    }
    let cold = Replica::start(&issuer, &store, &clock).await;
    for replica in [&one, &two, &cold] {
        assert_eq!([replica.api.outcome(&opaque).await, replica.api.outcome(&jwt).await], [REVOKED; 2]);
        assert_eq!(replica.api.outcome(&bob).await, OK);
    }
}

#[actix_web::test]
async fn an_eviction_on_one_replica_applies_to_all() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let (one, two) =
        (Replica::start(&issuer, &store, &clock).await, Replica::start(&issuer, &store, &clock).await);
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    let evictions: [&dyn Fn(); 2] =
        [&|| one.protect.evict_subject("alice").unwrap(), &|| one.protect.clear_caches().unwrap()];
    for evict in evictions {
        assert_eq!(one.api.outcome(&alice).await, OK);
        stored(&store, 1).await;
        assert_eq!(two.api.outcome(&alice).await, OK);
        let before = calls(&issuer);
        evict();
        let is_evicted = async || {
            two.api.outcome(&alice).await.unwrap();
            calls(&issuer) > before
        };
        assert!(eventually(is_evicted).await);
    }
    one.protect.evict(&alice).await.unwrap();
    issuer.revoke(&alice);
    assert_eq!(one.api.outcome(&alice).await, token(TokenFault::Inactive));
    assert!(eventually(async || two.api.outcome(&alice).await == token(TokenFault::Inactive)).await);
}

#[actix_web::test]
async fn a_revocation_while_the_store_is_down_applies_here_and_is_sent_later() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    store.set_available(false);
    // Both start while the store is down.
    let one = Replica::of(settings(&issuer, &store, &clock)).await;
    let two = Replica::of(settings(&issuer, &store, &clock)).await;
    one.becomes(SharedStoreState::Blind).await;
    let alice = issuer.jwt(json!({ "sub": "alice" }));
    assert_eq!([one.api.outcome(&alice).await, two.api.outcome(&alice).await], [OK; 2]);
    let error = one.protect.revoke(Revocation::subject("alice")).await.unwrap_err();
    assert!(matches!(error, RevocationError::Store(_)), "{error:?}");
    assert_eq!([one.api.outcome(&alice).await, two.api.outcome(&alice).await], [REVOKED, OK]);
    store.set_available(true);
    two.becomes(SharedStoreState::Reading).await;
    assert!(eventually(async || two.api.outcome(&alice).await == REVOKED).await);
}

/// `FLUSHALL`, or a failover to an empty replica.
#[actix_web::test]
async fn a_loss_of_all_records_clears_the_caches_and_records_are_sent_again() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let (one, two) =
        (Replica::start(&issuer, &store, &clock).await, Replica::start(&issuer, &store, &clock).await);
    let (alice, bob) = (issuer.jwt(json!({ "sub": "alice" })), issuer.opaque(json!({ "sub": "bob" })));
    one.protect.revoke(Revocation::subject("alice")).await.unwrap();
    assert!(eventually(async || two.api.outcome(&alice).await == REVOKED).await);
    assert_eq!([one.api.outcome(&bob).await, two.api.outcome(&bob).await], [OK; 2]);
    let before = calls(&issuer);
    store.lose_everything();
    for replica in [&one, &two] {
        let known = calls(&issuer);
        let is_cleared = async || {
            replica.api.outcome(&bob).await.unwrap();
            calls(&issuer) > known
        };
        assert!(eventually(is_cleared).await, "cleared, and introspected again");
        assert_eq!(replica.api.outcome(&alice).await, REVOKED, "known revocations stay");
    }
    assert!(calls(&issuer) >= before + 2);
    assert!(eventually(async || !store.records().is_empty()).await);
    let cold = Replica::start(&issuer, &store, &clock).await;
    assert!(eventually(async || cold.api.outcome(&alice).await == REVOKED).await);
}

/// A failover to a replica that lags behind: the newest record is lost before another replica has read it.
#[actix_web::test]
async fn a_loss_of_the_newest_records_is_detected() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let (one, two) =
        (Replica::start(&issuer, &store, &clock).await, Replica::start(&issuer, &store, &clock).await);
    one.protect.revoke(Revocation::subject("carol")).await.unwrap();
    let carol = issuer.jwt(json!({ "sub": "carol" }));
    assert!(eventually(async || two.api.outcome(&carol).await == REVOKED).await);
    let alice = issuer.jwt(json!({ "sub": "alice" }));
    one.protect.revoke(Revocation::subject("alice")).await.unwrap();
    assert!(eventually(async || two.api.outcome(&alice).await == REVOKED).await);
    store.lose_last_records(1);
    // Sent again by the replica that has it.
    assert!(eventually(async || store.records().len() >= 2).await);
    let cold = Replica::start(&issuer, &store, &clock).await;
    assert!(eventually(async || cold.api.outcome(&alice).await == REVOKED).await);
}

/// The replica that revokes has not read its record before a failover loses it, so that no count differs.
#[actix_web::test]
async fn a_record_that_is_lost_before_its_sender_has_read_it_is_sent_again() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let hooked = HookedStore::new(&store);
    let builder = settings(&issuer, &store, &clock).shared_store(Arc::new(hooked.clone()), super::KEY);
    let one = Replica::of(builder).await;
    one.becomes(SharedStoreState::Reading).await;
    hooked.hold_reads().await;
    one.protect.revoke(Revocation::subject("alice")).await.unwrap();
    store.lose_last_records(1);
    assert_eq!(store.records().len(), 0);
    hooked.remove_hook();
    assert!(eventually(async || !store.records().is_empty()).await);
    let cold = Replica::start(&issuer, &store, &clock).await;
    let alice = issuer.jwt(json!({ "sub": "alice" }));
    assert!(eventually(async || cold.api.outcome(&alice).await == REVOKED).await);
}

/// A record of the last minute may have been lost with the connection.
#[actix_web::test]
async fn records_of_the_last_minute_are_sent_again_after_the_connection_was_lost() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    one.protect.revoke(Revocation::subject("old")).await.unwrap();
    clock.advance(seconds(61));
    one.protect.revoke(Revocation::subject("new")).await.unwrap();
    assert_eq!(store.records().len(), 2);
    one.becomes(SharedStoreState::Reading).await;
    store.set_available(false);
    clock.advance(seconds(2));
    one.becomes(SharedStoreState::Blind).await;
    // The read of the other thread has failed before the store is available again.
    assert!(eventually(async || one.protect.status().shared_store == SharedStoreState::Blind).await);
    actix_web::rt::time::sleep(Duration::from_millis(300)).await;
    store.set_available(true);
    assert!(eventually(async || store.records().len() == 3).await);
}

#[actix_web::test]
async fn a_record_that_cannot_be_decrypted_revokes_nothing_and_discards_cached_verdicts() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    assert_eq!(one.api.outcome(&alice).await, OK);
    let before = calls(&issuer);
    store.append(b"forged", seconds(60)).await.unwrap();
    store.append(&[0; 100], seconds(60)).await.unwrap();
    let is_introspected = async || {
        one.api.outcome(&alice).await.unwrap();
        calls(&issuer) > before
    };
    assert!(eventually(is_introspected).await);
    assert_eq!(one.api.outcome(&alice).await, OK);
}

/// The replica gets the new key later than the one that revokes.
#[actix_web::test]
async fn a_record_is_applied_when_its_key_arrives() {
    let ((issuer, clock), store, folder) = (timed_issuer(), MemoryStore::new(), Folder::new());
    let path = folder.file("keys", super::OTHER_KEY);
    let one = Replica::start(&issuer, &store, &clock).await;
    let builder = settings(&issuer, &store, &clock);
    let two = Replica::of(builder.shared_store(Arc::new(store.clone()), SecretSource::file(&path))).await;
    two.becomes(SharedStoreState::Reading).await;
    let [alice, bob] = ["alice", "bob"].map(|sub| issuer.jwt(json!({ "sub": sub })));
    one.protect.revoke(Revocation::token(&alice)).await.unwrap();
    store.append(b"forged", seconds(60)).await.unwrap();
    assert_eq!((two.api.outcome(&alice).await, two.api.outcome(&bob).await), (OK, OK));
    folder.file("keys", &format!("{}\n{}", super::OTHER_KEY, super::KEY));
    assert!(eventually(async || two.api.outcome(&alice).await == REVOKED).await);
    assert_eq!(two.api.outcome(&bob).await, OK);
    one.protect.revoke(Revocation::token(&bob)).await.unwrap();
    assert!(eventually(async || two.api.outcome(&bob).await == REVOKED).await);
}

#[actix_web::test]
async fn configurations_with_the_same_store_share_their_records() {
    let (issuer, store) = (TestIssuer::start(), MemoryStore::new());
    let store: Arc<dyn SharedStore> = Arc::new(store);
    let build = |realm: &str| jwts_only(&issuer).realm(realm).shared_store(Arc::clone(&store), super::KEY);
    let (one, two) = (Replica::of(build("one")).await, Replica::of(build("two")).await);
    let alice = issuer.jwt(json!({ "sub": "alice" }));
    assert_eq!([one.api.outcome(&alice).await, two.api.outcome(&alice).await], [OK; 2]);
    one.protect.revoke(Revocation::subject("alice")).await.unwrap();
    assert_eq!([one.api.outcome(&alice).await, two.api.outcome(&alice).await], [REVOKED; 2]);
}
