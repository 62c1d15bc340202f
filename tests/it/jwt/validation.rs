//! JWTs, verified with the keys that the issuer publishes.

use actix_protect_api::{
    Algorithm, Clock as _, SetupFault, TokenFault,
    UpstreamFault::{BadAnswer, Failing, NoKeys},
    test::{self, Endpoint, Fault, JwtOptions, Rotation, TestClock, TestIssuer, TestKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    logs,
    service::{
        Api, NO_SCOPE, OK, Outcome, api, introspecting, jwts_only, setup, timed_issuer, token, upstream,
    },
    time::seconds,
};

const UNKNOWN_KEY: Outcome = token(TokenFault::UnknownKey);

/// An issuer and an API that accepts JWTs only, with the same clock.
async fn timed() -> (TestIssuer, TestClock, Api) {
    let (issuer, clock) = timed_issuer();
    let api = api(jwts_only(&issuer).clock(clock.clone())).await;
    (issuer, clock, api)
}

/// A JWT that is valid for longer than any test moves the clock.
fn lasting(issuer: &TestIssuer, clock: &TestClock) -> String {
    issuer.jwt(json!({ "exp": clock.unix_time() + 1_000_000 }))
}

fn fetches(issuer: &TestIssuer) -> usize {
    issuer.count(Endpoint::Jwks)
}

#[actix_web::test]
async fn every_algorithm_is_verified() {
    use test::Algorithm::{ES256, ES384, ES512, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};

    let all = [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA];
    assert_eq!(all.len(), Algorithm::ALL.len());
    let issuer = TestIssuer::builder().algorithms(all).start();
    let api = api(jwts_only(&issuer)).await;
    for algorithm in all {
        let options = JwtOptions::new().algorithm(algorithm);
        let good = issuer.jwt_with(options.clone(), json!({ "sub": algorithm.name() }));
        let answer = api.get("/", &good).await;
        assert_eq!((answer.outcome(), &answer.body["sub"]), (OK, &json!(algorithm.name())));

        // Another key with the same `kid`.
        let kid = issuer.key(algorithm).kid().to_owned();
        let forged = issuer.jwt_with(JwtOptions::new().key(&TestKey::generate(algorithm, &kid)), json!({}));
        assert_eq!(api.outcome(&forged).await, token(TokenFault::Signature), "{algorithm:?}");
    }
    assert_eq!((fetches(&issuer), issuer.count(Endpoint::Introspection)), (1, 0));
}

#[actix_web::test]
async fn sixteen_keys_are_tried_and_the_log_says_if_there_are_more() {
    logs::capture();
    for (before, after, expected) in [(15, 8, OK), (16, 7, token(TokenFault::Signature))] {
        let issuer = TestIssuer::builder().algorithms([test::Algorithm::ES256]).start();
        let kid = issuer.key(test::Algorithm::ES256).kid().to_owned();
        let others = |count| (0..count).map(|_| TestKey::generate(test::Algorithm::ES256, &kid).jwk());
        let keys: Vec<_> =
            others(before).chain([issuer.key(test::Algorithm::ES256).jwk()]).chain(others(after)).collect();
        issuer.publish_jwks(json!({ "keys": keys }));
        assert_eq!(api(jwts_only(&issuer)).await.outcome(&issuer.jwt(json!({}))).await, expected, "{before}");
        let is_said =
            logs::any(|text| text.contains("only 16 published keys were tried, and 8 more fit the token"));
        assert_eq!(is_said, expected != OK, "{before}");
    }
}

#[actix_web::test]
async fn unsigned_and_symmetric_tokens_are_refused() {
    let issuer = TestIssuer::start();
    let api = api(jwts_only(&issuer)).await;
    let public = issuer.key(test::Algorithm::ES256);
    let as_secret = TestKey::hmac(public.jwk().to_string(), public.kid());
    for options in [
        JwtOptions::new().algorithm(test::Algorithm::None),
        JwtOptions::new().algorithm(test::Algorithm::None).header("alg", "None"),
        JwtOptions::new().algorithm(test::Algorithm::HS256),
        JwtOptions::new().key(&as_secret),
        JwtOptions::new().header("alg", "ES256K"),
    ] {
        let bad = issuer.jwt_with(options, json!({}));
        assert_eq!(api.outcome(&bad).await, token(TokenFault::Algorithm));
    }
    let empty = TestKey::hmac("", "empty");
    issuer.publish_jwks(json!({ "keys": [public.jwk(), empty.jwk()] }));
    assert_eq!(
        api.outcome(&issuer.jwt_with(JwtOptions::new().key(&empty), json!({}))).await,
        token(TokenFault::Algorithm)
    );
}

#[actix_web::test]
async fn claims_of_a_jwt_decide_as_they_should() {
    use TokenFault::{Audience, Expired, Issuer, Malformed, MissingClaim, NotYetValid, Type};

    let (issuer, clock, api) = timed().await;
    let (now, iss) = (clock.unix_time(), issuer.issuer().to_owned());
    for (claims, wanted) in [
        (json!({}), OK),
        (json!({ "sub": null, "jti": null, "iat": null, "client_id": null }), OK),
        (json!({ "exp": null }), token(MissingClaim)),
        (json!({ "exp": now - 59 }), OK),
        (json!({ "exp": now - 60 }), token(Expired)),
        (json!({ "exp": format!("{}", now + 100) }), token(Malformed)),
        (json!({ "exp": i64::MAX }), OK),
        (json!({ "exp": u64::MAX }), OK),
        (json!({ "exp": 1e300 }), OK),
        (json!({ "nbf": i64::MAX }), token(Malformed)),
        (json!({ "nbf": now + 61 }), token(NotYetValid)),
        (json!({ "iss": null }), token(MissingClaim)),
        (json!({ "iss": ["https://issuer.example.test", iss] }), token(Malformed)),
        (json!({ "iss": "https://issuer.example.test" }), token(Issuer)),
        (json!({ "aud": null }), token(MissingClaim)),
        (json!({ "aud": "https://other.example.test" }), token(Audience)),
        (json!({ "token_use": "id" }), token(Type)),
        (json!({ "events": {} }), OK),
        (json!({ "at_hash": "x" }), token(Type)),
    ] {
        assert_eq!(api.outcome(&issuer.jwt(claims.clone())).await, wanted, "{claims}");
    }
    let header = |name: &str, value: Value| issuer.jwt_with(JwtOptions::new().header(name, value), json!({}));
    for (bad, wanted) in [
        (header("typ", json!("JWT")), OK),
        (header("typ", json!(null)), OK),
        (header("typ", json!("logout+jwt")), token(Type)),
        (header("typ", json!("dpop+jwt")), token(Type)),
        (header("crit", json!(["exp"])), token(Malformed)),
        (header("b64", json!(false)), token(Malformed)),
    ] {
        assert_eq!(api.outcome(&bad).await, wanted);
    }
}

#[actix_web::test]
async fn a_header_that_names_keys_elsewhere_is_not_followed() {
    let (issuer, evil) = (TestIssuer::start(), TestIssuer::start());
    let api = api(jwts_only(&issuer)).await;
    let key = evil.key(test::Algorithm::ES256).with_kid("not-published");
    for (name, value) in [
        ("jku", json!(evil.url(Endpoint::Jwks))),
        ("x5u", json!(evil.url(Endpoint::Other))),
        ("jwk", key.jwk()),
    ] {
        let bad = issuer.jwt_with(JwtOptions::new().key(&key).header(name, value), json!({}));
        assert_eq!(api.get("/", &bad).await.status, 401, "{name}");
    }
    // No call is made to the issuer that a token names.
    let foreign = evil.jwt(json!({}));
    assert_eq!(api.get("/", &foreign).await.status, 401);
    assert_eq!(evil.connections(), 0);
}

#[actix_web::test]
async fn a_new_key_is_found_within_one_cooldown() {
    let (issuer, clock, api) = timed().await;
    let old = lasting(&issuer, &clock);
    assert_eq!(api.outcome(&old).await, OK);
    issuer.rotate_keys(Rotation::Add);
    let new = lasting(&issuer, &clock);
    clock.advance(seconds(29));
    for _ in 0..5 {
        assert_eq!(api.outcome(&new).await, UNKNOWN_KEY, "the key set was fetched a moment ago");
    }
    assert_eq!(fetches(&issuer), 1);
    clock.advance(seconds(1));
    assert_eq!(api.outcome(&new).await, OK);
    assert_eq!(api.outcome(&old).await, OK, "its key is still published");
    assert_eq!(fetches(&issuer), 2);
}

#[actix_web::test]
async fn a_new_key_is_found_within_4_s_after_the_key_endpoint_failed() {
    for failures in [1, 3] {
        let (issuer, clock, api) = timed().await;
        assert_eq!(api.outcome(&lasting(&issuer, &clock)).await, OK);
        issuer.rotate_keys(Rotation::Add);
        let new = lasting(&issuer, &clock);
        clock.advance(seconds(30));
        issuer.fault(Endpoint::Jwks, Fault::status(500).times(failures));
        for failure in 1..=failures {
            for _ in 0..20 {
                let answer = api.get("/", &new).await;
                assert_eq!(answer.outcome(), upstream(Failing));
                assert!(answer.retry_after.is_some_and(|seconds| (1..=4).contains(&seconds)));
            }
            assert_eq!(fetches(&issuer), 1 + failure, "one in each pause");
            clock.advance(seconds(4));
        }
        assert_eq!(api.outcome(&new).await, OK);
        let unknown = TestKey::generate(test::Algorithm::ES256, "made-up");
        let unknown = issuer.jwt_with(JwtOptions::new().key(&unknown), json!({}));
        assert_eq!(api.outcome(&unknown).await, UNKNOWN_KEY);
        assert_eq!(fetches(&issuer), failures + 2, "the cooldown counts from the fetch that succeeded");
    }
}

#[actix_web::test]
async fn a_flood_of_unknown_keys_costs_one_fetch_in_each_cooldown_and_drives_nothing_out() {
    let (issuer, clock, api) = timed().await;
    let good = lasting(&issuer, &clock);
    assert_eq!(api.outcome(&good).await, OK);
    let foreign = TestKey::generate(test::Algorithm::ES256, "foreign");
    let flood: Vec<_> = (0..60)
        .map(|number| {
            issuer.jwt_with(JwtOptions::new().key(&foreign).kid(&format!("kid-{number}")), json!({}))
        })
        .collect();
    for round in 1..=3 {
        clock.advance(seconds(30));
        for outcome in join_all(flood.iter().map(|bad| api.outcome(bad))).await {
            assert_eq!(outcome, UNKNOWN_KEY);
        }
        for bad in &flood {
            assert_eq!(api.outcome(bad).await, UNKNOWN_KEY);
        }
        assert_eq!(fetches(&issuer), 1 + round);
        assert_eq!(api.outcome(&good).await, OK);
    }
    issuer.fault(Endpoint::Jwks, Fault::status(500).always());
    clock.advance(seconds(30));
    for bad in &flood {
        let outcome = api.outcome(bad).await;
        assert_eq!(outcome, upstream(Failing), "the key may be among those that cannot be had");
    }
    assert_eq!(api.outcome(&good).await, OK);
    assert_eq!(fetches(&issuer), 5);
}

#[actix_web::test]
async fn a_withdrawn_key_stops_working_within_the_cache_duration() {
    for (remembers, rotation) in [
        (true, Rotation::Replace),
        (false, Rotation::Replace),
        (true, Rotation::SameKid),
        (false, Rotation::SameKid),
    ] {
        let (issuer, clock) = timed_issuer();
        let api = api(jwts_only(&issuer).clock(clock.clone()).remember_jwts(remembers)).await;
        let old = lasting(&issuer, &clock);
        assert_eq!(api.outcome(&old).await, OK);
        issuer.rotate_keys(rotation);
        let new = lasting(&issuer, &clock);
        clock.advance(seconds(239));
        assert_eq!(api.outcome(&old).await, OK, "the key set counts");
        clock.advance(seconds(61));
        let fault =
            if rotation == Rotation::Replace { TokenFault::UnknownKey } else { TokenFault::Signature };
        assert_eq!(api.outcome(&old).await, token(fault), "{rotation:?}, remembers: {remembers}");
        assert_eq!(api.outcome(&new).await, OK);
        assert_eq!(fetches(&issuer), 2);
    }
}

#[actix_web::test]
async fn looking_for_a_new_key_also_finds_that_an_old_one_is_withdrawn() {
    let (issuer, clock, api) = timed().await;
    let old = lasting(&issuer, &clock);
    assert_eq!(api.outcome(&old).await, OK);
    issuer.rotate_keys(Rotation::Replace);
    let new = lasting(&issuer, &clock);
    clock.advance(seconds(30));
    assert_eq!(api.outcome(&old).await, OK);
    assert_eq!(api.outcome(&new).await, OK);
    assert_eq!(api.outcome(&old).await, UNKNOWN_KEY, "also one that was verified before");
}

#[actix_web::test]
async fn keys_that_cannot_be_fetched_are_the_servers_fault() {
    for (what, fault, wanted) in [
        ("failing", Fault::status(500), upstream(Failing)),
        ("not there", Fault::status(404), upstream(BadAnswer)),
        ("not JSON", Fault::body("nonsense"), upstream(BadAnswer)),
        ("no keys", Fault::body("{}"), upstream(BadAnswer)),
        ("twice", Fault::body("{\"keys\":[],\"keys\":[]}"), upstream(BadAnswer)),
        ("HTML", Fault::content_type("text/html").with_body("<html></html>"), upstream(BadAnswer)),
        ("cut short", Fault::truncate(), upstream(BadAnswer)),
        ("too large", Fault::body(" ".repeat(2 << 20)), upstream(BadAnswer)),
        ("an empty set", Fault::body("{\"keys\":[]}"), upstream(NoKeys)),
        ("no usable key", Fault::body("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"},7]}"), upstream(NoKeys)),
    ] {
        let issuer = TestIssuer::start();
        issuer.fault(Endpoint::Jwks, fault.always());
        let api = api(jwts_only(&issuer)).await;
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, wanted, "{what}");
    }
}

