//! The claims that state the type of a token: an ID token or a refresh token is not an access token.

use crate::claims::object::{JsonObject, JsonValue};

/// Returns the claims in which servers name the type of a token: Cognito's `token_use`, the `token_type` of
/// introspection responses (RFC 7662 section 2.2), Keycloak's `typ`, Casdoor's `tokenType`, and `token_class`.
pub(crate) fn said_by<'m>(claims: &'m JsonObject<'_>) -> impl Iterator<Item = &'m str> {
    ["token_use", "token_type", "typ", "tokenType", "token_class"]
        .into_iter()
        .filter_map(|name| claims.text(name))
}

/// Returns whether the token has no `cnf`, and no `token_type` except `Bearer`.
pub(super) fn is_plain_bearer(members: &JsonObject<'_>) -> bool {
    let is_bearer = match members.get("token_type") {
        None => true,
        Some(JsonValue::Text(token_type)) => token_type.eq_ignore_ascii_case("bearer"),
        Some(JsonValue::Other(_)) => false,
    };
    is_bearer && members.get("cnf").is_none()
}

/// Returns whether a name is that of another token type. Names of token types are registered only in part. Only
/// known names of other types are rejected, so that an unknown name for an access token is accepted. A media type
/// other than `at+jwt` is always another type, as in the header.
pub(crate) fn says_another_type(said: &str) -> bool {
    /// The names in lower case, without separators.
    const TYPES: [&str; 31] = [
        "id",
        "idtoken",
        "idjag",
        "serializedid",
        "refresh",
        "refreshtoken",
        "offline",
        "offlineaccess",
        "offlinetoken",
        "logout",
        "logouttoken",
        "secevent",
        "userinfo",
        "code",
        "authcode",
        "authorizationcode",
        "devicecode",
        "usercode",
        "initialaccess",
        "initialaccesstoken",
        "registrationaccess",
        "registrationaccesstoken",
        "txntoken",
        "transactiontoken",
        "clientassertion",
        "clientauthentication",
        "authorizationrequest",
        "requestobject",
        "tokenintrospection",
        "saml1",
        "saml2",
    ];
    is_one_of(said, &TYPES) || (is_media_type(said) && !says_access_token(said))
}

pub(crate) fn says_access_token(said: &str) -> bool {
    is_one_of(said, &["bearer", "dpop", "access", "accesstoken", "at+jwt"])
}

/// Returns the rest of the text after a prefix, which is compared without case. Returns the whole text if it does
/// not start with the prefix.
pub(crate) fn without_prefix<'t>(text: &'t str, prefix: &str) -> &'t str {
    match text.split_at_checked(prefix.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(prefix) => rest,
        _ => text,
    }
}

/// Returns whether this is the media type of a kind of JWT, such as `logout+jwt` (RFC 8725 section 3.11).
fn is_media_type(said: &str) -> bool {
    said.len()
        .checked_sub(4)
        .and_then(|at| said.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case("+jwt"))
}

/// Returns whether a name is in the list. Also accepts the URI of RFC 8693 section 3, and the prefix of media types
/// (RFC 7515 section 4.1.9). `access-token`, `access_token` and `AccessToken` are the same name.
fn is_one_of(said: &str, types: &[&str]) -> bool {
    let name = without_prefix(without_prefix(said, "urn:ietf:params:oauth:token-type:"), "application/");
    types.iter().any(|one| letters(name).eq(one.bytes()))
}

fn letters(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().filter(|byte| !matches!(byte, b'_' | b'-' | b' ')).map(|byte| byte.to_ascii_lowercase())
}
