//! Resolvers: tokens and certificates that are not in the header or the connection.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use actix_protect_api::{
    CertificateBinding, ResolverError,
    certificate::CertificateThumbprint,
    test::{Endpoint, TestIssuer},
};
use actix_web::{HttpRequest, rt};
use serde_json::json;

use crate::support::{
    api::protected,
    app::{INVALID, MISSING, TestApp},
    service::introspecting,
};

const FROM: &str = "x-token";

/// The header `x-token`, with `~` for a space; `fail` makes it fail.
fn from_header(request: &HttpRequest) -> Result<Option<String>, ResolverError> {
    let Some(value) = request.headers().get(FROM) else { return Ok(None) };
    let value = value.to_str()?;
    if value == "fail" {
        Err("the store of sessions is down".into())
    } else {
        Ok(Some(value.replace('~', " ")))
    }
}

async fn behaves(issuer: &TestIssuer, app: &TestApp) {
    let alice = issuer.opaque(json!({ "sub": "alice" }));
    let bob = issuer.opaque(json!({ "sub": "bob" }));
    app.get("/").header(FROM, &alice).send().await.is(200, "alice");
    // `None` falls back to the header, and a value is preferred to it.
    app.get("/").token(&bob).send().await.is(200, "bob");
    app.get("/").header(FROM, &alice).token(&bob).send().await.is(200, "alice");
    app.get("/").send().await.refuses(MISSING);
    // White space is trimmed; a scheme is not.
    app.get("/").header(FROM, format!("~~{alice}~")).send().await.is(200, "alice");
    app.get("/").header(FROM, format!("Bearer~{alice}")).send().await.refuses(INVALID);
    // The value is the token, even if it is malformed: there is no fallback.
    let asked = issuer.count(Endpoint::Introspection);
    for bad in ["", "~", "a~b", "\"", "fail"] {
        app.get("/").header(FROM, bad).token(&bob).send().await.refuses(INVALID);
    }
    assert_eq!(issuer.count(Endpoint::Introspection), asked);
    let failed = app.get("/").header(FROM, "fail").send().await;
    failed.refuses(INVALID);
    assert_eq!(failed.header("x-kind"), Some("InvalidToken(Resolver)"));
    // The length of a resolved token is limited too.
    app.get("/").header(FROM, "a".repeat(16 * 1024 + 1)).send().await.refuses(INVALID);
    assert_eq!(issuer.count(Endpoint::Introspection), asked);
}

#[actix_web::test]
async fn a_resolved_token_is_trimmed_and_preferred_to_the_header() {
    let issuer = TestIssuer::start();
    let app = protected(introspecting(&issuer).token_resolver(from_header).build().unwrap());
    behaves(&issuer, &app).await;
}

#[actix_web::test]
async fn an_async_resolver_behaves_the_same() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer)
        .async_token_resolver(|request| {
            Box::pin(async move {
                rt::task::yield_now().await;
                from_header(request)
            })
        })
        .build()
        .unwrap();
    let app = protected(protect);
    behaves(&issuer, &app).await;
}

#[actix_web::test]
async fn a_cookie_can_be_the_token() {
    let issuer = TestIssuer::start();
    let cookie = |request: &HttpRequest| {
        let Some(cookies) = request.headers().get("cookie") else { return Ok(None) };
        let mut pairs = cookies.to_str()?.split("; ").filter_map(|pair| pair.split_once('='));
        Ok(pairs.find(|(name, _)| *name == "access").map(|(_, value)| value.to_owned()))
    };
    let app = protected(introspecting(&issuer).token_resolver(cookie).build().unwrap());
    let token = issuer.opaque(json!({ "sub": "alice" }));
    app.get("/").header("Cookie", format!("theme=dark; access={token}")).send().await.is(200, "alice");
    app.get("/").header("Cookie", "theme=dark").send().await.refuses(MISSING);
}

#[actix_web::test]
async fn a_resolver_that_fails_is_refused_also_where_tokens_are_optional() {
    let issuer = TestIssuer::start();
    let app = protected(introspecting(&issuer).token_resolver(from_header).build().unwrap().optional());
    app.get("/").header(FROM, "fail").send().await.refuses(INVALID);
    app.get("/").header(FROM, "").send().await.refuses(INVALID);
}

#[actix_web::test]
async fn a_certificate_resolver_that_fails_is_an_invalid_token_and_runs_before_everything_else() {
    let issuer = TestIssuer::start();
    let tokens_asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tokens_asked);
    let protect = introspecting(&issuer)
        .certificate_resolver(|request: &HttpRequest| {
            if request.headers().contains_key("x-broken") { Err("malformed".into()) } else { Ok(None) }
        })
        .token_resolver(move |_: &HttpRequest| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(None)
        })
        .build()
        .unwrap();
    let app = protected(protect);
    let token = issuer.opaque(json!({ "sub": "alice" }));
    for call in [app.get("/").token(&token), app.get("/"), app.get("/").token("not a token")] {
        let answer = call.header("x-broken", "1").send().await;
        answer.refuses(INVALID);
        assert_eq!(answer.header("x-kind"), Some("InvalidToken(Resolver)"));
    }
    assert_eq!(tokens_asked.load(Ordering::Relaxed), 0);
    assert_eq!(issuer.count(Endpoint::Introspection), 0);
    app.get("/").token(&token).send().await.is(200, "alice");
    assert_eq!(tokens_asked.load(Ordering::Relaxed), 1);
}

#[actix_web::test]
async fn a_bound_token_opens_only_with_the_certificate_that_the_resolver_finds() {
    let issuer = TestIssuer::start();
    let resolver = |request: &HttpRequest| {
        let Some(seven) = request.headers().get("x-certificate") else { return Ok(None) };
        let byte = seven.to_str()?.parse()?;
        Ok(Some(CertificateThumbprint::from_sha256([byte; 32])))
    };
    let make = |binding| {
        let cached = introspecting(&issuer).introspection_cache_duration(std::time::Duration::from_secs(60));
        protected(cached.certificate_resolver(resolver).certificate_binding(binding).build().unwrap())
    };
    // base64url of 32 times the byte 7.
    let bound = issuer.opaque(
        json!({ "sub": "alice", "cnf": { "x5t#S256": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc" } }),
    );
    let free = issuer.opaque(json!({ "sub": "bob" }));
    let when_present = make(CertificateBinding::WhenPresent);
    when_present.get("/").token(&bound).header("x-certificate", "7").send().await.is(200, "alice");
    // Also on a hit of the cache.
    when_present.get("/").token(&bound).header("x-certificate", "8").send().await.refuses(INVALID);
    when_present.get("/").token(&bound).send().await.refuses(INVALID);
    when_present.get("/").token(&free).send().await.is(200, "bob");
    let required = make(CertificateBinding::Required);
    required.get("/").token(&bound).header("x-certificate", "7").send().await.is(200, "alice");
    required.get("/").token(&free).header("x-certificate", "7").send().await.refuses(INVALID);
    let ignoring = make(CertificateBinding::DangerouslyIgnore);
    ignoring.get("/").token(&bound).send().await.is(200, "alice");
}