#[actix_web::test]
async fn a_redirect_of_the_key_set_is_not_followed() {
    let (issuer, elsewhere) = (TestIssuer::start(), TestIssuer::start());
    issuer.fault(Endpoint::Jwks, Fault::redirect(&elsewhere.url(Endpoint::Jwks)).always());
    let api = api(jwts_only(&issuer)).await;
    let forged = issuer.jwt_with(JwtOptions::new().key(&elsewhere.key(test::Algorithm::ES256)), json!({}));
    assert_eq!(api.outcome(&forged).await, upstream(BadAnswer));
    assert_eq!(elsewhere.connections(), 0);
}

#[actix_web::test]
async fn a_key_set_is_accepted_with_any_media_type() {
    for content_type in [
        "application/json",
        "application/jwk-set+json",
        "application/json; charset=UTF-8",
        "text/plain",
        "application/octet-stream",
        "text/html",
        "",
    ] {
        let issuer = TestIssuer::start();
        issuer.set_jwks_content_type(content_type);
        let api = api(jwts_only(&issuer)).await;
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK, "{content_type}");
        let accept = issuer.requests(Endpoint::Jwks)[0].header("accept").map(str::to_owned).unwrap();
        assert!(accept.contains("application/jwk-set+json") && accept.contains("*/*"), "{accept}");
    }
}

