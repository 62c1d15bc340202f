//! The only file that speaks HTTP to the authorization server: deadline, body cap, status and content type.

use std::{
    cell::RefCell,
    io::ErrorKind,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_web::{
    body::{BodySize, MessageBody},
    error::ParseError,
    http::{
        StatusCode, Uri,
        header::{
            ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
            HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT,
        },
    },
    web::{self, Bytes, BytesMut},
};
use awc::error::{ConnectError, PayloadError, SendRequestError};
use futures_util::{Stream, StreamExt as _, future::LocalBoxFuture};

use crate::{
    deadline::Deadline,
    error::{AuthError, UpstreamFault},
};

/// The bounds of every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// From the wait for a connection to the last byte of the body.
    pub(crate) deadline: Duration,
    /// Bytes of body.
    pub(crate) max_body: usize,
}

impl Limits {
    /// The same, but not past this deadline.
    pub(crate) fn until(self, deadline: Deadline) -> Self {
        Self { deadline: self.deadline.min(deadline.time_left()), ..self }
    }

    /// For a call that starts now, second tries included.
    pub(crate) fn starting_now(self) -> Bounds {
        Bounds { limits: self, started: Instant::now() }
    }
}

/// The bounds of a call under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    limits: Limits,
    started: Instant,
}

impl Bounds {
    fn time_left(self) -> Duration {
        self.limits.deadline.saturating_sub(self.started.elapsed())
    }
}

/// An answer with a status that the caller interprets.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    is_json: bool,
}

impl Reply {
    pub(crate) fn is_ok(&self) -> bool {
        self.status == 200
    }

    /// Whether a JSON object may be expected: `application/json`, `application/jwk-set+json` and other `+json` types.
    /// An HTML page with status 200 is not metadata.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }
}

/// Why there is no reply.
pub(crate) enum Failure {
    /// The connection closed before a byte of an answer: a kept-alive one that the server had given up. Asking again is
    /// safe for whoever may ask twice.
    ClosedEarly(AuthError),
    Other(AuthError),
}

impl From<Failure> for AuthError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::ClosedEarly(error) | Failure::Other(error) => error,
        }
    }
}

/// Fetches a public document; once more if a kept-alive connection turns out to be closed.
pub(crate) async fn get(client: &awc::Client, uri: &Uri, limits: Limits) -> Result<Reply, AuthError> {
    let request =
        || client.get(uri.clone()).insert_header((ACCEPT, HeaderValue::from_static("application/json")));
    let bounds = limits.starting_now();
    match call(request(), Bytes::new(), bounds).await {
        Err(Failure::ClosedEarly(_)) => Ok(call(request(), Bytes::new(), bounds).await?),
        outcome => Ok(outcome?),
    }
}

/// Posts a form, with our credentials in it or in the header. Boxed: a future of this size would be copied from one
/// `async fn` to the next.
pub(crate) fn post_form(
    client: &awc::Client,
    uri: &Uri,
    authorization: Option<HeaderValue>,
    form: Bytes,
    bounds: Bounds,
) -> LocalBoxFuture<'static, Result<Reply, Failure>> {
    let mut request = client
        .post(uri.clone())
        .insert_header((ACCEPT, HeaderValue::from_static("application/json")))
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")));
    if let Some(value) = authorization {
        request = request.insert_header((AUTHORIZATION, value));
    }
    Box::pin(call(request, form, bounds))
}

/// Sends once. Statuses that tell of a busy or failing server are errors here, all others are the caller's to judge.
///
/// awc's timer covers everything from the wait for a connection to the head of the answer; the same timer then goes on
/// for the body.
fn call(
    request: awc::ClientRequest,
    body: Bytes,
    bounds: Bounds,
) -> impl Future<Output = Result<Reply, Failure>> {
    let limits = bounds.limits;
    // Answers are small, so compression could only be used against us (a bomb): it is not asked for, and refused.
    let sending = request
        .insert_header((ACCEPT_ENCODING, HeaderValue::from_static("identity")))
        .no_decompress()
        .timeout(bounds.time_left())
        .send_body(OnceBody(body));
    async move {
        let response = sending.await.map_err(|error| send_fault(&error, limits))?;
        read(response.timeout(bounds.time_left()), limits).await.map_err(Failure::Other)
    }
}

async fn read<B>(mut response: awc::ClientResponse<B>, limits: Limits) -> Result<Reply, AuthError>
where
    B: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let status = response.status();
    if is_failing(status) {
        let after = retry_after(response.headers());
        return Err(AuthError::upstream(UpstreamFault::Failing)
            .because(format!("it answered {}", status.as_u16()))
            .retry_after(after));
    }
    if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(bad_answer("a compressed body, which was not asked for"));
    }
    let is_json = is_json(response.headers());
    let announced = content_length(response.headers());
    let mut body = BytesMut::new();
    while let Some(chunk) = response.next().await {
        let chunk = chunk.map_err(|error| body_fault(&error, limits))?;
        if body.len() + chunk.len() > limits.max_body {
            return Err(bad_answer(format!("a body of more than {} bytes", limits.max_body)));
        }
        body.extend_from_slice(&chunk);
    }
    // awc takes a connection that ends too early for the end of the body.
    if announced.is_some_and(|length| length != body.len()) {
        return Err(bad_answer("a body that was cut short"));
    }
    Ok(Reply { status: status.as_u16(), body: body.freeze(), is_json })
}

pub(crate) fn bad_answer(detail: impl Into<String>) -> AuthError {
    AuthError::upstream(UpstreamFault::BadAnswer).because(detail.into())
}

