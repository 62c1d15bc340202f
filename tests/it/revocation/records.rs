//! Revoked tokens are rejected, whatever validated them and whatever is cached.

use std::time::Duration;

use actix_protect_api::{
    AuthErrorKind, Clock as _, ProtectApi, Revocation, RevocationError, TokenFault,
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::{App, HttpResponse, test, web};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
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
    // Expired tokens are accepted for one more minute.
    clock.advance(seconds(649));
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
    // Later than the clock skew of every configuration of this process.
    clock.advance(seconds(4000));
    assert_eq!(api.outcome(&issuer.jwt(json!({ "jti": "4" }))).await, OK, "issued later");
}

/// An ES256 signature can be changed into another valid one: `s` becomes `n - s`.
#[actix_web::test]
async fn a_revoked_jwt_is_rejected_with_another_valid_signature() {
    let issuer = TestIssuer::start();
    let protect = jwts_only(&issuer).build().unwrap();
    let api = Api::of(&protect, None).await;
    let bearer = issuer.jwt(json!({ "sub": "twin" }));
    let twin = with_other_signature(&bearer);
    assert_eq!([api.outcome(&bearer).await, api.outcome(&twin).await], [OK; 2]);
    protect.revoke(Revocation::token(&*bearer)).await.unwrap();
    assert_eq!([api.outcome(&bearer).await, api.outcome(&twin).await], [REVOKED; 2]);
}

/// Returns an ES256 token with `n - s` in place of `s`, where `n` is the order of P-256.
fn with_other_signature(token: &str) -> String {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for (digit, order) in signature[32..].iter_mut().zip(ORDER).rev() {
        let difference = i16::from(order) - i16::from(*digit) - borrow;
        borrow = i16::from(difference < 0);
        *digit = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The response has none of the claims of the JWT, and the verdict is in memory or in a store.
#[actix_web::test]
async fn a_revoked_jwt_is_rejected_whatever_the_response_contains() {
    for store in [None, Some(Store::default())] {
        let issuer = TestIssuer::start();
        let builder = introspecting(&issuer).introspection_cache_duration(TTL).introspect_jwt_tokens(true);
        let builder = store.into_iter().fold(builder, actix_protect_api::ProtectApiBuilder::cache_store);
        let protect = builder.build().unwrap();
        let api = Api::of(&protect, None).await;
        let bearer = issuer.jwt(json!({ "sub": "bare", "sid": "bare", "jti": "bare" }));
        let bare = json!({ "active": true, "iss": issuer.issuer(), "aud": issuer.audience() });
        issuer.set_answer(&bearer, &bare.to_string());
        assert_eq!(api.outcome(&bearer).await, OK);
        protect.revoke(Revocation::session("bare")).await.unwrap();
        assert_eq!([api.outcome(&bearer).await, api.outcome_at("/fresh", &bearer).await], [REVOKED; 2]);
    }
}

#[actix_web::test]
async fn a_revoked_token_is_rejected_until_it_is_rejected_as_expired() {
    let (issuer, clock) = timed_issuer();
    let protect = jwts_only(&issuer).clock(clock.clone()).build().unwrap();
    let api = Api::of(&protect, None).await;
    let exp = clock.unix_time() + 600;
    let bearer = issuer.jwt(json!({ "exp": exp, "jti": "exact" }));
    protect.revoke(Revocation::jwt_id("exact").until(exp)).await.unwrap();
    for pause in [599, 1, 59] {
        clock.advance(seconds(pause));
        assert_eq!(api.outcome(&bearer).await, REVOKED, "{pause}");
    }
    clock.advance(seconds(1));
    assert_eq!(api.outcome(&bearer).await, token(TokenFault::Expired));
}

#[actix_web::test]
async fn a_revocation_that_cannot_have_an_effect_is_an_error() {
    let (issuer, clock) = timed_issuer();
    let protect = jwts_only(&issuer).clock(clock.clone()).build().unwrap();
    for text in ["", "Bearer abc", "a b"] {
        let error = protect.revoke(Revocation::token(text)).await.unwrap_err();
        assert!(matches!(error, RevocationError::Token), "{text:?}: {error}");
    }
    let ended = Revocation::subject("alice").until(clock.unix_time());
    assert!(matches!(protect.revoke(ended).await, Err(RevocationError::Ended)));
    for blank in ["", " ", "\t\n"] {
        for (what, revocation) in [
            ("jti", Revocation::jwt_id(blank)),
            ("sid", Revocation::session(blank)),
            ("sub", Revocation::subject(blank)),
            ("client", Revocation::client(blank)),
            ("issuer", Revocation::all_tokens().of_issuer(blank)),
            ("issuer of a subject", Revocation::subject("alice").of_issuer(blank)),
            ("verdicts", Revocation::subject(blank).verdicts_only()),
        ] {
            let error = protect.revoke(revocation).await.err();
            assert!(matches!(error, Some(RevocationError::Empty)), "{what} {blank:?}: {error:?}");
        }
    }
    let bearer = issuer.jwt(json!({}));
    protect.revoke(Revocation::token(format!(" {bearer}\n"))).await.unwrap();
    assert_eq!(Api::of(&protect, None).await.outcome(&bearer).await, REVOKED);
}

/// The issuer of a tenant that is not resolved yet is accepted as it is named.
#[actix_web::test]
async fn a_revocation_of_a_tenant_names_its_issuer() {
    let issuer = TestIssuer::start();
    let protect = ProtectApi::any_of([jwts_only(&issuer).build().unwrap()])
        .tenants(|_| None, |_| Box::pin(async { Ok(None) }))
        .build()
        .unwrap();
    let revoke = async |issuer: &str| protect.revoke(Revocation::subject("alice").of_issuer(issuer)).await;
    for blank in ["", " "] {
        assert!(matches!(revoke(blank).await, Err(RevocationError::Empty)), "{blank:?}");
    }
    assert!(revoke("https://tenant.example.test").await.is_ok());
}

/// One configuration for several tenants, which may have users with the same `sub`.
#[actix_web::test]
async fn a_revocation_of_one_token_issuer_does_not_apply_to_another() {
    let issuer = TestIssuer::start();
    let names = ["https://one.example.test", "https://two.example.test/"];
    let protect = jwts_only(&issuer).token_issuers(names).build().unwrap();
    let api = Api::of(&protect, None).await;
    let tokens = names.map(|iss| issuer.jwt(json!({ "iss": iss, "sub": "alice" })));
    protect.revoke(Revocation::all_tokens().of_issuer(names[0])).await.unwrap();
    assert_eq!([api.outcome(&tokens[0]).await, api.outcome(&tokens[1]).await], [REVOKED, OK]);
    protect.revoke(Revocation::subject("alice")).await.unwrap();
    assert_eq!(api.outcome(&tokens[1]).await, REVOKED);
}

/// Two configurations of one issuer in one process, such as two APIs with different audiences.
#[actix_web::test]
async fn a_revocation_applies_to_every_api_of_the_issuer() {
    let issuer = TestIssuer::start();
    let protect = jwts_only(&issuer).build().unwrap();
    let spelled = format!("{}/", issuer.issuer());
    let other = ProtectApi::builder(spelled, issuer.audience()).realm("another").build().unwrap();
    let api = Api::of(&other, None).await;
    let bearer = issuer.jwt(json!({ "sub": "alice" }));
    assert_eq!(api.outcome(&bearer).await, OK);
    protect.revoke(Revocation::subject("alice")).await.unwrap();
    assert_eq!(api.outcome(&bearer).await, REVOKED);
}
