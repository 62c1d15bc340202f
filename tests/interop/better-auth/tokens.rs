//! better-auth: JWTs for a resource, opaque tokens without one, and status 500 for the introspection of a forged JWT.

use std::time::Duration;

use actix_protect_api::{
    ClientAuthentication, ProtectApiBuilder,
    test::{Algorithm, TestClock, TestKey},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;

use crate::{app::ProtectedApp, server::Server};

async fn find() -> Server {
    Server::find("better-auth").await
}

fn serve(builder: ProtectApiBuilder) -> ProtectedApp {
    ProtectedApp::serve(builder.build().unwrap())
}

/// Settings with the credentials of a client that better-auth named itself.
fn with_client(server: &Server, name: &str) -> ProtectApiBuilder {
    let secret = server.secret(name);
    let method = match name {
        "rs-post" => ClientAuthentication::client_secret_post(secret),
        _ => ClientAuthentication::client_secret_basic(secret),
    };
    server.without_client("http").client(server.client_id(name), method)
}

/// A JWT of this issuer with a key that it does not have.
fn with_unknown_key(server: &Server, number: u32) -> String {
    let kid = format!("unknown-{number}");
    let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid });
    let claims = json!({ "iss": server.issuer("http"), "aud": server.audience(), "exp": 4_102_444_800_u32 });
    TestKey::generate(Algorithm::EdDSA, &kid).jws(&header, &claims)
}