/// None of these can ever be verified, so no keys are fetched and nothing is unavailable.
#[actix_web::test]
async fn a_jwt_of_an_impossible_algorithm_is_refused_without_keys() {
    for keys in [json!({ "keys": [] }), json!({})] {
        let issuer = TestIssuer::start();
        issuer.publish_jwks(keys);
        let api = api(jwts_only(&issuer)).await;
        let good = issuer.jwt(json!({}));
        let (_, rest) = good.split_once('.').unwrap();
        for algorithm in ["HS256", "HS384", "HS512", "none", "None", "dir", "ES256K"] {
            let header = URL_SAFE_NO_PAD.encode(json!({ "alg": algorithm, "kid": "x" }).to_string());
            assert_eq!(
                api.outcome(&format!("{header}.{rest}")).await,
                token(TokenFault::Algorithm),
                "{algorithm}"
            );
        }
        assert_eq!(fetches(&issuer), 0);
    }
}

#[actix_web::test]
async fn required_claims_hold_for_jwts_and_introspected_tokens() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer).required_claims(["client_id", "jti"])).await;
    for (claims, outcome) in [
        (json!({ "client_id": "app", "jti": "j" }), OK),
        (json!({ "client_id": "app", "jti": null }), token(TokenFault::MissingClaim)),
        (json!({ "client_id": null, "jti": "j" }), token(TokenFault::MissingClaim)),
    ] {
        for token in [issuer.jwt(claims.clone()), issuer.opaque(claims.clone())] {
            assert_eq!(api.outcome(&token).await, outcome, "{claims}");
            assert_eq!(api.outcome(&token).await, outcome, "{claims}, once more");
        }
    }
}

