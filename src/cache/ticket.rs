//! The time at which an introspection request was sent.

use std::time::Duration;

use super::{CacheKey, ClockReading};

/// Created before the introspection request is sent, and used to cache its verdict.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    key: CacheKey,
    sent: ClockReading,
    /// The time on the wall clock at which the token expires, if it is known from another source than the verdict.
    token_expires_at: Option<i64>,
    /// The number of revocation records before the request was sent.
    generation: u64,
    /// The age of the verdict at `sent`, if another replica requested it.
    aged: Duration,
}

impl Ticket {
    pub(crate) fn new(key: CacheKey, sent: ClockReading, generation: u64) -> Self {
        Self { key, sent, token_expires_at: None, generation, aged: Duration::ZERO }
    }

    /// Limits the lifetime of an active verdict to the expiry of the token itself, by the local wall clock.
    pub(crate) fn expiring_at(mut self, token_expires_at: Option<i64>) -> Self {
        self.token_expires_at = token_expires_at;
        self
    }

    /// Sets the age of a verdict that another replica requested.
    pub(crate) fn aged(mut self, age: Duration) -> Self {
        self.aged = age;
        self
    }

    /// Returns the age at this time on the monotonic clock.
    pub(crate) fn age(&self, monotonic: Duration) -> Duration {
        self.aged.saturating_add(monotonic.saturating_sub(self.sent.monotonic))
    }

    pub(crate) fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Returns the time at which the introspection request was sent.
    pub(crate) fn sent(&self) -> ClockReading {
        self.sent
    }

    pub(crate) fn token_expires_at(&self) -> Option<i64> {
        self.token_expires_at
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}
