//! The spans and events of the feature `tracing`.

use std::{sync::Arc, time::Duration};

use actix_protect_api::{
    AuthenticatedRequest, ProtectApi, SharedStoreState, UpstreamFault,
    test::{Endpoint, Fault, MemoryStore, TestIssuer},
};
use actix_web::{App, test, web};
use futures_util::future::join_all;
use serde_json::json;
use tracing::{Instrument as _, Span, field::Empty, level_filters::LevelFilter};

use super::page::{documented_spans, documented_words};
use crate::support::{
    child, logs,
    service::{Api, OK, api, introspecting, status_of, timed_issuer, upstream},
    spans::Recording,
    time::{eventually, seconds},
};

/// The span that an application opens for a request.
fn request_span() -> Span {
    tracing::info_span!(
        target: "app",
        "request",
        protect.issuer = Empty,
        protect.outcome = Empty,
        protect.fault = Empty,
        protect.via = Empty
    )
}

/// Everything that was recorded, as text.
fn everything(recording: &Recording) -> String {
    let fields = recording.spans().into_iter().map(|span| span.fields);
    let fields = fields.chain(recording.events().into_iter().map(|event| event.fields));
    format!("{:?}", fields.collect::<Vec<_>>())
}

#[actix_web::test]
async fn a_request_has_a_span_and_its_calls_are_children() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let api = Api::of(&protect, None).await;
    let token = issuer.opaque(json!({ "sub": "alice-in-a-claim", "scope": "read" }));
    let recording = Recording::start(LevelFilter::DEBUG);
    assert_eq!(api.outcome(&token).instrument(request_span()).await, OK);

    let request = recording.only("request");
    for (name, value) in [
        ("protect.issuer", issuer.issuer()),
        ("protect.outcome", "allowed"),
        ("protect.fault", ""),
        ("protect.via", "introspection"),
    ] {
        assert_eq!(request.value(name), value, "{name}");
    }
    let authenticate = recording.only("authenticate");
    assert_eq!(authenticate.parent, Some(request.id));
    assert_eq!((authenticate.value("outcome"), authenticate.value("via")), ("allowed", "introspection"));
    assert_eq!(authenticate.value("issuer"), issuer.issuer());
    let fetch = recording.only("fetch");
    assert_eq!((fetch.parent, fetch.value("call")), (Some(authenticate.id), "metadata"));
    let introspect = recording.only("introspect");
    assert_eq!(introspect.parent, Some(authenticate.id));
    assert_eq!(introspect.value("call"), "introspection");
    for call in [&fetch, &introspect] {
        assert_eq!(call.value("issuer"), issuer.issuer());
        assert_eq!((call.value("outcome"), call.value("status")), ("answered", "200"));
        assert_eq!((call.value("otel.kind"), call.value("otel.status_code")), ("client", ""));
    }
    assert!(recording.spans().iter().all(|span| span.is_closed));
    for secret in ["alice", &*token, issuer.client_secret()] {
        assert!(!everything(&recording).contains(secret), "{}", everything(&recording));
    }
}

#[actix_web::test]
async fn the_span_of_the_authentication_ends_before_the_handler() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let recording = Arc::new(Recording::start(LevelFilter::DEBUG));
    let seen = Arc::clone(&recording);
    let handler = move || {
        let is_closed = seen.only("authenticate").is_closed;
        async move { is_closed.to_string() }
    };
    let app = test::init_service(App::new().wrap(protect).route("/", web::get().to(handler))).await;
    let request = test::TestRequest::get().uri("/").insert_header(issuer.bearer(json!({})));
    assert_eq!(test::call_and_read_body(&app, request.to_request()).await, "true");
}

#[actix_web::test]
async fn a_request_that_waits_for_a_shared_call_follows_from_its_span() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let api = Api::of(&protect, None).await;
    let token = issuer.opaque(json!({}));
    protect.check().await.unwrap();
    issuer.reset_counters();
    issuer.fault(Endpoint::Introspection, Fault::hold().always());
    let recording = Recording::start(LevelFilter::DEBUG);
    let requests = join_all((0..3).map(|_| api.outcome(&token).instrument(request_span())));
    let release = async {
        issuer.received(Endpoint::Introspection, 1).await;
        assert!(eventually(async || protect.status().calls_waiting == 2).await);
        issuer.clear_faults();
    };
    let (outcomes, ()) = futures_util::future::join(requests, release).await;
    assert_eq!(outcomes, [OK; 3]);
    let introspect = recording.only("introspect");
    let authentications = recording.named("authenticate");
    let leader = authentications.iter().find(|span| Some(span.id) == introspect.parent).unwrap();
    assert!(leader.follows.is_empty());
    for waiting in authentications.iter().filter(|span| span.id != leader.id) {
        assert_eq!(waiting.follows, [introspect.id]);
        assert_eq!(waiting.value("outcome"), "allowed");
    }
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
}

