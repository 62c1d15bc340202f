//! Leases end when the token expires, is revoked, or is no longer accepted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix_protect_api::{
    AuthErrorKind, AuthenticatedRequest, Clock as _, Lease, LeaseEnd, ProtectApi, ProtectApiBuilder,
    Revocation, TokenFault,
    certificate::CertificateThumbprint,
    test::{Endpoint, Fault, TestIssuer, authenticate},
};
use actix_web::{rt::time::timeout, test::TestRequest};
use futures_util::FutureExt as _;
use serde_json::json;

use crate::support::{
    service::{introspecting, jwts_only, timed_issuer},
    time::{PATIENCE, eventually, seconds},
};

const FAR: u64 = 4_000_000_000;

async fn lease(protect: &ProtectApi, token: &str) -> Lease {
    protect.validate(token, None).await.unwrap().lease()
}

async fn end(lease: &mut Lease) -> LeaseEnd {
    timeout(PATIENCE, lease).await.expect("the lease does not end")
}

/// Moves the clock until the lease ends, because the next validation is planned when the response has arrived.
async fn end_while(lease: &mut Lease, advance: impl Fn()) -> LeaseEnd {
    for _ in 0..500 {
        advance();
        if let Ok(end) = timeout(Duration::from_millis(100), &mut *lease).await {
            return end;
        }
    }
    panic!("the lease does not end");
}

fn has_ended(lease: &mut Lease) -> bool {
    lease.now_or_never().is_some()
}

fn calls(issuer: &TestIssuer) -> usize {
    issuer.count(Endpoint::Introspection)
}

#[actix_web::test]
async fn a_lease_ends_when_the_token_expires_without_the_tolerance() {
    let (issuer, clock) = timed_issuer();
    let protect = jwts_only(&issuer).clock(clock.clone()).clock_skew(seconds(5)).build().unwrap();
    let now = clock.unix_time();
    let until = |seconds: i64| issuer.jwt(json!({ "sub": "alice", "exp": now + seconds }));
    let mut long = lease(&protect, &until(101)).await;
    let mut short = lease(&protect, &until(100)).await;
    let mut endless = lease(&protect, &issuer.jwt(json!({ "exp": FAR }))).await;
    clock.advance(seconds(94));
    let mut over = lease(&protect, &until(99)).await;
    assert_eq!(over.ended().now_or_never(), Some(LeaseEnd::Expired), "accepted within the tolerance");
    assert!(!has_ended(&mut short));
    clock.advance(seconds(1));
    assert_eq!(end(&mut short).await, LeaseEnd::Expired);
    assert_eq!(end(&mut short).await, LeaseEnd::Expired, "the same result each time");
    assert!(!has_ended(&mut long) && !has_ended(&mut endless));
    clock.advance(seconds(1));
    assert_eq!(end(&mut long).await, LeaseEnd::Expired);
    assert!(!has_ended(&mut endless));
}

#[actix_web::test]
async fn a_response_without_exp_does_not_extend_the_lease_of_a_jwt() {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer).introspect_jwt_tokens(true).clock(clock.clone()).build().unwrap();
    let mut answer = json!({ "active": true, "iss": issuer.issuer(), "aud": issuer.audience() });
    for exp in [None, Some(FAR)] {
        let token = issuer.jwt(json!({ "exp": clock.unix_time() + 100 }));
        answer["exp"] = json!(exp);
        issuer.set_answer(&token, &answer.to_string());
        let mut lease = lease(&protect, &token).await;
        clock.advance(seconds(99));
        assert!(!has_ended(&mut lease), "{exp:?}");
        clock.advance(seconds(1));
        assert_eq!(end(&mut lease).await, LeaseEnd::Expired, "{exp:?}");
    }
}

#[actix_web::test]
async fn a_lease_ends_at_the_maximum_age_of_the_token() {
    let (issuer, clock) = timed_issuer();
    let protect = jwts_only(&issuer).clock(clock.clone()).max_token_age(seconds(60)).build().unwrap();
    let mut lease = lease(&protect, &issuer.jwt(json!({ "exp": FAR }))).await;
    clock.advance(seconds(60));
    assert_eq!(end(&mut lease).await, LeaseEnd::Expired);
}

