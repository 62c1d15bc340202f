//! The metrics of the feature `metrics`, and values that they must not contain.

use std::collections::BTreeMap;

use actix_protect_api::{
    AuthError, AuthenticatedRequest, ProtectApi, Rejection, RequiredScopes, Scoped, test::TestIssuer,
};
use actix_web::{App, HttpResponse, test, web};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use serde_json::json;

use crate::support::{
    logs,
    service::{introspecting, status_of},
};

#[actix_web::test]
async fn decisions_calls_and_ages_are_recorded_without_tokens_or_claims() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);

    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer)
        .introspection_cache_duration(std::time::Duration::from_secs(60))
        .realm("metrics")
        .build()
        .unwrap();
    let hello =
        |caller: AuthenticatedRequest| async move { HttpResponse::Ok().body(caller.issuer().to_owned()) };
    let app =
        test::init_service(App::new().wrap(protect.scopes(["read"])).route("/", web::get().to(hello))).await;

    let opaque = issuer.opaque(json!({ "sub": "alice-in-a-claim", "scope": "read" }));
    let jwt = issuer.jwt(json!({ "sub": "alice-in-a-claim", "scope": "read" }));
    let poor = issuer.opaque(json!({ "sub": "alice-in-a-claim" }));
    for (token, status) in [
        (&*opaque, 200),
        (&*opaque, 200),
        (&*jwt, 200),
        (&*jwt, 200),
        (&*poor, 403),
        ("unknown-token", 401),
        ("unknown-token", 401),
        (&*poor, 403),
        ("not a token", 400),
        ("", 401),
    ] {
        assert_eq!(status_of(&app, "/", token).await, status, "{token:?}");
    }

    let seen: BTreeMap<String, DebugValue> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, _, _, value)| {
            let key = key.key();
            let labels: Vec<_> = key
                .labels()
                .filter(|label| label.key() != "issuer")
                .map(|label| format!("{}={}", label.key(), label.value()))
                .collect();
            (format!("{}{{{}}}", key.name(), labels.join(",")), value)
        })
        .collect();
    let decisions = |labels: &str| match seen.get(&format!("protect_api_decisions_total{{{labels}}}")) {
        Some(DebugValue::Counter(count)) => *count,
        _ => 0,
    };
    assert_eq!(decisions("outcome=allowed,fault=,via=introspection"), 1);
    assert_eq!(decisions("outcome=allowed,fault=,via=cache"), 1);
    assert_eq!(decisions("outcome=allowed,fault=,via=signature"), 1);
    assert_eq!(decisions("outcome=allowed,fault=,via=remembered_signature"), 1);
    // A rejection because of a verdict has the source of the verdict.
    for via in ["introspection", "cache"] {
        let labels = format!("outcome=insufficient_scope,fault=insufficient_scope,via={via}");
        assert_eq!(decisions(&labels), 1, "{labels}");
        let labels = format!("outcome=invalid_token,fault=inactive,via={via}");
        assert_eq!(decisions(&labels), 1, "{labels}");
    }
    assert_eq!(decisions("outcome=invalid_request,fault=malformed_credentials,via="), 1);
    assert_eq!(decisions("outcome=missing_token,fault=missing_token,via="), 1);
    for name in [
        "protect_api_upstream_seconds{call=introspection,outcome=answered}",
        "protect_api_upstream_seconds{call=metadata,outcome=answered}",
        "protect_api_upstream_seconds{call=key_set,outcome=answered}",
        "protect_api_fetched_timestamp_seconds{call=metadata}",
        "protect_api_fetched_timestamp_seconds{call=key_set}",
        "protect_api_introspections_in_flight{}",
        "protect_api_introspection_paused{}",
    ] {
        assert!(seen.contains_key(name), "{name} is missing in {:?}", seen.keys());
    }
    for name in seen.keys() {
        for secret in ["alice", &*opaque, &*jwt, &*poor, issuer.client_secret(), "unknown-token"] {
            assert!(!name.contains(secret), "{name}");
        }
    }
}