#[actix_web::test]
async fn a_jwt_without_kid_is_verified_with_each_key_of_its_algorithm() {
    let issuer = TestIssuer::start();
    let key = |n: usize| TestKey::generate(test::Algorithm::ES256, &format!("k{n}"));
    let keys: Vec<_> = (0..3).map(key).collect();
    issuer.publish_jwks(json!({ "keys": keys.iter().map(TestKey::jwk).collect::<Vec<_>>() }));
    let api = api(jwts_only(&issuer)).await;
    let signed = |key: &TestKey| {
        let raw = json!({ "alg": "ES256", "typ": "JWT" }).to_string();
        issuer.jwt_with(JwtOptions::new().key(key).raw_header(&raw), json!({}))
    };
    for one in &keys {
        assert_eq!(api.outcome(&signed(one)).await, OK);
    }
    assert_eq!(api.outcome(&signed(&key(9))).await, token(TokenFault::Signature));
}

#[actix_web::test]
async fn the_last_good_keys_are_used_during_an_outage_until_they_are_too_old() {
    let (issuer, clock) = timed_issuer();
    let builder = jwts_only(&issuer)
        .clock(clock.clone())
        .jwks_cache_duration(seconds(100))
        .metadata_cache_duration(seconds(100));
    let api = api(builder.max_stale(seconds(1000))).await;
    let (seen, fresh) = (lasting(&issuer, &clock), lasting(&issuer, &clock));
    assert_eq!(api.outcome(&seen).await, OK);
    for endpoint in [Endpoint::Jwks, Endpoint::Discovery] {
        issuer.fault(endpoint, Fault::status(500).always());
    }
    for step in [100, 500, 399] {
        clock.advance(seconds(step));
        assert_eq!(api.outcome(&seen).await, OK, "after {step} s more");
        let unseen = lasting(&issuer, &clock);
        assert_eq!(api.outcome(&unseen).await, OK);
    }
    clock.advance(seconds(1));
    for any in [&seen, &fresh] {
        assert_eq!(api.outcome(any).await, upstream(Failing));
    }
    issuer.clear_faults();
    clock.advance(seconds(60));
    assert_eq!(api.outcome(&seen).await, OK);
}

