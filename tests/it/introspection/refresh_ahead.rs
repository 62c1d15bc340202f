//! Verdicts on tokens in active use are introspected again before they expire.

use std::time::Duration;

use actix_protect_api::{
    Clock as _, ProtectApi, ProtectApiBuilder, Revocation, TokenFault,
    test::{Algorithm, Endpoint, Fault, JwtOptions, Rotation, TestClock, TestIssuer},
};
use serde_json::json;

use crate::support::{
    service::{Api, OK, Outcome, introspecting, timed_issuer, token},
    time::{eventually, seconds},
};

/// A verdict expires after 90 to 100 s. Its last quarter starts after 67 to 75 s, and it is refreshed from 67 to 90 s.
const TTL: Duration = seconds(100);
const INACTIVE: Outcome = token(TokenFault::Inactive);

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
        let (builder, day) = (builder.inactive_cache_duration(TTL), seconds(86_400));
        let builder = builder.metadata_cache_duration(day).jwks_cache_duration(day);
        let protect = change(builder).build().unwrap();
        let api = Api::of(&protect, None).await;
        Self { issuer, clock, protect, api }
    }

    fn opaque(&self) -> String {
        self.issuer.opaque(json!({ "exp": null }))
    }

    fn calls(&self) -> usize {
        self.issuer.count(Endpoint::Introspection)
    }

    /// Uses a token whose verdict was just cached in each second of the last quarter, before the verdict can expire. Returns
    /// the outcomes.
    async fn use_in_last_quarter(&self, bearer: &str) -> Vec<Outcome> {
        self.clock.advance(seconds(75));
        let mut outcomes = Vec::new();
        for _ in 76..90 {
            self.clock.advance(seconds(1));
            outcomes.push(self.api.outcome(bearer).await);
            self.no_call_in_flight().await;
        }
        outcomes
    }

    async fn no_call_in_flight(&self) {
        // The task of a refresh runs when the test waits.
        actix_web::rt::task::yield_now().await;
        assert!(eventually(async || self.protect.status().calls_in_flight == 0).await);
    }
}

#[actix_web::test]
async fn a_token_in_active_use_is_introspected_before_its_verdict_expires() {
    let timed = Timed::start(|builder| builder).await;
    let mut refreshed = 0;
    for _ in 0..8 {
        let bearer = timed.opaque();
        assert_eq!(timed.api.outcome(&bearer).await, OK);
        let before = timed.calls();
        assert!(timed.use_in_last_quarter(&bearer).await.iter().all(|outcome| *outcome == OK));
        let refreshes = timed.calls() - before;
        assert!(refreshes <= 1, "{refreshes}");
        // The verdict that was cached first has expired.
        timed.clock.advance(seconds(11));
        assert_eq!((timed.api.outcome(&bearer).await, timed.calls()), (OK, before + 1));
        refreshed += refreshes;
    }
    // A refresh may be due after the last use.
    assert!(refreshed >= 6, "{refreshed}");
}

#[actix_web::test]
async fn no_request_waits_for_a_refresh() {
    let timed = Timed::start(|builder| builder).await;
    for attempt in 0..8 {
        let bearer = timed.opaque();
        assert_eq!(timed.api.outcome(&bearer).await, OK);
        timed.clock.advance(seconds(75));
        timed.issuer.fault(Endpoint::Introspection, Fault::hold());
        for _ in 76..90 {
            timed.clock.advance(seconds(1));
            // A request that waited would not end.
            assert_eq!(timed.api.outcome(&bearer).await, OK);
            actix_web::rt::task::yield_now().await;
        }
        let is_refreshing = timed.protect.status().calls_in_flight == 1;
        timed.issuer.clear_faults();
        timed.no_call_in_flight().await;
        if is_refreshing {
            return;
        }
        assert!(attempt < 7, "no verdict was refreshed");
    }
}

#[actix_web::test]
async fn a_token_that_is_not_used_twice_in_the_last_quarter_causes_no_call() {
    let timed = Timed::start(|builder| builder).await;
    let bearer = timed.opaque();
    for used in [1, 30, 60, 66, 89] {
        assert_eq!(timed.api.outcome(&bearer).await, OK);
        timed.clock.advance(seconds(used).saturating_sub(timed.clock.monotonic()));
    }
    assert_eq!(timed.api.outcome(&bearer).await, OK);
    timed.no_call_in_flight().await;
    assert_eq!(timed.calls(), 1);
    timed.clock.advance(seconds(11));
    assert_eq!((timed.api.outcome(&bearer).await, timed.calls()), (OK, 2));
}

#[actix_web::test]
async fn an_inactive_verdict_is_not_refreshed() {
    let timed = Timed::start(|builder| builder).await;
    let bearer = timed.opaque();
    timed.issuer.revoke(&bearer);
    assert_eq!(timed.api.outcome(&bearer).await, INACTIVE);
    assert!(timed.use_in_last_quarter(&bearer).await.iter().all(|outcome| *outcome == INACTIVE));
    assert_eq!(timed.calls(), 1);
}

