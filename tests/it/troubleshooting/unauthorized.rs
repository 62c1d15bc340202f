//! 401: tokens that are not valid.

use actix_protect_api::{
    Algorithm, Clock as _, ProtectApi, Revocation,
    certificate::{CertificateThumbprint, ClientCertHeader},
    test::{self, Endpoint, Fault, JwtOptions, Rotation, TestIssuer, TestKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    Walk, Walked,
    api::{api, api_of, authorized, refused, works},
    walks,
};
use crate::support::{
    service::{introspecting, timed_issuer},
    time::seconds,
};

pub(super) fn walks() -> Vec<(&'static str, Walk)> {
    walks! {
        "no bearer token: there is no Authorization header" => no_token,
        "no bearer token: the Authorization header has no scheme, …" => another_scheme,
        "the token was issued by another issuer: expected \"…\"" => another_issuer,
        "the token is meant for another audience: expected \"…\"" => another_audience,
        "a required claim is missing" => missing_claim,
        "the token was issued to another client: expected \"…\"" => another_client,
        "a claim has a value that is not accepted: …, expected \"…\"" => claim_value,
        "the token was issued too long ago" => too_old,
        "the token has expired" => expired,
        "the token is not valid yet" => not_valid_yet,
        "the token is not active" => inactive,
        "the token is revoked" => revoked,
        "tokens of this kind are not accepted: introspection is not configured" => opaque_without_client,
        "tokens of this kind are not accepted: the server does not introspect such tokens: …" => not_introspected,
        "no published key fits the token" => unknown_key,
        "the signature does not verify" => wrong_signature,
        "the algorithm is not accepted" => algorithm,
        "the token is not an access token" => another_type,
        "the token or one of its claims is malformed" => malformed_claim,
        "the token is bound to another certificate or key: …" => bound,
        "the authentication of the user is not sufficient: …" => insufficient_authentication,
        "the resolver failed: …" => resolver_failed,
        "the claims do not fit the type that the handler asks for: …" => misfit,
    }
}

async fn no_token() -> Walked {
    let issuer = TestIssuer::start();
    let app = api(introspecting(&issuer));
    let preflight = app.call("OPTIONS", "/").header("Origin", "https://app.example");
    let lines = [
        refused(app.get("/"), 401).await,
        refused(preflight.header("Access-Control-Request-Method", "GET"), 401).await,
    ];
    Walked::new(lines, works(app.get("/").token(&issuer.opaque(json!({})))).await)
}

async fn another_scheme() -> Walked {
    let issuer = TestIssuer::start();
    let app = api(introspecting(&issuer));
    let lines = [
        refused(authorized(&app, "Basic YTpi"), 401).await,
        refused(authorized(&app, &issuer.opaque(json!({}))), 401).await,
        refused(authorized(&app, &format!("Access {}", issuer.opaque(json!({})))), 401).await,
    ];
    Walked::new(lines, works(app.get("/").token(&issuer.opaque(json!({})))).await)
}

async fn another_issuer() -> Walked {
    let issuer = TestIssuer::start();
    let with_slash = format!("{}/", issuer.issuer());
    let tokens = [issuer.jwt(json!({ "iss": with_slash })), issuer.opaque(json!({ "iss": with_slash }))];
    let app = api(introspecting(&issuer));
    let mut lines = Vec::new();
    for token in &tokens {
        lines.push(refused(app.get("/").token(token), 401).await);
    }
    // The metadata states what the tokens say.
    issuer.set_metadata(|mut metadata| {
        metadata["issuer"] = with_slash.into();
        metadata
    });
    let app = api(introspecting(&issuer).realm("again"));
    works(app.get("/").token(&tokens[1])).await;
    Walked::new(lines, works(app.get("/").token(&tokens[0])).await)
}

async fn another_audience() -> Walked {
    let issuer = TestIssuer::start();
    let token = issuer.jwt(json!({ "aud": "https://other.example.test" }));
    let line = refused(api(introspecting(&issuer)).get("/").token(&token), 401).await;
    let spelled_so = ProtectApi::builder(issuer.issuer(), "https://other.example.test");
    works(api(spelled_so).get("/").token(&token)).await;
    Walked::new([line], works(api(introspecting(&issuer)).get("/").token(&issuer.jwt(json!({})))).await)
}

async fn missing_claim() -> Walked {
    let issuer = TestIssuer::start();
    let app = api(introspecting(&issuer));
    let mut lines = Vec::new();
    for token in [
        issuer.jwt(json!({ "iss": null })),
        issuer.jwt(json!({ "exp": null })),
        issuer.jwt(json!({ "aud": null })),
        issuer.opaque(json!({ "aud": null })),
    ] {
        lines.push(refused(app.get("/").token(&token), 401).await);
    }
    let token = issuer.opaque(json!({ "iss": null }));
    lines.push(refused(app.get("/").token(&token), 401).await);
    let lenient = api(introspecting(&issuer).accept_missing_issuer(true));
    Walked::new(lines, works(lenient.get("/").token(&token)).await)
}

async fn another_client() -> Walked {
    let issuer = TestIssuer::start();
    let token = issuer.jwt(json!({ "client_id": "cli" }));
    let line =
        refused(api(introspecting(&issuer).allowed_clients(["spa"])).get("/").token(&token), 401).await;
    let app = api(introspecting(&issuer).allowed_clients(["spa", "cli"]));
    Walked::new([line], works(app.get("/").token(&token)).await)
}

async fn claim_value() -> Walked {
    let issuer = TestIssuer::start();
    let app = api(introspecting(&issuer).require_claim("tid", ["a"]));
    let line = refused(app.get("/").token(&issuer.opaque(json!({ "tid": "b" }))), 401).await;
    Walked::new([line], works(app.get("/").token(&issuer.opaque(json!({ "tid": "a" })))).await)
}

async fn too_old() -> Walked {
    let (issuer, clock) = timed_issuer();
    let app = api(introspecting(&issuer).clock(clock.clone()).max_token_age(seconds(600)));
    let token = issuer.jwt(json!({}));
    clock.advance(seconds(660));
    let line = refused(app.get("/").token(&token), 401).await;
    Walked::new([line], works(app.get("/").token(&issuer.jwt(json!({})))).await)
}

async fn revoked() -> Walked {
    let issuer = TestIssuer::start();
    let builder = introspecting(&issuer);
    let protect = builder.build().unwrap();
    let app = api_of(protect.clone());
    let token = issuer.jwt(json!({ "sub": "alice" }));
    protect.revoke(Revocation::subject("alice")).await.unwrap();
    let line = refused(app.get("/").token(&token), 401).await;
    let later = issuer.jwt(json!({ "sub": "alice", "iat": 4_000_000_000_u64, "exp": 4_000_003_600_u64 }));
    Walked::new([line], works(app.get("/").token(&later)).await)
}

async fn expired() -> Walked {
    let (issuer, clock) = timed_issuer();
    let make = || introspecting(&issuer).clock(clock.clone());
    let app = api(make());
    let old = issuer.jwt(json!({}));
    clock.advance(seconds(3600 + 60));
    let line = refused(app.get("/").token(&old), 401).await;
    works(api(make().clock_tolerance(seconds(61))).get("/").token(&old)).await;
    Walked::new([line], works(app.get("/").token(&issuer.jwt(json!({})))).await)
}

async fn not_valid_yet() -> Walked {
    let (issuer, clock) = timed_issuer();
    let make = || introspecting(&issuer).clock(clock.clone());
    let app = api(make());
    let early = issuer.jwt(json!({ "nbf": actix_protect_api::Clock::unix_time(&clock) + 61 }));
    let mut lines = vec![refused(app.get("/").token(&early), 401).await];
    works(api(make().clock_skew(seconds(1))).get("/").token(&early)).await;
    let ahead = issuer.jwt(json!({ "iat": actix_protect_api::Clock::unix_time(&clock) + 61 }));
    lines.push(refused(api(make().max_token_age(seconds(600))).get("/").token(&ahead), 401).await);
    clock.advance(seconds(1));
    Walked::new(lines, works(app.get("/").token(&early)).await)
}

async fn inactive() -> Walked {
    let (issuer, clock) = timed_issuer();
    let app = api(introspecting(&issuer).clock(clock.clone()).introspection_cache_duration(seconds(60)));
    let revoked = issuer.opaque(json!({}));
    issuer.revoke(&revoked);
    let of_another_server = TestIssuer::start().opaque(json!({}));
    let early = issuer.opaque(json!({}));
    let active = issuer.claims(&early);
    issuer.set_answer(&early, "{\"active\":false}");
    let mut lines = Vec::new();
    for token in [&revoked, &of_another_server, &early] {
        lines.push(refused(app.get("/").token(token), 401).await);
    }
    // The token is active now, but the verdict is cached.
    let mut body = active;
    body["active"] = true.into();
    issuer.set_answer(&early, &body.to_string());
    lines.push(refused(app.get("/").token(&early), 401).await);
    clock.advance(seconds(60));
    works(app.get("/").token(&early)).await;
    Walked::new(lines, works(app.get("/").token(&issuer.opaque(json!({})))).await)
}

async fn opaque_without_client() -> Walked {
    let issuer = TestIssuer::start();
    let without = api(ProtectApi::builder(issuer.issuer(), issuer.audience()));
    let token = issuer.opaque(json!({}));
    let line = refused(without.get("/").token(&token), 401).await;
    works(without.get("/").token(&issuer.jwt(json!({})))).await;
    Walked::new([line], works(api(introspecting(&issuer)).get("/").token(&token)).await)
}

async fn not_introspected() -> Walked {
    let issuer = TestIssuer::start();
    let app = api(introspecting(&issuer));
    let answer = Fault::body(r#"{"error":"unsupported_token_type"}"#).with_status(400);
    issuer.fault(Endpoint::Introspection, answer.always());
    let line = refused(app.get("/").token("an.encrypted.jwt.has.five"), 401).await;
    Walked::new([line], works(app.get("/").token(&issuer.jwt(json!({})))).await)
}

async fn unknown_key() -> Walked {
    let (issuer, clock) = timed_issuer();
    let app = api(introspecting(&issuer).clock(clock.clone()));
    works(app.get("/").token(&issuer.jwt(json!({})))).await;
    let stranger = TestIssuer::start().jwt(json!({ "iss": issuer.issuer() }));
    let key = TestKey::generate(test::Algorithm::ES256, "not-published-yet");
    let early = issuer.jwt_with(JwtOptions::new().key(&key), json!({}));
    let unpublished = JwtOptions::new().kid("nobody-has-this");
    let lines = [
        refused(app.get("/").token(&early), 401).await,
        refused(app.get("/").token(&issuer.jwt_with(unpublished, json!({}))), 401).await,
    ];
    assert_eq!(app.get("/").token(&stranger).send().await.status, 401);
    let mut keys = issuer.jwks();
    keys["keys"].as_array_mut().unwrap().push(key.jwk());
    issuer.publish_jwks(keys);
    clock.advance(seconds(30));
    Walked::new(lines, works(app.get("/").token(&early)).await)
}

async fn wrong_signature() -> Walked {
    let (issuer, clock) = timed_issuer();
    let app = api(introspecting(&issuer).clock(clock.clone()));
    let token = issuer.jwt(json!({}));
    works(app.get("/").token(&token)).await;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let changed = format!("{signed}.{other}{}", signature.chars().skip(1).collect::<String>());
    issuer.rotate_keys(Rotation::SameKid);
    let under_the_old_kid = issuer.jwt(json!({}));
    let lines = [
        refused(app.get("/").token(&changed), 401).await,
        refused(app.get("/").token(&under_the_old_kid), 401).await,
    ];
    clock.advance(seconds(30));
    Walked::new(lines, works(app.get("/").token(&under_the_old_kid)).await)
}

async fn algorithm() -> Walked {
    let issuer = TestIssuer::start();
    let narrow = api(introspecting(&issuer).algorithms([Algorithm::EdDSA]));
    let token = issuer.jwt(json!({}));
    let mut lines = vec![refused(narrow.get("/").token(&token), 401).await];
    for algorithm in [test::Algorithm::HS256, test::Algorithm::None] {
        let token = issuer.jwt_with(JwtOptions::new().algorithm(algorithm), json!({}));
        lines.push(refused(api(introspecting(&issuer)).get("/").token(&token), 401).await);
    }
    Walked::new(lines, works(api(introspecting(&issuer)).get("/").token(&token)).await)
}

async fn another_type() -> Walked {
    let issuer = TestIssuer::start();
    let plain = || JwtOptions::new().header("typ", "JWT");
    let strict = api(introspecting(&issuer).require_at_jwt(true));
    let app = api(introspecting(&issuer));
    let token = issuer.jwt_with(plain(), json!({}));
    let lines = [
        refused(strict.get("/").token(&token), 401).await,
        refused(app.get("/").token(&issuer.jwt_with(plain(), json!({ "at_hash": "x" }))), 401).await,
        refused(app.get("/").token(&issuer.opaque(json!({ "token_type": "refresh_token" }))), 401).await,
    ];
    works(strict.get("/").token(&issuer.jwt(json!({})))).await;
    Walked::new(lines, works(app.get("/").token(&token)).await)
}

async fn malformed_claim() -> Walked {
    let issuer = TestIssuer::start();
    let app = api(introspecting(&issuer));
    let good = issuer.jwt(json!({}));
    let mut lines = Vec::new();
    for token in [
        issuer.jwt(json!({ "exp": "4000000000" })),
        issuer.jwt(json!({ "scope": { "read": true } })),
        issuer.jwt_with(JwtOptions::new().raw_payload(r#"{"sub":"a","sub":"b"}"#), json!({})),
        format!("{good}="),
    ] {
        lines.push(refused(app.get("/").token(&token), 401).await);
    }
    Walked::new(lines, works(app.get("/").token(&good)).await)
}

/// A certificate as a proxy passes it on (RFC 9440), and what a token that is bound to it says.
fn certificate() -> (String, Value) {
    let made = rcgen::generate_simple_self_signed(["caller".to_owned()]).unwrap();
    let der = made.cert.der();
    let thumbprint = CertificateThumbprint::from_der(der).unwrap().to_base64url();
    (format!(":{}:", STANDARD.encode(der)), json!({ "cnf": { "x5t#S256": thumbprint } }))
}

async fn bound() -> Walked {
    let issuer = TestIssuer::start();
    let app = api(introspecting(&issuer).certificate_resolver(ClientCertHeader::new()));
    let ((certificate, claims), (another, _)) = (certificate(), certificate());
    let token = issuer.jwt(claims);
    let dpop = issuer.jwt(json!({ "cnf": { "jkt": "x" } }));
    let with = |certificate: &str| app.get("/").token(&token).header("Client-Cert", certificate);
    let lines = [
        refused(api(introspecting(&issuer)).get("/").token(&token), 401).await,
        refused(with(&another), 401).await,
        refused(app.get("/").token(&dpop), 401).await,
    ];
    Walked::new(lines, works(with(&certificate)).await)
}

async fn insufficient_authentication() -> Walked {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer).clock(clock.clone()).build().unwrap();
    let app = api_of(protect.acr(["phr"]).authenticated_within(seconds(300)));
    let now = clock.unix_time();
    let mut lines = Vec::new();
    for claims in [
        json!({ "auth_time": now }),
        json!({ "acr": "pwd", "auth_time": now }),
        json!({ "acr": "phr" }),
        json!({ "acr": "phr", "auth_time": now - 3600 }),
    ] {
        let answer = app.get("/").token(&issuer.opaque(claims.clone())).send().await;
        let challenge = answer.challenge().unwrap();
        assert!(challenge.ends_with("acr_values=\"phr\", max_age=\"300\""), "{challenge}");
        lines.push(refused(app.get("/").token(&issuer.jwt(claims)), 401).await);
    }
    let sufficient = json!({ "acr": "phr", "auth_time": now });
    works(app.get("/").token(&issuer.jwt(sufficient.clone()))).await;
    Walked::new(lines, works(app.get("/").token(&issuer.opaque(sufficient))).await)
}

async fn resolver_failed() -> Walked {
    let issuer = TestIssuer::start();
    let app = api(introspecting(&issuer).certificate_resolver(ClientCertHeader::new()));
    let own = api(introspecting(&issuer).token_resolver(|_| Err("the session is unreadable".into())));
    let (certificate, claims) = certificate();
    let token = issuer.jwt(claims);
    let with = |name: &str, value: &str| app.get("/").token(&token).header(name, value);
    let lines = [
        refused(with("Client-Cert", "not-a-certificate"), 401).await,
        refused(with("Client-Cert", &certificate).header("Client-Cert", &certificate), 401).await,
        refused(with("Client_Cert", &certificate), 401).await,
        refused(own.get("/").token(&token), 401).await,
    ];
    Walked::new(lines, works(with("Client-Cert", &certificate)).await)
}

async fn misfit() -> Walked {
    let issuer = TestIssuer::start();
    let app = api(introspecting(&issuer));
    let line = refused(app.get("/department").token(&issuer.jwt(json!({}))), 401).await;
    assert!(line.text.contains("Employee"), "{line}");
    let right = issuer.jwt(json!({ "department": "sales" }));
    Walked::new([line], works(app.get("/department").token(&right)).await)
}
