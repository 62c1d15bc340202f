//! The tokens whose introspection failed. Each of them is retried at growing intervals. Other tokens are not
//! affected.

use std::time::Duration;

use quick_cache::unsync::Cache;

use crate::cache::CacheKey;

/// The maximum number of failing tokens in the cache. A token that many others evict is only introspected again.
const TOKENS: usize = 1024;
/// The pause before the third retry. It doubles before each later retry. The first two retries have no pause: a
/// failure is often a coincidence, and requests that waited for a failed call repeat it once.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// A failure is ignored after this time.
const MAX_FAILURE_AGE: Duration = Duration::from_secs(30);

/// The tokens that failed lately, by their cache keys.
#[derive(Debug)]
pub(crate) struct Backoff(Cache<CacheKey, Failing>);

#[derive(Clone, Copy, Debug)]
struct Failing {
    failures: u32,
    last: Duration,
    until: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(Cache::new(TOKENS))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the time for which this token must not be introspected.
    pub(crate) fn time_left(&self, key: &CacheKey, now: Duration) -> Duration {
        self.0.get(key).map_or(Duration::ZERO, |failing| failing.until.saturating_sub(now))
    }

    /// Returns whether this token failed lately.
    pub(crate) fn has_failed(&self, key: &CacheKey, now: Duration) -> bool {
        self.0.get(key).is_some_and(|failing| failing.is_current(now))
    }

    pub(crate) fn failed(&mut self, key: CacheKey, retry_after: Option<Duration>, now: Duration) {
        let before = self.0.get(&key).filter(|failing| failing.is_current(now));
        let failures = before.map_or(0, |failing| failing.failures).saturating_add(1);
        let pause = match failures {
            1 | 2 => Duration::ZERO,
            _ => FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(3).min(8)).min(LONGEST_PAUSE),
        };
        let until = now.saturating_add(retry_after.map_or(pause, |requested| requested.max(pause)));
        self.0.insert(key, Failing { failures, last: now, until });
    }

    pub(crate) fn succeeded(&mut self, key: &CacheKey) {
        if !self.0.is_empty() {
            let _removed = self.0.remove(key);
        }
    }
}

impl Failing {
    fn is_current(&self, now: Duration) -> bool {
        now < self.until.max(self.last.saturating_add(MAX_FAILURE_AGE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn two_retries_are_free_and_later_ones_come_less_and_less_often() {
        let (mut backoff, key) = (Backoff::new(), CacheKey::numbered(1));
        for pause in [0, 0, 1, 2, 4, 4, 4] {
            backoff.failed(key, None, secs(100));
            assert_eq!(backoff.time_left(&key, secs(100)), secs(pause));
        }
        assert_eq!(backoff.time_left(&key, secs(104)), Duration::ZERO);
        assert!(backoff.has_failed(&key, secs(104)), "but it is no probe");
        assert!(!backoff.has_failed(&key, secs(130)));
        backoff.failed(key, None, secs(130));
        assert_eq!(backoff.time_left(&key, secs(130)), Duration::ZERO, "it starts anew");
    }

    #[test]
    fn a_retry_after_counts_for_this_token_and_a_success_forgets() {
        let (mut backoff, key) = (Backoff::new(), CacheKey::numbered(1));
        backoff.failed(key, Some(secs(42)), secs(100));
        assert_eq!(backoff.time_left(&key, secs(101)), secs(41));
        assert!(backoff.has_failed(&key, secs(141)));
        assert_eq!(backoff.time_left(&CacheKey::numbered(2), secs(101)), Duration::ZERO);
        backoff.succeeded(&key);
        assert_eq!(backoff.time_left(&key, secs(101)), Duration::ZERO);
    }

    #[test]
    fn a_bounded_number_of_tokens_is_remembered() {
        let mut backoff = Backoff::new();
        for number in 0..100_000 {
            backoff.failed(CacheKey::numbered(number), None, secs(100));
        }
        assert!(backoff.0.len() <= TOKENS, "{}", backoff.0.len());
    }
}