#[actix_web::test]
async fn a_flood_during_an_outage_of_the_keys_costs_one_fetch_in_each_pause() {
    let (issuer, clock, api) = timed().await;
    issuer.fault(Endpoint::Jwks, Fault::status(500).always());
    let tokens: Vec<_> = (0..40).map(|_| lasting(&issuer, &clock)).collect();
    for (failures, pause) in [1, 2, 4].into_iter().enumerate() {
        for outcome in join_all(tokens.iter().map(|good| api.outcome(good))).await {
            assert_eq!(outcome, upstream(Failing));
        }
        assert_eq!(fetches(&issuer), failures + 1);
        clock.advance(seconds(pause));
    }
    issuer.clear_faults();
    assert_eq!(api.outcome(&tokens[0]).await, OK);
}

#[actix_web::test]
async fn without_credentials_an_opaque_token_is_rejected_without_a_call() {
    let issuer = TestIssuer::start();
    let api = api(jwts_only(&issuer)).await;
    let opaque = issuer.opaque(json!({}));
    for unsupported in [&opaque, "a.b", "a.b.c", "a.b.c.d.e", "e30.e30.e30"] {
        let outcome = api.outcome(unsupported).await;
        assert_eq!(outcome, token(TokenFault::Unsupported), "{unsupported}");
    }
    assert_eq!(issuer.count(Endpoint::Introspection), 0);
}

#[actix_web::test]
async fn jwts_are_introspected_where_the_settings_say_so() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer).introspect_jwt_tokens(true)).await;
    let jwt = issuer.jwt(json!({}));
    assert_eq!(api.outcome(&jwt).await, OK);
    issuer.revoke(&jwt);
    assert_eq!(api.outcome(&jwt).await, token(TokenFault::Inactive));
    assert_eq!((issuer.count(Endpoint::Introspection), fetches(&issuer)), (2, 1));
}

