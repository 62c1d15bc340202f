//! The receiver of security event tokens: validates each token and applies its events, in the same way for push and poll.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    event_claims::{ClaimRules, EventClaims},
    event_report::{EventReport, Outcome},
    event_subject::EventSubject,
    event_type::{EventEffect, EventType},
    revoke,
    ssf::Ssf,
    target_issuer::TargetIssuer,
};
use crate::{
    claims::object::JsonValue,
    client_auth::SecretSource,
    deadline::Deadline,
    error::{AuthError, TokenFault},
    jwt::{self, Typ},
    protect_api::{ProtectApi, state::State},
    revocation::{Revocation, SeenEvent, SeenEvents},
    telemetry::EventSource,
};

/// The maximum number of events in one token. The Shared Signals Framework uses one.
const MAX_EVENTS: usize = 16;

/// Times above this are in milliseconds: it is the year 5138 in seconds, and 1973 in milliseconds.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

pub(super) struct Receiver {
    protect: ProtectApi,
    /// The configuration that contains the keys of the transmitter.
    pub(super) transmitter: Arc<State>,
    target: TargetIssuer,
    audiences: Vec<String>,
    pub(super) authorization: Option<SecretSource>,
    max_age: i64,
    pub(super) report: EventReport,
}

impl Receiver {
    /// # Errors
    /// The problem of the settings.
    pub(super) fn new(protect: &ProtectApi, ssf: Ssf, source: EventSource) -> Result<Self, String> {
        let keys = ssf.keys(protect).map_err(|error| format!("transmitter: {error}"))?;
        let target = TargetIssuer::select(protect, ssf.issuer.as_deref(), &ssf.transmitter);
        let target =
            target.ok_or("`issuer` of the transmitter: expected one of the issuers of the handle")?;
        let report = EventReport::new(source, &protect.state, &keys);
        Ok(Self {
            transmitter: keys,
            target,
            audiences: ssf.audiences,
            authorization: ssf.authorization,
            report,
            max_age: i64::try_from(ssf.max_age.as_secs()).unwrap_or(i64::MAX),
            protect: protect.clone(),
        })
    }

    /// Validates a security event token and applies its events. Returns after the revocations are stored: whether the token
    /// is new, and not a repeated one.
    pub(super) async fn receive(
        &self,
        set: &str,
        client: impl Fn() -> awc::Client,
    ) -> Result<bool, AuthError> {
        let outcome = self.apply(set, client).await;
        if let Err(error) = &outcome {
            self.report.refused(error);
        }
        outcome
    }

    async fn apply(&self, set: &str, client: impl Fn() -> awc::Client) -> Result<bool, AuthError> {
        // The claims are checked before the signature, so that a token of another transmitter causes no fetch.
        let unverified = jwt::unverified_payload(set).map_err(AuthError::token)?;
        self.claims(&unverified)?;
        let validator = &self.transmitter.validator;
        let deadline = Deadline::after(self.transmitter.settings.tuning.response_timeout);
        let types = [Typ::SecurityEvent];
        let verifying = validator.local.verify_payload(set, &types, &validator.metadata, &client, deadline);
        let payload = deadline.bound(verifying).await?;
        let claims = self.claims(&payload)?;
        let events = claims.events(MAX_EVENTS).map_err(AuthError::token)?;
        let transmitter = self.transmitter.settings.issuer.as_str();
        let event = SeenEvent::new("set", &[transmitter, self.target.name()], claims.id());
        if self.seen_events().contains(&event) {
            self.report.accepted(first_type(events).name, Outcome::Repeated);
            return Ok(false);
        }
        let mut actions = Vec::new();
        for (uri, event) in events {
            let kind = EventType::from_uri(uri);
            actions.push((kind, self.action(kind, event, &claims).map_err(AuthError::token)?));
        }
        for (kind, action) in actions {
            let outcome = match action {
                EventAction::Revoke(revocation) => revoke(&self.protect, revocation).await?,
                EventAction::Nothing(outcome) => outcome,
            };
            self.report.accepted(kind.name, outcome);
        }
        self.seen_events().insert(event);
        Ok(true)
    }