#[actix_web::test]
async fn a_revocation_ends_the_leases_of_its_tokens_only() {
    let builders: [fn(&TestIssuer) -> ProtectApiBuilder; 3] =
        [jwts_only, introspecting, |issuer| introspecting(issuer).introspect_jwt_tokens(true)];
    for builder in builders {
        let issuer = TestIssuer::start();
        let protect = builder(&issuer).build().unwrap();
        let token = |sub: &str| issuer.jwt(json!({ "sub": sub, "sid": format!("{sub}-1") }));
        let (mut alice, mut bob) =
            (lease(&protect, &token("alice")).await, lease(&protect, &token("bob")).await);
        let carol = protect.validate(&token("carol"), None).await.unwrap();
        protect.revoke(Revocation::session("alice-1")).await.unwrap();
        assert_eq!(end(&mut alice).await, LeaseEnd::Revoked);
        assert!(!has_ended(&mut bob));
        // Added by another thread, as by a shared store.
        let revoking = protect.clone();
        std::thread::spawn(move || {
            revoking.revoke(Revocation::subject("bob")).now_or_never().unwrap().unwrap();
            revoking.revoke(Revocation::subject("carol")).now_or_never().unwrap().unwrap();
        });
        assert_eq!(end(&mut bob).await, LeaseEnd::Revoked);
        assert_eq!(end(&mut carol.lease()).await, LeaseEnd::Revoked, "revoked before the lease was made");
    }
}

/// More leases than one step handles.
#[actix_web::test]
async fn a_revocation_ends_any_number_of_leases() {
    let issuer = TestIssuer::start();
    let protect = jwts_only(&issuer).build().unwrap();
    let alice = protect.validate(&issuer.jwt(json!({ "sub": "alice" })), None).await.unwrap();
    let bob = protect.validate(&issuer.jwt(json!({ "sub": "bob" })), None).await.unwrap();
    let mut leases: Vec<_> = (0..1000).map(|_| alice.lease()).collect();
    let mut others: Vec<_> = (0..1000).map(|_| bob.lease()).collect();
    // Some streams end by themselves.
    leases.truncate(900);
    protect.revoke(Revocation::subject("alice")).await.unwrap();
    for lease in &mut leases {
        assert_eq!(end(lease).await, LeaseEnd::Revoked);
    }
    assert!(!others.iter_mut().any(has_ended));
    protect.revoke(Revocation::all_tokens()).await.unwrap();
    for lease in &mut others {
        assert_eq!(end(lease).await, LeaseEnd::Revoked);
    }
}

#[actix_web::test]
async fn a_token_that_became_inactive_ends_its_lease_at_the_next_validation() {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer).clock(clock.clone()).build().unwrap();
    let rechecking = protect.recheck(seconds(60));
    let token = issuer.opaque(json!({ "exp": FAR }));
    let mut plain = lease(&protect, &token).await;
    let mut checked = lease(&rechecking, &token).await;
    let before = calls(&issuer);
    clock.advance(seconds(60));
    assert!(eventually(async || calls(&issuer) == before + 1).await);
    issuer.revoke(&token);
    assert_eq!(end_while(&mut checked, || clock.advance(seconds(60))).await, LeaseEnd::Revoked);
    assert!(!has_ended(&mut plain));
}

#[actix_web::test]
async fn a_lease_survives_a_failure_of_the_server_but_not_a_long_one() {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer).clock(clock.clone()).max_stale(seconds(3600)).build().unwrap();
    let protect = protect.recheck(seconds(60));
    let token = issuer.opaque(json!({ "exp": FAR }));
    let mut lease = lease(&protect, &token).await;
    issuer.fault(Endpoint::Introspection, Fault::status(503).always());
    let failed = calls(&issuer);
    clock.advance(seconds(60));
    assert!(eventually(async || calls(&issuer) > failed).await);
    issuer.clear_faults();
    let failed = calls(&issuer);
    // The circuit breaker and the pause of the token may reject the first attempts.
    assert!(
        eventually(async || {
            clock.advance(seconds(15));
            calls(&issuer) > failed + 2
        })
        .await
    );
    assert!(!has_ended(&mut lease));
    issuer.fault(Endpoint::Introspection, Fault::status(503).always());
    let end = end_while(&mut lease, || clock.advance(seconds(600))).await;
    assert_eq!((end, end.close_code()), (LeaseEnd::Unavailable, 1013));
}