/// Uses fresh tokens until the verdict of one was refreshed, and returns that token.
async fn refreshed(timed: &Timed, mint: impl Fn(&Timed) -> String) -> String {
    for _ in 0..8 {
        let bearer = mint(timed);
        assert_eq!(timed.api.outcome(&bearer).await, OK);
        let before = timed.calls();
        timed.use_in_last_quarter(&bearer).await;
        if timed.calls() > before {
            return bearer;
        }
    }
    panic!("no verdict was refreshed");
}

#[actix_web::test]
async fn refreshing_can_be_switched_off_and_needs_two_calls_of_the_limit() {
    let without: [fn(ProtectApiBuilder) -> ProtectApiBuilder; 2] =
        [|builder| builder.refresh_ahead(false), |builder| builder.max_calls(1)];
    for change in without {
        let timed = Timed::start(change).await;
        for _ in 0..4 {
            let bearer = timed.opaque();
            assert_eq!(timed.api.outcome(&bearer).await, OK);
            let before = timed.calls();
            timed.use_in_last_quarter(&bearer).await;
            assert_eq!(timed.calls(), before);
        }
    }
}

#[actix_web::test]
async fn a_verdict_that_ends_with_its_token_is_not_refreshed() {
    let timed = Timed::start(|builder| builder).await;
    for _ in 0..4 {
        let exp = timed.clock.unix_time() + 90;
        let bearer = timed.issuer.opaque(json!({ "exp": exp, "iat": null }));
        assert_eq!(timed.api.outcome(&bearer).await, OK);
        let before = timed.calls();
        timed.use_in_last_quarter(&bearer).await;
        assert_eq!(timed.calls(), before);
    }
}

#[actix_web::test]
async fn a_refreshed_verdict_that_is_inactive_is_used_at_once() {
    let timed = Timed::start(|builder| builder).await;
    for attempt in 0..8 {
        let bearer = timed.opaque();
        assert_eq!(timed.api.outcome(&bearer).await, OK);
        timed.issuer.revoke(&bearer);
        let outcomes = timed.use_in_last_quarter(&bearer).await;
        if let Some(first) = outcomes.iter().position(|outcome| *outcome == INACTIVE) {
            assert!(
                first >= 2 && outcomes[first..].iter().all(|outcome| *outcome == INACTIVE),
                "{outcomes:?}"
            );
            return;
        }
        assert!(attempt < 7, "no verdict was refreshed");
    }
}

#[actix_web::test]
async fn a_refresh_that_fails_changes_no_decision_and_is_not_repeated() {
    for fault in [Fault::status(500), Fault::status(400), Fault::reset().times(2), Fault::body("{}")] {
        let timed = Timed::start(|builder| builder).await;
        let mut failed = 0;
        for _ in 0..8 {
            let bearer = timed.opaque();
            assert_eq!(timed.api.outcome(&bearer).await, OK);
            timed.issuer.fault(Endpoint::Introspection, fault.clone().for_tokens(&bearer).always());
            let calls = || {
                let requests = timed.issuer.requests(Endpoint::Introspection);
                requests.iter().filter(|request| request.form()["token"] == bearer).count()
            };
            let outcomes = timed.use_in_last_quarter(&bearer).await;
            assert!(outcomes.iter().all(|outcome| *outcome == OK), "{outcomes:?}");
            assert!(calls() <= 3, "the first call, and one refresh, whose request may be repeated");
            failed += calls() - 1;
            timed.issuer.clear_faults();
        }
        assert!(failed > 0);
    }
}

/// The token of another caller has failed, so the server may be failing.
#[actix_web::test]
async fn nothing_is_refreshed_while_calls_fail() {
    let timed = Timed::start(|builder| builder).await;
    let other = timed.opaque();
    timed.issuer.fault(Endpoint::Introspection, Fault::status(503).for_tokens(&other).always());
    for _ in 0..4 {
        let bearer = timed.opaque();
        assert_eq!(timed.api.outcome(&bearer).await, OK);
        assert!(timed.api.outcome(&other).await.is_err());
        let before = timed.calls();
        assert!(timed.use_in_last_quarter(&bearer).await.iter().all(|outcome| *outcome == OK));
        assert_eq!(timed.calls(), before);
    }
}

#[actix_web::test]
async fn a_refresh_takes_no_call_while_half_of_them_are_in_flight() {
    let timed = Timed::start(|builder| builder.max_calls(4)).await;
    for (held, expected) in [(2, 0..1), (1, 1..9)] {
        timed.issuer.fault(Endpoint::Introspection, Fault::hold().for_tokens("held").times(held));
        let requests = (0..held).map(|number| {
            let (api, held) = (&timed.api, format!("held{number}"));
            async move { api.outcome(&held).await }
        });
        let meanwhile = async {
            let mut refreshed = 0;
            assert!(eventually(async || timed.protect.status().calls_in_flight == held).await);
            for _ in 0..8 {
                let bearer = timed.opaque();
                assert_eq!(timed.api.outcome(&bearer).await, OK);
                let before = timed.calls();
                timed.clock.advance(seconds(75));
                for _ in 76..90 {
                    timed.clock.advance(seconds(1));
                    assert_eq!(timed.api.outcome(&bearer).await, OK);
                    actix_web::rt::task::yield_now().await;
                    assert!(eventually(async || timed.protect.status().calls_in_flight == held).await);
                }
                refreshed += timed.calls() - before;
            }
            timed.issuer.clear_faults();
            refreshed
        };
        let (refreshed, _) =
            futures_util::future::join(meanwhile, futures_util::future::join_all(requests)).await;
        assert!(expected.contains(&refreshed), "{held}: {refreshed}");
    }
}

