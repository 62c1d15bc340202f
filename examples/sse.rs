//! Server-sent events that end when the token expires or is revoked. The mount ends them; the handler has no code for it.
//!
//! `EventSource` in browsers sends no `Authorization` header. The page of this example reads the stream with `fetch` instead.
//!
//! ```text
//! cargo run --example sse               starts the API, prints curl commands and the address of the page
//! cargo run --example sse -- --check    calls the API itself, exits with 1 on a difference
//! tests/browser/run.sh sse              opens the page in a real browser and signs out
//! ```
#![expect(clippy::print_stdout, reason = "it tells the address to open")]

mod support;

use std::{convert::Infallible, io, net::TcpListener, time::Duration};

use actix_protect_api::{
    AuthenticatedRequest, Clock as _, ProtectApi, Revocation, SystemClock, test::TestIssuer,
};
use actix_web::{
    App, HttpResponse, HttpServer, Responder,
    dev::Server,
    http::header::CACHE_CONTROL,
    rt::time::sleep,
    web,
    web::{Bytes, Html},
};
use futures_util::{future::join, stream};
use serde_json::json;
use support::{Call, Outcome, Table, start, wants_check};

async fn events(caller: AuthenticatedRequest) -> HttpResponse {
    // The stream needs only the subject. A copy of it lets the request be dropped.
    let subject = caller.subject().unwrap_or("a machine").to_owned();
    let events = stream::unfold(subject, |subject| async move {
        let news = next_news().await;
        let event = Bytes::from(format!("event: news\ndata: {news} for {subject}\n\n"));
        Some((Ok::<_, Infallible>(event), subject))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        .streaming(events)
}

/// Stands for a queue or a channel.
async fn next_news() -> &'static str {
    sleep(Duration::from_millis(300)).await;
    "something new"
}

/// Revokes the tokens of the caller: all streams of the caller end.
async fn sign_out(caller: AuthenticatedRequest, protect: web::Data<ProtectApi>) -> impl Responder {
    let Some(subject) = caller.subject() else { return HttpResponse::BadRequest().finish() };
    match protect.revoke(Revocation::subject(subject)).await {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}

/// The application: a protected stream, an endpoint that ends it, and a page without protection.
fn serve(protect: ProtectApi, page: String, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        let page = page.clone();
        // If the authorization server revokes a token without notice, the stream ends within half a minute.
        let streaming = protect.recheck(Duration::from_secs(30)).end_streams();
        App::new()
            .app_data(web::Data::new(protect.clone()))
            .service(web::resource("/events").wrap(streaming).route(web::get().to(events)))
            .service(web::resource("/sign-out").wrap(protect.clone()).route(web::post().to(sign_out)))
            .route("/", web::get().to(move || std::future::ready(Html::new(page.clone()))))
    })
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
    let (listener, base) = support::listen_on_free_port()?;
    // A page in production gets its token by a login.
    let of_page = issuer.opaque(json!({ "sub": "paula" }));
    let server = serve(protect, include_str!("sse.html").replace("TOKEN", &of_page), listener)?;

    let now = SystemClock::new().unix_time();
    let life = if wants_check() { 4 } else { 60 };
    let short = issuer.opaque(json!({ "sub": "alice", "exp": now + life }));
    let gone = issuer.opaque(json!({ "sub": "bob" }));
    issuer.expire(&gone);
    let just_now = issuer.jwt(json!({ "sub": "carol", "exp": now - 5 }));
    let leaving = issuer.jwt(json!({ "sub": "dave" }));

    let calls = [
        Call::get("news, until the token expires", "/events")
            .token(&short)
            .answers(200)
            .shows("Content-Type", "text/event-stream")
            .body("event: news\ndata: something new for alice\n\n")
            .body("event: token_expired"),
        Call::get("a JWT that expired just now", "/events")
            .token(&just_now)
            .answers(200)
            .body("event: token_expired"),
        Call::get("an expired token", "/events").token(&gone).answers(401).challenge("invalid_token"),
        Call::get("no token", "/events").answers(401).challenge("Bearer"),
        Call::get("the page", "/").answers(200).shows("Content-Type", "text/html"),
    ];
    let until_sign_out =
        Call::get("news, until dave signs out", "/events").token(&leaving).answers(200).body("token_revoked");
    let signing_out = Call::post("dave signs out", "/sign-out").token(&leaving).answers(204);
    if !wants_check() {
        println!("Open {base}/ in a browser.");
        let [first, second, third, fourth, page] = calls;
        let calls = [first, second, third, fourth, page, until_sign_out, signing_out];
        return support::serve(server, &base, &calls).await;
    }
    let running = start(server);
    let mut table = Table::new();
    for call in &calls {
        table.call(&base, call).await;
    }
    let signing_out = async {
        sleep(Duration::from_secs(1)).await;
        awc::Client::new().post(format!("{base}/sign-out")).bearer_auth(&leaving).send().await
    };
    let ((), response) = join(table.call(&base, &until_sign_out), signing_out).await;
    table.row("dave signs out", 204, response?.status().as_u16());
    running.stop(false).await;
    Ok(table.finish())
}
