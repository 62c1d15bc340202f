//! Throttles log records: at most one in a period.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(crate) struct LogThrottle {
    started: Instant,
    every: Duration,
    /// The time of the next record, in milliseconds on the caller's clock.
    next: AtomicU64,
}

impl Default for LogThrottle {
    fn default() -> Self {
        Self::every(Duration::from_secs(10))
    }
}

impl LogThrottle {
    /// Creates a throttle for one record in each period. The default period is ten seconds.
    pub(crate) fn every(period: Duration) -> Self {
        Self { started: Instant::now(), every: period, next: AtomicU64::new(0) }
    }

    /// Returns the level of a record at this time: `level` if it may be logged now, otherwise debug.
    pub(crate) fn level_at(&self, now: Duration, level: log::Level) -> log::Level {
        if self.is_due_at(now) { level } else { log::Level::Debug }
    }

    /// Returns whether a record may be logged now.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due_at(self.started.elapsed())
    }

    /// Returns whether a record may be logged at this time of the caller's monotonic clock. Only one thread gets
    /// `true`: the one that advances the deadline.
    pub(crate) fn is_due_at(&self, now: Duration) -> bool {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (at, next) = (millis(now), millis(now.saturating_add(self.every)));
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| (at >= due).then_some(next))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, thread};

    use super::*;

    #[test]
    fn one_record_in_ten_seconds() {
        let limiter = LogThrottle::default();
        let told = AtomicUsize::new(0);
        let speak = |seconds| {
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..1000 {
                            let due = limiter.is_due_at(Duration::from_secs(seconds));
                            told.fetch_add(due.into(), Ordering::Relaxed);
                        }
                    });
                }
            });
            told.load(Ordering::Relaxed)
        };
        assert_eq!([0, 9, 10, 15, 21].map(speak), [1, 1, 2, 2, 3]);
    }
}
