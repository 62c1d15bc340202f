//! The responses of each endpoint, and the recorded requests.

use std::{io::Write as _, net::TcpStream, thread};

use actix_protect_api::{
    Clock as _,
    test::{Endpoint, TestClock, TestIssuer},
};
use serde_json::{Value, json};
use url::Url;

use super::{Answer, connect, decoded, form, get, introspect, is_active, post, raw, send};

fn assert_metadata_of(issuer: &TestIssuer) {
    for endpoint in [Endpoint::Discovery, Endpoint::AuthorizationServerMetadata] {
        let answer = get(&issuer.url(endpoint));
        assert_eq!(answer.status, 200, "{endpoint:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let metadata = answer.json();
        assert_eq!(metadata["issuer"], issuer.issuer());
        for (member, endpoint) in [
            ("introspection_endpoint", Endpoint::Introspection),
            ("token_endpoint", Endpoint::Token),
            ("revocation_endpoint", Endpoint::Revocation),
            ("jwks_uri", Endpoint::Jwks),
        ] {
            assert_eq!(metadata[member], issuer.url(endpoint));
        }
        assert_eq!(get(metadata["jwks_uri"].as_str().unwrap()).status, 200);
        assert_eq!(issuer.count(endpoint), 1);
    }
}

#[test]
fn metadata_is_in_both_places_for_every_form_of_issuer() {
    let plain = TestIssuer::start();
    let port = Url::parse(plain.issuer()).unwrap().port().unwrap();
    assert_eq!(plain.issuer(), format!("http://127.0.0.1:{port}"));
    assert_metadata_of(&plain);

    let slash = TestIssuer::builder().trailing_slash(true).start();
    assert!(slash.issuer().ends_with('/'));
    assert_eq!(Url::parse(slash.issuer()).unwrap().path(), "/");
    assert_metadata_of(&slash);

    for (trailing, path) in [(false, "/tenant/a"), (true, "/tenant/a/")] {
        let issuer = TestIssuer::builder().path("/tenant/a").trailing_slash(trailing).start();
        assert_eq!(Url::parse(issuer.issuer()).unwrap().path(), path);
        assert!(issuer.url(Endpoint::Discovery).ends_with("/tenant/a/.well-known/openid-configuration"));
        assert!(
            issuer
                .url(Endpoint::AuthorizationServerMetadata)
                .ends_with("/.well-known/oauth-authorization-server/tenant/a")
        );
        assert!(!issuer.url(Endpoint::AuthorizationServerMetadata).contains("/tenant/a/"));
        assert_metadata_of(&issuer);
        let elsewhere =
            Url::parse(issuer.issuer()).unwrap().join("/.well-known/openid-configuration").unwrap();
        assert_eq!(get(elsewhere.as_str()).status, 404);
        assert_eq!(issuer.count(Endpoint::Other), 1);
    }
}

#[test]
fn metadata_can_be_changed_and_one_document_switched_off() {
    let issuer = TestIssuer::start();
    issuer.set_metadata(|mut metadata| {
        metadata["issuer"] = json!("https://somebody.example");
        metadata.as_object_mut().unwrap().remove("jwks_uri");
        metadata
    });
    issuer.set_served(Endpoint::Discovery, false);
    assert_eq!(get(&issuer.url(Endpoint::Discovery)).status, 404);
    let metadata = get(&issuer.url(Endpoint::AuthorizationServerMetadata)).json();
    assert_eq!(metadata["issuer"], "https://somebody.example");
    assert_eq!(metadata.get("jwks_uri"), None);
    issuer.set_served(Endpoint::Discovery, true);
    assert_eq!(get(&issuer.url(Endpoint::Discovery)).status, 200);
}

#[test]
fn introspection_returns_the_claims_of_an_opaque_token() {
    let issuer = TestIssuer::builder().audience("https://orders.example.test").start();
    let token = issuer.opaque(json!({ "sub": "alice", "scope": "read", "iat": null }));
    let answer = introspect(&issuer, &token);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let mut claims = answer.json();
    let exp = claims.as_object_mut().unwrap().remove("exp").unwrap().as_i64().unwrap();
    assert_eq!(
        claims,
        json!({
            "active": true, "sub": "alice", "scope": "read", "client_id": "app",
            "iss": issuer.issuer(), "aud": "https://orders.example.test",
        })
    );
    let now = TestClock::new().unix_time();
    assert!((now + 3500..=now + 3600).contains(&exp));
    assert_eq!(introspect(&issuer, "unheard-of").json(), json!({ "active": false }));
}

#[test]
fn revocation_and_expiry_end_a_token() {
    let clock = TestClock::new();
    let issuer = TestIssuer::builder().clock(clock.clone()).start();
    let revoked = issuer.opaque(json!({}));
    let expired = issuer.opaque(json!({}));
    let ageing = issuer.jwt(json!({}));
    let eternal = issuer.opaque(json!({ "exp": null }));
    let stillborn = issuer.opaque(json!({ "exp": clock.unix_time() }));
    for token in [&revoked, &expired, &ageing, &eternal] {
        assert!(is_active(&issuer, token));
    }
    assert!(!is_active(&issuer, &stillborn));
    issuer.revoke(&revoked);
    issuer.expire(&expired);
    assert_eq!(introspect(&issuer, &revoked).json(), json!({ "active": false }));
    assert_eq!(introspect(&issuer, &expired).json(), json!({ "active": false }));
    clock.advance(std::time::Duration::from_secs(3599));
    assert!(is_active(&issuer, &ageing));
    clock.advance(std::time::Duration::from_secs(1));
    assert!(!is_active(&issuer, &ageing));
    assert!(is_active(&issuer, &eternal));
}

#[test]
fn claims_and_answers_of_a_token_can_be_replaced() {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({ "sub": "alice", "scope": "read" }));
    issuer.set_claims(&token, json!({ "scope": "write", "sub": null }));
    let claims = introspect(&issuer, &token).json();
    assert_eq!((&claims["scope"], claims.get("sub")), (&json!("write"), None));
    assert_eq!(issuer.claims(&token)["scope"], "write");

    let odd = r#"{"active":false,"active":true}"#;
    issuer.set_answer(&token, odd);
    issuer.set_answer("never minted", odd);
    issuer.revoke(&token);
    assert_eq!(introspect(&issuer, &token).body, odd.as_bytes());
    assert_eq!(introspect(&issuer, "never minted").body, odd.as_bytes());
}

