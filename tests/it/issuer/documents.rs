//! Metadata and keys of the application, in place of fetched documents.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use actix_protect_api::{
    AuthErrorKind, ProtectApi, ProtectApiBuilder, ResolverError, SetupFault, TokenFault, UpstreamFault,
    test::{Algorithm, Endpoint, Rotation, TestIssuer, TestKey},
    unverified_jwt_header,
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    service::{Api, OK, api, introspecting, jwts_only, setup, timed_issuer, token, upstream},
    time::seconds,
};

fn metadata(issuer: &TestIssuer) -> Value {
    let mut seen = Value::Null;
    issuer.set_metadata(|metadata| {
        seen = metadata.clone();
        metadata
    });
    seen
}

/// Returns the metadata without one member, or with another value of it.
fn with(issuer: &TestIssuer, name: &str, value: Value) -> String {
    let mut metadata = metadata(issuer);
    metadata[name] = value;
    metadata.to_string()
}

/// The content of a resolver: a document, or the text of an error.
#[derive(Clone)]
struct Source {
    content: Arc<Mutex<Result<Value, &'static str>>>,
    calls: Arc<AtomicUsize>,
}

impl Source {
    fn new(document: Value) -> Self {
        Self { content: Arc::new(Mutex::new(Ok(document))), calls: Arc::default() }
    }

    fn set(&self, content: Result<Value, &'static str>) {
        *self.content.lock().unwrap() = content;
    }

    async fn resolve(self) -> Result<Value, ResolverError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        actix_web::rt::task::yield_now().await;
        self.content.lock().unwrap().clone().map_err(Into::into)
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn of_keys(&self, builder: ProtectApiBuilder) -> ProtectApiBuilder {
        let source = self.clone();
        builder.jwks_resolver(move || source.clone().resolve())
    }

    fn of_metadata(&self, builder: ProtectApiBuilder) -> ProtectApiBuilder {
        let source = self.clone();
        builder.metadata_resolver(move || source.clone().resolve())
    }
}

const UNREACHABLE: Result<(), AuthErrorKind> = upstream(UpstreamFault::Unreachable);

#[actix_web::test]
async fn with_a_key_set_in_the_configuration_jwts_need_no_network() {
    let (issuer, clock) = timed_issuer();
    let protect = jwts_only(&issuer).jwks_document(issuer.jwks().to_string()).clock(clock.clone());
    let protect = protect.build().unwrap();
    let api = Api::of(&protect, None).await;
    for _ in 0..3 {
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
        clock.advance(seconds(30 * 86_400));
    }
    protect.check().await.unwrap();
    issuer.rotate_keys(Rotation::Replace);
    for _ in 0..3 {
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, token(TokenFault::UnknownKey));
    }
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, token(TokenFault::Unsupported));
    assert_eq!(issuer.connections(), 0);
    let keys = protect.published_keys();
    assert_eq!((keys.len(), &*keys[0].algorithms), (1, &[actix_protect_api::Algorithm::ES256][..]));
    assert_eq!(protect.metadata(), None, "nothing is discovered");
}

#[actix_web::test]
async fn metadata_in_the_configuration_is_not_fetched() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).metadata_document(metadata(&issuer).to_string()).build().unwrap();
    let api = Api::of(&protect, None).await;
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    protect.check().await.unwrap();
    let fetched = [Endpoint::Discovery, Endpoint::AuthorizationServerMetadata, Endpoint::Jwks];
    assert_eq!(fetched.map(|endpoint| issuer.count(endpoint)), [0, 0, 1]);
    assert_eq!(*protect.metadata().unwrap(), metadata(&issuer));
}

