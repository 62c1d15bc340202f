//! Cached verdicts: which requests make no call, and that the cache changes no decision.

use std::time::Duration;

use actix_protect_api::{
    ClientAuthentication, Clock as _, ProtectApi, TokenFault,
    UpstreamFault::{BadAnswer, Failing, TimedOut, Unreachable},
    test::{Endpoint, Fault, TestClock, TestIssuer},
};
use actix_web::{App, rt::time::timeout, web};
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::support::{
    service::{
        Api, NO_SCOPE, OK, Outcome, api, introspecting, setup, status_of, timed_issuer, token, upstream,
    },
    store::{Mode, Store},
    time::seconds,
};

const TTL: Duration = Duration::from_secs(100);
const INACTIVE: Outcome = token(TokenFault::Inactive);

/// An issuer and an API that caches verdicts, with the same clock.
async fn timed() -> (TestIssuer, TestClock, Api) {
    let (issuer, clock) = timed_issuer();
    let builder = introspecting(&issuer).clock(clock.clone()).introspection_cache_duration(TTL);
    let api = api(builder.inactive_cache_duration(TTL)).await;
    (issuer, clock, api)
}

fn calls(issuer: &TestIssuer) -> usize {
    issuer.count(Endpoint::Introspection)
}

/// Without health checks.
fn calls_for(issuer: &TestIssuer, token: &str) -> usize {
    let requests = issuer.requests(Endpoint::Introspection);
    requests.iter().filter(|request| request.form()["token"] == token).count()
}

#[actix_web::test]
async fn a_cached_verdict_needs_no_call() {
    let (issuer, _clock, api) = timed().await;
    let good = issuer.opaque(json!({ "sub": "alice", "scope": "read" }));
    let first = api.get("/", &good).await;
    assert_eq!((first.outcome(), &first.body["sub"]), (OK, &json!("alice")));
    for _ in 0..5 {
        assert_eq!(api.get("/", &good).await, first);
    }
    assert_eq!(calls(&issuer), 1);
}

#[actix_web::test]
async fn a_cached_verdict_does_not_pass_a_route_that_requires_more() {
    let (issuer, _clock, api) = timed().await;
    let reader = issuer.opaque(json!({ "scope": "read" }));
    assert_eq!(api.outcome_at("/read", &reader).await, OK);
    let refused = api.get("/write", &reader).await;
    assert_eq!(refused.outcome(), NO_SCOPE);
    assert!(refused.challenge.unwrap().contains("scope=\"write\""));
    assert_eq!(api.outcome_at("/any", &reader).await, OK);
    assert_eq!(api.get("/team", &reader).await.status, 403);
    assert_eq!(calls(&issuer), 1);
}

#[actix_web::test]
async fn a_rejection_for_a_missing_scope_caches_the_verdict_too() {
    let (issuer, _clock, api) = timed().await;
    let reader = issuer.opaque(json!({ "scope": "read" }));
    assert_eq!(api.outcome_at("/write", &reader).await, NO_SCOPE);
    assert_eq!(api.outcome_at("/read", &reader).await, OK);
    assert_eq!(calls(&issuer), 1);
}

#[actix_web::test]
async fn the_verdict_of_a_token_for_another_api_is_cached() {
    let (issuer, _clock, api) = timed().await;
    let foreign = issuer.opaque(json!({ "aud": "https://other.example.test" }));
    for _ in 0..3 {
        assert_eq!(api.outcome(&foreign).await, token(TokenFault::Audience));
    }
    assert_eq!(calls(&issuer), 1);
}

#[actix_web::test]
async fn a_verdict_is_cached_for_its_duration() {
    let (issuer, clock, api) = timed().await;
    // Without `exp`, only the duration ends it.
    let good = issuer.opaque(json!({ "exp": null }));
    assert_eq!(api.outcome(&good).await, OK);
    issuer.revoke(&good);
    // The duration is shortened by up to a tenth.
    clock.advance(seconds(89));
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 1));
    clock.advance(seconds(11));
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (INACTIVE, 2));
}

#[actix_web::test]
async fn a_cached_verdict_ends_with_its_token_without_tolerance() {
    let (issuer, clock, api) = timed().await;
    let good = issuer.opaque(json!({ "exp": clock.unix_time() + 30, "iat": null }));
    assert_eq!(api.outcome(&good).await, OK);
    clock.advance(seconds(29));
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 1));
    clock.advance(seconds(1));
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (INACTIVE, 2), "the issuer was asked");
}

