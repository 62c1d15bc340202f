//! Opaque tokens: every request is decided by introspection.

use std::time::Duration;

use actix_protect_api::ProtectApiBuilder;
use serde_json::{Value, json};

use crate::{app::ProtectedApp, server::Server};

const ENDPOINT: &str = "/token/introspection";

async fn find() -> Server {
    Server::find("oidc-provider").await
}

fn serve(builder: ProtectApiBuilder) -> ProtectedApp {
    ProtectedApp::serve(builder.build().unwrap())
}

#[actix_web::test]
async fn a_valid_token_opens_the_api_and_its_claims_reach_the_handler() {
    let server = find().await;
    let app = serve(server.with_client("http"));

    let claims = app.get("/", server.token("opaque-valid")).await.claims();

    assert_eq!(claims["iss"], server.issuer("http"));
    assert_eq!(claims["aud"], server.audience());
    assert_eq!(claims["client_id"], "app");
    assert_eq!(claims["scope"], "read");
    assert_eq!(claims["groups"], json!(["staff", "ops"]));
    assert_eq!(claims["tenant"], "t-1");
    assert_eq!(claims["amr_level"], 2);
    assert!(claims["exp"].is_i64() && claims.get("active").is_none(), "{claims}");
}

#[actix_web::test]
async fn a_machines_token_has_no_subject_and_a_users_token_has_one() {
    let server = find().await;
    let app = serve(server.with_client("http"));

    assert_eq!(app.get("/", server.token("opaque-valid")).await.claims().get("sub"), None);
    assert_eq!(app.get("/", server.token("user-opaque")).await.claims()["sub"], "alice");
}

#[actix_web::test]
async fn no_token_is_asked_for_without_an_error_code_and_without_a_call() {
    let server = find().await;
    let app = serve(server.with_client("http"));

    let answer = app.get_without_token("/").await;

    assert_eq!(answer.status, 401);
    let challenge = answer.challenge.unwrap();
    assert!(challenge.starts_with("Bearer") && !challenge.contains("error"), "{challenge}");
    assert_eq!(server.requests(ENDPOINT).await, 0);
}

#[actix_web::test]
async fn expired_revoked_and_unknown_tokens_are_refused() {
    let server = find().await;
    let app = serve(server.with_client("http"));

    for token in [server.token("opaque-expired"), server.token("opaque-revoked"), "never-issued"] {
        app.get("/", token).await.assert_invalid_token();
    }
    assert_eq!(server.requests(ENDPOINT).await, 3);
}

#[actix_web::test]
async fn a_token_for_another_audience_is_refused() {
    let server = find().await;
    let app = serve(server.with_client("http"));

    app.get("/", server.token("opaque-wrong-aud")).await.assert_invalid_token();
}

#[actix_web::test]
async fn a_token_without_audience_is_refused_unless_that_is_accepted() {
    let server = find().await;
    let token = server.token("opaque-no-aud");

    serve(server.with_client("http")).get("/", token).await.assert_invalid_token();

    let lenient = serve(server.with_client("http").dangerous().accept_missing_audience());
    assert_eq!(lenient.get("/", token).await.claims().get("aud"), None);
    lenient.get("/", server.token("opaque-wrong-aud")).await.assert_invalid_token();
}

