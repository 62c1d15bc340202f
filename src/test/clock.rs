//! A clock that tests control.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{Clock, SystemClock};

/// A [`Clock`] that changes only when a test advances or sets it.
///
/// Clones show the same time: keep one in the test and pass the other to the tested code (and to
/// [`TestIssuerBuilder::clock`](super::TestIssuerBuilder::clock), so that both agree on expiry).
#[derive(Clone, Debug)]
pub struct TestClock(Arc<Mutex<Hands>>);

#[derive(Clone, Copy, Debug)]
struct Hands {
    /// The time since 1970 with its fraction, so that many short steps add up to seconds.
    wall: Duration,
    monotonic: Duration,
}

impl TestClock {
    /// Creates a clock at the present time. Its monotonic time is zero.
    pub fn new() -> Self {
        let now = u64::try_from(SystemClock::new().unix_time()).unwrap_or(0);
        Self(Arc::new(Mutex::new(Hands { wall: Duration::from_secs(now), monotonic: Duration::ZERO })))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.with(|hands| {
            hands.wall = hands.wall.saturating_add(by);
            hands.monotonic = hands.monotonic.saturating_add(by);
        });
    }

    /// Sets the wall clock, forward or back, in seconds since 1970 (an earlier time becomes 1970). The monotonic
    /// clock does not change, as when an administrator sets the time.
    pub fn set_unix_time(&self, seconds: i64) {
        let wall = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        self.with(|hands| hands.wall = wall);
    }

    fn with<T>(&self, change: impl FnOnce(&mut Hands) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TestClock {
    fn unix_time(&self) -> i64 {
        i64::try_from(self.with(|hands| hands.wall.as_secs())).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.with(|hands| hands.monotonic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_still_and_starts_at_the_present() {
        let before = SystemClock::new().unix_time();
        let clock = TestClock::new();
        assert!((before..=SystemClock::new().unix_time()).contains(&clock.unix_time()));
        let (wall, monotonic) = (clock.unix_time(), clock.monotonic());
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!((clock.unix_time(), clock.monotonic()), (wall, monotonic));
    }

    #[test]
    fn advance_moves_both_clocks_of_every_clone() {
        let clock = TestClock::new();
        let other = clock.clone();
        let start = clock.unix_time();
        for _ in 0..4 {
            clock.advance(Duration::from_millis(2500));
        }
        assert_eq!(other.unix_time(), start + 10);
        assert_eq!(other.monotonic(), Duration::from_secs(10));
    }

    #[test]
    fn setting_the_wall_clock_leaves_the_monotonic_one() {
        let clock = TestClock::new();
        clock.advance(Duration::from_secs(5));
        clock.set_unix_time(1_000);
        assert_eq!((clock.unix_time(), clock.monotonic()), (1_000, Duration::from_secs(5)));
        clock.set_unix_time(-1);
        assert_eq!(clock.unix_time(), 0);
        clock.set_unix_time(i64::MAX);
        clock.advance(Duration::MAX);
        assert_eq!(clock.unix_time(), i64::MAX);
    }
}
