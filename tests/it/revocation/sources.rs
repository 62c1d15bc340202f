//! An API with an endpoint for each source of revocations.

use std::time::Duration;

use actix_protect_api::{
    ProtectApi, ProtectApiBuilder, Revocation, Ssf,
    test::{Algorithm, Endpoint, Fault, JwtOptions, TestClock, TestIssuer, TestKey},
};
use actix_web::{App, web};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};

use crate::support::{
    app::{TestApp, serve, whoami},
    service::{introspecting, timed_issuer},
    time::eventually,
};

pub(crate) const STREAM: &str = "https://stream.example.test";
pub(crate) const SECRET: &str = "secret-of-the-webhook";

/// The API, its issuer, which is also the transmitter, and the clock of both.
pub(crate) struct Site {
    pub(crate) issuer: TestIssuer,
    pub(crate) clock: TestClock,
    pub(crate) protect: ProtectApi,
    pub(crate) app: TestApp,
}

/// The settings of the transmitter.
pub(crate) fn ssf(issuer: &TestIssuer) -> Ssf {
    Ssf::transmitter(issuer.issuer()).audience(STREAM)
}

impl Site {
    /// Verdicts are cached.
    pub(crate) fn start() -> Self {
        let (issuer, clock) = timed_issuer();
        let settings = introspecting(&issuer).introspection_cache_duration(Duration::from_secs(60));
        let ssf = ssf(&issuer);
        Self::start_with(issuer, clock, settings, ssf)
    }

    pub(crate) fn start_with(
        issuer: TestIssuer,
        clock: TestClock,
        settings: ProtectApiBuilder,
        ssf: Ssf,
    ) -> Self {
        let protect = settings.clock(clock.clone()).build().unwrap();
        let app = Self::serve(&protect, ssf);
        Self { issuer, clock, protect, app }
    }

    fn serve(protect: &ProtectApi, ssf: Ssf) -> TestApp {
        let protect = protect.clone();
        serve!(move || {
            let by_name = |body: &Value| {
                let users = body["users"].as_array().cloned().unwrap_or_default();
                users.iter().filter_map(Value::as_str).map(Revocation::subject).collect()
            };
            App::new()
                .service(protect.ssf_push("/events", ssf.clone()))
                .service(protect.backchannel_logout("/logout", ["spa", "bff"]))
                .service(protect.revocation_webhook("/webhook", SECRET, by_name))
                .service(web::resource("/").wrap(protect.clone()).route(web::get().to(whoami)))
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.app.address())
    }

    /// An opaque token and a JWT with these claims, both used once, so that the verdict and the signature are cached.
    pub(crate) async fn tokens(&self, claims: Value) -> [String; 2] {
        let tokens = [self.issuer.opaque(claims.clone()), self.issuer.jwt(claims)];
        assert_eq!(self.statuses(&tokens).await, [200, 200]);
        tokens
    }

    pub(crate) async fn statuses(&self, tokens: &[String; 2]) -> [u16; 2] {
        let status = async |token: &str| self.app.get("/").token(token).send().await.status;
        [status(&tokens[0]).await, status(&tokens[1]).await]
    }

    /// Delivers an event with these claims; returns the status and the code of the error.
    pub(crate) async fn push(&self, claims: Value) -> (u16, String) {
        let set = self.issuer.security_event(with_audience(claims));
        self.push_set(&set).await
    }

    pub(crate) async fn push_set(&self, set: &str) -> (u16, String) {
        let (status, body) = self.issuer.deliver(&self.url("/events"), set).await;
        if body.is_empty() {
            return (status, body);
        }
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["description"], "The security event token was not accepted");
        assert_eq!(body.as_object().unwrap().len(), 2);
        (status, body["err"].as_str().unwrap().to_owned())
    }

    pub(crate) fn now(&self) -> i64 {
        use actix_protect_api::Clock as _;
        self.clock.unix_time()
    }

