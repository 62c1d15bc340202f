//! Tests many concurrent calls to a server that frames its responses in unusual ways. Each caller must get the
//! response to its request, or an error.

use std::{
    cell::{Cell, RefCell},
    net::Ipv4Addr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_web::rt::{
    net::TcpListener,
    spawn,
    time::{sleep, timeout},
};
use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::{issuer::http::*, settings::Traceparent};

/// The server's reaction to a request. The number of the request is in its path and in the body of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Odd {
    /// Writes these parts, each after a pause of this many milliseconds. `GOOD`, `LENGTH` and `BODY` are replaced.
    Parts(&'static [(u64, &'static str)]),
    /// The same, and closes the connection.
    Close(&'static [(u64, &'static str)]),
}

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: LENGTH\r\n\r\nBODY";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nHEX\r\nBODY\r\n0\r\n\r\n";

/// Responses that are understood. The caller must get the body.
const UNDERSTOOD: &[Odd] = &[
    Odd::Parts(&[(0, GOOD)]),
    Odd::Parts(&[(0, CHUNKED)]),
    Odd::Parts(&[(0, "HTTP/1.1 100 Continue\r\n\r\n"), (0, GOOD)]),
    Odd::Parts(&[(0, "HTTP/1.1 100 Continue\r\n\r\n"), (60, GOOD)]),
    Odd::Parts(&[(0, "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\nContent-Length: 20\r\n\r\n"), (300, GOOD)]),
    Odd::Parts(&[
        (0, "HTTP/1.1 1"),
        (10, "00 Continue\r\n"),
        (10, "\r"),
        (10, "\nHTTP/1.1 "),
        (10, "103 Hints\r\n\r\n"),
        (20, CHUNKED),
    ]),
    Odd::Parts(&[
        (0, "HTTP/1.1 100 A\r\n\r\nHTTP/1.1 199 B\r\n\r\n"),
        (30, "HTTP/1.1 102 C\r\n\r\n"),
        (30, GOOD),
    ]),
    Odd::Parts(&[
        (
            0,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nUpgrade: websocket\r\nContent-Length: LENGTH\r\n\r\n",
        ),
        (30, "BODY"),
    ]),
    Odd::Parts(&[
        (
            0,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: identity\r\nContent-Length: LENGTH\r\n\r\n",
        ),
        (30, "BODY"),
    ]),
    Odd::Close(&[(0, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"), (30, "BODY")]),
    Odd::Close(&[(0, "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: identity\r\n\r\nBODY")]),
    Odd::Close(&[(0, "HTTP/1.0 200 OK\r\n\r\n"), (30, "BODY")]),
    // Two responses to one request, in one segment: the first one is used. (Another test sends the second one
    // later.)
    Odd::Parts(&[(0, "GOODGOOD")]),
    Odd::Parts(&[(0, "CHUNKEDHTTP/1.1 200 OK\r\nContent-Le")]),
];

/// Responses without a meaning: the caller must get an error, or no body.
const UNSUPPORTED_HEADER_PARAMS: &[Odd] = &[
    Odd::Parts(&[(0, "HTTP/1.1 200 OK\r\n\r\n"), (30, "BODY")]),
    Odd::Parts(&[(0, "HTTP/1.1 200 OK\r\n\r\n"), (30, GOOD)]),
    Odd::Parts(&[(0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n"), (30, GOOD)]),
    Odd::Parts(&[(0, "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\n\r\n"), (30, GOOD)]),
    Odd::Parts(&[(0, "HTTP/1.1 204 No Content\r\n\r\n"), (30, GOOD)]),
    Odd::Parts(&[(0, "HTTP/1.1 204 No Content\r\nContent-Length: LENGTH\r\n\r\nBODY"), (30, GOOD)]),
    Odd::Parts(&[(0, "HTTP/1.1 304 Not Modified\r\n\r\n"), (30, GOOD)]),
    Odd::Parts(&[
        (0, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
        (30, GOOD),
    ]),
    Odd::Parts(&[(0, "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"), (30, GOOD)]),
    Odd::Parts(&[(0, "HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n")]),
    Odd::Parts(&[(0, "HTTP/1.1 999 Odd\r\nContent-Length: LENGTH\r\n\r\nBODY")]),
    Odd::Parts(&[(0, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"), (30, GOOD)]),
    Odd::Parts(&[(0, "ICY 200 OK\r\n\r\n"), (30, GOOD)]),
    // Surplus bytes together with a response that has no body.
    Odd::Parts(&[(
        0,
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: LENGTH\r\n\r\nBODY",
    )]),
    Odd::Close(&[(0, "HTTP/1.1 100 Continue\r\n\r\n")]),
    Odd::Close(&[(0, "HTTP/1.1 200 OK\r\nContent-Length: LENGTH\r\n\r\n{")]),
    Odd::Close(&[(0, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nHEX\r\nBODY\r\n")]),
];

/// Serves one connection. The first segment of a path selects the response.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8(read.drain(..end).collect()).unwrap().to_ascii_lowercase();
        let length = head
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.split_once("\r\n").unwrap().0.parse::<usize>().unwrap());
        while read.len() < length {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        read.drain(..length);
        let path = head.split(' ').nth(1).unwrap();
        let mut segments = path.split('/').skip(1);
        let at: usize = segments.next().unwrap().parse().unwrap();
        let odd = UNDERSTOOD.iter().chain(UNSUPPORTED_HEADER_PARAMS).nth(at).unwrap();
        let body = format!("{{\"path\":\"{path}\"}}");
        let (Odd::Parts(parts) | Odd::Close(parts)) = odd;
        for (pause, part) in *parts {
            if *pause > 0 {
                sleep(Duration::from_millis(*pause)).await;
            }
            let part = part
                .replace("GOOD", GOOD)
                .replace("CHUNKED", CHUNKED)
                .replace("LENGTH", &body.len().to_string())
                .replace("HEX", &format!("{:x}", body.len()))
                .replace("BODY", &body);
            stream.write_all(part.as_bytes()).await?;
            stream.flush().await?;
        }
        if let Odd::Close(_) = odd {
            return stream.shutdown().await;
        }
    }
}

const LIMITS: CallLimits =
    CallLimits { deadline: Duration::from_secs(20), max_body: 4096, traceparent: Traceparent::NONE };

/// Sends a request like introspection does.
async fn post(client: &awc::Client, uri: &Uri) -> Result<Reply, AuthError> {
    let (form, bounds) = (Bytes::from_static(b"token=x"), LIMITS.starting_now());
    match post_form(client, uri, Vec::new(), form.clone(), bounds, Reuse::Allowed).await {
        Err(CallFailure::ClosedEarly(_)) => {
            Ok(post_form(client, uri, Vec::new(), form, bounds, Reuse::No).await?)
        }
        outcome => Ok(outcome?),
    }
}

async fn storm(client: &awc::Client, base: &str) {
    let (kinds, understood) = (UNDERSTOOD.len() + UNSUPPORTED_HEADER_PARAMS.len(), UNDERSTOOD.len());
    let failures = RefCell::new(Vec::new());
    let got = Cell::new(0);
    let tasks = (0..24_usize).map(|task| {
        let (failures, got) = (&failures, &got);
        async move {
            for turn in 0..12 {
                // Half of the responses are good, so that there is always a connection that can be reused.
                let at = if turn % 2 == 0 { (task + turn * 5) % kinds } else { turn % 4 / 2 };
                let path = format!("/{at}/{task}/{turn}");
                let uri: Uri = format!("{base}{path}").parse().unwrap();
                let reply =
                    if task % 2 == 0 { post(client, &uri).await } else { get(client, &uri, LIMITS).await };
                let own = format!("{{\"path\":\"{path}\"}}");
                let fair = match &reply {
                    Ok(reply) if at < understood => reply.status == 200 && reply.body == own,
                    Ok(reply) => reply.body.is_empty(),
                    Err(_) => at >= understood,
                };
                got.set(got.get() + usize::from(reply.is_ok()));
                if !fair {
                    let seen =
                        reply.map(|reply| (reply.status, reply.body)).map_err(|error| error.to_string());
                    failures.borrow_mut().push(format!("{path}: {seen:?}"));
                }
            }
        }
    });
    timeout(Duration::from_secs(60), join_all(tasks)).await.expect("a call hangs");
    assert!(failures.borrow().is_empty(), "{:#?}", failures.borrow());
    assert!(got.get() > 0);
}

#[actix_web::test]
async fn no_caller_gets_the_response_of_another_over_plain_tcp() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn(serve(stream));
        }
    });
    storm(&hardened_client(), &base).await;
}

#[cfg(feature = "rustls")]
#[actix_web::test]
async fn no_caller_gets_the_response_of_another_over_tls() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let base = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let connections = Rc::new(Cell::new(0));
    let counter = Rc::clone(&connections);
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.set(counter.get() + 1);
            let acceptor = acceptor.clone();
            spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    let _ = serve(stream).await;
                }
            });
        }
    });
    storm(&client_with(Some(Arc::new(tls)), None), &base).await;
    // Connections are reused: there are fewer connections than calls.
    assert!(connections.get() < 24 * 12, "{}", connections.get());
}

