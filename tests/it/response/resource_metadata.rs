//! The metadata document of a resource (RFC 9728), and its URL in challenges.

use actix_protect_api::{
    CertificateBinding, ProtectApi, Resource, Scoped,
    test::{Algorithm, TestIssuer, TestKey},
};
use actix_web::{App, web};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::Jwk};
use serde_json::{Value, json};

use crate::support::{
    app::{Answer, serve, whoami},
    service::introspecting,
};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

struct Write;

impl actix_protect_api::RequiredScopes for Write {
    const SCOPES: &'static [&'static str] = &["write"];
}

async fn write(_: Scoped<Write>) -> &'static str {
    "written"
}

fn document(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    serde_json::from_str(&answer.body).unwrap()
}

fn named_metadata(answer: &Answer) -> Option<&str> {
    let (_, rest) = answer.challenge()?.split_once("resource_metadata=\"")?;
    rest.split_once('"').map(|(url, _)| url)
}

#[actix_web::test]
async fn the_document_has_the_configured_members_and_the_scopes_of_the_mounts() {
    let issuer = TestIssuer::start();
    let resource = Resource::new("https://api.example.test/files")
        .name("Files")
        .documentation("https://api.example.test/docs")
        .policy("https://api.example.test/policy")
        .terms_of_service("https://api.example.test/terms")
        .scopes(["extractor", "offline_access"])
        .also_at_root();
    let builder = introspecting(&issuer).certificate_binding(CertificateBinding::Required);
    let protect = builder.resource(resource).build().unwrap();
    let plain = introspecting(&issuer).resource("https://api.example.test/other").build().unwrap();
    let app = serve!(move || {
        let files = web::resource("/files")
            .wrap(protect.scopes(["a", "b"]).any_scope(["b", "c", "offline_access"]).hint_scopes(["d"]));
        App::new()
            .service(protect.resource_metadata())
            .service(plain.resource_metadata())
            .service(files.route(web::get().to(whoami)))
    });
    let full = json!({
        "resource": "https://api.example.test/files",
        "authorization_servers": [issuer.issuer()],
        "scopes_supported": ["a", "b", "c", "d", "extractor"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Files",
        "resource_documentation": "https://api.example.test/docs",
        "resource_policy_uri": "https://api.example.test/policy",
        "resource_tos_uri": "https://api.example.test/terms",
        "tls_client_certificate_bound_access_tokens": true,
    });
    for path in [format!("{WELL_KNOWN}/files"), WELL_KNOWN.to_owned()] {
        // The host of the request is not part of the document.
        let answer = app.get(&path).header("X-Forwarded-Host", "evil.example.test").send().await;
        assert_eq!(document(&answer), full);
    }
    // Empty arrays are omitted.
    let minimal = json!({
        "resource": "https://api.example.test/other",
        "authorization_servers": [issuer.issuer()],
        "bearer_methods_supported": ["header"],
    });
    assert_eq!(document(&app.get(&format!("{WELL_KNOWN}/other")).send().await), minimal);
    assert_eq!(app.get(&format!("{WELL_KNOWN}/unknown")).send().await.status, 404);
}

/// RFC 9728 section 2.2.
#[actix_web::test]
async fn signed_metadata_has_the_members_of_the_document_as_claims() {
    let issuer = TestIssuer::start();
    let key = TestKey::generate(Algorithm::ES256, "metadata");
    let resource = Resource::new("https://api.example.test/files")
        .name("Files")
        .jwks_uri("https://api.example.test/jwks")
        .signed_metadata("https://api.example.test/files", key.private_jwk().to_string());
    let protect = introspecting(&issuer).resource(resource).build().unwrap();
    let app = serve!(4, move || {
        let files = web::resource("/files").wrap(protect.scopes(["read"]));
        App::new().service(protect.resource_metadata()).service(files.route(web::get().to(whoami)))
    });
    let path = format!("{WELL_KNOWN}/files");
    let first = app.get(&path).send().await;
    let mut document = document(&first);
    let jwt = document.as_object_mut().unwrap().remove("signed_metadata").unwrap();
    let jwt = jwt.as_str().unwrap();
    assert_eq!(document["jwks_uri"], "https://api.example.test/jwks");
    assert_eq!(decode_header(jwt).unwrap().kid.as_deref(), Some("metadata"));

    // Another library verifies it with the public key.
    let public: Jwk = serde_json::from_value(key.jwk()).unwrap();
    let mut validation = Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_required_spec_claims(&["iss"]);
    validation.set_issuer(&["https://api.example.test/files"]);
    validation.validate_exp = false;
    let claims = decode::<Value>(jwt, &DecodingKey::from_jwk(&public).unwrap(), &validation).unwrap().claims;
    let mut expected = document.clone();
    expected["iss"] = "https://api.example.test/files".into();
    assert_eq!(claims, expected);
    assert_eq!(claims["scopes_supported"], json!(["read"]));

    // It is signed once: all workers serve the same document.
    for _ in 0..8 {
        let again = app.get(&path).header("Connection", "close").send().await;
        assert_eq!((again.header("etag"), &again.body), (first.header("etag"), &first.body));
    }
}

#[actix_web::test]
async fn clients_may_cache_the_document_and_pages_may_fetch_it() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).resource("https://api.example.test/").build().unwrap();
    let app = serve!(move || App::new().service(protect.resource_metadata()));
    let first = app.get(WELL_KNOWN).send().await;
    document(&first);
    assert_eq!(first.header("cache-control"), Some("public, max-age=300"));
    let tag = first.header("etag").unwrap();
    for (known, status) in
        [(tag.to_owned(), 304), (format!("\"x\", W/{tag}"), 304), ("\"x\"".to_owned(), 200)]
    {
        let answer = app.get(WELL_KNOWN).header("If-None-Match", &known).send().await;
        assert_eq!((answer.status, answer.header("etag")), (status, Some(tag)), "{known}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    let preflight = app.call("OPTIONS", WELL_KNOWN).header("Origin", "https://app.example.test").send().await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-headers")), (204, Some("*")));
    let post = app.post(WELL_KNOWN).send().await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
}

#[actix_web::test]
async fn challenges_name_the_metadata_of_the_resource_that_was_called() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer)
        .resource("https://api.example.test/files")
        .resource(Resource::new("https://api.example.test/edge/mail").mapped("/edge", "/").scopes(["mail"]))
        .build()
        .unwrap();
    let app = serve!(move || {
        let files = web::scope("/files").wrap(protect.scopes(["files"])).route("/w", web::get().to(write));
        let mail = web::resource("/mail").wrap(protect.groups(["staff"])).route(web::get().to(whoami));
        App::new().service(protect.resource_metadata()).service(files).service(mail)
    });
    let token = issuer.opaque(json!({ "scope": "files" }));
    let files = "https://api.example.test/.well-known/oauth-protected-resource/files";
    let mail = "https://api.example.test/.well-known/oauth-protected-resource/edge/mail";
    for (path, token, status, url) in [
        ("/files/w", None, 401, files),
        ("/files/w", Some("unknown"), 401, files),
        ("/files/w", Some(&*token), 403, files),
        ("/mail", None, 401, mail),
        ("/mail", Some(&*token), 403, mail),
    ] {
        let call = app.get(path).header("X-Forwarded-Host", "evil.example.test");
        let answer = match token {
            Some(token) => call.token(token).send().await,
            None => call.send().await,
        };
        assert_eq!((answer.status, named_metadata(&answer)), (status, Some(url)), "{path} {answer:?}");
    }
    // The proxy may rewrite the path of the document too.
    for path in ["/edge/mail", "/mail"] {
        let answer = app.get(&format!("{WELL_KNOWN}{path}")).send().await;
        let seen = document(&answer);
        assert_eq!(seen["resource"], "https://api.example.test/edge/mail");
        assert_eq!(seen["scopes_supported"], json!(["mail"]));
    }
}

#[test]
fn documents_at_one_path_are_rejected_at_start_up() {
    let builder = || ProtectApi::builder("https://issuer.example.test", "me");
    let root = || Resource::new("https://api.example.test/a").also_at_root();
    for (builder, problem) in [
        (
            builder().resource("https://a.example.test/x").resource("https://b.example.test/x"),
            "resource: \"https://b.example.test/x\" has its document at /.well-known/oauth-protected-resource/x",
        ),
        (
            builder().resource(root()).resource("https://api.example.test"),
            "has its document at /.well-known/oauth-protected-resource, like another one",
        ),
        (
            builder().resource("https://a.example.test").resource_metadata("https://a.example.test/m"),
            "resource_metadata: is set, but a resource is set too",
        ),
        (builder().resource("ftp://a.example.test"), "expected an https URL"),
        (
            builder()
                .resource(Resource::new("https://a.example.test").jwks_uri("http://a.example.test/jwks")),
            "expected a `jwks_uri` that is an https URL",
        ),
        (
            builder().resource(Resource::new("https://a.example.test").signed_metadata("me", "hunter2")),
            "\"https://a.example.test\" has a key for signed metadata that cannot be used: ",
        ),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(problem) && !error.contains("hunter2"), "{error}");
    }
}
