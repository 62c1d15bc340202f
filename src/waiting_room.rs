//! A limit for the number of waiting requests.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{AuthError, UpstreamFault};

/// Counts the waiting requests, and rejects the next one if the limit is reached. Shared by all workers.
#[derive(Debug)]
pub(crate) struct WaitingRoom {
    capacity: usize,
    waiting: AtomicUsize,
}

/// The place of a waiting request. It is released when dropped.
#[derive(Debug)]
pub(crate) struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl WaitingRoom {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, waiting: AtomicUsize::new(0) }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// [`UpstreamFault::Saturated`] if the room is full.
    pub(crate) fn enter(&self) -> Result<Place<'_>, AuthError> {
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < self.capacity).then_some(count + 1)
            })
            .map(|_| Place(&self.waiting))
            .map_err(|_| AuthError::upstream(UpstreamFault::Saturated))
    }

    /// Returns the number of waiting requests.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}