/// Sends bytes while no request is pending. The connection is not used again, although the runtime was not notified
/// of the bytes because its thread was busy.
#[actix_web::test]
async fn a_surplus_response_that_comes_later_is_read_by_nobody() {
    use std::io::{Read as _, Write as _};

    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let uri: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let server = std::thread::spawn(move || {
        let mut request = [0; 2048];
        let (mut first, _) = listener.accept().unwrap();
        assert!(first.read(&mut request).unwrap() > 0);
        first.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0").unwrap();
        asked.recv().unwrap();
        first.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nforeign").unwrap();
        tell.send(()).unwrap();
        let (mut second, _) = listener.accept().unwrap();
        assert!(second.read(&mut request).unwrap() > 0);
        second.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1").unwrap();
    });
    let client = hardened_client();
    assert_eq!(get(&client, &uri, LIMITS).await.ok().unwrap().body, "0");
    // The thread of the runtime is blocked, so only the kernel has the bytes.
    ask.send(()).unwrap();
    told.recv().unwrap();
    assert_eq!(get(&client, &uri, LIMITS).await.ok().unwrap().body, "1");
    server.join().unwrap();
}

/// The way in which a server ends its kept-alive connections.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By a reset when the next request arrives.
    ResetOnUse,
    /// By closing when the next request arrives.
    CloseOnUse,
    /// While they are idle.
    Idle,
}

