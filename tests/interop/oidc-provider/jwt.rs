//! JWT access tokens (RFC 9068), validated with the server's published keys.

use std::time::Duration;

use actix_protect_api::{ProtectApiBuilder, test::TestClock};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{app::ProtectedApp, server::Server};

const INTROSPECTION: &str = "/token/introspection";
const KEYS: &str = "/jwks";

async fn find() -> Server {
    Server::find("oidc-provider").await
}

fn serve(builder: ProtectApiBuilder) -> ProtectedApp {
    ProtectedApp::serve(builder.build().unwrap())
}

#[actix_web::test]
async fn every_asymmetric_algorithm_is_accepted_without_introspection() {
    let server = find().await;
    let app = serve(server.with_client("http"));

    for alg in ["rs256", "ps256", "es256", "es384", "eddsa", "ed25519"] {
        let answer = app.get("/", server.token(&format!("jwt-{alg}"))).await;
        assert_eq!(answer.status, 200, "{alg}: {answer:?}");
        let claims = answer.claims();
        assert_eq!(claims["iss"], server.issuer("http"), "{alg}");
        assert_eq!(claims["client_id"], "app", "{alg}");
    }
    assert_eq!(server.requests(INTROSPECTION).await, 0);
    assert_eq!(server.requests(KEYS).await, 1);
}

#[actix_web::test]
async fn no_client_credentials_are_needed() {
    let server = find().await;
    let app = serve(server.without_client("http"));

    let claims = app.get("/", server.token("user-jwt")).await.claims();

    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["groups"], json!(["staff", "ops"]));
}

#[actix_web::test]
async fn without_credentials_an_opaque_token_is_refused_without_a_call() {
    let server = find().await;
    let app = serve(server.without_client("http"));

    app.get("/", server.token("opaque-valid")).await.assert_invalid_token();
    assert_eq!(server.requests(INTROSPECTION).await, 0);
}

#[actix_web::test]
async fn a_token_with_a_symmetric_signature_is_refused() {
    let server = find().await;

    serve(server.without_client("http")).get("/", server.token("jwt-hs256")).await.assert_invalid_token();
}

#[actix_web::test]
async fn an_expired_token_is_refused() {
    let server = find().await;
    let app = serve(server.without_client("http").clock_tolerance(Duration::ZERO));

    app.get("/", server.token("jwt-expired")).await.assert_invalid_token();
}

#[actix_web::test]
async fn a_token_for_another_audience_is_refused() {
    let server = find().await;

    serve(server.without_client("http")).get("/", server.token("jwt-wrong-aud")).await.assert_invalid_token();
}

#[actix_web::test]
async fn an_encrypted_token_is_the_callers_fault() {
    let server = find().await;
    let token = server.token("jwt-encrypted");

    serve(server.without_client("http")).get("/", token).await.assert_invalid_token();
    // The server refuses to introspect it, with status 400. A stranger must not get a 5xx out of that.
    serve(server.with_client("http")).get("/", token).await.assert_invalid_token();
}

