//! The parts of a token that a lease keeps. They are few, because there may be many streams.

use crate::{
    bearer::BearerToken,
    claims::{Claims, scope::Scopes, scope_hierarchy::ScopeHierarchy},
    error::{AuthError, AuthErrorKind, TokenFault},
    policy::Rules,
    protect_api::state::State,
    revocation::{IssuerKey, RecordKey, TokenMarks},
    validator::ValidToken,
};

pub(super) struct Grant {
    pub(super) marks: TokenMarks,
    /// The time at which the token expires, in seconds since 1970 by the local clock.
    pub(super) expires_at: i64,
    /// A digest of issuer and subject, or of issuer and client if the token has no subject.
    holder: Option<RecordKey>,
    is_bound: bool,
    /// The granted scopes, separated by spaces.
    scopes: Box<str>,
}

impl Grant {
    pub(super) fn new(state: &State, token: &BearerToken, valid: &ValidToken) -> Self {
        let ValidToken { claims, .. } = valid;
        let issuer = IssuerKey::new(valid.issuer());
        let holder = claims.subject().map(|subject| issuer.subject(subject));
        let (marks, jwt_expires_at) = state.validator.revocations.marks(token.as_str(), claims);
        Self {
            marks,
            expires_at: expiry(claims, jwt_expires_at, &state.settings.rules),
            holder: holder.or_else(|| claims.client_id().map(|client| issuer.client(client))),
            is_bound: claims.has_cnf(),
            scopes: valid.scopes().to_string().into(),
        }
    }

    pub(super) fn is_bound(&self) -> bool {
        self.is_bound
    }

    /// Checks that a new token, with this grant, may take the place of this one. Its certificate was checked before: it is that
    /// of the same connection.
    pub(super) fn check_successor(
        &self,
        new: &Self,
        granted: &Scopes,
        hierarchy: &ScopeHierarchy,
    ) -> Result<(), AuthError> {
        if self.holder.is_none() || self.holder != new.holder {
            return Err(AuthError::token(TokenFault::ClaimValue)
                .with_source("expected a token of the same issuer and subject as the lease"));
        }
        if self.is_bound != new.is_bound {
            return Err(AuthError::token(TokenFault::Binding)
                .with_source("expected a token with the same certificate binding as the lease"));
        }
        if !self.scopes.split_ascii_whitespace().all(|scope| hierarchy.grants(granted, scope)) {
            return Err(AuthError::new(AuthErrorKind::InsufficientScope)
                .with_required_scopes(&*self.scopes)
                .with_source("expected the scopes of the lease"));
        }
        Ok(())
    }
}

/// Returns the time at which a token expires by the local clock. The tolerance of single requests does not apply. The response to
/// the introspection of a JWT does not extend it.
fn expiry(claims: &Claims, jwt_expires_at: Option<i64>, rules: &Rules) -> i64 {
    let too_old = rules.max_token_age.zip(claims.issued_at());
    let too_old = too_old.map(|(most, issued_at)| issued_at.saturating_add(most));
    let ends = [claims.expires_at(), jwt_expires_at, too_old].into_iter().flatten();
    ends.min().map_or(i64::MAX, |end| end.saturating_sub(rules.clock_skew))
}
