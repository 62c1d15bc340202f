//! Log records of the shared store.

use std::{sync::Arc, time::Duration};

use actix_protect_api::{
    Clock as _, JwtsWhenBlind, ProtectApi, ProtectApiBuilder, Revocation, SharedStoreState,
    shared_store::SharedStore as _,
    test::{MemoryStore, TestClock, TestIssuer},
};
use serde_json::json;

use super::{
    Walk, Walked,
    api::{api, refused, works},
    walks,
};
use crate::support::{
    logs::{self, Record},
    service::introspecting,
    time::eventually,
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn walks() -> Vec<(&'static str, Walk)> {
    walks! {
        "the shared store failed: …" => failing,
        "a revocation or eviction was not written to the shared store…" => unsent,
        "the clock of the shared store differs from that of this process…" => clocks,
        "the records of the shared store are not read, …" => blind,
        "records of the shared store were lost…" => lost,
        "a value of the shared store is ignored: …" => other_keys,
        "the shared store has records of a shorter time than revocation_lifetime…" => incomplete,
        "there are too many records in the shared store…" => full,
    }
}

fn settings(issuer: &TestIssuer, store: &MemoryStore) -> ProtectApiBuilder {
    introspecting(issuer).introspection_cache_duration(MINUTE).shared_store(Arc::new(store.clone()), KEY)
}

fn build(builder: ProtectApiBuilder) -> ProtectApi {
    logs::capture();
    builder.build().unwrap()
}

/// Waits until a record contains this text.
async fn said(part: &str) -> Record {
    let found = || logs::last(|record| record.text.contains(part));
    assert!(eventually(async || found().is_some()).await, "no record says {part:?}");
    found().unwrap()
}

async fn works_with(protect: ProtectApi, issuer: &TestIssuer) -> String {
    works(super::api::api_of(protect).get("/").token(&issuer.opaque(json!({})))).await
}

/// With this setting, JWTs are rejected while the store is down.
pub(super) async fn jwts_rejected() -> Walked {
    let (issuer, store) = (TestIssuer::start(), MemoryStore::new());
    store.set_available(false);
    let token = issuer.jwt(json!({}));
    let app = api(settings(&issuer, &store).jwts_when_blind(JwtsWhenBlind::Reject));
    let line = refused(app.get("/").token(&token), 503).await;
    let app = api(settings(&issuer, &store).jwts_when_blind(JwtsWhenBlind::Accept));
    Walked::new([line], works(app.get("/").token(&token)).await)
}

async fn failing() -> Walked {
    let (issuer, store) = (TestIssuer::start(), MemoryStore::new());
    store.set_available(false);
    let protect = build(settings(&issuer, &store));
    let line = said("the shared store failed").await;
    Walked::new([line], works_with(protect, &issuer).await)
}

async fn unsent() -> Walked {
    let (issuer, store) = (TestIssuer::start(), MemoryStore::new());
    let protect = build(settings(&issuer, &store));
    store.set_available(false);
    protect.evict_subject("alice").unwrap();
    let line = said("a revocation or eviction was not written").await;
    store.set_available(true);
    assert!(eventually(async || store.records().len() == 1).await);
    Walked::new([line], works_with(protect, &issuer).await)
}

async fn clocks() -> Walked {
    let (issuer, store, clock) = (TestIssuer::start(), MemoryStore::new(), TestClock::new());
    clock.set_unix_time(clock.unix_time() - 60);
    store.set_clock(clock);
    let protect = build(settings(&issuer, &store));
    let line = said("the clock of the shared store differs").await;
    Walked::new([line], works_with(protect, &issuer).await)
}

async fn blind() -> Walked {
    let (issuer, store) = (TestIssuer::start(), MemoryStore::new());
    store.set_available(false);
    let protect = build(settings(&issuer, &store));
    let line = said("the records of the shared store are not read").await;
    store.set_available(true);
    let again = said("the records of the shared store are read again").await;
    Walked::new([line, again], works_with(protect, &issuer).await)
}

async fn lost() -> Walked {
    let (issuer, store) = (TestIssuer::start(), MemoryStore::new());
    let protect = build(settings(&issuer, &store));
    protect.revoke(Revocation::subject("alice")).await.unwrap();
    assert!(eventually(async || protect.status().shared_store == SharedStoreState::Reading).await);
    // The record is read before it is lost.
    tokio::time::sleep(Duration::from_millis(600)).await;
    store.lose_everything();
    let line = said("records of the shared store were lost").await;
    Walked::new([line], works_with(protect, &issuer).await)
}

async fn other_keys() -> Walked {
    let (issuer, store) = (TestIssuer::start(), MemoryStore::new());
    store.append(b"of another program", MINUTE).await.unwrap();
    let protect = build(settings(&issuer, &store));
    let line = said("a value of the shared store is ignored").await;
    Walked::new([line], works_with(protect, &issuer).await)
}

async fn incomplete() -> Walked {
    let (issuer, store) = (TestIssuer::start(), MemoryStore::new());
    let first = build(settings(&issuer, &store));
    first.revoke(Revocation::subject("alice")).await.unwrap();
    let position = store.append(b"later", MINUTE).await.unwrap();
    store.trim(position).await.unwrap();
    let protect = build(settings(&issuer, &store).realm("another replica"));
    let line = said("the shared store has records of a shorter time").await;
    Walked::new([line], works_with(protect, &issuer).await)
}

async fn full() -> Walked {
    let (clock, store) = (TestClock::new(), MemoryStore::new());
    let issuer = TestIssuer::builder().clock(clock.clone()).start();
    let narrow = build(settings(&issuer, &store).clock(clock.clone()).max_revocations(2));
    let old = issuer.jwt(json!({}));
    for subject in ["alice", "bob", "carol"] {
        narrow.revoke(Revocation::subject(subject)).await.unwrap();
    }
    let line = said("there are too many records in the shared store").await;
    assert!(eventually(async || store.records().len() < 3).await);
    let wide = build(settings(&issuer, &store).clock(clock.clone()).max_revocations(1000));
    let app = super::api::api_of(wide);
    assert!(eventually(async || app.get("/").token(&old).send().await.status == 401).await);
    clock.advance(MINUTE);
    Walked::new([line], works(app.get("/").token(&issuer.jwt(json!({})))).await)
}
