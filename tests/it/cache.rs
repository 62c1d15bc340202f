//! Verdicts that are kept: what saves a call, what does not, and that nobody can tell the difference.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_protect_api::{
    ClientAuthentication, Clock as _, ProtectApi, TokenFault,
    UpstreamFault::{BadAnswer, Failing, TimedOut, Unreachable},
    cache::{CacheError, CacheFuture, CacheKey, CachedVerdict, IntrospectionCache},
    test::{Endpoint, Fault, TestClock, TestIssuer},
};
use actix_web::rt::time::timeout;
use proptest::{prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::support::service::{Api, NO_SCOPE, OK, api, introspecting, setup, timed_issuer, token, upstream};

const TTL: Duration = Duration::from_secs(100);
const INACTIVE: crate::support::service::Outcome = token(TokenFault::Inactive);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An issuer and an API that keeps verdicts, in the same time.
async fn timed() -> (TestIssuer, TestClock, Api) {
    let (issuer, clock) = timed_issuer();
    let api = api(introspecting(&issuer).clock(clock.clone()).introspection_cache(TTL)).await;
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
async fn a_kept_verdict_needs_no_call() {
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
async fn a_kept_verdict_opens_no_route_that_asks_for_more() {
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
async fn a_refusal_for_want_of_a_scope_keeps_the_verdict_too() {
    let (issuer, _clock, api) = timed().await;
    let reader = issuer.opaque(json!({ "scope": "read" }));
    assert_eq!(api.outcome_at("/write", &reader).await, NO_SCOPE);
    assert_eq!(api.outcome_at("/read", &reader).await, OK);
    assert_eq!(calls(&issuer), 1);
}

#[actix_web::test]
async fn a_token_for_another_api_is_kept_as_what_it_is() {
    let (issuer, _clock, api) = timed().await;
    let foreign = issuer.opaque(json!({ "aud": "https://other.example.test" }));
    for _ in 0..3 {
        assert_eq!(api.outcome(&foreign).await, token(TokenFault::Audience));
    }
    assert_eq!(calls(&issuer), 1);
}

#[actix_web::test]
async fn a_verdict_is_kept_for_its_duration() {
    let (issuer, clock, api) = timed().await;
    // Without `exp` there is nothing else that ends it.
    let good = issuer.opaque(json!({ "exp": null }));
    assert_eq!(api.outcome(&good).await, OK);
    issuer.revoke(&good);
    // Up to a tenth may be taken off.
    clock.advance(seconds(89));
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 1));
    clock.advance(seconds(11));
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (INACTIVE, 2));
}

#[actix_web::test]
async fn a_verdict_dies_with_its_token_without_any_tolerance() {
    let (issuer, clock, api) = timed().await;
    let good = issuer.opaque(json!({ "exp": clock.unix_time() + 30, "iat": null }));
    assert_eq!(api.outcome(&good).await, OK);
    clock.advance(seconds(29));
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 1));
    clock.advance(seconds(1));
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (INACTIVE, 2), "the issuer was asked");
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
async fn a_failure_leaves_nothing_behind() {
    let faults = [
        (Fault::status(500), upstream(Failing)),
        (Fault::status(429), upstream(Failing)),
        (Fault::reset().times(2), upstream(Unreachable)),
        (Fault::truncate(), upstream(BadAnswer)),
        (Fault::body("{}"), upstream(BadAnswer)),
        (Fault::body("{\"active\":\"false\"}"), upstream(BadAnswer)),
        (Fault::hold(), upstream(TimedOut)),
        (Fault::status(401), setup(actix_protect_api::SetupFault::Refused)),
    ];
    for (fault, wanted) in faults {
        let issuer = TestIssuer::start();
        let builder = introspecting(&issuer).introspection_cache(TTL).response_timeout(seconds(2));
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
    // Each configuration has a cache of its own in memory, and all of them one store.
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
            let builder = builder.introspection_cache(TTL);
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
async fn who_asks_for_a_fresh_verdict_refreshes_it_for_everyone() {
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
async fn random_tokens_drive_no_good_one_out() {
    let issuer = TestIssuer::start();
    let builder = introspecting(&issuer).introspection_cache(TTL).cache_entries(8);
    let api = api(builder).await;
    let good = issuer.opaque(json!({}));
    assert_eq!(api.outcome(&good).await, OK);
    for number in 0..200 {
        assert_eq!(api.outcome(&format!("random-{number}")).await, INACTIVE);
    }
    assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 201));
}

#[actix_web::test]
async fn kept_verdicts_outlive_an_outage_and_the_metadata() {
    let (issuer, clock) = timed_issuer();
    let builder = introspecting(&issuer).clock(clock.clone()).introspection_cache(seconds(10_000));
    let builder = builder.metadata_cache(seconds(10)).jwks_cache(seconds(10)).max_stale(seconds(20));
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

/// A store in the test's hands.
#[derive(Clone, Debug, Default)]
struct Store(Arc<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    entries: Mutex<HashMap<String, String>>,
    mood: Mutex<Mood>,
    asked: AtomicUsize,
}

#[derive(Clone, Copy, Debug, Default)]
enum Mood {
    #[default]
    Fine,
    Failing,
    Hanging,
}

impl Store {
    async fn suffer(&self) -> Result<(), CacheError> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let mood = *self.0.mood.lock().unwrap();
        match mood {
            Mood::Fine => Ok(()),
            Mood::Failing => Err(CacheError::new("the store is down")),
            Mood::Hanging => std::future::pending().await,
        }
    }
}

impl IntrospectionCache for Store {
    fn get<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, Option<CachedVerdict>> {
        Box::pin(async move {
            self.suffer().await?;
            let entry = self.0.entries.lock().unwrap().get(&key.to_hex()).cloned();
            entry.map(|json| serde_json::from_str(&json)).transpose().map_err(CacheError::new)
        })
    }

    fn set<'a>(&'a self, key: &'a CacheKey, value: &'a CachedVerdict, _: Duration) -> CacheFuture<'a, ()> {
        Box::pin(async move {
            self.suffer().await?;
            let json = serde_json::to_string(value).map_err(CacheError::new)?;
            self.0.entries.lock().unwrap().insert(key.to_hex(), json);
            Ok(())
        })
    }

    fn delete<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, ()> {
        Box::pin(async move {
            self.suffer().await?;
            self.0.entries.lock().unwrap().remove(&key.to_hex());
            Ok(())
        })
    }
}

