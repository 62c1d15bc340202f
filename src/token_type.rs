//! What a token says of its own type: an ID token or a refresh token opens no API.

use crate::json::Members;

/// The claims in which servers name the type of a token: Cognito's `token_use`, the `token_type` of introspection answers
/// (RFC 7662 section 2.2), Keycloak's `typ`, Casdoor's `tokenType`, and `token_class`.
pub(crate) fn said_by<'m>(claims: &'m Members<'_>) -> impl Iterator<Item = &'m str> {
    ["token_use", "token_type", "typ", "tokenType", "token_class"]
        .into_iter()
        .filter_map(|name| claims.text(name))
}

/// What servers call the types of their tokens is registered nowhere: refused is what is known to be another type, so that
/// an unknown name for an access token does not close the API.
pub(crate) fn says_another_type(said: &str) -> bool {
    const TYPES: [&str; 16] = [
        "id",
        "id_token",
        "idtoken",
        "id+jwt",
        "refresh",
        "refresh_token",
        "refreshtoken",
        "offline",
        "offline_access",
        "logout",
        "logout_token",
        "logout+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "initialaccesstoken",
        "registrationaccesstoken",
    ];
    is_one_of(said, &TYPES)
}

pub(crate) fn says_access_token(said: &str) -> bool {
    is_one_of(
        said,
        &["bearer", "dpop", "access", "access_token", "accesstoken", "at+jwt", "application/at+jwt"],
    )
}

/// Also as the URI of RFC 8693 section 3.
fn is_one_of(said: &str, types: &[&str]) -> bool {
    let name = said.strip_prefix("urn:ietf:params:oauth:token-type:").unwrap_or(said);
    // `access-token` and `access_token` are one name.
    types.iter().any(|one| {
        one.len() == name.len()
            && one
                .bytes()
                .zip(name.bytes())
                .all(|(one, said)| one.eq_ignore_ascii_case(&said) || (one == b'_' && said == b'-'))
    })
}
