//! The times at which the verdict with these claims is introspected again before it expires.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Set when the verdict is cached. A verdict that is not used twice in the last part of its lifetime is not refreshed.
#[derive(Debug)]
pub(crate) struct RefreshTimes {
    /// The time of the next step, in nanoseconds of the monotonic clock: the start of the last part; after a use in it, the
    /// refresh; after that, [`NEVER`].
    next: AtomicU64,
    refresh_at: AtomicU64,
}

const NEVER: u64 = u64::MAX;

impl Default for RefreshTimes {
    fn default() -> Self {
        Self { next: AtomicU64::new(NEVER), refresh_at: AtomicU64::new(NEVER) }
    }
}

impl RefreshTimes {
    /// Sets the start of the last part of the lifetime, and the earliest time of the refresh. Called before the claims are
    /// shared with other requests.
    pub(crate) fn set(&self, last_part: Duration, refresh_at: Duration) {
        let last_part = nanoseconds(last_part);
        self.refresh_at.store(nanoseconds(refresh_at).max(last_part.saturating_add(1)), Ordering::Relaxed);
        self.next.store(last_part, Ordering::Relaxed);
    }

    /// Notes a use of the verdict, and returns whether it must be refreshed.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        let (now, next) = (nanoseconds(now), self.next.load(Ordering::Relaxed));
        if now < next || next == NEVER {
            return false;
        }
        let refresh_at = self.refresh_at.load(Ordering::Relaxed);
        if next < refresh_at {
            // The first use. Another request may note its use at the same time: both count as one.
            let _is_first =
                self.next.compare_exchange(next, refresh_at, Ordering::Relaxed, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// Takes the only refresh of this verdict. Returns `false` if another task has taken it.
    pub(crate) fn take(&self) -> bool {
        self.next.swap(NEVER, Ordering::Relaxed) != NEVER
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_second_use_in_the_last_part_is_due_from_the_time_of_the_refresh() {
        let times = RefreshTimes::default();
        assert!(!times.is_due(at(1)) && !times.is_due(Duration::MAX), "not set");
        times.set(at(75), at(80));
        assert_eq!(
            [10, 74, 74, 75, 79, 80, 90].map(|now| times.is_due(at(now))),
            [false, false, false, false, false, true, true]
        );
        assert!(times.take() && !times.take(), "one refresh");
        assert!(!times.is_due(at(95)));
    }

    #[test]
    fn one_use_in_the_last_part_is_never_due() {
        for only in [75, 80, 99] {
            let times = RefreshTimes::default();
            times.set(at(75), at(75));
            assert!(!times.is_due(at(74)) && !times.is_due(at(only)), "{only}");
        }
    }
}
