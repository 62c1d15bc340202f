//! Sends HTTP requests to the authorization server, with limits for time, body size, status and content type. No
//! other module sends requests.

#[cfg(test)]
mod tests;

mod chunks;
mod client;
mod connection;
mod connector;
mod head;
mod limits;
mod once_body;
mod proxy;

use std::{io::ErrorKind, time::Duration};

use actix_web::{
    error::ParseError,
    http::{
        StatusCode, Uri, Version,
        header::{
            ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
            HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING, USER_AGENT,
        },
    },
    web::{Bytes, BytesMut},
};
use awc::error::{ConnectError, PayloadError, SendRequestError};
use futures_util::{Stream, StreamExt as _, future::LocalBoxFuture};

pub use self::client::hardened_client;
#[cfg(feature = "rustls")]
pub(crate) use self::connector::Tls;
pub(crate) use self::{
    client::{WorkerClient, client_with},
    connector::Reuse,
    limits::{CallDeadline, CallLimits},
};
use self::{once_body::OnceBody, proxy::ProxyError};
use crate::{
    error::{AuthError, UpstreamFault},
    telemetry::spans::record_status,
};

/// A response with a status that the caller interprets.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    is_json: bool,
}

impl Reply {
    pub(crate) fn is_ok(&self) -> bool {
        self.status == 200
    }

    /// Returns whether the content type is JSON: `application/json`, `application/jwk-set+json` or another `+json`
    /// type. An HTML page with status 200 is not metadata.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }
}

/// The reason why there is no reply.
pub(crate) enum CallFailure {
    /// The connection closed before the first byte of a response: the server had closed a kept-alive connection. An
    /// idempotent request may be sent again.
    ClosedEarly(AuthError),
    Other(AuthError),
}

impl From<CallFailure> for AuthError {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::ClosedEarly(error) | CallFailure::Other(error) => error,
        }
    }
}

/// The media types of metadata and key sets. Kubernetes responds with 406 if the type of a key set is not accepted.
/// The content of the response is validated.
const DOCUMENT: &str = "application/json, application/jwk-set+json, */*;q=0.1";

/// Fetches a public document. Sends the request again if a kept-alive connection was closed.
pub(crate) async fn get(client: &awc::Client, uri: &Uri, limits: CallLimits) -> Result<Reply, AuthError> {
    let request = || {
        let accept = (ACCEPT, HeaderValue::from_static(DOCUMENT));
        new_request(client.get(uri.clone()), limits).insert_header(accept)
    };
    let bounds = limits.starting_now();
    match call(request(), Bytes::new(), bounds, Reuse::Allowed).await {
        Err(CallFailure::ClosedEarly(_)) => Ok(call(request(), Bytes::new(), bounds, Reuse::No).await?),
        outcome => Ok(outcome?),
    }
}

/// Posts a form. The body or these headers contain the client credentials. Boxed, because a future of this size would be
/// copied from one `async fn` to the next.
pub(crate) fn post_form(
    client: &awc::Client,
    uri: &Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    form: Bytes,
    bounds: CallDeadline,
    reuse: Reuse,
) -> LocalBoxFuture<'static, Result<Reply, CallFailure>> {
    let mut request = new_request(client.post(uri.clone()), bounds.limits())
        .insert_header((ACCEPT, HeaderValue::from_static("application/json")))
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded")));
    for header in headers {
        request = request.insert_header(header);
    }
    Box::pin(call(request, form, bounds, reuse))
}

/// Posts JSON, with this value of the `Authorization` header. Sends the request again if a kept-alive connection was closed,
/// so it must be idempotent.
pub(crate) async fn post_json(
    client: &awc::Client,
    uri: &Uri,
    authorization: Option<HeaderValue>,
    body: Bytes,
    limits: CallLimits,
) -> Result<Reply, AuthError> {
    let request = || {
        let mut request = new_request(client.post(uri.clone()), limits)
            .insert_header((ACCEPT, HeaderValue::from_static("application/json")))
            .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        if let Some(value) = &authorization {
            request = request.insert_header((AUTHORIZATION, value.clone()));
        }
        request
    };
    let bounds = limits.starting_now();
    match call(request(), body.clone(), bounds, Reuse::Allowed).await {
        Err(CallFailure::ClosedEarly(_)) => Ok(call(request(), body, bounds, Reuse::No).await?),
        outcome => Ok(outcome?),
    }
}

/// Removes the default headers of the application's client except `User-Agent`. They are meant for other calls and
/// may contain credentials or cookies. Adds the trace context.
fn new_request(mut request: awc::ClientRequest, limits: CallLimits) -> awc::ClientRequest {
    let headers = request.headers_mut();
    let agent = headers.remove(USER_AGENT).next();
    headers.clear();
    if let Some(agent) = agent {
        headers.insert(USER_AGENT, agent);
    }
    limits.traceparent.insert_into(headers);
    request
}

