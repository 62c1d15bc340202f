//! The mount option that ends the bodies of responses.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use actix_protect_api::{
    Clock as _, ProtectApi, Revocation,
    mcp::Tools,
    test::{TestClock, TestIssuer},
};
use actix_web::{
    App, HttpResponse,
    body::{self, SizedStream},
    http::{StatusCode, header},
    rt::time::timeout,
    test::{TestRequest, call_service, init_service},
    web::{self, Bytes},
};
use futures_util::{Stream, StreamExt as _, future::join, stream};
use serde_json::json;

use crate::support::{
    app::{Answer, TestApp, serve},
    service::{jwts_only, timed_issuer},
    time::{PATIENCE, eventually, seconds},
};

/// The number of polls of streams whose first bytes were taken.
type Polls = Arc<AtomicUsize>;

/// A stream that sends these bytes, and then nothing for ever. Counts the polls after the bytes.
fn endless(start: &'static str, polls: Polls) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let pending = stream::poll_fn(move |_| {
        polls.fetch_add(1, Ordering::SeqCst);
        Poll::Pending
    });
    stream::iter([Ok(Bytes::from_static(start.as_bytes()))]).chain(pending)
}

fn events(start: &'static str, polls: Polls) -> HttpResponse {
    HttpResponse::Ok().content_type("text/event-stream; charset=utf-8").streaming(endless(start, polls))
}

/// The application: streams of several kinds, with and without the option.
struct Streams {
    app: TestApp,
    issuer: TestIssuer,
    clock: TestClock,
    protect: ProtectApi,
    polls: Polls,
}

impl Streams {
    fn start() -> Self {
        let (issuer, clock) = timed_issuer();
        let protect = jwts_only(&issuer).clock(clock.clone()).build().unwrap();
        let polls = Polls::default();
        let (counter, ending) = (Arc::clone(&polls), protect.end_streams());
        let app = serve!(move || {
            let counter = Arc::clone(&counter);
            let counting = move |response: fn(Polls) -> HttpResponse| {
                let counter = Arc::clone(&counter);
                web::get().to(move || std::future::ready(response(Arc::clone(&counter))))
            };
            let route = |path, response| web::resource(path).wrap(ending.clone()).route(counting(response));
            App::new()
                .service(route("/events", |polls| events("data: one\n\n", polls)))
                .service(route("/partial", |polls| events("data: one\n\ndata: t", polls)))
                .service(route("/download", |polls| HttpResponse::Ok().streaming(endless("start", polls))))
                .service(route("/encoded", |polls| {
                    let mut response = events("data: one\n\n", polls);
                    response.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
                    response
                }))
                .service(route("/socket", |polls| {
                    let mut response = HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS);
                    response.upgrade("websocket").streaming(endless("frames", polls))
                }))
                .service(
                    web::scope("/nested")
                        .wrap(ending.clone())
                        .service(route("/events", |polls| events("data: one\n\n", polls))),
                )
        });
        Self { app, issuer, clock, protect, polls }
    }

    /// Calls the API, lets the token end when the first bytes were sent, and returns the response.
    async fn ended(&self, path: &str, ends: impl AsyncFnOnce()) -> Answer {
        let token = self.issuer.jwt(json!({ "sub": "alice", "exp": self.clock.unix_time() + 100 }));
        let before = self.polls.load(Ordering::SeqCst);
        let ending = async {
            assert!(eventually(async || self.polls.load(Ordering::SeqCst) > before).await);
            ends().await;
        };
        let mut call = self.app.get(path).token(&token);
        if path == "/socket" {
            call = call.header("Connection", "Upgrade").header("Upgrade", "websocket");
        }
        join(call.send(), ending).await.0
    }

    async fn expired(&self, path: &str) -> Answer {
        self.ended(path, async || self.clock.advance(seconds(100))).await
    }

    async fn revoked(&self, path: &str) -> Answer {
        let answer = self.ended(path, async || {
            self.protect.revoke(Revocation::subject("alice")).await.unwrap();
        });
        let answer = answer.await;
        self.clock.advance(seconds(10));
        answer
    }
}

/// The last chunk of a complete body.
const LAST_CHUNK: &str = "\r\n0\r\n\r\n";

#[actix_web::test]
async fn events_end_with_a_last_event() {
    let streams = Streams::start();
    for path in ["/events", "/nested/events"] {
        let answer = streams.expired(path).await;
        let end = format!("event: token_expired\ndata: the token has expired\n\n{LAST_CHUNK}");
        assert!(answer.body.contains("data: one\n\n") && answer.body.ends_with(&end), "{answer:?}");
        assert_eq!(answer.body.matches("event: ").count(), 1, "{answer:?}");
        let answer = streams.revoked(path).await;
        let end = format!("event: token_revoked\ndata: the token is revoked\n\n{LAST_CHUNK}");
        assert!(answer.body.ends_with(&end), "{answer:?}");
    }
}

#[actix_web::test]
async fn other_bodies_end_before_they_are_complete() {
    let streams = Streams::start();
    for path in ["/download", "/partial", "/encoded"] {
        for answer in [streams.expired(path).await, streams.revoked(path).await] {
            assert_eq!(answer.status, 200);
            assert!(!answer.body.contains(LAST_CHUNK) && !answer.body.contains("event: "), "{answer:?}");
        }
    }
}

