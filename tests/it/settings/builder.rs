//! Options of the builder that have no test with another subject. The last test checks that every option is tested.

use std::{fs, path::Path, time::Duration};

use actix_protect_api::{
    ClientAuthentication, ClientIdentity, ProtectApi, ProtectApiBuilder,
    test::{Endpoint, Fault, JwtOptions, TestClock, TestIssuer},
};
use actix_web::rt;
use serde_json::json;

use crate::support::{
    api::protected,
    app::{INVALID, MALFORMED, OURS, TestApp, UNAVAILABLE},
    jwt::decoded,
    service::{introspecting, timed_issuer},
    time::seconds,
};

fn serving(builder: ProtectApiBuilder) -> TestApp {
    protected(builder.build().unwrap())
}

async fn status(app: &TestApp, token: &str) -> u16 {
    app.get("/").token(token).send().await.status
}

#[actix_web::test]
async fn the_trust_store_chooses_the_alias_of_the_endpoint() {
    let issuer = TestIssuer::start();
    let (plain, additional) = (issuer.url(Endpoint::Introspection), issuer.url(Endpoint::Other));
    issuer.set_metadata(|mut metadata| {
        metadata["mtls_endpoint_aliases"] = json!({ "introspection_endpoint": plain });
        metadata["mtls_additional_endpoint_aliases"] =
            json!({ "ts1": { "introspection_endpoint": additional } });
        metadata
    });
    let make = || {
        let made = rcgen::generate_simple_self_signed(["me".to_owned()]).unwrap();
        let identity = ClientIdentity::from_pem(made.cert.pem(), made.signing_key.serialize_pem());
        ProtectApi::builder(issuer.issuer(), issuer.audience())
            .client("me", ClientAuthentication::tls_client_auth(identity))
    };
    let token = issuer.opaque(json!({}));
    serving(make()).get("/").token(&token).send().await.refuses(OURS);
    assert_eq!((issuer.count(Endpoint::Introspection), issuer.count(Endpoint::Other)), (1, 0));
    // The second call is a health check. It shows that the endpoint rejects other tokens as well.
    serving(make().trust_store_id("ts1")).get("/").token(&token).send().await.refuses(OURS);
    assert_eq!((issuer.count(Endpoint::Introspection), issuer.count(Endpoint::Other)), (1, 2));
    // If the alias is not published, no other endpoint is used.
    serving(make().trust_store_id("ts2")).get("/").token(&token).send().await.refuses(OURS);
    assert_eq!((issuer.count(Endpoint::Introspection), issuer.count(Endpoint::Other)), (1, 2));
}

#[actix_web::test]
async fn client_assertions_have_one_audience_the_issuer_or_the_endpoint() {
    use actix_protect_api::ClientAssertionAudience;

    let secret = "a-client-secret-of-more-than-32-bytes";
    for audience in [None, Some(ClientAssertionAudience::Issuer), Some(ClientAssertionAudience::Endpoint)] {
        let issuer = TestIssuer::builder().client("me", secret).start();
        let mut protect = ProtectApi::builder(issuer.issuer(), issuer.audience())
            .client("me", ClientAuthentication::client_secret_jwt(secret));
        if let Some(audience) = audience {
            protect = protect.client_assertion_audience(audience);
        }
        let (expected, is_accepted) = match audience {
            Some(ClientAssertionAudience::Endpoint) => (issuer.url(Endpoint::Introspection), 500),
            _ => (issuer.issuer().to_owned(), 200),
        };
        // The test issuer accepts only its issuer as the audience.
        assert_eq!(status(&serving(protect), &issuer.opaque(json!({}))).await, is_accepted);
        let form = issuer.requests(Endpoint::Introspection)[0].form();
        let (_, claims) = decoded(&form["client_assertion"]);
        assert_eq!(claims["aud"], json!(expected));
    }
}

/// The `aud` of the last client assertion.
fn assertion_audience(issuer: &TestIssuer) -> serde_json::Value {
    let form = issuer.requests(Endpoint::Introspection).last().unwrap().form();
    decoded(&form["client_assertion"]).1["aud"].clone()
}

