//! A protected API on a port of its own with several workers, for what happens between them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_protect_api::ProtectApi;
use actix_web::{
    App, HttpResponse, HttpServer,
    dev::{ServerHandle, Service as _},
    rt, web,
};
use futures_util::future::join_all;

/// Runs on the test's runtime; the workers have threads of their own. To be stopped at the end.
pub(crate) struct Server {
    pub(crate) address: std::net::SocketAddr,
    handle: ServerHandle,
    arrived: Arc<AtomicUsize>,
    client: awc::Client,
}

impl Server {
    pub(crate) fn start(protect: &ProtectApi, workers: usize) -> Self {
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
                .route("/", web::get().to(HttpResponse::Ok))
        })
        .workers(workers)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
        let address = server.addrs()[0];
        let running = server.run();
        let handle = running.handle();
        rt::spawn(running);
        let client = awc::Client::builder()
            .connector(awc::Connector::new().limit(0))
            .timeout(Duration::from_secs(30))
            .finish();
        Self { address, handle, arrived, client }
    }

    /// Sends one request for each token, all at once, and gives the statuses in the same order.
    pub(crate) async fn statuses<'t>(&self, tokens: impl IntoIterator<Item = &'t str>) -> Vec<u16> {
        join_all(tokens.into_iter().map(|token| self.status(token))).await
    }

    pub(crate) async fn status(&self, token: &str) -> u16 {
        let request = self.client.get(format!("http://{}/", self.address)).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    }

    /// Waits until that many requests have reached the API since its start.
    pub(crate) async fn arrived(&self, count: usize) {
        while self.arrived.load(Ordering::SeqCst) < count {
            rt::time::sleep(Duration::from_millis(2)).await;
        }
        // From the door to the call that they wait for there is nothing to wait for, but a worker may be slow.
        rt::time::sleep(Duration::from_millis(50)).await;
    }

    pub(crate) async fn stop(self) {
        self.handle.stop(false).await;
    }
}
