//! Discovery of the endpoints, and failures of discovery.

use std::time::Duration;

use actix_protect_api::{
    SetupFault, TokenFault,
    UpstreamFault::{BadAnswer, Failing, TimedOut, Unreachable},
    test::{Endpoint, Fault, JwtOptions, Rotation, TestClock, TestIssuer},
};
use serde_json::{Value, json};

use crate::support::{
    logs,
    net::unused_address,
    server::Server,
    service::{OK, api, api_with, introspecting, jwts_only, setup, timed_issuer, token, upstream},
    time::{eventually, seconds},
};

fn metadata(issuer: &TestIssuer) -> Value {
    let mut seen = Value::Null;
    issuer.set_metadata(|metadata| {
        seen = metadata.clone();
        metadata
    });
    seen
}

/// How often each document was requested: OIDC, RFC 8414.
fn asked(issuer: &TestIssuer) -> (usize, usize) {
    (issuer.count(Endpoint::Discovery), issuer.count(Endpoint::AuthorizationServerMetadata))
}

#[actix_web::test]
async fn the_oidc_document_is_fetched_first_and_is_enough() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer)).await;
    for _ in 0..3 {
        assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    }
    assert_eq!(asked(&issuer), (1, 0));
    let request = &issuer.requests(Endpoint::Discovery)[0];
    let accept = "application/json, application/jwk-set+json, */*;q=0.1";
    assert_eq!((request.method.as_str(), request.header("accept")), ("GET", Some(accept)));
    assert_eq!(request.header("authorization"), None);
}

#[actix_web::test]
async fn the_rfc_8414_document_is_fetched_if_there_is_no_oidc_document() {
    for path in ["", "/tenant/a"] {
        let issuer = TestIssuer::builder().path(path).start();
        issuer.set_served(Endpoint::Discovery, false);
        let api = api(introspecting(&issuer)).await;
        assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK, "{path:?}");
        assert_eq!(asked(&issuer), (1, 1));
        let target = &issuer.requests(Endpoint::AuthorizationServerMetadata)[0].target;
        assert_eq!(*target, format!("/.well-known/oauth-authorization-server{path}"));
    }
}

#[actix_web::test]
async fn the_path_may_precede_the_well_known_part() {
    let issuer = TestIssuer::builder().path("/tenant/a").start();
    issuer.set_served(Endpoint::Discovery, false);
    issuer.set_served(Endpoint::AuthorizationServerMetadata, false);
    issuer.fault(Endpoint::Other, Fault::body(metadata(&issuer).to_string()).always());
    let api = api(introspecting(&issuer)).await;
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    let target = &issuer.requests(Endpoint::Other)[0].target;
    assert_eq!(target, "/tenant/a/.well-known/oauth-authorization-server");
}

#[actix_web::test]
async fn an_oidc_document_without_introspection_endpoint_is_completed_by_rfc_8414() {
    let issuer = TestIssuer::start();
    let mut lacking = metadata(&issuer);
    lacking.as_object_mut().unwrap().remove("introspection_endpoint").unwrap();
    issuer.fault(Endpoint::Discovery, Fault::body(lacking.to_string()).always());
    let needy = api(introspecting(&issuer)).await;
    assert_eq!(needy.outcome(&issuer.opaque(json!({}))).await, OK);
    assert_eq!(needy.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!(asked(&issuer), (1, 1));

    // An API that needs only the keys fetches no second document.
    let frugal = api(jwts_only(&issuer)).await;
    assert_eq!(frugal.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!(asked(&issuer), (2, 1));
}

#[actix_web::test]
async fn metadata_without_introspection_endpoint_anywhere_is_our_misconfiguration() {
    let issuer = TestIssuer::start();
    issuer.set_metadata(|mut metadata| {
        metadata["introspection_endpoint"] = Value::Null;
        metadata
    });
    let api = api(introspecting(&issuer)).await;
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, setup(SetupFault::Endpoint));
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK, "the keys are there");
}

