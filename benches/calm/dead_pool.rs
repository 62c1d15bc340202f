//! Kept-alive connections to the authorization server that all end on their next use: no request may fail.

use std::{rc::Rc, time::Duration};

use actix_protect_api::test::TestIssuer;
use actix_web::rt::{
    net::{TcpListener, TcpStream},
    spawn,
};
use futures_util::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Semaphore,
};

use crate::{
    api::{Api, build, introspecting},
    caller::Caller,
    report::Report,
};

/// Waves of requests after the pool is filled; the connections of each wave die in the next one.
const WAVES: usize = 3;

pub(crate) async fn run() -> bool {
    let mut report = Report::new("dead-pool: every kept-alive connection ends on its next use");
    for connections in [8, 20, 100] {
        for resets in [false, true] {
            wave(&mut report, connections, resets).await;
        }
    }
    report.finish()
}

async fn wave(report: &mut Report, connections: usize, resets: bool) {
    let issuer = TestIssuer::start();
    let endpoint = Endpoint::start(&issuer, connections, resets).await;
    let protect = build(
        introspecting(&issuer)
            .introspection_endpoint(endpoint)
            .introspection_cache_duration(Duration::ZERO)
            .response_timeout(Duration::from_secs(20)),
    );
    let api = Api::start(&protect);
    let mut callers: Vec<_> = (0..connections).map(|_| Caller::new(api.address)).collect();
    let mut good = 0;
    for wave in 0..=WAVES {
        let requests = callers
            .iter_mut()
            .enumerate()
            .map(|(number, caller)| async move { caller.status(&format!("token-{wave}-{number}")).await });
        good += join_all(requests).await.into_iter().filter(|status| matches!(status, Ok(200))).count();
    }
    let all = connections * (WAVES + 1);
    let end = if resets { "reset" } else { "closed" };
    report.tell(
        format!("{connections} connections, {end}: success rate"),
        format!("{} %", (good * 100).checked_div(all).unwrap_or_default()),
    );
    report.exactly(format!("{connections} connections, {end}: let through"), good, all);
    api.stop().await;
}

/// An introspection endpoint that answers once on each connection, and ends it at the next request.
struct Endpoint {
    body: String,
    resets: bool,
    /// Answers of the first wave are held until all its requests are there, so that each has a connection.
    first: Semaphore,
}

impl Endpoint {
    async fn start(issuer: &TestIssuer, connections: usize, resets: bool) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let body =
            json!({ "active": true, "sub": "alice", "iss": issuer.issuer(), "aud": issuer.audience() });
        let endpoint = Rc::new(Self { body: body.to_string(), resets, first: Semaphore::new(0) });
        spawn(async move {
            for number in 1.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                // The gate lets 64 calls through at once.
                if number == connections.min(64) {
                    endpoint.first.close();
                }
                spawn(Rc::clone(&endpoint).serve(stream));
            }
        });
        format!("http://{address}/introspect")
    }

    async fn serve(self: Rc<Self>, mut stream: TcpStream) {
        let mut request = [0; 4096];
        if !stream.read(&mut request).await.is_ok_and(|read| read > 0) {
            return;
        }
        // Closed, not acquired: that is the signal.
        let _ = self.first.acquire().await;
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        );
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
        if self.resets {
            // Dropped with unread bytes, a socket is reset.
            let _ = stream.readable().await;
        } else {
            let _ = stream.read(&mut request).await;
        }
    }
}