/// The response has no `exp`, or a later one: the `exp` of the JWT counts.
#[actix_web::test]
async fn the_cached_verdict_of_an_introspected_jwt_ends_at_the_exp_of_the_jwt() {
    for (skew, in_store, later) in
        [(0_u64, false, true), (0, true, true), (0, false, false), (20, true, false), (20, false, false)]
    {
        let (issuer, clock) = timed_issuer();
        let builder = introspecting(&issuer).introspect_jwt_tokens(true).clock(clock.clone());
        let builder = builder.introspection_cache_duration(seconds(300)).clock_skew(seconds(skew));
        let store = Store::default();
        let api = api(if in_store { builder.cache_store(store) } else { builder }).await;
        let now = clock.unix_time();
        let jwt = issuer.jwt(json!({ "exp": now + 100 }));
        let mut answer = json!({ "active": true, "iss": issuer.issuer(), "aud": issuer.audience() });
        if later {
            answer["exp"] = json!(now + 1000);
        }
        issuer.set_answer(&jwt, &answer.to_string());
        assert_eq!(api.outcome(&jwt).await, OK);
        let left = 100 - skew;
        clock.advance(seconds(left - 1));
        assert_eq!((api.outcome(&jwt).await, calls(&issuer)), (OK, 1));
        clock.advance(seconds(1));
        api.outcome(&jwt).await.ok();
        let asked_again = calls(&issuer);
        clock.advance(seconds(190));
        assert_eq!(api.outcome(&jwt).await, token(TokenFault::Expired), "{skew} {in_store} {later}");
        assert_eq!(calls(&issuer), asked_again);
    }
}

#[actix_web::test]
async fn a_clock_that_is_set_back_prolongs_nothing() {
    let (issuer, clock, api) = timed().await;
    let now = clock.unix_time();
    let (short, long) = (issuer.opaque(json!({ "exp": now + 30 })), issuer.opaque(json!({ "exp": null })));
    assert_eq!((api.outcome(&short).await, api.outcome(&long).await), (OK, OK));
    issuer.revoke(&short);
    issuer.revoke(&long);
    clock.set_unix_time(now - 10_000);
    assert_eq!((api.outcome(&short).await, calls(&issuer)), (OK, 2), "its time is not over");
    clock.advance(seconds(30));
    assert_eq!(api.outcome(&short).await, INACTIVE);
    clock.advance(seconds(70));
    assert_eq!(api.outcome(&long).await, INACTIVE);
    assert_eq!(calls(&issuer), 4);
}

#[actix_web::test]
async fn an_inactive_verdict_is_kept_no_longer_than_the_duration() {
    let (issuer, clock, api) = timed().await;
    let late = issuer.opaque(json!({}));
    let good = json!({ "active": true, "iss": issuer.issuer(), "aud": issuer.audience() }).to_string();
    issuer.set_answer(&late, "{\"active\":false}");
    for _ in 0..3 {
        assert_eq!(api.outcome(&late).await, INACTIVE);
    }
    assert_eq!(calls(&issuer), 1);
    issuer.set_answer(&late, &good);
    clock.advance(seconds(89));
    assert_eq!((api.outcome(&late).await, calls(&issuer)), (INACTIVE, 1));
    clock.advance(seconds(11));
    assert_eq!((api.outcome(&late).await, calls(&issuer)), (OK, 2));
}

