//! Records are sent again only if they may be lost, and never revoke more than they have to.

use std::{sync::Arc, time::Duration};

use actix_protect_api::{
    Clock as _, Revocation, SecretSource, SharedStoreState, TokenFault,
    shared_store::SharedStore as _,
    test::{MemoryStore, TestClock},
};
use serde_json::json;

use super::{Replica, calls, hooked_store::HookedStore, settings, stored};
use crate::support::{
    folder::Folder,
    service::{OK, timed_issuer, token},
    time::{eventually, seconds},
};

/// Returns whether no record is appended for a second.
async fn is_quiet(store: &MemoryStore) -> bool {
    let end = async || store.read(None).await.unwrap().end;
    let before = end().await;
    actix_web::rt::time::sleep(seconds(1)).await;
    end().await == before
}

/// Both replicas can reach the limit at the same time, and find that records were deleted before they have read them.
#[actix_web::test]
async fn too_many_records_revoke_tokens_once_and_not_again_and_again() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let narrow = || settings(&issuer, &store, &clock).max_revocations(10);
    let (one, two) = (Replica::of(narrow()).await, Replica::of(narrow()).await);
    one.becomes(SharedStoreState::Reading).await;
    two.becomes(SharedStoreState::Reading).await;
    // As a network.
    store.set_delay(Duration::from_millis(3));
    for number in 0..60 {
        one.protect.revoke(Revocation::subject(format!("user{number}"))).await.unwrap();
    }
    assert!(eventually(async || is_quiet(&store).await).await, "records are appended all the time");
    clock.advance(seconds(60));
    let later = issuer.jwt(json!({ "sub": "alice" }));
    for number in 0..20 {
        let outcome = [one.api.outcome(&later).await, two.api.outcome(&later).await];
        assert_eq!(outcome, [OK; 2], "{number}: a token that was issued a minute later");
        actix_web::rt::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The same with one replica, which revokes while its thread widens.
#[actix_web::test]
async fn too_many_records_of_one_replica_revoke_tokens_once() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::of(settings(&issuer, &store, &clock).max_revocations(10)).await;
    one.becomes(SharedStoreState::Reading).await;
    store.set_delay(Duration::from_millis(3));
    for number in 0..60 {
        one.protect.revoke(Revocation::subject(format!("user{number}"))).await.unwrap();
    }
    assert!(eventually(async || is_quiet(&store).await).await, "records are appended all the time");
    clock.advance(seconds(60));
    let later = issuer.jwt(json!({ "sub": "alice" }));
    for number in 0..20 {
        assert_eq!(one.api.outcome(&later).await, OK, "{number}: a token that was issued a minute later");
        actix_web::rt::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The record that takes the place of all others ends after `revocation_lifetime`, although those were to last longer.
#[actix_web::test]
async fn too_many_records_do_not_shorten_a_revocation() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::of(settings(&issuer, &store, &clock).max_revocations(2)).await;
    one.becomes(SharedStoreState::Reading).await;
    let alice = issuer.jwt(json!({ "sub": "alice", "exp": clock.unix_time() + 30 * 86_400 }));
    for revocation in [Revocation::token(&alice), Revocation::subject("b"), Revocation::subject("c")] {
        one.protect.revoke(revocation).await.unwrap();
    }
    assert!(eventually(async || store.records().len() < 3).await);
    clock.advance(seconds(2 * 86_400));
    let cold = Replica::start(&issuer, &store, &clock).await;
    assert_eq!(one.api.outcome(&alice).await, token(TokenFault::Revoked));
    assert_eq!(cold.api.outcome(&alice).await, token(TokenFault::Revoked));
}

/// The replica without the key discards the verdicts of its process, but takes the older one of the store again.
#[actix_web::test]
async fn a_record_that_cannot_be_decrypted_concerns_stored_verdicts_too() {
    let ((issuer, clock), store, folder) = (timed_issuer(), MemoryStore::new(), Folder::new());
    let path = folder.file("keys", super::KEY);
    let builder = settings(&issuer, &store, &clock);
    let one = Replica::of(builder.shared_store(Arc::new(store.clone()), SecretSource::file(&path))).await;
    one.becomes(SharedStoreState::Reading).await;
    let two = Replica::start(&issuer, &store, &clock).await;
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    // There is an earlier record, which both have read.
    one.protect.evict("another").await.unwrap();
    actix_web::rt::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(one.api.outcome(&alice).await, OK);
    stored(&store, 1).await;
    assert_eq!((two.api.outcome(&alice).await, calls(&issuer)), (OK, 1));
    // The new key becomes the first one before the second replica has it.
    folder.file("keys", &format!("{}\n{}", super::OTHER_KEY, super::KEY));
    let sealed_with_new_key = async || {
        one.protect.evict("other").await.unwrap();
        store.records().last().is_some_and(|record| record.get(2) == Some(&b'b'))
    };
    assert!(eventually(sealed_with_new_key).await);
    issuer.revoke(&alice);
    one.protect.revoke(Revocation::token(&alice)).await.unwrap();
    actix_web::rt::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(two.api.outcome(&alice).await, token(TokenFault::Inactive));
}

/// A sender that repeats one event while the store is down, as transmitters do.
#[actix_web::test]
async fn a_repeated_revocation_while_the_store_is_down_revokes_no_other_token() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let two = Replica::start(&issuer, &store, &clock).await;
    let bob = issuer.jwt(json!({ "sub": "bob" }));
    assert_eq!(two.api.outcome(&bob).await, OK);
    store.set_available(false);
    for _ in 0..10_001 {
        one.protect.revoke(Revocation::subject("alice")).await.unwrap_err();
    }
    store.set_available(true);
    let alice = issuer.jwt(json!({ "sub": "alice" }));
    assert!(eventually(async || two.api.outcome(&alice).await == token(TokenFault::Revoked)).await);
    assert_eq!(two.api.outcome(&bob).await, OK);
}