#[actix_web::test]
async fn a_websocket_ends_with_a_close_frame() {
    let streams = Streams::start();
    let answer = streams.expired("/socket").await;
    // The length of the payload, 4401 and the reason. The byte before is no UTF-8.
    assert_eq!(answer.status, 101);
    assert!(answer.body.starts_with("frames"), "{answer:?}");
    assert!(answer.body.ends_with("\u{17}\u{11}1the token has expired"), "{answer:?}");
    let answer = streams.revoked("/socket").await;
    assert!(answer.body.ends_with("\u{16}\u{11}3the token is revoked"), "{answer:?}");
}

#[actix_web::test]
async fn a_body_with_a_length_ends_with_an_error() {
    let (issuer, clock) = timed_issuer();
    let protect = jwts_only(&issuer).clock(clock.clone()).build().unwrap();
    let download =
        || async { HttpResponse::Ok().body(SizedStream::new(100, endless("start", Polls::default()))) };
    let app = init_service(App::new().wrap(protect.end_streams()).route("/", web::get().to(download))).await;
    let token = issuer.jwt(json!({ "exp": clock.unix_time() + 100 }));
    let request = TestRequest::get().insert_header(("Authorization", format!("Bearer {token}")));
    let response = call_service(&app, request.to_request()).await;
    clock.advance(seconds(100));
    let whole = timeout(PATIENCE, body::to_bytes(response.into_body())).await.expect("the body does not end");
    let error = whole.unwrap_err();
    assert!(error.to_string().ends_with("the token has expired"), "{error}");
}

/// The user has to sign in again within a minute. One mount requires it, and the other one ends the stream.
#[actix_web::test]
async fn a_recheck_applies_the_requirements_of_all_mounts() {
    let (issuer, clock) = timed_issuer();
    let protect = jwts_only(&issuer).clock(clock.clone()).build().unwrap();
    let (strict, ending) =
        (protect.authenticated_within(seconds(60)), protect.recheck(seconds(10)).end_streams());
    for [outer, inner] in [[&strict, &ending], [&ending, &strict]] {
        let route = web::get().to(|| async { events("data: one\n\n", Polls::default()) });
        let inner = web::resource("/").wrap(inner.clone()).route(route);
        let app = App::new().service(web::scope("").wrap(outer.clone()).service(inner));
        let app = init_service(app).await;
        let now = clock.unix_time();
        let token = issuer.jwt(json!({ "auth_time": now, "exp": now + 3600 }));
        let request = TestRequest::get().uri("/").insert_header(("Authorization", format!("Bearer {token}")));
        let response = call_service(&app, request.to_request()).await;
        assert_eq!(response.status(), StatusCode::OK);
        // The tolerance of 60 s applies here too.
        clock.advance(seconds(200));
        let body = timeout(PATIENCE, body::to_bytes(response.into_body())).await.expect("it does not end");
        let end = "event: token_rejected\ndata: the token is no longer accepted\n\n";
        assert!(str::from_utf8(&body.unwrap()).unwrap().ends_with(end));
    }
}

/// In this protocol, a long stream is the response to a request.
#[actix_web::test]
async fn a_stream_of_an_mcp_server_ends_too() {
    let issuer = TestIssuer::start();
    let protect = jwts_only(&issuer).build().unwrap();
    let listen = || async { events("data: one\n\n", Polls::default()) };
    let mount = protect.end_streams().per_tool(Tools::new());
    let app = init_service(App::new().wrap(mount).route("/", web::post().to(listen))).await;
    let token = issuer.jwt(json!({ "sub": "alice" }));
    let request = TestRequest::post().insert_header(("Authorization", format!("Bearer {token}")));
    let request = request.set_payload(r#"{"id":1,"method":"subscriptions/listen"}"#);
    let response = call_service(&app, request.to_request()).await;
    protect.revoke(Revocation::subject("alice")).await.unwrap();
    let whole = timeout(PATIENCE, body::to_bytes(response.into_body())).await.expect("the body does not end");
    assert_eq!(whole.unwrap(), "data: one\n\nevent: token_revoked\ndata: the token is revoked\n\n");
}

/// Bodies that are complete, streams without a caller, and mounts without the option.
#[actix_web::test]
async fn other_responses_are_not_changed() {
    let issuer = TestIssuer::start();
    let protect = jwts_only(&issuer).build().unwrap();
    let complete = || async { "complete" };
    let empty = || async { HttpResponse::NoContent().finish() };
    let short =
        || async { HttpResponse::Ok().streaming(stream::iter([Ok::<_, Infallible>(Bytes::from("all"))])) };
    let app = App::new()
        .service(
            web::scope("/ending")
                .wrap(protect.end_streams().optional())
                .route("/complete", web::get().to(complete))
                .route("/empty", web::get().to(empty))
                .route("/short", web::get().to(short)),
        )
        .service(web::scope("/plain").wrap(protect.clone()).route("/short", web::get().to(short)));
    let app = init_service(app).await;
    let token = issuer.jwt(json!({}));
    for (path, is_anonymous, body) in [
        ("/ending/complete", false, "complete"),
        ("/ending/empty", false, ""),
        ("/ending/short", false, "all"),
        ("/ending/short", true, "all"),
        ("/plain/short", false, "all"),
    ] {
        let mut request = TestRequest::get().uri(path);
        if !is_anonymous {
            request = request.insert_header(("Authorization", format!("Bearer {token}")));
        }
        let response = call_service(&app, request.to_request()).await;
        assert!(response.status().is_success());
        assert_eq!(body::to_bytes(response.into_body()).await.unwrap(), body, "{path}");
    }
}
