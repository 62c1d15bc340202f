//! Faults that tests inject into the issuer.

use std::time::Duration;

use crate::test::endpoint::RecordedRequest;

/// A deviation of an endpoint of the [`TestIssuer`](super::TestIssuer) from its real response, and the number of
/// requests that it applies to.
///
/// A constructor creates a fault. The `with_*` methods change it, and can be combined:
///
/// ```
/// use std::time::Duration;
/// use actix_protect_api::test::Fault;
///
/// let busy = Fault::status(503).with_header("Retry-After", "3").times(2);
/// let odd = Fault::real().with_status(201).with_delay(Duration::from_millis(50)).always();
/// ```
///
/// Without [`times`](Self::times) or [`always`](Self::always) it applies to one request. The request is counted and
/// recorded as usual.
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is given to `TestIssuer::fault`"]
pub struct Fault {
    pub(super) status: Option<u16>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) delay: Duration,
    pub(super) held: bool,
    pub(super) delivery: Delivery,
    /// `None`: until cleared.
    pub(super) remaining: Option<usize>,
    /// The prefix of the request's `token`.
    pub(super) tokens: Option<String>,
}

/// The way in which the bytes of a response are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Whole,
    Reset,
    Close,
    Truncate,
    Trickle(Duration),
}

impl Fault {
    /// Creates a fault with the real response, which the `with_*` methods can change.
    pub fn real() -> Self {
        Self {
            status: None,
            body: None,
            headers: Vec::new(),
            delay: Duration::ZERO,
            held: false,
            delivery: Delivery::Whole,
            remaining: Some(1),
            tokens: None,
        }
    }

    /// Responds with this status and an empty body.
    pub fn status(status: u16) -> Self {
        Self::real().with_status(status).with_body("")
    }

    /// Responds with 200 and these bytes as `application/json`.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self::real().with_status(200).with_body(body).with_header("Content-Type", "application/json")
    }

    /// Sends the real response with another `Content-Type`.
    pub fn content_type(content_type: &str) -> Self {
        Self::real().with_header("Content-Type", content_type)
    }

    /// Sends the real response after a delay.
    pub fn delay(delay: Duration) -> Self {
        Self::real().with_delay(delay)
    }

    /// Holds the real response until [`TestIssuer::release`](super::TestIssuer::release) or
    /// [`TestIssuer::clear_faults`](super::TestIssuer::clear_faults), for tests of concurrent requests that must
    /// not depend on time.
    pub fn hold() -> Self {
        Self { held: true, ..Self::real() }
    }

    /// Reads the request, then resets the connection.
    pub fn reset() -> Self {
        Self { delivery: Delivery::Reset, ..Self::real() }
    }

    /// Reads the request, then closes the connection without a response.
    pub fn close() -> Self {
        Self { delivery: Delivery::Close, ..Self::real() }
    }

    /// Announces the whole response, sends half of its body and closes the connection.
    pub fn truncate() -> Self {
        Self { delivery: Delivery::Truncate, ..Self::real() }
    }

    /// Sends the head, then the body byte by byte with this pause before each.
    pub fn trickle(pause: Duration) -> Self {
        Self { delivery: Delivery::Trickle(pause), ..Self::real() }
    }

    /// Redirects with 307 (method and body are to be repeated) to this URL.
    pub fn redirect(location: &str) -> Self {
        Self::status(307).with_header("Location", location)
    }

    /// Changes the status and keeps the body.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Changes the body and keeps the status and the content type.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Replaces or adds a header. A header given twice is sent twice. `Content-Length` is not compared with the
    /// body.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Waits this long before the response is sent.
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Applies only to requests whose form has a `token` that begins with this prefix, as introspection requests have.
    pub fn for_tokens(mut self, prefix: &str) -> Self {
        self.tokens = Some(prefix.to_owned());
        self
    }

    pub(super) fn concerns(&self, request: &RecordedRequest) -> bool {
        let begins =
            |prefix: &String| request.form().get("token").is_some_and(|token| token.starts_with(prefix));
        self.tokens.as_ref().is_none_or(begins)
    }

    /// Applies to this many requests. Then the next fault in the queue, or the real response, follows.
    pub fn times(mut self, times: usize) -> Self {
        self.remaining = Some(times);
        self
    }

    /// Applies until the faults are cleared.
    pub fn always(mut self) -> Self {
        self.remaining = None;
        self
    }
}