#[actix_web::test]
async fn a_request_that_waits_for_the_metadata_follows_from_its_fetch() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let api = Api::of(&protect, None).await;
    issuer.fault(Endpoint::Discovery, Fault::hold().always());
    let recording = Recording::start(LevelFilter::DEBUG);
    let (one, two) = (issuer.opaque(json!({})), issuer.opaque(json!({})));
    let requests = futures_util::future::join(api.outcome(&one), api.outcome(&two));
    let release = async {
        issuer.received(Endpoint::Discovery, 1).await;
        assert!(eventually(async || protect.status().calls_waiting == 1).await);
        issuer.clear_faults();
    };
    let (outcomes, ()) = futures_util::future::join(requests, release).await;
    assert_eq!(outcomes, (OK, OK));
    let fetch = recording.only("fetch");
    let waiting: Vec<_> =
        recording.named("authenticate").into_iter().filter(|span| Some(span.id) != fetch.parent).collect();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].follows, [fetch.id]);
}

#[actix_web::test]
async fn a_refresh_in_the_background_is_a_separate_trace() {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer).clock(clock.clone()).build().unwrap();
    let api = Api::of(&protect, None).await;
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    clock.advance(seconds(290));
    let recording = Recording::start(LevelFilter::DEBUG);
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    assert!(eventually(async || recording.named("fetch").iter().any(|span| span.is_closed)).await);
    let (fetch, introspect) = (recording.only("fetch"), recording.only("introspect"));
    assert_eq!((fetch.parent, &*fetch.follows), (None, &[introspect.id][..]));
    let authenticate = recording.only("authenticate");
    assert_eq!(introspect.parent, Some(authenticate.id));
    assert!(authenticate.follows.is_empty() && introspect.follows.is_empty(), "neither waits");
}

#[actix_web::test]
async fn rejections_are_recorded_with_their_reason() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let required = |caller: AuthenticatedRequest| async move {
        caller.require_scopes(["write"])?;
        Ok::<_, actix_protect_api::Rejection>("")
    };
    let anyone = |_: Option<AuthenticatedRequest>| async { "" };
    let app = test::init_service(
        App::new()
            .route("/required", web::get().to(required).wrap(protect.clone()))
            .service(
                web::scope("/nested")
                    .wrap(protect.clone())
                    .service(web::resource("/in").wrap(protect.clone()).route(web::get().to(anyone))),
            )
            .route("/optional", web::get().to(anyone).wrap(protect.clone().optional()))
            .route("/", web::get().to(anyone).wrap(protect.clone())),
    )
    .await;
    let good = issuer.opaque(json!({ "sub": "alice" }));
    for (path, token, status, outcome, fault, via) in [
        ("/", "", 401, "missing_token", "missing_token", ""),
        ("/", "unknown", 401, "invalid_token", "inactive", "introspection"),
        ("/required", &*good, 403, "insufficient_scope", "insufficient_scope", "handler"),
        // The inner mount uses the verdict of the outer one.
        ("/nested/in", &*good, 200, "allowed", "", "introspection"),
        ("/optional", "", 200, "anonymous", "", ""),
    ] {
        let recording = Recording::start(LevelFilter::DEBUG);
        assert_eq!(status_of(&app, path, token).instrument(request_span()).await, status, "{path}");
        let request = recording.only("request");
        let seen =
            ["outcome", "fault", "via"].map(|name| request.value(&format!("protect.{name}")).to_owned());
        assert_eq!(seen, [outcome, fault, via], "{path}");
        if via != "handler" {
            let authenticate = recording.named("authenticate").remove(0);
            assert_eq!(
                ["outcome", "fault", "via"].map(|name| authenticate.value(name)),
                [outcome, fault, via]
            );
        }
    }
    // The authorization server fails.
    issuer.fault(Endpoint::Introspection, Fault::status(503).always());
    let recording = Recording::start(LevelFilter::DEBUG);
    assert_eq!(status_of(&app, "/", &good).instrument(request_span()).await, 503);
    assert_eq!(recording.only("request").value("protect.fault"), "failing");
    let introspect = recording.named("introspect").remove(0);
    assert_eq!((introspect.value("outcome"), introspect.value("status")), ("failing", "503"));
    assert_eq!(introspect.value("otel.status_code"), "ERROR");
}