#[actix_web::test]
async fn a_failure_is_not_cached() {
    let faults = [
        (Fault::status(500), upstream(Failing)),
        (Fault::status(429), upstream(Failing)),
        (Fault::reset().times(2), upstream(Unreachable)),
        (Fault::truncate(), upstream(BadAnswer)),
        (Fault::body("{}"), upstream(BadAnswer)),
        (Fault::body("{\"active\":\"false\"}"), upstream(BadAnswer)),
        (Fault::hold(), upstream(TimedOut)),
        (
            Fault::status(401).with_body(r#"{"error":"invalid_client"}"#),
            setup(actix_protect_api::SetupFault::Refused),
        ),
    ];
    for (fault, wanted) in faults {
        let issuer = TestIssuer::start();
        let builder = introspecting(&issuer).introspection_cache_duration(TTL).response_timeout(seconds(2));
        let api = api(builder).await;
        let good = issuer.opaque(json!({}));
        issuer.fault(Endpoint::Introspection, fault);
        assert_eq!(api.outcome(&good).await, wanted);
        let failed = calls_for(&issuer, &good);
        for _ in 0..2 {
            assert_eq!(
                (api.outcome(&good).await, calls_for(&issuer, &good)),
                (OK, failed + 1),
                "after {wanted:?}"
            );
        }
    }
}

#[actix_web::test]
async fn one_token_at_two_issuers_and_of_two_clients_are_different_tokens() {
    // In memory, each configuration has a separate cache; the store is common to all.
    for store in [None, Some(Store::default())] {
        let issuers = [TestIssuer::start(), TestIssuer::builder().client("second", "second-secret").start()];
        let second = ProtectApi::builder(issuers[1].issuer(), issuers[1].audience())
            .client("second", ClientAuthentication::client_secret_basic("second-secret"));
        let mut apis = Vec::new();
        for (issuer, builder) in [
            (&issuers[0], introspecting(&issuers[0])),
            (&issuers[1], introspecting(&issuers[1])),
            (&issuers[1], second),
        ] {
            let (iss, aud) = (issuer.issuer(), issuer.audience());
            let body = json!({ "active": true, "iss": iss, "aud": aud, "sub": iss });
            issuer.set_answer("shared", &body.to_string());
            let builder = builder.introspection_cache_duration(TTL);
            apis.push((
                issuer,
                api(store.iter().cloned().fold(builder, actix_protect_api::ProtectApiBuilder::cache_store))
                    .await,
            ));
        }
        for _ in 0..2 {
            for (issuer, api) in &apis {
                assert_eq!(api.get("/", "shared").await.body["sub"], issuer.issuer());
            }
        }
        assert_eq!((calls(&issuers[0]), calls(&issuers[1])), (1, 2));
    }
}

#[actix_web::test]
async fn a_fresh_verdict_replaces_the_cached_one() {
    let (issuer, clock, api) = timed().await;
    let good = issuer.opaque(json!({}));
    assert_eq!(api.outcome(&good).await, OK);
    clock.advance(seconds(1));
    issuer.revoke(&good);
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 1));
    assert_eq!((api.outcome_at("/fresh", &good).await, calls(&issuer)), (INACTIVE, 2));
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (INACTIVE, 2));
}

#[actix_web::test]
async fn random_tokens_do_not_evict_good_ones() {
    let issuer = TestIssuer::start();
    let builder = introspecting(&issuer).introspection_cache_duration(TTL).cache_entries(8);
    let api = api(builder).await;
    let good = issuer.opaque(json!({}));
    assert_eq!(api.outcome(&good).await, OK);
    for number in 0..200 {
        assert_eq!(api.outcome(&format!("random-{number}")).await, INACTIVE);
    }
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 201));
}

#[actix_web::test]
async fn cached_verdicts_are_used_during_an_outage() {
    let (issuer, clock) = timed_issuer();
    let builder = introspecting(&issuer).clock(clock.clone()).introspection_cache_duration(seconds(10_000));
    let builder = builder.inactive_cache_duration(seconds(10_000));
    let builder =
        builder.metadata_cache_duration(seconds(10)).jwks_cache_duration(seconds(10)).max_stale(seconds(20));
    let api = api(builder).await;
    let (good, bad) = (issuer.opaque(json!({ "exp": null })), issuer.opaque(json!({})));
    issuer.revoke(&bad);
    assert_eq!((api.outcome(&good).await, api.outcome(&bad).await), (OK, INACTIVE));
    drop(issuer);
    for _ in 0..3 {
        clock.advance(seconds(1000));
        assert_eq!((api.outcome(&good).await, api.outcome(&bad).await), (OK, INACTIVE));
    }
    assert_eq!(api.outcome("unheard-of").await, upstream(Unreachable));
    assert_eq!(api.outcome_at("/fresh", &good).await, upstream(Unreachable), "a fresh verdict cannot be had");
}

async fn with_store(issuer: &TestIssuer, store: &Store) -> Api {
    let builder = introspecting(issuer).introspection_cache_duration(TTL).inactive_cache_duration(TTL);
    api(builder.cache_store(store.clone())).await
}