#[test]
#[should_panic(expected = "cannot find the token")]
fn a_token_of_somebody_else_cannot_be_revoked_by_mistake() {
    TestIssuer::start().revoke("unheard-of");
}

#[test]
fn introspection_takes_a_posted_form_and_nothing_else() {
    let issuer = TestIssuer::start();
    let url = issuer.url(Endpoint::Introspection);
    let token = issuer.opaque(json!({}));
    let (id, secret) = (issuer.client_id(), issuer.client_secret());
    let good = form(&[("token", &token), ("client_id", id), ("client_secret", secret)]);
    let form_type = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")];
    assert_eq!(send("POST", &url, &form_type, &good).status, 200);

    let answer = get(&url);
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(send("POST", &url, &[("Content-Type", "application/json")], &good).status, 400);
    assert_eq!(send("POST", &url, &[], &good).status, 400);
    let no_token = post(&url, &[], &[("client_id", id), ("client_secret", secret)]);
    assert_eq!((no_token.status, no_token.json()), (400, json!({ "error": "invalid_request" })));
    let twice = format!("{good}&token=other");
    assert_eq!(send("POST", &url, &form_type, &twice).status, 400);
}

#[test]
fn an_app_gets_a_token_and_revokes_it() {
    let issuer = TestIssuer::start();
    let app = [("client_id", issuer.app_id()), ("client_secret", issuer.app_secret())];
    let ask = |extra: &[(&str, &str)]| post(&issuer.url(Endpoint::Token), &[], &[&app, extra].concat());

    let answer = ask(&[("grant_type", "client_credentials"), ("scope", "read write")]);
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
    let answer = answer.json();
    assert_eq!(
        (&answer["token_type"], &answer["expires_in"], &answer["scope"]),
        (&json!("Bearer"), &json!(3600), &json!("read write"))
    );
    let token = answer["access_token"].as_str().unwrap();
    let claims = introspect(&issuer, token).json();
    assert_eq!(
        (&claims["active"], &claims["sub"], &claims["client_id"], &claims["scope"]),
        (&json!(true), &json!("app"), &json!("app"), &json!("read write"))
    );

    assert_eq!(ask(&[]).json(), json!({ "error": "invalid_request" }));
    assert_eq!(ask(&[("grant_type", "password")]).json(), json!({ "error": "unsupported_grant_type" }));

    let url = issuer.url(Endpoint::Revocation);
    assert_eq!(post(&url, &[], &[("token", token)]).status, 401);
    assert!(is_active(&issuer, token));
    assert_eq!(post(&url, &[], &[&app[..], &[("token", token)]].concat()).status, 200);
    assert!(!is_active(&issuer, token));
    assert_eq!(post(&url, &[], &[&app[..], &[("token", "unheard-of")]].concat()).status, 200);
}

