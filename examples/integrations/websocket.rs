//! A WebSocket: browsers cannot send an `Authorization` header with the handshake, so the token comes as a subprotocol
//! (`new WebSocket(url, ["chat", "bearer." + token])`). The connection is closed when the token expires or
//! is revoked, unless the page sends a new token in time.
//!
//! Subprotocols have fewer characters than tokens may have: for opaque tokens with `/`, `+` or `=`, let the page encode
//! them in base64url and the resolver decode them. Keep the header out of access logs.
//!
//! ```text
//! cargo run --example websocket               starts the API and prints what to try
//! cargo run --example websocket -- --check    calls the API itself, exits with 1 on a difference
//! ```
#![expect(clippy::print_stdout, reason = "it prints what to paste into a browser")]

#[path = "../support/mod.rs"]
mod support;

use std::{fmt::Debug, io, net::TcpListener, pin::pin, time::Duration};

use actix_protect_api::{
    AuthenticatedRequest, Clock as _, Lease, LeaseEnd, ProtectApi, ResolverError, Revocation, SystemClock,
    test::TestIssuer,
};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::Server,
    http::header::SEC_WEBSOCKET_PROTOCOL,
    rt::{self, time::sleep},
    web,
};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, Session};
use awc::{error::WsClientError, ws};
use futures_util::{
    SinkExt as _, StreamExt as _,
    future::{Either, select},
};
use serde_json::json;
use support::{Call, Outcome, Table};

/// The subprotocol of the messages. The server must choose one of the subprotocols that the page offers. It chooses this one, so
/// that the answer does not contain the token.
const PROTOCOL: &str = "chat";
/// `None` means the `Authorization` header, which clients other than browsers can send.
#[expect(clippy::unnecessary_wraps, reason = "the type of a token resolver")]
fn token_in_subprotocols(request: &HttpRequest) -> Result<Option<String>, ResolverError> {
    let values = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
    let mut offered = values.flat_map(|value| value.split(',')).map(str::trim);
    Ok(offered.find_map(|one| one.strip_prefix("bearer.")).map(str::to_owned))
}

async fn chat(
    caller: AuthenticatedRequest,
    request: HttpRequest,
    body: web::Payload,
) -> actix_web::Result<HttpResponse> {
    let (response, session, messages) = actix_ws::handle_with_protocols(&request, body, &[PROTOCOL])?;
    let name = caller.subject().unwrap_or("a machine").to_owned();
    rt::spawn(talk(session, messages, name, caller.lease()));
    Ok(response)
}

/// Answers messages until one side closes the connection, or the lease ends.
async fn talk(mut session: Session, mut messages: MessageStream, name: String, mut lease: Lease) {
    let reason = loop {
        let message = match select(&mut lease, pin!(messages.recv())).await {
            Either::Left((end, _)) => break Some(close_reason(end)),
            Either::Right((Some(Ok(message)), _)) => message,
            Either::Right(_) => break None,
        };
        let sent = match message {
            Message::Text(text) => session.text(answer(&text, &name, &mut lease).await).await,
            Message::Ping(bytes) => session.pong(&bytes).await,
            Message::Close(_) => break None,
            _ => Ok(()),
        };
        if sent.is_err() {
            break None;
        }
    };
    // An error means that the client has already disconnected.
    let _ = session.close(reason).await;
}

/// The client sends a new token before the old one expires. Other messages are returned.
async fn answer(text: &str, name: &str, lease: &mut Lease) -> String {
    match text.strip_prefix("token ") {
        None => format!("{name}: {text}"),
        Some(token) => match lease.renew(token).await {
            Ok(()) => "renewed".to_owned(),
            Err(error) => format!("not renewed: {error}"),
        },
    }
}

/// 4401: get a new token and connect again. 4403: sign in again.
fn close_reason(end: LeaseEnd) -> CloseReason {
    CloseReason { code: CloseCode::from(end.close_code()), description: Some(end.to_string()) }
}

