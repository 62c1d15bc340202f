//! The validation of the settings of cached verdicts.

use std::time::Duration;

use super::Check;
use crate::{duration_text::DurationText, protect_api::builder::ProtectApiBuilder};

impl ProtectApiBuilder {
    /// Validates the settings of cached verdicts.
    pub(super) fn check_verdict_cache(&self, check: &mut Check<'_>) {
        let tuning = &self.tuning;
        if self.hooks.cache.is_some() && tuning.introspection_cache.is_none() {
            let duration = check.expected_name("introspection_cache_duration");
            check.problem("cache_store", format!("is set without {duration}: no verdict would be cached"));
        }
        let has_memory = self.hooks.cache.is_none() && tuning.introspection_cache.is_some();
        if !tuning.outage_grace.is_zero() && !has_memory {
            let duration = check.expected_name("introspection_cache_duration");
            let message = format!(
                "is set, but verdicts are not cached in memory: expected {duration} to be set, and no custom store"
            );
            check.problem("outage_grace", message);
        }
        let (active, inactive) = (tuning.introspection_cache.unwrap_or_default(), tuning.inactive_cache);
        if inactive.is_some_and(|inactive| inactive > active) {
            let (seen, most) = (DurationText(inactive.unwrap_or_default()), DurationText(active));
            let longest = check.expected_name("introspection_cache_duration");
            check.problem(
                "inactive_cache_duration",
                format!("is {seen:#}, expected at most {longest}, which is {most:#}"),
            );
        }
        if self.hooks.cache.is_none() {
            return;
        }
        for (method, duration) in [
            ("introspection_cache_duration", active),
            ("inactive_cache_duration", inactive.unwrap_or_default()),
        ] {
            if !duration.is_zero() && duration < Duration::from_secs(1) {
                let seen = DurationText(duration);
                let message =
                    format!("is {seen}, expected at least 1 s: the store keeps ages in whole seconds");
                check.problem(method, message);
            }
        }
    }
}