/// Starts a server whose first connections send one response and then end. The first `pool` responses are held
/// until all those requests have arrived.
async fn dying(pool: usize, end: End) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let gate = Rc::new(tokio::sync::Barrier::new(pool));
    spawn(async move {
        for connection in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let gate = Rc::clone(&gate);
            spawn(async move {
                let mut request = [0; 2048];
                let mut first = true;
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                    if connection < pool {
                        if !first {
                            if let End::ResetOnUse = end {
                                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                            }
                            return;
                        }
                        gate.wait().await;
                    }
                    first = false;
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
                    if connection < pool && matches!(end, End::Idle) {
                        return;
                    }
                }
            });
        }
    });
    base
}

#[actix_web::test]
async fn kept_alive_connections_that_die_cost_no_call() {
    for (pool, end) in [
        (1, End::ResetOnUse),
        (8, End::ResetOnUse),
        (8, End::CloseOnUse),
        (20, End::CloseOnUse),
        (100, End::ResetOnUse),
        (100, End::CloseOnUse),
        (100, End::Idle),
    ] {
        for posts in [true, false] {
            let uri: Uri = dying(pool, end).await.parse().unwrap();
            let client = hardened_client();
            let call =
                || async { if posts { post(&client, &uri).await } else { get(&client, &uri, LIMITS).await } };
            let fine = |replies: Vec<Result<Reply, AuthError>>| {
                replies.iter().all(|reply| reply.as_ref().is_ok_and(Reply::is_ok))
            };
            let filled = timeout(Duration::from_secs(20), join_all((0..pool).map(|_| call()))).await;
            assert!(fine(filled.unwrap()), "{pool} {end:?}");
            // One call alone, then all others at once.
            assert!(call().await.is_ok_and(|reply| reply.is_ok()), "{pool} {end:?}");
            assert!(fine(join_all((0..pool).map(|_| call())).await), "{pool} {end:?}");
        }
    }
}

#[actix_web::test]
async fn only_a_first_call_without_a_connection_sent_nothing() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let closing = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = closing.local_addr().unwrap();
    spawn(async move {
        while let Ok((mut stream, _)) = closing.accept().await {
            let _ = stream.read(&mut [0; 2048]).await;
        }
    });
    for client in [hardened_client(), awc::Client::default()] {
        for (address, reuse, sent_nothing) in [
            (free, Reuse::Allowed, true),
            // The first attempt sent the request, which may be the reason for the failure.
            (free, Reuse::No, false),
            (address, Reuse::Allowed, false),
            (address, Reuse::No, false),
        ] {
            let uri: Uri = format!("http://{address}/").parse().unwrap();
            let sending = post_form(
                &client,
                &uri,
                Vec::new(),
                Bytes::from_static(b"a=b"),
                LIMITS.starting_now(),
                reuse,
            );
            let error = AuthError::from(sending.await.err().unwrap());
            assert_eq!(error.is_before_sending(), sent_nothing, "{address} {reuse:?}");
        }
    }
}
