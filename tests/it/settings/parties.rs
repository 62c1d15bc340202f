//! For whom a token was issued: clients, required claims and their values, the age, and rules of the application.

use actix_protect_api::{Claims, Clock as _, ProtectApi, ProtectApiBuilder, test::TestIssuer};
use serde_json::json;

use crate::support::{
    api::protected,
    app::TestApp,
    service::{introspecting, timed_issuer},
    time::seconds,
};

fn serving(builder: ProtectApiBuilder) -> TestApp {
    protected(builder.build().unwrap())
}

async fn status(app: &TestApp, token: &str) -> u16 {
    app.get("/").token(token).send().await.status
}

/// Returns the status for a JWT and for an opaque token with these claims.
async fn statuses(app: &TestApp, issuer: &TestIssuer, claims: &serde_json::Value) -> [u16; 2] {
    let tokens = [issuer.jwt(claims.clone()), issuer.opaque(claims.clone())];
    [status(app, &tokens[0]).await, status(app, &tokens[1]).await]
}

#[actix_web::test]
async fn without_an_audience_only_tokens_of_the_clients_are_accepted() {
    let issuer = TestIssuer::start();
    let code = introspected(&issuer, ProtectApi::builder_for_clients(issuer.issuer(), ["spa", "cli"]));
    let variables = [("X_TENANT_DOMAIN", issuer.issuer()), ("X_ALLOWED_CLIENTS", "spa cli")];
    let variables = introspected(&issuer, ProtectApi::builder_from_variables("X_", variables));
    for app in [serving(code), serving(variables)] {
        for (claims, expected) in [
            (json!({ "aud": null, "client_id": "spa", "token_use": "access" }), 200),
            (json!({ "aud": null, "client_id": "cli" }), 200),
            (json!({ "aud": null, "client_id": "other" }), 401),
            (json!({ "aud": null, "client_id": null }), 401),
            (json!({ "aud": "spa", "client_id": "spa" }), 401),
            (json!({ "client_id": "spa" }), 401),
        ] {
            assert_eq!(statuses(&app, &issuer, &claims).await, [expected; 2], "{claims}");
        }
    }
}

/// Adds the credentials of the test issuer's client.
fn introspected(issuer: &TestIssuer, builder: ProtectApiBuilder) -> ProtectApiBuilder {
    let secret = actix_protect_api::ClientAuthentication::client_secret_post(issuer.client_secret());
    builder.client(issuer.client_id(), secret)
}

#[actix_web::test]
async fn with_an_audience_it_is_checked_as_well_as_the_client() {
    let issuer = TestIssuer::start();
    let app = serving(introspecting(&issuer).allowed_clients(["spa"]));
    for (claims, expected) in [
        (json!({ "client_id": "spa" }), 200),
        (json!({ "client_id": null, "azp": "spa" }), 200),
        (json!({ "client_id": "other" }), 401),
        (json!({ "client_id": "spa", "aud": null }), 401),
        (json!({ "client_id": "spa", "aud": "https://other.example.test" }), 401),
    ] {
        assert_eq!(statuses(&app, &issuer, &claims).await, [expected; 2], "{claims}");
    }
}

#[test]
fn an_audience_or_clients_are_required() {
    let none: [&str; 0] = [];
    let builder = || ProtectApi::builder("https://as.example.test", "my-api");
    for (wrong, name) in [
        (ProtectApi::builder_for_clients("https://as.example.test", none), "allowed_clients"),
        (ProtectApi::builder_for_clients("https://as.example.test", [" "]), "allowed_clients"),
        (builder().allowed_clients(none), "allowed_clients"),
        (builder().allowed_clients(["spa"]).audience(" "), "audience"),
        (builder().audiences(none), "audience"),
        (builder().audiences(none).dangerous().accept_missing_audience(), "audience"),
        (builder().require_claim("tid", none), "require_claim"),
        (builder().require_claim(" ", ["a"]), "required_claims"),
        (builder().max_token_age(std::time::Duration::from_millis(1500)), "max_token_age"),
    ] {
        let error = wrong.build().unwrap_err();
        let names: Vec<_> = error.problems().iter().map(|problem| problem.name.as_str()).collect();
        assert_eq!(names, [name]);
    }
}

