//! Revoked tokens. Each revocation is a *record*, and every request is checked against the records: with a cached
//! verdict, a new verdict, a shared call, in a nested mount, and with a verified JWT.
//!
//! A record is an event and not a change of a cache. It therefore also affects verdicts that arrive later, and JWTs
//! that are validated locally. Evictions are records too: they reject no token, but verdicts that were requested before
//! them are not used.

mod effects;
mod error;
mod index;
mod key;
mod marks;
mod position;
mod record;
mod revocations;
mod seen_events;
mod table;

pub use self::{error::RevocationError, position::Position};
pub(crate) use self::{
    index::{RevocationIndex, Standing},
    key::{IssuerKey, RecordKey},
    marks::TokenMarks,
    record::{Effect, Record, RecordId},
    revocations::Revocations,
    seen_events::{SeenEvent, SeenEvents},
};

use std::fmt;

use self::key::JwtText;

/// The time by which the issuer's clock may be ahead of this one if no time is given. A token that was issued shortly after
/// the revocation is rejected too, and the client gets a new one.
pub(crate) const CLOCK_ALLOWANCE: i64 = 5;

/// Tokens to revoke; see [`ProtectApi::revoke`](crate::ProtectApi::revoke).
///
/// ```
/// use actix_protect_api::Revocation;
///
/// // One token, a session (`sid`), and all tokens that a user has now.
/// let token = Revocation::token("the access token");
/// let session = Revocation::session("08a5019c-17e1-4977-8f42-65a12843ea02");
/// let user = Revocation::subject("alice");
/// ```
///
/// A revocation with an empty value (token, `jti`, session, subject, client or issuer) revokes nothing:
/// [`ProtectApi::revoke`](crate::ProtectApi::revoke) returns an error. `Debug` shows neither tokens nor names.
#[derive(Clone, PartialEq, Eq)]
#[must_use = "it has no effect until it is passed to `ProtectApi::revoke`"]
pub struct Revocation {
    target: Target,
    issuer: Option<String>,
    issued_before: Option<i64>,
    until: Option<i64>,
    effect: Effect,
}

/// The tokens to which a revocation applies.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Token(String),
    JwtId(String),
    Session(String),
    Subject(String),
    Client(String),
    AllTokens,
}

impl Revocation {
    fn new(target: Target) -> Self {
        Self { target, issuer: None, issued_before: None, until: None, effect: Effect::Reject }
    }

    /// Revokes this access token. Its time of issue is not checked. Revoke only tokens that were validated: each revocation
    /// takes memory.
    pub fn token(token: impl Into<String>) -> Self {
        Self::new(Target::Token(token.into()))
    }

    /// Revokes the token with this `jti`, which must be a string. Its time of issue is not checked.
    pub fn jwt_id(jti: impl Into<String>) -> Self {
        Self::new(Target::JwtId(jti.into()))
    }

    /// Revokes the tokens of this session: those with this `sid`, or without `sid` and with this `session_state`. Their time
    /// of issue is not checked, because a session does not start again.
    pub fn session(sid: impl Into<String>) -> Self {
        Self::new(Target::Session(sid.into()))
    }

    /// Revokes the tokens of this subject (`sub`) that were issued until now.
    pub fn subject(subject: impl Into<String>) -> Self {
        Self::new(Target::Subject(subject.into()))
    }

    /// Revokes the tokens of this client that were issued until now. The client is the first of `client_id`, `azp`, `cid` and
    /// `appid` that the token has.
    pub fn client(client_id: impl Into<String>) -> Self {
        Self::new(Target::Client(client_id.into()))
    }

    /// Revokes all tokens of the issuer that were issued until now.
    pub fn all_tokens() -> Self {
        Self::new(Target::AllTokens)
    }

    /// Applies the revocation to one of several issuers only. Default: every issuer of the handle. The issuer of a configuration
    /// whose tokens name [other issuers](crate::ProtectApiBuilder::token_issuers) stands for all of them. With
    /// [tenants](crate::AnyOf::tenants) the issuer is required, except for a [`token`](Self::token).
    pub fn of_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Revokes only tokens whose `iat` is not later than this, in seconds since 1970. A token without `iat` is revoked too.
    ///
    /// Default for [`subject`](Self::subject), [`client`](Self::client) and [`all_tokens`](Self::all_tokens): the current time
    /// of this process, or of the [shared store](crate::guide::redis) if that is later, with the configured [`clock_skew`](crate::ProtectApiBuilder::clock_skew), and 5 s more, because the clock of the issuer
    /// may be ahead. Otherwise the default is any time.
    pub fn issued_before(mut self, unix_seconds: i64) -> Self {
        self.issued_before = Some(unix_seconds);
        self
    }

