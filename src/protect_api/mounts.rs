//! The mounts that were built, for documents about the API.

use std::sync::{Arc, Mutex, PoisonError};

use super::Mount;

/// The different mounts of one configuration, in the order in which they were built.
#[derive(Debug, Default)]
pub(crate) struct Mounts(Mutex<Vec<Arc<Mount>>>);

impl Mounts {
    /// Adds a mount, unless an equal one is known: each worker builds all mounts.
    pub(crate) fn add(&self, mount: &Arc<Mount>) {
        let mut mounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !mounts.contains(mount) {
            mounts.push(Arc::clone(mount));
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Mount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
