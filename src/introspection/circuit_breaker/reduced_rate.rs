//! The calls that are allowed while the breaker is open and the server responds. They are few, and chosen at
//! random.
//!
//! Some servers fail for every unknown token, also for that of the health check, so only a caller's token can show
//! that such a server works. An attacker who sends many random tokens must not get all of these calls.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use quick_cache::unsync::Cache;

use crate::cache::CacheKey;

/// Each share has one call in this time.
const WINDOW: Duration = Duration::from_millis(100);
/// The maximum number of active tokens in the cache.
const KNOWN_TOKENS: usize = 1024;

/// Limits the rate of calls. The tokens that were active lately have a separate share, because an attacker cannot
/// create such a token.
#[derive(Debug)]
pub(crate) struct ReducedRate {
    known_tokens: Cache<CacheKey, ()>,
    known: Share,
    unknown: Share,
    random: RandomState,
}

/// Allows one call per [`WINDOW`]. The allowed request is chosen at random among all requests of the window, so
/// that a client that always sends the first request does not get every call.
#[derive(Debug, Default)]
struct Share {
    started: Duration,
    /// The number of requests in this window.
    requests: u64,
    /// The number of requests of this window that are rejected before one is allowed.
    skipped: u64,
}

impl ReducedRate {
    pub(crate) fn new() -> Self {
        Self {
            known_tokens: Cache::new(KNOWN_TOKENS),
            known: Share::default(),
            unknown: Share::default(),
            random: RandomState::new(),
        }
    }

    /// Records that a token is active.
    pub(crate) fn record_active(&mut self, key: CacheKey) {
        self.known_tokens.insert(key, ());
    }

    pub(crate) fn is_known(&self, key: &CacheKey) -> bool {
        self.known_tokens.get(key).is_some()
    }

    /// Allows no call for the time of one window.
    pub(crate) fn restart(&mut self, now: Duration) {
        for share in [&mut self.known, &mut self.unknown] {
            *share = Share { started: now, requests: 1, skipped: 0 };
        }
    }

    /// Returns whether a call may be allowed in this window. If not, the request is counted.
    pub(crate) fn may_allow(&mut self, is_known: bool, now: Duration) -> bool {
        let share = self.share(is_known, now);
        let is_used = share.requests > share.skipped;
        share.requests = share.requests.saturating_add(is_used.into());
        !is_used
    }

    /// Counts the request, and returns whether its call is allowed.
    pub(crate) fn allows(&mut self, is_known: bool, now: Duration) -> bool {
        let share = self.share(is_known, now);
        let is_allowed = share.requests == share.skipped;
        share.requests = share.requests.saturating_add(1);
        is_allowed
    }

    fn share(&mut self, is_known: bool, now: Duration) -> &mut Share {
        let share = if is_known { &mut self.known } else { &mut self.unknown };
        let age = now.saturating_sub(share.started);
        if age >= WINDOW {
            // The expected number is that of the last window, or a quarter more.
            let expected = if age < WINDOW * 2 { share.requests + share.requests / 4 } else { 1 };
            let skipped = self.random.hash_one((is_known, now)).checked_rem(expected).unwrap_or(0);
            *share = Share { started: now, requests: 0, skipped };
        }
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn one_call_per_window_is_allowed_in_each_share() {
        let mut rate = ReducedRate::new();
        rate.restart(millis(1000));
        for is_known in [false, true] {
            let mut allowed = 0;
            for now in 1000..11_000 {
                allowed +=
                    usize::from(rate.may_allow(is_known, millis(now)) && rate.allows(is_known, millis(now)));
            }
            assert!((50..=100).contains(&allowed), "{allowed} in 10 s, known: {is_known}");
        }
    }

    #[test]
    fn a_client_that_asks_rarely_is_not_delayed() {
        let mut rate = ReducedRate::new();
        rate.restart(millis(1000));
        assert!(!rate.may_allow(false, millis(1099)) && !rate.allows(false, millis(1099)));
        for second in 2..100 {
            assert!(rate.may_allow(false, millis(second * 1000)));
            assert!(rate.allows(false, millis(second * 1000)));
            assert!(!rate.may_allow(false, millis(second * 1000)), "once");
        }
    }

    #[test]
    fn every_place_in_a_window_is_allowed_now_and_then() {
        let mut rate = ReducedRate::new();
        let mut allowed = [0_u32; 20];
        for window in 1..4000 {
            for place in 0..20_u64 {
                let now = millis(window * 100 + place * 5);
                let is_allowed = rate.may_allow(false, now) && rate.allows(false, now);
                allowed[usize::try_from(place).unwrap()] += u32::from(is_allowed);
            }
        }
        assert!(allowed.iter().all(|count| *count > 50), "{allowed:?}");
    }

    #[test]
    fn a_bounded_number_of_tokens_is_remembered() {
        let mut rate = ReducedRate::new();
        for number in 0..100_000 {
            rate.record_active(CacheKey::numbered(number));
        }
        assert!(rate.known_tokens.len() <= KNOWN_TOKENS, "{}", rate.known_tokens.len());
        assert!(rate.is_known(&CacheKey::numbered(99_999)));
    }
}