    /// Sets the time until which the revocation is in effect, in seconds since 1970: the latest `exp` of the tokens. The
    /// [`clock_tolerance`](crate::ProtectApiBuilder::clock_tolerance) is added. Later, they would be accepted again if they had
    /// not expired.
    ///
    /// Default: now and [`revocation_lifetime`](crate::ProtectApiBuilder::revocation_lifetime), or the `exp` of the
    /// [`token`](Self::token) if it is a JWT that expires later.
    pub fn until(mut self, unix_seconds: i64) -> Self {
        self.until = Some(unix_seconds);
        self
    }

    /// Rejects no token, but stops the use of cached verdicts: the next request with such a token is introspected. For changed
    /// claims, such as groups. Has no effect on JWTs that are validated locally.
    pub fn verdicts_only(mut self) -> Self {
        self.effect = Effect::Discard;
        self
    }

    pub(crate) fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Returns the token, if the revocation names one.
    pub(crate) fn token_text(&self) -> Option<&str> {
        match &self.target {
            Target::Token(token) => Some(token),
            _ => None,
        }
    }

    /// Replaces the token, if the revocation names one. Returns `None` if the token is malformed.
    pub(crate) fn with_token(mut self, parse: impl FnOnce(&str) -> Option<String>) -> Option<Self> {
        if let Target::Token(token) = &mut self.target {
            *token = parse(token)?;
        }
        Some(self)
    }

    /// Returns whether a value that selects the tokens is blank. The text of a token is parsed elsewhere.
    pub(crate) fn has_blank_value(&self) -> bool {
        let value = match &self.target {
            Target::JwtId(value)
            | Target::Session(value)
            | Target::Subject(value)
            | Target::Client(value) => Some(value),
            Target::Token(_) | Target::AllTokens => None,
        };
        value.into_iter().chain(&self.issuer).any(|value| is_blank(value))
    }

    pub(crate) fn is_verdicts_only(&self) -> bool {
        self.effect == Effect::Discard
    }

    /// Returns whether the given end is not later than `now`.
    pub(crate) fn has_ended(&self, now: i64) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Returns the record for one issuer.
    pub(crate) fn record(&self, issuer: &IssuerKey, times: RecordTimes) -> Record {
        let RecordTimes { now, latest, skew, tolerance, lifetime } = times;
        let until_now = matches!(self.target, Target::Subject(_) | Target::Client(_) | Target::AllTokens)
            .then(|| latest.saturating_add(skew).saturating_add(CLOCK_ALLOWANCE));
        let until = match (self.until, self.token_text()) {
            (Some(until), _) => until,
            // A JWT may live longer than the default. An earlier `exp` is not used, because it is not verified.
            (None, Some(token)) if self.effect == Effect::Reject => {
                let expiry =
                    JwtText::of(token).and_then(JwtText::claims).and_then(|claims| claims.expires_at());
                expiry.unwrap_or_default().max(now.saturating_add(lifetime))
            }
            (None, _) => now.saturating_add(lifetime),
        };
        Record {
            issuer: *issuer,
            key: self.key(issuer),
            effect: self.effect,
            issued_before: self.issued_before.or(until_now),
            until: until.saturating_add(tolerance),
        }
    }

    fn key(&self, issuer: &IssuerKey) -> RecordKey {
        match &self.target {
            Target::Token(token) => RecordKey::token(token),
            Target::JwtId(jti) => issuer.jwt_id(jti),
            Target::Session(sid) => issuer.session(sid),
            Target::Subject(subject) => issuer.subject(subject),
            Target::Client(client) => issuer.client(client),
            Target::AllTokens => issuer.all_tokens(),
        }
    }
}

/// Returns whether a text is empty or has only white space. No token has such a claim, so it names no token.
pub(crate) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// The times of a new record, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordTimes {
    /// The current time since 1970, by the local clock.
    pub(crate) now: i64,
    /// The later one of this time and that of the shared store, if there is one.
    pub(crate) latest: i64,
    /// The seconds by which the clock of the issuer is ahead.
    pub(crate) skew: i64,
    /// The seconds for which expired tokens are accepted.
    pub(crate) tolerance: i64,
    /// The lifetime of a record without a given end.
    pub(crate) lifetime: i64,
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = match self.target {
            Target::Token(_) => "token",
            Target::JwtId(_) => "jwt_id",
            Target::Session(_) => "session",
            Target::Subject(_) => "subject",
            Target::Client(_) => "client",
            Target::AllTokens => "all_tokens",
        };
        f.debug_struct("Revocation")
            .field("target", &target)
            .field("issuer", &self.issuer)
            .field("issued_before", &self.issued_before)
            .field("until", &self.until)
            .field("effect", &self.effect)
            .finish()
    }
}
