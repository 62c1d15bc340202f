//! Additional parameters and headers of introspection requests, and bearer authentication.

use std::time::Duration;

use actix_protect_api::{
    ClientAuthentication, ProtectApi, ProtectApiBuilder, Secret, SecretSource, SetupFault,
    test::{Endpoint, Fault, TestIssuer},
};
use serde_json::json;

use crate::support::{
    folder::Folder,
    logs,
    service::{Api, OK, api, introspecting, jwts_only, setup},
    store::Store,
};

#[actix_web::test]
async fn parameters_and_headers_are_sent_and_not_shown() {
    logs::capture();
    let (issuer, folder) = (TestIssuer::start(), Folder::new());
    let key = folder.file("key", "hunter2-in-a-file\n");
    let protect = introspecting(&issuer)
        .introspection_parameter("resource", "https://api.example/a b&c")
        .introspection_parameter("pin", Secret::from("hunter2"))
        .introspection_header("X-Tenant", "hunter2-plain")
        .introspection_header("X-Api-Key", SecretSource::file(&key))
        .build()
        .unwrap();
    assert!(!format!("{protect:?}").contains("hunter2"), "{protect:?}");
    let api = Api::of(&protect, None).await;
    let token = issuer.opaque(json!({}));
    // A server failure and the health check that follows.
    issuer.fault(Endpoint::Introspection, Fault::status(503).times(3));
    for _ in 0..4 {
        let _unavailable = api.outcome(&issuer.opaque(json!({}))).await;
    }
    assert_eq!(api.outcome(&token).await, OK);
    let requests = issuer.requests(Endpoint::Introspection);
    assert!(requests.len() > 3);
    for request in requests {
        let form = request.form();
        assert_eq!((&*form["resource"], &*form["pin"]), ("https://api.example/a b&c", "hunter2"));
        assert_eq!(form["token_type_hint"], "access_token");
        assert_eq!(request.header("x-tenant"), Some("hunter2-plain"));
        assert_eq!(request.header("x-api-key"), Some("hunter2-in-a-file"));
        assert!(request.header("authorization").is_some());
    }
    for endpoint in [Endpoint::Discovery, Endpoint::Jwks] {
        assert!(issuer.requests(endpoint).iter().all(|request| request.header("x-api-key").is_none()));
    }
    assert!(!logs::records().iter().any(|record| record.to_string().contains("hunter2-in-a-file")));
}

#[actix_web::test]
async fn variables_set_plain_parameters_and_headers() {
    let issuer = TestIssuer::start();
    let own =
        [("INTROSPECTION_PARAMETERS", "resource=a=b, tenant=one"), ("INTROSPECTION_HEADERS", "X-Tenant=two")];
    let own = own.map(|(name, value)| (format!("MONOCLOUD_BACKEND_{name}"), value.to_owned()));
    let variables = issuer.variables().into_iter().chain(own);
    let protect = ProtectApi::try_from_variables("MONOCLOUD_BACKEND_", variables).unwrap();
    assert_eq!(Api::of(&protect, None).await.outcome(&issuer.opaque(json!({}))).await, OK);
    let request = &issuer.requests(Endpoint::Introspection)[0];
    assert_eq!((&*request.form()["resource"], &*request.form()["tenant"]), ("a=b", "one"));
    assert_eq!(request.header("x-tenant"), Some("two"));
}

/// A problem, without the settings' prefix.
#[track_caller]
fn problem(builder: ProtectApiBuilder) -> String {
    let error = builder.build().unwrap_err();
    let [problem] = error.problems() else { panic!("{error}") };
    assert!(!format!("{error}").contains("hunter2"), "{error}");
    format!("{}: {}", problem.name, problem.message)
}