#[test]
fn the_tokens_of_an_app_carry_its_claims() {
    let claims = json!({ "groups": ["engineering"], "scope": "read", "aud": ["a", "b"] });
    let issuer = TestIssuer::builder().app("spa", "s3cret", claims).jwt_access_tokens(true).start();
    let parameters =
        [("client_id", "spa"), ("client_secret", "s3cret"), ("grant_type", "client_credentials")];
    let answer = post(&issuer.url(Endpoint::Token), &[], &parameters).json();
    assert_eq!(answer["scope"], "read");
    let (header, claims) = decoded(answer["access_token"].as_str().unwrap());
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(
        (&claims["sub"], &claims["client_id"], &claims["groups"], &claims["aud"]),
        (&json!("spa"), &json!("spa"), &json!(["engineering"]), &json!(["a", "b"]))
    );
}

#[test]
fn apps_do_not_introspect_and_resource_servers_get_no_tokens() {
    let issuer = TestIssuer::start();
    let app = [("client_id", issuer.app_id()), ("client_secret", issuer.app_secret()), ("token", "t")];
    assert_eq!(post(&issuer.url(Endpoint::Introspection), &[], &app).status, 401);
    let api = [
        ("client_id", issuer.client_id()),
        ("client_secret", issuer.client_secret()),
        ("grant_type", "client_credentials"),
    ];
    assert_eq!(post(&issuer.url(Endpoint::Token), &[], &api).status, 401);
}

#[test]
fn pages_of_other_origins_may_call_all_but_introspection() {
    let issuer = TestIssuer::start();
    for endpoint in [Endpoint::Discovery, Endpoint::Jwks, Endpoint::Token, Endpoint::Revocation] {
        let preflight = send("OPTIONS", &issuer.url(endpoint), &[("Origin", "https://spa.example")], "");
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.header("access-control-allow-origin"), Some("*"));
        assert_eq!(preflight.header("access-control-allow-headers"), Some("Authorization, Content-Type"));
        assert_eq!(preflight.header("content-length"), None);
    }
    let refused = post(&issuer.url(Endpoint::Token), &[], &[]);
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some("*")));
    assert_eq!(send("OPTIONS", &issuer.url(Endpoint::Introspection), &[], "").status, 405);
    assert_eq!(send("DELETE", &issuer.url(Endpoint::Jwks), &[], "").status, 405);
}

#[test]
fn requests_are_counted_and_recorded() {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({}));
    introspect(&issuer, &token);
    get(&format!("{}?x=1", issuer.url(Endpoint::Other)));
    assert_eq!((issuer.count(Endpoint::Introspection), issuer.count(Endpoint::Other)), (1, 1));
    assert_eq!((issuer.count(Endpoint::Jwks), issuer.connections()), (0, 2));

    let requests = issuer.requests(Endpoint::Introspection);
    let [request] = &requests[..] else { panic!("one request") };
    assert_eq!((request.method.as_str(), request.path()), ("POST", "/introspect"));
    assert_eq!(request.header("CONTENT-TYPE"), Some("application/x-www-form-urlencoded"));
    assert_eq!(request.form()["token"], token);
    let debug = format!("{request:?} {issuer:?}");
    assert!(!debug.contains(&token) && !debug.contains(issuer.client_secret()), "{debug}");

    issuer.reset_counters();
    assert_eq!((issuer.count(Endpoint::Introspection), issuer.connections()), (0, 0));
    assert!(issuer.requests(Endpoint::Introspection).is_empty());
}

#[test]
fn the_last_thousand_requests_are_kept() {
    let issuer = TestIssuer::start();
    let mut stream = connect(&Url::parse(issuer.issuer()).unwrap());
    for number in 0..1002 {
        let close = if number == 1001 { "Connection: close\r\n" } else { "" };
        write!(stream, "GET /{number} HTTP/1.1\r\n{close}\r\n").unwrap();
    }
    std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    assert_eq!(issuer.count(Endpoint::Other), 1002);
    let requests = issuer.requests(Endpoint::Other);
    assert_eq!(requests.len(), 1000);
    assert_eq!((requests[0].path(), requests[999].path()), ("/2", "/1001"));
}

#[actix_web::test]
async fn a_connection_serves_many_requests() {
    let issuer = TestIssuer::start();
    let client = awc::Client::default();
    let token = issuer.opaque(json!({ "sub": "alice" }));
    for _ in 0..3 {
        let parameters = [
            ("token", token.as_str()),
            ("client_id", issuer.client_id()),
            ("client_secret", issuer.client_secret()),
        ];
        let mut answer =
            client.post(issuer.url(Endpoint::Introspection)).send_form(&parameters).await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["sub"], "alice");
        // A body left unread would cost the connection.
        client.get(issuer.url(Endpoint::Jwks)).send().await.unwrap().body().await.unwrap();
    }
    assert_eq!(issuer.connections(), 1);
}