#[actix_web::test]
async fn a_record_is_an_event_with_fields_and_no_record_of_log() {
    logs::capture();
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).realm("of the test of events").build().unwrap();
    let api = Api::of(&protect, None).await;
    let logged = || {
        let is_own = |record: &logs::Record| record.value("issuer") == issuer.issuer();
        logs::count(|record| is_own(record) && record.value("event") != "configured")
    };
    let before = logged();
    let recording = Recording::start(LevelFilter::TRACE);
    assert_eq!(api.get("/", "unknown").await.status, 401);
    assert_eq!(logged(), before, "a bridge from `log` would show the record twice");
    let events = recording.events();
    let refused: Vec<_> = events.iter().filter(|event| event.value("event") == "refused").collect();
    assert_eq!(refused.len(), 1);
    let refused = refused[0];
    assert_eq!((refused.level, refused.target), (tracing::Level::DEBUG, "actix_protect_api"));
    for (name, value) in
        [("issuer", issuer.issuer()), ("fault", "inactive"), ("via", "introspection"), ("status", "401")]
    {
        assert_eq!(refused.value(name), value, "{name}");
    }
    let reference = refused.value("reference");
    assert_eq!(refused.value("message"), format!("request rejected: the token is not active [{reference}]"));
    assert_eq!(events.iter().filter(|event| event.value("event") == "decided").count(), 1);
    drop(recording);
    // Without a subscriber, it is a record of `log`.
    assert_eq!(api.get("/", "unknown").await.status, 401);
    assert!(logged() > before);
}

#[actix_web::test]
async fn a_level_that_the_subscriber_excludes_costs_no_reference_and_no_span() {
    let issuer = TestIssuer::start();
    let api = Api::of(&introspecting(&issuer).build().unwrap(), None).await;
    let recording = Recording::start(LevelFilter::INFO);
    let answer = api.get("/", "unknown").instrument(request_span()).await;
    assert_eq!((answer.status, answer.reference), (401, None));
    assert!(recording.named("authenticate").is_empty());
    let (request, introspect) = (recording.only("request"), recording.only("introspect"));
    assert_eq!(introspect.parent, Some(request.id));
    assert_eq!(request.value("protect.outcome"), "invalid_token");
    assert!(recording.events().is_empty());
    let recording = Recording::start(LevelFilter::WARN);
    assert_eq!(api.get("/", "unknown").await.status, 401);
    assert!(recording.spans().is_empty());
}

#[actix_web::test]
async fn a_call_that_is_not_made_is_a_failed_span_with_the_reason() {
    let (issuer, clock) = timed_issuer();
    let api = api(introspecting(&issuer).clock(clock)).await;
    issuer.fault(Endpoint::Introspection, Fault::status(500).always());
    let paused = upstream(UpstreamFault::Paused);
    assert!(eventually(async || api.outcome("unknown").await == paused).await);
    let calls = issuer.count(Endpoint::Introspection);
    let recording = Recording::start(LevelFilter::INFO);
    assert_eq!(api.outcome("another").await, paused);
    assert_eq!(issuer.count(Endpoint::Introspection), calls);
    let introspect = recording.only("introspect");
    let seen = ["outcome", "status", "otel.status_code"].map(|name| introspect.value(name));
    assert_eq!(seen, ["paused", "", "ERROR"]);
}

/// Without a subscriber in the process, `tracing` writes its spans to `log` if a crate of the application enables that.
#[actix_web::test]
async fn without_a_subscriber_a_span_is_no_record_of_log() {
    let output = child::output(child::command(module_path!(), "child_has_no_subscriber"));
    assert!(output.status.success(), "{}", child::text(&output));
}

#[actix_web::test]
#[ignore = "the test above runs it in a separate process"]
async fn child_has_no_subscriber() {
    let _all = logs::capture_of_all_crates();
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer)).await;
    let span = tracing::info_span!("of the application");
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).instrument(span).await, OK);
    let spans = |name| logs::any(|record| record.contains("tracing::span") && record.contains(name));
    assert!(spans("of the application"));
    for name in ["authenticate", "introspect", "fetch"] {
        assert!(!spans(name), "{name}");
    }
}

