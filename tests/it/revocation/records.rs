//! Revoked tokens are rejected, whatever validated them and whatever is cached.

use std::time::Duration;

use actix_protect_api::{
    AuthErrorKind, ProtectApi, Revocation, TokenFault,
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::{App, HttpResponse, test, web};
use serde_json::json;

use crate::support::{
    service::{Api, OK, Outcome, introspecting, jwts_only, status_of, timed_issuer, token},
    store::Store,
    time::seconds,
};

const TTL: Duration = Duration::from_secs(100);
const REVOKED: Outcome = token(TokenFault::Revoked);

type Mint = fn(&TestIssuer, &str) -> String;

fn calls(issuer: &TestIssuer) -> usize {
    issuer.count(Endpoint::Introspection)
}

/// A cached verdict, a verdict that is never cached, one in a store, and JWTs that are validated locally or introspected.
#[actix_web::test]
async fn a_revoked_token_is_rejected_although_the_server_reports_it_as_active() {
    let issuer = TestIssuer::start();
    let opaque: Mint = |issuer, sub| issuer.opaque(json!({ "sub": sub, "sid": sub }));
    let jwt: Mint = |issuer, sub| issuer.jwt(json!({ "sub": sub, "sid": sub }));
    let cached = || introspecting(&issuer).introspection_cache_duration(TTL);
    let apis = [
        (introspecting(&issuer), opaque),
        (cached(), opaque),
        (cached().cache_store(Store::default()), opaque),
        (jwts_only(&issuer), jwt),
        (cached().introspect_jwt_tokens(true), jwt),
    ];
    for (number, (builder, mint)) in apis.into_iter().enumerate() {
        let protect = builder.build().unwrap();
        let api = Api::of(&protect, None).await;
        let name = |name: &str| format!("{name}-{number}");
        let (alice, bob) = (mint(&issuer, &name("alice")), mint(&issuer, &name("bob")));
        for round in 0..2 {
            assert_eq!([api.outcome(&alice).await, api.outcome(&bob).await], [OK; 2], "{number} {round}");
        }
        protect.revoke(Revocation::subject(name("alice"))).await.unwrap();
        for path in ["/", "/fresh", "/"] {
            assert_eq!(api.outcome_at(path, &alice).await, REVOKED, "{number}");
            assert_eq!(api.outcome_at(path, &bob).await, OK, "{number}");
        }
        protect.revoke(Revocation::session(name("bob"))).await.unwrap();
        assert_eq!(api.outcome(&bob).await, REVOKED, "{number}");
        let carol = mint(&issuer, &name("carol"));
        assert_eq!(api.outcome(&carol).await, OK);
        protect.revoke(Revocation::token(&*carol)).await.unwrap();
        assert_eq!(api.outcome(&carol).await, REVOKED, "{number}");
        assert_eq!(api.outcome(&mint(&issuer, &name("dave"))).await, OK, "{number}");
    }
}

#[actix_web::test]
async fn a_token_that_is_seen_first_after_its_revocation_is_rejected() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let api = Api::of(&protect, None).await;
    for mint in [TestIssuer::opaque, TestIssuer::jwt] {
        let jti = mint(&issuer, json!({ "jti": "one" }));
        protect.revoke(Revocation::jwt_id("one")).await.unwrap();
        assert_eq!(api.outcome(&jti).await, REVOKED);
    }
}

#[actix_web::test]
async fn a_verdict_that_arrives_after_the_revocation_is_not_used() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).introspection_cache_duration(TTL).build().unwrap();
    let api = Api::of(&protect, None).await;
    let alice = issuer.opaque(json!({ "sub": "late" }));
    issuer.fault(Endpoint::Introspection, Fault::hold());
    let meanwhile = async {
        issuer.received(Endpoint::Introspection, 1).await;
        protect.revoke(Revocation::subject("late")).await.unwrap();
        issuer.release(Endpoint::Introspection);
    };
    let (outcome, ()) = futures_util::future::join(api.outcome(&alice), meanwhile).await;
    assert_eq!((outcome, api.outcome(&alice).await), (REVOKED, REVOKED));
}

/// The authorization server decides again: the verdict of the call in flight is as old as the call.
#[actix_web::test]
async fn a_verdict_that_was_requested_before_an_eviction_is_requested_again() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).introspection_cache_duration(TTL).build().unwrap();
    let api = Api::of(&protect, None).await;
    for evict in [Revocation::subject("alice"), Revocation::all_tokens()] {
        let before = calls(&issuer);
        let alice = issuer.opaque(json!({ "sub": "alice" }));
        issuer.fault(Endpoint::Introspection, Fault::hold());
        let meanwhile = async {
            issuer.received(Endpoint::Introspection, before + 1).await;
            protect.revoke(evict.verdicts_only()).await.unwrap();
            issuer.release(Endpoint::Introspection);
        };
        let (outcome, ()) = futures_util::future::join(api.outcome(&alice), meanwhile).await;
        assert_eq!((outcome, calls(&issuer) - before), (OK, 2));
        assert_eq!((api.outcome(&alice).await, calls(&issuer) - before), (OK, 2), "the second one is cached");
    }
}

