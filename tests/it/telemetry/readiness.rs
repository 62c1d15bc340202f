//! `ProtectApi::check`, and the readiness probe of `docs/observability.md`.

use std::sync::atomic::{AtomicBool, Ordering};

use actix_protect_api::{
    AuthErrorKind, CheckError, ClientAuthentication, IntrospectionState, ProtectApi, SetupFault,
    UpstreamFault,
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::rt;
use serde_json::json;

use crate::support::{
    logs,
    net::unused_address,
    service::{Api, OK, introspecting, jwts_only, setup, timed_issuer},
    time::seconds,
};

const SECRET: &str = "not-the-secret";

fn wrong_secret(issuer: &TestIssuer) -> ProtectApi {
    ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(SECRET))
        .build()
        .unwrap()
}

/// Asserts that the check fails with this kind and these texts, and shows no secret.
#[track_caller]
fn fails(outcome: Result<(), CheckError>, kind: AuthErrorKind, texts: &[&str]) {
    let error = outcome.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(texts.iter().all(|part| text.contains(part)), "{texts:?}: {text}");
    assert!(!format!("{text} {error:?}").contains(SECRET), "{text}");
}

fn misconfigured(fault: SetupFault) -> AuthErrorKind {
    AuthErrorKind::Misconfigured(fault)
}

fn upstream(fault: UpstreamFault) -> AuthErrorKind {
    AuthErrorKind::Upstream(fault)
}

#[actix_web::test]
async fn a_check_fetches_what_is_needed_and_introspects_a_random_token() {
    let issuer = TestIssuer::start();
    let counts =
        || [Endpoint::Discovery, Endpoint::Jwks, Endpoint::Introspection].map(|one| issuer.count(one));
    introspecting(&issuer).build().unwrap().check().await.unwrap();
    assert_eq!(counts(), [1, 1, 1]);
    let form = issuer.requests(Endpoint::Introspection)[0].form();
    assert_eq!(form["token"].len(), 43);
    jwts_only(&issuer).build().unwrap().check().await.unwrap();
    assert_eq!(counts(), [2, 2, 1]);
    // Nothing is discovered.
    let endpoint = issuer.url(Endpoint::Introspection);
    introspecting(&issuer).introspection_endpoint(endpoint).build().unwrap().check().await.unwrap();
    assert_eq!(counts(), [2, 2, 2]);
    // Fresh documents are not fetched again, but the credentials are checked.
    let protect = introspecting(&issuer).realm("another").build().unwrap();
    for _ in 0..3 {
        protect.check().await.unwrap();
    }
    assert_eq!(counts(), [3, 3, 5]);
}

#[actix_web::test]
async fn the_error_says_what_is_wrong() {
    let issuer = TestIssuer::start();
    let endpoint = issuer.url(Endpoint::Introspection);
    let refused = ["rejected the request: status 401", &endpoint];
    fails(wrong_secret(&issuer).check().await, misconfigured(SetupFault::Refused), &refused);
    issuer.set_metadata(|mut metadata| {
        metadata["introspection_endpoint_auth_methods_supported"] = json!(["private_key_jwt"]);
        metadata
    });
    let method =
        "does not publish the client authentication method \"client_secret_basic\", only \"private_key_jwt\"";
    let protect = ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(SECRET))
        .realm("another")
        .build()
        .unwrap();
    fails(protect.check().await, misconfigured(SetupFault::Refused), &[refused[0], method, refused[1]]);
    // The method works although it is not published.
    introspecting(&issuer).build().unwrap().check().await.unwrap();

    let name = issuer.issuer().replace("127.0.0.1", "localhost");
    let other = ProtectApi::builder(&name, issuer.audience()).build().unwrap();
    fails(other.check().await, misconfigured(SetupFault::Issuer), &[&name, issuer.issuer(), "stated is"]);
    let path = format!("{}/realms/none", issuer.issuer());
    let lost = ProtectApi::builder(&path, issuer.audience()).build().unwrap();
    let no_metadata = ["no metadata at ", &path, "(status 404), check the path of TENANT_DOMAIN"];
    fails(lost.check().await, upstream(UpstreamFault::BadAnswer), &no_metadata);
    let url = format!("{}/no/metadata", issuer.issuer());
    let lost = ProtectApi::builder(issuer.issuer(), issuer.audience()).metadata_url(&url).build().unwrap();
    let no_metadata = ["no metadata at ", &url, "(status 404), check this URL"];
    fails(lost.check().await, upstream(UpstreamFault::BadAnswer), &no_metadata);
    let nobody = format!("http://{}", unused_address());
    let down = ProtectApi::builder(&nobody, "me").build().unwrap();
    fails(down.check().await, upstream(UpstreamFault::Unreachable), &[&nobody]);

    issuer.fault(Endpoint::Jwks, Fault::body(r#"{"keys":[]}"#).always());
    let keyless = jwts_only(&issuer).build().unwrap();
    fails(
        keyless.check().await,
        upstream(UpstreamFault::NoKeys),
        &["keys are not available", issuer.issuer()],
    );
    issuer.set_metadata(|mut metadata| {
        metadata["introspection_endpoint"] = json!(null);
        metadata
    });
    let lacking = introspecting(&issuer).introspect_jwt_tokens(true).realm("third").build().unwrap();
    fails(lacking.check().await, misconfigured(SetupFault::Endpoint), &["no introspection_endpoint"]);
    issuer.set_metadata(|mut metadata| {
        metadata["jwks_uri"] = json!(null);
        metadata
    });
    let lacking = jwts_only(&issuer).realm("fourth").build().unwrap();
    fails(lacking.check().await, misconfigured(SetupFault::Endpoint), &["no jwks_uri"]);
}

#[actix_web::test]
async fn a_certificate_that_is_not_trusted_is_named() {
    let issuer = TestIssuer::builder().tls().start();
    let protect = ProtectApi::builder(issuer.issuer(), issuer.audience()).build().unwrap();
    fails(protect.check().await, upstream(UpstreamFault::Unreachable), &["ertificate", issuer.issuer()]);
}

#[actix_web::test]
async fn failing_checks_do_not_pause_introspection_and_are_no_decisions() {
    logs::capture();
    let issuer = TestIssuer::start();
    // An issuer of an earlier test may have had the same port.
    let decisions = || {
        logs::count(|record| record.value("event") == "decided" && record.value("issuer") == issuer.issuer())
    };
    let before = decisions();
    let protect = introspecting(&issuer).build().unwrap();
    issuer.fault(Endpoint::Introspection, Fault::status(503).times(20));
    for _ in 0..20 {
        fails(protect.check().await, upstream(UpstreamFault::Failing), &["status 503"]);
    }
    assert_eq!(protect.status().introspection, IntrospectionState::Calling);
    assert_eq!(decisions(), before);
    assert_eq!(Api::of(&protect, None).await.outcome(&issuer.opaque(json!({}))).await, OK);
}

#[actix_web::test]
async fn concurrent_checks_share_one_introspection() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    protect.check().await.unwrap();
    issuer.reset_counters();
    issuer.fault(Endpoint::Introspection, Fault::hold().always());
    let check = || {
        let protect = protect.clone();
        rt::spawn(async move { protect.check().await.is_ok() })
    };
    let first = check();
    issuer.received(Endpoint::Introspection, 1).await;
    let others = [check(), check(), check()];
    for _ in 0..100 {
        rt::task::yield_now().await;
    }
    issuer.clear_faults();
    assert!(first.await.unwrap());
    for other in others {
        assert!(other.await.unwrap());
    }
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
}