#[actix_web::test]
async fn the_audience_of_a_client_assertion_is_the_issuer_of_the_metadata_and_never_that_of_the_token() {
    const TEMPLATE: &str = "https://login.example.test/{tenantid}/v2.0";
    const TENANT: &str = "https://login.example.test/one/v2.0";
    let secret = "a-client-secret-of-more-than-32-bytes";
    let start = || TestIssuer::builder().client("me", secret).start();
    let asserting = |issuer: &TestIssuer| {
        ProtectApi::builder(issuer.issuer(), issuer.audience())
            .client("me", ClientAuthentication::client_secret_jwt(secret))
    };

    // Tokens with another `iss` than the metadata.
    let issuer = start();
    let token = issuer.opaque(json!({ "iss": TENANT }));
    let app = serving(asserting(&issuer).token_issuers([TENANT]));
    assert_eq!(status(&app, &token).await, 200);
    assert_eq!(assertion_audience(&issuer), json!(issuer.issuer()));

    // A template is sent as it is written. The test issuer accepts only its issuer as the audience.
    let issuer = start();
    issuer.set_metadata(|mut metadata| {
        metadata["issuer"] = json!(TEMPLATE);
        metadata
    });
    let url = format!("{}/.well-known/openid-configuration", issuer.issuer());
    let builder = asserting(&issuer).issuer(TEMPLATE).metadata_url(url).token_issuers([TENANT]);
    assert_eq!(status(&serving(builder), &issuer.opaque(json!({ "iss": TENANT }))).await, 500);
    assert_eq!(assertion_audience(&issuer), json!(TEMPLATE));

    // The configured issuer, if nothing is discovered.
    let issuer = start();
    let endpoint = issuer.url(Endpoint::Introspection);
    let app = serving(asserting(&issuer).introspection_endpoint(endpoint));
    assert_eq!(status(&app, &issuer.opaque(json!({}))).await, 200);
    assert_eq!(assertion_audience(&issuer), json!(issuer.issuer()));

    // The issuer of the tenant that is selected.
    let (platform, tenant) = (start(), start());
    let tenant_api = asserting(&tenant).build().unwrap();
    let protect = ProtectApi::any_of([asserting(&platform).build().unwrap()])
        .tenants(
            |_| Some("tenant".to_owned()),
            move |_| {
                let tenant_api = tenant_api.clone();
                Box::pin(async move { Ok(Some(tenant_api)) })
            },
        )
        .build()
        .unwrap();
    assert_eq!(status(&protected(protect), &tenant.opaque(json!({}))).await, 200);
    assert_eq!(assertion_audience(&tenant), json!(tenant.issuer()));
    assert_eq!(platform.count(Endpoint::Introspection), 0);
}

#[actix_web::test]
async fn the_audience_of_a_client_assertion_is_the_endpoint_as_it_is_written() {
    use actix_protect_api::ClientAssertionAudience;

    let secret = "a-client-secret-of-more-than-32-bytes";
    for written in [
        "HTTP://LOCALHOST:{port}/introspect",
        "http://localhost:{port}/a/../introspect",
        "http://localhost:{port}/./introspect",
        "http://localhost:{port}/introspect?tenant=a b",
        "http://0x7f.1:{port}/introspect",
        "http://127.0.0.1:0{port}/introspect",
    ] {
        for configured in [false, true] {
            let issuer = TestIssuer::builder().client("me", secret).start();
            let endpoint = issuer.url(Endpoint::Introspection);
            let port = endpoint.split([':', '/']).nth(4).unwrap();
            let written = written.replace("{port}", port);
            let mut protect = ProtectApi::builder(issuer.issuer(), issuer.audience())
                .client("me", ClientAuthentication::client_secret_jwt(secret))
                .client_assertion_audience(ClientAssertionAudience::Endpoint);
            if configured {
                protect = protect.introspection_endpoint(&written);
            } else {
                issuer.set_metadata(|mut metadata| {
                    metadata["introspection_endpoint"] = json!(written);
                    metadata
                });
            }
            // The test issuer accepts only its issuer as the audience.
            assert_eq!(status(&serving(protect), &issuer.opaque(json!({}))).await, 500, "{written}");
            let form = issuer.requests(Endpoint::Introspection)[0].form();
            let (_, claims) = decoded(&form["client_assertion"]);
            assert_eq!(claims["aud"], json!(written));
        }
    }
}