/// The issuer would respond that each of these is active. Anyone can create them, and no call is made for them.
#[actix_web::test]
async fn a_jwt_that_fails_local_validation_is_not_introspected_in_any_mode() {
    let issuer = TestIssuer::start();
    let of = |options: JwtOptions, claims: Value| issuer.jwt_with(options, claims);
    let foreign = || TestKey::generate(test::Algorithm::ES256, "x");
    let own_kid = || foreign().with_kid("es256-1");
    let good = issuer.jwt(json!({}));
    let (header, rest) = good.split_once('.').unwrap();
    let changed = |first: &str| {
        let token = format!("{first}.{rest}");
        issuer.set_answer(&token, &issuer.claims(&issuer.opaque(json!({ "active": true }))).to_string());
        token
    };
    let header_text = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let encoded = |text: String| changed(&URL_SAFE_NO_PAD.encode(text));
    let cases = [
        (of(JwtOptions::new().key(&foreign()), json!({})), TokenFault::UnknownKey),
        (of(JwtOptions::new().key(&own_kid()), json!({})), TokenFault::Signature),
        (of(JwtOptions::new(), json!({ "aud": "https://other.example.test" })), TokenFault::Audience),
        (of(JwtOptions::new(), json!({ "iss": "https://other.example.test" })), TokenFault::Issuer),
        (of(JwtOptions::new(), json!({ "exp": 1 })), TokenFault::Expired),
        (
            of(JwtOptions::new(), json!({ "nbf": 4_000_000_000_u64, "exp": 4_000_000_001_u64 })),
            TokenFault::NotYetValid,
        ),
        (of(JwtOptions::new().header("typ", "logout+jwt"), json!({})), TokenFault::Type),
        (of(JwtOptions::new(), json!({ "token_use": "id" })), TokenFault::Type),
        (changed("eyJhbGciOiJub25lIn0"), TokenFault::Algorithm),
        (encoded(header_text.replace("ES256", "HS256")), TokenFault::Algorithm),
        (changed(&format!("{header}+")), TokenFault::Malformed),
        (encoded(format!("\u{feff}{header_text}")), TokenFault::Malformed),
        (encoded(format!("{header_text}x")), TokenFault::Malformed),
        (encoded(header_text.replace("alg", "ALG")), TokenFault::Malformed),
        (encoded(header_text.replace('}', "")), TokenFault::Malformed),
        (encoded(header_text.replace('{', "{\"alg\":\"ES256\",")), TokenFault::Malformed),
    ];
    for introspects in [false, true] {
        let api = api(introspecting(&issuer).introspect_jwt_tokens(introspects)).await;
        assert_eq!(api.outcome(&good).await, OK);
        let before = issuer.count(Endpoint::Introspection);
        assert_eq!(before, usize::from(introspects));
        for (bad, fault) in &cases {
            assert_eq!(api.outcome(bad).await, token(*fault), "{introspects} {bad}");
        }
        assert_eq!(issuer.count(Endpoint::Introspection), before, "{introspects}");
    }
}

/// The response completes the JWT's own claims.
#[actix_web::test]
async fn claims_that_an_introspected_jwt_lacks_come_from_the_response() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer).introspect_jwt_tokens(true)).await;
    let bare = issuer.jwt(json!({ "iss": null, "aud": null, "exp": null }));
    issuer.set_answer(&bare, &issuer.claims(&issuer.opaque(json!({ "active": true }))).to_string());
    assert_eq!(api.outcome(&bare).await, OK);
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
}

/// An unsigned token, an HMAC token and a logout token: anyone can create them.
fn forged(number: usize) -> [(String, TokenFault); 3] {
    let claims = URL_SAFE_NO_PAD.encode(json!({ "n": number }).to_string());
    let make = |header: Value| format!("{}.{claims}.QUFB", URL_SAFE_NO_PAD.encode(header.to_string()));
    [
        (make(json!({ "alg": "none" })), TokenFault::Algorithm),
        (make(json!({ "alg": "HS256", "typ": "at+jwt" })), TokenFault::Algorithm),
        (make(json!({ "alg": "ES256", "typ": "logout+jwt" })), TokenFault::Type),
    ]
}

