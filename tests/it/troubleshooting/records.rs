//! Log records that are not rejections.

use std::time::Duration;

use actix_protect_api::{
    ClientAuthentication, ProtectApi, SecretSource,
    test::{Endpoint, Fault, JwtOptions, TestClock, TestIssuer},
};
use serde_json::json;

use super::{
    Walk, Walked,
    api::{api, api_of, paused_line, refused, told, works},
    process, walks,
};
use crate::support::{
    folder::Folder,
    logs::{self, Record},
    service::introspecting,
    store::{Mode, Store},
    time::eventually,
};

pub(super) fn walks() -> Vec<(&'static str, Walk)> {
    walks! {
        "…_TIMEOUTS: is not a known variable and is ignored; …" => misspelt_variable,
        "…: is 60000 s: a revoked token is accepted for 16 h 40 min" => long_duration,
        "…: is 60000 s (16 h 40 min), and the value is in seconds; is 60 meant?" => wrong_unit,
        "…: is set, but has no effect: …" => without_effect,
        "the client secret that signs assertions should have at least 32 bytes" => short_secret,
        "fetching the metadata failed, next try in 1s: …" => documents_unavailable,
        "fetching the metadata failed, next try in 1s: … no metadata at …/.well-known/openid-configuration (status 404)…" => lacking_path,
        "no trusted certificates were found…" => no_certificates,
        "some trusted certificates could not be read: …" => unreadable_certificates,
        "calls to the authorization server are paused for 1s: …" => pause,
        "the store of introspection verdicts failed, which counts as a miss: …" => failing_store,
        "…; the last good content stays in use" => missing_file,
        "an opaque token was rejected: no client credentials are configured to introspect it…" => opaque_without_client,
        "no token was accepted while at least 10 were rejected: …" => no_token_accepted,
        "the authorization server may reject introspection requests: …" => auth_method,
    }
}

/// The record with this text, which no other test writes.
#[track_caller]
fn saying(part: &str) -> Record {
    logs::last(|record| record.text.contains(part)).unwrap_or_else(|| panic!("no record says {part:?}"))
}

async fn misspelt_variable() -> Walked {
    let issuer = TestIssuer::start();
    let read = |name: &str, value: &str| {
        let named = |(name, value): (String, String)| (name.replace("MONOCLOUD_BACKEND_", "WALK_"), value);
        let mut variables: Vec<_> = issuer.variables().into_iter().map(named).collect();
        variables.push((name.to_owned(), value.to_owned()));
        ProtectApi::try_from_variables("WALK_", variables)
    };
    assert!(read("WALK_RESPONSE_TIMEOUTS", "soon").is_ok(), "it is ignored");
    let line = saying("WALK_RESPONSE_TIMEOUTS");
    assert!(read("WALK_RESPONSE_TIMEOUT", "soon").is_err(), "it is read");
    let app = api_of(read("WALK_RESPONSE_TIMEOUT", "3000").unwrap());
    Walked::new([line], works(app.get("/").token(&issuer.opaque(json!({})))).await)
}

/// Reads the issuer's variables and one more, with a prefix that no other test has. Returns whether a record says that the setting
/// is probably wrong.
fn read_setting(issuer: &TestIssuer, prefix: &str, setting: (&str, &str)) -> (ProtectApi, Option<Record>) {
    let mut variables: Vec<_> = issuer.variables();
    variables.push((format!("MONOCLOUD_BACKEND_{}", setting.0), setting.1.to_owned()));
    let variables =
        variables.into_iter().map(|(name, value)| (name.replace("MONOCLOUD_BACKEND_", prefix), value));
    let protect = ProtectApi::try_from_variables(prefix, variables).unwrap();
    let is_it =
        |record: &Record| record.value("event") == "questionable_setting" && record.text.starts_with(prefix);
    (protect, logs::last(is_it))
}