#[actix_web::test]
async fn what_only_looks_like_a_jwt_is_the_callers_fault() {
    let server = find().await;
    let (no_client, client) = (serve(server.without_client("http")), serve(server.with_client("http")));
    let segment = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let (none, twice) = (segment(r#"{"alg":"none"}"#), segment(r#"{"alg":"ES256","alg":"ES256"}"#));

    let mut wrong = Vec::new();
    for token in [
        format!("{none}.e30."),
        format!("{none}.e30"),
        format!("{none}.e30.AAAA.AAAA"),
        format!("{none}.e30.AAAA.AAAA.AAAA"),
        format!("{none}.AAAA.AAAA"),
        format!("{none}.A.A"),
        format!("{none}.."),
        format!("{none}...."),
        format!("{twice}.e30.AAAA"),
        none,
        "e30.e30.AAAA".to_owned(),
        "e30.AAAA.AAAA.AAAA.AAAA".to_owned(),
        "a.b.c".to_owned(),
        "a.b.c.d.e".to_owned(),
        "..".to_owned(),
        ".".to_owned(),
    ] {
        for app in [&no_client, &client] {
            let status = app.get("/", &token).await.status;
            if !matches!(status, 400 | 401) {
                wrong.push((status, token.clone()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[actix_web::test]
async fn a_tampered_token_is_refused() {
    let server = find().await;
    let app = serve(server.with_client("http"));
    let token = server.token("jwt-es256");
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let (_, other_payload) = server.token("jwt-wrong-aud").split_once('.').unwrap();
    let (other_payload, _) = other_payload.split_once('.').unwrap();

    for forged in
        [format!("{header}.{other_payload}.{signature}"), format!("{signed}."), format!("{signed}.AAAA")]
    {
        app.get("/", &forged).await.assert_invalid_token();
    }
    app.get("/", token).await.claims();
}

#[actix_web::test]
async fn a_missing_scope_is_forbidden_and_named() {
    let server = find().await;
    let app = serve(server.without_client("http"));

    let answer = app.get("/write", server.token("jwt-es256")).await;

    answer.assert_insufficient();
    answer.assert_challenge(r#"scope="write""#);
    app.get("/ops", server.token("jwt-es256")).await.claims();
    app.get("/finance", server.token("jwt-es256")).await.assert_forbidden();
}

#[actix_web::test]
async fn an_issuer_may_have_a_path_or_end_in_a_slash_and_others_are_refused() {
    let server = find().await;

    for (issuer, token) in
        [("path", "jwt-path-issuer"), ("slash", "jwt-slash-issuer"), ("https", "https-issuer-jwt")]
    {
        let app = serve(server.without_client(issuer));
        assert_eq!(app.get("/", server.token(token)).await.claims()["iss"], server.issuer(issuer));
        // signed with the same keys, but by another issuer
        app.get("/", server.token("jwt-es256")).await.assert_invalid_token();
    }
}

#[actix_web::test]
async fn a_token_bound_to_a_dpop_key_is_no_bearer_token() {
    let server = find().await;

    serve(server.without_client("http")).get("/", server.token("dpop-jwt")).await.assert_invalid_token();
}

#[actix_web::test]
async fn jwts_of_a_server_that_does_not_introspect_them_are_refused() {
    let server = find().await;
    let app = serve(server.with_client("http").introspect_jwt_tokens(true));

    app.get("/", server.token("jwt-es256")).await.assert_invalid_token();
    assert_eq!(server.requests(INTROSPECTION).await, 1);
}

#[actix_web::test]
async fn unavailable_keys_are_not_the_callers_fault() {
    let server = find().await;
    let app = serve(server.without_client("http"));

    server.fail_next(KEYS, json!({"status": 500})).await;

    app.get("/", server.token("jwt-es256")).await.assert_our_fault(503);
}

#[actix_web::test]
async fn an_added_key_is_found_and_the_old_one_still_counts() {
    let server = find().await;
    let clock = TestClock::new();
    let app = serve(server.without_client("http").clock(clock.clone()));
    let before = server.mint("es256").await;
    app.get("/", &before).await.claims();

    server.rotate("add").await;
    let after = server.mint("es256").await;
    assert_ne!(kid(&before), kid(&after));
    clock.advance(COOLDOWN);

    app.get("/", &after).await.claims();
    app.get("/", &before).await.claims();
    assert_eq!(server.requests(KEYS).await, 2);
}

#[actix_web::test]
async fn a_replaced_key_is_found_and_the_old_one_no_longer_counts() {
    let server = find().await;
    let clock = TestClock::new();
    let app = serve(server.without_client("http").clock(clock.clone()));
    let before = server.mint("es256").await;
    app.get("/", &before).await.claims();

    server.rotate("replace").await;
    let after = server.mint("es256").await;
    assert_ne!(kid(&before), kid(&after));
    clock.advance(COOLDOWN);

    app.get("/", &after).await.claims();
    app.get("/", &before).await.assert_invalid_token();
}

#[actix_web::test]
async fn a_key_replaced_under_its_old_name_is_found_once_the_keys_are_fetched_again() {
    let server = find().await;
    let clock = TestClock::new();
    let app = serve(server.without_client("http").clock(clock.clone()));
    let before = server.mint("es256").await;
    app.get("/", &before).await.claims();

    server.rotate("same_kid").await;
    let after = server.mint("es256").await;
    assert_eq!(kid(&before), kid(&after));
    clock.advance(COOLDOWN);

    app.get("/", &after).await.claims();
    app.get("/", &before).await.assert_invalid_token();
}

/// Past the default `jwks_cooldown`.
const COOLDOWN: Duration = Duration::from_secs(31);

fn kid(token: &str) -> Value {
    let (header, _) = token.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["kid"].clone()
}
