//! Time, as a trait: tests move it, nothing else may.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime},
};

/// Where the crate reads the time.
///
/// Two clocks, because they answer different questions: `exp` and `nbf` are points on the wall clock, while the age
/// of a cached answer must not change when somebody sets that clock back.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Seconds since 1970-01-01T00:00:00Z, as in RFC 7519 section 2 (`NumericDate`), rounded down.
    fn unix_time(&self) -> i64;

    /// Time since an arbitrary fixed point; never goes backwards.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks. The default.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Reads the operating system's clocks; the monotonic one counts from here.
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn unix_time(&self) -> i64 {
        // A clock before 1970 or after the year 292 billion reads as 0: every token is then "not yet valid" at worst.
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
