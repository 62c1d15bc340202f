//! Validates the settings of the shared store.

use std::time::Duration;

use super::Check;
use crate::{
    duration_text::DurationText, protect_api::builder::ProtectApiBuilder, settings::JwtsWhenBlind,
    shared_store::seal::Sealer,
};

impl ProtectApiBuilder {
    pub(super) fn check_shared_store(&self, check: &mut Check<'_>) {
        let tuning = &self.tuning;
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
        if !active.is_zero() && active < Duration::from_secs(1) {
            let seen = DurationText(active);
            let message = format!("is {seen}, expected at least 1 s: the store keeps ages in whole seconds");
            check.problem("introspection_cache_duration", message);
        }
    }
}
