//! Reads a response of the introspection endpoint (RFC 7662 section 2.2).

use std::error::Error as _;

use serde_json::Value;

use crate::{
    cache::Verdict,
    claims::{
        Claims,
        object::{JsonObject, JsonValue, without_byte_order_mark},
        token_type,
    },
    error::{AuthError, AuthErrorKind, Evidence, SetupFault, TokenFault},
    issuer::http::{Reply, bad_answer},
};

/// Reads a response (RFC 7662 section 2.2).
pub(super) fn read(reply: &Reply) -> Result<Verdict, AuthError> {
    if !reply.is_ok() {
        return Err(refusal(reply));
    }
    if !reply.is_json() {
        let error = bad_answer("an introspection response that is not JSON by its content type");
        // Perhaps an error page of a gateway about this token. An empty response is no page.
        let is_page = !reply.body.is_empty();
        return Err(if is_page { error.possibly_token_specific(Evidence::Current) } else { error });
    }
    parse(&reply.body)
}

/// Classifies a response that is neither a verdict nor a server failure:
///
/// - 413, 414, 431, and 400 or 401 with an error code about the token (`invalid_token`, ...), are about the token;
/// - an error code about the client (`invalid_client`, ...) is about the configuration of this API;
/// - every other response may be about either (a gateway that rejects the token, a wrong endpoint). It is marked, and
///   [`Introspection::attribute`](super::Introspection::attribute) decides. A redirect and a 401 are more often about
///   the configuration, so for them a verdict from the same time is required.
fn refusal(reply: &Reply) -> AuthError {
    let members = JsonObject::read(without_byte_order_mark(&reply.body)).ok();
    let code = members.as_ref().and_then(|members| members.text("error")).filter(|code| is_error_code(code));
    let because = match code {
        Some(code) => format!("status {} ({code})", reply.status),
        None => format!("status {}", reply.status),
    };
    let refused = AuthError::setup(SetupFault::Refused).with_source(because);
    match (reply.status, code) {
        (
            _,
            Some(
                "invalid_client" | "unauthorized_client" | "invalid_client_id" | "invalid_client_credentials",
            ),
        ) => refused,
        (413 | 414 | 431, _)
        | (400 | 401, Some("unsupported_token_type" | "invalid_token" | "inactive_token")) => {
            unsupported(&refused)
        }
        (300..=399 | 401, _) => refused.possibly_token_specific(Evidence::Current),
        _ => refused.possibly_token_specific(Evidence::Recent),
    }
}

/// Returns the rejection as a fault of the token.
pub(super) fn unsupported(refusal: &AuthError) -> AuthError {
    let detail = refusal.source().map_or_else(String::new, |cause| format!(": {cause}"));
    AuthError::token(TokenFault::Unsupported)
        .with_source(format!("the server does not introspect such tokens{detail}"))
}