fn is_failing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim();
    let subtype = essence.split_once('/').filter(|(kind, _)| kind.eq_ignore_ascii_case("application"));
    let suffix = subtype.map(|(_, subtype)| subtype.rsplit_once('+').map_or(subtype, |(_, suffix)| suffix));
    suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("json"))
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Only the delay form of RFC 9110 section 10.2.3; a date would make us trust the server's clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    // Nobody is sent away for longer than a minute: a server that is mistaken would close this API for a day.
    Some(Duration::from_secs(seconds).min(Duration::from_secs(60)))
}

fn timed_out(limits: Limits) -> AuthError {
    AuthError::upstream(UpstreamFault::TimedOut)
        .because(format!("no complete answer within {:?}", limits.deadline))
}

fn body_fault(error: &PayloadError, limits: Limits) -> AuthError {
    match error {
        PayloadError::Io(error) if error.kind() == ErrorKind::TimedOut => timed_out(limits),
        error => bad_answer(format!("the body broke off: {error}")),
    }
}

/// awc's errors are neither `Send` nor ours to expose: what is left is the class and a text.
fn send_fault(error: &SendRequestError, limits: Limits) -> Failure {
    if matches!(error, SendRequestError::Timeout) {
        return Failure::Other(timed_out(limits));
    }
    let fault = match error {
        SendRequestError::Connect(ConnectError::Timeout) => UpstreamFault::TimedOut,
        SendRequestError::Response(ParseError::Io(_) | ParseError::Incomplete) => UpstreamFault::Unreachable,
        SendRequestError::Response(_) => UpstreamFault::BadAnswer,
        _ => UpstreamFault::Unreachable,
    };
    let closed_early = match error {
        SendRequestError::Connect(ConnectError::Disconnected) => true,
        SendRequestError::Send(io) | SendRequestError::Response(ParseError::Io(io)) => {
            matches!(
                io.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
            )
        }
        _ => false,
    };
    let error = AuthError::upstream(fault).because(error.to_string());
    if closed_early { Failure::ClosedEarly(error) } else { Failure::Other(error) }
}

/// A body that can be sent exactly once. awc follows redirects unless told not to, and repeats a plain body on 307 and
/// 308: with this one, a client of the user's own cannot carry our secret or the caller's token to another place.
struct OnceBody(Bytes);

impl MessageBody for OnceBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(u64::try_from(self.0.len()).unwrap_or(u64::MAX))
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let bytes = std::mem::take(&mut self.get_mut().0);
        Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
    }
}

/// The client that a worker uses where there is none in the app data: made on first use, one per worker and
/// configuration, so that all mounts of it share one pool of connections.
#[derive(Clone)]
pub(crate) struct WorkerClient(Rc<awc::Client>);

thread_local! {
    static CLIENTS: RefCell<Vec<(u64, Weak<awc::Client>)>> = const { RefCell::new(Vec::new()) };
}

impl WorkerClient {
    /// The client of this worker for the configuration with this id, made by `make` if there is none yet.
    pub(crate) fn of(id: u64, make: impl FnOnce() -> awc::Client) -> Self {
        CLIENTS.with_borrow_mut(|clients| {
            clients.retain(|(_, client)| client.strong_count() > 0);
            let known =
                clients.iter().find(|(known, _)| *known == id).and_then(|(_, client)| client.upgrade());
            Self(known.unwrap_or_else(|| {
                let client = Rc::new(make());
                clients.push((id, Rc::downgrade(&client)));
                client
            }))
        })
    }

    /// The user's client from the app data, or this one: also where a certificate of ours must be shown.
    pub(crate) fn choose(&self, needs_own: bool, app_data: Option<&web::Data<awc::Client>>) -> awc::Client {
        let given = app_data.filter(|_| !needs_own);
        given.map_or_else(|| (*self.0).clone(), |data| data.get_ref().clone())
    }
}

impl std::fmt::Debug for WorkerClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorkerClient")
    }
}

/// How many connections one worker's client opens at most. awc's own default, chosen here too: the bound on calls in
/// flight lies below it, so that calls wait there, where waiting is bounded, and not in awc.
const CONNECTIONS: usize = 100;

/// The hardened client: no redirects, TLS by rustls with the platform's certificates (none at all without the feature
/// `rustls`, or where it cannot be set up), kept-alive connections. The deadline is per call.
pub(crate) fn client_with(
    #[cfg(feature = "rustls")] tls: Option<std::sync::Arc<rustls::ClientConfig>>,
) -> awc::Client {
    let connector = awc::Connector::new().limit(CONNECTIONS);
    #[cfg(feature = "rustls")]
    let connector = match tls {
        Some(tls) => connector.rustls_0_23(tls),
        None => connector,
    };
    awc::Client::builder()
        .connector(connector)
        .disable_redirects()
        .disable_timeout()
        .no_default_headers()
        .add_default_header((USER_AGENT, HeaderValue::from_static(AGENT)))
        .finish()
}

/// The HTTP client that this crate uses where the app data has none: for those who want to put it there themselves, and
/// use it for calls of their own. One per worker: call this inside the closure of `HttpServer::new`.
///
/// It follows no redirects, which would carry credentials to another place and believe what it answers; it speaks TLS with
/// the platform's certificates (`SSL_CERT_FILE` counts), keeps connections alive, and opens 100 of them at most. **It has no
/// deadline of its own**: the calls of this crate bring theirs. Without the feature `rustls` it speaks no TLS.
pub fn hardened_client() -> awc::Client {
    client_with(
        #[cfg(feature = "rustls")]
        crate::tls::client_config()
            .inspect_err(
                |error| log::error!(target: crate::LOG, event = "no_tls"; "no TLS to the authorization server: {error}"),
            )
            .ok(),
    )
}

const AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
