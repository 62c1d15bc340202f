//! Server-sent events that end when the token expires. A stream is authenticated once, at its start, so the handler ends it.
//!
//! `EventSource` in browsers sends no `Authorization` header; read the stream with `fetch` instead.
//!
//! ```text
//! cargo run --example sse               starts the API and prints curl commands
//! cargo run --example sse -- --check    calls the API itself, exits with 1 on a difference
//! ```

mod support;

use std::{convert::Infallible, io, net::TcpListener, time::Duration};

use actix_protect_api::{AuthenticatedRequest, Clock as _, ProtectApi, SystemClock, test::TestIssuer};
use actix_web::{
    App, HttpResponse, HttpServer,
    dev::Server,
    http::header::CACHE_CONTROL,
    rt::time::{Instant, sleep, timeout},
    web,
    web::Bytes,
};
use futures_util::stream;
use serde_json::json;
use support::{Call, Outcome};

/// The longest stream, for tokens without an expiry and for tokens with a long lifetime.
const LONGEST_STREAM: Duration = Duration::from_secs(3600);

async fn events(caller: AuthenticatedRequest) -> HttpResponse {
    let end = Instant::now() + lifetime(&caller);
    // The stream needs only the subject. A copy of it lets the request be dropped.
    let subject = caller.subject().unwrap_or("a machine").to_owned();
    let events = stream::unfold(Some(subject), move |subject| async move {
        let subject = subject?;
        let left = end.saturating_duration_since(Instant::now());
        let (event, next) = match timeout(left, next_news()).await {
            Ok(news) => (event("news", &format!("{news} for {subject}")), Some(subject)),
            Err(_) => (event("expired", "come back with a new token"), None),
        };
        Some((Ok::<_, Infallible>(event), next))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .streaming(events)
}

/// The remaining lifetime of the token: zero if it was accepted within the clock tolerance.
fn lifetime(caller: &AuthenticatedRequest) -> Duration {
    let Some(expires_at) = caller.expires_at() else { return LONGEST_STREAM };
    let seconds = expires_at.saturating_sub(SystemClock::new().unix_time());
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LONGEST_STREAM)
}

fn event(name: &str, data: &str) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// Stands for a queue or a channel.
async fn next_news() -> &'static str {
    sleep(Duration::from_millis(300)).await;
    "something new"
}

/// The application: one protected stream.
fn serve(protect: ProtectApi, listener: TcpListener) -> io::Result<Server> {
    let server =
        HttpServer::new(move || App::new().wrap(protect.clone()).route("/events", web::get().to(events)))
            .workers(2)
            .listen(listener)?
            .run();
    Ok(server)
}

// The harness: an authorization server, tokens, and the calls to try.
#[actix_web::main]
async fn main() -> Outcome {
    support::init_logger();
    let issuer = TestIssuer::start();
    let protect = support::builder(&issuer).build()?;
    let (listener, base) = support::listen()?;
    let server = serve(protect, listener)?;

    let now = SystemClock::new().unix_time();
    let life = if support::wants_check() { 4 } else { 60 };
    let short = issuer.opaque(json!({ "sub": "alice", "exp": now + life }));
    let gone = issuer.opaque(json!({ "sub": "bob" }));
    issuer.expire(&gone);
    let just_now = issuer.jwt(json!({ "sub": "carol", "exp": now - 5 }));

    let calls = [
        Call::get("news, until the token expires", "/events")
            .token(&short)
            .answers(200)
            .shows("Content-Type", "text/event-stream")
            .body("event: news\ndata: something new for alice\n\n")
            .body("event: expired"),
        Call::get("a JWT that expired just now", "/events")
            .token(&just_now)
            .answers(200)
            .body("event: expired"),
        Call::get("an expired token", "/events").token(&gone).answers(401).challenge("invalid_token"),
        Call::get("no token", "/events").answers(401).challenge("Bearer"),
    ];
    support::run(server, &base, &calls).await
}
