//! Ways to misbehave.

use std::time::Duration;

/// How an endpoint of the [`TestIssuer`](super::TestIssuer) departs from its real answer, and how often.
///
/// A fault begins with one of the constructors and is refined by the `with_*` methods; they combine:
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
/// recorded as ever.
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
}

/// How the bytes of an answer leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Whole,
    Reset,
    Truncate,
    Trickle(Duration),
}

impl Fault {
    /// The real answer, to be changed by the `with_*` methods.
    pub fn real() -> Self {
        Self {
            status: None,
            body: None,
            headers: Vec::new(),
            delay: Duration::ZERO,
            held: false,
            delivery: Delivery::Whole,
            remaining: Some(1),
        }
    }

    /// This status with an empty body.
    pub fn status(status: u16) -> Self {
        Self::real().with_status(status).with_body("")
    }

    /// 200 with these bytes as `application/json`, whatever was asked.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self::real().with_status(200).with_body(body).with_header("Content-Type", "application/json")
    }

    /// The real answer with another `Content-Type`.
    pub fn content_type(content_type: &str) -> Self {
        Self::real().with_header("Content-Type", content_type)
    }

    /// The real answer, later.
    pub fn delay(delay: Duration) -> Self {
        Self::real().with_delay(delay)
    }

    /// The real answer, but not before [`TestIssuer::release`](super::TestIssuer::release) or
    /// [`TestIssuer::clear_faults`](super::TestIssuer::clear_faults): for tests of what happens meanwhile, without
    /// any time in them.
    pub fn hold() -> Self {
        Self { held: true, ..Self::real() }
    }

    /// Reads the request, then resets the connection.
    pub fn reset() -> Self {
        Self { delivery: Delivery::Reset, ..Self::real() }
    }

    /// Announces the whole answer, sends half of its body and closes the connection.
    pub fn truncate() -> Self {
        Self { delivery: Delivery::Truncate, ..Self::real() }
    }

    /// Sends the head, then the body byte by byte with this pause before each.
    pub fn trickle(pause: Duration) -> Self {
        Self { delivery: Delivery::Trickle(pause), ..Self::real() }
    }

    /// 307 (method and body are to be repeated) to this URL.
    pub fn redirect(location: &str) -> Self {
        Self::status(307).with_header("Location", location)
    }

    /// Changes the status, leaves the body.
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Changes the body, leaves the status and the content type.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Replaces the header of that name, or adds it. A header given twice is sent twice. `Content-Length` is not
    /// checked against the body.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Waits this long before anything is sent.
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Applies to so many requests; the next fault in the queue, or the real answer, follows.
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