async fn corrected(prefix: &str, wrong: (&str, &str), right: (&str, &str)) -> Walked {
    let issuer = TestIssuer::start();
    let (_, line) = read_setting(&issuer, &format!("{prefix}WRONG_"), wrong);
    let (protect, none) = read_setting(&issuer, &format!("{prefix}RIGHT_"), right);
    assert!(none.is_none(), "{none:?}");
    Walked::new(line, works(api_of(protect).get("/").token(&issuer.opaque(json!({})))).await)
}

async fn long_duration() -> Walked {
    let name = "INTROSPECTION_CACHE_DURATION";
    corrected("LONG_", (name, "60000"), (name, "60")).await
}

async fn wrong_unit() -> Walked {
    corrected("UNIT_", ("MAX_STALE", "60000"), ("MAX_STALE", "60")).await
}

async fn without_effect() -> Walked {
    corrected("EFFECT_", ("CACHE_ENTRIES", "5"), ("INTROSPECTION_CACHE_DURATION", "60")).await
}

async fn short_secret() -> Walked {
    let (short, long) = ("of-the-troubleshooting", "of-the-troubleshooting-but-32-bytes");
    let issuer = TestIssuer::builder().client("short", short).client("long", long).start();
    let says_so = |record: &Record| record.value("event") == "short_client_secret";
    let count = || logs::records().into_iter().filter(says_so).count();
    let token = issuer.opaque(json!({}));
    let mut lines = Vec::new();
    for (id, secret) in [("short", short), ("long", long)] {
        // Other tests may have short secrets at the same time: only theirs are more, never fewer.
        let before = count();
        let authentication = ClientAuthentication::client_secret_jwt(secret);
        let protect = ProtectApi::builder(issuer.issuer(), issuer.audience()).client(id, authentication);
        let app = api(protect);
        works(app.get("/").token(&token)).await;
        if id == "short" {
            assert!(count() > before);
            lines.push(logs::last(says_so).unwrap());
        }
    }
    Walked::new(lines, "200 with either")
}

async fn documents_unavailable() -> Walked {
    let (issuer, clock) = (TestIssuer::start(), TestClock::new());
    let app = api(introspecting(&issuer).clock(clock.clone()).max_stale(Duration::from_secs(3600)));
    let token = issuer.jwt(json!({}));
    issuer.fault(Endpoint::Discovery, Fault::status(503));
    refused(app.get("/").token(&token), 503).await;
    let metadata = told(&issuer, "fetch_failed", "the metadata");
    clock.advance(Duration::from_secs(1));
    issuer.fault(Endpoint::Jwks, Fault::status(503));
    refused(app.get("/").token(&token), 503).await;
    let keys = told(&issuer, "fetch_failed", "the key set");
    clock.advance(Duration::from_secs(1));
    let after = works(app.get("/").token(&token)).await;
    // The last good ones are used.
    for endpoint in [Endpoint::Discovery, Endpoint::Jwks] {
        issuer.fault(endpoint, Fault::status(503).always());
    }
    clock.advance(Duration::from_secs(3000));
    works(app.get("/").token(&issuer.jwt(json!({})))).await;
    Walked::new([metadata, keys], after)
}

async fn lacking_path() -> Walked {
    let issuer = TestIssuer::builder().path("/realms/mine").start();
    let domain = issuer.issuer().strip_suffix("/realms/mine").unwrap();
    let of = |domain: &str| api(ProtectApi::builder(domain, issuer.audience()));
    let token = issuer.jwt(json!({}));
    refused(of(domain).get("/").token(&token), 503).await;
    let named = format!("no metadata at {domain}/.well-known");
    let is_it = |record: &Record| record.value("event") == "fetch_failed" && record.text.contains(&named);
    let line = logs::last(is_it).expect("nothing was logged");
    Walked::new([line], works(of(issuer.issuer()).get("/").token(&token)).await)
}

