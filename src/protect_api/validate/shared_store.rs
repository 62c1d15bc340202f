//! Validates the settings of the shared store.

use std::time::Duration;

use super::Check;
use crate::{protect_api::builder::ProtectApiBuilder, settings::JwtsWhenBlind, shared_store::seal::Sealer};

impl ProtectApiBuilder {
    pub(super) fn check_shared_store(&self, check: &mut Check<'_>) {
        let tuning = &self.tuning;
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        check.range("store_timeout", tuning.store_timeout, Duration::from_millis(1), 10 * second);
        check.range("blind_for", tuning.blind_for, second / 2, hour);
        if tuning.jwts_when_blind == JwtsWhenBlind::Introspect && self.client.is_none() {
            let message = "is introspect, but there are no client credentials to introspect with";
            check.problem("jwts_when_blind", message);
        }
        let Some(hook) = &self.hooks.shared_store else { return };
        if let Err(problem) = Sealer::check(&hook.keys) {
            check.problem("shared_store", format!("has no usable keys: {problem}"));
        }
        if self.hooks.cache.is_some() {
            check.problem("cache_store", "is set, but shared_store is set too, expected one of them");
        }
        let active = tuning.introspection_cache.unwrap_or_default();
        if !active.is_zero() && active < second {
            let message =
                format!("is {active:?}, expected at least 1s: the store keeps ages in whole seconds");
            check.problem("introspection_cache_duration", message);
        }
    }
}