#[actix_web::test]
async fn a_custom_store_is_shared_and_gets_no_token() {
    let (issuer, store) = (TestIssuer::start(), Store::default());
    // Two configurations, as if they were two processes.
    let (one, other) = (with_store(&issuer, &store).await, with_store(&issuer, &store).await);
    let (good, bad) = (issuer.opaque(json!({ "sub": "alice" })), issuer.opaque(json!({})));
    issuer.revoke(&bad);
    assert_eq!((one.outcome(&good).await, one.outcome(&bad).await), (OK, INACTIVE));
    assert_eq!(other.get("/", &good).await.body["sub"], "alice");
    assert_eq!(other.outcome(&bad).await, INACTIVE);
    assert_eq!(calls(&issuer), 2);
    let dump = format!("{:?}", store.entries());
    assert!(dump.contains("alice") && !dump.contains(&good) && !dump.contains(&bad), "{dump}");
    assert!(!dump.contains(issuer.client_secret()));
}

#[actix_web::test]
async fn a_store_that_fails_or_hangs_is_a_miss() {
    for mode in [Mode::Failing("the store is down"), Mode::Hanging] {
        let (issuer, store) = (TestIssuer::start(), Store::default());
        let api = with_store(&issuer, &store).await;
        let good = issuer.opaque(json!({}));
        assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 1));
        store.set_mode(mode);
        let before = store.calls();
        let outcome = timeout(seconds(8), api.outcome(&good)).await.expect("the request hangs");
        assert_eq!((outcome, calls(&issuer)), (OK, 2), "{mode:?}");
        assert_eq!(store.calls(), before + 2, "one read and one write");
        let inactive = timeout(seconds(8), api.outcome("unheard-of")).await.expect("the request hangs");
        assert_eq!(inactive, INACTIVE);
        store.set_mode(Mode::Working);
        assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 3), "what was there is still good");
    }
}

#[actix_web::test]
async fn entries_that_another_program_wrote_into_the_store_are_validated() {
    let (issuer, store) = (TestIssuer::start(), Store::default());
    let api = with_store(&issuer, &store).await;
    let bad = issuer.opaque(json!({}));
    issuer.revoke(&bad);
    assert_eq!(api.outcome(&bad).await, INACTIVE);
    let now = TestClock::new().unix_time();
    let claims = json!({ "iss": issuer.issuer(), "aud": issuer.audience() });
    for entry in [
        "nonsense".to_owned(),
        json!({ "active": true, "stored_at": now }).to_string(),
        json!({ "active": "true", "claims": claims, "stored_at": now }).to_string(),
        json!({ "active": true, "claims": claims, "stored_at": now - 100 }).to_string(),
        json!({ "active": true, "claims": claims, "stored_at": now + 1000 }).to_string(),
        json!({ "active": true, "claims": { "exp": now - 1 }, "stored_at": now }).to_string(),
    ] {
        store.replace_entries(&entry);
        let before = calls(&issuer);
        assert_eq!((api.outcome(&bad).await, calls(&issuer)), (INACTIVE, before + 1), "{entry}");
    }
}

/// Claims as issuers send them, good and bad, around this time.
fn any_claims(issuer: &TestIssuer, now: i64) -> impl Strategy<Value = Value> + use<> {
    let (iss, aud) = (issuer.issuer().to_owned(), issuer.audience().to_owned());
    let mostly = |good: Value, odd: Vec<Value>| prop_oneof![4 => Just(good), 1 => prop::sample::select(odd)];
    let one_of = |values: Vec<Value>| prop::sample::select(values);
    let (scope, members) = (json!("write read"), json!([{ "id": "engineering" }]));
    (
        mostly(json!(true), vec![json!(false), json!("true")]),
        mostly(json!(iss), vec![json!("https://issuer.example.test"), json!(null)]),
        mostly(json!(aud), vec![json!([aud, "b"]), json!("b"), json!(null), json!(7)]),
        one_of(vec![json!("read"), scope, json!(["write"]), json!(""), json!(null), json!(1)]),
        one_of(vec![json!(["engineering"]), members, json!("engineering"), json!(null)]),
        prop_oneof![Just(Value::Null), (-80..300_i64).prop_map(move |offset| json!(now + offset))],
        prop_oneof![4 => Just(Value::Null), 1 => (-10..100_i64).prop_map(move |offset| json!(now + offset))],
    )
        .prop_map(|(active, iss, aud, scope, groups, exp, nbf)| {
            json!({
                "active": active, "iss": iss, "aud": aud, "scope": scope, "groups": groups, "exp": exp, "nbf": nbf,
            })
        })
}