async fn no_certificates() -> Walked {
    let issuer = TestIssuer::builder().tls().start();
    let (status, records) = process::calls(&issuer, &process::Certificates::none());
    assert_eq!(status, "503");
    let line = records.into_iter().find(|record| record.value("event") == "no_trusted_certificates").unwrap();
    for trusted in
        [process::Certificates::of_the_issuer(&issuer), process::Certificates::none().and_configured(&issuer)]
    {
        let (status, records) = process::calls(&issuer, &trusted);
        assert_eq!(status, "200");
        assert!(!records.iter().any(|record| record.text.contains("trusted certificates")), "{records:?}");
    }
    let (status, _) = process::calls(&issuer, &process::Certificates::of_the_issuer(&issuer));
    Walked::new([line], status)
}

async fn unreadable_certificates() -> Walked {
    let issuer = TestIssuer::builder().tls().start();
    let trusted = process::Certificates::of_the_issuer(&issuer).and_a_missing_directory();
    let (status, records) = process::calls(&issuer, &trusted);
    assert_eq!(status, "200", "the others are used");
    let line = records.into_iter().find(|record| record.value("event") == "unreadable_certificates").unwrap();
    assert!(line.text.contains("-of-nothing"), "{line}");
    let (status, records) = process::calls(&issuer, &process::Certificates::of_the_issuer(&issuer));
    assert!(!records.iter().any(|record| record.text.contains("trusted certificates")), "{records:?}");
    Walked::new([line], status)
}

async fn pause() -> Walked {
    let (issuer, clock) = (TestIssuer::start(), TestClock::new());
    let (app, token) = (api(introspecting(&issuer).clock(clock.clone())), issuer.opaque(json!({})));
    issuer.fault(Endpoint::Introspection, Fault::status(500).always());
    paused_line(&app, &issuer).await;
    issuer.clear_faults();
    let opened = told(&issuer, "introspection_paused", "");
    clock.advance(Duration::from_secs(5));
    let after = works(app.get("/").token(&token)).await;
    Walked::new([opened, told(&issuer, "introspection_resumed", "")], after)
}

async fn failing_store() -> Walked {
    let issuer = TestIssuer::start();
    let (clock, store, minute) = (TestClock::new(), Store::default(), Duration::from_secs(60));
    store.set_mode(Mode::Failing("the walk's store is down"));
    let app = api(introspecting(&issuer)
        .clock(clock.clone())
        .introspection_cache_duration(minute)
        .cache_store(store.clone()));
    works(app.get("/").token(&issuer.opaque(json!({})))).await;
    let line = saying("the walk's store is down");
    store.set_mode(Mode::Working);
    let count = || logs::records().iter().filter(|record| record.text.contains("the walk's store")).count();
    let before = count();
    clock.advance(minute);
    let after = works(app.get("/").token(&issuer.opaque(json!({})))).await;
    assert_eq!(count(), before, "it is said although the store works");
    Walked::new([line], after)
}

/// Files are read at most once a second. This test waits for two reads.
async fn missing_file() -> Walked {
    let (issuer, folder) = (TestIssuer::start(), Folder::new());
    let path = folder.file("secret-of-the-walk", issuer.client_secret());
    let authentication = ClientAuthentication::client_secret_basic(SecretSource::file(&path));
    let protect = ProtectApi::builder(issuer.issuer(), issuer.audience());
    let app = api(protect.client(issuer.client_id(), authentication));
    let token = issuer.opaque(json!({}));
    let says =
        |event: &str| logs::last(|record| record.value("event") == event && record.text.contains(&path));
    let call_until = async |event: &str| {
        let said = async || {
            works(app.get("/").token(&token)).await;
            says(event).is_some()
        };
        assert!(eventually(said).await, "{event}");
        says(event).unwrap()
    };
    works(app.get("/").token(&token)).await;
    folder.remove("secret-of-the-walk");
    let kept = call_until("credential_kept").await;
    folder.file("secret-of-the-walk", issuer.client_secret());
    let renewed = call_until("credential_renewed").await;
    Walked::new([kept, renewed], "200 all the time")
}