#[actix_web::test]
async fn forged_jwts_are_not_introspected_while_the_keys_cannot_be_renewed() {
    let (issuer, clock) = timed_issuer();
    let api = api(introspecting(&issuer).clock(clock.clone()).introspect_jwt_tokens(true)).await;
    assert_eq!(api.outcome(&lasting(&issuer, &clock)).await, OK);
    issuer.fault(Endpoint::Jwks, Fault::status(500).always());
    let unknown = || TestKey::generate(test::Algorithm::ES256, "made-up");
    let known = || unknown().with_kid("es256-1");
    for (round, pause) in [60, 1, 400].into_iter().enumerate() {
        clock.advance(seconds(pause));
        let before = issuer.count(Endpoint::Introspection);
        for number in 0..3 {
            let of = |key: &TestKey| issuer.jwt_with(JwtOptions::new().key(key), json!({ "n": number }));
            assert_eq!(api.outcome(&of(&unknown())).await, upstream(Failing), "{round}");
            assert_eq!(api.outcome(&of(&known())).await, token(TokenFault::Signature), "{round}");
            for (bad, fault) in forged(number) {
                assert_eq!(api.outcome(&bad).await, token(fault), "{round}");
            }
        }
        assert_eq!(issuer.count(Endpoint::Introspection), before, "{round}");
        assert_eq!(api.outcome(&lasting(&issuer, &clock)).await, OK, "its key is known");
        assert_eq!(issuer.count(Endpoint::Introspection), before + 1);
    }
}

#[actix_web::test]
async fn a_header_that_no_key_can_verify_is_rejected_without_keys_and_without_a_call() {
    for keys in ["failing", "hanging", "empty"] {
        let issuer = TestIssuer::start();
        match keys {
            "failing" => issuer.fault(Endpoint::Jwks, Fault::status(500).always()),
            "hanging" => issuer.fault(Endpoint::Jwks, Fault::hold().always()),
            _ => issuer.publish_jwks(json!({ "keys": [] })),
        }
        let api = api(introspecting(&issuer).introspect_jwt_tokens(true)).await;
        for (bad, fault) in forged(0) {
            assert_eq!(api.outcome(&bad).await, token(fault), "{keys}");
        }
        assert_eq!((issuer.count(Endpoint::Introspection), fetches(&issuer)), (0, 0), "{keys}");
    }
}

#[actix_web::test]
async fn a_jwt_is_introspected_unverified_while_no_keys_can_be_had() {
    for keys in ["failing", "empty", "unusable", "absent"] {
        let issuer = TestIssuer::start();
        match keys {
            "failing" => issuer.fault(Endpoint::Jwks, Fault::status(500).always()),
            "empty" => issuer.publish_jwks(json!({ "keys": [] })),
            _ => issuer.set_metadata(move |mut metadata| {
                metadata["jwks_uri"] =
                    if keys == "absent" { Value::Null } else { json!("http://keys.test/") };
                metadata
            }),
        }
        let api = api(introspecting(&issuer).introspect_jwt_tokens(true)).await;
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK, "{keys}");
        assert_eq!(issuer.count(Endpoint::Introspection), 1, "{keys}");
    }
}

#[actix_web::test]
async fn by_default_a_jwt_is_never_sent_to_the_issuer() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer)).await;
    let bad =
        issuer.jwt_with(JwtOptions::new().key(&TestKey::generate(test::Algorithm::ES256, "x")), json!({}));
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!(api.outcome(&bad).await, UNKNOWN_KEY, "though the issuer would call it active");
    assert_eq!(api.outcome(&issuer.jwt(json!({ "exp": 1 }))).await, token(TokenFault::Expired));
    assert_eq!(issuer.count(Endpoint::Introspection), 0);
}

#[actix_web::test]
async fn a_token_that_only_resembles_a_jwt_is_introspected() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer)).await;
    let claims = issuer.claims(&issuer.opaque(json!({ "active": true }))).to_string();
    for (count, opaque) in ["a.b.c.d.e", "a.b.c", "e30.e30.e30", "..", "a.b"].into_iter().enumerate() {
        issuer.set_answer(opaque, &claims);
        assert_eq!(api.outcome(opaque).await, OK, "{opaque}");
        assert_eq!(issuer.count(Endpoint::Introspection), count + 1);
    }
}