#[actix_web::test]
async fn a_document_that_is_not_metadata_is_skipped() {
    type Break = fn(String) -> Fault;
    let good = |issuer: &TestIssuer| metadata(issuer).to_string();
    let cases: [(&str, Break); 8] = [
        ("an HTML page", |_| Fault::content_type("text/html").with_body("<html></html>")),
        ("not JSON", |_| Fault::body("nonsense")),
        ("no object", |good| Fault::body(format!("[{good}]"))),
        ("a member twice", |good| Fault::body(good.replacen('{', "{\"issuer\":\"https://a.example\",", 1))),
        ("no issuer", |_| Fault::body("{}")),
        ("201", |good| Fault::body(good).with_status(201)),
        ("403", |_| Fault::status(403)),
        ("a megabyte too much", |good| Fault::body(good + &" ".repeat(1024 * 1024))),
    ];
    for (what, fault) in cases {
        let issuer = TestIssuer::start();
        issuer.fault(Endpoint::Discovery, fault(good(&issuer)).always());
        let one = api(introspecting(&issuer)).await;
        assert_eq!(one.outcome(&issuer.opaque(json!({}))).await, OK, "{what}");
        assert_eq!(asked(&issuer), (1, 1), "{what}");

        // The same documents are rejected as the second document.
        issuer.fault(Endpoint::AuthorizationServerMetadata, fault(good(&issuer)).always());
        let other = api(introspecting(&issuer).realm("another configuration")).await;
        assert_eq!(other.outcome(&issuer.opaque(json!({}))).await, upstream(BadAnswer), "{what}");
    }
}

#[actix_web::test]
async fn metadata_is_accepted_with_any_media_type() {
    for content_type in ["text/plain", "application/octet-stream", "text/html", ""] {
        let issuer = TestIssuer::start();
        issuer.fault(Endpoint::Discovery, Fault::content_type(content_type).always());
        let api = api(introspecting(&issuer)).await;
        assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK, "{content_type}");
        assert_eq!(asked(&issuer), (1, 0), "{content_type}");
    }
}

#[actix_web::test]
async fn no_second_document_is_fetched_from_a_failing_server() {
    let issuer = TestIssuer::start();
    issuer.fault(Endpoint::Discovery, Fault::status(503).with_header("Retry-After", "7").always());
    let answer = api(introspecting(&issuer)).await.get("/", "token").await;
    assert_eq!((answer.outcome(), answer.retry_after), (upstream(Failing), Some(7)));
    assert_eq!(asked(&issuer), (1, 0));
}

/// An issuer whose OIDC document lacks a member that the RFC 8414 one has.
fn split_issuer(lacking: &str) -> (TestIssuer, TestClock) {
    let (issuer, clock) = timed_issuer();
    let mut oidc = metadata(&issuer);
    oidc.as_object_mut().unwrap().remove(lacking).unwrap();
    issuer.fault(Endpoint::Discovery, Fault::body(oidc.to_string()).always());
    (issuer, clock)
}

#[actix_web::test]
async fn a_second_document_that_fails_does_not_discard_the_first_one() {
    let faults = [
        (Fault::status(500), Failing),
        (Fault::status(503), Failing),
        (Fault::status(429), Failing),
        (Fault::reset(), Unreachable),
        (Fault::hold(), TimedOut),
    ];
    for (fault, kind) in faults {
        let (issuer, clock) = split_issuer("introspection_endpoint");
        issuer.fault(Endpoint::AuthorizationServerMetadata, fault.clone().always());
        let one = introspecting(&issuer).clock(clock.clone()).response_timeout(seconds(4));
        let one = api(one).await;
        assert_eq!(one.outcome(&issuer.jwt(json!({}))).await, OK, "{fault:?}");
        assert_eq!(one.outcome(&issuer.opaque(json!({}))).await, upstream(kind), "{fault:?}");
        // It is fetched again soon, before the end of the metadata's lifetime.
        issuer.clear_faults();
        clock.advance(seconds(4));
        let opaque = issuer.opaque(json!({}));
        assert!(eventually(async || one.outcome(&opaque).await == OK).await, "{fault:?}");

        let (issuer, clock) = split_issuer("jwks_uri");
        issuer.fault(Endpoint::AuthorizationServerMetadata, fault.clone().always());
        let other = introspecting(&issuer).clock(clock).response_timeout(seconds(4));
        let other = api(other).await;
        assert_eq!(other.outcome(&issuer.opaque(json!({}))).await, OK, "{fault:?}");
        assert_eq!(other.outcome(&issuer.jwt(json!({}))).await, OK, "introspected: {fault:?}");
    }
}

#[actix_web::test]
async fn a_document_that_lacks_all_that_is_needed_is_an_error_if_the_second_one_fails() {
    let (issuer, clock) = split_issuer("jwks_uri");
    issuer.fault(Endpoint::AuthorizationServerMetadata, Fault::status(503).always());
    let api = api(jwts_only(&issuer).clock(clock)).await;
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, upstream(Failing));
}

