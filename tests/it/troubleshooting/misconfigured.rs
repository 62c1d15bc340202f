//! 500: wrong settings, of the API or of the authorization server.

use std::time::Duration;

use actix_protect_api::{
    ClientAuthentication, ClientIdentity, Clock as _, ProtectApi, ProtectApiBuilder,
    test::{Endpoint, Fault, TestClock, TestIssuer},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    Walk, Walked,
    api::{api, refused, works},
    walks,
};
use crate::support::{app::Call, folder::Folder, net::serving, service::introspecting, time::eventually};

pub(super) fn walks() -> Vec<(&'static str, Walk)> {
    walks! {
        "the introspection endpoint rejected the request: status 401…" => wrong_credentials,
        "the introspection endpoint rejected the request: status 403 (unauthorized_client)" => may_not_introspect,
        "the introspection endpoint rejected the request: status 404" => another_endpoint,
        "the metadata names another issuer: configured is \"…\", stated is \"…\"" => another_name,
        "the metadata lacks an endpoint that is needed: …" => lacking_endpoint,
        "an endpoint is neither https nor on loopback: …" => insecure_endpoint,
        "the client's credentials cannot be used: …" => expired_svid,
        "the proxy to the authorization server rejects this API: …" => rejected_by_the_proxy,
        "AuthenticatedRequest is used on a route that no ProtectApi is wrapped around" => not_mounted,
    }
}

fn as_client(issuer: &TestIssuer, authentication: ClientAuthentication) -> ProtectApiBuilder {
    ProtectApi::builder(issuer.issuer(), issuer.audience()).client(issuer.client_id(), authentication)
}

fn set(issuer: &TestIssuer, name: &str, value: Value) {
    issuer.set_metadata(|mut metadata| {
        metadata[name] = value;
        metadata
    });
}

async fn wrong_credentials() -> Walked {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({}));
    let mut lines = Vec::new();
    for wrong in [
        ClientAuthentication::client_secret_post("not the secret"),
        ClientAuthentication::client_secret_basic("not the secret"),
    ] {
        lines.push(refused(api(as_client(&issuer, wrong)).get("/").token(&token), 500).await);
    }
    // Raw: what a server sees that does not decode.
    issuer.fault(Endpoint::Introspection, active(&issuer));
    issuer.reset_counters();
    let raw = as_client(&issuer, ClientAuthentication::client_secret_basic_raw("a+b"));
    works(api(raw).get("/").token(&token)).await;
    let sent = issuer.requests(Endpoint::Introspection)[0].header("authorization").unwrap().to_owned();
    assert_eq!(sent, format!("Basic {}", STANDARD.encode(format!("{}:a+b", issuer.client_id()))));
    let right = as_client(&issuer, ClientAuthentication::client_secret_basic(issuer.client_secret()));
    Walked::new(lines, works(api(right).get("/").token(&token)).await)
}

async fn may_not_introspect() -> Walked {
    let issuer = TestIssuer::start();
    let (app, token) = (api(introspecting(&issuer)), issuer.opaque(json!({})));
    let mut lines = Vec::new();
    for status in [403, 400] {
        let fault = Fault::status(status).with_body(r#"{"error":"unauthorized_client"}"#);
        issuer.fault(Endpoint::Introspection, fault);
        lines.push(refused(app.get("/").token(&token), 500).await);
    }
    // The server is set up meanwhile: no restart is needed.
    Walked::new(lines, works(app.get("/").token(&token)).await)
}

async fn another_endpoint() -> Walked {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({}));
    let elsewhere = introspecting(&issuer).introspection_endpoint(issuer.url(Endpoint::Other));
    let not_found = refused(api(elsewhere).get("/").token(&token), 500).await;
    let login = Fault::redirect(&issuer.url(Endpoint::Other)).with_status(302);
    issuer.fault(Endpoint::Introspection, login.always());
    let redirected = refused(api(introspecting(&issuer)).get("/").token(&token), 500).await;
    issuer.clear_faults();
    let right = introspecting(&issuer).introspection_endpoint(issuer.url(Endpoint::Introspection));
    Walked::new([not_found, redirected], works(api(right).get("/").token(&token)).await)
}

