//! The API under test: two workers on one port.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_protect_api::{
    AuthenticatedRequest, ClientAuthentication, ProtectApi, ProtectApiBuilder, test::TestIssuer,
};
use actix_web::{
    App, HttpServer,
    dev::{ServerHandle, Service as _},
    rt, web,
};

/// How long a client may take for the head of a request.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    handle: ServerHandle,
    arrived: Arc<AtomicUsize>,
}

/// An API of this issuer that introspects.
pub(crate) fn introspecting(issuer: &TestIssuer) -> ProtectApiBuilder {
    ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(issuer.client_secret()))
}

/// An API that accepts JWTs only.
pub(crate) fn jwts_only(issuer: &TestIssuer) -> ProtectApiBuilder {
    ProtectApi::builder(issuer.issuer(), issuer.audience())
}

pub(crate) fn build(builder: ProtectApiBuilder) -> ProtectApi {
    builder.build().expect("valid settings")
}

/// The handlers.
pub(crate) async fn hello(caller: AuthenticatedRequest) -> String {
    format!("hello {}", caller.subject().unwrap_or("machine"))
}

impl Api {
    pub(crate) fn start(protect: &ProtectApi) -> Self {
        let (protect, arrived) = (protect.clone(), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&arrived);
        let server = HttpServer::new(move || {
            let counter = Arc::clone(&counter);
            App::new()
                .wrap(protect.clone())
                .wrap_fn(move |request, service| {
                    counter.fetch_add(1, Ordering::SeqCst);
                    service.call(request)
                })
                .route("/", web::get().to(hello))
        })
        .workers(2)
        .keep_alive(Duration::from_secs(75))
        .client_request_timeout(HEAD_TIMEOUT)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .expect("a free port");
        let address = server.addrs().first().copied().expect("an address");
        let running = server.run();
        let handle = running.handle();
        rt::spawn(running);
        Self { address, handle, arrived }
    }

    /// Waits until that many requests have come in since the start.
    pub(crate) async fn arrived(&self, count: usize) {
        while self.arrived.load(Ordering::SeqCst) < count {
            rt::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn stop(self) {
        self.handle.stop(false).await;
    }
}
