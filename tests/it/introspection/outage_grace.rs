//! Expired verdicts on active tokens during an outage of the authorization server.

use std::time::Duration;

use actix_protect_api::{
    AuthenticatedRequest, Clock as _, ProtectApi, ProtectApiBuilder, Revocation, SetupFault, TokenFault,
    UpstreamFault::{BadAnswer, Failing, Paused, Saturated, TimedOut},
    test::{Endpoint, Fault, TestClock, TestIssuer},
};
use actix_web::{App, HttpResponse, test, web};
use serde_json::json;

use crate::support::{
    logs,
    service::{Api, OK, Outcome, introspecting, setup, status_of, timed_issuer, token, upstream},
    store::Store,
    time::seconds,
};

const TTL: Duration = seconds(100);
const GRACE: Duration = seconds(50);

struct Timed {
    issuer: TestIssuer,
    clock: TestClock,
    protect: ProtectApi,
    api: Api,
}

impl Timed {
    async fn start(change: impl FnOnce(ProtectApiBuilder) -> ProtectApiBuilder) -> Self {
        let (issuer, clock) = timed_issuer();
        let builder = introspecting(&issuer).clock(clock.clone()).introspection_cache_duration(TTL);
        let builder = builder.metadata_cache_duration(seconds(86_400)).jwks_cache_duration(seconds(86_400));
        let protect = change(builder.inactive_cache_duration(TTL).outage_grace(GRACE)).build().unwrap();
        let api = Api::of(&protect, None).await;
        Self { issuer, clock, protect, api }
    }

    /// Returns a token whose verdict was active and has expired.
    async fn expired(&self) -> String {
        let bearer = self.issuer.opaque(json!({ "exp": null, "sub": "alice" }));
        assert_eq!(self.api.outcome(&bearer).await, OK);
        self.clock.advance(TTL);
        bearer
    }

    fn fail(&self, fault: Fault) {
        self.issuer.fault(Endpoint::Introspection, fault.always());
    }

    async fn outcome(&self, bearer: &str) -> Outcome {
        self.api.outcome(bearer).await
    }
}

#[actix_web::test]
async fn an_expired_active_verdict_is_used_while_the_server_is_unavailable() {
    for fault in [Fault::status(503), Fault::reset(), Fault::status(429).with_header("Retry-After", "3")] {
        let timed = Timed::start(|builder| builder).await;
        let (bearer, unknown) = (timed.expired().await, timed.issuer.opaque(json!({})));
        timed.fail(fault);
        for _ in 0..8 {
            assert_eq!(timed.outcome(&bearer).await, OK);
        }
        assert!(timed.outcome(&unknown).await.is_err());
        // The verdict expired up to 10 s before.
        timed.clock.advance(seconds(39));
        assert_eq!(timed.outcome(&bearer).await, OK);
        timed.clock.advance(seconds(11));
        assert!(matches!(timed.outcome(&bearer).await, Err(actix_protect_api::AuthErrorKind::Upstream(_))));
    }
}

#[actix_web::test]
async fn a_server_that_does_not_respond_has_an_outage() {
    let timed = Timed::start(|builder| builder.response_timeout(Duration::from_millis(200))).await;
    let bearer = timed.expired().await;
    timed.fail(Fault::hold());
    assert_eq!(timed.outcome(&bearer).await, OK);
    assert_eq!(timed.outcome(&timed.issuer.opaque(json!({}))).await, upstream(TimedOut));
}

#[actix_web::test]
async fn the_server_decides_again_after_the_outage() {
    let timed = Timed::start(|builder| builder).await;
    let bearer = timed.expired().await;
    timed.fail(Fault::reset());
    assert_eq!(timed.outcome(&bearer).await, OK);
    timed.issuer.revoke(&bearer);
    timed.issuer.clear_faults();
    timed.clock.advance(seconds(10));
    assert_eq!(timed.outcome(&bearer).await, token(TokenFault::Inactive));
    timed.fail(Fault::reset());
    assert_eq!(timed.outcome(&bearer).await, token(TokenFault::Inactive), "the inactive verdict is cached");
    timed.clock.advance(TTL);
    assert!(timed.outcome(&bearer).await.is_err(), "an inactive verdict replaces the active one");
}

#[actix_web::test]
async fn without_the_setting_no_expired_verdict_is_used() {
    let timed = Timed::start(|builder| builder.outage_grace(Duration::ZERO)).await;
    let bearer = timed.expired().await;
    timed.fail(Fault::status(503));
    assert_eq!(timed.outcome(&bearer).await, upstream(Failing));
}

