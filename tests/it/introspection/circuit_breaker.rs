//! The circuit breaker: failures of one token do not open it, and no calls are made to a server that is down.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use actix_protect_api::{
    Clock as _, IntrospectionState, ProtectApi, TokenFault, UpstreamFault,
    UpstreamFault::{Failing, Paused, TimedOut, Unreachable},
    test::{Endpoint, Fault, TestClock, TestIssuer},
};
use actix_web::rt::time::{sleep, timeout};
use futures_util::future::join;
use serde_json::json;

use crate::support::{
    logs,
    net::unused_address,
    service::{Api, OK, api, api_with, introspecting, timed_issuer, token, upstream},
    time::{PATIENCE, seconds},
};

/// Sends tokens that fail in this way until introspection pauses. Returns how many failed.
pub(crate) async fn pauses(api: &Api, fault: UpstreamFault) -> usize {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let mut failed = 0;
    let pausing = async {
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let outcome = api.outcome(&format!("failing-{number}")).await;
            if outcome == upstream(Paused) {
                return;
            }
            assert_eq!(outcome, upstream(fault));
            failed += 1;
        }
    };
    timeout(PATIENCE, pausing).await.expect("introspection does not pause");
    failed
}

/// Waits until a new token is accepted.
async fn recovers(api: &Api, issuer: &TestIssuer) {
    let recovering = async {
        while api.outcome(&issuer.opaque(json!({}))).await != OK {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, recovering).await.expect("introspection does not resume");
}

#[actix_web::test]
async fn a_server_that_fails_is_paused_until_one_health_check_succeeds() {
    let (issuer, clock) = timed_issuer();
    let api = api(introspecting(&issuer).clock(clock.clone())).await;
    let good = issuer.opaque(json!({}));
    assert_eq!(api.outcome(&good).await, OK);
    issuer.reset_counters();
    issuer.fault(Endpoint::Introspection, Fault::status(500).always());
    let failed = pauses(&api, Failing).await;
    let calls = issuer.count(Endpoint::Introspection);
    assert_eq!(calls, failed + 1, "one health check");
    for number in 0..50 {
        let answer = api.get("/", &format!("random-{number}")).await;
        assert_eq!((answer.outcome(), answer.retry_after), (upstream(Paused), Some(1)));
    }
    assert_eq!(issuer.count(Endpoint::Introspection), calls);

    // Two calls are made: the health check and one token that has not failed. The other requests do not wait.
    issuer.clear_faults();
    issuer.fault(Endpoint::Introspection, Fault::hold().always());
    clock.advance(seconds(1));
    let others = async {
        issuer.received(Endpoint::Introspection, calls + 2).await;
        for number in 0..20 {
            let answer = api.get("/", &format!("random-{number}")).await;
            assert_eq!((answer.outcome(), answer.retry_after), (upstream(Paused), Some(1)));
        }
        issuer.clear_faults();
    };
    let (probe, ()) =
        timeout(PATIENCE, join(api.outcome(&good), others)).await.expect("a request does not end");
    assert_eq!(probe, OK);
    assert_eq!(issuer.count(Endpoint::Introspection), calls + 2);
    assert_eq!(api.outcome("random").await, token(TokenFault::Inactive));
}

#[actix_web::test]
async fn every_way_of_failing_counts_for_the_pause() {
    let issuer = TestIssuer::start();
    let (long, short) = (PATIENCE, Duration::from_millis(100));
    for (fault, deadline, expected) in [
        (Fault::status(503), long, Failing),
        (Fault::status(429), long, Failing),
        (Fault::reset(), long, Unreachable),
        (Fault::close(), long, Unreachable),
        (Fault::hold(), short, TimedOut),
        (Fault::trickle(Duration::from_millis(30)), short, TimedOut),
    ] {
        let endpoint = issuer.url(Endpoint::Introspection);
        let builder = introspecting(&issuer).introspection_endpoint(endpoint).response_timeout(deadline);
        let api = api(builder).await;
        issuer.fault(Endpoint::Introspection, fault.always());
        pauses(&api, expected).await;
        issuer.clear_faults();
        recovers(&api, &issuer).await;
    }
}

#[actix_web::test]
async fn five_connections_that_fail_are_enough() {
    let issuer = TestIssuer::start();
    let api =
        api(introspecting(&issuer).introspection_endpoint(format!("http://{}/introspect", unused_address())))
            .await;
    for _ in 0..5 {
        assert_eq!(api.outcome("the-same-token").await, upstream(Unreachable));
    }
    assert_eq!(api.outcome("another").await, upstream(Paused));
}

#[actix_web::test]
async fn a_failed_health_check_prolongs_the_pause_and_a_token_that_failed_is_no_probe() {
    let (issuer, clock) = timed_issuer();
    let api = api(introspecting(&issuer).clock(clock.clone())).await;
    issuer.fault(Endpoint::Introspection, Fault::status(500).always());
    assert_eq!(api.outcome("bad").await, upstream(Failing));
    pauses(&api, Failing).await;
    let calls = issuer.count(Endpoint::Introspection);
    clock.advance(seconds(1));
    let answer = api.get("/", "bad").await;
    assert_eq!((answer.outcome(), answer.retry_after), (upstream(Paused), Some(2)));
    let requests = issuer.requests(Endpoint::Introspection);
    assert_eq!(requests.len(), calls + 1);
    assert_ne!(requests.last().unwrap().form()["token"], "bad", "the health check");
    issuer.clear_faults();
    clock.advance(seconds(2));
    assert_eq!(api.outcome("bad").await, token(TokenFault::Inactive), "after the health check");
}

#[actix_web::test]
async fn a_retry_after_is_heeded_for_its_token_and_for_all_if_the_server_asks_again() {
    let (issuer, clock) = timed_issuer();
    let api = api(introspecting(&issuer).clock(clock.clone())).await;
    let (good, other) = (issuer.opaque(json!({})), issuer.opaque(json!({})));
    let busy = || Fault::status(429).with_header("Retry-After", "30");
    issuer.fault(Endpoint::Introspection, busy().for_tokens(&good));
    assert_eq!(api.get("/", &good).await.retry_after, Some(30));
    let answer = api.get("/", &good).await;
    assert_eq!((answer.outcome(), answer.retry_after), (upstream(Paused), Some(30)));
    assert_eq!(api.outcome(&other).await, OK);
    clock.advance(seconds(30));
    assert_eq!(api.outcome(&good).await, OK);

    clock.advance(seconds(3));
    issuer.fault(Endpoint::Introspection, busy().always());
    pauses(&api, Failing).await;
    assert_eq!(api.get("/", &other).await.retry_after, Some(30));
    issuer.clear_faults();
    clock.advance(seconds(30));
    assert_eq!(api.outcome(&other).await, OK);
}

#[actix_web::test]
async fn one_token_that_fails_repeatedly_does_not_block_others() {
    for fault in [
        Fault::status(500),
        Fault::status(503).with_header("Retry-After", "1"),
        Fault::status(429).with_header("Retry-After", "60"),
        Fault::status(408),
        Fault::reset(),
        Fault::close(),
        Fault::hold(),
    ] {
        let issuer = TestIssuer::start();
        let api = api(introspecting(&issuer).response_timeout(Duration::from_millis(200))).await;
        issuer.fault(Endpoint::Introspection, fault.clone().for_tokens("bad").always());
        for _ in 0..40 {
            assert_eq!(api.get("/", "bad").await.status, 503, "{fault:?}");
            assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK, "{fault:?}");
        }
        let requests = issuer.requests(Endpoint::Introspection);
        let bad = requests.iter().filter(|request| request.form()["token"] == "bad").count();
        assert!(bad <= 16, "it backs off: {bad} calls for {fault:?}");
    }
}

