//! Calls the routes, with an authorization server in the same process.

use std::sync::OnceLock;

use actix_protect_api::{
    ClientAuthentication, ProtectApi,
    test::{TestIssuer, assert_protected, authenticate, bearer},
};
use actix_web::{
    App, Error,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    http::Method,
    test, web,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};

use {{crate_name}}::{Probe, prometheus, routes};

/// The exporter, which a process can install once.
fn exporter() -> PrometheusHandle {
    static EXPORTER: OnceLock<PrometheusHandle> = OnceLock::new();
    EXPORTER.get_or_init(|| prometheus().unwrap()).clone()
}

/// The application of `main.rs`.
fn app(
    protect: ProtectApi,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
    >,
> {
    let probe = web::Data::new(Probe::new(protect.clone()));
    let exporter = web::Data::new(exporter());
    App::new()
        .app_data(probe)
        .app_data(exporter)
        .configure(routes(&protect))
}

fn protect(issuer: &TestIssuer, secret: &str) -> ProtectApi {
    let client = ClientAuthentication::client_secret_basic(secret);
    let builder = ProtectApi::builder(issuer.issuer(), issuer.audience());
    builder.client(issuer.client_id(), client).build().unwrap()
}

#[actix_web::test]
async fn every_route_but_the_probes_requires_a_token() {
    let issuer = TestIssuer::start();
    let app = test::init_service(app(protect(&issuer, issuer.client_secret()))).await;
    let protected = ["GET /api/me", "GET /api/posts", "POST /api/posts"];
    assert_protected(
        &app,
        &protected,
        &["GET /health", "GET /ready", "GET /metrics"],
    )
    .await;
}

#[actix_web::test]
async fn each_method_requires_its_scope() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer, issuer.client_secret());
    let app = test::init_service(app(protect.clone())).await;
    for (method, scope, expected) in [
        (Method::GET, "posts:read", 200),
        (Method::GET, "posts:write", 403),
        (Method::POST, "posts:read", 403),
        (Method::POST, "posts:write", 200),
    ] {
        let request = test::TestRequest::with_uri("/api/posts")
            .method(method)
            .to_request();
        let request = authenticate(&protect, request, json!({ "scope": scope }));
        assert_eq!(
            test::call_service(&app, request).await.status(),
            expected,
            "{scope}"
        );
    }
}

#[actix_web::test]
async fn a_token_of_the_server_is_accepted_until_it_is_revoked() {
    let issuer = TestIssuer::start();
    let app = test::init_service(app(protect(&issuer, issuer.client_secret()))).await;
    let token = issuer.opaque(json!({ "sub": "alice" }));
    let me = || {
        test::TestRequest::get()
            .uri("/api/me")
            .insert_header(bearer(&token))
            .to_request()
    };
    let claims: Value = test::call_and_read_body_json(&app, me()).await;
    assert_eq!(claims["sub"], "alice");
    issuer.revoke(&token);
    assert_eq!(test::call_service(&app, me()).await.status(), 401);
}

#[actix_web::test]
async fn the_api_is_not_ready_with_a_wrong_secret() {
    let issuer = TestIssuer::start();
    for (secret, expected) in [("a wrong secret", 503), (issuer.client_secret(), 200)] {
        let app = test::init_service(self::app(protect(&issuer, secret))).await;
        let request = test::TestRequest::get().uri("/ready").to_request();
        assert_eq!(
            test::call_service(&app, request).await.status(),
            expected,
            "{secret}"
        );
    }
}

#[actix_web::test]
async fn the_scrape_counts_decisions() {
    let issuer = TestIssuer::start();
    let app = test::init_service(app(protect(&issuer, issuer.client_secret()))).await;
    let request = test::TestRequest::get().uri("/api/me").to_request();
    assert_eq!(test::call_service(&app, request).await.status(), 401);
    let request = test::TestRequest::get().uri("/metrics").to_request();
    let scrape = String::from_utf8(test::call_and_read_body(&app, request).await.to_vec()).unwrap();
    let of_issuer = format!("issuer=\"{}\"", issuer.issuer());
    let is_counted =
        |line: &str| line.contains("protect_api_decisions_total") && line.contains(&of_issuer);
    assert!(scrape.lines().any(is_counted), "{scrape}");
}
