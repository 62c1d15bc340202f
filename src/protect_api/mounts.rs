//! The mounts that were built, for documents about the API.

use std::sync::{Arc, Mutex, PoisonError};

use super::Mount;

/// The different mounts of one configuration, in the order in which they were built.
#[derive(Debug, Default)]
pub(crate) struct Mounts(Mutex<Vec<Arc<Mount>>>);

impl Mounts {
    /// Adds a mount, unless an equal one is known: each worker builds all mounts. Returns whether it is new.
    pub(crate) fn add(&self, mount: &Arc<Mount>) -> bool {
        let mut mounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !mounts.contains(mount);
        if is_new {
            mounts.push(Arc::clone(mount));
        }
        is_new
    }

    pub(crate) fn all(&self) -> Vec<Arc<Mount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