async fn opaque_without_client() -> Walked {
    let issuer = TestIssuer::start();
    let without = api(ProtectApi::builder(issuer.issuer(), issuer.audience()));
    let token = issuer.opaque(json!({}));
    refused(without.get("/").token(&token), 401).await;
    let line = told(&issuer, "opaque_token_without_client", "");
    Walked::new([line], works(api(introspecting(&issuer)).get("/").token(&token)).await)
}

async fn no_token_accepted() -> Walked {
    type Make = fn(&TestIssuer) -> String;
    let mut lines = Vec::new();
    let cases: [(&str, Make); 5] = [
        ("issuer", |issuer| issuer.jwt(json!({ "iss": "https://elsewhere.example.test" }))),
        ("audience", |issuer| issuer.jwt(json!({ "aud": "https://elsewhere.example.test" }))),
        ("missing_claim", |issuer| issuer.opaque(json!({ "aud": null }))),
        ("unknown_key", |issuer| issuer.jwt_with(JwtOptions::new().kid("elsewhere"), json!({}))),
        ("unsupported", |issuer| issuer.opaque(json!({}))),
    ];
    for (fault, make) in cases {
        let issuer = TestIssuer::start();
        let app = api(match fault {
            "unsupported" => ProtectApi::builder(issuer.issuer(), issuer.audience()),
            _ => introspecting(&issuer),
        });
        let is_it = |record: &Record| {
            record.value("event") == "no_token_accepted" && record.value("issuer") == issuer.issuer()
        };
        let count = || logs::records().iter().filter(|record| is_it(record)).count();
        for expected in [0, 1, 1] {
            for _ in 0..9 {
                refused(app.get("/").token(&make(&issuer)), 401).await;
            }
            assert_eq!(count(), expected, "{fault}");
        }
        let line = logs::last(is_it).unwrap();
        assert_eq!(line.value("fault"), fault);
        assert!(!line.text.contains("elsewhere"), "a claim is shown: {line}");
        lines.push(line);
        // An accepted token shows that the configuration can work, until ten more are rejected without one between.
        let app = api(introspecting(&issuer).realm("again"));
        for _ in 0..4 {
            works(app.get("/").token(&issuer.jwt(json!({})))).await;
            for _ in 0..9 {
                app.get("/")
                    .token(&issuer.jwt(json!({ "aud": "https://elsewhere.example.test" })))
                    .send()
                    .await;
            }
        }
        assert_eq!(count(), 1, "{fault}");
        app.get("/").token(&issuer.jwt(json!({ "aud": "https://elsewhere.example.test" }))).send().await;
        assert_eq!(count(), 2, "{fault}");
    }
    Walked::new(lines, "200")
}

async fn auth_method() -> Walked {
    let publishing = |methods: serde_json::Value| {
        let issuer = TestIssuer::start();
        issuer.set_metadata(|mut metadata| {
            metadata["introspection_endpoint_auth_methods_supported"] = methods;
            metadata
        });
        issuer
    };
    let count = |issuer: &TestIssuer| {
        let is_it = |record: &&Record| {
            record.value("event") == "auth_method_not_published" && record.value("issuer") == issuer.issuer()
        };
        logs::records().iter().filter(is_it).count()
    };
    let issuer = publishing(json!(["private_key_jwt", "client_secret_jwt"]));
    let clock = TestClock::new();
    let app = api(introspecting(&issuer).clock(clock.clone()));
    for _ in 0..2 {
        works(app.get("/").token(&issuer.opaque(json!({})))).await;
        clock.advance(Duration::from_secs(301));
        works(app.get("/").token(&issuer.opaque(json!({})))).await;
    }
    assert_eq!(count(&issuer), 1, "it is said once");
    let line = told(&issuer, "auth_method_not_published", "\"client_secret_basic\"");
    for harmless in [json!(["client_secret_basic"]), json!(null), json!("none")] {
        let issuer = publishing(harmless);
        works(api(introspecting(&issuer)).get("/").token(&issuer.opaque(json!({})))).await;
        assert_eq!(count(&issuer), 0);
    }
    Walked::new([line], "200")
}