#[actix_web::test]
async fn an_endpoint_of_the_second_document_stays_while_that_document_fails() {
    let (issuer, clock) = split_issuer("introspection_endpoint");
    let builder = introspecting(&issuer).clock(clock.clone());
    let builder = builder
        .metadata_cache_duration(seconds(100))
        .jwks_cache_duration(seconds(100))
        .max_stale(seconds(1000));
    let api = api(builder).await;
    let (opaque, jwt) = (issuer.opaque(json!({})), issuer.jwt(json!({})));
    assert_eq!((api.outcome(&opaque).await, api.outcome(&jwt).await), (OK, OK));
    issuer.fault(Endpoint::AuthorizationServerMetadata, Fault::status(503).always());
    for step in [100, 400, 499] {
        clock.advance(seconds(step));
        let seen = (api.outcome(&opaque).await, api.outcome(&jwt).await);
        assert_eq!(seen, (OK, OK), "after {step} s more");
    }
    clock.advance(seconds(10));
    // A background refresh of the document may still be in progress.
    assert!(eventually(async || api.outcome(&opaque).await != OK).await);
    assert_eq!(api.outcome(&opaque).await, upstream(Failing));
    assert_eq!(api.outcome(&jwt).await, OK, "the keys are where they were");
}

#[actix_web::test]
async fn an_endpoint_that_turns_unusable_does_not_replace_the_last_good_one_until_that_is_too_old() {
    logs::capture();
    for odd in [json!("http://keycloak:8080/i"), json!(false), json!("/i"), json!(""), json!(7)] {
        let (issuer, clock) = timed_issuer();
        let builder = introspecting(&issuer).clock(clock.clone());
        let builder = builder
            .metadata_cache_duration(seconds(100))
            .jwks_cache_duration(seconds(100))
            .max_stale(seconds(1000));
        let api = api(builder).await;
        let opaque = issuer.opaque(json!({}));
        assert_eq!((api.outcome(&opaque).await, api.outcome(&issuer.jwt(json!({}))).await), (OK, OK));
        let good = metadata(&issuer);
        with_member(&issuer, "introspection_endpoint", odd.clone());
        for step in [100, 400, 499] {
            clock.advance(seconds(step));
            assert_eq!(api.outcome(&opaque).await, OK, "{odd}, after {step} s more");
            assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK, "{odd}, after {step} s more");
        }
        let count = |event: &str| {
            logs::count(|record| {
                record.value("event") == event
                    && record.value("issuer") == issuer.issuer()
                    && record.level <= log::Level::Warn
            })
        };
        assert!(count("endpoint_kept") >= 3, "{odd}");
        clock.advance(seconds(1));
        let seen = api.outcome(&opaque).await;
        assert!(
            seen == setup(SetupFault::InsecureEndpoint) || seen == upstream(BadAnswer),
            "{odd}: {seen:?}"
        );
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK, "{odd}");

        issuer.set_metadata(|_| good);
        clock.advance(seconds(100));
        assert_eq!(api.outcome(&opaque).await, OK, "{odd}");
        // One that is withdrawn is not used any more.
        with_member(&issuer, "introspection_endpoint", Value::Null);
        clock.advance(seconds(100));
        assert_eq!(api.outcome(&opaque).await, setup(SetupFault::Endpoint), "{odd}");
        with_member(&issuer, "introspection_endpoint", odd.clone());
        clock.advance(seconds(100));
        assert_ne!(api.outcome(&opaque).await, OK, "{odd}");
    }
}

#[actix_web::test]
async fn keys_are_fetched_from_the_last_good_address_while_the_new_one_is_unusable() {
    for introspects in [false, true] {
        for odd in [json!("http://keycloak:8080/j"), json!(false), json!("/j"), json!("")] {
            let (issuer, clock) = timed_issuer();
            let builder = introspecting(&issuer).clock(clock.clone()).introspect_jwt_tokens(introspects);
            let api = api(builder.metadata_cache_duration(seconds(10)).jwks_cooldown(seconds(30))).await;
            assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
            with_member(&issuer, "jwks_uri", odd.clone());
            clock.advance(seconds(60));
            issuer.rotate_keys(Rotation::Replace);
            assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK, "{odd}");
            assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK, "{odd}");
            assert_eq!(issuer.count(Endpoint::Jwks), 2, "{odd}");
        }
    }
}

