//! Checks who issued a token, for whom, and to which client.

use super::{Rules, quoted};
use crate::{
    claims::Claims,
    error::{AuthError, TokenFault},
};

/// Checks issuer, audience and client. The error sources contain the expected values, which are configuration, and
/// never values of the token. With `only_present`, an absent claim is accepted.
pub(super) fn check(
    claims: &Claims,
    rules: &Rules,
    issuer: &str,
    only_present: bool,
) -> Result<(), AuthError> {
    match claims.issuer() {
        Some(stated) if rules.accepts_issuer(stated, issuer) => {}
        Some(_) if rules.token_issuers.is_empty() => {
            return refused(TokenFault::Issuer, format!("expected {issuer:?}"));
        }
        Some(_) => return refused(TokenFault::Issuer, format!("expected {}", quoted(&rules.token_issuers))),
        None if only_present || rules.accept_missing_issuer => {}
        None => return refused(TokenFault::MissingClaim, "`iss`".to_owned()),
    }
    check_audience(claims, rules, only_present)?;
    check_client(claims, rules, only_present)
}

/// Checks the audience. It may be absent if only the clients are configured; see [`Rules::is_for_clients`].
fn check_audience(claims: &Claims, rules: &Rules, only_present: bool) -> Result<(), AuthError> {
    if claims.audience().is_empty() {
        if only_present || rules.accept_missing_audience || rules.is_for_clients() {
            return Ok(());
        }
        return refused(TokenFault::MissingClaim, "`aud`".to_owned());
    }
    if rules.audiences.iter().any(|audience| claims.audience().contains(audience)) {
        return Ok(());
    }
    let expected = match &*rules.audiences {
        [] => "no audience is configured, so none is expected".to_owned(),
        audiences => format!("expected {}", quoted(audiences)),
    };
    refused(TokenFault::Audience, expected)
}

fn check_client(claims: &Claims, rules: &Rules, only_present: bool) -> Result<(), AuthError> {
    if rules.allowed_clients.is_empty() {
        return Ok(());
    }
    match claims.client_id() {
        Some(client) if rules.allowed_clients.iter().any(|allowed| allowed == client) => Ok(()),
        Some(_) => refused(TokenFault::Client, format!("expected {}", quoted(&rules.allowed_clients))),
        None if only_present => Ok(()),
        None => refused(TokenFault::MissingClaim, "`client_id`".to_owned()),
    }
}

fn refused(fault: TokenFault, cause: String) -> Result<(), AuthError> {
    Err(AuthError::token(fault).with_source(cause))
}