/// A connection that breaks after the request was sent does not count as a failed connection.
#[actix_web::test]
async fn tokens_for_which_the_connection_breaks_do_not_block_others() {
    for fault in [Fault::close(), Fault::reset()] {
        for is_hardened in [true, false] {
            for is_one_token in [true, false] {
                let issuer = TestIssuer::start();
                let api = if is_hardened {
                    api(introspecting(&issuer)).await
                } else {
                    api_with(introspecting(&issuer), awc::Client::default()).await
                };
                issuer.fault(Endpoint::Introspection, fault.clone().for_tokens("bad").always());
                for round in 0..10 {
                    for number in 0..20 {
                        let bad =
                            if is_one_token { "bad".to_owned() } else { format!("bad-{round}-{number}") };
                        assert_eq!(api.get("/", &bad).await.status, 503);
                    }
                    let good = api.outcome(&issuer.opaque(json!({}))).await;
                    assert_eq!(good, OK, "{fault:?} {is_hardened} {is_one_token} {round}");
                }
            }
        }
    }
}

#[actix_web::test]
async fn many_failing_tokens_do_not_block_good_ones() {
    // No other token succeeds in between, so that only the health check counts.
    let (issuer, clock) = timed_issuer();
    let api = api(introspecting(&issuer).clock(clock.clone())).await;
    issuer.fault(Endpoint::Introspection, Fault::status(500).for_tokens("made-up").always());
    for number in 0..300 {
        assert_eq!(api.outcome(&format!("made-up-{number}")).await, upstream(Failing), "{number}");
        clock.advance(Duration::from_millis(100));
    }
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    assert!(issuer.count(Endpoint::Introspection) <= 300 + 31 + 1, "one health check in a second");
}

