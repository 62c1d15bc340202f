//! Checks whether a valid token is accepted on a route: a pure function of claims, rules, requirements, time and
//! certificate. It runs on every request, also on a cache hit. Its result is never cached.

mod claim_rule;
mod groups;
mod missing;
mod parties;
mod required_claim;
mod requirements;
mod scope_union;
mod step_up;
#[cfg(test)]
mod tests;
mod trial;

pub(crate) use self::{
    claim_rule::ClaimRule,
    groups::{GroupsMapping, in_groups_with, missing_groups},
    missing::{expected, quoted},
    required_claim::RequiredClaim,
    requirements::Requirements,
    scope_union::ScopeUnion,
    step_up::StepUp,
    trial::{TrialPhase, TrialRules, start_of_day},
};
pub use self::{groups::GroupOptions, trial::Trial};

use crate::{
    certificate::{self, CertificateBinding, CertificateThumbprint},
    claims::{
        Claims,
        scope::{Scope, Scopes},
        scope_hierarchy::ScopeHierarchy,
        scope_mapping::ScopeMapping,
    },
    error::{AuthError, AuthErrorKind, TokenFault},
};

/// The rules for every token of one API.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rules {
    /// The accepted values of `iss`, compared byte by byte. If empty, `iss` must be the issuer of the metadata.
    pub(crate) token_issuers: Vec<String>,
    /// The audiences of this API. `aud` must contain one of them. Empty only if there are allowed clients.
    pub(crate) audiences: Vec<String>,
    /// Whether `iss` and `aud` may be absent. RFC 7662 makes them optional in introspection responses; accepting
    /// that is a decision of the operator.
    pub(crate) accept_missing_issuer: bool,
    pub(crate) accept_missing_audience: bool,
    /// The clients whose tokens are accepted; empty accepts every client.
    pub(crate) allowed_clients: Vec<String>,
    pub(crate) required_claims: Vec<RequiredClaim>,
    /// The longest time since `iat`, in seconds.
    pub(crate) max_token_age: Option<i64>,
    pub(crate) custom: Vec<ClaimRule>,
    /// Seconds by which the local clock is behind the issuer's clock. They are added to the current time.
    pub(crate) clock_skew: i64,
    /// The tolerance for `exp` and `nbf`, in seconds.
    pub(crate) clock_tolerance: i64,
    pub(crate) scopes: ScopeMapping,
    pub(crate) hierarchy: ScopeHierarchy,
    pub(crate) groups: GroupsMapping,
    pub(crate) groups_match_all: bool,
    pub(crate) binding: CertificateBinding,
}

impl Rules {
    /// Returns whether tokens may have this `iss`. `issuer` is spelled as in the metadata.
    pub(crate) fn accepts_issuer(&self, stated: &str, issuer: &str) -> bool {
        match &*self.token_issuers {
            [] => stated == issuer,
            accepted => accepted.iter().any(|one| one == stated),
        }
    }

    /// Returns whether the clients take the place of the audience: a token without `aud` is then accepted from them,
    /// and a token with any `aud` is rejected.
    fn is_for_clients(&self) -> bool {
        self.audiences.is_empty() && !self.allowed_clients.is_empty()
    }
}

/// Checks issuer, audience, client, required claims, expiry, not-before, age, scopes, groups, claim rules,
/// authentication of the user and certificate binding, in this order. So an expired token without the scope is rejected
/// with 401, and a missing scope with a wrong certificate with 403. If scope and authentication are insufficient, the
/// challenge for the authentication names both. (The shape of the subject was checked when the claims were parsed.)
///
/// `granted` are the scopes of the token; `now` is in seconds since 1970; `issuer` is spelled as in the metadata.
pub(crate) fn check(
    claims: &Claims,
    granted: &Scopes,
    rules: &Rules,
    requirements: &Requirements,
    issuer: &str,
    now: i64,
    certificate: Option<&CertificateThumbprint>,
) -> Result<(), AuthError> {
    check_token(claims, rules, issuer, now)?;
    let custom = || rules.custom.iter().try_for_each(|rule| rule.check(claims));
    check_in_order(claims, granted, rules, requirements, now, custom)?;
    certificate::check(claims, rules.binding, certificate)
        .map_err(|fault| AuthError::token(TokenFault::Binding).with_source(fault))
}

/// Checks only the requirements of a mount.
pub(crate) fn check_requirements(
    claims: &Claims,
    granted: &Scopes,
    rules: &Rules,
    requirements: &Requirements,
    now: i64,
) -> Result<(), AuthError> {
    check_in_order(claims, granted, rules, requirements, now, || Ok(()))
}

