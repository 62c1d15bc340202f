//! Many requests at once: one call per token, a bound on calls, and the circuit breaker.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use actix_protect_api::{
    TokenFault,
    UpstreamFault::{Failing, Saturated},
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::rt::{self, time::timeout};
use futures_util::future::{join, join_all};
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::circuit_breaker;
use crate::support::{
    server::Server,
    service::{Api, OK, Outcome, api, introspecting, token, upstream},
    time::PATIENCE,
};

const TTL: Duration = Duration::from_secs(60);

/// With a cache and without: sharing calls does not need one.
fn caching(issuer: &TestIssuer, caches: bool) -> actix_protect_api::ProtectApi {
    let builder =
        introspecting(issuer).introspection_cache_duration(if caches { TTL } else { Duration::ZERO });
    builder.build().unwrap()
}

#[actix_web::test]
async fn concurrent_requests_with_one_token_share_one_call_over_all_workers() {
    for caches in [true, false] {
        let issuer = TestIssuer::start();
        let server = Server::start(&caching(&issuer, caches), 4);
        let good = issuer.opaque(json!({}));
        // This fetches the metadata.
        assert_eq!(server.status("another").await, 401);
        issuer.reset_counters();
        issuer.fault(Endpoint::Introspection, Fault::hold().with_delay(Duration::from_millis(50)).always());
        let requests = server.statuses([good.as_str(); 200]);
        let meanwhile = async {
            issuer.received(Endpoint::Introspection, 1).await;
            server.arrived(201).await;
            issuer.release(Endpoint::Introspection);
        };
        let (statuses, ()) =
            timeout(PATIENCE, join(requests, meanwhile)).await.expect("a request does not end");
        assert_eq!(statuses, [200; 200]);
        assert_eq!(issuer.count(Endpoint::Introspection), 1, "caches: {caches}");
    }
}

#[actix_web::test]
async fn different_tokens_do_not_share_a_call() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer)).await;
    let (alice, bob) = (issuer.opaque(json!({ "sub": "alice" })), issuer.opaque(json!({ "sub": "bob" })));
    issuer.fault(Endpoint::Introspection, Fault::hold().always());
    let requests = join(api.get("/", &alice), api.get("/", &bob));
    let meanwhile = async {
        issuer.received(Endpoint::Introspection, 2).await;
        issuer.clear_faults();
    };
    let ((first, second), ()) =
        timeout(PATIENCE, join(requests, meanwhile)).await.expect("a request does not end");
    assert_eq!((&first.body["sub"], &second.body["sub"]), (&json!("alice"), &json!("bob")));
}

#[actix_web::test]
async fn a_caller_that_disconnects_does_not_cancel_the_call_of_others() {
    for caches in [true, false] {
        let issuer = TestIssuer::start();
        let server = Server::start(&caching(&issuer, caches), 4);
        let good = issuer.opaque(json!({}));
        assert_eq!(server.status("another").await, 401);
        issuer.reset_counters();
        issuer.fault(Endpoint::Introspection, Fault::hold().always());

        let mut leader = TcpStream::connect(server.app.address()).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {good}\r\n\r\n");
        leader.write_all(request.as_bytes()).await.unwrap();
        let followers = server.statuses([good.as_str(); 8]);
        let meanwhile = async {
            server.arrived(1 + 1 + 8).await;
            // A reset makes the server drop the request. After an end of the stream it would continue.
            leader.set_zero_linger().unwrap();
            drop(leader);
            rt::time::sleep(Duration::from_millis(100)).await;
            issuer.release(Endpoint::Introspection);
        };
        let lead = issuer.received(Endpoint::Introspection, 1);
        timeout(PATIENCE, lead).await.expect("the leader's call was not made");
        let (statuses, ()) =
            timeout(PATIENCE, join(followers, meanwhile)).await.expect("a request does not end");
        assert_eq!(statuses, [200; 8]);
        assert_eq!(issuer.count(Endpoint::Introspection), 1, "caches: {caches}");
    }
}

#[actix_web::test]
async fn a_failed_call_is_tried_once_more_for_all_who_waited() {
    for caches in [true, false] {
        let issuer = TestIssuer::start();
        let server = Server::start(&caching(&issuer, caches), 4);
        let good = issuer.opaque(json!({}));
        assert_eq!(server.status("another").await, 401);
        issuer.reset_counters();
        issuer.fault(Endpoint::Introspection, Fault::hold().with_status(500));
        issuer.fault(Endpoint::Introspection, Fault::hold().with_status(500).always());
        let requests = server.statuses([good.as_str(); 40]);
        let meanwhile = async {
            issuer.received(Endpoint::Introspection, 1).await;
            server.arrived(41).await;
            issuer.release(Endpoint::Introspection);
            issuer.received(Endpoint::Introspection, 2).await;
            // The other waiting requests have a moment to join the second call.
            rt::time::sleep(Duration::from_millis(100)).await;
            issuer.release(Endpoint::Introspection);
        };
        let (statuses, ()) =
            timeout(PATIENCE, join(requests, meanwhile)).await.expect("a request does not end");
        assert_eq!(statuses, [503; 40]);
        assert_eq!(issuer.count(Endpoint::Introspection), 2, "caches: {caches}");
        issuer.clear_faults();
        assert_eq!(server.status(&good).await, 200, "and nothing of it stays");
    }
}

