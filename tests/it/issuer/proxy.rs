//! Calls to the authorization server through an HTTP proxy: a proxy of the test for faults, and tinyproxy.

use std::{
    cell::RefCell,
    fs,
    net::{Ipv4Addr, TcpListener as StdListener},
    process::{Child, Command, Stdio},
    rc::Rc,
    time::Duration,
};

use actix_protect_api::{
    ProtectApi, ProtectApiBuilder, SecretSource, SetupFault, UpstreamFault,
    test::{Endpoint, TestIssuer},
};
use actix_web::rt::net::TcpStream;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};

use crate::support::{
    folder::Folder,
    logs,
    net::{serving, unused_address},
    service::{Api, OK, api, api_with, introspecting, jwts_only, setup, upstream},
    time::eventually,
};

/// A proxy in the thread of the test, and the heads of the requests that it received.
struct TestProxy {
    url: String,
    heads: Rc<RefCell<Vec<String>>>,
}

/// The response of the proxy to a request.
#[derive(Clone)]
enum Response {
    /// Opens the tunnel, after this head.
    Tunnel(&'static str),
    Bytes(Vec<u8>),
    /// Keeps the connection open without a response.
    Silence,
}

impl TestProxy {
    async fn start(respond: impl Fn(&str) -> Response + 'static) -> Self {
        let (heads, respond) = (Rc::new(RefCell::new(Vec::new())), Rc::new(respond));
        let seen = Rc::clone(&heads);
        let (url, _) = serving(move |mut stream| {
            let (seen, respond) = (Rc::clone(&seen), Rc::clone(&respond));
            async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await?);
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.split(' ').nth(1).unwrap().to_owned();
                let response = respond(&head);
                seen.borrow_mut().push(head);
                match response {
                    Response::Silence => std::future::pending().await,
                    Response::Bytes(bytes) => stream.write_all(&bytes).await,
                    Response::Tunnel(head) => {
                        let mut server = TcpStream::connect(&*target).await?;
                        stream.write_all(head.as_bytes()).await?;
                        copy_bidirectional(&mut stream, &mut server).await.map(|_| ())
                    }
                }
            }
        })
        .await;
        Self { url, heads }
    }

    async fn forwarding() -> Self {
        Self::start(|_| Response::Tunnel("HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n"))
            .await
    }

    async fn responding(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::start(move |_| Response::Bytes(bytes.clone())).await
    }

    fn heads(&self) -> Vec<String> {
        self.heads.borrow().clone()
    }
}

/// The settings with this proxy, also for loopback hosts.
fn through(url: &str, builder: ProtectApiBuilder) -> ProtectApiBuilder {
    builder.http_proxy(url).no_proxy(Vec::<String>::new())
}

fn trusting(issuer: &TestIssuer) -> ProtectApiBuilder {
    introspecting(issuer).root_certificates(issuer.ca_pem().unwrap())
}

fn authority(issuer: &TestIssuer) -> &str {
    issuer.issuer().split('/').nth(2).unwrap()
}

