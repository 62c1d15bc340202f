//! The values of `ProtectApi::status`.

use std::time::Duration;

use actix_protect_api::{
    AuthErrorKind, ClientAuthentication, IntrospectionState, LastError, ProtectApi, SetupFault, Status,
    UpstreamFault,
    test::{Endpoint, Fault, TestClock, TestIssuer},
};
use actix_web::rt;
use serde_json::json;

use crate::support::{
    api::api_of,
    net::unused_address,
    service::{Api, introspecting},
    time::seconds,
};

fn last(status: Status) -> Option<(AuthErrorKind, u64)> {
    status.last_error.map(|LastError { kind, ago, .. }| (kind, ago.as_secs()))
}

fn upstream(fault: UpstreamFault) -> AuthErrorKind {
    AuthErrorKind::Upstream(fault)
}

#[actix_web::test]
async fn before_the_first_token_the_status_is_empty() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).introspection_cache_duration(seconds(60)).build().unwrap();
    let status = protect.status();
    assert!(!status.metadata_known && !status.keys_known);
    assert_eq!((status.introspection, status.last_error), (IntrospectionState::Calling, None));
    assert_eq!(
        (status.calls_in_flight, status.most_calls_in_flight, status.calls_waiting, status.cached_verdicts),
        (0, 0, 0, 0)
    );
    assert_eq!(issuer.connections(), 0, "it makes no call");

    let api = Api::of(&protect, None).await;
    assert!(api.outcome(&issuer.opaque(json!({}))).await.is_ok());
    let status = protect.status();
    assert!(status.metadata_known && !status.keys_known);
    assert_eq!((status.most_calls_in_flight, status.cached_verdicts), (1, 1));
    assert!(api.outcome(&issuer.jwt(json!({}))).await.is_ok());
    assert!(protect.status().keys_known);
    assert_eq!(protect.status().last_error, None);

    let without_client = ProtectApi::builder(issuer.issuer(), issuer.audience()).build().unwrap();
    assert_eq!(without_client.status().introspection, IntrospectionState::Off);
}

#[actix_web::test]
async fn tokens_that_are_rejected_are_no_failure() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let api = Api::of(&protect, None).await;
    let poor = issuer.opaque(json!({}));
    for (path, token, status) in [
        ("/", "unknown", 401),
        ("/", "not a token", 400),
        ("/", &*issuer.jwt(json!({ "exp": 1 })), 401),
        ("/", &*issuer.jwt(json!({ "aud": "another" })), 401),
        ("/read", &*poor, 403),
        ("/team", &*poor, 403),
    ] {
        assert_eq!(api.get(path, token).await.status, status, "{token}");
    }
    assert_eq!(protect.status().last_error, None);
}