#[test]
fn documents_are_validated_when_the_configuration_is_built() {
    let issuer = TestIssuer::start();
    let problem = |builder: ProtectApiBuilder, name: &str, part: &str| {
        let error = builder.build().unwrap_err();
        let [problem] = error.problems() else { panic!("{error}") };
        assert!(problem.name == name && problem.message.contains(part), "expected {part:?}: {problem}");
    };
    let other = with(&issuer, "issuer", json!("https://evil.example.test"));
    let insecure = with(&issuer, "jwks_uri", json!("http://as.example.test/keys"));
    for (document, part) in [
        ("nonsense", "no JSON object"),
        ("{}", "without issuer"),
        (&other, "stated is \"https://evil.example.test\""),
        (&insecure, "neither https nor on loopback"),
        (&with(&issuer, "jwks_uri", Value::Null), "has no jwks_uri"),
    ] {
        problem(jwts_only(&issuer).metadata_document(document), "metadata_document", part);
    }
    let lacking = with(&issuer, "introspection_endpoint", Value::Null);
    let lacking = introspecting(&issuer).metadata_document(lacking);
    problem(lacking, "metadata_document", "has no introspection_endpoint");
    // A document that names loopback endpoints is for an issuer on loopback only.
    let remote = "https://as.example.test";
    let document = with(&issuer, "issuer", json!(remote));
    let remote = ProtectApi::builder(remote, "me").metadata_document(document);
    problem(remote, "metadata_document", "neither https nor on loopback");

    let oct = json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }).to_string();
    for (document, part) in [
        ("nonsense", "not a JSON object"),
        (r#"{"keys":{}}"#, "no array of keys"),
        (r#"{"keys":[]}"#, "no key that can be used"),
        (&oct, "no key that can be used"),
    ] {
        problem(jwts_only(&issuer).jwks_document(document), "jwks_document", part);
    }
    let keys = issuer.jwks().to_string();
    let twice = jwts_only(&issuer).jwks_uri(issuer.url(Endpoint::Jwks)).jwks_document(&keys);
    problem(twice, "jwks_document", "jwks_uri is set too");
    let twice = jwts_only(&issuer).metadata_url(issuer.url(Endpoint::Discovery));
    let twice = Source::new(Value::Null).of_metadata(twice);
    problem(twice, "metadata_resolver", "metadata_url is set too");
    let useless = introspecting(&issuer).introspection_endpoint(issuer.url(Endpoint::Introspection));
    problem(
        useless.metadata_document(metadata(&issuer).to_string()),
        "metadata_document",
        "nothing is discovered",
    );

    // Malformed keys are skipped. The document is not shown.
    let mut some = issuer.jwks();
    some["keys"].as_array_mut().unwrap().push(json!({ "kty": "RSA", "n": "!", "e": "AQAB" }));
    let protect = jwts_only(&issuer).jwks_document(some.to_string()).build().unwrap();
    assert_eq!(protect.published_keys().len(), 1);
    assert!(
        format!("{protect:?}").contains(&format!("jwks_document: Some([{} bytes])", some.to_string().len()))
    );
}

#[test]
fn documents_may_be_variables() {
    let issuer = TestIssuer::start();
    let mut variables = issuer.variables();
    for (name, value) in [("METADATA_DOCUMENT", metadata(&issuer)), ("JWKS_DOCUMENT", issuer.jwks())] {
        variables.push((format!("MONOCLOUD_BACKEND_{name}"), value.to_string()));
    }
    let protect = ProtectApi::try_from_variables("MONOCLOUD_BACKEND_", variables.clone()).unwrap();
    assert_eq!(
        (protect.metadata().unwrap().as_ref(), protect.published_keys().len()),
        (&metadata(&issuer), 1)
    );
    variables.last_mut().unwrap().1 = "hunter2".to_owned();
    let error = ProtectApi::try_from_variables("MONOCLOUD_BACKEND_", variables).unwrap_err().to_string();
    assert!(error.contains("MONOCLOUD_BACKEND_JWKS_DOCUMENT: is not a key set"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[actix_web::test]
async fn a_key_resolver_is_called_as_often_as_the_keys_would_be_fetched() {
    let (issuer, clock) = timed_issuer();
    let source = Source::new(issuer.jwks());
    let api = api(source.of_keys(jwts_only(&issuer)).clock(clock.clone())).await;
    let first: Vec<_> = (0..20).map(|_| issuer.jwt(json!({}))).collect();
    let outcomes = join_all(first.iter().map(|one| api.outcome(one))).await;
    assert!(outcomes.iter().all(|outcome| *outcome == OK));
    assert_eq!((source.calls(), issuer.connections()), (1, 0));
    clock.advance(seconds(301));
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!(source.calls(), 2);
    // An unknown key causes one call per cooldown.
    clock.advance(seconds(31));
    issuer.rotate_keys(Rotation::Replace);
    for _ in 0..3 {
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, token(TokenFault::UnknownKey));
    }
    assert_eq!(source.calls(), 3);
    clock.advance(seconds(31));
    source.set(Ok(issuer.jwks()));
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!((source.calls(), issuer.connections()), (4, 0));
}

#[actix_web::test]
async fn a_failing_key_resolver_is_503_unless_the_last_keys_are_good() {
    let (issuer, clock) = timed_issuer();
    let source = Source::new(Value::Null);
    source.set(Err("the vault is sealed"));
    let protect = source.of_keys(jwts_only(&issuer)).clock(clock.clone()).build().unwrap();
    let api = Api::of(&protect, None).await;
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, UNREACHABLE);
    let error = protect.check().await.unwrap_err().to_string();
    assert!(error.contains("the resolver of the application failed: the vault is sealed"), "{error}");
    assert_eq!(source.calls(), 1, "the pause limits the calls");
    clock.advance(seconds(5));
    source.set(Ok(issuer.jwks()));
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);

    source.set(Err("the vault is sealed"));
    for age in [301, 1800, 1400] {
        clock.advance(seconds(age));
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    }
    clock.advance(seconds(200));
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, UNREACHABLE);
    for wrong in [json!([]), json!({ "keys": {} })] {
        clock.advance(seconds(5));
        source.set(Ok(wrong));
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, upstream(UpstreamFault::BadAnswer));
    }
    clock.advance(seconds(5));
    source.set(Ok(json!({ "keys": [] })));
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, upstream(UpstreamFault::NoKeys));
}