/// Sends a request once. A status of a busy or failing server is an error here. The caller interprets every other
/// status.
///
/// The timer of awc covers the time from the wait for a connection to the head of the response. The rest of the
/// same time is used for the body.
fn call(
    request: awc::ClientRequest,
    body: Bytes,
    bounds: CallDeadline,
    reuse: Reuse,
) -> impl Future<Output = Result<Reply, CallFailure>> {
    let limits = bounds.limits();
    // Responses are small, so compression has no benefit and would allow a decompression bomb. It is neither
    // requested nor accepted.
    let request = request
        .insert_header((ACCEPT_ENCODING, HeaderValue::from_static("identity")))
        .no_decompress()
        .force_close()
        .timeout(bounds.time_left());
    let sending = reuse.apply(|| request.send_body(OnceBody(body)));
    async move {
        let response = sending.await.map_err(|error| send_fault(&error, limits, reuse))?;
        read(response.timeout(bounds.time_left()), limits).await.map_err(CallFailure::Other)
    }
}

async fn read<B>(mut response: awc::ClientResponse<B>, limits: CallLimits) -> Result<Reply, AuthError>
where
    B: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let status = response.status();
    record_status(status.as_u16());
    if !(200..600).contains(&status.as_u16()) {
        return Err(bad_answer(format!("a response with status {}", status.as_u16())));
    }
    if is_failing(status) {
        let after = retry_after(response.headers());
        return Err(AuthError::upstream(UpstreamFault::Failing)
            .with_source(format!("status {}", status.as_u16()))
            .with_retry_after(after));
    }
    if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(bad_answer("a compressed body, which was not requested"));
    }
    let is_json = is_json(response.headers());
    let announced = content_length(response.headers());
    // Another client than the hardened one treats such a response as one without a body.
    let is_undelimited = announced.is_none()
        && response.version() == Version::HTTP_11
        && !response.headers().contains_key(TRANSFER_ENCODING);
    let mut body = BytesMut::new();
    while let Some(chunk) = response.next().await {
        let chunk = chunk.map_err(|error| body_fault(&error, limits))?;
        if body.len() + chunk.len() > limits.max_body {
            return Err(bad_answer(format!("a body of more than {} bytes", limits.max_body)));
        }
        body.extend_from_slice(&chunk);
    }
    // awc treats a connection that ends too early as the end of the body.
    if announced.is_some_and(|length| length != body.len()) {
        return Err(bad_answer("a body that was cut short"));
    }
    if is_undelimited && body.is_empty() && status.is_success() && status != StatusCode::NO_CONTENT {
        return Err(bad_answer("the response has neither Content-Length nor chunked encoding"));
    }
    Ok(Reply { status: status.as_u16(), body: body.freeze(), is_json })
}

pub(crate) fn bad_answer(detail: impl Into<String>) -> AuthError {
    AuthError::upstream(UpstreamFault::BadAnswer).with_source(detail.into())
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

/// Parses `Retry-After`. Only the delay form of RFC 9110 section 10.2.3 is used; a date would depend on the
/// server's clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    // Limited to one minute: a wrong value would stop the calls for a day.
    Some(Duration::from_secs(seconds).min(Duration::from_secs(60)))
}

fn timed_out(limits: CallLimits) -> AuthError {
    AuthError::upstream(UpstreamFault::TimedOut)
        .with_source(format!("no complete response within {:?}", limits.deadline))
}

fn body_fault(error: &PayloadError, limits: CallLimits) -> AuthError {
    match error {
        PayloadError::Io(error) if error.kind() == ErrorKind::TimedOut => timed_out(limits),
        error => bad_answer(format!("the body broke off: {error}")),
    }
}

/// Converts an error of awc, which is not `Send` and not part of the public API, to its class and text.
fn send_fault(error: &SendRequestError, limits: CallLimits, reuse: Reuse) -> CallFailure {
    if matches!(error, SendRequestError::Timeout) {
        return CallFailure::Other(timed_out(limits));
    }
    if let SendRequestError::Connect(ConnectError::Io(io)) = error
        && let Some(error) = ProxyError::of(io)
    {
        return CallFailure::Other(error.to_error(reuse));
    }
    let fault = match error {
        SendRequestError::Connect(ConnectError::Timeout) => UpstreamFault::TimedOut,
        // The guarded connection reports this error if the server violates HTTP.
        SendRequestError::Response(ParseError::Io(io)) if io.kind() == ErrorKind::InvalidData => {
            return CallFailure::Other(bad_answer(io.to_string()));
        }
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
    // awc reports a connection that closes after the request was sent as `Disconnected`. A retry opens a new
    // connection, but the first attempt has sent the request, and the token may be the reason for the failure.
    let sent_nothing = reuse == Reuse::Allowed
        && matches!(error, SendRequestError::Connect(connect) if !matches!(connect, ConnectError::Disconnected));
    let error = AuthError::upstream(fault).with_source(error.to_string());
    let error = if sent_nothing { error.before_sending() } else { error };
    if closed_early { CallFailure::ClosedEarly(error) } else { CallFailure::Other(error) }
}
