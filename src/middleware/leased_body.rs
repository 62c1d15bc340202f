//! A response body that ends with the lease of the caller.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, BoxBody, EitherBody, MessageBody},
    dev::ServiceResponse,
    http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, UPGRADE},
    web::Bytes,
};
use derive_more::Display;

use super::event_boundary::EventBoundary;
use crate::{
    caller::{AuthContext, Lease, LeaseEnd},
    protect_api::ProtectApi,
};

/// The status of a WebSocket handshake.
const SWITCHING_PROTOCOLS: u16 = 101;

impl ProtectApi {
    /// Returns whether the bodies of responses end with the lease of the caller.
    pub(crate) fn ends_streams(&self) -> bool {
        self.mount.ends_streams
    }

    /// Ends the body of a response with the lease of the caller. `context` is that of this mount; `None` if it ends no streams.
    pub(crate) fn end_stream<B: MessageBody + 'static>(
        &self,
        response: ServiceResponse<B>,
        context: Option<AuthContext>,
    ) -> ServiceResponse<EitherBody<B, BoxBody>> {
        match context {
            Some(context) => {
                let context = self.innermost(&context, response.request());
                end_with_lease(response, &context)
            }
            None => response.map_into_left_body(),
        }
    }
}

/// Ends the body of a response with the lease of the caller, if the body is a stream.
fn end_with_lease<B: MessageBody + 'static>(
    response: ServiceResponse<B>,
    context: &AuthContext,
) -> ServiceResponse<EitherBody<B, BoxBody>> {
    if matches!(response.response().body().size(), BodySize::None | BodySize::Sized(0)) {
        return response.map_into_left_body();
    }
    let kind = StreamKind::new(&response);
    let request = response.request().clone();
    response.map_body(|_, body| {
        let body = match body.try_into_bytes() {
            Ok(complete) => BoxBody::new(complete),
            Err(stream) => match context.lease(&request) {
                Some(lease) => BoxBody::new(LeasedBody { body: Some(stream.boxed()), lease, kind }),
                None => stream.boxed(),
            },
        };
        EitherBody::right(body)
    })
}

/// The end of a stream, by its kind.
enum StreamKind {
    /// A last event, at the end of another event.
    Events(EventBoundary),
    /// A close frame.
    WebSocket,
    /// An error, so that the client notices that the body is not complete.
    Other,
}

impl StreamKind {
    fn new<B: MessageBody>(response: &ServiceResponse<B>) -> Self {
        if !matches!(response.response().body().size(), BodySize::Stream) {
            return Self::Other;
        }
        let headers = response.headers();
        if response.status().as_u16() == SWITCHING_PROTOCOLS && has(headers, UPGRADE.as_str(), "websocket") {
            return Self::WebSocket;
        }
        // An event cannot be added to compressed events.
        let is_encoded =
            headers.contains_key(CONTENT_ENCODING) && !has(headers, "content-encoding", "identity");
        if has(headers, CONTENT_TYPE.as_str(), "text/event-stream") && !is_encoded {
            return Self::Events(EventBoundary::default());
        }
        Self::Other
    }

    fn last_bytes(&self, end: LeaseEnd) -> Option<Bytes> {
        match self {
            Self::Events(boundary) if boundary.is_between_events() => Some(last_event(end)),
            Self::WebSocket => Some(close_frame(end)),
            Self::Events(_) | Self::Other => None,
        }
    }
}

/// Returns whether a header has this value, apart from parameters.
fn has(headers: &HeaderMap, name: &str, expected: &str) -> bool {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    let value = value.and_then(|value| value.split(';').next());
    value.is_some_and(|value| value.trim().eq_ignore_ascii_case(expected))
}

/// Returns the last event. Browsers dispatch an event only if it has data.
fn last_event(end: LeaseEnd) -> Bytes {
    format!("event: {}\ndata: {end}\n\n", end.name()).into()
}

/// Returns a close frame of a server (RFC 6455 section 5.5.1).
fn close_frame(end: LeaseEnd) -> Bytes {
    let payload = [&end.close_code().to_be_bytes()[..], end.to_string().as_bytes()].concat();
    // The texts are short: the payload of a control frame has at most 125 bytes.
    let length = u8::try_from(payload.len()).unwrap_or(125);
    [&[0x88, length][..], &payload].concat().into()
}

struct LeasedBody {
    /// `None` after the end of the lease, so that the handler's side is dropped at once.
    body: Option<BoxBody>,
    lease: Lease,
    kind: StreamKind,
}

/// The error at the end of a body that is not complete.
#[derive(Debug, Display)]
#[display("the response was ended before it was complete: {_0}")]
struct EndedEarly(LeaseEnd);

impl Error for EndedEarly {}

impl MessageBody for LeasedBody {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.body.as_ref().map_or(BodySize::Stream, MessageBody::size)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if let Poll::Ready(end) = Pin::new(&mut this.lease).poll(context) {
            this.body = None;
            let last = this.kind.last_bytes(end).ok_or_else(|| EndedEarly(end).into());
            return Poll::Ready(Some(last));
        }
        let next = Pin::new(body).poll_next(context);
        if let (StreamKind::Events(boundary), Poll::Ready(Some(Ok(bytes)))) = (&mut this.kind, &next) {
            boundary.note(bytes);
        }
        next
    }
}