#[test]
fn fields_of_this_crate_and_malformed_ones_are_an_error() {
    let issuer = TestIssuer::start();
    let new = || introspecting(&issuer);
    for name in [
        "token",
        "token_type_hint",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
    ] {
        let problem = problem(new().introspection_parameter(name, "hunter2"));
        assert_eq!(
            problem,
            format!(
                "introspection_parameter: names {name:?}, which this crate sends, expected another parameter"
            )
        );
    }
    for name in
        ["Authorization", "HOST", "content-length", "Transfer-Encoding", "Proxy-Authorization", "Accept"]
    {
        assert!(
            problem(new().introspection_header(name, "hunter2")).contains("which this crate sends"),
            "{name}"
        );
    }
    for (builder, expected) in [
        (
            new().introspection_parameter("", "hunter2"),
            "introspection_parameter: has an entry without a name",
        ),
        (new().introspection_header("", "hunter2"), "introspection_header: has an entry without a name"),
        (new().introspection_header("a b", "hunter2"), "expected the name of a header"),
        (new().introspection_header("X-A", "hunter2\r\nX-B: c"), "\"X-A\" has a value that cannot be used"),
        (new().introspection_header("X-A", "1").introspection_header("x-a", "2"), "names \"x-a\" twice"),
        (new().introspection_parameter("a", "1").introspection_parameter("a", "2"), "names \"a\" twice"),
        (new().introspection_parameter("a", SecretSource::file("/nowhere")), "/nowhere cannot be read"),
        (jwts_only(&issuer).introspection_parameter("a", "1"), "there are no client credentials"),
        (jwts_only(&issuer).introspection_header("X-A", "1"), "there are no client credentials"),
    ] {
        let problem = problem(builder);
        assert!(problem.contains(expected), "{problem}");
    }
}

/// The server may decide by these fields. A verdict for other values is not used.
#[actix_web::test]
async fn a_cached_verdict_belongs_to_the_plain_fields_of_its_request() {
    let (issuer, store) = (TestIssuer::start(), Store::default());
    let token = issuer.opaque(json!({}));
    let new = || {
        introspecting(&issuer)
            .introspection_cache_duration(Duration::from_secs(60))
            .cache_store(store.clone())
    };
    let mut calls = 0;
    for (builder, is_new) in [
        (new(), true),
        (new(), false),
        (new().introspection_parameter("tenant", "one"), true),
        (new().introspection_parameter("tenant", "one"), false),
        (new().introspection_parameter("tenant", "two"), true),
        (new().introspection_parameter("tenants", "one"), true),
        (new().introspection_header("tenant", "one"), true),
        (new().introspection_header("tenant", "one").introspection_parameter("tenant", "one"), true),
        (new().introspection_parameter("tenant", Secret::from("one")), true),
        (new().introspection_parameter("tenant", Secret::from("two")), false),
    ] {
        calls += usize::from(is_new);
        assert_eq!(api(builder).await.outcome(&token).await, OK);
        assert_eq!(issuer.count(Endpoint::Introspection), calls);
    }
    assert_eq!(store.entries().len(), calls);
}

#[actix_web::test]
async fn a_bearer_token_authenticates_this_api() {
    let (issuer, folder) = (TestIssuer::start(), Folder::new());
    let token = issuer.opaque(json!({}));
    let mut active = issuer.claims(&token);
    active["active"] = true.into();
    issuer.fault(Endpoint::Introspection, Fault::body(active.to_string()).always());
    let file = folder.file("token", "access-token-of-the-api~1\n");
    let bearer = |source: SecretSource| jwts_only(&issuer).client("me", ClientAuthentication::bearer(source));
    assert_eq!(api(bearer(SecretSource::file(&file))).await.outcome(&token).await, OK);
    let request = &issuer.requests(Endpoint::Introspection)[0];
    assert_eq!(request.header("authorization"), Some("Bearer access-token-of-the-api~1"));
    let form = request.form();
    assert_eq!(form.keys().collect::<Vec<_>>(), ["token", "token_type_hint"]);

    // A rejected token is a fault of the configuration.
    issuer.clear_faults();
    assert_eq!(api(bearer("wrong".into())).await.outcome(&token).await, setup(SetupFault::Refused));
}

/// The metadata lists the token type `Bearer` (RFC 8414 section 2).
#[actix_web::test]
async fn a_published_token_type_is_the_method_bearer() {
    logs::capture();
    let is_warned = |issuer: &TestIssuer| {
        let issuer = issuer.issuer().to_owned();
        logs::count(move |record| {
            record.value("event") == "auth_method_not_published" && record.value("issuer") == issuer
        })
    };
    for (published, warnings) in [("Bearer", 0), ("client_secret_post", 1)] {
        let issuer = TestIssuer::start();
        let before = is_warned(&issuer);
        issuer.set_metadata(|mut metadata| {
            metadata["introspection_endpoint_auth_methods_supported"] = json!([published]);
            metadata
        });
        let api = api(jwts_only(&issuer).client("me", ClientAuthentication::bearer("a"))).await;
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
        assert_eq!(is_warned(&issuer) - before, warnings);
    }
}