/// The application: one protected WebSocket.
fn serve(protect: ProtectApi, listener: TcpListener) -> io::Result<Server> {
    let server =
        HttpServer::new(move || App::new().wrap(protect.clone()).route("/chat", web::get().to(chat)))
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
    let protect = support::builder(&issuer).token_resolver(token_in_subprotocols).build()?;
    let (listener, base) = support::listen()?;
    let revoking = protect.clone();
    let server = serve(protect, listener)?;

    let good = issuer.opaque(json!({ "sub": "alice" }));
    let revoked = issuer.opaque(json!({ "sub": "mallory" }));
    issuer.revoke(&revoked);

    let calls = [
        Call::get("no token", "/chat").answers(401).challenge("Bearer"),
        Call::get("a revoked token", "/chat")
            .header("Sec-WebSocket-Protocol", format!("chat, bearer.{revoked}"))
            .answers(401)
            .challenge("invalid_token"),
        Call::get("a good one, but no handshake", "/chat").token(&good).answers(400),
    ];
    if !support::wants_check() {
        let url = base.replace("http", "ws");
        println!("In the console of a browser (on about:blank; the token is good for an hour):\n");
        println!("chat = new WebSocket('{url}/chat', ['chat', 'bearer.{good}'])");
        println!("chat.onmessage = message => console.log(message.data); chat.send('hello')");
        println!("chat.onclose = closed => console.log(closed.code, closed.reason)\n");
        return support::serve(server, &base, &calls).await;
    }

    let running = support::start(server);
    let mut table = Table::new();
    for call in &calls {
        table.call(&base, call).await;
    }
    let url = format!("{base}/chat");
    let page = |token: &str| awc::Client::new().ws(&url).protocols([PROTOCOL, &format!("bearer.{token}")]);

    let soon = SystemClock::new().unix_time() + 3;
    let bob = |exp: i64| issuer.opaque(json!({ "sub": "bob", "exp": exp }));
    let (response, mut connection) = page(&bob(soon)).connect().await?;
    table.row("a good token as a subprotocol", 101, response.status().as_u16());
    let chosen = response.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    table.row("the subprotocol in the answer", PROTOCOL, chosen.unwrap_or("none"));
    connection.send(Message::Text("hello".into())).await?;
    table.row("a message comes back", "bob: hello".to_owned(), heard(connection.next().await));
    let end = "closed, 4401 the token has expired".to_owned();
    table.row("closed when the token expires", end, heard(connection.next().await));

    let soon = SystemClock::new().unix_time() + 2;
    let (_, mut connection) = page(&bob(soon)).connect().await?;
    connection.send(Message::Text(format!("token {good}").into())).await?;
    let other = "not renewed: a claim has a value that is not accepted".to_owned();
    table.row("the token of another user", other, heard(connection.next().await));
    connection.send(Message::Text(format!("token {}", bob(soon + 3600)).into())).await?;
    table.row("a new token", "renewed".to_owned(), heard(connection.next().await));
    sleep(Duration::from_secs(3)).await;
    connection.send(Message::Text("hello".into())).await?;
    table.row("open after the first token expired", "bob: hello".to_owned(), heard(connection.next().await));
    revoking.revoke(Revocation::subject("bob")).await?;
    let end = "closed, 4403 the token is revoked".to_owned();
    table.row("closed when the user is revoked", end, heard(connection.next().await));

    let refused = match page(&revoked).connect().await {
        Err(WsClientError::InvalidResponseStatus(status)) => status.as_u16(),
        _ => 0,
    };
    table.row("the handshake with a revoked token", 401, refused);
    let (answer, _) = awc::Client::new().ws(&url).bearer_auth(&good).connect().await?;
    table.row("a good token in the header", 101, answer.status().as_u16());

    running.stop(false).await;
    Ok(table.finish())
}

fn heard<E: Debug>(frame: Option<Result<ws::Frame, E>>) -> String {
    match frame {
        Some(Ok(ws::Frame::Text(text))) => String::from_utf8_lossy(&text).into_owned(),
        Some(Ok(ws::Frame::Close(Some(reason)))) => {
            format!("closed, {} {}", u16::from(reason.code), reason.description.unwrap_or_default())
        }
        other => format!("{other:?}"),
    }
}
