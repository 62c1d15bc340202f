//! Validates the durations, and warns of long ones that weaken a check.

use std::time::Duration;

use super::Check;
use crate::{duration_text::DurationText, protect_api::builder::ProtectApiBuilder};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The durations of the rules, in seconds.
pub(super) struct RuleTimes {
    pub(super) clock_skew: i64,
    pub(super) clock_tolerance: i64,
    pub(super) max_token_age: Option<i64>,
}

impl ProtectApiBuilder {
    pub(super) fn check_rule_times(&self, check: &mut Check<'_>) -> RuleTimes {
        if self.max_token_age.is_some_and(|age| age.is_zero()) {
            check.problem("max_token_age", "is 0 s, expected at least 1 s: no token could be accepted");
        }
        RuleTimes {
            clock_skew: check.seconds("clock_skew", self.clock_skew, HOUR),
            clock_tolerance: check.seconds("clock_tolerance", self.clock_tolerance, HOUR),
            max_token_age: self.max_token_age.map(|age| check.seconds("max_token_age", age, 365 * DAY)),
        }
    }

    pub(super) fn check_durations(&self, check: &mut Check<'_>) {
        let tuning = &self.tuning;
        let verdicts = tuning.introspection_cache.unwrap_or_default();
        for (method, value, least, most) in [
            ("metadata_cache_duration", tuning.metadata_lifetime, SECOND, DAY),
            ("jwks_cache_duration", tuning.jwks_lifetime, SECOND, DAY),
            ("jwks_cooldown", tuning.jwks_cooldown, SECOND, HOUR),
            ("max_stale", tuning.max_stale, SECOND, 7 * DAY),
            ("response_timeout", tuning.response_timeout, SECOND / 1000, 2 * MINUTE),
            ("introspection_cache_duration", verdicts, Duration::ZERO, DAY),
            ("outage_grace", tuning.outage_grace, Duration::ZERO, DAY),
            ("revocation_lifetime", tuning.revocation_lifetime, SECOND, 366 * DAY),
            ("store_timeout", tuning.store_timeout, SECOND / 1000, 10 * SECOND),
            ("blind_for", tuning.blind_for, SECOND / 2, HOUR),
        ] {
            check.range(method, value, least, most);
        }
        for (method, value, usual, effect) in [
            ("clock_tolerance", self.clock_tolerance, 5 * MINUTE, "an expired token is accepted"),
            ("introspection_cache_duration", verdicts, HOUR, "a revoked token is accepted"),
            ("outage_grace", tuning.outage_grace, HOUR, "a token that is revoked in an outage is accepted"),
        ] {
            if value > usual {
                check.warn(method, format!("is {} s: {effect} for {}", value.as_secs(), DurationText(value)));
            }
        }
    }
}

impl Check<'_> {
    fn seconds(&mut self, method: &str, value: Duration, most: Duration) -> i64 {
        if value > most || value.subsec_nanos() > 0 {
            let (seen, most) = (DurationText(value), DurationText(most));
            self.problem(method, format!("is {seen:#}, expected whole seconds up to {most:#}"));
        }
        i64::try_from(value.as_secs()).unwrap_or(i64::MAX)
    }

    fn range(&mut self, method: &str, value: Duration, least: Duration, most: Duration) {
        if !(least..=most).contains(&value) {
            let [seen, least, most] = [value, least, most].map(DurationText);
            self.problem(method, format!("is {seen:#}, expected a duration from {least} to {most:#}"));
        }
    }
}
