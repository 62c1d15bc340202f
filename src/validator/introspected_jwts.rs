//! JWTs that are introspected too: always, or while the revocations of the shared store cannot be read.

use std::time::Duration;

use super::Validator;
use crate::{
    bearer::BearerToken,
    deadline::Deadline,
    error::AuthError,
    jwt::{self, JwtOutcome, JwtValidator, VerifiedJwt},
    settings::JwtsWhenBlind,
};

impl Validator {
    /// Returns the treatment of locally validated JWTs at this time on the monotonic clock.
    pub(super) fn jwts_now(&self, now: Duration) -> JwtsWhenBlind {
        match &self.replica {
            Some(replica) if !replica.reads_records(now) => self.jwts_when_blind,
            _ => JwtsWhenBlind::Accept,
        }
    }

    /// Verifies a token that must be introspected too. Returns `None` for an opaque token, and if there are no keys.
    pub(super) async fn verified_jwt(
        &self,
        has_keys: bool,
        token: &BearerToken,
        client: &impl Fn() -> awc::Client,
        deadline: Deadline,
    ) -> Result<Option<VerifiedJwt>, AuthError> {
        let jwts_now = self.jwts_now(self.telemetry.clock.monotonic());
        let introspects =
            |local: &&JwtValidator| local.introspects() || jwts_now == JwtsWhenBlind::Introspect;
        let Some(local) = self.local(has_keys).filter(introspects) else { return Ok(None) };
        if !jwt::may_be_jwt(token.as_str()) {
            return Ok(None);
        }
        let tag = local.tag(token.as_str());
        // If the keys cannot be fetched, half of the time is left for the introspection.
        let validating = local.validate(tag, token.as_str(), &self.metadata, client, deadline.half(), true);
        match Box::pin(validating).await? {
            JwtOutcome::Introspect(jwt) => Ok(jwt),
            JwtOutcome::Verified(..) => Ok(None),
        }
    }
}