#[actix_web::test]
async fn clock_skew_moves_the_times_of_client_assertions() {
    use actix_protect_api::Clock as _;

    let secret = "a-client-secret-of-more-than-32-bytes";
    let (clock, server) = (TestClock::new(), TestClock::new());
    // The server is two minutes ahead: without the skew, the assertion would have expired.
    server.advance(seconds(120));
    let issuer = TestIssuer::builder().clock(server.clone()).client("me", secret).start();
    let protect = ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client("me", ClientAuthentication::client_secret_jwt(secret))
        .clock(clock)
        .clock_skew(seconds(120));
    assert_eq!(status(&serving(protect), &issuer.opaque(json!({}))).await, 200);
    let form = issuer.requests(Endpoint::Introspection)[0].form();
    let (_, claims) = decoded(&form["client_assertion"]);
    let now = server.unix_time();
    assert_eq!((claims["iat"].as_i64(), claims["exp"].as_i64()), (Some(now), Some(now + 60)));
}

#[actix_web::test]
async fn clock_skew_and_tolerance_move_the_end_of_a_token() {
    let (issuer, clock) = timed_issuer();
    let token = issuer.jwt(json!({}));
    let make = || introspecting(&issuer).clock(clock.clone());
    let exact = serving(make().clock_tolerance(Duration::ZERO));
    let tolerant = serving(make());
    let skewed = serving(make().clock_tolerance(Duration::ZERO).clock_skew(seconds(30)));
    let mut seen = Vec::new();
    // Tokens live an hour.
    for step in [3569, 1, 29, 1, 59, 1] {
        clock.advance(seconds(step));
        seen.push((
            status(&exact, &token).await,
            status(&tolerant, &token).await,
            status(&skewed, &token).await,
        ));
    }
    assert_eq!(
        seen,
        [
            (200, 200, 200),
            (200, 200, 401),
            (200, 200, 401),
            (401, 200, 401),
            (401, 200, 401),
            (401, 401, 401)
        ]
    );
}

#[actix_web::test]
async fn remembering_jwts_changes_no_answer() {
    let (issuer, clock) = timed_issuer();
    let good = issuer.jwt(json!({}));
    for remember in [true, false] {
        let app = serving(introspecting(&issuer).clock(clock.clone()).remember_jwts(remember));
        let short = issuer.jwt(json!({ "exp": actix_protect_api::Clock::unix_time(&clock) + 10 }));
        for _ in 0..3 {
            assert_eq!((status(&app, &good).await, status(&app, &short).await), (200, 200));
        }
        clock.advance(seconds(70));
        assert_eq!((status(&app, &good).await, status(&app, &short).await), (200, 401));
    }
}

#[actix_web::test]
async fn metadata_and_keys_are_fetched_again_when_their_time_is_over() {
    let (issuer, clock) = timed_issuer();
    let make = || introspecting(&issuer).clock(clock.clone());
    let default = serving(make());
    let metadata = serving(make().metadata_cache_duration(seconds(20)));
    let keys = serving(make().jwks_cache_duration(seconds(20)));
    let (jwt, opaque) = (issuer.jwt(json!({})), issuer.opaque(json!({})));
    let mut seen = Vec::new();
    for app in [&default, &metadata, &keys] {
        assert_eq!((status(app, &jwt).await, status(app, &opaque).await), (200, 200));
    }
    clock.advance(seconds(25));
    for app in [&default, &metadata, &keys] {
        issuer.reset_counters();
        assert_eq!((status(app, &jwt).await, status(app, &opaque).await), (200, 200));
        seen.push((issuer.count(Endpoint::Discovery), issuer.count(Endpoint::Jwks)));
    }
    assert_eq!(seen, [(0, 0), (1, 0), (0, 1)]);
}