async fn with_store(issuer: &TestIssuer, store: &Store) -> Api {
    api(introspecting(issuer).introspection_cache(TTL).cache_store(store.clone())).await
}

#[actix_web::test]
async fn a_store_of_the_users_own_is_shared_and_sees_no_token() {
    let (issuer, store) = (TestIssuer::start(), Store::default());
    // Two configurations, as if they were two processes.
    let (one, other) = (with_store(&issuer, &store).await, with_store(&issuer, &store).await);
    let (good, bad) = (issuer.opaque(json!({ "sub": "alice" })), issuer.opaque(json!({})));
    issuer.revoke(&bad);
    assert_eq!((one.outcome(&good).await, one.outcome(&bad).await), (OK, INACTIVE));
    assert_eq!(other.get("/", &good).await.body["sub"], "alice");
    assert_eq!(other.outcome(&bad).await, INACTIVE);
    assert_eq!(calls(&issuer), 2);
    let dump = format!("{:?}", store.0.entries.lock().unwrap());
    assert!(dump.contains("alice") && !dump.contains(&good) && !dump.contains(&bad), "{dump}");
    assert!(!dump.contains(issuer.client_secret()));
}

#[actix_web::test]
async fn a_store_that_fails_or_hangs_is_a_miss() {
    for mood in [Mood::Failing, Mood::Hanging] {
        let (issuer, store) = (TestIssuer::start(), Store::default());
        let api = with_store(&issuer, &store).await;
        let good = issuer.opaque(json!({}));
        assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 1));
        *store.0.mood.lock().unwrap() = mood;
        let asked = store.0.asked.load(Ordering::SeqCst);
        let outcome = timeout(seconds(8), api.outcome(&good)).await.expect("the request hangs");
        assert_eq!((outcome, calls(&issuer)), (OK, 2), "{mood:?}");
        assert_eq!(store.0.asked.load(Ordering::SeqCst), asked + 2, "a look and a note");
        let inactive = timeout(seconds(8), api.outcome("unheard-of")).await.expect("the request hangs");
        assert_eq!(inactive, INACTIVE);
        *store.0.mood.lock().unwrap() = Mood::Fine;
        assert_eq!((api.outcome(&good).await, calls(&issuer)), (OK, 3), "what was there is still good");
    }
}

#[actix_web::test]
async fn what_somebody_else_wrote_into_the_store_is_checked() {
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
        for value in store.0.entries.lock().unwrap().values_mut() {
            value.clone_from(&entry);
        }
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
async fn nobody_can_tell_a_kept_verdict_from_a_new_one() {
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
async fn an_evicted_token_is_asked_about_again() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).introspection_cache(TTL).build().unwrap();
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
    protect.clear().unwrap();
    assert_eq!(api.outcome(&carol).await, token(TokenFault::Inactive));
}

#[actix_web::test]
async fn who_comes_after_an_eviction_joins_no_call_from_before() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).introspection_cache(TTL).build().unwrap();
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
    assert_eq!(early, INACTIVE, "what is true when the server answers");
    assert_eq!(issuer.count(Endpoint::Introspection), 2);
}

#[actix_web::test]
async fn an_eviction_that_a_store_does_not_take_is_told() {
    let issuer = TestIssuer::start();
    let store = Store::default();
    let protect = introspecting(&issuer).introspection_cache(TTL).cache_store(store.clone()).build().unwrap();
    let api = Api::of(&protect, None).await;
    let bearer = issuer.opaque(json!({"sub": "alice"}));
    assert!(
        protect.evict(&bearer).await.is_err(),
        "nothing is known yet of what the store's keys are made of"
    );
    assert_eq!(api.outcome(&bearer).await, OK);
    protect.evict(&bearer).await.unwrap();
    assert!(protect.evict_subject("alice").is_err(), "it cannot be searched");
    assert!(protect.clear().is_err(), "nor emptied");
}
