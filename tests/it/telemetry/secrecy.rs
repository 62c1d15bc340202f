//! No token, secret or claim value is in the log, in metrics or in `Debug` output.

use std::{collections::BTreeSet, time::Duration};

use actix_protect_api::{
    AuthenticatedRequest, ClientAuthentication, ProtectApi,
    test::{Algorithm, Endpoint, Fault, JwtOptions, TestIssuer, TestKey},
};
use actix_web::{App, web};
use serde_json::json;

use crate::support::{
    app::{serve, whoami},
    logs, metering,
};

const SECRET: &str = "the-client-secret-4f9a1c77d2-of-32-bytes";
/// Part of every claim's value.
const VALUE: &str = "claim-value-83b1f0";

fn claims() -> serde_json::Value {
    json!({
        "sub": format!("{VALUE}-sub"), "scope": format!("read {VALUE}-scope"), "groups": [format!("{VALUE}-group")],
        "email": format!("{VALUE}@example.test"), "client_id": format!("{VALUE}-client"), "jti": format!("{VALUE}-jti"),
    })
}

/// Fits no token of these tests: the error text of serde quotes the claim.
#[derive(serde::Deserialize)]
struct Misfit {
    email: u8,
}

async fn misfit(caller: AuthenticatedRequest<Misfit>) -> String {
    caller.claims().email.to_string()
}

/// All texts that must not appear: marks in secrets and claims, whole tokens, and credentials that were sent.
struct Forbidden(BTreeSet<String>);

impl Forbidden {
    fn new() -> Self {
        Self([SECRET, VALUE].map(str::to_owned).into())
    }

    fn add(&mut self, secret: &str) {
        // Also each part, because the payload of a JWT contains the claims.
        self.0.extend(secret.split('.').filter(|part| part.len() > 20).map(str::to_owned));
        self.0.insert(secret.to_owned());
    }

    /// Adds the credentials of the introspection requests: the header, the assertion, the secret as it is in a form.
    fn add_what_was_sent(&mut self, issuer: &TestIssuer) {
        for request in issuer.requests(Endpoint::Introspection) {
            if let Some(header) = request.header("authorization") {
                self.add(header.strip_prefix("Basic ").unwrap());
            }
            let form = request.form();
            for secret in ["client_secret", "client_assertion"].iter().filter_map(|name| form.get(*name)) {
                self.add(secret);
                self.add(&byte_serialize(secret));
            }
        }
    }

    #[track_caller]
    fn is_not_in(&self, text: &str) {
        for secret in &self.0 {
            assert!(!text.contains(secret.as_str()), "{secret:?} is in {text:?}");
        }
    }
}

fn byte_serialize(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// An API for each client authentication method, with right and wrong secrets.
fn apis(issuer: &TestIssuer, key: &TestKey) -> Vec<ProtectApi> {
    let jwk = key.private_jwk().to_string();
    let stranger = TestKey::generate(Algorithm::ES256, "stranger").private_jwk().to_string();
    let wrong = format!("{SECRET}-but-wrong");
    [
        ("api", ClientAuthentication::client_secret_basic(SECRET)),
        ("api", ClientAuthentication::client_secret_basic(&*wrong)),
        ("api", ClientAuthentication::client_secret_basic_raw(SECRET)),
        ("api", ClientAuthentication::client_secret_post(SECRET)),
        ("api", ClientAuthentication::client_secret_post(&*wrong)),
        ("api", ClientAuthentication::client_secret_jwt(SECRET)),
        ("api", ClientAuthentication::client_secret_jwt(&*wrong)),
        ("key", ClientAuthentication::private_key_jwt(jwk)),
        ("key", ClientAuthentication::private_key_jwt(stranger)),
    ]
    .into_iter()
    .map(|(id, authentication)| {
        ProtectApi::builder(issuer.issuer(), issuer.audience())
            .client(id, authentication)
            .introspection_cache_duration(Duration::from_secs(60))
            .error_reference(true)
            .build()
            .unwrap()
    })
    .collect()
}

/// Good and bad tokens of every kind.
fn tokens(issuer: &TestIssuer) -> Vec<String> {
    let mut tokens = Vec::new();
    for changes in [
        json!({}),
        json!({ "exp": 1_000 }),
        json!({ "aud": format!("{VALUE}-aud") }),
        json!({ "iss": format!("https://{VALUE}.example.test") }),
        json!({ "nbf": 4_000_000_000_u32 }),
        json!({ "exp": format!("{VALUE}-exp") }),
        json!({ "cnf": { "x5t#S256": format!("{VALUE}-cnf") } }),
        json!({ "token_type": format!("{VALUE}-type") }),
        json!({ "scope": { VALUE: VALUE } }),
    ] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        tokens.extend([issuer.opaque(claims.clone()), issuer.jwt(claims)]);
    }
    tokens.push(issuer.jwt_with(JwtOptions::new().kid("unknown-kid"), claims()));
    tokens.push(issuer.jwt_with(JwtOptions::new().algorithm(Algorithm::None), claims()));
    tokens.push(format!("{}tampered", issuer.jwt(claims())));
    tokens.push("unknown-token-57d0c3".to_owned());
    let odd = issuer.opaque(claims());
    issuer.set_answer(&odd, &format!("{{\"active\":true,\"sub\":\"{VALUE}\",\"sub\":\"{VALUE}\"}}"));
    tokens.push(odd);
    tokens
}

