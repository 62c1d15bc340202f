//! A store whose reads a test observes and holds, and which can leave a request without response.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_protect_api::{
    cache::CacheKey,
    shared_store::{Position, RecordBatch, SharedStore, StoreEntry, StoreError, StoreFuture},
    test::MemoryStore,
};

use crate::support::time::eventually;

/// A moment of a read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Start,
    End,
}

/// Returns whether the read may go on. Otherwise the function is called again.
type Hook = dyn Fn(Moment) -> bool + Send;

#[derive(Clone)]
pub(super) struct HookedStore {
    store: MemoryStore,
    hook: Arc<Mutex<Option<Box<Hook>>>>,
    ignores_next_claim: Arc<AtomicBool>,
    fails_trims: Arc<AtomicBool>,
    failed_trims: Arc<AtomicUsize>,
}

impl HookedStore {
    pub(super) fn new(store: &MemoryStore) -> Self {
        Self {
            store: store.clone(),
            hook: Arc::default(),
            ignores_next_claim: Arc::default(),
            fails_trims: Arc::default(),
            failed_trims: Arc::default(),
        }
    }

    pub(super) fn set_hook(&self, hook: impl Fn(Moment) -> bool + Send + 'static) {
        *self.hook.lock().unwrap() = Some(Box::new(hook));
    }

    /// Does not respond to the next request for a verdict or a claim.
    pub(super) fn ignore_next_claim(&self) {
        self.ignores_next_claim.store(true, Ordering::Relaxed);
    }

    /// Lets every deletion of records fail (`true`) or succeed again (`false`).
    pub(super) fn set_trims_fail(&self, fail: bool) {
        self.fails_trims.store(fail, Ordering::Relaxed);
    }

    pub(super) fn failed_trims(&self) -> usize {
        self.failed_trims.load(Ordering::Relaxed)
    }

    pub(super) fn has_ignored_claim(&self) -> bool {
        !self.ignores_next_claim.load(Ordering::Relaxed)
    }

    /// Holds every read at its start, until the function is removed. Returns when a read is held.
    pub(super) async fn hold_reads(&self) {
        let is_held = Arc::new(AtomicBool::new(false));
        let held = Arc::clone(&is_held);
        self.set_hook(move |moment| {
            held.fetch_or(moment == Moment::Start, Ordering::SeqCst);
            moment == Moment::End
        });
        assert!(eventually(async || is_held.load(Ordering::SeqCst)).await);
    }

    /// Removes the function, which may own the replica that reads.
    pub(super) fn remove_hook(&self) {
        let hook = self.hook.lock().unwrap().take();
        drop(hook);
    }

    async fn pass(&self, moment: Moment) {
        let may_go_on = || self.hook.lock().unwrap().as_ref().is_none_or(|hook| hook(moment));
        while !may_go_on() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl fmt::Debug for HookedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookedStore")
    }
}

impl SharedStore for HookedStore {
    fn get_or_claim<'a>(&'a self, key: &'a CacheKey, lifetime: Duration) -> StoreFuture<'a, StoreEntry> {
        if self.ignores_next_claim.swap(false, Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
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
            self.pass(Moment::Start).await;
            let batch = self.store.read(after).await?;
            self.pass(Moment::End).await;
            Ok(batch)
        })
    }

    fn trim(&self, before: Position) -> StoreFuture<'_, ()> {
        if self.fails_trims.load(Ordering::Relaxed) {
            self.failed_trims.fetch_add(1, Ordering::Relaxed);
            return Box::pin(async { Err(StoreError::new("the records cannot be deleted")) });
        }
        self.store.trim(before)
    }
}
