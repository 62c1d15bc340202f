//! The routes of the API. `main.rs` starts the server, and `tests/api.rs` calls the routes.

use std::sync::atomic::{AtomicBool, Ordering};

use actix_protect_api::{AuthErrorKind, AuthenticatedRequest, ProtectApi};
use actix_web::{HttpResponse, Responder, web};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Registers all routes: `/health`, `/ready` and `/metrics` are public, everything below `/api` requires a token.
pub fn routes(protect: &ProtectApi) -> impl FnOnce(&mut web::ServiceConfig) {
    let protect = protect.clone();
    move |config| {
        // One resource per path. Each of its methods can require other scopes.
        let posts = web::resource("/posts")
            .route(
                web::get()
                    .to(list_posts)
                    .wrap(protect.scopes(["posts:read"])),
            )
            .route(
                web::post()
                    .to(create_post)
                    .wrap(protect.scopes(["posts:write"])),
            );
        config
            .route("/health", web::get().to(HttpResponse::Ok))
            .route("/ready", web::get().to(ready))
            .route("/metrics", web::get().to(metrics))
            .service(
                web::scope("/api")
                    .wrap(protect.clone())
                    .route("/me", web::get().to(me))
                    .service(posts),
            );
    }
}

/// Returns the caller, of whatever scope.
async fn me(caller: AuthenticatedRequest) -> impl Responder {
    web::Json(caller.into_claims())
}

async fn list_posts(_: AuthenticatedRequest) -> &'static str {
    "all posts\n"
}

async fn create_post(caller: AuthenticatedRequest) -> String {
    format!("created by {}\n", caller.subject().unwrap_or("a machine"))
}

/// The scrape of Prometheus. `monitoring` has alert rules and a dashboard for it.
async fn metrics(exporter: web::Data<PrometheusHandle>) -> String {
    exporter.render()
}

/// Installs the exporter, with buckets for the duration of calls.
pub fn prometheus() -> Result<PrometheusHandle, BuildError> {
    const SECONDS: [f64; 11] = [
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ];
    let calls = Matcher::Full("protect_api_upstream_seconds".to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(calls, &SECONDS)?
        .install_recorder()
}

/// The state of the readiness probe.
pub struct Probe {
    protect: ProtectApi,
    was_ready: AtomicBool,
}

impl Probe {
    pub fn new(protect: ProtectApi) -> Self {
        Self {
            protect,
            was_ready: AtomicBool::new(false),
        }
    }
}

/// Not ready until the first check succeeds, and while the configuration is wrong. Ready while the authorization
/// server is down: cached verdicts and keys still work, and a restart would repair nothing.
async fn ready(probe: web::Data<Probe>) -> HttpResponse {
    let Err(error) = probe.protect.check().await else {
        probe.was_ready.store(true, Ordering::Relaxed);
        return HttpResponse::Ok().body("ready\n");
    };
    let is_misconfigured = matches!(error.kind(), AuthErrorKind::Misconfigured(_));
    if is_misconfigured || !probe.was_ready.load(Ordering::Relaxed) {
        return HttpResponse::ServiceUnavailable().body(format!("{error}\n"));
    }
    HttpResponse::Ok().body(format!("ready, but {error}\n"))
}
