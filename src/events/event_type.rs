//! The types of events: CAEP 1.0, RISC 1.0 and the Shared Signals Framework 1.0.

use serde_json::Value;

/// The effect of an event on the tokens of its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventEffect {
    /// The tokens are rejected.
    Revoke,
    /// Cached verdicts are not used any more.
    DiscardVerdicts,
    /// No effect.
    Nothing,
}

/// A type of event, by its name in logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventType {
    pub(super) name: &'static str,
    /// Whether an opaque subject identifier names a session.
    pub(super) concerns_sessions: bool,
    effect: EventEffect,
}

impl EventType {
    const fn new(name: &'static str, effect: EventEffect) -> Self {
        Self { name, concerns_sessions: false, effect }
    }

    /// Returns the type with this URI.
    pub(super) fn from_uri(uri: &str) -> Self {
        use EventEffect::{DiscardVerdicts, Nothing, Revoke};

        const ROOT: &str = "https://schemas.openid.net/secevent/";
        let Some((profile, name)) = uri.strip_prefix(ROOT).and_then(|rest| rest.split_once("/event-type/"))
        else {
            return Self::new("unknown", Nothing);
        };
        let of_session = |name, effect| Self { concerns_sessions: true, ..Self::new(name, effect) };
        match (profile, name) {
            ("caep", "session-revoked") => of_session("session_revoked", Revoke),
            ("caep", "credential-change") => Self::new("credential_change", Revoke),
            ("caep", "token-claims-change") => of_session("token_claims_change", DiscardVerdicts),
            ("caep", "assurance-level-change") => of_session("assurance_level_change", DiscardVerdicts),
            ("risc", "account-disabled") => Self::new("account_disabled", Revoke),
            ("risc", "account-purged") => Self::new("account_purged", Revoke),
            ("risc", "account-credential-change-required") => {
                Self::new("account_credential_change_required", Revoke)
            }
            ("risc", "credential-compromise") => Self::new("credential_compromise", Revoke),
            ("risc", "sessions-revoked") => Self::new("sessions_revoked", Revoke),
            ("ssf" | "risc", "verification") => Self::new("verification", Nothing),
            ("ssf", "stream-updated") => Self::new("stream_updated", Nothing),
            _ => Self::new("unknown", Nothing),
        }
    }

    /// Returns the effect of an event of this type. A new credential revokes nothing.
    pub(super) fn effect(self, event: &Value) -> EventEffect {
        let is_created = event.get("change_type").and_then(Value::as_str) == Some("create");
        if self.name == "credential_change" && is_created { EventEffect::Nothing } else { self.effect }
    }
}
