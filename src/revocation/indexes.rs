//! The records of all issuers.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use super::{IssuerKey, RevocationIndex};

/// One index for each issuer with a configuration or with records.
#[derive(Debug, Default)]
pub(crate) struct RevocationIndexes(Mutex<HashMap<IssuerKey, Arc<RevocationIndex>>>);

/// The indexes of all configurations without a shared store.
static OF_PROCESS: LazyLock<Arc<RevocationIndexes>> = LazyLock::new(Arc::default);

impl RevocationIndexes {
    /// Returns the indexes that all configurations of this process share, unless they have a shared store.
    pub(crate) fn of_process() -> Arc<Self> {
        Arc::clone(&OF_PROCESS)
    }

    /// Returns the index of an issuer. `capacity` is the number of records that it may contain; the largest one of all
    /// configurations of the issuer applies.
    pub(crate) fn index(&self, issuer: IssuerKey, capacity: usize) -> Arc<RevocationIndex> {
        let mut indexes = self.lock();
        indexes.retain(|_, index| Arc::strong_count(index) > 1 || index.len() > 0);
        let index = indexes.entry(issuer).or_insert_with(|| Arc::new(RevocationIndex::new(issuer, 0)));
        index.allow(capacity);
        Arc::clone(index)
    }

    /// Returns all indexes.
    pub(crate) fn all(&self) -> Vec<Arc<RevocationIndex>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IssuerKey, Arc<RevocationIndex>>> {
        // No code panics while it holds the lock. Even after a panic the map would be consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