    /// Returns the events that were applied to the tokens of the target, by all endpoints.
    fn seen_events(&self) -> &SeenEvents {
        &self.target.state().unwrap_or(&self.protect.state).seen_events
    }

    fn claims<'p>(&self, payload: &'p [u8]) -> Result<EventClaims<'p>, AuthError> {
        let State { settings, clock, .. } = &*self.protect.state;
        let rules = ClaimRules {
            audiences: &self.audiences,
            now: clock.unix_time().saturating_add(settings.rules.clock_skew),
            tolerance: settings.rules.clock_tolerance,
            max_age: self.max_age,
        };
        let accepts_issuer = |issuer: &str| self.transmitter.settings.accepts_issuer(issuer);
        EventClaims::read(payload, accepts_issuer, &rules).map_err(AuthError::token)
    }

    /// Returns the effect that an event requires.
    ///
    /// # Errors
    /// If its subject has an empty value.
    fn action(
        &self,
        kind: EventType,
        event: &Value,
        claims: &EventClaims<'_>,
    ) -> Result<EventAction, TokenFault> {
        let effect = kind.effect(event);
        if effect == EventEffect::Nothing {
            let status = event.get("status").and_then(Value::as_str);
            let is_stopped =
                kind.name == "stream_updated" && status.is_some_and(|status| status != "enabled");
            return Ok(EventAction::Nothing(if is_stopped {
                Outcome::StreamStopped
            } else {
                Outcome::Ignored
            }));
        }
        let identifier = match claims.members.get("sub_id") {
            Some(JsonValue::Other(identifier)) => Some(identifier),
            Some(JsonValue::Text(_)) => None,
            // Drafts of the framework have the subject in the event.
            None => event.get("subject"),
        };
        let Some(identifier) = identifier else { return Ok(EventAction::Nothing(Outcome::Unusable)) };
        let is_target = |issuer: &str| self.target.is(issuer);
        let subject = EventSubject::parse(identifier, kind.concerns_sessions, &is_target);
        let named = subject.issuer();
        if !named.is_none_or(is_target) {
            return Ok(EventAction::Nothing(Outcome::Unusable));
        }
        let revocation = match subject {
            EventSubject::Session { id, .. } => Revocation::session(id),
            EventSubject::JwtId { id, .. } => Revocation::jwt_id(id),
            EventSubject::User { subject, .. } => {
                Revocation::subject(subject).issued_before(event_time(event, claims))
            }
            EventSubject::Unusable => return Ok(EventAction::Nothing(Outcome::Unusable)),
            EventSubject::Blank => return Err(TokenFault::Malformed),
        };
        let revocation = self.target.limit(revocation, named);
        let discards = effect == EventEffect::DiscardVerdicts;
        Ok(EventAction::Revoke(if discards { revocation.verdicts_only() } else { revocation }))
    }
}

/// The effect that an event requires.
enum EventAction {
    Revoke(Revocation),
    Nothing(Outcome),
}

/// Returns the time of an event: `event_timestamp`, `toe` (RFC 8417 section 2.2) or `iat`, and never a later time than `iat`, so
/// that tokens of a later login stay valid.
fn event_time(event: &Value, claims: &EventClaims<'_>) -> i64 {
    let toe = match claims.members.get("toe") {
        Some(JsonValue::Other(toe)) => Some(toe),
        _ => None,
    };
    let time = event.get("event_timestamp").or(toe).and_then(Value::as_i64);
    let seconds = time.map(|time| if time >= FIRST_MILLISECONDS { time / 1000 } else { time });
    seconds.filter(|seconds| *seconds >= 0).map_or(claims.issued_at, |seconds| seconds.min(claims.issued_at))
}

fn first_type(events: &Map<String, Value>) -> EventType {
    EventType::from_uri(events.keys().next().map_or("", String::as_str))
}

/// Returns the fault of a token that is not a security event token.
pub(super) fn not_a_set() -> AuthError {
    AuthError::token(TokenFault::Type)
}