#[actix_web::test]
async fn a_server_without_published_keys_has_its_jwts_introspected() {
    let issuer = TestIssuer::start();
    issuer.set_metadata(|mut metadata| {
        metadata["jwks_uri"] = Value::Null;
        metadata
    });
    let both = api(introspecting(&issuer)).await;
    assert_eq!(both.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!((issuer.count(Endpoint::Introspection), fetches(&issuer)), (1, 0));
    let neither = api(jwts_only(&issuer)).await;
    assert_eq!(
        neither.outcome(&issuer.jwt(json!({}))).await,
        setup(SetupFault::Endpoint),
        "no token at all could pass"
    );
}

#[actix_web::test]
async fn the_policy_is_checked_for_a_cached_jwt_on_each_request() {
    let (issuer, clock, api) = timed().await;
    let now = clock.unix_time();
    let reader = issuer.jwt(json!({ "scope": "read", "exp": now + 100 }));
    for _ in 0..2 {
        assert_eq!(api.outcome_at("/read", &reader).await, OK);
        assert_eq!(api.outcome_at("/write", &reader).await, NO_SCOPE);
        assert_eq!(
            api.outcome_at("/team", &reader).await.unwrap_err().to_string(),
            "a required group is missing"
        );
    }
    clock.advance(seconds(159));
    assert_eq!(api.outcome(&reader).await, OK, "within the tolerance of 60 s");
    clock.advance(seconds(1));
    for path in ["/", "/read", "/write"] {
        assert_eq!(api.outcome_at(path, &reader).await, token(TokenFault::Expired));
    }
    // After the clock is set back, it is not valid yet.
    let later = issuer.jwt(json!({ "nbf": clock.unix_time(), "exp": clock.unix_time() + 100 }));
    assert_eq!(api.outcome(&later).await, OK);
    clock.set_unix_time(clock.unix_time() - 61);
    assert_eq!(api.outcome(&later).await, token(TokenFault::NotYetValid));
}

#[actix_web::test]
async fn a_cached_jwt_with_another_signature_is_rejected() {
    let issuer = TestIssuer::start();
    let api = api(jwts_only(&issuer)).await;
    let good = issuer.jwt(json!({}));
    assert_eq!(api.outcome(&good).await, OK);
    let dot = good.rfind('.').unwrap();
    let mut forged = good.clone();
    let flipped = if good.as_bytes()[dot + 1] == b'A' { "B" } else { "A" };
    forged.replace_range(dot + 1..dot + 2, flipped);
    assert_eq!(api.outcome(&forged).await, token(TokenFault::Signature));
    assert_eq!(api.outcome(&good).await, OK);
}

#[actix_web::test]
async fn settings_narrow_what_a_jwt_may_be() {
    let issuer = TestIssuer::start();
    let mint = |algorithm, typ: &str| {
        issuer.jwt_with(JwtOptions::new().algorithm(algorithm).header("typ", typ), json!({}))
    };
    let (es256, eddsa) =
        (mint(test::Algorithm::ES256, "at+jwt"), mint(test::Algorithm::EdDSA, "application/at+jwt"));
    let plain = mint(test::Algorithm::ES256, "JWT");

    let narrow = api(jwts_only(&issuer).algorithms([Algorithm::ES256])).await;
    assert_eq!(narrow.outcome(&es256).await, OK);
    assert_eq!(narrow.outcome(&eddsa).await, token(TokenFault::Algorithm));

    let strict = api(jwts_only(&issuer).require_at_jwt(true)).await;
    assert_eq!((strict.outcome(&es256).await, strict.outcome(&eddsa).await), (OK, OK));
    assert_eq!(strict.outcome(&plain).await, token(TokenFault::Type));
}

#[actix_web::test]
async fn a_configured_jwks_uri_overrides_the_discovered_one() {
    let (issuer, keys) = (TestIssuer::start(), TestIssuer::start());
    let with = |key: &TestKey| issuer.jwt_with(JwtOptions::new().key(key), json!({}));
    let (own, other) =
        (issuer.key(test::Algorithm::ES256), keys.key(test::Algorithm::ES256).with_kid("es256-1"));
    for builder in [jwts_only(&issuer), introspecting(&issuer)] {
        let api = api(builder.jwks_uri(keys.url(Endpoint::Jwks))).await;
        assert_eq!(api.outcome(&with(&other)).await, OK);
        assert_eq!(api.outcome(&with(&own)).await, token(TokenFault::Signature));
    }
    assert_eq!((fetches(&issuer), fetches(&keys)), (0, 2));
}