/// With `outage_grace`, a request is accepted with an expired verdict. The stream ends all the same.
#[actix_web::test]
async fn an_expired_verdict_does_not_validate_a_lease() {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer)
        .clock(clock.clone())
        .max_stale(seconds(600))
        .introspection_cache_duration(seconds(30))
        .outage_grace(seconds(1800))
        .build()
        .unwrap();
    let token = issuer.opaque(json!({ "exp": FAR }));
    let mut lease = lease(&protect.recheck(seconds(60)), &token).await;
    issuer.fault(Endpoint::Introspection, Fault::status(503).always());
    let start = clock.unix_time();
    let end = end_while(&mut lease, || clock.advance(seconds(20))).await;
    assert_eq!(end, LeaseEnd::Unavailable);
    assert!(clock.unix_time() - start < 1800, "within the grace");
}

#[actix_web::test]
async fn a_validation_applies_the_requirements_of_the_mount() {
    let (issuer, clock) = timed_issuer();
    let allowed = Arc::new(AtomicBool::new(true));
    let rule = Arc::clone(&allowed);
    let protect = introspecting(&issuer)
        .clock(clock.clone())
        .claim_rule("allowed", move |_| rule.load(Ordering::SeqCst))
        .build()
        .unwrap();
    let mut lease = lease(&protect.recheck(seconds(10)), &issuer.opaque(json!({ "exp": FAR }))).await;
    allowed.store(false, Ordering::SeqCst);
    clock.advance(seconds(10));
    let rejected = LeaseEnd::Rejected(AuthErrorKind::ClaimRule);
    assert_eq!((end(&mut lease).await, rejected.close_code()), (rejected, 4403));
}

/// One authorization server does not respond, and the streams of another one are on the same worker.
#[actix_web::test]
async fn a_server_that_does_not_respond_delays_no_validation_of_another_issuer() {
    let (one, clock) = timed_issuer();
    let two = TestIssuer::builder().clock(clock.clone()).start();
    let [first, second] = [&one, &two].map(|issuer| {
        let builder = introspecting(issuer).clock(clock.clone()).response_timeout(seconds(120));
        builder.build().unwrap()
    });
    let mut leases = Vec::new();
    for _ in 0..8 {
        leases.push(lease(&first.recheck(seconds(10)), &one.opaque(json!({ "exp": FAR }))).await);
    }
    let other = two.opaque(json!({ "exp": FAR }));
    let mut other_lease = lease(&second.recheck(seconds(100)), &other).await;
    one.fault(Endpoint::Introspection, Fault::hold().always());
    let before = calls(&one);
    clock.advance(seconds(10));
    assert!(eventually(async || calls(&one) == before + 4).await);
    two.revoke(&other);
    clock.advance(seconds(90));
    assert_eq!(end(&mut other_lease).await, LeaseEnd::Revoked);
    assert_eq!(calls(&one), before + 4, "at most four at the same time");
    // The others follow when the server responds.
    one.release(Endpoint::Introspection);
    one.clear_faults();
    assert!(eventually(async || calls(&one) >= before + 8).await);
    assert!(!leases.iter_mut().any(has_ended));
}

#[actix_web::test]
async fn an_eviction_causes_a_validation_soon() {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer)
        .clock(clock.clone())
        .introspection_cache_duration(seconds(7200))
        .build()
        .unwrap();
    let token = issuer.opaque(json!({ "sub": "alice", "exp": FAR }));
    let mut lease = lease(&protect.recheck(seconds(3600)), &token).await;
    issuer.revoke(&token);
    protect.evict_subject("alice").unwrap();
    assert!(
        eventually(async || {
            clock.advance(seconds(1));
            calls(&issuer) == 2
        })
        .await
    );
    assert_eq!(end(&mut lease).await, LeaseEnd::Revoked);
}