#[actix_web::test]
async fn a_server_that_fails_for_every_unknown_token_serves_the_known_ones() {
    let (issuer, clock) = timed_issuer();
    let api = api(introspecting(&issuer).clock(clock.clone())).await;
    let good = issuer.opaque(json!({}));
    clock.advance(seconds(10));
    issuer.fault(Endpoint::Introspection, Fault::real().for_tokens(&good).always());
    issuer.fault(Endpoint::Introspection, Fault::status(500).always());
    for number in 0..300 {
        assert_eq!(api.get("/", &format!("made-up-{number}")).await.status, 503);
        if number % 10 == 0 {
            assert_eq!(api.outcome(&good).await, OK, "{number}");
        }
        clock.advance(Duration::from_millis(100));
    }
}

/// A server that responds 500 to every unknown token.
fn fails_for_unknown_tokens(issuer: &TestIssuer, known: &[String]) {
    for token in known {
        issuer.fault(Endpoint::Introspection, Fault::real().for_tokens(token).always());
    }
    issuer.fault(Endpoint::Introspection, Fault::status(500).always());
}

/// Sends an invented token per `invented`, and a valid one per `valid`. Returns how many valid requests were sent after the
/// first second, and how many of them were accepted.
async fn attack(api: &Api, clock: &TestClock, good: &[String], invented: u64, valid: u64) -> (usize, usize) {
    let (mut all, mut accepted) = (0, 0);
    let mut tokens = good.iter().cycle();
    for time in (0..20_000).step_by(usize::try_from(invented).unwrap()) {
        assert_eq!(api.get("/", &format!("made-up-{time}")).await.status, 503);
        if time % valid == valid / 2 {
            let is_accepted = api.outcome(tokens.next().unwrap()).await == OK;
            if time > 1000 {
                all += 1;
                accepted += usize::from(is_accepted);
            }
        }
        clock.advance(Duration::from_millis(invented));
    }
    (all, accepted)
}

#[actix_web::test]
async fn an_attack_that_starts_in_a_quiet_moment_does_not_reject_known_tokens() {
    for (invented, valid) in [(5, 100), (20, 200), (20, 2500)] {
        let (issuer, clock) = timed_issuer();
        let api = api(introspecting(&issuer).clock(clock.clone())).await;
        let good: Vec<_> = (0..20).map(|_| issuer.opaque(json!({}))).collect();
        fails_for_unknown_tokens(&issuer, &good);
        for token in &good {
            assert_eq!(api.outcome(token).await, OK);
        }
        clock.advance(seconds(3));
        let (all, accepted) = attack(&api, &clock, &good, invented, valid).await;
        assert!(accepted * 10 >= all * 9, "{accepted} of {all}, each {valid} ms");
    }
}

