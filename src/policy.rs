//! Checks whether a valid token is accepted on a route: a pure function of claims, rules, requirements, time and
//! certificate. It runs on every request, also on a cache hit. Its result is never cached.

mod claim_rule;
mod parties;
mod required_claim;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub(crate) use self::{claim_rule::ClaimRule, parties::quoted, required_claim::RequiredClaim};

use crate::{
    certificate::{self, CertificateBinding, CertificateThumbprint},
    claims::{Claims, scope::Scope},
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
    pub(crate) groups: GroupsClaim,
    pub(crate) groups_match_all: bool,
    pub(crate) binding: CertificateBinding,
}

impl Rules {
    /// Returns whether tokens may have this `iss`. `issuer` is spelled as in the metadata.
    fn accepts_issuer(&self, stated: &str, issuer: &str) -> bool {
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

/// The location of the groups: a top-level claim by name, or any claim by JSON pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupsClaim {
    Name(String),
    /// The first reference token, unescaped, and the rest of the pointer.
    Pointer(String, String),
}

impl GroupsClaim {
    /// Parses the setting. A leading `/` makes it a pointer: `/realm_access/roles`.
    pub(crate) fn new(claim: &str) -> Self {
        let Some(pointer) = claim.strip_prefix('/') else { return Self::Name(claim.to_owned()) };
        let (first, rest) = pointer.find('/').map_or((pointer, ""), |slash| pointer.split_at(slash));
        Self::Pointer(first.replace("~1", "/").replace("~0", "~"), rest.to_owned())
    }

    /// Returns whether a pointer is well-formed (RFC 6901 section 3). A name is always well-formed.
    pub(crate) fn is_well_formed(claim: &str) -> bool {
        let mut escapes = claim.split('~').skip(1);
        !claim.starts_with('/') || escapes.all(|escape| escape.starts_with(['0', '1']))
    }

    fn find<'c>(&self, claims: &'c Claims) -> Option<&'c Value> {
        match self {
            Self::Name(name) => claims.get(name),
            Self::Pointer(first, rest) => claims.get(first)?.pointer(rest),
        }
    }
}

/// The requirements of one mount beyond a valid token. All of them must be met; an empty list requires nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requirements {
    pub(crate) all_scopes: Vec<Scope>,
    /// One scope of each list is required.
    pub(crate) any_scopes: Vec<Vec<Scope>>,
    /// One group of each list is required, or all of them if the rules require it.
    pub(crate) groups: Vec<Vec<String>>,
}

/// Checks issuer, audience, client, required claims, expiry, not-before, age, scopes, groups, claim rules and
/// certificate binding, in this order. So an expired token without the scope is rejected with 401, and a missing scope
/// with a wrong certificate with 403.
/// (The shape of the subject was checked when the claims were parsed.) `now` is in seconds since 1970; `issuer` is
/// spelled as in the metadata.
pub(crate) fn check(
    claims: &Claims,
    rules: &Rules,
    requirements: &Requirements,
    issuer: &str,
    now: i64,
    certificate: Option<&CertificateThumbprint>,
) -> Result<(), AuthError> {
    check_token(claims, rules, issuer, now)?;
    scopes(claims, requirements)?;
    groups(claims, rules, requirements)?;
    rules.custom.iter().try_for_each(|rule| rule.check(claims))?;
    certificate::check(claims, rules.binding, certificate)
        .map_err(|fault| AuthError::token(TokenFault::Binding).with_source(fault))
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

fn scopes(claims: &Claims, requirements: &Requirements) -> Result<(), AuthError> {
    let granted = claims.scopes();
    if !requirements.all_scopes.iter().all(|scope| granted.contains(scope.as_str())) {
        return Err(insufficient_scope(&requirements.all_scopes));
    }
    for any in &requirements.any_scopes {
        if !any.is_empty() && !any.iter().any(|scope| granted.contains(scope.as_str())) {
            return Err(insufficient_scope(any));
        }
    }
    Ok(())
}

/// Creates the error that names these scopes in its challenge.
pub(crate) fn insufficient_scope(scopes: &[Scope]) -> AuthError {
    let names: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
    AuthError::new(AuthErrorKind::InsufficientScope).with_required_scopes(names.join(" "))
}

fn groups(claims: &Claims, rules: &Rules, requirements: &Requirements) -> Result<(), AuthError> {
    let fulfilled = requirements.groups.iter().all(|wanted| in_groups(claims, rules, wanted));
    if fulfilled { Ok(()) } else { Err(AuthError::new(AuthErrorKind::InsufficientGroups)) }
}

/// Returns whether the subject is in one of these groups, or in all of them if the rules require it. An empty list
/// requires nothing.
pub(crate) fn in_groups<S: AsRef<str>>(claims: &Claims, rules: &Rules, wanted: &[S]) -> bool {
    let is_member = |group: &S| group_names(claims, &rules.groups).any(|name| name == group.as_ref());
    match wanted {
        [] => true,
        wanted if rules.groups_match_all => wanted.iter().all(is_member),
        wanted => wanted.iter().any(is_member),
    }
}

/// Returns the names of the token's groups: the strings of the claim, and the `id` and `name` of its objects. A
/// claim that is no array contains no group.
pub(crate) fn group_names<'c>(claims: &'c Claims, claim: &GroupsClaim) -> impl Iterator<Item = &'c str> {
    claim.find(claims).and_then(Value::as_array).into_iter().flatten().flat_map(|group| {
        let named = |member| group.get(member).and_then(Value::as_str);
        [group.as_str(), named("id"), named("name")].into_iter().flatten()
    })
}