#[actix_web::test]
async fn a_nested_mount_checks_the_records_too() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).introspection_cache_duration(TTL).build().unwrap();
    let revoking = protect.clone();
    let inner = web::scope("/inner").wrap(protect.clone()).route("", web::get().to(HttpResponse::Ok)).wrap(
        actix_web::middleware::from_fn(move |request, next: actix_web::middleware::Next<_>| {
            let revoking = revoking.clone();
            async move {
                revoking.revoke(Revocation::subject("nested")).await.unwrap();
                next.call(request).await
            }
        }),
    );
    let app =
        test::init_service(App::new().service(web::scope("").wrap(protect.clone()).service(inner))).await;
    let bearer = issuer.opaque(json!({ "sub": "nested" }));
    assert_eq!(status_of(&app, "/inner", &bearer).await, 401);
}

#[actix_web::test]
async fn a_token_without_a_request_is_checked_too() {
    let issuer = TestIssuer::start();
    let protect = jwts_only(&issuer).build().unwrap();
    let bearer = issuer.jwt(json!({ "sub": "socket" }));
    assert!(protect.validate(&bearer, None).await.is_ok());
    protect.revoke(Revocation::subject("socket")).await.unwrap();
    let error = protect.validate(&bearer, None).await.unwrap_err();
    assert_eq!(error.kind(), AuthErrorKind::InvalidToken(TokenFault::Revoked));
}

#[actix_web::test]
async fn a_revocation_ends_and_later_tokens_are_accepted() {
    let (issuer, clock) = timed_issuer();
    let protect = jwts_only(&issuer).clock(clock.clone()).revocation_lifetime(seconds(600)).build().unwrap();
    let api = Api::of(&protect, None).await;
    let old = issuer.jwt(json!({ "sub": "alice", "exp": 4_000_000_000_u64 }));
    protect.revoke(Revocation::subject("alice")).await.unwrap();
    assert_eq!(api.outcome(&old).await, REVOKED);
    clock.advance(seconds(10));
    assert_eq!(api.outcome(&issuer.jwt(json!({ "sub": "alice" }))).await, OK, "issued later");
    clock.advance(seconds(589));
    assert_eq!(api.outcome(&old).await, REVOKED);
    clock.advance(seconds(1));
    assert_eq!(api.outcome(&old).await, OK, "the lifetime of the record is over");
}

#[actix_web::test]
async fn a_revocation_of_one_issuer_does_not_apply_to_another() {
    let (one, two) = (TestIssuer::start(), TestIssuer::start());
    let protects = [&one, &two].map(|issuer| jwts_only(issuer).build().unwrap());
    let protect = ProtectApi::any_of(protects).build().unwrap();
    let api = Api::of(&protect, None).await;
    let tokens = [&one, &two].map(|issuer| issuer.jwt(json!({ "sub": "alice" })));
    protect.revoke(Revocation::subject("alice").of_issuer(one.issuer())).await.unwrap();
    assert_eq!([api.outcome(&tokens[0]).await, api.outcome(&tokens[1]).await], [REVOKED, OK]);
    protect.revoke(Revocation::subject("alice")).await.unwrap();
    assert_eq!(api.outcome(&tokens[1]).await, REVOKED);
    let unknown = Revocation::subject("alice").of_issuer("https://unknown.example.test");
    assert!(protect.revoke(unknown).await.is_err());
}

#[actix_web::test]
async fn a_full_index_revokes_more_and_never_less() {
    let (issuer, clock) = timed_issuer();
    let protect = jwts_only(&issuer).clock(clock.clone()).max_revocations(2).build().unwrap();
    let api = Api::of(&protect, None).await;
    let tokens = [0, 1, 2, 3].map(|number| issuer.jwt(json!({ "jti": number.to_string() })));
    for number in 0..3 {
        protect.revoke(Revocation::jwt_id(number.to_string())).await.unwrap();
    }
    for token in &tokens {
        assert_eq!(api.outcome(token).await, REVOKED);
    }
    clock.advance(seconds(6));
    assert_eq!(api.outcome(&issuer.jwt(json!({ "jti": "4" }))).await, OK, "issued later");
}

/// Two configurations of one issuer in one process, such as two APIs with different audiences.
#[actix_web::test]
async fn a_revocation_applies_to_every_api_of_the_issuer() {
    let issuer = TestIssuer::start();
    let protect = jwts_only(&issuer).build().unwrap();
    let other = jwts_only(&issuer).realm("another configuration").build().unwrap();
    let api = Api::of(&other, None).await;
    let bearer = issuer.jwt(json!({ "sub": "alice" }));
    assert_eq!(api.outcome(&bearer).await, OK);
    protect.revoke(Revocation::subject("alice")).await.unwrap();
    assert_eq!(api.outcome(&bearer).await, REVOKED);
}