/// A gateway's 413 for a long token, a server's 400 for one that it does not understand: a caller could send one a minute,
/// and keep every replica from being ready.
#[actix_web::test]
async fn a_response_that_one_token_may_have_caused_is_no_failure() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let api = Api::of(&protect, None).await;
    for status in [302, 400, 401, 403, 404, 413, 422] {
        issuer.fault(Endpoint::Introspection, Fault::status(status));
        assert_eq!(api.get("/", &issuer.opaque(json!({}))).await.status, 401, "{status}");
        assert_eq!(protect.status().last_error, None, "{status}");
    }
    issuer.fault(Endpoint::Introspection, Fault::status(401).with_body(r#"{"error":"invalid_client"}"#));
    assert_eq!(api.get("/", &issuer.opaque(json!({}))).await.status, 500);
    assert!(protect.status().last_error.is_some());
}

#[actix_web::test]
async fn the_last_failure_stays_with_its_age_until_the_next_or_a_success() {
    let (issuer, clock) = (TestIssuer::start(), TestClock::new());
    let protect = introspecting(&issuer).clock(clock.clone()).build().unwrap();
    let api = Api::of(&protect, None).await;
    let token = issuer.opaque(json!({}));
    assert!(api.outcome(&token).await.is_ok());

    issuer.fault(Endpoint::Introspection, Fault::body("nonsense"));
    assert_eq!(api.get("/", &token).await.status, 503);
    assert_eq!(last(protect.status()), Some((upstream(UpstreamFault::BadAnswer), 0)));
    clock.advance(seconds(42));
    assert!(api.outcome(&issuer.jwt(json!({}))).await.is_ok());
    assert_eq!(
        last(protect.status()),
        Some((upstream(UpstreamFault::BadAnswer), 42)),
        "the fetch of the keys is another kind of call"
    );
    assert!(api.outcome(&token).await.is_ok());
    assert_eq!(last(protect.status()), None);

    issuer.fault(Endpoint::Introspection, Fault::status(401).with_body(r#"{"error":"invalid_client"}"#));
    assert_eq!(api.get("/", &token).await.status, 500);
    let refused = AuthErrorKind::Misconfigured(SetupFault::Refused);
    assert_eq!(last(protect.status()), Some((refused, 0)));
    assert_eq!(
        last(protect.clone().scopes(["read"]).status()),
        Some((refused, 0)),
        "each mount tells the same"
    );
}

#[actix_web::test]
async fn while_introspection_is_paused_the_reason_is_what_led_to_it() {
    let (issuer, clock) = (TestIssuer::start(), TestClock::new());
    let protect = introspecting(&issuer).clock(clock.clone()).build().unwrap();
    let api = Api::of(&protect, None).await;
    let token = issuer.opaque(json!({}));
    issuer.fault(Endpoint::Introspection, Fault::status(500).always());
    let pause = async {
        while api.get("/", &issuer.opaque(json!({}))).await.kind != Some(upstream(UpstreamFault::Paused)) {}
    };
    rt::time::timeout(seconds(20), pause).await.expect("introspection does not pause");
    issuer.clear_faults();
    clock.advance(seconds(3));
    let status = protect.status();
    assert_eq!(status.introspection, IntrospectionState::Paused);
    assert_eq!(last(status), Some((upstream(UpstreamFault::Failing), 3)));

    issuer.fault(Endpoint::Introspection, Fault::hold().always());
    issuer.reset_counters();
    let app = api_of(protect.clone());
    let probe = rt::spawn(app.get("/").token(&token).send());
    issuer.received(Endpoint::Introspection, 1).await;
    let status = protect.status();
    assert_eq!((status.introspection, status.calls_in_flight), (IntrospectionState::Probing, 1));
    issuer.clear_faults();
    assert_eq!(probe.await.unwrap().status, 200);
    assert_eq!(protect.status().introspection, IntrospectionState::Calling);
}

#[actix_web::test]
async fn a_background_refresh_that_fails_is_in_the_status() {
    let (issuer, clock) = (TestIssuer::start(), TestClock::new());
    let protect =
        ProtectApi::builder(issuer.issuer(), issuer.audience()).clock(clock.clone()).build().unwrap();
    let api = Api::of(&protect, None).await;
    assert!(api.outcome(&issuer.jwt(json!({}))).await.is_ok());
    issuer.fault(Endpoint::Jwks, Fault::status(503).always());
    // In the last fifth of the keys' life, and within that of the metadata's.
    clock.advance(seconds(250));
    let token = issuer.jwt(json!({}));
    let mut tries = 0;
    while protect.status().last_error.is_none() {
        assert!(api.outcome(&token).await.is_ok(), "the last good keys count");
        tries += 1;
        assert!(tries < 1000, "the failure is not told");
        rt::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(last(protect.status()), Some((upstream(UpstreamFault::Failing), 0)));
}

#[actix_web::test]
async fn wrong_credentials_and_a_missing_server_are_in_the_status() {
    let issuer = TestIssuer::start();
    let wrong = ClientAuthentication::client_secret_basic("not the secret");
    let misconfigured = ProtectApi::builder(issuer.issuer(), issuer.audience()).client("api-server", wrong);
    let free = unused_address();
    let nobody = ProtectApi::builder(format!("http://{free}"), "my-api");
    for (builder, kind) in [
        (misconfigured, AuthErrorKind::Misconfigured(SetupFault::Refused)),
        (nobody, upstream(UpstreamFault::Unreachable)),
    ] {
        let protect = builder.build().unwrap();
        let app = api_of(protect.clone());
        let answer = app.get("/").token(&issuer.opaque(json!({}))).send().await;
        assert!(answer.status >= 500, "{answer:?}");
        assert_eq!(last(protect.status()), Some((kind, 0)));
    }
}