    pub(crate) fn user(&self, sub: &str) -> Value {
        json!({ "format": "iss_sub", "iss": self.issuer.issuer(), "sub": sub })
    }
}

/// The claims with the audience of the stream, unless they have one.
pub(crate) fn with_audience(mut claims: Value) -> Value {
    claims.as_object_mut().unwrap().entry("aud").or_insert_with(|| json!(STREAM));
    claims
}

/// Options of tokens that must be rejected, each with the error code of a security event token.
pub(crate) fn bad_options(issuer: &TestIssuer) -> Vec<(&'static str, JwtOptions)> {
    let options = JwtOptions::new;
    let stranger = TestKey::generate(Algorithm::ES256, issuer.key(Algorithm::ES256).kid());
    let public = issuer.key(Algorithm::ES256).public_pem();
    vec![
        ("invalid_key", options().key(&stranger)),
        ("invalid_key", options().kid("unknown")),
        ("invalid_request", options().algorithm(Algorithm::None)),
        ("invalid_request", options().key(&TestKey::hmac(public.into_bytes(), "es256-1"))),
        ("invalid_request", options().header("typ", "at+jwt")),
        ("invalid_request", options().header("typ", "JOSE")),
        ("invalid_request", options().header("crit", json!(["exp"]))),
        ("invalid_request", options().raw_header("{}")),
        ("invalid_request", options().raw_payload("[]")),
        ("invalid_request", options().raw_payload("")),
    ]
}

/// Bodies that anybody may send.
pub(crate) fn any_bodies(valid: &str) -> Vec<String> {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let valid = valid.to_owned();
    let cut = (0..valid.len(), ".{0,3}").prop_map(move |(at, added)| {
        let (start, end) = valid.split_at(at);
        format!("{start}{added}{}", end.get(1..).unwrap_or_default())
    });
    let segments = "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}";
    let body = prop_oneof![cut, ".{0,200}", segments, "\\{.{0,80}\\}"];
    (0..300).map(|_| body.new_tree(&mut runner).unwrap().current()).collect()
}

/// Causes every log record and every label of the metric of events.
pub(crate) async fn every_outcome_of_events() {
    let site = Site::start();
    site.issuer.fault(Endpoint::SsfConfiguration, Fault::status(500).times(1));
    let event =
        |name: &str| json!({ "sub_id": site.user("alice"), "events": { name: { "status": "paused" } } });
    assert_eq!(site.push(event("session-revoked")).await.0, 503);
    site.clock.advance(Duration::from_secs(20));
    for name in [
        "session-revoked",
        "credential-change",
        "token-claims-change",
        "assurance-level-change",
        "account-disabled",
        "account-purged",
        "account-credential-change-required",
        "https://schemas.openid.net/secevent/risc/event-type/credential-compromise",
        "sessions-revoked",
        "verification",
        "stream-updated",
        "unheard-of",
    ] {
        assert_eq!(site.push(event(name)).await.0, 202, "{name}");
    }
    assert_eq!(site.push(json!({ "iss": "https://elsewhere.example" })).await.0, 400);
    let repeated = json!({ "jti": "j", "sub_id": {}, "events": { "session-revoked": {} } });
    for _ in 0..2 {
        assert_eq!(site.push(repeated.clone()).await.0, 202);
    }
    let token = site.issuer.logout_token(json!({ "aud": "spa", "sid": "s" }));
    assert_eq!(site.issuer.deliver_logout(&site.url("/logout"), &token).await.0, 200);
    let call = site.app.post("/webhook").header("Authorization", format!("Bearer {SECRET}"));
    assert_eq!(call.body("application/json", "{}").send().await.status, 204);

    for fault in [Fault::status(403), Fault::status(403)] {
        site.issuer.fault(Endpoint::Poll, fault);
    }
    site.issuer.queue_event("j", "no token");
    let poll = site.protect.ssf_poll(&site.issuer.url(Endpoint::Poll), ssf(&site.issuer));
    assert!(eventually(async || site.issuer.queued_events().is_empty()).await);
    drop(poll);
}
