//! The settings of the shared store.

use std::{sync::Arc, time::Duration};

use super::ProtectApiBuilder;
use crate::{
    client_auth::SecretSource,
    settings::JwtsWhenBlind,
    shared_store::{SharedStore, StoreHook},
};

impl ProtectApiBuilder {
    /// Sets a store that all replicas of this API share: revocations of one replica apply to all of them, and verdicts of
    /// introspection are shared if [`introspection_cache_duration`](Self::introspection_cache_duration) is set. Default: none.
    ///
    /// `keys` encrypt and authenticate all values: one key of 32 bytes per line, in base64url or hexadecimal digits, each with an
    /// optional id (`id:key`). The first key encrypts, and all of them decrypt. Configurations with the same `Arc` and the same
    /// keys share one connection and one thread.
    ///
    /// The server starts while the store cannot be reached. See [the guide](crate::guide::redis).
    pub fn shared_store(mut self, store: Arc<dyn SharedStore>, keys: impl Into<SecretSource>) -> Self {
        self.hooks.shared_store = Some(StoreHook { store, keys: keys.into() });
        self
    }

    /// Sets the longest time that a request waits for one operation of the shared store. After a failure, the store is skipped
    /// for 1 s. From 1 ms to 10 s. Default: 50 ms.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.tuning.store_timeout = timeout;
        self
    }

    /// Sets how long this process uses a cached verdict while it cannot read the revocations of the shared store: it is then
    /// *blind*. From 500 ms to 1 h. Default: 1 s.
    pub fn blind_for(mut self, duration: Duration) -> Self {
        self.tuning.blind_for = duration;
        self
    }

    /// Sets how locally validated JWTs are treated while this process cannot read the revocations of the shared store for longer
    /// than [`blind_for`](Self::blind_for). Default: [`JwtsWhenBlind::Accept`].
    pub fn jwts_when_blind(mut self, treatment: JwtsWhenBlind) -> Self {
        self.tuning.jwts_when_blind = treatment;
        self
    }
}
