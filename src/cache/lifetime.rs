//! The time for which a verdict is cached.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use crate::cache::{CacheKey, ClockReading, Ticket, Verdict, expires_at};

/// The configured durations. They start when the introspection request is sent, and end at the `exp` of the token
/// at the latest.
#[derive(Debug)]
pub(crate) struct Lifetime {
    active: Duration,
    inactive: Duration,
    /// Seeded at random in each process, so that instances that cached a token at the same time do not evict it at
    /// the same time.
    jitter: RandomState,
}

impl Lifetime {
    pub(crate) fn new(active: Duration, inactive: Duration) -> Self {
        Self { active, inactive, jitter: RandomState::new() }
    }

    /// Returns the configured duration for such a verdict.
    pub(super) fn configured(&self, verdict: &Verdict) -> Duration {
        match verdict {
            Verdict::Active(_) => self.active,
            Verdict::Inactive => self.inactive,
        }
    }

    /// Returns the remaining part of the duration. Zero if the verdict has expired.
    pub(crate) fn remaining(&self, ticket: &Ticket, verdict: &Verdict, now: ClockReading) -> Duration {
        let until_exp = expires_at(verdict, ticket.token_expires_at())
            .map(|exp| Duration::from_secs(u64::try_from(exp.saturating_sub(now.unix)).unwrap_or(0)));
        let elapsed = ticket.age(now.monotonic);
        self.shortened(self.configured(verdict), ticket.key(), now)
            .saturating_sub(elapsed)
            .min(until_exp.unwrap_or(Duration::MAX))
    }

    /// Returns the start of the last quarter of a lifetime, and a random time in it, from which a verdict in active use is
    /// introspected again. The last tenth of the lifetime is left for the call.
    pub(super) fn refresh_times(&self, ticket: &Ticket, ends: Duration) -> (Duration, Duration) {
        let sent = ticket.sent().monotonic;
        let lifetime = ends.saturating_sub(sent);
        let per_mille = self.jitter.hash_one((ticket.key(), ends)) % 150 + 750;
        let refresh = lifetime / 1000 * u32::try_from(per_mille).unwrap_or(0);
        (sent.saturating_add(lifetime / 4 * 3), sent.saturating_add(refresh))
    }

    /// Returns the duration minus a random part of up to a tenth, so that tokens that arrived together are not all
    /// introspected again at the same time.
    fn shortened(&self, configured: Duration, key: &CacheKey, now: ClockReading) -> Duration {
        let per_mille = self.jitter.hash_one((key, now.monotonic)) % 101;
        let off = configured / 1000 * u32::try_from(per_mille).unwrap_or(0);
        configured.saturating_sub(off)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::tests::{active, at};

    fn asked_at(number: u64, sent: ClockReading) -> Ticket {
        Ticket::new(CacheKey::numbered(number), sent, 0)
    }

    #[test]
    fn lifetime_is_the_shorter_of_duration_and_exp() {
        let lifetime = Lifetime::new(Duration::from_secs(60), Duration::from_secs(60));
        let lives = |verdict: &Verdict, now| {
            lifetime.remaining(&asked_at(1, at(0, now)), verdict, at(0, now)).as_millis()
        };
        for unlimited in [Verdict::Inactive, active(json!({})), active(json!({"exp": 1000}))] {
            assert!((54_000..=60_000).contains(&lives(&unlimited, 0)), "{unlimited:?}");
        }
        let limited = active(json!({"exp": 1000}));
        assert_eq!([970, 1000, 2000, i64::MAX].map(|now| lives(&limited, now)), [30_000, 0, 0, 0]);
        assert!(lives(&active(json!({"exp": 253_402_300_799_i64})), i64::MIN) >= 54_000);
    }

    #[test]
    fn lifetime_is_counted_from_the_request_to_the_authorization_server() {
        let lifetime = Lifetime::new(Duration::from_secs(60), Duration::from_secs(10));
        let ticket = asked_at(1, at(100, 1000));
        let left = |verdict: &Verdict, now| lifetime.remaining(&ticket, verdict, now).as_secs();
        assert!((24..=30).contains(&left(&active(json!({})), at(130, 1030))));
        assert_eq!(left(&active(json!({})), at(160, 1060)), 0);
        assert_eq!(
            left(&active(json!({"exp": 1035})), at(130, 1030)),
            5,
            "the end of the token does not move"
        );
        assert!((4..=6).contains(&left(&Verdict::Inactive, at(104, 1004))));
        assert_eq!(left(&Verdict::Inactive, at(110, 1010)), 0);
    }

    /// Tokens that were cached together, and replicas, refresh at different times.
    #[test]
    fn refreshes_are_spread_over_the_last_quarter_without_the_last_tenth() {
        let lifetime = Lifetime::new(Duration::from_secs(100), Duration::ZERO);
        let of =
            |number, ends| lifetime.refresh_times(&asked_at(number, at(1000, 0)), Duration::from_secs(ends));
        let times: Vec<_> = (0..1000).map(|number| of(number, 1100)).collect();
        assert!(times.iter().all(|(last_quarter, _)| last_quarter.as_secs() == 1075));
        let within = |from, until| {
            let is_within = |(_, at): &&(Duration, Duration)| (from..until).contains(&at.as_secs());
            times.iter().filter(is_within).count()
        };
        assert_eq!(within(1075, 1090), 1000);
        for third in [1075, 1080, 1085] {
            assert!((200..470).contains(&within(third, third + 5)), "{third}");
        }
        assert_eq!(of(1, 900), (Duration::from_secs(1000), Duration::from_secs(1000)), "no time is left");
    }

    #[test]
    fn lifetimes_are_spread_over_the_last_tenth() {
        let hundred = Duration::from_secs(100);
        for verdict in [Verdict::Inactive, active(json!({}))] {
            let lifetime = Lifetime::new(hundred, hundred);
            let lives: Vec<_> = (0..1000)
                .map(|number| lifetime.remaining(&asked_at(number, at(0, 0)), &verdict, at(0, 0)).as_millis())
                .collect();
            let (shortest, longest) = (lives.iter().min().unwrap(), lives.iter().max().unwrap());
            assert!(*shortest >= 90_000 && *longest <= 100_000, "{shortest}..{longest}");
            assert!(*shortest < 91_000 && *longest > 99_000, "{shortest}..{longest}");
        }
        for edge in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            let lifetime = Lifetime::new(edge, edge);
            let life = lifetime.remaining(&asked_at(1, at(0, 0)), &Verdict::Inactive, at(0, 0));
            assert!(life <= edge && life >= edge / 10 * 8, "{edge:?}");
        }
    }
}