/// The response has no `exp` and no `sub`: those of the JWT still apply after a refresh.
#[actix_web::test]
async fn the_refreshed_verdict_on_a_jwt_has_the_limits_of_the_jwt() {
    let timed = Timed::start(|builder| builder.introspect_jwt_tokens(true)).await;
    let mint = |timed: &Timed| {
        let jwt = timed.issuer.jwt(json!({ "sub": "alice", "exp": timed.clock.unix_time() + 130 }));
        let answer = json!({ "active": true, "iss": timed.issuer.issuer(), "aud": timed.issuer.audience() });
        timed.issuer.set_answer(&jwt, &answer.to_string());
        jwt
    };
    let jwt = refreshed(&timed, mint).await;
    timed.clock.advance(seconds(41));
    let before = timed.calls();
    timed.api.outcome(&jwt).await.ok();
    assert_eq!(timed.calls(), before + 1, "the refreshed verdict ends with the JWT");

    let jwt = refreshed(&timed, mint).await;
    assert_eq!(timed.api.outcome(&jwt).await, OK);
    timed.protect.revoke(Revocation::subject("alice")).await.unwrap();
    assert_eq!(timed.api.outcome(&jwt).await, token(TokenFault::Revoked));
}

#[actix_web::test]
async fn a_jwt_whose_key_was_withdrawn_is_not_refreshed() {
    let timed =
        Timed::start(|builder| builder.introspect_jwt_tokens(true).jwks_cache_duration(seconds(10))).await;
    for _ in 0..4 {
        let jwt = timed.issuer.jwt_with(
            JwtOptions::new().algorithm(Algorithm::ES256),
            json!({ "exp": timed.clock.unix_time() + 1000 }),
        );
        assert_eq!(timed.api.outcome(&jwt).await, OK);
        timed.issuer.rotate_keys(Rotation::Replace);
        let before = timed.calls();
        timed.use_in_last_quarter(&jwt).await;
        assert_eq!(timed.calls(), before);
        timed.clock.advance(seconds(11));
        assert!(timed.api.outcome(&jwt).await.is_err());
    }
}

/// The keys are too old and cannot be fetched. A request is introspected without them, but a refresh must not extend the use of a
/// JWT whose key may have been withdrawn.
#[actix_web::test]
async fn a_jwt_is_not_refreshed_without_keys() {
    let timed = Timed::start(|builder| {
        let builder = builder.introspect_jwt_tokens(true).max_stale(seconds(60));
        builder.jwks_cache_duration(seconds(10)).metadata_cache_duration(seconds(10))
    })
    .await;
    // Several, because the times of their refreshes differ.
    let mint = || timed.issuer.jwt(json!({ "exp": timed.clock.unix_time() + 1000 }));
    let jwts: Vec<_> = (0..8).map(|_| mint()).collect();
    for jwt in &jwts {
        assert_eq!(timed.api.outcome(jwt).await, OK);
    }
    timed.issuer.fault(Endpoint::Jwks, Fault::status(500).always());
    let before = timed.calls();
    timed.clock.advance(seconds(75));
    for _ in 76..90 {
        timed.clock.advance(seconds(1));
        for jwt in &jwts {
            assert_eq!(timed.api.outcome(jwt).await, OK);
            timed.no_call_in_flight().await;
        }
    }
    assert_eq!(timed.calls(), before);
}

#[actix_web::test]
async fn a_refresh_from_before_an_eviction_is_not_used() {
    let timed = Timed::start(|builder| builder).await;
    for attempt in 0..8 {
        let bearer = timed.opaque();
        assert_eq!(timed.api.outcome(&bearer).await, OK);
        timed.clock.advance(seconds(75));
        timed.issuer.fault(Endpoint::Introspection, Fault::hold());
        for _ in 76..90 {
            timed.clock.advance(seconds(1));
            assert_eq!(timed.api.outcome(&bearer).await, OK);
            actix_web::rt::task::yield_now().await;
        }
        let is_refreshing = timed.protect.status().calls_in_flight == 1;
        let before = timed.calls();
        timed.protect.evict(&bearer).await.unwrap();
        timed.issuer.clear_faults();
        timed.no_call_in_flight().await;
        if is_refreshing {
            timed.issuer.revoke(&bearer);
            assert_eq!(timed.api.outcome(&bearer).await, INACTIVE);
            assert!(timed.calls() > before);
            return;
        }
        assert!(attempt < 7, "no verdict was refreshed");
    }
}