#[actix_web::test]
async fn a_metadata_resolver_is_validated_like_a_fetched_document() {
    let (issuer, clock) = timed_issuer();
    let source = Source::new(metadata(&issuer));
    let settings = || source.of_metadata(introspecting(&issuer)).clock(clock.clone());
    let good = api(settings()).await;
    assert_eq!(good.outcome(&issuer.jwt(json!({}))).await, OK);
    assert_eq!(good.outcome(&issuer.opaque(json!({}))).await, OK);
    assert_eq!(source.calls(), 1);
    assert_eq!(
        [Endpoint::Discovery, Endpoint::AuthorizationServerMetadata].map(|one| issuer.count(one)),
        [0, 0]
    );
    source.set(Err("down"));
    clock.advance(seconds(301));
    assert_eq!(good.outcome(&issuer.opaque(json!({}))).await, OK, "the last good document");
    assert_eq!(api(settings()).await.outcome(&issuer.opaque(json!({}))).await, UNREACHABLE);

    let mut document = metadata(&issuer);
    document["issuer"] = json!("https://evil.example.test");
    source.set(Ok(document.clone()));
    assert_eq!(api(settings()).await.outcome(&issuer.opaque(json!({}))).await, setup(SetupFault::Issuer));
    document = metadata(&issuer);
    document["introspection_endpoint"] = json!("http://as.example.test/introspect");
    source.set(Ok(document));
    let insecure = api(settings()).await.outcome(&issuer.opaque(json!({}))).await;
    assert_eq!(insecure, setup(SetupFault::InsecureEndpoint));
}

#[actix_web::test]
async fn a_resolver_that_hangs_or_panics_is_503() {
    let issuer = TestIssuer::start();
    let hanging = jwts_only(&issuer)
        .response_timeout(std::time::Duration::from_millis(200))
        .jwks_resolver(pending::<Result<Value, ResolverError>>);
    assert_eq!(api(hanging).await.outcome(&issuer.jwt(json!({}))).await, upstream(UpstreamFault::TimedOut));
    let panicking = jwts_only(&issuer).jwks_resolver(|| async { panic!("a fault of the application") });
    assert_eq!(api(panicking).await.outcome(&issuer.jwt(json!({}))).await, UNREACHABLE);
}

#[actix_web::test]
async fn documents_in_use_can_be_read() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    assert_eq!((protect.metadata(), protect.published_keys()), (None, Vec::new()));
    protect.check().await.unwrap();
    assert_eq!(*protect.metadata().unwrap(), metadata(&issuer));
    assert_eq!(protect.published_keys()[0].kid.as_deref(), issuer.jwks()["keys"][0]["kid"].as_str());
    let key = TestKey::generate(Algorithm::ES256, "k7");
    let jws =
        key.jws(&json!({ "alg": "ES256", "kid": "k7", "jku": "https://evil.example.test" }), &json!({}));
    assert_eq!(unverified_jwt_header(&jws).unwrap()["kid"], "k7");
    for other in ["", "opaque", "a.b.c", "bm8ganNvbg.e30.c2ln", &format!("{}.e30.c2ln", "A".repeat(17_000))] {
        assert_eq!(unverified_jwt_header(other), None, "{other}");
    }
}
