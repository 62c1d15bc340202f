//! How many requests may wait for one kind of thing.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{AuthError, UpstreamFault};

/// Counts those who wait, and refuses the next one when it is full. Shared by all workers.
#[derive(Debug)]
pub(crate) struct WaitingRoom {
    capacity: usize,
    waiting: AtomicUsize,
}

/// A place among those who wait, given back when it is dropped.
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

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}