#[actix_web::test]
async fn decisions_with_a_cached_verdict_equal_those_with_a_new_one() {
    let (issuer, clock, caching) = timed().await;
    let asking = api(introspecting(&issuer).clock(clock.clone())).await;
    let paths = || Just(vec!["/", "/read", "/write", "/any", "/team"]).prop_shuffle();
    let mut runner = TestRunner::default();
    let (mut saved, mut let_through) = (0, 0);
    for number in 0..60 {
        let cases = (any_claims(&issuer, clock.unix_time()), paths(), prop::collection::vec(0..40_u64, 5));
        let (claims, paths, pauses) = cases.new_tree(&mut runner).unwrap().current();
        let any = format!("token-{number}");
        issuer.set_answer(&any, &claims.to_string());
        for (path, pause) in paths.into_iter().zip(pauses) {
            let fresh = asking.get(path, &any).await;
            let before = calls(&issuer);
            assert_eq!(caching.get(path, &any).await, fresh, "{path} {claims} at {}", clock.unix_time());
            saved += usize::from(calls(&issuer) == before);
            let_through += usize::from(fresh.status == 200);
            clock.advance(seconds(pause));
        }
    }
    assert!(saved > 50 && let_through > 10, "too few of each to mean anything: {saved}, {let_through}");
}

#[actix_web::test]
async fn an_evicted_token_is_introspected_again() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).introspection_cache_duration(TTL).build().unwrap();
    let api = Api::of(&protect, None).await;
    let (alice, bob) = (issuer.opaque(json!({"sub": "alice"})), issuer.opaque(json!({"sub": "bob"})));
    for known in [&alice, &bob] {
        assert_eq!(api.outcome(known).await, OK);
        issuer.revoke(known);
        assert_eq!(api.outcome(known).await, OK, "the verdict is kept");
    }
    protect.evict(&alice).await.unwrap();
    assert_eq!(api.outcome(&alice).await, INACTIVE);
    assert_eq!(api.outcome(&bob).await, OK);
    protect.evict_subject("bob").unwrap();
    assert_eq!(api.outcome(&bob).await, token(TokenFault::Inactive));

    let carol = issuer.opaque(json!({"sub": "carol"}));
    assert_eq!(api.outcome(&carol).await, OK);
    issuer.revoke(&carol);
    protect.clear_caches().unwrap();
    assert_eq!(api.outcome(&carol).await, token(TokenFault::Inactive));
}

#[actix_web::test]
async fn a_request_after_an_eviction_joins_no_earlier_call() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).introspection_cache_duration(TTL).build().unwrap();
    let api = Api::of(&protect, None).await;
    let bearer = issuer.opaque(json!({"sub": "alice"}));
    issuer.fault(Endpoint::Introspection, Fault::hold());
    let late = async {
        issuer.received(Endpoint::Introspection, 1).await;
        issuer.revoke(&bearer);
        protect.evict(&bearer).await.unwrap();
        assert_eq!(api.outcome(&bearer).await, INACTIVE);
        issuer.release(Endpoint::Introspection);
    };
    let (early, ()) = futures_util::future::join(api.outcome(&bearer), late).await;
    assert_eq!(early, INACTIVE);
    assert_eq!(issuer.count(Endpoint::Introspection), 3, "the verdict of the early call is not used");
}

#[actix_web::test]
async fn an_eviction_applies_to_the_verdicts_of_a_store() {
    let (issuer, clock) = timed_issuer();
    let protect = timed_with(&issuer, &clock, TTL, Some(&Store::default()));
    let api = Api::of(&protect, None).await;
    let bearer = issuer.opaque(json!({"sub": "alice"}));
    assert!(
        protect.evict(&bearer).await.is_err(),
        "nothing is known yet of what the store's keys are made of"
    );
    assert_eq!(api.outcome(&bearer).await, OK);
    protect.evict(&bearer).await.unwrap();
    let evictions: [fn(&ProtectApi); 2] =
        [|protect| protect.evict_subject("alice").unwrap(), |protect| protect.clear_caches().unwrap()];
    for evict in evictions {
        // Entries of a store have their age in whole seconds.
        clock.advance(seconds(2));
        let known = issuer.opaque(json!({"sub": "alice"}));
        assert_eq!(api.outcome(&known).await, OK);
        issuer.revoke(&known);
        assert_eq!(api.outcome(&known).await, OK, "the verdict is in the store");
        evict(&protect);
        assert_eq!(api.outcome(&known).await, INACTIVE);
    }
}