#[actix_web::test]
async fn a_missing_scope_is_forbidden_and_named() {
    let server = find().await;
    let app = serve(server.with_client("http"));

    let answer = app.get("/write", server.token("opaque-valid")).await;
    answer.assert_insufficient();
    answer.assert_challenge(r#"scope="write""#);

    assert_eq!(app.get("/write", server.token("opaque-write")).await.claims()["scope"], "write");
    for token in ["opaque-valid", "opaque-write"] {
        app.get("/read-or-write", server.token(token)).await.claims();
    }
}

#[actix_web::test]
async fn a_missing_group_is_forbidden() {
    let server = find().await;
    let app = serve(server.with_client("http"));
    let token = server.token("opaque-valid");

    app.get("/ops", token).await.claims();
    app.get("/finance", token).await.assert_forbidden();
}

#[actix_web::test]
async fn an_expired_token_without_the_scope_is_unauthorized_not_forbidden() {
    let server = find().await;
    let app = serve(server.with_client("http"));

    app.get("/write", server.token("opaque-expired")).await.assert_invalid_token();
}

#[actix_web::test]
async fn an_issuer_may_have_a_path_or_end_in_a_slash() {
    let server = find().await;

    for (issuer, token) in [("path", "opaque-path-issuer"), ("slash", "opaque-slash-issuer")] {
        let app = serve(server.with_client(issuer));
        assert_eq!(app.get("/", server.token(token)).await.claims()["iss"], server.issuer(issuer));
        app.get("/", server.token("opaque-valid")).await.assert_invalid_token();
    }
}

#[actix_web::test]
async fn an_https_issuer_with_a_private_authority_is_reached() {
    let server = find().await;
    let app = serve(server.with_client("https"));

    let claims = app.get("/", server.token("https-issuer-opaque")).await.claims();

    assert_eq!(claims["iss"], server.issuer("https"));
    assert_eq!(claims["sub"], "alice");
}

#[actix_web::test]
async fn a_token_bound_to_a_dpop_key_is_no_bearer_token() {
    let server = find().await;
    let app = serve(server.with_client("http"));

    app.get("/", server.token("dpop-opaque")).await.assert_invalid_token();
}

#[actix_web::test]
async fn the_introspection_request_is_a_form_and_the_token_is_in_its_body_only() {
    let server = find().await;
    let app = serve(server.with_client("http"));
    let token = server.token("opaque-valid");
    app.get("/", token).await.claims();

    let sent = server.last_request(ENDPOINT).await;

    assert_eq!((&sent["method"], &sent["url"]), (&json!("POST"), &json!(ENDPOINT)));
    assert_eq!(sent["headers"]["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(sent["form"]["token"], token);
    assert!(sent["headers"]["accept"].as_str().unwrap().contains("application/json"), "{sent}");
    assert!(!sent["headers"].to_string().contains(token), "{sent}");
}

#[actix_web::test]
async fn without_a_cache_a_revocation_counts_at_once() {
    let server = find().await;
    let app = serve(server.with_client("http"));
    let token = server.mint("opaque").await;

    app.get("/", &token).await.claims();
    revoke(&server, &token).await;
    app.get("/", &token).await.assert_invalid_token();
}

#[actix_web::test]
async fn a_cached_verdict_is_not_asked_for_again_and_requirements_still_count() {
    let server = find().await;
    let app = serve(server.with_client("http").introspection_cache_duration(Duration::from_secs(60)));
    let token = server.token("opaque-valid");

    app.get("/", token).await.claims();
    app.get("/write", token).await.assert_insufficient();
    app.get("/finance", token).await.assert_forbidden();
    app.get("/", token).await.claims();

    assert_eq!(server.requests(ENDPOINT).await, 1);
}

#[actix_web::test]
async fn a_failing_server_is_unavailable_and_the_failure_is_not_remembered() {
    let server = find().await;
    let app = serve(server.with_client("http").introspection_cache_duration(Duration::from_secs(60)));
    let token = server.token("opaque-valid");

    for fault in [
        json!({"status": 500}),
        json!({"status": 429}),
        json!({"status": 200, "type": "application/json", "body": "{\"active\":"}),
        json!({"status": 200, "type": "application/json", "body": "{\"active\":\"true\"}"}),
    ] {
        server.fail_next(ENDPOINT, fault.clone()).await;
        let answer = app.get("/", token).await;
        assert_eq!(answer.status, 503, "{fault}: {answer:?}");
        answer.assert_our_fault(503);
    }
    app.get("/", token).await.claims();
}

#[actix_web::test]
async fn the_servers_retry_after_is_passed_on() {
    let server = find().await;
    let app = serve(server.with_client("http"));

    server.fail_next(ENDPOINT, json!({"status": 503, "headers": {"retry-after": "7"}})).await;
    let answer = app.get("/", server.token("opaque-valid")).await;

    answer.assert_our_fault(503);
    assert_eq!(answer.retry_after.as_deref(), Some("7"));
}

#[actix_web::test]
async fn a_server_that_does_not_answer_in_time_is_unavailable() {
    let server = find().await;
    let app = serve(server.with_client("http").response_timeout(Duration::from_millis(700)));
    let token = server.token("opaque-valid");
    app.get("/", token).await.claims();

    server.fail_next(ENDPOINT, json!({"delay_ms": 3000, "times": 2})).await;

    app.get("/", token).await.assert_our_fault(503);
}

#[actix_web::test]
async fn a_redirect_does_not_carry_the_credentials_away() {
    let server = find().await;
    let app = serve(server.with_client("http"));
    let elsewhere = format!("{}/elsewhere", server.issuer("http"));

    // The second redirect is the response to the health check.
    for _ in 0..2 {
        server.fail_next(ENDPOINT, json!({"status": 307, "headers": {"location": elsewhere}})).await;
    }

    app.get("/", server.token("opaque-valid")).await.assert_our_fault(500);
    assert_eq!(server.requests("/elsewhere").await, 0);
}

async fn revoke(server: &Server, token: &str) {
    let response = awc::Client::default()
        .post(format!("{}/token/revocation", server.issuer("http")))
        .basic_auth("app", "app-secret-0123456789abcdef0123456789abcdef")
        .send_form(&json!({ "token": token }))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
}

#[actix_web::test]
async fn metadata_of_another_issuer_is_our_fault() {
    let server = find().await;
    let app = serve(server.with_client("http"));
    let metadata =
        json!({"issuer": "https://other.example.test", "introspection_endpoint": server.issuer("http")});
    for document in ["/openid-configuration", "/oauth-authorization-server"] {
        let body = Value::to_string(&metadata);
        server.fail_next(document, json!({"status": 200, "type": "application/json", "body": body})).await;
    }

    app.get("/", server.token("opaque-valid")).await.assert_our_fault(500);
    assert_eq!(server.requests(ENDPOINT).await, 0);
}