#[actix_web::test]
async fn calls_go_through_the_proxy_which_sees_the_host_only() {
    let (issuer, proxy) = (TestIssuer::builder().tls().start(), TestProxy::forwarding().await);
    let api = api(through(&proxy.url, trusting(&issuer))).await;
    for token in [issuer.jwt(json!({})), issuer.opaque(json!({}))] {
        assert_eq!(api.outcome(&token).await, OK);
    }
    let fetched = [Endpoint::Discovery, Endpoint::Jwks, Endpoint::Introspection];
    assert!(fetched.into_iter().all(|endpoint| issuer.count(endpoint) == 1));
    let heads = proxy.heads();
    assert_eq!(heads.len(), issuer.connections(), "each connection is a tunnel");
    let authority = authority(&issuer);
    for head in heads {
        assert_eq!(head, format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
    }
}

#[actix_web::test]
async fn an_interim_response_of_the_proxy_is_skipped() {
    let issuer = TestIssuer::builder().tls().start();
    let proxy = TestProxy::start(|_| {
        Response::Tunnel("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 Connection established\r\n\r\n")
    });
    let proxy = proxy.await;
    let api = api(through(&proxy.url, trusting(&issuer))).await;
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
}

/// A loopback address is another machine for the proxy.
#[actix_web::test]
async fn loopback_hosts_and_those_of_no_proxy_are_called_without_the_proxy() {
    let (issuer, proxy) = (TestIssuer::start(), TestProxy::forwarding().await);
    let with = |hosts: &[&str]| introspecting(&issuer).http_proxy(&proxy.url).no_proxy(hosts.to_vec());
    let token = issuer.opaque(json!({}));
    let default = introspecting(&issuer).http_proxy(&proxy.url);
    for builder in [default, with(&["localhost", "127.0.0.0/8"]), with(&["*"]), with(&["127.0.0.1"])] {
        assert_eq!(api(builder).await.outcome(&token).await, OK);
        assert_eq!(proxy.heads(), [""; 0]);
    }
    for (builder, heads) in [(with(&[]), 1), (with(&["as.example", "10.0.0.0/8"]), 2)] {
        assert_eq!(api(builder).await.outcome(&token).await, OK);
        assert_eq!(proxy.heads().len(), heads, "plain HTTP has a tunnel too");
    }
}

#[actix_web::test]
async fn the_client_of_the_application_does_not_bypass_the_proxy() {
    let (issuer, proxy) = (TestIssuer::start(), TestProxy::forwarding().await);
    let api = api_with(through(&proxy.url, introspecting(&issuer)), awc::Client::default()).await;
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    assert_eq!(proxy.heads().len(), 1);
}

#[actix_web::test]
async fn credentials_are_sent_to_the_proxy_only() {
    let issuer = TestIssuer::start();
    let folder = Folder::new();
    let header = format!("\r\nProxy-Authorization: Basic {}\r\n", STANDARD.encode("me:hunter2: one"));
    let proxy = TestProxy::start(move |head| {
        if head.contains(&header) {
            Response::Tunnel("HTTP/1.1 200 OK\r\n\r\n")
        } else {
            Response::Bytes(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n".to_vec())
        }
    })
    .await;
    let password = SecretSource::file(folder.file("password", "hunter2: one\n"));
    let builder = through(&proxy.url, introspecting(&issuer)).http_proxy_credentials("me", password);
    assert_eq!(api(builder).await.outcome(&issuer.opaque(json!({}))).await, OK);
    for request in issuer.requests(Endpoint::Introspection) {
        assert_eq!(request.header("proxy-authorization"), None);
    }
}

#[actix_web::test]
async fn each_fault_of_the_proxy_is_named_without_its_credentials() {
    logs::capture();
    let unreachable = upstream(UpstreamFault::Unreachable);
    let refused = setup(SetupFault::Proxy);
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(100));
    for (response, has_credentials, outcome, text) in [
        (
            &b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno"[..],
            true,
            refused,
            "rejected the configured credentials (status 407)",
        ),
        (b"HTTP/1.1 401 No\r\n\r\n", true, refused, "rejected the configured credentials (status 401)"),
        (
            b"HTTP/1.1 407 No\r\n\r\n",
            false,
            refused,
            "requires credentials, and none are configured (status 407)",
        ),
        (
            b"HTTP/1.1 403 Forbidden\r\n\r\n",
            true,
            unreachable,
            "rejected the connection to the server with status 403",
        ),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", true, unreachable, "with status 502"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere\r\n\r\n", true, unreachable, "with status 302"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", true, unreachable, "sent status 101"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", true, unreachable, "sent a response that is not HTTP"),
        (b"", true, unreachable, "closed the connection without a response"),
        (b"HTTP/1.1 200 OK\r\n", true, unreachable, "closed the connection without a response"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", true, unreachable, "sent bytes after its response"),
        (long.as_bytes(), true, unreachable, "more than 16384 bytes"),
        (many.as_bytes(), true, unreachable, "is not HTTP"),
    ] {
        let (issuer, proxy) = (TestIssuer::start(), TestProxy::responding(response).await);
        let mut builder = through(&proxy.url, introspecting(&issuer));
        if has_credentials {
            builder = builder.http_proxy_credentials("me", "hunter2");
        }
        let api = api(builder).await;
        for token in [issuer.opaque(json!({})), issuer.jwt(json!({}))] {
            assert_eq!(api.outcome(&token).await, outcome, "{text}");
        }
        assert_eq!(issuer.connections(), 0);
        let is_it = |record: &logs::Record| {
            record.value("event") == "fetch_failed" && record.value("issuer") == issuer.issuer()
        };
        let record = logs::last(is_it).expect("it was logged");
        let named = format!("the proxy {} {}", proxy.url.trim_end_matches('/'), "");
        assert!(record.text.contains(&named) && record.text.contains(text), "{record}");
        assert!(!record.to_string().contains("hunter2"), "{record}");
    }
}

#[actix_web::test]
async fn a_proxy_that_is_down_or_silent_costs_no_more_than_the_deadline() {
    logs::capture();
    let issuer = TestIssuer::start();
    let url = format!("http://{}", unused_address());
    let down = api(through(&url, introspecting(&issuer))).await;
    assert_eq!(down.outcome(&issuer.opaque(json!({}))).await, upstream(UpstreamFault::Unreachable));
    let named = format!("the proxy {url} is unreachable: Connection refused");
    assert!(logs::last(|record| record.text.contains(&named)).is_some());

    let proxy = TestProxy::start(|_| Response::Silence).await;
    let hasty = through(&proxy.url, introspecting(&issuer)).response_timeout(Duration::from_millis(100));
    let outcome = api(hasty).await.outcome(&issuer.opaque(json!({}))).await;
    assert_eq!(outcome, upstream(UpstreamFault::TimedOut));
    // With a longer deadline, the failure names the proxy.
    let patient = api(through(&proxy.url, introspecting(&issuer))).await;
    let outcome = patient.outcome(&issuer.opaque(json!({}))).await;
    assert_eq!(outcome, upstream(UpstreamFault::TimedOut));
    let named = format!("the proxy {} did not open a tunnel", proxy.url.trim_end_matches('/'));
    assert!(logs::last(|record| record.text.contains(&named)).is_some());
}

#[actix_web::test]
async fn variables_set_the_proxy() {
    let (issuer, proxy) = (TestIssuer::start(), TestProxy::forwarding().await);
    let folder = Folder::new();
    let password = folder.file("password", "hunter2\n");
    let read = |variables: &[(&str, &str)]| {
        let own = variables.iter().map(|(name, value)| (format!("P_{name}"), (*value).to_owned()));
        let issuers = issuer
            .variables()
            .into_iter()
            .map(|(name, value)| (name.replace("MONOCLOUD_BACKEND_", "P_"), value));
        ProtectApi::try_from_variables("P_", issuers.chain(own))
    };
    let protect = read(&[
        ("HTTP_PROXY", &proxy.url),
        ("NO_PROXY", "as.example, 10.0.0.0/8"),
        ("HTTP_PROXY_USERNAME", "me"),
        ("HTTP_PROXY_PASSWORD_FILE", &password),
    ]);
    let protect = protect.unwrap();
    assert_eq!(Api::of(&protect, None).await.outcome(&issuer.opaque(json!({}))).await, OK);
    let header = format!("Proxy-Authorization: Basic {}", STANDARD.encode("me:hunter2"));
    assert!(proxy.heads()[0].contains(&header));
    assert!(!format!("{protect:?}").contains("hunter2"));

    let proxy = ("HTTP_PROXY", &*proxy.url);
    for (variables, name, message) in [
        (
            &[("HTTP_PROXY", "https://proxy")][..],
            "HTTP_PROXY",
            "expected an http URL with host and port only (TLS to the proxy is not supported), such as",
        ),
        (&[("HTTP_PROXY", "http://me:hunter2@proxy")], "HTTP_PROXY", "it may hold credentials"),
        (&[("NO_PROXY", "a")], "NO_PROXY", "is set, but P_HTTP_PROXY is not"),
        (&[("HTTP_PROXY_USERNAME", "me")], "HTTP_PROXY_USERNAME", "is set, but P_HTTP_PROXY is not"),
        (&[proxy, ("NO_PROXY", "a:443")], "NO_PROXY", "contains \"a:443\", expected host names without port"),
        (&[proxy, ("HTTP_PROXY_USERNAME", "me")], "HTTP_PROXY_USERNAME", "without a password"),
        (&[proxy, ("HTTP_PROXY_PASSWORD", "hunter2")], "HTTP_PROXY_PASSWORD", "without a user name"),
        (
            &[proxy, ("HTTP_PROXY_USERNAME", "me"), ("HTTP_PROXY_PASSWORD_FILE", "/nowhere")],
            "HTTP_PROXY_USERNAME",
            "/nowhere cannot be read",
        ),
        (
            &[
                proxy,
                ("HTTP_PROXY_USERNAME", "me"),
                ("HTTP_PROXY_PASSWORD", "hunter2"),
                ("HTTP_PROXY_PASSWORD_FILE", &password),
            ],
            "HTTP_PROXY_USERNAME",
            "expected one of them",
        ),
        (
            &[proxy, ("HTTP_PROXY_USERNAME", "m:e"), ("HTTP_PROXY_PASSWORD", "hunter2")],
            "HTTP_PROXY_USERNAME",
            "a colon",
        ),
        (
            &[proxy, ("HTTP_PROXY_USERNAME", "me"), ("HTTP_PROXY_PASSWORD", "hunter2\r\nX: y")],
            "HTTP_PROXY_USERNAME",
            "a control character",
        ),
    ] {
        let error = read(variables).unwrap_err();
        let [problem] = error.problems() else { panic!("{error}") };
        assert_eq!(problem.name, format!("P_{name}"), "{error}");
        assert!(problem.message.contains(message), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

/// tinyproxy of Debian on a free port, stopped when it is dropped.
struct Tinyproxy {
    port: u16,
    child: Child,
    folder: Folder,
}

impl Tinyproxy {
    fn start(settings: &str) -> Self {
        // Another process may take the port before the proxy does: then the next one is tried.
        for _ in 0..5 {
            let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            drop(listener);
            let folder = Folder::new();
            let log = folder.path("log");
            let config =
                format!("Port {port}\nListen 127.0.0.1\nLogFile \"{log}\"\nTimeout 60\n{settings}\n");
            let mut child = Command::new("tinyproxy")
                .args(["-d", "-c", &folder.file("tinyproxy.conf", &config)])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("`tinyproxy` is required: apt-get install tinyproxy");
            let is_up = || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
            let has_ended = |child: &mut Child| child.try_wait().unwrap().is_some();
            while !is_up() && !has_ended(&mut child) {
                std::thread::sleep(Duration::from_millis(20));
            }
            if !has_ended(&mut child) {
                return Self { port, child, folder };
            }
        }
        panic!("tinyproxy does not start");
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap_or_default()
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[actix_web::test]
async fn tinyproxy_forwards_calls_with_its_credentials_only() {
    let issuer = TestIssuer::builder().tls().start();
    let proxy = Tinyproxy::start("BasicAuth me hunter2");
    let with = |realm: &str| through(&proxy.url(), trusting(&issuer)).realm(realm);
    let tokens = [issuer.jwt(json!({})), issuer.opaque(json!({}))];
    for (builder, outcome) in [
        (with("none"), setup(SetupFault::Proxy)),
        (with("wrong").http_proxy_credentials("me", "another"), setup(SetupFault::Proxy)),
        (with("right").http_proxy_credentials("me", "hunter2"), OK),
    ] {
        let api = api(builder).await;
        for token in &tokens {
            assert_eq!(api.outcome(token).await, outcome);
        }
    }
    let tunnel = format!("CONNECT {}", authority(&issuer));
    assert!(eventually(async || proxy.log().contains(&tunnel)).await, "{}", proxy.log());
}

#[actix_web::test]
async fn a_port_that_tinyproxy_does_not_allow_is_a_503() {
    logs::capture();
    let issuer = TestIssuer::builder().tls().start();
    let proxy = Tinyproxy::start("ConnectPort 1");
    let jwts = jwts_only(&issuer).root_certificates(issuer.ca_pem().unwrap());
    let api = api(through(&proxy.url(), jwts)).await;
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, upstream(UpstreamFault::Unreachable));
    let named = format!("the proxy {} rejected the connection to the server with status 403", proxy.url());
    assert!(logs::last(|record| record.text.contains(&named)).is_some());
}
