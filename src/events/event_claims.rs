//! The claims that security event tokens and logout tokens have in common.

use serde_json::Value;

use crate::{
    claims::{
        numeric_date,
        object::{JsonObject, JsonValue},
    },
    error::TokenFault,
    revocation::is_blank,
};

/// The claims of a token whose issuer, audience and times were checked.
pub(super) struct EventClaims<'p> {
    pub(super) members: JsonObject<'p>,
    /// `iat`.
    pub(super) issued_at: i64,
}

/// The rules for the claims.
pub(super) struct ClaimRules<'r> {
    /// The accepted audiences. `aud` must contain one of them.
    pub(super) audiences: &'r [String],
    /// The time by the issuer's clock.
    pub(super) now: i64,
    /// The tolerance for `iat` and `exp`, in seconds.
    pub(super) tolerance: i64,
    /// The longest time since `iat`, in seconds.
    pub(super) max_age: i64,
}

impl<'p> EventClaims<'p> {
    /// Reads and checks `iss`, `aud`, `jti`, `iat` and `exp`. `exp` is not required: RFC 8417 section 2.2 does not recommend
    /// it. If it is present, it must be in the future.
    pub(super) fn read(
        payload: &'p [u8],
        accepts_issuer: impl Fn(&str) -> bool,
        rules: &ClaimRules<'_>,
    ) -> Result<Self, TokenFault> {
        let members = JsonObject::read(payload).map_err(|_| TokenFault::Malformed)?;
        let issuer = members.text("iss").ok_or(TokenFault::MissingClaim)?;
        if !accepts_issuer(issuer) {
            return Err(TokenFault::Issuer);
        }
        if !has_audience(members.get("aud"), rules.audiences) {
            return Err(TokenFault::Audience);
        }
        if members.text("jti").is_none_or(is_blank) {
            return Err(TokenFault::MissingClaim);
        }
        let time = |name| numeric_date(&members, name, f64::floor).map_err(|_| TokenFault::Malformed);
        let issued_at = time("iat")?.ok_or(TokenFault::MissingClaim)?;
        let expires_at = time("exp")?;
        let ClaimRules { now, tolerance, max_age, .. } = *rules;
        let earliest = now.saturating_sub(tolerance);
        if issued_at > now.saturating_add(tolerance) {
            return Err(TokenFault::NotYetValid);
        }
        if expires_at.is_some_and(|expires_at| expires_at <= earliest) {
            return Err(TokenFault::Expired);
        }
        if issued_at < earliest.saturating_sub(max_age) {
            return Err(TokenFault::TooOld);
        }
        Ok(Self { members, issued_at })
    }

    /// Returns `jti`.
    pub(super) fn id(&self) -> &str {
        self.members.text("jti").unwrap_or_default()
    }

    /// Returns the members of `events`, at most `max`.
    pub(super) fn events(&self, max: usize) -> Result<&serde_json::Map<String, Value>, TokenFault> {
        match self.members.get("events") {
            Some(JsonValue::Other(Value::Object(events)))
                if (1..=max).contains(&events.len()) && events.values().all(Value::is_object) =>
            {
                Ok(events)
            }
            Some(_) => Err(TokenFault::Malformed),
            None => Err(TokenFault::MissingClaim),
        }
    }
}

fn has_audience(aud: Option<&JsonValue<'_>>, audiences: &[String]) -> bool {
    let is_ours = |one: &str| audiences.iter().any(|audience| audience == one);
    match aud {
        Some(JsonValue::Text(one)) => is_ours(one),
        Some(JsonValue::Other(Value::Array(many))) => many.iter().filter_map(Value::as_str).any(is_ours),
        _ => false,
    }
}