/// Checks the requirements of a mount, and the custom rules between them.
fn check_in_order(
    claims: &Claims,
    granted: &Scopes,
    rules: &Rules,
    requirements: &Requirements,
    now: i64,
    custom: impl FnOnce() -> Result<(), AuthError>,
) -> Result<(), AuthError> {
    let step_up = || requirements.step_up.check(claims, rules, now);
    scopes(claims, granted, rules, requirements).map_err(|error| match step_up() {
        Ok(()) => error,
        Err(both) => {
            let cause = format!("{}; {}", both.cause(), error.text());
            both.with_required_scopes(error.required_scopes()).with_source(cause)
        }
    })?;
    groups(claims, rules, requirements)?;
    custom()?;
    step_up()
}

/// Checks the part that is the same for every route: issuer, audience, client, required claims and times.
pub(crate) fn check_token(claims: &Claims, rules: &Rules, issuer: &str, now: i64) -> Result<(), AuthError> {
    parties::check(claims, rules, issuer, false)?;
    rules.required_claims.iter().try_for_each(|required| required.check(claims))?;
    if rules.max_token_age.is_some() && claims.issued_at().is_none() {
        return Err(AuthError::token(TokenFault::MissingClaim).with_source("`iat`"));
    }
    check_times(claims, rules, now)
}

/// Checks issuer, audience, client and times for the claims that are present. For a JWT that is introspected: the
/// response can contain the others, and the required claims are those of the response.
pub(crate) fn check_present(claims: &Claims, rules: &Rules, issuer: &str, now: i64) -> Result<(), AuthError> {
    parties::check(claims, rules, issuer, true)?;
    check_times(claims, rules, now)
}

fn check_times(claims: &Claims, rules: &Rules, now: i64) -> Result<(), AuthError> {
    // Times in claims end with the year 9999 and both settings are limited, so no sum can overflow.
    let now = now.saturating_add(rules.clock_skew);
    if claims.expires_at().is_some_and(|expires| expires <= now.saturating_sub(rules.clock_tolerance)) {
        return Err(AuthError::token(TokenFault::Expired));
    }
    if claims.not_before().is_some_and(|starts| starts > now.saturating_add(rules.clock_tolerance)) {
        return Err(AuthError::token(TokenFault::NotYetValid));
    }
    match (rules.max_token_age, claims.issued_at()) {
        (Some(most), Some(issued)) => check_age(issued, most, now, rules.clock_tolerance),
        _ => Ok(()),
    }
}

/// Checks the time since `iat`. A future `iat` is rejected, because the token would be accepted for longer.
fn check_age(issued: i64, most: i64, now: i64, tolerance: i64) -> Result<(), AuthError> {
    if issued > now.saturating_add(tolerance) {
        return Err(AuthError::token(TokenFault::NotYetValid).with_source("`iat` is in the future"));
    }
    if issued.saturating_add(most) <= now.saturating_sub(tolerance) {
        return Err(AuthError::token(TokenFault::TooOld));
    }
    Ok(())
}

fn scopes(
    claims: &Claims,
    granted: &Scopes,
    rules: &Rules,
    requirements: &Requirements,
) -> Result<(), AuthError> {
    let is_granted = |scope: &Scope| rules.hierarchy.grants(granted, scope.as_str());
    let is_met = |any: &&[Scope]| any.is_empty() || any.iter().any(is_granted);
    let all = requirements.all_scopes.iter().map(std::slice::from_ref);
    let lists = all.chain(requirements.any_scopes.iter().map(Vec::as_slice));
    // An empty list allocates nothing.
    let missing: Vec<&[Scope]> = lists.filter(|any| !is_met(any)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut union = ScopeUnion::new(&rules.hierarchy);
    union.add_requirements(requirements, Some(granted));
    Err(insufficient_scope(claims, rules, &union, &missing))
}

/// Creates the error that names the scopes of the union in its challenge. Its source names the missing ones (one of each
/// list), and describes the claims that were read, without their values.
pub(crate) fn insufficient_scope<S: AsRef<str>>(
    claims: &Claims,
    rules: &Rules,
    scopes: &ScopeUnion<'_>,
    missing: &[&[S]],
) -> AuthError {
    AuthError::new(AuthErrorKind::InsufficientScope)
        .with_required_scopes(scopes.to_string())
        .with_source(format!("{}; {}", expected(missing), rules.scopes.describe(claims)))
}

fn groups(claims: &Claims, rules: &Rules, requirements: &Requirements) -> Result<(), AuthError> {
    let missing: Vec<&[String]> =
        requirements.groups.iter().flat_map(|wanted| missing_groups(claims, rules, wanted)).collect();
    if missing.is_empty() { Ok(()) } else { Err(insufficient_groups(claims, rules, &missing)) }
}

/// Creates the error for missing groups, of which one of each list is required. Its source names them, and describes the
/// claims that were read, without their values.
pub(crate) fn insufficient_groups<S: AsRef<str>>(
    claims: &Claims,
    rules: &Rules,
    missing: &[&[S]],
) -> AuthError {
    AuthError::new(AuthErrorKind::InsufficientGroups).with_source(format!(
        "{}; {}",
        expected(missing),
        rules.groups.describe(claims)
    ))
}
