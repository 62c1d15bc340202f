//! While the records of the store cannot be read, cached verdicts are used for a short time only.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_protect_api::{
    JwtsWhenBlind, Revocation, SharedStoreState, TokenFault, UpstreamFault, test::MemoryStore,
};
use serde_json::json;

use super::{
    KEY, Replica, calls,
    hooked_store::{HookedStore, Moment},
    settings,
};
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

/// A revocation of another replica cannot be in such a store. Those that are in it stay in effect.
#[actix_web::test]
async fn a_process_is_blind_while_the_store_accepts_no_records() {
    let ((issuer, clock), content) = (timed_issuer(), MemoryStore::new());
    let store = HookedStore::new(&content);
    let replica = || settings(&issuer, &content, &clock).shared_store(Arc::new(store.clone()), KEY);
    let one = Replica::of(replica()).await;
    one.becomes(SharedStoreState::Reading).await;
    let [alice, bob] = ["alice", "bob"].map(|sub| issuer.opaque(json!({ "sub": sub })));
    one.protect.revoke(Revocation::token(&bob)).await.unwrap();
    content.set_read_only(true);
    one.protect.revoke(Revocation::token(&alice)).await.unwrap_err();

    // The reads in the middle of this time do not count.
    clock.advance(600 * MILLISECOND);
    let (reads, may_end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (count, gate) = (Arc::clone(&reads), Arc::clone(&may_end));
    store.set_hook(move |moment| {
        count.fetch_add(usize::from(moment == Moment::Start), SeqCst);
        moment == Moment::Start || gate.load(SeqCst)
    });
    assert!(eventually(async || reads.load(SeqCst) > 2).await);
    may_end.store(false, SeqCst);
    clock.advance(600 * MILLISECOND);
    assert_eq!(one.protect.status().shared_store, SharedStoreState::Blind);
    store.remove_hook();

    let two = Replica::of(replica()).await;
    assert!(eventually(async || two.api.outcome(&bob).await == token(TokenFault::Revoked)).await);
    assert_eq!(two.protect.status().shared_store, SharedStoreState::Blind);
    content.set_read_only(false);
    one.becomes(SharedStoreState::Reading).await;
    two.becomes(SharedStoreState::Reading).await;
    assert!(eventually(async || two.api.outcome(&alice).await == token(TokenFault::Revoked)).await);
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

/// The read takes as long as it may, and the record is appended just after the store has responded to it.
#[actix_web::test]
async fn a_revocation_is_missed_for_at_most_twice_blind_for() {
    for (treatment, outcome) in [
        (JwtsWhenBlind::Accept, OK),
        (JwtsWhenBlind::Introspect, token(TokenFault::Inactive)),
        (JwtsWhenBlind::Reject, upstream(UpstreamFault::NoRevocations)),
    ] {
        let ((issuer, clock), memory) = (timed_issuer(), MemoryStore::new());
        let [revoking, read] = [HookedStore::new(&memory), HookedStore::new(&memory)];
        let with_store = |store: &HookedStore| {
            let settings = settings(&issuer, &memory, &clock).jwts_when_blind(treatment);
            settings.shared_store(Arc::new(store.clone()), KEY)
        };
        let (one, two) = (Replica::of(with_store(&revoking)).await, Replica::of(with_store(&read)).await);
        two.becomes(SharedStoreState::Reading).await;
        let [opaque, jwt] = [issuer.opaque(json!({ "sub": "alice" })), issuer.jwt(json!({ "sub": "alice" }))];
        for used in [&opaque, &jwt] {
            assert_eq!(two.api.outcome(used).await, OK);
        }
        // The store has responded. The response is held.
        let (is_held, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (held, ended) = (Arc::clone(&is_held), Arc::clone(&ends));
        let advanced = clock.clone();
        read.set_hook(move |moment| {
            // The first end is that of a read which started before the hook.
            match (moment, ended.load(SeqCst)) {
                (Moment::End, 0) => {
                    ended.fetch_add(1, SeqCst);
                }
                (Moment::End, 1) => {
                    held.store(true, SeqCst);
                    return false;
                }
                (Moment::End, 2) => {
                    advanced.advance(1000 * MILLISECOND);
                    ended.fetch_add(1, SeqCst);
                }
                // The read was counted. The next one does not start.
                (Moment::Start, 3..) => {
                    ended.store(4, SeqCst);
                    return false;
                }
                _ => {}
            }
            true
        });
        assert!(eventually(async || is_held.load(SeqCst)).await);
        one.protect.revoke(Revocation::subject("alice")).await.unwrap();
        issuer.revoke(&opaque);
        issuer.revoke(&jwt);
        ends.store(2, SeqCst);
        assert!(eventually(async || ends.load(SeqCst) == 4).await);
        clock.advance(1000 * MILLISECOND);
        two.becomes(SharedStoreState::Reading).await;
        for used in [&opaque, &jwt] {
            assert_eq!(two.api.outcome(used).await, OK, "{treatment:?}");
        }
        clock.advance(MILLISECOND);
        assert_eq!(two.protect.status().shared_store, SharedStoreState::Blind);
        assert_eq!(two.api.outcome(&opaque).await, token(TokenFault::Inactive), "{treatment:?}");
        assert_eq!(two.api.outcome(&jwt).await, outcome, "{treatment:?}");
        read.remove_hook();
    }
}

/// The state is noted at the start of each read, when the last one has just returned, and at its end, when the last one is as old as
/// it can be.
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
        let (store, states) = (HookedStore::new(&MemoryStore::new()), Arc::<Mutex<Vec<_>>>::default());
        let protect = jwts_only(&issuer)
            .clock(clock.clone())
            .shared_store(Arc::new(store.clone()), KEY)
            .build()
            .unwrap();
        let seen = Arc::clone(&states);
        store.set_hook(move |moment| {
            if moment == Moment::End {
                clock.advance(Duration::from_millis(millis));
            }
            seen.lock().unwrap().push(protect.status().shared_store);
            true
        });
        assert!(eventually(async || states.lock().unwrap().len() > 8).await);
        store.remove_hook();
        // Without those before the end of the first read with the hook.
        let states = states.lock().unwrap()[3..].to_vec();
        assert!(states.iter().all(|state| *state == expected), "{millis} ms: {states:?}");
    }
}