/// The token with a wrong signature.
fn tampered(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[0] ^= 1;
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

#[actix_web::test]
async fn a_jwt_for_the_resource_is_accepted_without_a_client() {
    let server = find().await;
    let app = serve(server.without_client("http"));

    let machine = app.get("/", server.token("jwt-valid")).await.claims();
    let user = app.get("/", server.token("user-jwt")).await.claims();

    assert_eq!(machine["client_id"], server.client_id("app"));
    assert_eq!(machine["sub"], machine["client_id"]);
    // A user's token is also for the userinfo endpoint.
    let userinfo = format!("{}/oauth2/userinfo", server.issuer("http"));
    assert_eq!(user["aud"], json!([server.audience(), userinfo]));
    assert_ne!(user["sub"], user["client_id"]);
}

#[actix_web::test]
async fn the_variables_of_the_guide_are_enough() {
    let server = find().await;
    let app = serve(server.without_client("http").require_at_jwt(true));

    app.get("/", server.token("jwt-valid")).await.claims();
    app.get("/", server.token("user-jwt")).await.claims();
    app.get("/", server.token("user-id")).await.assert_invalid_token();
}

#[actix_web::test]
async fn a_wrong_token_is_rejected() {
    let server = find().await;
    let (local, introspecting) = (
        serve(server.without_client("http")),
        serve(with_client(&server, "rs-basic").introspect_jwt_tokens(true)),
    );

    for app in [&local, &introspecting] {
        for name in ["jwt-wrong-aud", "user-id", "user-refresh"] {
            let answer = app.get("/", server.token(name)).await;
            assert_eq!(answer.status, 401, "{name}: {answer:?}");
        }
        app.get("/", "never-issued").await.assert_invalid_token();
    }
    for forged in [with_unknown_key(&server, 0), tampered(server.token("jwt-valid"))] {
        local.get("/", &forged).await.assert_invalid_token();
    }
}

#[actix_web::test]
async fn an_expired_jwt_is_rejected() {
    let server = find().await;
    let clock = TestClock::new();
    let app = serve(server.without_client("http").clock(clock.clone()));
    app.get("/", server.token("jwt-valid")).await.claims();

    clock.advance(Duration::from_secs(2 * 3600));

    app.get("/", server.token("jwt-valid")).await.assert_invalid_token();
}

#[actix_web::test]
async fn a_missing_scope_is_forbidden_and_named() {
    let server = find().await;

    for app in [
        serve(server.without_client("http")),
        serve(with_client(&server, "rs-basic").introspect_jwt_tokens(true)),
    ] {
        let answer = app.get("/write", server.token("jwt-valid")).await;

        answer.assert_insufficient();
        answer.assert_challenge(r#"scope="write""#);
        app.get("/write", server.token("jwt-write")).await.claims();
        app.get("/read-or-write", server.token("jwt-valid")).await.claims();
    }
}

#[actix_web::test]
async fn an_opaque_token_has_no_audience_and_only_its_client_may_introspect_it() {
    let server = find().await;
    let token = server.token("opaque-no-aud");

    let foreign = serve(with_client(&server, "rs-basic").dangerous().accept_missing_audience());
    let strict = serve(with_client(&server, "app"));
    let lenient = serve(with_client(&server, "app").dangerous().accept_missing_audience());

    foreign.get("/", token).await.assert_invalid_token();
    strict.get("/", token).await.assert_invalid_token();
    assert_eq!(lenient.get("/", token).await.claims()["scope"], "read");
    lenient.get("/", server.token("opaque-revoked")).await.assert_invalid_token();
    // The server answers `active: true` for it, unless the request contains the hint `access_token`.
    lenient.get("/", server.token("user-refresh")).await.assert_invalid_token();
}

#[actix_web::test]
async fn a_jwt_is_introspected_by_a_client_of_the_resource_with_either_method() {
    let server = find().await;
    let token = server.token("jwt-valid");

    for name in ["rs-basic", "rs-post"] {
        let app = serve(with_client(&server, name).introspect_jwt_tokens(true));
        // Only an introspection response has this member.
        assert_eq!(app.get("/", token).await.claims()["token_type"], "Bearer", "{name}");
    }
    let unlinked = serve(with_client(&server, "rs-unlinked").introspect_jwt_tokens(true));
    unlinked.get("/", token).await.assert_invalid_token();
}

/// The endpoint responds with status 500 to each of these tokens. Without the keys, the responses are 503, because the
/// token may be valid. They must not pause introspection for other callers.
#[actix_web::test]
async fn jwts_that_make_the_endpoint_fail_cost_other_callers_nothing() {
    let server = find().await;
    let endpoint = format!("{}/oauth2/introspect", server.issuer("http"));
    let app = serve(with_client(&server, "rs-basic").introspection_endpoint(endpoint));
    let (first, second) = (server.token("jwt-valid"), server.token("user-jwt"));
    let forged = tampered(first);

    for number in 0..20 {
        let seen = app.get("/", &with_unknown_key(&server, number)).await.status;
        assert_eq!(seen, 503, "the server no longer fails for an unknown kid");
        app.get("/", &forged).await.assert_our_fault(503);
        app.get("/", if number % 2 == 0 { first } else { second }).await.claims();
    }
}

#[actix_web::test]
async fn with_the_keys_a_forged_jwt_is_rejected_without_introspection() {
    let server = find().await;
    let app = serve(with_client(&server, "rs-basic").introspect_jwt_tokens(true));
    let forged = tampered(server.token("jwt-valid"));

    for number in 0..20 {
        app.get("/", &with_unknown_key(&server, number)).await.assert_invalid_token();
        app.get("/", &forged).await.assert_invalid_token();
        app.get("/", server.token("jwt-valid")).await.claims();
    }
}

#[actix_web::test]
async fn rejected_credentials_are_our_fault() {
    let server = find().await;
    let (basic, post) = (server.client_id("rs-basic"), server.client_id("rs-post"));

    for (client, method) in [
        (basic, ClientAuthentication::client_secret_basic("wrong")),
        (post, ClientAuthentication::client_secret_post("wrong")),
        ("unknown-client", ClientAuthentication::client_secret_basic("wrong")),
        // Registered for the other method.
        (basic, ClientAuthentication::client_secret_post(server.secret("rs-basic"))),
    ] {
        let app = serve(server.without_client("http").client(client, method));
        app.get("/", "opaque").await.assert_our_fault(500);
    }
}
