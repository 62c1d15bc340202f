//! 503: the authorization server does not give a usable response.

use std::{future::ready, time::Duration};

use actix_protect_api::test::{Endpoint, Fault, TestClock, TestIssuer};
use actix_web::rt;
use serde_json::json;

use super::{
    Walk, Walked,
    api::{api, paused_line, refused, works},
    process, walks,
};
use crate::support::{net::unused_address, service::introspecting};

pub(super) fn walks() -> Vec<(&'static str, Walk)> {
    walks! {
        "the authorization server is unreachable: …" => unreachable,
        "the authorization server is unreachable: … invalid peer certificate: …" => untrusted,
        "the authorization server did not respond in time: …" => late,
        "the authorization server is overloaded or failing: status 503" => failing,
        "the authorization server sent an invalid response: …" => broken,
        "the authorization server's keys are not available" => no_keys,
        "too many calls to the authorization server are under way" => saturated,
        "calls to the authorization server are paused after repeated failures" => paused,
        "the revocations in the shared store cannot be read" => super::shared_store::jwts_rejected,
    }
}

async fn unreachable() -> Walked {
    let issuer = TestIssuer::start();
    let free = unused_address();
    let nobody = api(introspecting(&issuer).introspection_endpoint(format!("http://{free}/introspect")));
    let token = issuer.opaque(json!({}));
    let mut lines = vec![refused(nobody.get("/").token(&token), 503).await];
    // A resolver of the application fails, and then returns the keys.
    let (jwt, keys) = (issuer.jwt(json!({})), issuer.jwks());
    let sealed = introspecting(&issuer).jwks_resolver(async || Err("the vault is sealed".into()));
    lines.push(refused(api(sealed).get("/").token(&jwt), 503).await);
    let open = introspecting(&issuer).jwks_resolver(move || ready(Ok(keys.clone())));
    works(api(open).get("/").token(&jwt)).await;
    Walked::new(lines, works(api(introspecting(&issuer)).get("/").token(&token)).await)
}

/// This process does not trust the certificate. A process that trusts it gets 200.
async fn untrusted() -> Walked {
    let issuer = TestIssuer::builder().tls().start();
    let token = issuer.opaque(json!({}));
    let line = refused(api(introspecting(&issuer)).get("/").token(&token), 503).await;
    assert!(line.text.contains("UnknownIssuer"), "{line}");
    let (status, _) = process::calls(&issuer, &process::Certificates::of_the_issuer(&issuer));
    assert_eq!(status, "200");
    let trusting = introspecting(&issuer).root_certificates(issuer.ca_pem().unwrap());
    Walked::new([line], works(api(trusting).get("/").token(&token)).await)
}

async fn late() -> Walked {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({}));
    issuer.fault(Endpoint::Introspection, Fault::delay(Duration::from_millis(400)).always());
    let hasty = api(introspecting(&issuer).response_timeout(Duration::from_millis(100)));
    let line = refused(hasty.get("/").token(&token), 503).await;
    let patient = api(introspecting(&issuer).response_timeout(Duration::from_secs(20)));
    Walked::new([line], works(patient.get("/").token(&token)).await)
}

async fn failing() -> Walked {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({}));
    let cached = api(introspecting(&issuer).introspection_cache_duration(Duration::from_secs(60)));
    works(cached.get("/").token(&token)).await;
    issuer.fault(Endpoint::Introspection, Fault::status(503).always());
    let line = refused(api(introspecting(&issuer)).get("/").token(&token), 503).await;
    Walked::new([line], works(cached.get("/").token(&token)).await)
}

async fn broken() -> Walked {
    let issuer = TestIssuer::start();
    let (app, token) = (api(introspecting(&issuer).max_response_size(4096)), issuer.opaque(json!({})));
    works(app.get("/").token(&token)).await;
    let mut lines = Vec::new();
    for fault in [
        // For the health check too: otherwise it is a page about this token.
        Fault::content_type("text/html").times(2),
        Fault::truncate(),
        Fault::body(" ".repeat(5000)),
        Fault::real().with_header("Content-Encoding", "gzip"),
        Fault::body(r#"{"active":"true"}"#),
    ] {
        issuer.fault(Endpoint::Introspection, fault);
        lines.push(refused(app.get("/").token(&token), 503).await);
    }
    let hidden = TestIssuer::start();
    hidden.set_served(Endpoint::Discovery, false);
    hidden.set_served(Endpoint::AuthorizationServerMetadata, false);
    let line = refused(api(introspecting(&hidden)).get("/").token(&token), 503).await;
    assert!(line.text.contains("no metadata at "), "{line}");
    lines.push(line);
    Walked::new(lines, works(app.get("/").token(&token)).await)
}

async fn no_keys() -> Walked {
    let issuer = TestIssuer::start();
    let (token, keys) = (issuer.jwt(json!({})), issuer.jwks());
    let clock = TestClock::new();
    let app = api(introspecting(&issuer).clock(clock.clone()));
    issuer.publish_jwks(json!({ "keys": [{ "kty": "oct", "k": "AAAA" }] }));
    let line = refused(app.get("/").token(&token), 503).await;
    issuer.publish_jwks(keys);
    clock.advance(Duration::from_secs(30));
    Walked::new([line], works(app.get("/").token(&token)).await)
}

async fn saturated() -> Walked {
    let issuer = TestIssuer::start();
    let narrow = api(introspecting(&issuer).max_calls(1).max_waiting(0));
    let wide = api(introspecting(&issuer).max_calls(2).max_waiting(0));
    let mut line = Vec::new();
    for app in [&narrow, &wide] {
        works(app.get("/").token(&issuer.opaque(json!({})))).await;
        issuer.reset_counters();
        issuer.fault(Endpoint::Introspection, Fault::hold());
        let held = rt::spawn(app.get("/").token(&issuer.opaque(json!({}))).send());
        issuer.received(Endpoint::Introspection, 1).await;
        let call = app.get("/").token(&issuer.opaque(json!({})));
        if line.is_empty() {
            line.push(refused(call, 503).await);
        } else {
            works(call).await;
        }
        issuer.release(Endpoint::Introspection);
        assert_eq!(held.await.unwrap().status, 200);
    }
    Walked::new(line, "200")
}

async fn paused() -> Walked {
    let (issuer, clock) = (TestIssuer::start(), TestClock::new());
    let (app, token) = (api(introspecting(&issuer).clock(clock.clone())), issuer.opaque(json!({})));
    issuer.fault(Endpoint::Introspection, Fault::status(500).always());
    let line = paused_line(&app, &issuer).await;
    issuer.clear_faults();
    clock.advance(Duration::from_secs(4));
    works(app.get("/").token(&token)).await;
    // A `Retry-After` for one token pauses this token only.
    let patience = Fault::status(429).with_header("Retry-After", "7").for_tokens(&token);
    issuer.fault(Endpoint::Introspection, patience);
    refused(app.get("/").token(&token), 503).await;
    let alone = refused(app.get("/").token(&token), 503).await;
    works(app.get("/").token(&issuer.opaque(json!({})))).await;
    clock.advance(Duration::from_secs(7));
    Walked::new([line, alone], works(app.get("/").token(&token)).await)
}