#[test]
fn several_threads_call_at_once() {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({}));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| assert!(is_active(&issuer, &token))));
        }
    });
    assert_eq!(issuer.count(Endpoint::Introspection), 20);
}

#[test]
fn a_malformed_request_is_rejected_and_the_server_continues() {
    let issuer = TestIssuer::start();
    let url = issuer.issuer();
    let huge = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(64 * 1024));
    for (request, status) in [
        ("nonsense\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", "413"),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "411"),
        (&huge, "431"),
    ] {
        let answer = String::from_utf8(raw(url, request.as_bytes()).unwrap()).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    // The refusal arrives although megabytes were still on their way.
    let upload = format!("POST / HTTP/1.1\r\nContent-Length: 4000000\r\n\r\n{}", "a".repeat(4_000_000));
    assert_eq!(Answer::parse(&raw(url, upload.as_bytes()).unwrap()).status, 413);
    drop(connect(&Url::parse(url).unwrap()));
    assert_eq!(issuer.count(Endpoint::Other), 0);
    assert_eq!(get(&issuer.url(Endpoint::Jwks)).status, 200);
}

#[test]
fn dropping_it_closes_the_port_and_the_connections() {
    let issuer = TestIssuer::start();
    let url = Url::parse(issuer.issuer()).unwrap();
    let mut idle = connect(&url);
    get(&issuer.url(Endpoint::Jwks));
    drop(issuer);
    assert!(TcpStream::connect((url.host_str().unwrap(), url.port().unwrap())).is_err());
    let rest = std::io::copy(&mut idle, &mut std::io::sink());
    assert!(!matches!(rest, Ok(1..)), "{rest:?}");

    let again = TestIssuer::builder().port(url.port().unwrap()).start();
    assert_eq!(again.issuer(), url.as_str().trim_end_matches('/'));
    assert_eq!(get(&again.url(Endpoint::Jwks)).status, 200);
}

#[test]
fn a_port_in_use_is_named_with_the_line_of_the_test() {
    use std::{
        panic,
        sync::{Arc, Mutex},
        thread,
    };

    let issuer = TestIssuer::start();
    let port = Url::parse(issuer.issuer()).unwrap().port().unwrap();
    let (place, this) = (Arc::new(Mutex::new(String::new())), thread::current().id());
    let (seen, before) = (Arc::clone(&place), panic::take_hook());
    // Other tests panic too, at the same time.
    panic::set_hook(Box::new(move |info| {
        if thread::current().id() == this {
            *seen.lock().unwrap() = info.location().unwrap().file().to_owned();
        } else {
            before(info);
        }
    }));
    let panic = panic::catch_unwind(|| TestIssuer::builder().port(port).start()).unwrap_err();
    let message = crate::troubleshooting::message(&*panic);
    assert!(message.starts_with(&format!("cannot bind the port {port}: ")), "{message}");
    // Not locked while the assertion may panic: the hook locks it.
    let place = place.lock().unwrap().clone();
    assert_eq!(place, file!());
}

#[test]
fn the_variables_name_the_issuer_and_its_client() {
    let issuer = TestIssuer::builder().trailing_slash(true).start();
    let variables = issuer.variables();
    let value = |name: &str| variables.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str());
    assert_eq!(value("MONOCLOUD_BACKEND_TENANT_DOMAIN"), Some(issuer.issuer()));
    assert_eq!(value("MONOCLOUD_BACKEND_AUDIENCE"), Some("https://api.example.test"));
    assert_eq!(value("MONOCLOUD_BACKEND_CLIENT_ID"), Some("api-server"));
    assert_eq!(value("MONOCLOUD_BACKEND_CLIENT_SECRET"), Some(issuer.client_secret()));
}

#[cfg(feature = "rustls")]
#[actix_web::test]
async fn tls_is_trusted_with_the_issuers_own_authority_only() {
    use std::sync::Arc;

    use rustls::{
        ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::CertificateDer, pki_types::pem::PemObject,
    };

    let client_trusting = |issuer: &TestIssuer| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(issuer.ca_pem().unwrap().as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        awc::Client::builder().connector(awc::Connector::new().rustls_0_23(Arc::new(config))).finish()
    };
    let issuer = TestIssuer::builder().tls().start();
    let other = TestIssuer::builder().tls().start();
    assert!(issuer.issuer().starts_with("https://localhost:"));
    assert_eq!(TestIssuer::start().ca_pem(), None);

    let url = issuer.url(Endpoint::Discovery);
    let mut answer = client_trusting(&issuer).get(&url).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["issuer"], issuer.issuer());
    assert!(client_trusting(&other).get(&url).send().await.is_err());
    assert_eq!(issuer.count(Endpoint::Discovery), 1);
}
