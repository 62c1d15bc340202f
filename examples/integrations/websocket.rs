//! A WebSocket: browsers cannot send an `Authorization` header with the handshake, so the token comes as a subprotocol
//! (`new WebSocket(url, ["chat", "bearer." + token])`). The connection is closed when the token expires.
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

use std::{fmt::Debug, io, net::TcpListener, time::Duration};

use actix_protect_api::{
    AuthenticatedRequest, Clock as _, ProtectApi, ResolverError, SystemClock, test::TestIssuer,
};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::Server,
    http::header::SEC_WEBSOCKET_PROTOCOL,
    rt::{self, time::timeout},
    web,
};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, Session};
use awc::{error::WsClientError, ws};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use support::{Call, Outcome, Table};

/// The subprotocol of the messages. The server must choose one of the subprotocols that the page offers. It chooses this one, so
/// that the answer does not contain the token.
const PROTOCOL: &str = "chat";
/// The close code "Unauthorized" of the WebSocket registry at IANA.
const UNAUTHORIZED: u16 = 3000;
const LONGEST_CONNECTION: Duration = Duration::from_secs(3600);

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
    rt::spawn(talk(session, messages, name, lifetime(&caller)));
    Ok(response)
}

async fn talk(mut session: Session, mut messages: MessageStream, name: String, life: Duration) {
    let reason = match timeout(life, echo(&mut session, &mut messages, &name)).await {
        Ok(()) => None,
        Err(_) => Some(CloseReason {
            code: CloseCode::from(UNAUTHORIZED),
            description: Some("the token has expired".to_owned()),
        }),
    };
    // An error means that the client has already disconnected.
    let _ = session.close(reason).await;
}

/// Answers each message, until one side closes the connection.
async fn echo(session: &mut Session, messages: &mut MessageStream, name: &str) {
    while let Some(Ok(message)) = messages.recv().await {
        let sent = match message {
            Message::Text(text) => session.text(format!("{name}: {text}")).await,
            Message::Ping(bytes) => session.pong(&bytes).await,
            Message::Close(_) => return,
            _ => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The remaining lifetime of the token.
fn lifetime(caller: &AuthenticatedRequest) -> Duration {
    let Some(expires_at) = caller.expires_at() else { return LONGEST_CONNECTION };
    let seconds = expires_at.saturating_sub(SystemClock::new().unix_time());
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(LONGEST_CONNECTION)
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
        println!("chat.onmessage = message => console.log(message.data); chat.send('hello')\n");
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
    let short = issuer.opaque(json!({ "sub": "bob", "exp": soon }));
    let (answer, mut connection) = page(&short).connect().await?;
    table.row("a good token as a subprotocol", 101, answer.status().as_u16());
    let chosen = answer.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
    table.row("the subprotocol in the answer", PROTOCOL, chosen.unwrap_or("none"));
    connection.send(Message::Text("hello".into())).await?;
    table.row("a message comes back", "bob: hello".to_owned(), heard(connection.next().await));
    let end = format!("closed, {UNAUTHORIZED} the token has expired");
    table.row("closed when the token expires", end, heard(connection.next().await));

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