#[actix_web::test]
async fn an_unknown_key_is_looked_for_once_in_each_cooldown() {
    let (issuer, clock) = timed_issuer();
    let make = || introspecting(&issuer).clock(clock.clone());
    let default = serving(make());
    let eager = serving(make().jwks_cooldown(seconds(5)));
    let good = issuer.jwt(json!({}));
    let unknown = issuer.jwt_with(JwtOptions::new().kid("nobody-has-this"), json!({}));
    assert_eq!((status(&default, &good).await, status(&eager, &good).await), (200, 200));
    clock.advance(seconds(10));
    for (app, fetches) in [(&default, 0), (&eager, 1)] {
        issuer.reset_counters();
        for _ in 0..5 {
            assert_eq!(status(app, &unknown).await, 401);
        }
        assert_eq!(issuer.count(Endpoint::Jwks), fetches);
    }
}

#[actix_web::test]
async fn stale_keys_are_used_up_to_their_maximum_age() {
    let (issuer, clock) = timed_issuer();
    let make = || introspecting(&issuer).clock(clock.clone()).jwks_cache_duration(seconds(10));
    let hour = serving(make());
    let minute = serving(make().max_stale(seconds(300)));
    let token = issuer.jwt(json!({}));
    assert_eq!((status(&hour, &token).await, status(&minute, &token).await), (200, 200));
    issuer.fault(Endpoint::Jwks, Fault::status(500).always());
    clock.advance(seconds(120));
    assert_eq!((status(&hour, &token).await, status(&minute, &token).await), (200, 200));
    clock.advance(seconds(240));
    assert_eq!(status(&hour, &token).await, 200);
    minute.get("/").token(&token).send().await.refuses(UNAVAILABLE);
}

#[actix_web::test]
async fn an_answer_that_takes_too_long_or_is_too_long_is_not_waited_for() {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({ "sub": "alice", "padding": "x".repeat(10_000) }));
    issuer.fault(Endpoint::Introspection, Fault::hold());
    let hasty = serving(introspecting(&issuer).response_timeout(Duration::from_millis(100)));
    let answer = hasty.get("/").token(&token).send().await;
    answer.refuses(UNAVAILABLE);
    assert_eq!(answer.header("x-kind"), Some("Upstream(TimedOut)"));
    issuer.clear_faults();
    for (size, kind) in [(20_000, None), (5_000, Some("Upstream(BadAnswer)"))] {
        let app = serving(introspecting(&issuer).max_response_size(size));
        assert_eq!(app.get("/").token(&token).send().await.header("x-kind"), kind);
    }
}

#[actix_web::test]
async fn the_length_of_tokens_is_bounded_as_configured() {
    let issuer = TestIssuer::start();
    let app = serving(introspecting(&issuer).max_token_length(100));
    app.get("/").token(&"a".repeat(100)).send().await.refuses(INVALID);
    app.get("/").token(&"a".repeat(101)).send().await.refuses(MALFORMED);
    let app = serving(introspecting(&issuer).max_token_length(32 * 1024));
    app.get("/").token(&"a".repeat(32 * 1024)).send().await.refuses(INVALID);
}

#[actix_web::test]
async fn verdicts_are_kept_as_long_as_configured() {
    let (issuer, clock) = timed_issuer();
    let make = || introspecting(&issuer).clock(clock.clone());
    let token = issuer.opaque(json!({}));
    for (builder, counts) in [
        (make(), [1, 2, 3]),
        (make().introspection_cache_duration(Duration::ZERO), [1, 2, 3]),
        (make().introspection_cache_duration(seconds(20)), [1, 1, 2]),
    ] {
        let app = serving(builder);
        issuer.reset_counters();
        let mut seen = Vec::new();
        for _ in 0..3 {
            assert_eq!(status(&app, &token).await, 200);
            seen.push(issuer.count(Endpoint::Introspection));
            clock.advance(seconds(15));
        }
        assert_eq!(seen, counts);
    }
}