#[actix_web::test]
async fn no_token_secret_or_claim_value_is_logged_or_measured_whatever_happens() {
    // The records of actix and of the HTTP client count too, at every level.
    let listening = logs::capture_of_all_crates();
    metering::start();
    let key = TestKey::generate(Algorithm::ES256, "of-the-api");
    let issuer = TestIssuer::builder().client("api", SECRET).client_with_key("key", &key).start();
    let mut forbidden = Forbidden::new();
    forbidden.add(key.private_jwk()["d"].as_str().unwrap());

    for protect in apis(&issuer, &key) {
        let app = serve!(move || {
            let read = web::resource("/read").wrap(protect.clone().scopes(["no"]));
            let group = web::resource("/group").wrap(protect.clone().groups(["no"]));
            App::new()
                .service(web::resource("/").wrap(protect.clone()).route(web::get().to(whoami)))
                .service(read.route(web::get().to(whoami)))
                .service(group.route(web::get().to(whoami)))
                .service(web::resource("/misfit").wrap(protect.clone()).route(web::get().to(misfit)))
        });
        let tokens = tokens(&issuer);
        for token in &tokens {
            forbidden.add(token);
            for path in ["/", "/read", "/group", "/misfit"] {
                let answer = app.get(path).token(token).send().await;
                // The response to an accepted request is the handler's.
                if answer.status != 200 {
                    forbidden.is_not_in(&format!("{answer:?}"));
                }
            }
        }
        let token = &tokens[0];
        app.get("/").header("Authorization", format!("Bearer {token} {token}")).send().await;
        app.get("/").token(token).token(token).send().await;
        app.get(&format!("/?access_token={token}")).send().await;
        app.get("/").header("Authorization", format!("Basic {token}")).send().await;
        for fault in [
            Fault::status(500).with_body(format!("no: {VALUE}")),
            Fault::status(400).with_body(format!("{{\"error_description\":\"{VALUE}\"}}")),
            Fault::body(format!("{{\"active\":\"{VALUE}\"}}")),
            Fault::body(format!("<html>{VALUE}")),
            Fault::truncate(),
            Fault::reset(),
            Fault::redirect(&format!("https://{VALUE}.example.test/")),
        ] {
            issuer.fault(Endpoint::Introspection, fault);
            let token = &issuer.opaque(claims());
            forbidden.add(token);
            app.get("/").token(token).send().await;
        }
        forbidden.add_what_was_sent(&issuer);
        issuer.reset_counters();
        issuer.clear_faults();
    }
    drop(listening);

    let records = logs::records();
    let ours = |event: &'static str| {
        let (records, issuer) = (&records, issuer.issuer());
        records
            .iter()
            .filter(move |record| record.value("issuer") == issuer && record.value("event") == event)
    };
    // If nothing was captured, this test shows nothing.
    assert!(ours("refused").any(|record| record.level == log::Level::Error), "no fault of ours was provoked");
    assert!(ours("refused").any(|record| record.value("via") == "cache"));
    assert!(ours("decided").count() > 500 && ours("called").count() > 100);
    assert!(records.iter().any(|record| !record.is_ours()), "nothing of other crates was captured");
    assert!(forbidden.0.iter().any(|secret| secret.starts_with("eyJ")), "no assertion was recorded");
    // Many are alike.
    for text in records.iter().map(ToString::to_string).collect::<BTreeSet<_>>() {
        forbidden.is_not_in(&text);
    }
    for metering::Told { name, labels, .. } in metering::told() {
        forbidden.is_not_in(&format!("{name} {labels:?}"));
    }
}

