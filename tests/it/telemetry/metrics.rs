//! The metrics of the feature `metrics`, and values that they must not contain.

use std::collections::BTreeMap;

use actix_protect_api::{AuthenticatedRequest, test::TestIssuer};
use actix_web::{App, HttpResponse, test, web};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use serde_json::json;

use crate::support::service::{introspecting, status_of};

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
