//! Access to the store neither reveals claims nor is enough to create a verdict.

use actix_protect_api::{Revocation, TokenFault, test::MemoryStore};
use serde_json::json;

use super::{KEY, OTHER_KEY, Replica, calls, stored, with_keys};
use crate::support::{
    service::{OK, timed_issuer, token},
    time::{eventually, seconds},
};

#[actix_web::test]
async fn the_store_contains_no_token_and_no_claim() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let alice = issuer.opaque(json!({ "sub": "alice", "email": "alice@example.test" }));
    assert_eq!(one.api.outcome(&alice).await, OK);
    one.protect.revoke(Revocation::subject("alice")).await.unwrap();
    one.protect.revoke(Revocation::token(&*alice)).await.unwrap();
    stored(&store, 1).await;
    let mut values: Vec<Vec<u8>> = store.records();
    for (key, value) in store.verdicts() {
        values.extend([key.into_bytes(), value]);
    }
    for value in values {
        let text = String::from_utf8_lossy(&value).into_owned();
        for secret in [&*alice, "alice", "sub", "active"] {
            assert!(!text.contains(secret), "{secret}");
        }
    }
}

#[actix_web::test]
async fn a_forged_or_copied_verdict_is_not_used() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let (alice, mallory) = (issuer.opaque(json!({ "sub": "alice" })), "never-issued");
    assert_eq!(one.api.outcome(&alice).await, OK);
    stored(&store, 1).await;
    let (_, good) = store.verdicts().pop().unwrap();
    one.api.outcome(mallory).await.unwrap_err();
    stored(&store, 2).await;
    let forgeries: [Vec<u8>; 5] = [
        good,
        Vec::new(),
        b"v".to_vec(),
        br#"{"active":true,"claims":{"sub":"root"}}"#.to_vec(),
        vec![1; 300],
    ];
    for forged in forgeries {
        store.replace_verdicts(|_, _| forged.clone());
        let cold = Replica::start(&issuer, &store, &clock).await;
        let before = calls(&issuer);
        assert_eq!(cold.api.outcome(mallory).await, token(TokenFault::Inactive));
        assert_eq!(calls(&issuer) - before, 1);
        // The verdict of this call replaces the forged one.
        let is_replaced = async || store.verdicts().iter().any(|(_, value)| *value != forged);
        assert!(eventually(is_replaced).await);
    }
}

/// An attacker who can write to the store puts an older value back.
#[actix_web::test]
async fn an_old_value_is_not_used_after_its_duration_and_not_after_an_eviction() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    assert_eq!(one.api.outcome(&alice).await, OK);
    stored(&store, 1).await;
    let (_, old) = store.verdicts().pop().unwrap();
    issuer.revoke(&alice);
    one.protect.evict(&alice).await.unwrap();
    let cold = Replica::start(&issuer, &store, &clock).await;
    assert_eq!(cold.api.outcome(&alice).await, token(TokenFault::Inactive));
    store.replace_verdicts(|_, _| old.clone());
    let cold = Replica::start(&issuer, &store, &clock).await;
    assert_eq!(cold.api.outcome(&alice).await, token(TokenFault::Inactive), "after the eviction");
    clock.advance(seconds(1000));
    store.replace_verdicts(|_, _| old.clone());
    let cold = Replica::start(&issuer, &store, &clock).await;
    assert_eq!(cold.api.outcome(&alice).await, token(TokenFault::Inactive), "after its duration");
}

#[actix_web::test]
async fn a_replica_with_another_key_works_without_the_verdicts_of_the_others() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let one = Replica::start(&issuer, &store, &clock).await;
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    assert_eq!(one.api.outcome(&alice).await, OK);
    stored(&store, 1).await;
    let other = Replica::of(with_keys(&issuer, &store, &clock, OTHER_KEY)).await;
    assert_eq!((other.api.outcome(&alice).await, calls(&issuer)), (OK, 2));
}

#[actix_web::test]
async fn a_key_is_replaced_while_replicas_run() {
    let ((issuer, clock), store) = (timed_issuer(), MemoryStore::new());
    let (both, new_first) = (format!("{KEY}\n{OTHER_KEY}"), format!("{OTHER_KEY}\n{KEY}"));
    let mut read = 0;
    for (number, [writer, reader]) in
        [[KEY, &both], [&both, &new_first], [&new_first, &both], [&new_first, OTHER_KEY]]
            .into_iter()
            .enumerate()
    {
        let [writer, reader] = [writer, reader].map(|keys| with_keys(&issuer, &store, &clock, keys));
        let (writer, reader) = (Replica::of(writer).await, Replica::of(reader).await);
        writer.becomes(actix_protect_api::SharedStoreState::Reading).await;
        reader.becomes(actix_protect_api::SharedStoreState::Reading).await;
        let bearer = issuer.opaque(json!({ "sub": number.to_string() }));
        let before = calls(&issuer);
        assert_eq!(writer.api.outcome(&bearer).await, OK);
        read += 1;
        stored(&store, read).await;
        assert_eq!((reader.api.outcome(&bearer).await, calls(&issuer) - before), (OK, 1), "{number}");
    }
}