#[actix_web::test]
async fn no_credentials_and_no_query_of_a_configured_url_are_shown() {
    logs::capture();
    let with_credentials = "https://me:hunter2@as.example.test";
    let builder = ProtectApi::builder(with_credentials, "my-api")
        .introspection_endpoint(with_credentials)
        .jwks_uri("https://as.example.test/keys?key=hunter2#hunter2")
        .resource_metadata("https://me:hunter2@api.example.test/a?key=hunter2");
    let shown = format!("{builder:?} {builder:#?}");
    assert!(shown.contains("https://as.example.test/keys") && !shown.contains("hunter2"), "{shown}");
    let error = builder.build().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    for url in [
        "https://me:hunter2@api.example.test/a",
        "https://hunter2@api.example.test/a",
        "https://:hunter2@api.example.test/a",
        "https:me:hunter2@api.example.test/a",
        "https://me:hun ter2@api.example.test:99999/a",
        "me:hunter2@api.example.test/a",
    ] {
        let builder = ProtectApi::builder("https://as.example.test", "my-api").resource_metadata(url);
        assert!(!format!("{builder:?}").contains("ter2"), "{builder:?}");
        let error = builder.build().unwrap_err();
        assert_eq!(error.problems()[0].name, "resource_metadata");
        assert!(error.to_string().contains("credentials") && !error.to_string().contains("ter2"), "{error}");
    }

    let issuer = TestIssuer::start();
    let secret = format!("query-{}", issuer.issuer().rsplit(':').next().unwrap());
    let protect = ProtectApi::builder(issuer.issuer(), issuer.audience())
        .jwks_uri(format!("{}/jwks-that-are-not-there?key={secret}", issuer.issuer()))
        .resource_metadata(format!("https://api.example.test/users/@me?key={secret}"))
        .build()
        .unwrap();
    assert!(!format!("{protect:?} {protect:#?}").contains(&secret));
    let app = serve!(move || App::new().wrap(protect.clone()).route("/", web::get().to(whoami)));
    assert_eq!(app.get("/").token(&issuer.jwt(json!({}))).send().await.status, 503);
    assert!(logs::any(|record| record.contains("no key set at") && record.contains(issuer.issuer())));
    assert!(!logs::any(|record| record.contains(&secret)));
}

#[actix_web::test]
async fn debug_shows_no_token_secret_or_claim_value() {
    async fn shown(caller: AuthenticatedRequest) -> String {
        format!("{caller:?} {caller:#?}")
    }
    let issuer = TestIssuer::builder().client("api", SECRET).start();
    for authentication in [
        ClientAuthentication::client_secret_basic(SECRET),
        ClientAuthentication::client_secret_post(SECRET),
        ClientAuthentication::client_secret_jwt(SECRET),
    ] {
        let builder = ProtectApi::builder(issuer.issuer(), issuer.audience()).client("api", authentication);
        assert!(!format!("{builder:?} {builder:#?}").contains(SECRET));
        let protect = builder.build().unwrap();
        let text = format!("{protect:?} {protect:#?}");
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains(issuer.issuer()), "{text}");
        let app = serve!(move || App::new().wrap(protect.clone()).route("/", web::get().to(shown)));
        for token in [issuer.opaque(claims()), issuer.jwt(claims())] {
            let answer = app.get("/").token(&token).send().await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(answer.body.contains("AuthenticatedRequest"));
            assert!(!answer.body.contains(VALUE) && !answer.body.contains(&token), "{answer:?}");
            assert!(!answer.body.contains(SECRET));
        }
    }
}
