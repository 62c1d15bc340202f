//! A served application, and a client that writes HTTP/1.1 as bytes, so that it can send malformed requests.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

use actix_protect_api::{AuthError, AuthenticatedRequest, ProtectApi, test::TestIssuer};
use actix_web::{
    body::MessageBody,
    dev::{Server, ServerHandle, ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};

use super::service::introspecting;

/// Serves `App`s: `serve!(move || App::new()…)`, or `serve!(4, move || …)` with four workers. Gives a [`TestApp`].
macro_rules! serve {
    ($app:expr) => {
        serve!(1, $app)
    };
    ($workers:expr, $app:expr) => {
        $crate::support::app::TestApp::run(move || {
            let server = actix_web::HttpServer::new($app)
                .workers($workers)
                .disable_signals()
                .bind(($crate::support::app::HOST, 0))?;
            let address = server.addrs()[0];
            Ok((server.run(), address))
        })
    };
}
pub(crate) use serve;

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A server in a separate thread. It is stopped when it is dropped.
pub(crate) struct TestApp {
    address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl TestApp {
    /// For [`serve!`]: `make` runs on the server's thread.
    pub(crate) fn run(make: impl FnOnce() -> io::Result<(Server, SocketAddr)> + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let (server, address) = make().expect("cannot serve");
                sender.send((server.handle(), address)).expect("no test waits for the server");
                server.await.expect("the server failed");
            });
        });
        let (handle, address) = receiver.recv().expect("the server did not start");
        Self { address, handle, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn get(&self, target: &str) -> Call {
        self.call("GET", target)
    }

    pub(crate) fn post(&self, target: &str) -> Call {
        self.call("POST", target)
    }

    /// `target` is sent as it is.
    pub(crate) fn call(&self, method: &str, target: &str) -> Call {
        Call {
            address: self.address,
            method: method.to_owned(),
            head: format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address)
                .into(),
            body: Vec::new(),
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // The command is sent at once; the thread ends when the server has stopped.
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// A request that is not sent yet.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `send`"]
pub(crate) struct Call {
    address: SocketAddr,
    method: String,
    head: Vec<u8>,
    body: Vec<u8>,
}

impl Call {
    pub(crate) fn token(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Adds a header with any bytes as the value. The same name twice gives two headers.
    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.head.extend_from_slice(name.as_bytes());
        self.head.extend_from_slice(b": ");
        self.head.extend_from_slice(value.as_ref());
        self.head.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn body(mut self, content_type: &str, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        let length = self.body.len().to_string();
        self.header("Content-Type", content_type).header("Content-Length", length)
    }

    /// Sets the body without a header.
    pub(crate) fn raw_body(mut self, body: &str) -> Self {
        self.body = body.as_bytes().to_vec();
        self
    }

    /// Sends the request on a new connection in another thread, so that the runtime of the test is not blocked.
    pub(crate) async fn send(self) -> Answer {
        web::block(move || self.send_blocking()).await.expect("the client's thread failed")
    }

    /// The same for tests without a runtime.
    pub(crate) fn send_blocking(self) -> Answer {
        let mut stream = TcpStream::connect(self.address).expect("cannot connect");
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        // A server that rejects early may close before everything is written. Its response counts.
        let sent = stream.write_all(&[&self.head[..], b"\r\n", &self.body].concat());
        let mut bytes = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
                Err(error) if bytes.is_empty() => panic!("no answer: {error}; sent: {sent:?}"),
                Err(_) => break,
            }
        }
        stream.shutdown(Shutdown::Both).ok();
        Answer::parse(&self.method, &bytes)
    }
}

/// A response as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn parse(method: &str, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let answer = Self { status: status.expect("no status"), headers, body: body.to_owned() };
        if let Some(length) = answer.header("content-length").filter(|_| method != "HEAD") {
            assert_eq!(length, body.len().to_string(), "the body is not as long as announced: {text}");
        }
        answer
    }

    /// The value of a header that must not occur twice.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(one, _)| one.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} occurs twice: {self:?}");
        value
    }

    pub(crate) fn challenge(&self) -> Option<&str> {
        self.header("www-authenticate")
    }

    /// Status and body.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, body), "{self:?}");
    }

    /// Asserts the whole rejection: status, challenge, the default body, and `no-store`.
    #[track_caller]
    pub(crate) fn refuses(&self, refusal: Refusal) {
        let (status, challenge, message) = refusal;
        self.is(status, &format!("{{\"message\":\"{message}\"}}"));
        assert_eq!(self.challenge(), challenge, "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
    }

    /// Asserts the rejection of a token without this scope.
    #[track_caller]
    pub(crate) fn lacks_scope(&self, scope: &str) {
        self.is(403, "{\"message\":\"forbidden\"}");
        assert_eq!(self.challenge(), Some(needs_scope(scope).as_str()));
        assert_eq!(self.header("cache-control"), Some("no-store"));
    }
}

/// Status, challenge, message.
pub(crate) type Refusal = (u16, Option<&'static str>, &'static str);

pub(crate) const MISSING: Refusal = (401, Some("Bearer"), "unauthorized");
pub(crate) const MALFORMED: Refusal = (
    400,
    Some(
        "Bearer error=\"invalid_request\", error_description=\"The request carries no well-formed bearer token\"",
    ),
    "bad request",
);
pub(crate) const INVALID: Refusal = (
    401,
    Some(
        "Bearer error=\"invalid_token\", error_description=\"The access token is expired, revoked or otherwise invalid\"",
    ),
    "unauthorized",
);
pub(crate) const NOT_IN_GROUP: Refusal = (403, Some("Bearer"), "forbidden");
pub(crate) const UNAVAILABLE: Refusal = (503, None, "service unavailable");
pub(crate) const OURS: Refusal = (500, None, "internal server error");

/// The same rejection of an operation that requires scopes.
pub(crate) fn with_scope((status, challenge, message): Refusal, scope: &str) -> Refusal {
    let challenge = challenge.expect("a challenge");
    let separator = if challenge == "Bearer" { " " } else { ", " };
    (status, Some(format!("{challenge}{separator}scope=\"{scope}\"").leak()), message)
}

/// The challenge of a missing scope.
pub(crate) fn needs_scope(scope: &str) -> String {
    format!(
        "Bearer error=\"insufficient_scope\", error_description=\"The access token does not have the required scope\", scope=\"{scope}\""
    )
}

/// An API of this issuer with its default client; no verdict is cached.
pub(crate) fn protect(issuer: &TestIssuer) -> ProtectApi {
    introspecting(issuer).build().unwrap()
}

/// A handler that returns the subject.
pub(crate) async fn whoami(caller: AuthenticatedRequest) -> String {
    caller.subject().unwrap_or("nobody").to_owned()
}

/// A handler that returns the subject, or "anonymous" without a caller.
pub(crate) async fn optional_whoami(caller: Option<AuthenticatedRequest>) -> String {
    caller
        .and_then(|caller| caller.subject().map(ToOwned::to_owned))
        .unwrap_or_else(|| "anonymous".to_owned())
}

/// For `middleware::from_fn`, outermost: the header `x-kind` contains the kind of the error.
pub(crate) async fn show_kind(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
    let mut response = next.call(request).await?;
    let kind = response.response().extensions().get::<AuthError>().map(|error| format!("{:?}", error.kind()));
    if let Some(kind) = kind {
        let value = kind.parse().unwrap();
        response.headers_mut().insert("x-kind".parse().unwrap(), value);
    }
    Ok(response)
}