#[actix_web::test]
async fn a_failure_that_is_no_outage_uses_no_expired_verdict() {
    let refused = Fault::status(401).with_body(r#"{"error":"invalid_client"}"#);
    let unsupported = Fault::status(400).with_body(r#"{"error":"invalid_token"}"#);
    for (fault, expected) in [
        (refused, setup(SetupFault::Refused)),
        (unsupported, token(TokenFault::Unsupported)),
        (Fault::body("{}"), upstream(BadAnswer)),
    ] {
        let timed = Timed::start(|builder| builder).await;
        let bearer = timed.expired().await;
        timed.fail(fault);
        assert_eq!(timed.outcome(&bearer).await, expected);
    }
    // Callers can fill the queue.
    let timed = Timed::start(|builder| builder.max_calls(1).max_waiting(0)).await;
    let bearer = timed.expired().await;
    timed.fail(Fault::hold());
    let held = timed.outcome("held");
    let meanwhile = async {
        timed.issuer.received(Endpoint::Introspection, 2).await;
        let outcome = timed.outcome(&bearer).await;
        timed.issuer.clear_faults();
        outcome
    };
    let (_, outcome) = futures_util::future::join(held, meanwhile).await;
    assert_eq!(outcome, upstream(Saturated));
}

/// A pause of one token, while the server works for others, is no outage.
#[actix_web::test]
async fn a_server_that_fails_for_one_token_has_no_outage() {
    let timed = Timed::start(|builder| builder).await;
    let bearer = timed.expired().await;
    timed.fail(Fault::status(500).for_tokens(&bearer));
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(timed.outcome(&bearer).await);
        assert_eq!(timed.outcome(&timed.issuer.opaque(json!({}))).await, OK);
    }
    assert_eq!(seen.last(), Some(&upstream(Paused)), "{seen:?}");
}

#[actix_web::test]
async fn an_expired_verdict_is_not_used_past_the_exp_of_its_token() {
    for introspected_jwt in [false, true] {
        let timed = Timed::start(|builder| builder.introspect_jwt_tokens(introspected_jwt)).await;
        let exp = timed.clock.unix_time() + 120;
        let bearer = if introspected_jwt {
            let jwt = timed.issuer.jwt(json!({ "exp": exp }));
            let answer =
                json!({ "active": true, "iss": timed.issuer.issuer(), "aud": timed.issuer.audience() });
            timed.issuer.set_answer(&jwt, &answer.to_string());
            jwt
        } else {
            timed.issuer.opaque(json!({ "exp": exp, "iat": null }))
        };
        assert_eq!(timed.outcome(&bearer).await, OK);
        timed.fail(Fault::status(503));
        timed.clock.advance(seconds(119));
        assert_eq!(timed.outcome(&bearer).await, OK);
        // The wall clock alone could be set back.
        timed.clock.set_unix_time(exp - 100);
        assert_eq!(timed.outcome(&bearer).await, OK);
        timed.clock.advance(seconds(1));
        assert!(timed.outcome(&bearer).await.is_err(), "{introspected_jwt}");
    }
}

#[actix_web::test]
async fn a_revoked_or_evicted_token_is_not_accepted_in_an_outage() {
    let timed = Timed::start(|builder| builder).await;
    let evicted = timed.issuer.opaque(json!({ "exp": null, "sub": "bob" }));
    assert_eq!(timed.outcome(&evicted).await, OK);
    timed.clock.advance(TTL);
    timed.fail(Fault::status(503));
    assert_eq!(timed.outcome(&evicted).await, OK);
    timed.protect.evict_subject("bob").unwrap();
    assert!(matches!(timed.outcome(&evicted).await, Err(actix_protect_api::AuthErrorKind::Upstream(_))));

    let timed = Timed::start(|builder| builder).await;
    let bearer = timed.expired().await;
    timed.fail(Fault::status(503));
    assert_eq!(timed.outcome(&bearer).await, OK);
    timed.protect.revoke(Revocation::subject("alice")).await.unwrap();
    assert_eq!(timed.outcome(&bearer).await, token(TokenFault::Revoked));
}

#[actix_web::test]
async fn a_mount_with_max_age_uses_no_expired_verdict() {
    let timed = Timed::start(|builder| builder).await;
    let bearer = timed.expired().await;
    timed.fail(Fault::status(503));
    let route = || web::get().to(HttpResponse::Ok);
    let inner = timed.protect.clone().max_age(seconds(10_000));
    let app = App::new().service(web::resource("/alone").wrap(inner.clone()).route(route())).service(
        web::scope("/in")
            .wrap(timed.protect.clone())
            .service(web::resource("/aged").wrap(inner).route(route()))
            .service(web::resource("/any").wrap(timed.protect.clone()).route(route())),
    );
    let app = test::init_service(app).await;
    for (path, status) in [("/alone", 503), ("/in/any", 200), ("/in/aged", 503)] {
        assert_eq!(status_of(&app, path, &bearer).await, status, "{path}");
    }
}

#[actix_web::test]
async fn the_grace_needs_the_cache_in_memory_and_is_at_most_a_day() {
    let issuer = TestIssuer::start();
    let cached = |grace| introspecting(&issuer).introspection_cache_duration(TTL).outage_grace(grace);
    assert!(cached(seconds(86_400)).build().is_ok());
    for builder in [
        cached(seconds(86_401)),
        cached(GRACE).cache_store(Store::default()),
        introspecting(&issuer).outage_grace(GRACE),
    ] {
        let error = builder.build().unwrap_err();
        assert!(error.problems().iter().all(|problem| problem.name == "outage_grace"), "{error}");
    }
}

#[actix_web::test]
async fn the_use_of_an_expired_verdict_is_visible() {
    logs::capture();
    let timed = Timed::start(|builder| builder).await;
    let handler = |caller: AuthenticatedRequest| async move { caller.has_expired_verdict().to_string() };
    let app = App::new().wrap(timed.protect.clone()).route("/", web::get().to(handler));
    let app = test::init_service(app).await;
    let bearer = timed.issuer.opaque(json!({ "exp": null }));
    let seen = async || {
        let request = test::TestRequest::get().insert_header(actix_protect_api::test::bearer(&bearer));
        test::call_and_read_body(&app, request.to_request()).await
    };
    assert_eq!(seen().await, "false");
    timed.clock.advance(TTL);
    timed.fail(Fault::status(503));
    for _ in 0..3 {
        assert_eq!(seen().await, "true");
        assert!(timed.protect.validate(&bearer, None).await.unwrap().has_expired_verdict());
    }
    let records: Vec<_> = logs::records()
        .into_iter()
        .filter(|record| {
            record.value("event") == "outage_grace" && record.value("issuer") == timed.issuer.issuer()
        })
        .collect();
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].level, log::Level::Warn);
}