/// An API with the issuer's clock; its verdicts are in memory, or in a store.
fn timed_with(issuer: &TestIssuer, clock: &TestClock, ttl: Duration, store: Option<&Store>) -> ProtectApi {
    let builder = introspecting(issuer).clock(clock.clone()).introspection_cache_duration(ttl);
    let builder = store.cloned().into_iter().fold(builder, actix_protect_api::ProtectApiBuilder::cache_store);
    builder.build().unwrap()
}

#[actix_web::test]
async fn an_inactive_verdict_is_kept_for_two_seconds_by_default() {
    for store in [None, Some(Store::default())] {
        let (issuer, clock) = timed_issuer();
        let api = Api::of(&timed_with(&issuer, &clock, TTL, store.as_ref()), None).await;
        let late = issuer.opaque(json!({}));
        let good = json!({ "active": true, "iss": issuer.issuer(), "aud": issuer.audience() }).to_string();
        issuer.set_answer(&late, "{\"active\":false}");
        assert_eq!((api.outcome(&late).await, calls(&issuer)), (INACTIVE, 1));
        clock.advance(seconds(1));
        assert_eq!((api.outcome(&late).await, calls(&issuer)), (INACTIVE, 1));
        issuer.set_answer(&late, &good);
        clock.advance(seconds(1));
        assert_eq!((api.outcome(&late).await, calls(&issuer)), (OK, 2), "the server has caught up");
        clock.advance(seconds(50));
        assert_eq!(
            (api.outcome(&late).await, calls(&issuer)),
            (OK, 2),
            "an active verdict is kept for longer"
        );
    }
}

#[actix_web::test]
async fn without_an_inactive_cache_no_inactive_verdict_is_kept_but_it_ends_an_older_one() {
    for store in [None, Some(Store::default())] {
        let (issuer, clock) = timed_issuer();
        let builder = introspecting(&issuer).clock(clock.clone()).introspection_cache_duration(TTL);
        let builder = builder.inactive_cache_duration(Duration::ZERO);
        let api =
            api(store.into_iter().fold(builder, actix_protect_api::ProtectApiBuilder::cache_store)).await;
        let good = issuer.opaque(json!({}));
        assert_eq!(api.outcome(&good).await, OK);
        issuer.revoke(&good);
        clock.advance(seconds(2));
        assert_eq!(api.outcome_at("/fresh", &good).await, INACTIVE);
        assert_eq!((api.outcome(&good).await, calls(&issuer)), (INACTIVE, 3));
        assert_eq!((api.outcome(&good).await, calls(&issuer)), (INACTIVE, 4));
    }
}

/// Time passes between the server's response and its arrival.
async fn answered_late(api: &Api, issuer: &TestIssuer, clock: &TestClock, token: &str, late: Duration) {
    issuer.fault(Endpoint::Introspection, Fault::hold());
    let before = calls(issuer);
    let meanwhile = async {
        issuer.received(Endpoint::Introspection, before + 1).await;
        clock.advance(late);
        issuer.release(Endpoint::Introspection);
    };
    let (outcome, ()) = futures_util::future::join(api.outcome(token), meanwhile).await;
    assert_eq!(outcome, OK);
}

#[actix_web::test]
async fn a_verdict_ages_from_the_request_to_the_authorization_server() {
    for store in [None, Some(Store::default())] {
        let (issuer, clock) = timed_issuer();
        let api = Api::of(&timed_with(&issuer, &clock, seconds(20), store.as_ref()), None).await;
        let good = issuer.opaque(json!({ "exp": null }));
        answered_late(&api, &issuer, &clock, &good, seconds(8)).await;
        issuer.revoke(&good);
        clock.advance(seconds(8));
        assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 1));
        clock.advance(seconds(4));
        assert_eq!((api.outcome(&good).await, calls(&issuer)), (INACTIVE, 2), "20 s after it was asked for");
    }
}

