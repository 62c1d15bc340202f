//! Traces, metrics and log records of one app: spans and records on the standard output with `tracing-subscriber`, the decision
//! in the span of the request with `tracing-actix-web`, and a scrape for Prometheus at `/metrics`.
//!
//! ```text
//! cargo run --example observability               starts the API and prints curl commands
//! cargo run --example observability -- --check    calls the API itself, exits with 1 on a difference
//! ```
//!
//! `docs/monitoring` has alert rules and a Grafana dashboard for these metrics. The check compares their names with the scrape.

#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    error::Error,
    io::{self, Write},
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_protect_api::{
    AuthenticatedRequest, ProtectApi, RequiredScopes, Revocation, Scoped,
    test::{MemoryStore, TestIssuer},
};
use actix_web::{
    App, HttpServer,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    rt, web,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use support::{Call, Outcome, Table};
use tracing::{Span, field::Empty};
use tracing_actix_web::{DefaultRootSpanBuilder, RootSpanBuilder, TracingLogger, root_span};
use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

/// The span of a request. It declares the fields that this crate records.
struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        root_span!(
            request,
            protect.issuer = Empty,
            protect.outcome = Empty,
            protect.fault = Empty,
            protect.via = Empty
        )
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, actix_web::Error>) {
        DefaultRootSpanBuilder::on_request_end(span, outcome);
    }
}

/// Writes spans, when they are closed, and log records. `RUST_LOG` overrides the levels.
fn init_tracing(output: Output) -> Result<(), Box<dyn Error + Send + Sync>> {
    let levels = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,actix_server=warn,actix_protect_api=debug"));
    tracing_subscriber::fmt()
        .with_env_filter(levels)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || output.clone())
        .try_init()
}

/// Installs the exporter, with buckets for the duration of calls.
fn init_metrics() -> Result<PrometheusHandle, BuildError> {
    const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full("protect_api_upstream_seconds".to_owned()), &SECONDS)?
        .install_recorder()
}

async fn metrics(exporter: web::Data<PrometheusHandle>) -> String {
    exporter.render()
}

async fn data(caller: AuthenticatedRequest) -> String {
    format!("hello {}", caller.subject().unwrap_or("machine"))
}

struct WriteScope;

impl RequiredScopes for WriteScope {
    const SCOPES: &'static [&'static str] = &["data:write"];
}

async fn write(_: Scoped<WriteScope>) -> &'static str {
    "written"
}

/// The application. The scrape is outside the mount: do not expose it to the internet.
fn serve(protect: ProtectApi, exporter: PrometheusHandle, listener: TcpListener) -> io::Result<Server> {
    // The exporter removes old samples of histograms.
    let upkeep = exporter.clone();
    rt::spawn(async move {
        loop {
            rt::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    let exporter = web::Data::new(exporter);
    let server = HttpServer::new(move || {
        let revoked =
            |body: &serde_json::Value| body["user"].as_str().map(Revocation::subject).into_iter().collect();
        // A requirement that is only counted and logged, before it is enforced.
        let audit = web::resource("/audit").wrap(protect.scopes(["data:audit"]).report_only());
        App::new()
            .app_data(exporter.clone())
            .route("/metrics", web::get().to(metrics))
            .service(protect.revocation_webhook("/revoked", WEBHOOK_SECRET, revoked))
            .service(
                web::scope("/api")
                    .wrap(protect.clone())
                    .route("/data", web::get().to(data))
                    .route("/data", web::post().to(write))
                    .service(audit.route(web::get().to(data))),
            )
            .wrap(TracingLogger::<RequestSpan>::new())
    })
    .workers(1)
    .listen(listener)?
    .run();
    Ok(server)
}

const WEBHOOK_SECRET: &str = "the secret of the webhook in this example";

// The harness: an authorization server, tokens, and the calls to try.
#[actix_web::main]
async fn main() -> Outcome {
    let output = Output::default();
    init_tracing(output.clone()).map_err(|error| error.to_string())?;
    // Before the server, so that the metrics are described to the exporter.
    let exporter = init_metrics()?;
    let issuer = TestIssuer::start();
    let protect = support::builder(&issuer)
        .introspection_cache_duration(Duration::from_secs(60))
        .shared_store(Arc::new(MemoryStore::new()), "00".repeat(32))
        .build()?;
    let (listener, base) = support::listen()?;
    let server = serve(protect.clone(), exporter, listener)?;

    let token = issuer.opaque(json!({ "sub": "alice" }));
    let jwt = issuer.jwt(json!({ "sub": "bob" }));
    let calls = [
        Call::get("a token is introspected", "/api/data").token(&token).answers(200),
        Call::get("its verdict is cached", "/api/data").token(&token).answers(200),
        Call::get("a JWT is verified", "/api/data").token(&jwt).answers(200),
        Call::get("no token", "/api/data").answers(401),
        Call::post("a handler rejects the token", "/api/data").token(&token).answers(403),
        Call::get("a scope is only reported", "/api/audit").token(&token).answers(200),
        Call::post("a user is revoked", "/revoked")
            .token(WEBHOOK_SECRET)
            .json(r#"{"user":"bob"}"#)
            .answers(204),
        Call::get("the scrape", "/metrics")
            .body("# HELP protect_api_decisions_total decisions of mounts")
            .body("protect_api_upstream_seconds_bucket"),
    ];
    if !support::wants_check() {
        return support::serve(server, &base, &calls).await;
    }
    let handle = support::start(server);
    let lease = protect.validate(&jwt, None).await?.lease();
    let mut table = Table::new();
    for call in &calls {
        table.call(&base, call).await;
    }
    // The stream of the revoked user ends.
    lease.await;
    let mut response = awc::Client::default().get(format!("{base}/metrics")).send().await?;
    let scrape = String::from_utf8(response.body().await?.to_vec())?;
    handle.stop(false).await;

    let missing: Vec<_> =
        monitored().into_iter().filter(|name| !scrape.contains(&format!("\n{name}"))).collect();
    table.row("alerts and dashboard: missing metrics", String::new(), missing.join(" "));
    let written = output.text();
    for (title, parts) in [
        ("an introspection is a span", ["introspect{", "call=\"introspection\"", "outcome=\"answered\""]),
        ("the fetch of the metadata is a span", ["fetch{", "call=\"metadata\"", "status=200"]),
        (
            "an accepted request",
            ["HTTP request{", "protect.outcome=\"allowed\"", "protect.via=\"introspection\""],
        ),
        (
            "a request that a handler rejects",
            ["HTTP request{", "protect.outcome=\"insufficient_scope\"", "protect.via=\"handler\""],
        ),
        ("a record has its keys", ["event=\"refused\"", "fault=\"missing_token\"", "status=401"]),
    ] {
        let is_there = written.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        table.row(title, true, is_there);
    }
    table.row("the output contains a token", false, written.contains(&token) || written.contains(&jwt));
    Ok(table.finish())
}

/// The names of the metrics in the alert rules and in the dashboard.
fn monitored() -> BTreeSet<&'static str> {
    let alerts = include_str!("../../docs/monitoring/alerts.yml");
    let dashboard = include_str!("../../docs/monitoring/dashboard.json");
    [alerts, dashboard]
        .into_iter()
        .flat_map(|text| text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_'))
        .filter(|word| word.starts_with("protect_api_"))
        .collect()
}

/// The standard output, and a copy for the check.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if support::wants_check() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        }
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}