/// The connection is lost every 30 s. A record of an earlier minute is not sent again.
#[actix_web::test]
async fn an_old_record_is_not_sent_again_after_each_lost_connection() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    one.protect.revoke(Revocation::subject("alice")).await.unwrap();
    for _ in 0..6 {
        store.set_available(false);
        clock.advance(seconds(30));
        one.becomes(SharedStoreState::Blind).await;
        actix_web::rt::time::sleep(Duration::from_millis(400)).await;
        store.set_available(true);
        one.becomes(SharedStoreState::Reading).await;
        actix_web::rt::time::sleep(Duration::from_millis(200)).await;
    }
    // It was in the last minute before the first three losses.
    assert!(store.records().len() <= 4, "{}", store.records().len());
}

/// The sender has not read its record before a failover loses it, and another replica has appended one since, so that neither
/// the count nor the end differs.
#[actix_web::test]
async fn a_lost_record_is_noticed_also_if_another_one_takes_its_place() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let hooked = HookedStore::new(&store);
    let builder = settings(&issuer, &store, &clock).shared_store(Arc::new(hooked.clone()), super::KEY);
    let one = Replica::of(builder).await;
    one.becomes(SharedStoreState::Reading).await;
    hooked.hold_reads().await;
    one.protect.revoke(Revocation::subject("alice")).await.unwrap();
    store.lose_last_records(1);
    let two = Replica::start(&issuer, &store, &clock).await;
    two.protect.revoke(Revocation::subject("bob")).await.unwrap();
    hooked.remove_hook();
    assert!(eventually(async || store.records().len() > 1).await);
    let alice = issuer.jwt(json!({ "sub": "alice" }));
    assert!(eventually(async || two.api.outcome(&alice).await == token(TokenFault::Revoked)).await);
}

/// The other replica has revoked everything because there were too many records, before these revocations and before this replica
/// has read them.
#[actix_web::test]
async fn a_revocation_that_waits_is_not_replaced_by_an_older_one_of_everything() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let hooked = HookedStore::new(&store);
    let waiting = settings(&issuer, &store, &clock).shared_store(Arc::new(hooked.clone()), super::KEY);
    let waiting = Replica::of(waiting).await;
    waiting.becomes(SharedStoreState::Reading).await;
    hooked.hold_reads().await;
    let full = Replica::of(settings(&issuer, &store, &clock).max_revocations(2)).await;
    full.becomes(SharedStoreState::Reading).await;
    for name in ["a", "b", "c"] {
        full.protect.revoke(Revocation::subject(name).until(far(&clock))).await.unwrap();
    }
    assert!(eventually(async || is_quiet(&store).await && store.records().len() < 3).await);
    clock.advance(seconds(60));
    let alice = issuer.jwt(json!({ "sub": "alice" }));
    store.set_available(false);
    waiting.protect.revoke(Revocation::token(&alice)).await.unwrap_err();
    store.set_available(true);
    hooked.remove_hook();
    let other = Replica::start(&issuer, &store, &clock).await;
    assert!(eventually(async || other.api.outcome(&alice).await == token(TokenFault::Revoked)).await);
    let bob = issuer.jwt(json!({ "sub": "bob" }));
    assert_eq!(other.api.outcome(&bob).await, OK);
}

fn far(clock: &TestClock) -> i64 {
    clock.unix_time() + 90 * 86_400
}

#[actix_web::test]
async fn a_revocation_that_came_before_a_late_deletion_is_not_deleted() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let hooked = HookedStore::new(&store);
    hooked.set_trims_fail(true);
    let narrow = settings(&issuer, &store, &clock).max_revocations(2);
    let one = Replica::of(narrow.shared_store(Arc::new(hooked.clone()), super::KEY)).await;
    one.becomes(SharedStoreState::Reading).await;
    for name in ["a", "b", "c"] {
        one.protect.revoke(Revocation::subject(name)).await.unwrap();
    }
    assert!(eventually(async || hooked.failed_trims() > 0).await);
    clock.advance(seconds(60));
    let alice = issuer.jwt(json!({ "sub": "alice" }));
    for name in ["alice", "bob"] {
        one.protect.revoke(Revocation::subject(name)).await.unwrap();
    }
    // The records were read.
    let failed = hooked.failed_trims();
    assert!(eventually(async || hooked.failed_trims() > failed + 2).await);
    hooked.set_trims_fail(false);
    assert!(eventually(async || store.records().len() < 6 && is_quiet(&store).await).await);
    let cold = Replica::start(&issuer, &store, &clock).await;
    assert_eq!(cold.api.outcome(&alice).await, token(TokenFault::Revoked));
}