/// Returns whether the server's `error` may be logged: it is a word like those of the RFCs, and no token has this
/// form.
fn is_error_code(code: &str) -> bool {
    (1..=40).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// Parses a verdict. `active` must be the JSON boolean: a response with `"true"` is rejected.
fn parse(body: &[u8]) -> Result<Verdict, AuthError> {
    let body = without_byte_order_mark(body);
    let members = JsonObject::read(body).map_err(|error| {
        bad_answer(format!("an introspection response that is not a JSON object: {error}"))
    })?;
    match members.get("active") {
        Some(JsonValue::Other(Value::Bool(true))) => {}
        Some(JsonValue::Other(Value::Bool(false))) => return Ok(Verdict::Inactive),
        _ => return Err(bad_answer("an introspection response whose `active` is not a boolean")),
    }
    // The server sent the response, so a claim of a wrong type is the server's fault and not the caller's.
    let claims = Claims::from_introspection(&members, body)
        .map_err(|claim| bad_answer(format!("an introspection response in which {claim}")))?;
    if let Some(name) = misshapen(&members) {
        return Err(bad_answer(format!(
            "an introspection response in which the claim `{name}` is malformed"
        )));
    }
    if token_type::said_by(&members).any(token_type::says_another_type) {
        return Err(AuthError::new(AuthErrorKind::InvalidToken(TokenFault::Type)));
    }
    Ok(Verdict::Active(claims))
}

/// Returns the first member that [`Claims`] does not read and whose type is not the specified one.
fn misshapen(members: &JsonObject<'_>) -> Option<&'static str> {
    let is_other = |name: &str| matches!(members.get(name), Some(JsonValue::Other(_)));
    let is_no_object =
        |name: &str| members.get(name).is_some_and(|cnf| !matches!(cnf, JsonValue::Other(Value::Object(_))));
    let texts = ["token_type", "token_use", "typ"].into_iter().find(|name| is_other(name));
    texts.or_else(|| is_no_object("cnf").then_some("cnf"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::UpstreamFault;

    fn kind(body: &str) -> Result<Verdict, AuthErrorKind> {
        parse(body.as_bytes()).map_err(|error| error.kind())
    }

    #[test]
    fn active_must_be_the_boolean() {
        assert!(matches!(kind(r#"{"active":true,"sub":"alice"}"#), Ok(Verdict::Active(_))));
        assert_eq!(kind(r#"{"active":false}"#), Ok(Verdict::Inactive));
        assert_eq!(kind(r#"{"active":false,"exp":"nonsense"}"#), Ok(Verdict::Inactive));
        for broken in [
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":null}"#,
            "{}",
            r#"{"active":true,"active":true}"#,
            r#"{"active":false,"active":true}"#,
            r#"{"Active":true}"#,
            r#"[{"active":true}]"#,
            "true",
            "",
            "<html></html>",
        ] {
            assert_eq!(kind(broken), Err(AuthErrorKind::Upstream(UpstreamFault::BadAnswer)), "{broken}");
        }
    }

    #[test]
    fn a_claim_of_an_odd_shape_is_the_servers_fault() {
        for claim in [
            r#""exp":"1900000000""#,
            r#""exp":-5"#,
            r#""exp":true"#,
            r#""exp":1e400"#,
            r#""nbf":"0""#,
            r#""nbf":9223372036854775807"#,
            r#""iat":[1]"#,
            r#""iss":7"#,
            r#""sub":7"#,
            r#""client_id":{}"#,
            r#""azp":false"#,
            r#""aud":{"a":1}"#,
            r#""aud":["a",1]"#,
            r#""scope":1"#,
            r#""scp":[null]"#,
            r#""token_type":7"#,
            r#""token_use":["id"]"#,
            r#""typ":{}"#,
            r#""cnf":"x""#,
            r#""cnf":[]"#,
        ] {
            let body = format!("{{\"active\":true,{claim}}}");
            assert_eq!(kind(&body), Err(AuthErrorKind::Upstream(UpstreamFault::BadAnswer)), "{claim}");
        }
        for other in [r#""token_type":"refresh_token""#, r#""token_use":"id""#] {
            let body = format!("{{\"active\":true,{other}}}");
            assert_eq!(kind(&body), Err(AuthErrorKind::InvalidToken(TokenFault::Type)), "{other}");
        }
        let error = parse(br#"{"active":true,"sub":71234}"#).unwrap_err();
        let cause = error.source().unwrap().to_string();
        assert!(cause.contains("`sub`") && !cause.contains("71234"), "{cause}");
    }

    #[test]
    fn an_error_code_may_be_logged_only_if_it_is_a_word() {
        for code in ["invalid_client", "invalid_request", "x"] {
            assert!(is_error_code(code), "{code}");
        }
        for other in ["", "Zx9-opaque_token", "invalid client", "invalid_client\n", "é", &"a".repeat(41)] {
            assert!(!is_error_code(other), "{other}");
        }
    }

    #[test]
    fn active_is_not_among_the_claims() {
        let Ok(Verdict::Active(claims)) = kind(r#"{"active":true,"sub":"alice"}"#) else { panic!("refused") };
        assert_eq!(claims.get("active"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30_000))]

        #[test]
        fn no_bytes_panic_and_only_true_is_active(bytes in prop::collection::vec(any::<u8>(), 0..64), active in "[a-z0-9\"\\[\\]{}., -]{0,12}") {
            let _ = parse(&bytes);
            let body = format!("{{\"active\":{active}}}");
            if let Ok(Verdict::Active(_)) = parse(body.as_bytes()) {
                let flag = serde_json::from_str::<Value>(&body).unwrap();
                prop_assert_eq!(&flag["active"], &Value::Bool(true));
            }
        }
    }
}
