//! `docs/observability.md` lists exactly the log records and metrics that are emitted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use actix_protect_api::{
    AuthenticatedRequest, CertificateBinding, ClientAuthentication, LeaseEnd, ProtectApi, Revocation,
    SharedStoreState, Ssf,
    test::{Algorithm, Endpoint, Fault, MemoryStore, TestClock, TestIssuer, TestKey},
};
use actix_web::{App, test::init_service, web};
use serde_json::json;

use crate::{
    authorization::report_only::every_report,
    issuer::saved_documents::every_record_of_saved_documents,
    mcp::tool_scopes::every_fault_of_mcp,
    project::import_rules,
    revocation::sources::every_outcome_of_events,
    support::{
        app::{serve, whoami},
        logs, metering,
        service::{introspecting, status_of},
        time::eventually,
    },
    troubleshooting::walk_the_page,
};

const PAGE: &str = include_str!("../../../docs/observability.md");

/// Documented events that no test can cause, because the checks at the start come first.
const OUT_OF_REACH: [(&str, &str); 3] = [
    (
        "no_client_certificate",
        "a certificate that cannot be used does not start, and one that turns bad is kept",
    ),
    ("store_thread_failed", "the system can start a thread"),
    ("no_tls", "the cryptography that is built in has what TLS needs"),
];

/// The classes of rejections.
pub(super) const CLASSES: [&str; 9] = [
    "missing_token",
    "invalid_request",
    "invalid_token",
    "insufficient_scope",
    "insufficient_groups",
    "claim_rule",
    "insufficient_user_authentication",
    "upstream",
    "misconfigured",
];

pub(super) type Words = BTreeSet<String>;

/// The cells of the table with this heading, row by row.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let mut lines = PAGE.lines().skip_while(|line| !line.starts_with(heading)).skip(2);
    let rows: Vec<_> = lines
        .by_ref()
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 2, "the table {heading:?} was not found");
    rows
}