#[actix_web::test]
async fn a_verdict_of_another_replica_is_an_outcome_and_no_call() {
    let issuer = TestIssuer::start();
    let (store, minute) = (MemoryStore::new(), Duration::from_secs(60));
    let opaque = issuer.opaque(json!({}));
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let builder = introspecting(&issuer).introspection_cache_duration(minute);
        let protect = builder.shared_store(Arc::new(store.clone()), "00".repeat(32)).build().unwrap();
        assert!(eventually(async || protect.status().shared_store == SharedStoreState::Reading).await);
        replicas.push(Api::of(&protect, None).await);
    }
    assert_eq!(replicas[0].outcome(&opaque).await, OK);
    assert!(eventually(async || store.verdicts().len() == 1).await);
    let recording = Recording::start(LevelFilter::DEBUG);
    assert_eq!(replicas[1].outcome(&opaque).await, OK);
    let introspect = recording.only("introspect");
    assert_eq!((introspect.value("outcome"), introspect.value("status")), ("shared_store", ""));
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
}

const FETCH: &str = "00000000000fe7c4";
const INTROSPECT: &str = "000000000000a5c5";

/// The trace context of a test: its parent id is that of the name of the current span.
fn context() -> Option<String> {
    let parent = match Span::current().metadata()?.name() {
        "fetch" => FETCH,
        "introspect" => INTROSPECT,
        _ => return None,
    };
    Some(format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{parent}-01"))
}

#[actix_web::test]
async fn the_trace_context_is_sent_only_if_configured() {
    let issuer = TestIssuer::start();
    let sent = |endpoint| {
        let request = issuer.requests(endpoint).pop().unwrap();
        request.header("traceparent").map(str::to_owned)
    };
    let _recording = Recording::start(LevelFilter::INFO);
    let endpoints = [Endpoint::Discovery, Endpoint::Jwks, Endpoint::Introspection];
    for (builder, expected) in [
        (introspecting(&issuer), [None; 3]),
        (introspecting(&issuer).traceparent(context), [Some(FETCH), Some(FETCH), Some(INTROSPECT)]),
        (introspecting(&issuer).traceparent(|| Some("a\r\nb".to_owned())), [None; 3]),
        (introspecting(&issuer).traceparent(|| Some(format!("00-{FETCH}-{FETCH}-01"))), [None; 3]),
        (introspecting(&issuer).traceparent(|| None), [None; 3]),
    ] {
        let api = Api::of(&builder.build().unwrap(), None).await;
        for token in [issuer.opaque(json!({})), issuer.jwt(json!({}))] {
            assert_eq!(api.outcome(&token).await, OK);
        }
        for (endpoint, parent) in endpoints.into_iter().zip(expected) {
            let header = parent.map(|parent| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{parent}-01"));
            assert_eq!(sent(endpoint), header, "{endpoint:?}");
        }
    }
}

#[actix_web::test]
async fn two_functions_for_the_trace_context_are_two_configurations() {
    let issuer = TestIssuer::start();
    let builder = || introspecting(&issuer);
    let cached = |protect: &ProtectApi| protect.status().metadata_known;
    let one = builder().traceparent(context).build().unwrap();
    one.check().await.unwrap();
    assert!(cached(&one));
    assert!(cached(&builder().traceparent(context).build().unwrap()));
    assert!(!cached(&builder().build().unwrap()));
    assert!(!cached(&builder().traceparent(|| Some(FETCH.to_owned())).build().unwrap()));
}

#[actix_web::test]
async fn the_page_lists_the_spans_with_levels_fields_and_words() {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer).clock(clock.clone()).build().unwrap();
    let api = Api::of(&protect, None).await;
    let recording = Recording::start(LevelFilter::DEBUG);
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!(protect.validate("unknown", None).await.unwrap_err().kind().fault(), "inactive");
    protect.check().await.unwrap();
    let calls = documented_words("`call`");
    let seen = recording.spans().into_iter().map(|span| {
        let metadata = span.metadata;
        assert_eq!(metadata.target(), "actix_protect_api");
        assert!(span.value("call").is_empty() || calls.contains(span.value("call")));
        let fields = metadata.fields().iter().map(|field| field.name().to_owned()).collect();
        (metadata.name().to_owned(), (metadata.level().to_string().to_lowercase(), fields))
    });
    assert_eq!(seen.collect::<std::collections::BTreeMap<_, _>>(), documented_spans());
    assert_eq!(recording.named("authenticate").len(), 3);
}