#[actix_web::test]
async fn metrics_are_described_to_an_exporter_that_is_installed_after_the_build() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).realm("built before the exporter").build().unwrap();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let app = test::init_service(
        App::new().wrap(protect).route("/", web::get().to(|_: AuthenticatedRequest| async { "" })),
    )
    .await;
    assert_eq!(status_of(&app, "/", &issuer.opaque(json!({ "sub": "alice" }))).await, 200);
    let seen = snapshotter.snapshot().into_vec();
    assert!(!seen.is_empty());
    for (key, unit, description, _) in seen {
        assert!(unit.is_some() && description.is_some(), "{key:?} is not described");
    }
}

/// `validate` needs no mount, so no worker describes its metrics.
#[actix_web::test]
async fn metrics_are_described_without_a_mount() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).realm("without a mount").build().unwrap();
    protect.validate(&issuer.opaque(json!({})), None).await.unwrap();
    let seen = snapshotter.snapshot().into_vec();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|(_, unit, description, _)| unit.is_some() && description.is_some()));
}

struct Write;

impl RequiredScopes for Write {
    const SCOPES: &'static [&'static str] = &["write"];
}

#[derive(serde::Deserialize)]
struct Employee {
    #[serde(rename = "department")]
    _department: String,
}

#[actix_web::test]
async fn rejections_by_handlers_are_counted_and_logged_once_they_are_responses() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    logs::capture();
    let issuer = TestIssuer::start();
    let protect = ProtectApi::builder(issuer.issuer(), issuer.audience()).build().unwrap();
    let required = |caller: AuthenticatedRequest| async move {
        caller.require_groups(["staff"])?;
        Ok::<_, Rejection>("")
    };
    let ignoring = |caller: AuthenticatedRequest| async move {
        assert!(caller.require_scopes(["write"]).is_err());
        ""
    };
    let app = test::init_service(
        App::new()
            .wrap(protect.optional())
            .route("/scoped", web::get().to(|_: Scoped<Write>| async { "" }))
            .route("/required", web::get().to(required))
            .route("/typed", web::get().to(|_: AuthenticatedRequest<Employee>| async { "" }))
            .route("/caller", web::get().to(|_: AuthenticatedRequest| async { "" }))
            .route("/anyone", web::get().to(|_: Option<AuthenticatedRequest>| async { "" }))
            .route("/ignoring", web::get().to(ignoring)),
    )
    .await;
    let refused = || {
        logs::count(|record| record.value("event") == "refused" && record.value("issuer") == issuer.issuer())
    };
    let mut logged = 0;
    for (path, has_token, status, fault) in [
        ("/scoped", true, 403, "insufficient_scope"),
        ("/required", true, 403, "insufficient_groups"),
        ("/typed", true, 401, "claims"),
        ("/caller", false, 401, "missing_token"),
        ("/anyone", false, 200, ""),
        ("/ignoring", true, 200, ""),
    ] {
        let mut request = test::TestRequest::get().uri(path);
        if has_token {
            request = request.insert_header(issuer.bearer(json!({ "sub": "alice" })));
        }
        let response = test::call_service(&app, request.to_request()).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        let error = response.response().extensions().get::<AuthError>().map(|error| error.kind().fault());
        assert_eq!(error.unwrap_or_default(), fault, "{path}");
        logged += usize::from(status != 200);
        assert_eq!(refused(), logged, "{path}");
        if status != 200 {
            let record = logs::last(|record| {
                record.value("issuer") == issuer.issuer() && record.value("event") == "refused"
            });
            let record = record.unwrap();
            assert_eq!((record.value("fault"), record.value("via")), (fault, "handler"), "{record}");
            // Another conversion of the same error is no other rejection.
            response.response().error().unwrap().as_response_error().error_response();
            assert_eq!(refused(), logged, "{path}");
        }
    }
    let mut counted: Vec<_> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .filter(|(key, ..)| {
            key.key().name() == "protect_api_decisions_total"
                && key.key().labels().any(|label| label.value() == "handler")
        })
        .map(|(key, _, _, value)| {
            let fault = key.key().labels().find(|label| label.key() == "fault").unwrap().value().to_owned();
            (fault, value)
        })
        .collect();
    counted.sort_by(|one, other| one.0.cmp(&other.0));
    let one = |fault: &str| (fault.to_owned(), DebugValue::Counter(1));
    assert_eq!(counted, ["claims", "insufficient_groups", "insufficient_scope", "missing_token"].map(one));
}