fn quoted(cell: &str) -> Words {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The text without code marks and without the targets of links.
fn plain(cell: &str) -> String {
    let parts = cell.split("](").enumerate().map(|(index, part)| {
        if index == 0 { part } else { part.split_once(')').expect("the end of a link").1 }
    });
    parts.collect::<String>().replace(['`', '['], "")
}

fn only(cell: &str) -> String {
    let mut words = quoted(cell).into_iter();
    let word = words.next().unwrap_or_else(|| panic!("no name in {cell:?}"));
    assert_eq!(words.next(), None, "{cell:?}");
    word
}

/// Each event with its levels and keys.
fn documented_events() -> BTreeMap<String, (Words, Words)> {
    let rows = table("| `event` |").into_iter();
    rows.map(|row| (only(row[0]), (row[1].split(", ").map(str::to_owned).collect(), quoted(row[2]))))
        .collect()
}

/// Each span with its level and fields.
pub(super) fn documented_spans() -> BTreeMap<String, (String, Words)> {
    let rows = table("| Span |").into_iter();
    rows.map(|row| (only(row[0]), (row[1].to_owned(), quoted(row[2])))).collect()
}

/// Each metric with its kind and labels.
pub(super) fn documented_metrics() -> BTreeMap<String, (String, Words)> {
    let rows = table("| Name |").into_iter();
    rows.map(|row| (only(row[0]), (row[1].to_owned(), quoted(row[2])))).collect()
}

/// The words that a key may have, besides those of `AuthErrorKind`.
pub(super) fn documented_words(key: &str) -> Words {
    let row = table("| Key, label |").into_iter().find(|row| row[0] == key);
    quoted(row.unwrap_or_else(|| panic!("{key} is not explained"))[1])
}

#[test]
fn every_record_has_a_documented_event() {
    let mut named = Words::new();
    for (file, text) in import_rules::sources() {
        if file == "record.rs" {
            continue;
        }
        let direct =
            ["error!(", "warn!(", "info!(", "debug!(", "trace!(", "log!("].map(|name| format!("log::{name}"));
        assert!(!direct.iter().any(|name| text.contains(name)), "{file} writes a record without `record!`");
        for part in text.split("record!(").skip(1) {
            let head: String = part.split("; ").next().unwrap().split_whitespace().collect();
            let event = head.split("event=\"").nth(1).and_then(|rest| rest.split('"').next());
            named.insert(event.unwrap_or_else(|| panic!("{file} tells no event: {head}")).to_owned());
        }
    }
    let documented: Words = documented_events().into_keys().collect();
    assert_eq!(named, documented);
}

/// Causes every log record and metric once. The walks of the troubleshooting page cause most of them.
async fn a_broad_run() {
    walk_the_page().await;
    // One application, for the label values of cached verdicts and of nested mounts.
    let issuer = TestIssuer::start();
    let protect =
        introspecting(&issuer).introspection_cache_duration(Duration::from_secs(60)).build().unwrap();
    let anyone = |_: Option<AuthenticatedRequest>| async { "" };
    let app = init_service(
        App::new()
            .service(
                web::scope("/in")
                    .wrap(protect.clone())
                    .service(web::resource("/in").wrap(protect.clone()).route(web::get().to(anyone))),
            )
            .service(web::resource("/").wrap(protect.clone().optional()).route(web::get().to(anyone))),
    )
    .await;
    for token in [issuer.opaque(json!({})), issuer.jwt(json!({})), String::new()] {
        for path in ["/", "/", "/in/in"] {
            status_of(&app, path, &token).await;
        }
    }
    // A verdict of another replica.
    let (store, minute) = (MemoryStore::new(), Duration::from_secs(60));
    let opaque = issuer.opaque(json!({}));
    for _ in 0..2 {
        let builder = introspecting(&issuer).introspection_cache_duration(minute);
        let protect = builder.shared_store(Arc::new(store.clone()), "00".repeat(32)).build().unwrap();
        assert!(eventually(async || protect.status().shared_store == SharedStoreState::Reading).await);
        let app = init_service(App::new().wrap(protect).route("/", web::get().to(anyone))).await;
        assert_eq!(status_of(&app, "/", &opaque).await, 200);
        assert!(eventually(async || store.verdicts().len() == 1).await);
    }
    // More revocations than the limit.
    let full = TestIssuer::start();
    let protect = introspecting(&full).max_revocations(1).build().unwrap();
    for subject in ["alice", "bob"] {
        protect.revoke(Revocation::subject(subject)).await.unwrap();
    }
    every_outcome_of_events().await;
    // A stream whose token is revoked.
    let streaming = TestIssuer::start();
    let protect = introspecting(&streaming).build().unwrap();
    let lease = protect.validate(&streaming.opaque(json!({})), None).await.unwrap().lease();
    protect.revoke(Revocation::all_tokens()).await.unwrap();
    assert_eq!(lease.await, LeaseEnd::Revoked);
    every_fault_of_mcp().await;
    // A verdict that is used during an outage.
    let (clock, minute) = (TestClock::new(), Duration::from_secs(60));
    let down = TestIssuer::builder().clock(clock.clone()).start();
    let protect = introspecting(&down).clock(clock.clone()).introspection_cache_duration(minute);
    let protect = protect.outage_grace(minute).build().unwrap();
    let app = init_service(App::new().wrap(protect).route("/", web::get().to(anyone))).await;
    let opaque = down.opaque(json!({}));
    assert_eq!(status_of(&app, "/", &opaque).await, 200);
    down.fault(Endpoint::Introspection, Fault::status(503).always());
    clock.advance(minute);
    assert_eq!(status_of(&app, "/", &opaque).await, 200);
    every_record_of_saved_documents().await;
    every_report().await;
    // Keys that cannot be used.
    let odd = TestIssuer::start();
    odd.publish_jwks(json!({ "keys": [{ "kty": "oct", "kid": "a" }, { "kty": "RSA", "n": "!", "e": "AQAB", "kid": "b" }] }));
    let protect = introspecting(&odd).build().unwrap();
    let app = init_service(App::new().wrap(protect).route("/", web::get().to(anyone))).await;
    assert_eq!(status_of(&app, "/", &odd.jwt(json!({}))).await, 503);
    // A document of another issuer, and a connection that is reset.
    let elsewhere = TestIssuer::start();
    elsewhere.set_metadata(|mut metadata| {
        metadata["issuer"] = "https://somebody.example.test".into();
        metadata
    });
    elsewhere.fault(Endpoint::Introspection, Fault::reset());
    let (clock, second) = (TestClock::new(), Duration::from_secs(1));
    let protect = ProtectApi::builder(elsewhere.issuer(), elsewhere.audience()).clock(clock.clone());
    let app = init_service(App::new().wrap(protect.build().unwrap()).route("/", web::get().to(anyone))).await;
    for _ in 0..2 {
        assert_eq!(status_of(&app, "/", "a").await, 500);
        clock.advance(second);
    }
    // An endpoint that becomes unusable.
    let turning = TestIssuer::builder().clock(clock.clone()).start();
    let protect =
        introspecting(&turning).clock(clock.clone()).metadata_cache_duration(second).build().unwrap();
    let app = init_service(App::new().wrap(protect).route("/", web::get().to(anyone))).await;
    let opaque = turning.opaque(json!({}));
    for _ in 0..3 {
        assert_eq!(status_of(&app, "/", &opaque).await, 200);
        turning.set_metadata(|mut metadata| {
            metadata["introspection_endpoint"] = false.into();
            metadata
        });
        clock.advance(second);
    }
}

#[actix_web::test]
async fn every_log_record_is_documented_and_every_documented_one_is_written() {
    a_broad_run().await;
    let documented = documented_events();
    let mut seen: BTreeMap<String, Words> = BTreeMap::new();
    for record in logs::records().into_iter().filter(logs::Record::is_ours) {
        assert_eq!(record.target, "actix_protect_api", "{record}");
        let event = record.value("event").to_owned();
        let Some((levels, keys)) = documented.get(&event) else {
            panic!("the event is not documented: {record}")
        };
        let level = record.level.to_string().to_lowercase();
        assert!(levels.contains(&level), "the level is not documented: {record}");
        // Many backends omit the keys, so the text is sufficient.
        let (issuer, fault) = (record.value("issuer"), record.value("fault"));
        let is_5xx = event == "refused" && record.value("status").starts_with('5');
        if record.level <= log::Level::Info || is_5xx {
            let is_local = issuer.is_empty() && event != "key_skipped";
            assert!(
                is_local || record.text.to_lowercase().contains("http"),
                "the text names no server: {record}"
            );
            assert!(record.text.contains(fault), "the text does not name the fault: {record}");
        }
        let others = record.pairs.iter().map(|(name, _)| name.clone()).filter(|name| name != "event");
        assert_eq!(others.collect::<Words>(), *keys, "the keys are not those of the page: {record}");
        seen.entry(event).or_default().insert(level);
    }
    for (event, (levels, _)) in documented {
        match OUT_OF_REACH.iter().find(|(name, _)| *name == event) {
            None => assert_eq!(seen.get(&event), Some(&levels), "{event} is not told as documented"),
            Some((_, reason)) => assert_eq!(seen.get(&event), None, "{event} is logged, although {reason}"),
        }
    }
}

#[actix_web::test]
async fn every_metric_is_documented_and_every_documented_one_is_recorded() {
    a_broad_run().await;
    let documented = documented_metrics();
    let mut seen: BTreeMap<String, (String, Words)> = BTreeMap::new();
    let mut words: BTreeMap<(String, String), Words> = BTreeMap::new();
    let meanings: BTreeMap<String, String> =
        table("| Name |").into_iter().map(|row| (only(row[0]), plain(row[3]))).collect();
    for metering::Told { kind, name, labels, unit, description } in metering::told() {
        assert_eq!(
            Some(&description),
            meanings.get(&name),
            "the exporter gets another description of {name}"
        );
        assert_eq!(unit == Some(metrics::Unit::Seconds), name.ends_with("_seconds"), "{name}: {unit:?}");
        let kind = format!("{kind:?}").to_lowercase();
        let names: Words = labels.iter().map(|(name, _)| name.clone()).collect();
        let before = seen.insert(name.clone(), (kind.clone(), names.clone()));
        assert!(before.is_none_or(|before| before == (kind, names)), "{name} is recorded in two ways");
        for (label, value) in labels {
            words.entry((name.clone(), label)).or_default().insert(value);
        }
    }
    assert_eq!(seen, documented);

    let of = |name: &str, label: &str| words[&(format!("protect_api_{name}"), label.to_owned())].clone();
    let with_nothing = |mut words: Words| {
        words.insert(String::new());
        words
    };
    assert_eq!(of("decisions_total", "via"), with_nothing(documented_words("`via`")));
    assert_eq!(of("upstream_seconds", "call"), documented_words("`call`"));
    assert_eq!(of("revocation_events_total", "source"), documented_words("`source`"));
    assert_eq!(of("revocation_events_total", "kind"), with_nothing(documented_words("`kind`")));
    assert_eq!(of("revocation_events_total", "outcome"), documented_words("`outcome` of an event"));
    let outcomes = of("decisions_total", "outcome");
    assert!(outcomes.is_superset(&documented_words("`outcome` of a decision")), "{outcomes:?}");
    assert!(of("upstream_seconds", "outcome").is_superset(&documented_words("`outcome` of a call")));
    for outcome in outcomes.difference(&documented_words("`outcome` of a decision")) {
        assert!(CLASSES.contains(&outcome.as_str()), "{outcome}");
    }
}

/// The records of the start-up of APIs of this issuer.
fn configured(issuer: &str) -> Vec<logs::Record> {
    let is_it =
        |record: &logs::Record| record.value("event") == "configured" && record.value("issuer") == issuer;
    logs::records().into_iter().filter(is_it).collect()
}

#[actix_web::test]
async fn a_configuration_is_logged_once_and_not_per_worker() {
    logs::capture();
    let issuer = TestIssuer::start();
    let variables = issuer.variables();
    let make = move || ProtectApi::try_from_variables("MONOCLOUD_BACKEND_", variables.clone()).unwrap();
    let app = serve!(4, move || App::new().wrap(make()).route("/", web::get().to(whoami)));
    assert_eq!(app.get("/").token(&issuer.opaque(json!({ "sub": "alice" }))).send().await.status, 200);
    let records = configured(issuer.issuer());
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].level, log::Level::Info);

    // Another mount is the same configuration; another setting is another one.
    let protect = introspecting(&issuer).build().unwrap();
    let _mount = protect.scopes(["read"]);
    let _same = introspecting(&issuer).build().unwrap();
    assert_eq!(configured(issuer.issuer()).len(), 2);
    let _other = introspecting(&issuer).realm("another").build().unwrap();
    assert_eq!(configured(issuer.issuer()).len(), 3);

    // The keys of a transmitter of security events protect no API.
    let ssf = || Ssf::transmitter(issuer.issuer()).audience("https://stream.example.test");
    let _push = protect.ssf_push("/events", ssf());
    let _poll = protect.ssf_poll(&issuer.url(Endpoint::Poll), ssf());
    assert_eq!(configured(issuer.issuer()).len(), 3);
}

