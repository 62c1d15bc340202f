//! Warns of settings that have no effect because another setting is missing.

use super::Check;
use crate::{protect_api::builder::ProtectApiBuilder, settings::Tuning};

impl ProtectApiBuilder {
    /// Compares the settings with their defaults: a default that has no effect needs no warning.
    pub(super) fn check_unused(&self, check: &mut Check<'_>) {
        let (tuning, usual) = (&self.tuning, Tuning::default());
        let method = self.client.as_ref().map(|client| client.authentication.method());
        let signs = matches!(method, Some("client_secret_jwt" | "private_key_jwt"));
        let has_memory = self.hooks.cache.is_none() && tuning.introspection_cache.is_some();
        let has_keys = self.introspection_endpoint.is_none() || self.has_keys();
        for (is_used, reason, settings) in [
            (
                self.hooks.shared_store.is_some(),
                "there is no shared store",
                &[
                    ("store_timeout", tuning.store_timeout != usual.store_timeout),
                    ("blind_for", tuning.blind_for != usual.blind_for),
                    ("jwts_when_blind", tuning.jwts_when_blind != usual.jwts_when_blind),
                ][..],
            ),
            (
                has_memory,
                "verdicts are not cached in memory",
                &[
                    ("cache_entries", tuning.cache_entries != usual.cache_entries),
                    ("cache_bytes", tuning.cache_bytes != usual.cache_bytes),
                    ("refresh_ahead", tuning.refresh_ahead != usual.refresh_ahead),
                ],
            ),
            (
                self.client.is_some(),
                "there are no client credentials to introspect with",
                &[
                    ("max_calls", tuning.max_calls != usual.max_calls),
                    ("accept_missing_issuer", self.accept_missing_issuer),
                ],
            ),
            (
                has_keys,
                "JWTs are introspected, and not validated with keys",
                &[
                    ("algorithms", tuning.algorithms != usual.algorithms),
                    ("require_at_jwt", tuning.require_at_jwt != usual.require_at_jwt),
                    ("remember_jwts", tuning.remember_jwts != usual.remember_jwts),
                ],
            ),
            (
                signs,
                "the client authentication method sends no client assertion",
                &[(
                    "client_assertion_audience",
                    tuning.client_assertion_audience != usual.client_assertion_audience,
                )],
            ),
        ] {
            for (method, _) in settings.iter().filter(|(_, is_set)| *is_set && !is_used) {
                check.warn(method, format!("is set, but has no effect: {reason}"));
            }
        }
    }
}