#[actix_web::test]
async fn a_lease_is_renewed_with_a_token_of_the_same_caller() {
    let (issuer, clock) = timed_issuer();
    let now = clock.unix_time();
    let protect =
        introspecting(&issuer).clock(clock.clone()).scope_implies("all", ["admin", "read", "write"]);
    let protect = protect.build().unwrap();
    let token = |sub: &str, scope: &str, exp: i64| {
        issuer.opaque(json!({ "sub": sub, "scope": scope, "exp": now + exp }))
    };
    let mut lease = lease(&protect.scopes(["read"]), &token("alice", "read write", 100)).await;
    let fault = |fault| Err(AuthErrorKind::InvalidToken(fault));
    for (other, expected) in [
        (token("bob", "read write", 500), fault(TokenFault::ClaimValue)),
        (token("alice", "read", 500), Err(AuthErrorKind::InsufficientScope)),
        (token("alice", "write", 500), Err(AuthErrorKind::InsufficientScope)),
        ("unknown".to_owned(), fault(TokenFault::Inactive)),
        ("not a token".to_owned(), fault(TokenFault::Malformed)),
    ] {
        assert_eq!(lease.renew(&other).await.map_err(|error| error.kind()), expected);
    }
    issuer.fault(Endpoint::Introspection, Fault::status(503).times(1));
    let error = lease.renew(&token("alice", "read write", 500)).await.unwrap_err();
    assert!(error.is_retryable());
    lease.renew(&token("alice", "write admin read", 150)).await.unwrap();
    lease.renew(&token("alice", "all", 170)).await.unwrap();
    lease.renew(&token("alice", "write admin read all", 200)).await.unwrap();
    clock.advance(seconds(100));
    let mut marker = protect.validate(&token("carol", "", 101), None).await.unwrap().lease();
    clock.advance(seconds(1));
    assert_eq!(end(&mut marker).await, LeaseEnd::Expired);
    assert!(!has_ended(&mut lease), "renewed");
    // The scopes of the new token are the least for the next one.
    let fewer = lease.renew(&token("alice", "read write", 500)).await;
    assert_eq!(fewer.unwrap_err().kind(), AuthErrorKind::InsufficientScope);
    clock.advance(seconds(100));
    assert_eq!(end(&mut lease).await, LeaseEnd::Expired);
    lease.renew(&token("alice", "all", 500)).await.unwrap();
    assert!(!has_ended(&mut lease), "an expired lease can be renewed");
    protect.revoke(Revocation::subject("alice")).await.unwrap();
    assert_eq!(end(&mut lease).await, LeaseEnd::Revoked);
    clock.advance(seconds(10));
    let late = lease.renew(&token("alice", "read write admin", 500)).await;
    assert_eq!(late.unwrap_err().kind(), AuthErrorKind::InvalidToken(TokenFault::Revoked));
}

#[actix_web::test]
async fn a_renewal_needs_the_issuer_and_the_certificate_of_the_lease() {
    let (one, two) = (TestIssuer::start(), TestIssuer::start());
    let protect = ProtectApi::any_of([jwts_only(&one).build().unwrap(), jwts_only(&two).build().unwrap()])
        .build()
        .unwrap();
    let thumbprint = |byte| CertificateThumbprint::from_sha256([byte; 32]);
    let token = |issuer: &TestIssuer, byte: Option<u8>| {
        let bound = byte.map(|byte| json!({ "x5t#S256": thumbprint(byte).to_base64url() }));
        issuer.jwt(json!({ "sub": "alice", "cnf": bound }))
    };
    let mut unbound = lease(&protect, &token(&one, None)).await;
    assert!(unbound.renew(&token(&two, None)).await.is_err());
    assert!(unbound.renew(&token(&one, Some(1))).await.is_err());
    unbound.renew(&token(&one, None)).await.unwrap();
    let bound = protect.validate(&token(&one, Some(1)), Some(&thumbprint(1))).await.unwrap();
    let mut bound = bound.lease();
    for other in [token(&one, None), token(&one, Some(2))] {
        let error = bound.renew(&other).await.unwrap_err();
        assert_eq!(error.kind(), AuthErrorKind::InvalidToken(TokenFault::Binding));
    }
    bound.renew(&token(&one, Some(1))).await.unwrap();
    assert!(!has_ended(&mut bound) && !has_ended(&mut unbound));
}

/// There is no token that could be validated again.
#[actix_web::test]
async fn a_lease_of_a_simulated_caller_ends_when_the_claims_expire() {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer).clock(clock.clone()).build().unwrap().recheck(seconds(10));
    let now = clock.unix_time();
    let caller = |sub: &str| {
        let request = TestRequest::default().to_http_request();
        let request = authenticate(&protect, request, json!({ "sub": sub, "exp": now + 3000 }));
        AuthenticatedRequest::try_from_request(&request).unwrap()
    };
    let (alice, bob) = (caller("alice"), caller("bob"));
    let (mut alice, mut bob) = (alice.lease(), bob.lease());
    clock.advance(seconds(2999));
    protect.revoke(Revocation::subject("bob")).await.unwrap();
    assert_eq!(end(&mut bob).await, LeaseEnd::Revoked);
    assert!(!has_ended(&mut alice));
    clock.advance(seconds(1));
    assert_eq!((end(&mut alice).await, calls(&issuer)), (LeaseEnd::Expired, 0));
}
