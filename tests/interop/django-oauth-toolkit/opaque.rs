//! django-oauth-toolkit: opaque tokens, answers without `iss`, the introspection endpoint in the RFC 8414 metadata only.

use actix_protect_api::{ClientAuthentication, ProtectApiBuilder};
use serde_json::json;

use crate::{app::ProtectedApp, server::Server};

async fn find() -> Server {
    Server::find("django-oauth-toolkit").await
}

fn serve(builder: ProtectApiBuilder) -> ProtectedApp {
    ProtectedApp::serve(builder.build().unwrap())
}

#[actix_web::test]
async fn a_valid_token_opens_the_api_once_a_missing_issuer_is_accepted() {
    let server = find().await;
    let token = server.token("opaque-valid");

    serve(server.with_client("http")).get("/", token).await.assert_invalid_token();

    let app = serve(server.with_client("http").accept_missing_issuer(true));
    let claims = app.get("/", token).await.claims();
    assert_eq!((claims.get("iss"), claims.get("sub")), (None, None));
    assert_eq!(claims["client_id"], "app");
    assert_eq!(claims["aud"], json!([server.audience()]));
}

#[actix_web::test]
async fn expired_revoked_and_unknown_tokens_are_refused() {
    let server = find().await;
    let app = serve(server.with_client("http").accept_missing_issuer(true));

    for token in [server.token("opaque-expired"), server.token("opaque-revoked"), "never-issued"] {
        app.get("/", token).await.assert_invalid_token();
    }
}

#[actix_web::test]
async fn one_of_two_audiences_is_enough_and_another_one_is_not() {
    let server = find().await;
    let app = serve(server.with_client("http").accept_missing_issuer(true));

    app.get("/", server.token("opaque-two-aud")).await.claims();
    app.get("/", server.token("opaque-wrong-aud")).await.assert_invalid_token();
}

#[actix_web::test]
async fn a_token_without_audience_is_refused_unless_that_is_accepted() {
    let server = find().await;
    let strict = serve(server.with_client("http").accept_missing_issuer(true));
    let lenient =
        serve(server.with_client("http").accept_missing_issuer(true).dangerous().accept_missing_audience());

    for name in ["opaque-no-aud", "opaque-no-client", "opaque-no-scope", "user-opaque"] {
        strict.get("/", server.token(name)).await.assert_invalid_token();
        lenient.get("/", server.token(name)).await.claims();
    }
    assert_eq!(lenient.get("/", server.token("user-opaque")).await.claims()["username"], "alice");
}

#[actix_web::test]
async fn a_missing_scope_is_forbidden_and_named() {
    let server = find().await;
    let app = serve(server.with_client("http").accept_missing_issuer(true));

    let answer = app.get("/write", server.token("opaque-valid")).await;

    answer.assert_insufficient();
    answer.assert_challenge(r#"scope="write""#);
    app.get("/write", server.token("opaque-write")).await.claims();
}

#[actix_web::test]
async fn both_ways_to_send_the_secret_are_accepted() {
    let server = find().await;

    for (client, authentication) in [
        ("rs-basic", ClientAuthentication::client_secret_basic(server.secret("rs-basic"))),
        ("rs-post", ClientAuthentication::client_secret_post(server.secret("rs-post"))),
    ] {
        let builder =
            server.without_client("http").client(client, authentication).accept_missing_issuer(true);
        serve(builder).get("/", server.token("opaque-valid")).await.claims();
    }
}

#[actix_web::test]
async fn refused_credentials_are_our_fault() {
    let server = find().await;

    for (client, authentication) in [
        ("rs-basic", ClientAuthentication::client_secret_basic("wrong")),
        ("rs-post", ClientAuthentication::client_secret_post("wrong")),
        ("rs-unheard-of", ClientAuthentication::client_secret_basic("wrong")),
    ] {
        let builder =
            server.without_client("http").client(client, authentication).accept_missing_issuer(true);
        serve(builder).get("/", server.token("opaque-valid")).await.assert_our_fault(500);
    }
}
