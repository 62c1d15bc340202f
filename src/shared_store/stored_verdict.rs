//! Verdicts in the shared store.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{Position, Replica, StoreEntry, StoreError, StoreFuture, seal::Place};
use crate::cache::{CacheKey, CachedVerdict};

/// The longest time for which the insertion of a verdict may take. No request waits for it.
const PUT: Duration = Duration::from_secs(1);

/// A verdict, and the position until which its replica had read the records before it requested the verdict.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoredVerdict {
    verdict: CachedVerdict,
    #[serde(default)]
    read_until: Option<(u64, u64)>,
}

/// The entry of a token in the shared store.
pub(crate) enum StoredEntry {
    Found(StoredVerdict),
    Claimed,
    Busy,
    /// There is none.
    Missing,
    /// The store failed, is skipped, or contains a value that cannot be used.
    Unusable,
}

impl StoredVerdict {
    pub(crate) fn new(verdict: CachedVerdict, read_until: Option<Position>) -> Self {
        Self { verdict, read_until: read_until.map(|position| (position.high(), position.low())) }
    }

    pub(crate) fn verdict(&self) -> &CachedVerdict {
        &self.verdict
    }

    pub(crate) fn read_until(&self) -> Option<Position> {
        self.read_until.map(|(high, low)| Position::new(high, low))
    }
}

impl Replica {
    /// Returns the entry of a token, or claims the token for this time.
    pub(crate) async fn get_or_claim(&self, key: &CacheKey, lifetime: Duration) -> StoredEntry {
        let call = || -> StoreFuture<'_, Option<StoreEntry>> {
            Box::pin(async move { self.store().get_or_claim(key, lifetime).await.map(Some) })
        };
        self.entry(key, call).await
    }

    /// Returns the entry of a token.
    pub(crate) async fn get(&self, key: &CacheKey) -> StoredEntry {
        self.entry(key, || self.store().get(key)).await
    }

    /// Removes the entry of a token.
    pub(crate) async fn remove(&self, key: &CacheKey) {
        let sent = self.clock.monotonic();
        if self.is_skipped(sent) {
            return;
        }
        match timeout(self.settings.timeout, self.store().remove(key)).await {
            Ok(Ok(())) => self.responded(),
            Ok(Err(problem)) => self.skip(&problem),
            Err(_) => self.skip_unless_responding(sent, &no_response()),
        }
    }

    async fn entry<'a>(
        &self,
        key: &CacheKey,
        call: impl FnOnce() -> StoreFuture<'a, Option<StoreEntry>>,
    ) -> StoredEntry {
        let sent = self.clock.monotonic();
        if self.is_skipped(sent) {
            return StoredEntry::Unusable;
        }
        let Ok(outcome) = timeout(self.settings.timeout, call()).await else {
            self.skip_unless_responding(sent, &no_response());
            return StoredEntry::Unusable;
        };
        if outcome.is_ok() {
            self.responded();
        }
        match outcome {
            Ok(Some(StoreEntry::Found(sealed))) => {
                self.open_verdict(key, &sealed).map_or(StoredEntry::Unusable, StoredEntry::Found)
            }
            Ok(Some(StoreEntry::Claimed)) => StoredEntry::Claimed,
            Ok(Some(StoreEntry::Busy)) => StoredEntry::Busy,
            Ok(None) => StoredEntry::Missing,
            Err(problem) => {
                self.skip(&problem);
                StoredEntry::Unusable
            }
        }
    }

    fn open_verdict(&self, key: &CacheKey, sealed: &[u8]) -> Option<StoredVerdict> {
        let plain = self.sealer.open(Place::Verdict(key), sealed, self.clock.monotonic())?;
        let stored: StoredVerdict = serde_json::from_slice(&plain).ok()?;
        (!self.was_lost_since(stored.verdict.stored_at())).then_some(stored)
    }

    /// Stores a verdict in the background, or removes the entry of the token if there is none to store.
    pub(crate) fn put(self: &Arc<Self>, key: CacheKey, stored: Option<(StoredVerdict, Duration)>) {
        let sent = self.clock.monotonic();
        if self.is_skipped(sent) {
            return;
        }
        let this = Arc::clone(self);
        self.spawn(async move {
            let put = async {
                let Some((stored, lifetime)) = &stored else { return this.store().remove(&key).await };
                let plain = serde_json::to_vec(stored).map_err(StoreError::new)?;
                let sealed = this.sealer.seal(Place::Verdict(&key), &plain)?;
                this.store().put(&key, &sealed, *lifetime).await
            };
            match timeout(PUT, put).await {
                Ok(Ok(())) => {}
                Ok(Err(problem)) => this.skip(&problem),
                Err(elapsed) => this.skip_unless_responding(sent, &StoreError::new(elapsed)),
            }
        });
    }
}

fn no_response() -> StoreError {
    StoreError::new("no response within store_timeout")
}