#[test]
fn the_record_of_a_configuration_shows_the_settings_and_no_secret() {
    logs::capture();
    let key = TestKey::generate(Algorithm::ES256, "of-the-api").private_jwk().to_string();
    let secret = "the-secret-of-the-start-up-record";
    let minute = Duration::from_secs(60);
    let api =
        |host: &str| ProtectApi::builder(format!("https://{host}.start-up.example.test"), "https://api.test");
    let basic = || ClientAuthentication::client_secret_basic(secret);
    for (host, builder, shown) in [
        (
            "local",
            api("local"),
            "; JWTs are validated locally, opaque tokens are rejected; introspection_endpoint none, jwks_uri \
             discovered; metadata is cached for 5 min, keys for 5 min, verdicts are not cached",
        ),
        (
            "both",
            api("both")
                .client("a client", basic())
                .introspect_jwt_tokens(true)
                .introspection_cache_duration(minute),
            ", client \"a client\" with client_secret_basic; JWTs are validated locally and introspected, opaque \
             tokens are introspected; introspection_endpoint discovered, jwks_uri discovered; metadata is cached for \
             5 min, keys for 5 min, verdicts for 60 s (inactive ones for 2 s) in memory",
        ),
        (
            "given",
            api("given")
                .client("api", ClientAuthentication::private_key_jwt(&*key))
                .introspection_endpoint(format!("https://as.example.test/introspect?key={secret}"))
                .accept_missing_issuer(true)
                .certificate_binding(CertificateBinding::DangerouslyIgnore)
                .dangerous()
                .accept_missing_audience(),
            ", client \"api\" with private_key_jwt; JWTs are introspected, opaque tokens are introspected; \
             introspection_endpoint https://as.example.test/introspect?…, jwks_uri none; metadata is cached for 5 min, \
             keys for 5 min, verdicts are not cached; a missing `iss` is accepted; a missing `aud` is accepted; \
             certificate binding is not checked",
        ),
    ] {
        let _api = builder.build().unwrap();
        let issuer = format!("https://{host}.start-up.example.test");
        let records = configured(&issuer);
        assert_eq!(records.len(), 1, "{host}");
        assert_eq!(
            records[0].text,
            format!("configured: issuer {issuer}, audience \"https://api.test\"{shown}")
        );
        assert_eq!(records[0].value("audience"), "https://api.test");
        for hidden in [secret, &*key] {
            assert!(!records[0].to_string().contains(hidden), "{}", records[0]);
        }
    }
}
