//! Several replicas of an API with a shared store.

mod blindness;
mod clocks;
mod hooked_store;
mod records;
mod resending;
mod secrecy;
mod verdicts;

use std::{sync::Arc, time::Duration};

use actix_protect_api::{
    ProtectApi, ProtectApiBuilder, SharedStoreState,
    test::{Endpoint, MemoryStore, TestClock, TestIssuer},
};

use crate::support::{
    service::{Api, introspecting},
    time::eventually,
};

const TTL: Duration = Duration::from_secs(100);
const KEY: &str = "a:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_KEY: &str = "b:202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";

/// One replica. Each has separate caches and records, because each has another `Arc` of the store.
struct Replica {
    protect: ProtectApi,
    api: Api,
}

impl Replica {
    async fn of(builder: ProtectApiBuilder) -> Self {
        let protect = builder.build().unwrap();
        let api = Api::of(&protect, None).await;
        Self { protect, api }
    }

    /// Starts a replica that caches verdicts, and waits until it reads the records.
    async fn start(issuer: &TestIssuer, store: &MemoryStore, clock: &TestClock) -> Self {
        let replica = Self::of(settings(issuer, store, clock)).await;
        replica.becomes(SharedStoreState::Reading).await;
        replica
    }

    async fn becomes(&self, state: SharedStoreState) {
        assert!(eventually(async || self.protect.status().shared_store == state).await, "{state:?}");
    }
}

fn settings(issuer: &TestIssuer, store: &MemoryStore, clock: &TestClock) -> ProtectApiBuilder {
    with_keys(issuer, store, clock, KEY)
}

fn with_keys(issuer: &TestIssuer, store: &MemoryStore, clock: &TestClock, keys: &str) -> ProtectApiBuilder {
    introspecting(issuer)
        .introspection_cache_duration(TTL)
        .store_timeout(Duration::from_secs(10))
        .clock(clock.clone())
        .shared_store(Arc::new(store.clone()), keys)
}

fn calls(issuer: &TestIssuer) -> usize {
    issuer.count(Endpoint::Introspection)
}

/// Waits until the store contains this number of verdicts. They are stored in the background.
async fn stored(store: &MemoryStore, count: usize) {
    assert!(eventually(async || store.verdicts().len() == count).await, "{}", store.verdicts().len());
}