#[actix_web::test]
async fn the_cache_holds_as_many_entries_and_bytes_as_configured() {
    let issuer = TestIssuer::start();
    let make = || introspecting(&issuer).introspection_cache_duration(seconds(60));
    let tokens: Vec<_> = (0..40).map(|_| issuer.opaque(json!({ "padding": "x".repeat(500) }))).collect();
    for (builder, least, most) in
        [(make(), 40, 40), (make().cache_entries(4), 40 + 36, 80), (make().cache_bytes(5_000), 40 + 20, 80)]
    {
        let app = serving(builder);
        issuer.reset_counters();
        for token in tokens.iter().chain(&tokens) {
            assert_eq!(status(&app, token).await, 200);
        }
        let calls = issuer.count(Endpoint::Introspection);
        assert!((least..=most).contains(&calls), "{calls} calls, wanted {least} to {most}");
    }
}

#[actix_web::test]
async fn calls_and_those_who_wait_for_one_are_bounded_as_configured() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).max_calls(2).max_waiting(1).build().unwrap();
    let app = protected(protect.clone());
    assert_eq!(status(&app, &issuer.opaque(json!({}))).await, 200);
    issuer.reset_counters();
    issuer.fault(Endpoint::Introspection, Fault::hold().always());
    let start = || rt::spawn(app.get("/").token(&issuer.opaque(json!({}))).send());
    let mut admitted = vec![start(), start()];
    issuer.received(Endpoint::Introspection, 2).await;
    admitted.push(start());
    while protect.status().calls_waiting == 0 {
        rt::time::sleep(Duration::from_millis(1)).await;
    }
    // All places for calls and for waiting are occupied.
    let answer = app.get("/").token(&issuer.opaque(json!({}))).send().await;
    answer.refuses(UNAVAILABLE);
    assert_eq!(answer.header("x-kind"), Some("Upstream(Saturated)"));
    assert_eq!(issuer.count(Endpoint::Introspection), 2);
    issuer.clear_faults();
    for call in admitted {
        assert_eq!(call.await.unwrap().status, 200);
    }
    assert_eq!(issuer.count(Endpoint::Introspection), 3);
}

#[test]
fn every_option_is_used_in_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut tests) = (vec![root.join("tests/it")], String::new());
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                tests += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let files = [
        "builder.rs",
        "builder/grants.rs",
        "builder/hooks.rs",
        "builder/introspection.rs",
        "builder/limits.rs",
        "builder/metadata.rs",
        "builder/network.rs",
        "builder/parties.rs",
        "builder/trial.rs",
    ];
    let read = |file| fs::read_to_string(root.join("src/protect_api").join(file)).unwrap();
    let builder = files.map(read).concat();
    let options: Vec<_> =
        builder.split("\n    pub fn ").skip(1).map(|rest| rest.split(['(', '<']).next().unwrap()).collect();
    assert!(options.len() > 30, "the options were not found");
    let unused: Vec<_> =
        options.into_iter().filter(|option| !tests.contains(&format!(".{option}("))).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[actix_web::test]
async fn one_of_several_audiences_is_enough() {
    let issuer = TestIssuer::start();
    let app = serving(ProtectApi::builder(issuer.issuer(), "unused").audiences(["api://one", "api://two"]));
    for (audience, expected) in [
        (json!("api://one"), 200),
        (json!("api://two"), 200),
        (json!(["other", "api://two"]), 200),
        (json!("unused"), 401),
        (json!("api://one api://two"), 401),
    ] {
        let token = issuer.jwt(json!({ "sub": "alice", "aud": audience }));
        assert_eq!(status(&app, &token).await, expected, "{audience}");
    }
}