#[actix_web::test]
async fn the_next_success_of_the_same_kind_of_call_removes_the_last_error() {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer).clock(clock.clone()).build().unwrap();
    let last = || protect.status().last_error.map(|last| last.kind);
    let api = Api::of(&protect, None).await;
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    issuer.fault(Endpoint::Introspection, Fault::status(401));
    let refused = misconfigured(SetupFault::Refused);
    fails(protect.check().await, refused, &["401"]);
    assert_eq!(last(), Some(refused));
    clock.advance(seconds(290));
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK, "other calls");
    assert_eq!(last(), Some(refused));
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    assert_eq!(last(), None);
    // A rejected request reports the failure of its call.
    issuer.fault(Endpoint::Introspection, Fault::status(401).times(2));
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, setup(SetupFault::Refused));
    assert_eq!(last(), Some(refused));
    protect.check().await.unwrap();
    assert_eq!(last(), None);
}

/// The probe of the page: not ready until the first success, and while the configuration is wrong.
struct Probe {
    protect: ProtectApi,
    was_ready: AtomicBool,
}

impl Probe {
    fn new(protect: ProtectApi) -> Self {
        Self { protect, was_ready: AtomicBool::new(false) }
    }

    async fn is_ready(&self) -> bool {
        match self.protect.check().await {
            Ok(()) => {
                self.was_ready.store(true, Ordering::Relaxed);
                true
            }
            Err(error) => {
                let is_misconfigured = matches!(error.kind(), AuthErrorKind::Misconfigured(_));
                self.was_ready.load(Ordering::Relaxed) && !is_misconfigured
            }
        }
    }
}

#[actix_web::test]
async fn the_readiness_probe_follows_the_configuration_and_the_start_of_the_server() {
    let (issuer, clock) = timed_issuer();
    assert!(!Probe::new(wrong_secret(&issuer)).is_ready().await);
    let path = format!("{}/realms/none", issuer.issuer());
    assert!(!Probe::new(ProtectApi::builder(path, issuer.audience()).build().unwrap()).is_ready().await);
    // The certificates of its authority are missing on this machine.
    let private = TestIssuer::builder().tls().start();
    let untrusting = ProtectApi::builder(private.issuer(), private.audience()).build().unwrap();
    assert!(!Probe::new(untrusting).is_ready().await);
    assert!(Probe::new(introspecting(&issuer).build().unwrap()).is_ready().await);

    // The server starts after the API.
    issuer.fault(Endpoint::Discovery, Fault::reset().always());
    let probe = Probe::new(introspecting(&issuer).clock(clock.clone()).build().unwrap());
    assert!(!probe.is_ready().await);
    issuer.clear_faults();
    clock.advance(seconds(5));
    assert!(probe.is_ready().await);
    // A later outage does not remove the instance, wrong credentials do.
    issuer.fault(Endpoint::Introspection, Fault::status(503));
    assert!(probe.is_ready().await);
    issuer.fault(Endpoint::Introspection, Fault::status(401));
    assert!(!probe.is_ready().await);
    assert!(probe.is_ready().await);
}
