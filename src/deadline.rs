//! The time that one request has for everything that it waits for.

use std::time::{Duration, Instant};

/// A moment on the monotonic clock of this machine, which tests do not move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    pub(crate) fn time_left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