#[actix_web::test]
async fn required_claims_have_their_values() {
    let issuer = TestIssuer::start();
    let code = introspecting(&issuer).require_claim("tid", ["a", "b"]).require_claim("level", ["3"]);
    let variables = [
        ("X_TENANT_DOMAIN", issuer.issuer()),
        ("X_AUDIENCE", issuer.audience()),
        ("X_REQUIRED_CLAIMS", "tid=a, tid=b, level=3"),
    ];
    let variables = introspected(&issuer, ProtectApi::builder_from_variables("X_", variables));
    for app in [serving(code), serving(variables)] {
        for (claims, expected) in [
            (json!({ "tid": "a", "level": 3 }), 200),
            (json!({ "tid": ["x", "b"], "level": "3" }), 200),
            (json!({ "tid": "c", "level": 3 }), 401),
            (json!({ "tid": "a", "level": 4 }), 401),
            (json!({ "tid": "a" }), 401),
        ] {
            assert_eq!(statuses(&app, &issuer, &claims).await, [expected; 2], "{claims}");
        }
    }
}

#[actix_web::test]
async fn required_claims_keep_the_values_that_are_required() {
    let issuer = TestIssuer::start();
    let app = serving(introspecting(&issuer).require_claim("tid", ["a"]).required_claims(["jti2"]));
    assert_eq!(statuses(&app, &issuer, &json!({ "tid": "b", "jti2": 1 })).await, [401; 2]);
    assert_eq!(statuses(&app, &issuer, &json!({ "tid": "a", "jti2": 1 })).await, [200; 2]);
}

#[actix_web::test]
async fn an_old_token_is_rejected_also_with_a_cached_verdict() {
    let (issuer, clock) = timed_issuer();
    let builder = introspecting(&issuer).clock(clock.clone()).introspection_cache_duration(seconds(3600));
    let app = serving(builder.max_token_age(seconds(600)));
    let tokens = [issuer.jwt(json!({})), issuer.opaque(json!({}))];
    for (advance, expected) in [(0, 200), (659, 200), (1, 401)] {
        clock.advance(seconds(advance));
        for token in &tokens {
            assert_eq!(status(&app, token).await, expected, "{advance}");
        }
    }
    let ahead = clock.unix_time() + 61;
    assert_eq!(statuses(&app, &issuer, &json!({ "iat": ahead })).await, [401; 2]);
    assert_eq!(statuses(&app, &issuer, &json!({ "iat": null })).await, [401; 2]);
}

#[actix_web::test]
async fn a_claim_rule_that_is_not_met_is_a_403() {
    let issuer = TestIssuer::start();
    let own_tenant = |claims: &Claims| claims.string("tid") == Some("a");
    let app =
        serving(introspecting(&issuer).claim_rule("own tenant", own_tenant).claim_rule("all", |_| true));
    assert_eq!(statuses(&app, &issuer, &json!({ "tid": "a" })).await, [200; 2]);
    let answer = app.get("/").token(&issuer.jwt(json!({ "tid": "b" }))).send().await;
    assert_eq!((answer.status, answer.header("x-kind")), (403, Some("ClaimRule")));
    assert_eq!(answer.challenge(), Some("Bearer"), "{answer:?}");
    assert!(!answer.challenge().unwrap().contains("tenant"), "{answer:?}");
    assert_eq!(statuses(&app, &issuer, &json!({})).await, [403; 2]);
}

#[test]
fn claim_rules_are_compared_by_identity() {
    let builder = || ProtectApi::builder("https://rules.example.test", "my-api");
    let with_rule = || builder().claim_rule("rule", |_| true).build().unwrap();
    let text = format!("{:?}", with_rule());
    assert!(text.contains("custom: [ClaimRule(\"rule\")]"), "{text}");
}
