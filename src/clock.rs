//! The clock, as a trait, so that tests can control the time.

use std::{
    fmt,
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

/// The source of the time.
///
/// There are two clocks: `exp` and `nbf` are times of the wall clock, while the age of a cached verdict must not
/// change when the wall clock is set.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the seconds since 1970-01-01T00:00:00Z, rounded down (`NumericDate`, RFC 7519 section 2).
    fn unix_time(&self) -> i64;

    /// Returns the time since a fixed point. It never decreases.
    fn monotonic(&self) -> Duration;
}

/// The common start, so that the monotonic times of all clocks can be compared.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The operating system's clocks. The default.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Creates a clock. Its monotonic time is the time since the first clock of the process was created.
    pub fn new() -> Self {
        Self { started: *STARTED }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn unix_time(&self) -> i64 {
        // A time before 1970, or later than the maximum of `i64`, becomes 0. In the worst case tokens are then "not
        // yet valid".
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()
            .and_then(|since| i64::try_from(since.as_secs()).ok())
            .unwrap_or(0)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}