#[actix_web::test]
async fn an_answer_that_takes_as_long_as_the_cache_is_not_kept() {
    for store in [None, Some(Store::default())] {
        let (issuer, clock) = timed_issuer();
        let api = Api::of(&timed_with(&issuer, &clock, seconds(5), store.as_ref()), None).await;
        let good = issuer.opaque(json!({ "exp": null }));
        answered_late(&api, &issuer, &clock, &good, seconds(5)).await;
        issuer.revoke(&good);
        assert_eq!((api.outcome(&good).await, calls(&issuer)), (INACTIVE, 2));
    }
}

#[actix_web::test]
async fn an_entry_of_a_store_is_never_used_longer_than_its_duration() {
    // One second is the shortest: the next second may be only a moment later, or almost two.
    let ((issuer, clock), store) = (timed_issuer(), Store::default());
    let api = Api::of(&timed_with(&issuer, &clock, seconds(1), Some(&store)), None).await;
    let good = issuer.opaque(json!({}));
    assert_eq!((api.outcome(&good).await, api.outcome(&good).await, calls(&issuer)), (OK, OK, 1));
    issuer.revoke(&good);
    clock.advance(seconds(1));
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (INACTIVE, 2));
}

#[test]
fn durations_that_a_store_or_the_cache_cannot_keep_are_problems() {
    let builder = || {
        let client = ClientAuthentication::client_secret_basic("secret");
        ProtectApi::builder("https://issuer.example.test", "api").client("api", client)
    };
    let millis = Duration::from_millis;
    let good = [
        builder().introspection_cache_duration(millis(300)),
        builder().introspection_cache_duration(millis(300)).inactive_cache_duration(millis(300)),
        builder().inactive_cache_duration(Duration::ZERO),
        builder().introspection_cache_duration(seconds(1)).cache_store(Store::default()),
        builder()
            .introspection_cache_duration(seconds(9))
            .inactive_cache_duration(seconds(9))
            .cache_store(Store::default()),
        builder()
            .introspection_cache_duration(seconds(9))
            .inactive_cache_duration(seconds(0))
            .cache_store(Store::default()),
    ];
    for builder in good {
        let _ = builder.build().unwrap();
    }
    let bad = [
        (
            builder().introspection_cache_duration(millis(300)).cache_store(Store::default()),
            "introspection_cache_duration",
        ),
        (
            builder().introspection_cache_duration(millis(300)).inactive_cache_duration(millis(301)),
            "inactive_cache_duration",
        ),
        (builder().inactive_cache_duration(seconds(1)), "inactive_cache_duration"),
        (
            builder()
                .introspection_cache_duration(seconds(9))
                .inactive_cache_duration(millis(300))
                .cache_store(Store::default()),
            "inactive_cache_duration",
        ),
    ];
    for (builder, setting) in bad {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(setting), "{error}");
    }
    let from_env = |variables: &[(&str, &str)]| {
        let fixed = [
            ("TENANT_DOMAIN", "issuer.example.test"),
            ("AUDIENCE", "api"),
            ("CLIENT_ID", "a"),
            ("CLIENT_SECRET", "b"),
        ];
        let all =
            fixed.iter().chain(variables).map(|(name, value)| (format!("P_{name}"), (*value).to_owned()));
        ProtectApi::try_from_variables("P_", all.collect::<Vec<_>>())
    };
    let cached = ("INTROSPECTION_CACHE_DURATION", "10");
    let _ = from_env(&[cached, ("INACTIVE_CACHE_DURATION", "10")]).unwrap();
    for value in ["11", "-1", "1.5"] {
        let error = from_env(&[cached, ("INACTIVE_CACHE_DURATION", value)]).unwrap_err().to_string();
        assert!(error.contains("P_INACTIVE_CACHE_DURATION"), "{error}");
    }
}

#[actix_web::test]
async fn an_eviction_does_not_keep_another_tokens_answer_out_of_the_cache() {
    for store in [None, Some(Store::default())] {
        let (issuer, clock) = timed_issuer();
        let protect = timed_with(&issuer, &clock, TTL, store.as_ref());
        let api = Api::of(&protect, None).await;
        let (alice, bob) = (issuer.opaque(json!({"sub": "alice"})), issuer.opaque(json!({"sub": "bob"})));
        assert_eq!(api.outcome(&alice).await, OK);
        issuer.fault(Endpoint::Introspection, Fault::hold());
        let meanwhile = async {
            issuer.received(Endpoint::Introspection, 2).await;
            protect.evict(&alice).await.unwrap();
            protect.evict_subject("alice").unwrap();
            issuer.release(Endpoint::Introspection);
        };
        let (outcome, ()) = futures_util::future::join(api.outcome(&bob), meanwhile).await;
        assert_eq!((outcome, calls(&issuer)), (OK, 2));
        assert_eq!((api.outcome(&bob).await, calls(&issuer)), (OK, 2), "bob's answer was kept");
        assert_eq!((api.outcome(&alice).await, calls(&issuer)), (OK, 3), "alice's was evicted");
    }
}

