//! RFC 6750 section 2.1 over real sockets: which header fields contain a bearer token.

use actix_protect_api::test::{Endpoint, TestIssuer};
use actix_web::{App, web};
use serde_json::json;

use crate::support::app::{Answer, INVALID, MALFORMED, MISSING, TestApp, protect, serve, whoami};

/// An app with one route, and a good token for it.
fn app() -> (TestIssuer, TestApp, String) {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || App::new().wrap(protect.clone()).default_service(web::to(whoami)));
    let token = issuer.opaque(json!({ "sub": "alice" }));
    (issuer, app, token)
}

async fn with_headers(app: &TestApp, values: &[&[u8]]) -> Answer {
    let call = app.get("/");
    values.iter().fold(call, |call, value| call.header("Authorization", value)).send().await
}

#[actix_web::test]
async fn the_letter_case_of_the_scheme_does_not_matter() {
    let (_issuer, app, token) = app();
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        for spaces in [" ", "   "] {
            let value = format!("{scheme}{spaces}{token}");
            with_headers(&app, &[value.as_bytes()]).await.is(200, "alice");
        }
    }
    app.get("/").header("aUTHORIZATION", format!("Bearer {token}")).send().await.is(200, "alice");
}

#[actix_web::test]
async fn no_header_or_another_scheme_is_challenged_without_an_error_code() {
    let (issuer, app, token) = app();
    app.get("/").send().await.refuses(MISSING);
    for value in ["", "Basic YTpi", "DPoP abc", "Digest username=\"a\"", "Bearerish abc", &token] {
        with_headers(&app, &[value.as_bytes()]).await.refuses(MISSING);
    }
    assert_eq!(issuer.count(Endpoint::Introspection), 0);
}

#[actix_web::test]
async fn malformed_credentials_are_a_bad_request_without_a_call() {
    let (issuer, app, token) = app();
    for value in [
        b"Bearer".to_vec(),
        b"bearer".to_vec(),
        format!("Bearer\t{token}").into(),
        format!("Bearer \t{token}").into(),
        format!("Bearer {token} trailing").into(),
        format!("Bearer {token},").into(),
        format!("Bearer {token}, Bearer {token}").into(),
        format!("Bearer {token},Basic YTpi").into(),
        format!("Bearer \"{token}\"").into(),
        format!("Bearer token={token}").into(),
        format!("Bearer {token}\u{a0}").into(),
        [b"Bearer\xa0", token.as_bytes()].concat(),
        [b"Bearer ", token.as_bytes(), b"\xff"].concat(),
        "Bearer t\u{f6}ken".into(),
    ] {
        with_headers(&app, &[&value]).await.refuses(MALFORMED);
    }
    assert_eq!(issuer.count(Endpoint::Introspection), 0);
}

#[actix_web::test]
async fn white_space_around_the_value_is_not_part_of_it() {
    let (_issuer, app, token) = app();
    with_headers(&app, &[format!("  Bearer {token} \t ").as_bytes()]).await.is(200, "alice");
}

#[actix_web::test]
async fn two_authorization_headers_are_a_bad_request_whatever_they_hold() {
    let (issuer, app, token) = app();
    let good = format!("Bearer {token}");
    let good = good.as_bytes();
    for pair in [
        [good, good],
        [good, b"Bearer another"],
        [good, b""],
        [b"", good],
        [good, b"Basic YTpi"],
        [b"Basic YTpi", good],
    ] {
        with_headers(&app, &pair).await.refuses(MALFORMED);
    }
    app.get("/").header("Authorization", good).header("AUTHORIZATION", good).send().await.refuses(MALFORMED);
    assert_eq!(issuer.count(Endpoint::Introspection), 0);
}

/// actix rejects these before any middleware. They must not be accepted, and must be reported as the caller's fault.
#[actix_web::test]
async fn a_folded_header_and_control_characters_are_never_accepted() {
    let (issuer, app, token) = app();
    for value in [
        format!("Bearer\r\n {token}").into_bytes(),
        format!("Bearer\r\n\t{token}").into(),
        format!("Bearer {token}\0").into(),
        format!("Bearer {token}\x7f").into(),
        format!("Bearer {token}\x0b").into(),
    ] {
        let answer = with_headers(&app, &[&value]).await;
        assert!((400..500).contains(&answer.status), "{value:?}: {answer:?}");
    }
    let spaced = app.get("/").header("Authorization ", format!("Bearer {token}")).send().await;
    assert!((400..500).contains(&spaced.status), "{spaced:?}");
    assert_eq!(issuer.count(Endpoint::Introspection), 0);
}

#[actix_web::test]
async fn a_token_past_the_maximum_length_is_a_bad_request() {
    let (issuer, app, _) = app();
    app.get("/").token(&"a".repeat(16 * 1024)).send().await.refuses(INVALID);
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
    app.get("/").token(&"a".repeat(16 * 1024 + 1)).send().await.refuses(MALFORMED);
    app.get("/").token(&".".repeat(64 * 1024)).send().await.refuses(MALFORMED);
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
}

#[actix_web::test]
async fn a_header_of_200_kib_is_the_callers_fault_and_the_server_goes_on() {
    let (_issuer, app, token) = app();
    let answer = app.get("/").token(&"a".repeat(200 * 1024)).send().await;
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    app.get("/").token(&token).send().await.is(200, "alice");
}

#[actix_web::test]
async fn tokens_in_the_query_or_in_a_form_are_ignored() {
    let (issuer, app, token) = app();
    app.get(&format!("/?access_token={token}")).send().await.refuses(MISSING);
    let form = format!("access_token={token}");
    app.post("/").body("application/x-www-form-urlencoded", &form).send().await.refuses(MISSING);
    assert_eq!(issuer.count(Endpoint::Introspection), 0);
    // If there is a header, they have no effect.
    app.get("/?access_token=another").token(&token).send().await.is(200, "alice");
    app.get(&format!("/?access_token={token}")).token("another").send().await.refuses(INVALID);
}

#[actix_web::test]
async fn a_refusal_of_head_has_the_headers_of_get_and_no_body() {
    let (_issuer, app, token) = app();
    for (value, (status, challenge, _)) in [
        (None, MISSING),
        (Some("Bearer unknown-token".to_owned()), INVALID),
        (Some("Bearer".to_owned()), MALFORMED),
    ] {
        let call = app.call("HEAD", "/");
        let call = if let Some(value) = value { call.header("Authorization", value) } else { call };
        let answer = call.send().await;
        answer.is(status, "");
        assert_eq!(answer.challenge(), challenge);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    app.call("HEAD", "/").token(&token).send().await.is(200, "");
}

#[actix_web::test]
async fn an_answer_to_a_good_token_carries_no_challenge() {
    let (_issuer, app, token) = app();
    let answer = app.get("/").token(&token).send().await;
    assert_eq!(answer.challenge(), None);
    assert_eq!(answer.header("cache-control"), None, "caching of good answers is the app's affair");
}

#[actix_web::test]
async fn every_method_is_protected() {
    let (_issuer, app, token) = app();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X-CUSTOM"] {
        app.call(method, "/").send().await.refuses(MISSING);
        app.call(method, "/").token(&token).send().await.is(200, "alice");
    }
}
