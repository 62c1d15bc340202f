//! The thread that serves, and its connections.

use std::{
    net::TcpListener as StdListener,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::test::{
    answer,
    endpoint::Endpoint,
    expect_ok,
    fault::{Delivery, Fault},
    http::{self, Response, Unreadable},
    security_event,
    state::IssuerState,
};

/// The longest time that a poll waits for events.
const LONG_POLL: Duration = Duration::from_secs(30);

const LINGER_BYTES: u64 = 16 * 1024 * 1024;

/// The state that the handle in the test and the serving thread share.
pub(super) struct ServerState {
    state: Mutex<IssuerState>,
    /// Changed when a request arrives and when held ones are released.
    changed: watch::Sender<u64>,
}

impl ServerState {
    pub(super) fn new(state: IssuerState) -> Self {
        Self { state: Mutex::new(state), changed: watch::Sender::new(0) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, IssuerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notify(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Waits until the condition holds.
    pub(super) async fn wait_until(&self, condition: impl Fn(&IssuerState) -> bool) {
        let mut changes = self.changed.subscribe();
        while !condition(&self.lock()) {
            // The sender lives as long as `self`.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The serving thread. Dropping it closes the port and every connection.
pub(super) struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(listener: StdListener, tls: Option<TlsAcceptor>, shared: Arc<ServerState>) -> Self {
        expect_ok(listener.set_nonblocking(true), "configure the socket");
        let runtime = expect_ok(
            tokio::runtime::Builder::new_current_thread().enable_all().build(),
            "start the runtime of the test issuer",
        );
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async move {
                let listener = expect_ok(TcpListener::from_std(listener), "listen");
                tokio::select! {
                    () = accept(listener, tls, shared) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = expect_ok(
            std::thread::Builder::new().name("test-issuer".to_owned()).spawn(serve),
            "start the thread of the test issuer",
        );
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported already.
            drop(thread.join());
        }
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<ServerState>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Probably no file descriptor is left; some may be closed soon.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        shared.lock().connections += 1;
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            // Small responses are sent at once; a failure only delays them.
            stream.set_nodelay(true).ok();
            match tls {
                None => serve(stream, &shared).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, &shared).await;
                    }
                }
            }
        });
    }
}

/// A byte stream that gives access to its TCP connection, to reset it.
trait Wire: AsyncRead + AsyncWrite + Unpin {
    fn tcp(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Responds to requests one after the other, until either side closes the connection.
async fn serve<S: Wire>(mut stream: S, shared: &ServerState) {
    let mut buffer = Vec::new();
    loop {
        let request = match http::read_request(&mut stream, &mut buffer).await {
            Ok(request) => request,
            Err(Unreadable::Closed) => return,
            Err(Unreadable::Refused(status)) => {
                let refusal = Response::empty(status);
                http::write_response(&mut stream, &refusal, Delivery::Whole, true).await.ok();
                break;
            }
        };
        let close = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let (endpoint, fault, releases) = shared.lock().receive(&request);
        shared.notify();
        if let Some(fault) = &fault {
            if fault.held {
                shared.wait_until(|state| state.releases(endpoint) != releases).await;
            }
            tokio::time::sleep(fault.delay).await;
        }
        if endpoint == Endpoint::Poll {
            security_event::acknowledge(&mut shared.lock(), &request);
            if security_event::is_long_poll(&request) {
                let arrived = shared.wait_until(|state| !state.events.is_empty());
                tokio::time::timeout(LONG_POLL, arrived).await.ok();
            }
        }
        // Computed after the delay, from the state at that time.
        let real = answer::to(&mut shared.lock(), endpoint, &request);
        let (response, delivery) = apply(fault, real);
        if delivery == Delivery::Reset {
            stream.tcp().set_zero_linger().ok();
            return;
        }
        if delivery == Delivery::Close {
            break;
        }
        match http::write_response(&mut stream, &response, delivery, close).await {
            Ok(true) => {}
            Ok(false) | Err(_) => break,
        }
    }
    close(stream).await;
}

/// Closes the connection so that the peer still receives the last response: closing a socket with unread input
/// would reset it. Further input is read and dropped for a while.
async fn close<S: Wire>(mut stream: S) {
    stream.shutdown().await.ok();
    let rest = &mut stream.take(LINGER_BYTES);
    let (mut nowhere, time) = (tokio::io::sink(), Duration::from_secs(1));
    tokio::time::timeout(time, tokio::io::copy(rest, &mut nowhere)).await.ok();
}

fn apply(fault: Option<Fault>, mut response: Response) -> (Response, Delivery) {
    let Some(fault) = fault else { return (response, Delivery::Whole) };
    if let Some(status) = fault.status {
        response.status = status;
    }
    if let Some(body) = fault.body {
        response.body = body;
    }
    let replaced = |name: &str| fault.headers.iter().any(|(one, _)| one.eq_ignore_ascii_case(name));
    response.headers.retain(|(name, _)| !replaced(name));
    response.headers.extend(fault.headers);
    (response, fault.delivery)
}