#[actix_web::test]
async fn an_eviction_reaches_verdicts_under_an_earlier_endpoint() {
    for store in [None, Some(Store::default())] {
        let (issuer, clock) = timed_issuer();
        let builder =
            introspecting(&issuer).clock(clock.clone()).introspection_cache_duration(seconds(10_000));
        let builder = builder.metadata_cache_duration(seconds(10));
        let builder = store.into_iter().fold(builder, actix_protect_api::ProtectApiBuilder::cache_store);
        let protect = builder.build().unwrap();
        let api = Api::of(&protect, None).await;
        let endpoint = issuer.url(Endpoint::Introspection);
        let move_to = |url: String| {
            issuer.set_metadata(|mut metadata| {
                metadata["introspection_endpoint"] = json!(url);
                metadata
            });
            clock.advance(seconds(11));
        };
        let (good, other) = (issuer.opaque(json!({ "exp": null })), issuer.opaque(json!({ "exp": null })));
        assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 1));
        move_to(format!("{endpoint}?moved"));
        // Only a call fetches the metadata; its verdict still has the key of the earlier endpoint.
        assert_eq!(api.outcome(&other).await, OK);
        assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 3), "another endpoint, another verdict");
        issuer.revoke(&good);
        protect.evict(&good).await.unwrap();
        move_to(endpoint);
        assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
        assert_eq!((api.outcome(&good).await, calls(&issuer)), (INACTIVE, 5), "and back");
    }
}

#[actix_web::test]
async fn a_mount_with_max_age_takes_no_older_verdict_from_an_outer_mount() {
    for store in [None, Some(Store::default())] {
        let (issuer, clock) = timed_issuer();
        let protect = timed_with(&issuer, &clock, TTL, store.as_ref());
        let nested = |path: &str, age: Duration| {
            web::resource(path)
                .wrap(protect.clone().max_age(age))
                .route(web::get().to(actix_web::HttpResponse::Ok))
        };
        let app = App::new()
            .wrap(protect.clone())
            .service(nested("/zero", Duration::ZERO))
            .service(nested("/three", seconds(3)))
            .service(web::resource("/cached").route(web::get().to(actix_web::HttpResponse::Ok)));
        let app = actix_web::test::init_service(app).await;
        let good = issuer.opaque(json!({ "exp": null }));
        let status = async |path: &str| status_of(&app, path, &good).await;
        assert_eq!((status("/cached").await, calls(&issuer)), (200, 1));
        issuer.revoke(&good);
        clock.advance(Duration::from_millis(900));
        assert_eq!((status("/three").await, calls(&issuer)), (200, 1), "young enough");
        assert_eq!((status("/zero").await, calls(&issuer)), (401, 2), "revoked 0.9 s ago");
    }
}

#[actix_web::test]
async fn a_mount_with_max_age_counts_the_time_of_the_outer_mounts_call() {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer).clock(clock.clone()).build().unwrap();
    let route = || web::get().to(actix_web::HttpResponse::Ok);
    let app = App::new()
        .wrap(protect.clone())
        .service(web::resource("/three").wrap(protect.clone().max_age(seconds(3))).route(route()));
    let app = actix_web::test::init_service(app).await;
    for (late, expected) in [(3, 1), (4, 2)] {
        issuer.reset_counters();
        let good = issuer.opaque(json!({ "exp": null }));
        issuer.fault(Endpoint::Introspection, Fault::hold());
        let meanwhile = async {
            issuer.received(Endpoint::Introspection, 1).await;
            clock.advance(seconds(late));
            issuer.release(Endpoint::Introspection);
        };
        let (status, ()) = futures_util::future::join(status_of(&app, "/three", &good), meanwhile).await;
        assert_eq!((status, calls(&issuer)), (200, expected), "{late} s");
    }
}
