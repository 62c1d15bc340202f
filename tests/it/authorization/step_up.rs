//! The authentication of the user (RFC 9470).

use std::time::Duration;

use actix_protect_api::{
    AuthErrorKind, AuthenticatedRequest, Clock as _, RequiredScopes, Scoped,
    test::{TestClock, TestIssuer},
};
use actix_web::{App, web};
use serde_json::{Value, json};

use crate::support::{
    app::{TestApp, serve, whoami},
    service::introspecting,
};

struct Transfer;

impl RequiredScopes for Transfer {
    const SCOPES: &'static [&'static str] = &["pay"];
    const ACR: &'static [&'static str] = &["phr", "mfa"];
    const AUTHENTICATED_WITHIN: Option<Duration> = Some(Duration::from_secs(300));
}

async fn transfer(caller: Scoped<Transfer>) -> String {
    format!("{:?} {:?} {:?}", caller.acr(), caller.auth_time().is_some(), caller.amr())
}

async fn in_handler(caller: AuthenticatedRequest) -> actix_web::Result<&'static str> {
    caller.require_acr(["phr"])?;
    caller.require_authenticated_within(Duration::from_secs(60))?;
    caller.require_acr::<&str>([])?;
    Ok("done")
}

fn serving(issuer: &TestIssuer, clock: &TestClock, tolerance: u64) -> TestApp {
    let builder = introspecting(issuer).clock(clock.clone());
    let protect = builder.clock_tolerance(Duration::from_secs(tolerance)).build().unwrap();
    serve!(move || {
        let acr = protect.acr(["phr", "mfa"]).scopes(["pay"]);
        let now = protect.authenticated_within(Duration::ZERO);
        let outer = protect.acr(["mfa", "phr", "sms"]).authenticated_within(Duration::from_secs(600));
        let inner = outer.acr(["phr"]).authenticated_within(Duration::from_secs(900));
        let mount = |path: &str, protect: actix_protect_api::ProtectApi| {
            web::resource(path).wrap(protect).route(web::get().to(whoami))
        };
        App::new()
            .service(mount("/acr", acr))
            .service(mount("/now", now))
            .service(mount("/recent", protect.authenticated_within(Duration::from_secs(300))))
            .service(web::scope("/outer").wrap(outer).service(mount("/inner", inner)))
            .service(
                web::scope("/h")
                    .wrap(protect.acr(["phr", "mfa"]))
                    .route("/type", web::get().to(transfer))
                    .route("/call", web::get().to(in_handler)),
            )
    })
}

fn challenge(parameters: &str) -> String {
    format!(
        "Bearer error=\"insufficient_user_authentication\", \
         error_description=\"The user must sign in again or in another way\"{parameters}"
    )
}

async fn seen(app: &TestApp, issuer: &TestIssuer, path: &str, claims: Value) -> (u16, Option<String>) {
    let mut all = json!({ "sub": "alice", "scope": "pay" });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let answer = app.get(path).token(&issuer.opaque(all)).send().await;
    (answer.status, answer.challenge().map(str::to_owned))
}

#[actix_web::test]
async fn an_insufficient_authentication_is_a_401_with_everything_that_is_required() {
    let clock = TestClock::new();
    let issuer = TestIssuer::builder().clock(clock.clone()).start();
    let start = clock.unix_time();
    let app = serving(&issuer, &clock, 60);
    let phr = |age: i64| json!({ "acr": "phr", "auth_time": start - age });
    for (path, claims, expected) in [
        ("/acr", json!({ "acr": "mfa" }), None),
        // Names are compared exactly. Without the claim, the requirement is not met.
        ("/acr", json!({ "acr": "MFA" }), Some(", scope=\"pay\", acr_values=\"phr mfa\"")),
        ("/acr", json!({ "acr": ["mfa"] }), Some(", scope=\"pay\", acr_values=\"phr mfa\"")),
        ("/acr", json!({}), Some(", scope=\"pay\", acr_values=\"phr mfa\"")),
        // A missing scope is named in the same challenge.
        ("/acr", json!({ "scope": "x" }), Some(", scope=\"pay\", acr_values=\"phr mfa\"")),
        ("/recent", json!({ "auth_time": start - 360 }), None),
        ("/recent", json!({ "auth_time": start - 361 }), Some(", max_age=\"300\"")),
        ("/recent", json!({ "auth_time": start + 61 }), Some(", max_age=\"300\"")),
        ("/recent", json!({ "auth_time": start.to_string() }), Some(", max_age=\"300\"")),
        ("/recent", json!({}), Some(", max_age=\"300\"")),
        ("/outer/inner", phr(660), None),
        ("/outer/inner", phr(661), Some(", acr_values=\"mfa phr sms\", max_age=\"600\"")),
        (
            "/outer/inner",
            json!({ "acr": "mfa", "auth_time": start }),
            Some(", acr_values=\"phr\", max_age=\"600\""),
        ),
        (
            "/h/type",
            json!({ "acr": "mfa" }),
            Some(", scope=\"pay\", acr_values=\"phr mfa\", max_age=\"300\""),
        ),
        ("/h/call", phr(60), None),
        ("/h/call", json!({ "acr": "mfa" }), Some(", acr_values=\"phr\"")),
        ("/h/call", json!({ "acr": "phr" }), Some(", acr_values=\"phr mfa\", max_age=\"60\"")),
    ] {
        let text = format!("{path} {claims}");
        let (status, seen) = seen(&app, &issuer, path, claims).await;
        assert_eq!(status, if expected.is_some() { 401 } else { 200 }, "{text}: {seen:?}");
        assert_eq!(seen, expected.map(challenge), "{text}");
    }
    let (status, only_scope) = seen(&app, &issuer, "/acr", json!({ "acr": "phr", "scope": "x" })).await;
    assert_eq!(status, 403, "{only_scope:?}");
    let token =
        issuer.opaque(json!({ "acr": "phr", "auth_time": start, "amr": ["pwd", 1, "otp"], "scope": "pay" }));
    app.get("/h/type").token(&token).send().await.is(200, "Some(\"phr\") true [\"pwd\", \"otp\"]");
}

#[actix_web::test]
async fn a_sign_in_now_has_a_tolerance_even_if_none_is_configured() {
    let clock = TestClock::new();
    let issuer = TestIssuer::builder().clock(clock.clone()).start();
    let start = clock.unix_time();
    let app = serving(&issuer, &clock, 0);
    for (age, status) in [(0, 200), (5, 200), (6, 401), (-5, 200), (-6, 401)] {
        let (seen, _) = seen(&app, &issuer, "/now", json!({ "auth_time": start - age })).await;
        assert_eq!(seen, status, "{age}");
    }
}

#[actix_web::test]
async fn the_error_has_the_requirement_for_a_renderer() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let protect = protect.acr(["phr"]).authenticated_within(Duration::from_secs(60));
    let error = protect.validate(&issuer.opaque(json!({})), None).await.unwrap_err();
    assert_eq!(error.kind(), AuthErrorKind::InsufficientAuthentication);
    assert_eq!((error.acr_values(), error.max_authentication_age()), ("phr", Some(60)));
    let secret = issuer.opaque(json!({ "acr": "secret-level" }));
    let error = protect.validate(&secret, None).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "`acr` does not meet the requirement, expected \"phr\"");
}