async fn another_name() -> Walked {
    let issuer = TestIssuer::start();
    let inside = issuer.issuer().replace("127.0.0.1", "localhost");
    let of = |name: &str| {
        let client = ClientAuthentication::client_secret_basic(issuer.client_secret());
        api(ProtectApi::builder(name, issuer.audience()).client(issuer.client_id(), client))
    };
    let token = issuer.opaque(json!({}));
    let line = refused(of(&inside).get("/").token(&token), 500).await;
    let stated = line.text.split("stated is \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    Walked::new([line], works(of(&stated).get("/").token(&token)).await)
}

async fn lacking_endpoint() -> Walked {
    let issuer = TestIssuer::start();
    let (jwks, introspection) = (issuer.url(Endpoint::Jwks), issuer.url(Endpoint::Introspection));
    let (jwt, opaque) = (issuer.jwt(json!({})), issuer.opaque(json!({})));
    set(&issuer, "introspection_endpoint", Value::Null);
    let mut lines = vec![refused(api(introspecting(&issuer)).get("/").token(&opaque), 500).await];
    set(&issuer, "jwks_uri", Value::Null);
    let without_client = || ProtectApi::builder(issuer.issuer(), issuer.audience());
    lines.push(refused(api(without_client()).get("/").token(&jwt), 500).await);
    works(api(without_client().jwks_uri(jwks)).get("/").token(&jwt)).await;

    // With mutual TLS the endpoint is an alias. (What presents the certificate is shown where there is TLS.)
    let made = rcgen::generate_simple_self_signed(["api".to_owned()]).unwrap();
    let identity = ClientIdentity::from_pem(made.cert.pem(), made.signing_key.serialize_pem());
    let mtls = || as_client(&issuer, ClientAuthentication::tls_client_auth(identity.clone()));
    issuer.fault(Endpoint::Introspection, active(&issuer));
    lines.push(refused(api(mtls()).get("/").token(&opaque), 500).await);
    let aliases = json!({ "main": { "introspection_endpoint": introspection } });
    set(&issuer, "mtls_additional_endpoint_aliases", aliases);
    lines.push(refused(api(mtls().trust_store_id("mian")).get("/").token(&opaque), 500).await);
    works(api(mtls().trust_store_id("main")).get("/").token(&opaque)).await;

    let given = introspecting(&issuer).introspection_endpoint(introspection);
    Walked::new(lines, works(api(given).get("/").token(&opaque)).await)
}

/// An answer for any client.
fn active(issuer: &TestIssuer) -> Fault {
    let mut body = issuer.claims(&issuer.opaque(json!({})));
    body["active"] = true.into();
    Fault::body(body.to_string())
}

async fn insecure_endpoint() -> Walked {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({}));
    set(&issuer, "introspection_endpoint", "http://as.example.test/introspect".into());
    let line = refused(api(introspecting(&issuer)).get("/").token(&token), 500).await;
    set(&issuer, "introspection_endpoint", issuer.url(Endpoint::Introspection).into());
    Walked::new([line], works(api(introspecting(&issuer).realm("again")).get("/").token(&token)).await)
}

/// Files are read at most once a second. This test waits for a read.
async fn expired_svid() -> Walked {
    let (issuer, clock, folder) = (TestIssuer::start(), TestClock::new(), Folder::new());
    let svid = |lifetime: i64| {
        let claims = json!({ "exp": clock.unix_time() + lifetime }).to_string();
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    };
    let path = folder.file("svid", &svid(30));
    issuer.fault(Endpoint::Introspection, active(&issuer).always());
    let app = api(as_client(&issuer, ClientAuthentication::spiffe_jwt(&path)).clock(clock.clone()));
    let call = || -> Call { app.get("/").token("opaque") };
    works(call()).await;
    clock.advance(Duration::from_secs(30));
    let line = refused(call(), 500).await;
    folder.file("svid", &svid(3600));
    assert!(eventually(async || call().send().await.status == 200).await);
    Walked::new([line], works(call()).await)
}

async fn rejected_by_the_proxy() -> Walked {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({}));
    let rejecting = serving(|mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await?;
        stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await
    });
    let (url, _) = rejecting.await;
    let through = || introspecting(&issuer).http_proxy(&url).no_proxy(Vec::<String>::new());
    let lines = [
        refused(api(through()).get("/").token(&token), 500).await,
        refused(api(through().http_proxy_credentials("me", "wrong")).get("/").token(&token), 500).await,
    ];
    // The tests of `issuer::proxy` show a proxy that accepts them.
    Walked::new(lines, works(api(introspecting(&issuer)).get("/").token(&token)).await)
}

async fn not_mounted() -> Walked {
    let issuer = TestIssuer::start();
    let (app, token) = (api(introspecting(&issuer)), issuer.opaque(json!({})));
    let line = refused(app.get("/outside").token(&token), 500).await;
    Walked::new([line], works(app.get("/").token(&token)).await)
}