#[actix_web::test]
async fn one_failed_call_fails_only_the_request_that_made_it() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer)).await;
    let good = issuer.opaque(json!({}));
    assert_eq!(api.outcome(&good).await, OK);
    issuer.fault(Endpoint::Introspection, Fault::hold().with_status(500));
    let requests = join_all((0..20).map(|_| api.outcome(&good)));
    let meanwhile = async {
        issuer.received(Endpoint::Introspection, 2).await;
        issuer.release(Endpoint::Introspection);
    };
    let (outcomes, ()) = timeout(PATIENCE, join(requests, meanwhile)).await.expect("a request does not end");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == OK).count(), 19, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == upstream(Failing)).count(), 1);
    assert_eq!(issuer.count(Endpoint::Introspection), 3);
}

/// Sends this many random tokens at once while introspection does not respond. Returns the outcomes.
async fn spray(api: &Api, issuer: &TestIssuer, tokens: usize, calls: usize) -> Vec<Outcome> {
    issuer.reset_counters();
    issuer.fault(Endpoint::Introspection, Fault::hold().always());
    let random: Vec<_> = (0..tokens).map(|number| format!("random-{number}")).collect();
    let ended = AtomicUsize::new(0);
    let requests = join_all(random.iter().map(|token| async {
        let outcome = api.outcome(token).await;
        ended.fetch_add(1, Ordering::SeqCst);
        outcome
    }));
    let meanwhile = async {
        issuer.received(Endpoint::Introspection, calls).await;
        rt::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(
            issuer.count(Endpoint::Introspection),
            calls,
            "all under way at once: none was answered yet"
        );
        let turned_away = ended.load(Ordering::SeqCst);
        issuer.clear_faults();
        turned_away
    };
    let (outcomes, turned_away) =
        timeout(PATIENCE, join(requests, meanwhile)).await.expect("a request does not end");
    let saturated = outcomes.iter().filter(|outcome| **outcome == upstream(Saturated)).count();
    assert_eq!(turned_away, saturated, "a request without a place is rejected at once");
    outcomes
}

#[actix_web::test]
async fn random_tokens_never_cause_more_calls_at_once_than_allowed() {
    let issuer = TestIssuer::start();
    let strict = api(introspecting(&issuer).max_calls(4).max_waiting(0)).await;
    let good = issuer.opaque(json!({}));
    assert_eq!(strict.outcome(&good).await, OK);
    let outcomes = spray(&strict, &issuer, 60, 4).await;
    let inactive = outcomes.iter().filter(|outcome| **outcome == token(TokenFault::Inactive)).count();
    let saturated = outcomes.iter().filter(|outcome| **outcome == upstream(Saturated)).count();
    assert_eq!((inactive, saturated), (4, 56));
    assert_eq!(strict.outcome(&good).await, OK, "the places are given back");
}

#[actix_web::test]
async fn a_bounded_number_of_requests_waits_for_a_place() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer).max_calls(4).max_waiting(10)).await;
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    let outcomes = spray(&api, &issuer, 60, 4).await;
    let inactive = outcomes.iter().filter(|outcome| **outcome == token(TokenFault::Inactive)).count();
    assert_eq!(inactive, 14);
    assert_eq!(issuer.count(Endpoint::Introspection), 14);
}

#[actix_web::test]
async fn broken_answers_and_refusals_of_one_token_do_not_pause_the_others() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer)).await;
    let good = issuer.opaque(json!({}));
    issuer.set_answer("broken", "{\"active\":\"true\"}");
    for _ in 0..10 {
        assert_eq!(api.get("/", "broken").await.status, 503);
    }
    issuer.fault(
        Endpoint::Introspection,
        Fault::status(401).with_body(r#"{"error":"invalid_client"}"#).times(10),
    );
    for _ in 0..10 {
        assert_eq!(api.get("/", &good).await.status, 500);
    }
    assert_eq!(api.outcome(&good).await, OK);
}

#[actix_web::test]
async fn jwts_and_cached_verdicts_are_accepted_during_a_pause() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer).introspection_cache_duration(TTL)).await;
    let (good, jwt) = (issuer.opaque(json!({})), issuer.jwt(json!({})));
    assert_eq!(api.outcome(&good).await, OK);
    issuer.fault(Endpoint::Introspection, Fault::status(500).always());
    circuit_breaker::pauses(&api, Failing).await;
    assert_eq!((api.outcome(&good).await, api.outcome(&jwt).await), (OK, OK));
}