#[actix_web::test]
async fn a_byte_order_mark_in_front_of_a_document_is_no_part_of_it() {
    let issuer = TestIssuer::start();
    let marked = |document: String| Fault::body(format!("\u{feff}{document}")).always();
    issuer.fault(Endpoint::Discovery, marked(metadata(&issuer).to_string()));
    issuer.fault(Endpoint::Jwks, marked(issuer.jwks().to_string()));
    let marking = api(introspecting(&issuer)).await;
    assert_eq!(marking.outcome(&issuer.jwt(json!({}))).await, OK);
    let opaque = issuer.opaque(json!({}));
    let verdict = json!({ "active": true, "iss": issuer.issuer(), "aud": issuer.audience(), "team": "a" });
    issuer.fault(Endpoint::Introspection, marked(verdict.to_string()));
    let answer = marking.get("/", &opaque).await;
    assert_eq!((answer.outcome(), &answer.body["team"]), (OK, &json!("a")));
    issuer.clear_faults();
    let refusal = Fault::body("\u{feff}{\"error\":\"unsupported_token_type\"}").with_status(400);
    issuer.fault(Endpoint::Introspection, refusal.always());
    assert_eq!(marking.outcome(&opaque).await, token(TokenFault::Unsupported));

    let issuer = TestIssuer::start();
    let twice = Fault::body(format!("\u{feff}\u{feff}{}", metadata(&issuer)));
    issuer.fault(Endpoint::Discovery, twice.always());
    assert_eq!(api(introspecting(&issuer)).await.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!(asked(&issuer), (1, 1), "one mark, and not two");
}

#[actix_web::test]
async fn a_document_that_stays_bad_is_a_warning_once_in_ten_seconds() {
    logs::capture();
    let counted = |issuer: &TestIssuer, event: &str, is_loud: bool| {
        logs::count(|record| {
            record.value("event") == event
                && record.value("issuer") == issuer.issuer()
                && (record.level <= log::Level::Warn) == is_loud
        })
    };
    for refused in [false, true] {
        let (issuer, clock) = timed_issuer();
        if refused {
            with_member(&issuer, "issuer", "https://elsewhere.example.test".into());
        } else {
            issuer.fault(Endpoint::Discovery, Fault::status(500).always());
        }
        let api = api(introspecting(&issuer).clock(clock.clone())).await;
        for _ in 0..26 {
            assert_ne!(api.outcome("token").await, OK);
            clock.advance(seconds(4));
        }
        assert!(issuer.count(Endpoint::Discovery) >= 20);
        let events = if refused { vec!["fetch_failed", "metadata_refused"] } else { vec!["fetch_failed"] };
        for event in events {
            // 100 seconds have passed since the first one.
            assert!((1..=11).contains(&counted(&issuer, event, true)), "{event}");
            assert!(counted(&issuer, event, false) >= 10, "{event}");
        }
    }
}

#[actix_web::test]
async fn a_key_that_cannot_be_used_is_reported_once_however_often_strangers_have_the_keys_fetched() {
    logs::capture();
    let (issuer, clock) = timed_issuer();
    let port = issuer.issuer().rsplit(':').next().unwrap().to_owned();
    let publish = |names: &[&str]| {
        let mut set = issuer.jwks();
        let keys = set["keys"].as_array_mut().unwrap();
        keys.retain(|key| !key["kid"].as_str().unwrap().starts_with("broken"));
        for name in names {
            keys.push(json!({ "kty": "RSA", "n": "!", "e": "AQAB", "kid": format!("broken-{name}-{port}") }));
        }
        // A server may write the time into the document.
        set["fetch"] = json!(issuer.count(Endpoint::Jwks));
        issuer.publish_jwks(set);
    };
    let told = |name: &str| {
        let kid = format!("broken-{name}-{port}");
        logs::count(|record| record.value("event") == "key_skipped" && record.value("kid") == kid)
    };
    let api = api(introspecting(&issuer).clock(clock.clone())).await;
    let stranger = || issuer.jwt_with(JwtOptions::new().kid("invented"), json!({}));
    for _ in 0..10 {
        publish(&["a", "b"]);
        assert_eq!(api.outcome(&stranger()).await, token(TokenFault::UnknownKey));
        clock.advance(seconds(31));
    }
    assert!(issuer.count(Endpoint::Jwks) >= 10, "{}", issuer.count(Endpoint::Jwks));
    assert_eq!((told("a"), told("b"), told("c")), (1, 1, 0));
    publish(&["c", "a"]);
    assert_eq!(api.outcome(&stranger()).await, token(TokenFault::UnknownKey));
    assert_eq!((told("a"), told("b"), told("c")), (1, 1, 1));
}

#[actix_web::test]
async fn metadata_of_another_issuer_is_our_misconfiguration() {
    let issuer = TestIssuer::start();
    let own = issuer.issuer().to_owned();
    for stated in ["https://issuer.example.test".to_owned(), format!("{own}/tenant"), own.to_uppercase()] {
        issuer.set_metadata(|mut metadata| {
            metadata["issuer"] = stated.clone().into();
            metadata
        });
        let api = api(introspecting(&issuer).realm(stated.clone())).await;
        let answer = api.outcome(&issuer.opaque(json!({}))).await;
        assert_eq!(answer, setup(SetupFault::Issuer), "{stated}");
    }
    assert_eq!(issuer.count(Endpoint::Introspection), 0);
}

#[actix_web::test]
async fn the_issuers_slash_may_differ_but_tokens_must_say_what_the_document_says() {
    for with_slash in [true, false] {
        let issuer = TestIssuer::builder().trailing_slash(with_slash).start();
        let base = issuer.issuer().trim_end_matches('/').to_owned();
        let slashed = format!("{base}/");
        let (stated, other) = if with_slash { (&slashed, &base) } else { (&base, &slashed) };
        for configured in [&base, &slashed] {
            let credentials =
                actix_protect_api::ClientAuthentication::client_secret_basic(issuer.client_secret());
            let builder = actix_protect_api::ProtectApi::builder(configured, issuer.audience())
                .client(issuer.client_id(), credentials);
            let api = api(builder).await;
            for mint in [TestIssuer::opaque, TestIssuer::jwt] {
                assert_eq!(api.outcome(&mint(&issuer, json!({ "iss": stated }))).await, OK);
                let foreign = mint(&issuer, json!({ "iss": other }));
                assert_eq!(api.outcome(&foreign).await, token(TokenFault::Issuer), "{configured} {other}");
            }
        }
    }
}

fn with_member(issuer: &TestIssuer, name: &str, value: Value) {
    issuer.set_metadata(|mut metadata| {
        metadata[name] = value;
        metadata
    });
}

#[actix_web::test]
async fn an_endpoint_that_is_not_https_is_our_misconfiguration_for_the_tokens_that_need_it() {
    for url in [
        "http://issuer.example.test/introspect",
        "https://user:password@issuer.example.test/introspect",
        "ftp://127.0.0.1/introspect",
        "file:///etc/passwd",
        "/introspect",
        "",
    ] {
        let issuer = TestIssuer::start();
        let (opaque, jwt) = (issuer.opaque(json!({})), issuer.jwt(json!({})));
        let insecure = setup(SetupFault::InsecureEndpoint);
        with_member(&issuer, "introspection_endpoint", url.into());
        let one = api(introspecting(&issuer)).await;
        assert_eq!((one.outcome(&opaque).await, one.outcome(&jwt).await), (insecure, OK), "{url}");

        let issuer = TestIssuer::start();
        let (opaque, jwt) = (issuer.opaque(json!({})), issuer.jwt(json!({})));
        with_member(&issuer, "jwks_uri", url.into());
        let other = api(introspecting(&issuer)).await;
        assert_eq!((other.outcome(&opaque).await, other.outcome(&jwt).await), (OK, insecure), "{url}");
        assert_eq!(api(jwts_only(&issuer)).await.outcome(&jwt).await, insecure, "{url}");
    }
}

#[actix_web::test]
async fn a_member_of_the_metadata_that_is_not_needed_may_be_anything() {
    let odd = [
        json!("http://keycloak:8080/introspect"),
        json!(false),
        json!("/relative"),
        json!(""),
        json!(7),
        json!({ "a": 1 }),
    ];
    for odd in odd {
        let issuer = TestIssuer::start();
        let (opaque, jwt, keys) =
            (issuer.opaque(json!({})), issuer.jwt(json!({})), issuer.url(Endpoint::Jwks));
        with_member(&issuer, "introspection_endpoint", odd.clone());
        assert_eq!(api(jwts_only(&issuer)).await.outcome(&jwt).await, OK, "{odd}");
        let given = introspecting(&issuer).jwks_uri(&keys);
        let given = given.introspection_endpoint(issuer.url(Endpoint::Introspection));
        assert_eq!(api(given).await.outcome(&opaque).await, OK, "{odd}");

        let issuer = TestIssuer::start();
        let (opaque, jwt, keys) =
            (issuer.opaque(json!({})), issuer.jwt(json!({})), issuer.url(Endpoint::Jwks));
        with_member(&issuer, "jwks_uri", odd.clone());
        let given = api(introspecting(&issuer).jwks_uri(&keys)).await;
        assert_eq!((given.outcome(&opaque).await, given.outcome(&jwt).await), (OK, OK), "{odd}");
        let introspected = api(introspecting(&issuer).introspect_jwt_tokens(true)).await;
        assert_eq!(introspected.outcome(&jwt).await, OK, "{odd}");
    }
}

#[actix_web::test]
async fn metadata_that_turns_unusable_does_not_replace_the_last_good_one() {
    let (issuer, clock) = timed_issuer();
    let api = api(jwts_only(&issuer).clock(clock.clone()).metadata_cache_duration(seconds(10))).await;
    let jwt = issuer.jwt(json!({}));
    assert_eq!(api.outcome(&jwt).await, OK);
    with_member(&issuer, "jwks_uri", "http://issuer.example.test/jwks".into());
    clock.advance(seconds(400));
    assert_eq!(api.outcome(&jwt).await, OK);
    assert_eq!(asked(&issuer), (2, 1), "it was tried");
}

#[actix_web::test]
async fn given_endpoints_need_no_discovery() {
    let issuer = TestIssuer::start();
    let both = introspecting(&issuer)
        .introspection_endpoint(issuer.url(Endpoint::Introspection))
        .jwks_uri(issuer.url(Endpoint::Jwks));
    let both = api(both).await;
    assert_eq!(both.outcome(&issuer.opaque(json!({}))).await, OK);
    assert_eq!(both.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!((issuer.count(Endpoint::Introspection), issuer.count(Endpoint::Jwks)), (1, 1));

    let introspection = introspecting(&issuer).introspection_endpoint(issuer.url(Endpoint::Introspection));
    let introspection = api(introspection).await;
    assert_eq!(introspection.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!((issuer.count(Endpoint::Introspection), issuer.count(Endpoint::Jwks)), (2, 1));

    let keys = api(jwts_only(&issuer).jwks_uri(issuer.url(Endpoint::Jwks))).await;
    assert_eq!(keys.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!(asked(&issuer), (0, 0));
}

#[actix_web::test]
async fn many_first_requests_over_all_workers_share_one_discovery_and_one_key_set() {
    let issuer = TestIssuer::start();
    let delay = Duration::from_millis(150);
    issuer.fault(Endpoint::Discovery, Fault::delay(delay).always());
    issuer.fault(Endpoint::Jwks, Fault::delay(delay).always());
    let server = Server::start(&introspecting(&issuer).build().unwrap(), 4);
    let tokens: Vec<_> = (0..60).map(|_| issuer.jwt(json!({}))).collect();
    let statuses = server.statuses(tokens.iter().map(String::as_str)).await;
    assert_eq!(statuses, [200; 60]);
    assert_eq!((asked(&issuer), issuer.count(Endpoint::Jwks)), ((1, 0), 1));
}

#[actix_web::test]
async fn an_api_that_starts_before_its_issuer_recovers() {
    let (model, clock) = timed_issuer();
    let port = unused_address().port();
    let credentials = actix_protect_api::ClientAuthentication::client_secret_post(model.client_secret());
    let builder =
        actix_protect_api::ProtectApi::builder(format!("http://127.0.0.1:{port}"), model.audience())
            .client(model.client_id(), credentials)
            .clock(clock.clone());
    let api = api(builder).await;
    let answer = api.get("/", "token").await;
    assert_eq!((answer.outcome(), answer.retry_after), (upstream(Unreachable), Some(1)));

    let issuer = TestIssuer::builder().port(port).clock(clock.clone()).start();
    let good = issuer.opaque(json!({}));
    assert_eq!(api.outcome(&good).await, upstream(Unreachable), "the pause is not over");
    assert_eq!(issuer.connections(), 0);
    clock.advance(seconds(1));
    assert_eq!(api.outcome(&good).await, OK);
}

#[actix_web::test]
async fn failing_discovery_pauses_longer_and_longer_whatever_comes_meanwhile() {
    let (issuer, clock) = timed_issuer();
    issuer.fault(Endpoint::Discovery, Fault::status(500).always());
    let api = api(introspecting(&issuer).clock(clock.clone())).await;
    for (failures, pause) in [1, 2, 4, 4].into_iter().enumerate() {
        for number in 0..50 {
            let answer = api.get("/", &format!("token-{number}")).await;
            assert_eq!((answer.outcome(), answer.retry_after), (upstream(Failing), Some(pause)));
        }
        assert_eq!(issuer.count(Endpoint::Discovery), failures + 1);
        clock.advance(seconds(pause));
    }
    issuer.clear_faults();
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
}

#[actix_web::test]
async fn the_last_good_metadata_stays_while_refreshing_fails_until_it_is_too_old() {
    let (issuer, clock) = timed_issuer();
    let builder = introspecting(&issuer).clock(clock.clone());
    let builder = builder
        .metadata_cache_duration(seconds(100))
        .jwks_cache_duration(seconds(100))
        .max_stale(seconds(1000));
    let api = api(builder).await;
    let good = issuer.opaque(json!({}));
    assert_eq!(api.outcome(&good).await, OK);
    issuer.fault(Endpoint::Discovery, Fault::status(500).always());
    for step in [100, 400, 499] {
        clock.advance(seconds(step));
        assert_eq!(api.outcome(&good).await, OK, "after {step} s more");
    }
    assert!(issuer.count(Endpoint::Discovery) > 1, "it was tried");
    clock.advance(seconds(1));
    assert_eq!(api.outcome(&good).await, upstream(Failing));
    issuer.clear_faults();
    clock.advance(seconds(30));
    assert_eq!(api.outcome(&good).await, OK);
}

#[actix_web::test]
async fn metadata_is_used_for_its_lifetime_and_then_replaced() {
    let (issuer, clock) = timed_issuer();
    let elsewhere = TestIssuer::start();
    let api = api(introspecting(&issuer).clock(clock.clone()).metadata_cache_duration(seconds(100))).await;
    let good = issuer.opaque(json!({}));
    assert_eq!(api.outcome(&good).await, OK);
    issuer.set_metadata(|mut metadata| {
        metadata["introspection_endpoint"] = elsewhere.url(Endpoint::Introspection).into();
        metadata
    });
    clock.advance(seconds(79));
    assert_eq!(api.outcome(&good).await, OK);
    assert_eq!((asked(&issuer), elsewhere.connections()), ((1, 0), 0));
    clock.advance(seconds(21));
    assert_eq!(api.outcome(&good).await, token(TokenFault::Inactive), "the token is unknown there");
    assert_eq!((asked(&issuer), elsewhere.count(Endpoint::Introspection)), ((2, 0), 1));
}

#[actix_web::test]
async fn a_redirect_of_discovery_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let (issuer, elsewhere) = (TestIssuer::start(), TestIssuer::start());
        // The document at the target names the configured issuer.
        elsewhere.fault(Endpoint::Discovery, Fault::body(metadata(&issuer).to_string()).always());
        let redirect = Fault::redirect(&elsewhere.url(Endpoint::Discovery)).with_status(status);
        issuer.fault(Endpoint::Discovery, redirect.clone().always());
        issuer.fault(Endpoint::AuthorizationServerMetadata, redirect.always());
        let api = api(introspecting(&issuer)).await;
        assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, upstream(BadAnswer), "{status}");
        assert_eq!(elsewhere.connections(), 0, "{status}");
    }
}

#[actix_web::test]
async fn a_client_that_follows_redirects_does_not_accept_metadata_of_another_issuer() {
    let (issuer, elsewhere) = (TestIssuer::start(), TestIssuer::start());
    let redirect = Fault::redirect(&elsewhere.url(Endpoint::Discovery));
    issuer.fault(Endpoint::Discovery, redirect.clone().always());
    issuer.fault(Endpoint::AuthorizationServerMetadata, redirect.always());
    let api = api_with(introspecting(&issuer), awc::Client::default()).await;
    assert_eq!(api.outcome(&elsewhere.opaque(json!({}))).await, setup(SetupFault::Issuer));
    assert_eq!(elsewhere.count(Endpoint::Introspection), 0);
}