#[actix_web::test]
async fn an_attack_does_not_keep_out_tokens_that_were_never_introspected() {
    let (issuer, clock) = timed_issuer();
    let api = api(introspecting(&issuer).clock(clock.clone())).await;
    let good: Vec<_> = (0..100).map(|_| issuer.opaque(json!({}))).collect();
    fails_for_unknown_tokens(&issuer, &good);
    clock.advance(seconds(3));
    let (all, accepted) = attack(&api, &clock, &good, 20, 200).await;
    assert!(accepted > 0, "of {all}");
}

#[actix_web::test]
async fn an_outage_of_responses_with_500_leaves_a_small_rate_of_calls() {
    let (issuer, clock) = timed_issuer();
    let protect: ProtectApi = introspecting(&issuer).clock(clock.clone()).build().unwrap();
    let api = Api::of(&protect, None).await;
    let good: Vec<_> = (0..100).map(|_| issuer.opaque(json!({}))).collect();
    for token in &good {
        assert_eq!(api.outcome(token).await, OK);
    }
    clock.advance(seconds(3));
    issuer.fault(Endpoint::Introspection, Fault::status(500).always());
    pauses(&api, Failing).await;
    issuer.reset_counters();
    for number in 0..1000 {
        assert_eq!(api.get("/", &format!("new-{number}")).await.status, 503);
        assert_eq!(api.get("/", &good[number % 100]).await.status, 503);
        assert_ne!(protect.status().introspection, IntrospectionState::Calling);
        clock.advance(Duration::from_millis(10));
    }
    let calls = issuer.count(Endpoint::Introspection);
    assert!((20..=10 * 21).contains(&calls), "{calls} calls in 10 s");

    // A timeout, a broken connection and a `Retry-After` leave no calls.
    for fault in [Fault::reset(), Fault::status(503).with_header("Retry-After", "30")] {
        issuer.clear_faults();
        issuer.fault(Endpoint::Introspection, fault.always());
        clock.advance(seconds(60));
        assert_eq!(api.get("/", "starts-the-check").await.status, 503);
        timeout(PATIENCE, async {
            while protect.status().introspection != IntrospectionState::Paused {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the health check does not end");
        issuer.reset_counters();
        for number in 0..10 {
            assert_eq!(api.outcome(&format!("paused-{number}")).await, upstream(Paused));
            clock.advance(Duration::from_millis(90));
        }
        assert_eq!(issuer.count(Endpoint::Introspection), 0);
    }
}

#[actix_web::test]
async fn records_of_pauses_do_not_fill_the_log() {
    logs::capture();
    let (issuer, clock) = timed_issuer();
    let protect: ProtectApi = introspecting(&issuer).clock(clock.clone()).build().unwrap();
    let api = Api::of(&protect, None).await;
    for _ in 0..10 {
        issuer.fault(Endpoint::Introspection, Fault::status(500).always());
        let mut number = 0;
        let pausing = async {
            while protect.status().introspection != IntrospectionState::Paused {
                let _outcome = api.outcome(&format!("down-{}-{number}", clock.unix_time())).await;
                number += 1;
                clock.advance(Duration::from_millis(100));
            }
        };
        timeout(PATIENCE, pausing).await.expect("introspection does not pause");
        issuer.clear_faults();
        clock.advance(seconds(2));
        recovers(&api, &issuer).await;
        assert_eq!(protect.status().introspection, IntrospectionState::Calling);
    }
    let told = |event: &str| {
        let of = |record: &logs::Record| {
            record.value("event") == event
                && record.value("issuer") == issuer.issuer()
                && record.level <= log::Level::Info
        };
        logs::count(of)
    };
    // At most 55 seconds have passed.
    assert!((1..=6).contains(&told("introspection_paused")), "{}", told("introspection_paused"));
    assert_eq!(told("introspection_resumed"), told("introspection_paused"), "each has its end");
}
