//! A protected API with several workers, for tests of what the workers share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_protect_api::ProtectApi;
use actix_web::{App, HttpResponse, dev::Service as _, rt, web};
use futures_util::future::join_all;

use super::app::{TestApp, serve};

/// Counts the requests that have reached the API, and sends many at once.
pub(crate) struct Server {
    pub(crate) app: TestApp,
    arrived: Arc<AtomicUsize>,
    client: awc::Client,
}

impl Server {
    pub(crate) fn start(protect: &ProtectApi, workers: usize) -> Self {
        let (protect, arrived) = (protect.clone(), Arc::new(AtomicUsize::new(0)));
        let counter = Arc::clone(&arrived);
        let app = serve!(workers, move || {
            let counter = Arc::clone(&counter);
            App::new()
                .wrap(protect.clone())
                .wrap_fn(move |request, service| {
                    counter.fetch_add(1, Ordering::SeqCst);
                    service.call(request)
                })
                .route("/", web::get().to(HttpResponse::Ok))
        });
        let client = awc::Client::builder()
            .connector(awc::Connector::new().limit(0))
            .timeout(Duration::from_secs(30))
            .finish();
        Self { app, arrived, client }
    }

    /// Sends one request for each token, all at once, and returns the statuses in the same order.
    pub(crate) async fn statuses<'t>(&self, tokens: impl IntoIterator<Item = &'t str>) -> Vec<u16> {
        join_all(tokens.into_iter().map(|token| self.status(token))).await
    }

    pub(crate) async fn status(&self, token: &str) -> u16 {
        let request = self.client.get(format!("http://{}/", self.app.address())).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    }

    /// Waits until that many requests have reached the API since its start.
    pub(crate) async fn arrived(&self, count: usize) {
        while self.arrived.load(Ordering::SeqCst) < count {
            rt::time::sleep(Duration::from_millis(2)).await;
        }
        // Nothing can be observed between the arrival and the call, but a worker may be slow.
        rt::time::sleep(Duration::from_millis(50)).await;
    }
}
