//! Limits on waiting: how many requests wait, how long, and for which calls.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use actix_protect_api::{
    ProtectApi, TokenFault,
    UpstreamFault::{Saturated, TimedOut},
    test::{Endpoint, Fault, JwtOptions, TestIssuer},
};
use actix_web::{
    App, HttpResponse,
    rt::{self, time::timeout},
    web,
};
use futures_util::future::{join, join_all};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    app::serve,
    service::{Api, OK, Outcome, api, introspecting, jwts_only, timed_issuer, token, upstream},
    time::PATIENCE,
};

fn count(outcomes: &[Outcome], outcome: Outcome) -> usize {
    outcomes.iter().filter(|seen| **seen == outcome).count()
}

/// Sends these tokens at once to an API in which ten may wait, while the endpoint does not respond. Returns the outcomes.
async fn crowd(protect: &ProtectApi, issuer: &TestIssuer, held: Endpoint, tokens: &[String]) -> Vec<Outcome> {
    let api = Api::of(protect, None).await;
    issuer.fault(held, Fault::hold().always());
    let ended = AtomicUsize::new(0);
    let requests = join_all(tokens.iter().map(|token| async {
        let outcome = api.outcome(token).await;
        ended.fetch_add(1, Ordering::SeqCst);
        outcome
    }));
    let meanwhile = async {
        while ended.load(Ordering::SeqCst) < tokens.len() - 11 {
            rt::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(protect.status().calls_waiting, 10, "the leader does not count");
        issuer.clear_faults();
    };
    let (outcomes, ()) = timeout(PATIENCE, join(requests, meanwhile)).await.expect("too many wait");
    assert_eq!(protect.status().calls_waiting, 0);
    outcomes
}

#[actix_web::test]
async fn one_request_leads_ten_wait_for_its_call_and_the_others_are_refused_at_once() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).max_waiting(10).build().unwrap();
    let good = issuer.opaque(json!({}));
    assert_eq!(Api::of(&protect, None).await.outcome(&good).await, OK);
    issuer.reset_counters();
    let outcomes = crowd(&protect, &issuer, Endpoint::Introspection, &vec![good; 500]).await;
    assert_eq!((count(&outcomes, OK), count(&outcomes, upstream(Saturated))), (11, 489));
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
}

#[actix_web::test]
async fn a_bounded_number_of_requests_waits_for_the_first_metadata_and_the_first_keys() {
    for held in [Endpoint::Discovery, Endpoint::Jwks] {
        let issuer = TestIssuer::start();
        let protect = jwts_only(&issuer).max_waiting(10).build().unwrap();
        if held == Endpoint::Jwks {
            // This fetches the metadata.
            Api::of(&protect, None).await.outcome("opaque").await.unwrap_err();
        }
        let jwts: Vec<_> = (0..200).map(|_| issuer.jwt(json!({}))).collect();
        let outcomes = crowd(&protect, &issuer, held, &jwts).await;
        assert_eq!((count(&outcomes, OK), count(&outcomes, upstream(Saturated))), (11, 189), "{held:?}");
        assert_eq!(issuer.count(held), 1);
    }
}

#[actix_web::test]
async fn jwts_with_an_unknown_key_wait_in_bounds_and_hold_up_nobody_with_a_known_one() {
    let (issuer, clock) = timed_issuer();
    let protect = introspecting(&issuer).max_waiting(10).clock(clock.clone()).build().unwrap();
    let api = Api::of(&protect, None).await;
    let known = issuer.jwt(json!({}));
    assert_eq!(api.outcome(&known).await, OK);
    let invented = |number| JwtOptions::new().kid(&format!("invented-{number}"));
    let unknown: Vec<_> = (0..100).map(|number| issuer.jwt_with(invented(number), json!({}))).collect();
    clock.advance(Duration::from_secs(30));
    issuer.fault(Endpoint::Jwks, Fault::hold().always());
    let ended = AtomicUsize::new(0);
    let strangers = join_all(unknown.iter().map(|token| async {
        let outcome = api.outcome(token).await;
        ended.fetch_add(1, Ordering::SeqCst);
        outcome
    }));
    let meanwhile = async {
        while ended.load(Ordering::SeqCst) < 100 - 11 {
            rt::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(protect.status().calls_waiting, 10);
        let others: Vec<_> = (0..50).map(|_| issuer.jwt(json!({}))).collect();
        let others = join_all(others.iter().map(|token| api.outcome(token))).await;
        assert_eq!((count(&others, OK), api.outcome(&known).await), (50, OK));
        assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
        issuer.clear_faults();
    };
    let (strangers, ()) = timeout(PATIENCE, join(strangers, meanwhile)).await.expect("too many wait");
    let unknown = token(TokenFault::UnknownKey);
    assert_eq!((count(&strangers, unknown), count(&strangers, upstream(Saturated))), (11, 89));
    assert_eq!(issuer.count(Endpoint::Jwks), 2);
}

#[actix_web::test]
async fn all_that_one_request_waits_for_has_one_deadline() {
    let late = Duration::from_millis(600);
    for (slow, needs_jwt) in [
        // Each is within the deadline of a second; their sum is not.
        ([Endpoint::Discovery, Endpoint::AuthorizationServerMetadata], false),
        ([Endpoint::Discovery, Endpoint::Introspection], false),
        ([Endpoint::Discovery, Endpoint::Jwks], true),
    ] {
        let issuer = TestIssuer::start();
        let api = api(introspecting(&issuer).response_timeout(Duration::from_secs(1))).await;
        for endpoint in slow {
            issuer.fault(endpoint, Fault::delay(late));
        }
        if slow[1] == Endpoint::AuthorizationServerMetadata {
            issuer.clear_faults();
            issuer.fault(Endpoint::Discovery, Fault::status(404).with_delay(late));
            issuer.fault(slow[1], Fault::delay(late));
        }
        let token = if needs_jwt { issuer.jwt(json!({})) } else { issuer.opaque(json!({})) };
        assert_eq!(api.outcome(&token).await, upstream(TimedOut), "{slow:?}");
        if slow[1] != Endpoint::AuthorizationServerMetadata {
            assert_eq!(issuer.count(Endpoint::Discovery), 1);
            assert_eq!(api.outcome(&token).await, OK, "what was fetched is there");
            assert_eq!(issuer.count(Endpoint::Discovery), 1);
        }
    }
}

#[actix_web::test]
async fn within_five_seconds_after_an_outage_documents_are_fetched_again() {
    for fault in [Fault::status(500), Fault::status(429), Fault::reset(), Fault::body("nonsense")] {
        for endpoint in [Endpoint::Discovery, Endpoint::Jwks] {
            for outage in [1, 8, 60] {
                let (issuer, clock) = timed_issuer();
                let api = api(jwts_only(&issuer).clock(clock.clone())).await;
                let jwt = issuer.jwt(json!({}));
                issuer.fault(endpoint, fault.clone().always());
                if endpoint == Endpoint::Discovery {
                    issuer.fault(Endpoint::AuthorizationServerMetadata, fault.clone().always());
                }
                for _ in 0..2 * outage {
                    assert!(api.outcome(&jwt).await.is_err());
                    clock.advance(Duration::from_millis(500));
                }
                issuer.clear_faults();
                clock.advance(Duration::from_secs(5));
                assert_eq!(api.outcome(&jwt).await, OK, "{endpoint:?} {outage} s");
            }
        }
    }
}

/// Threads of an API that its handler `/block` blocks until the test ends that.
#[derive(Default)]
struct Blocked {
    unblock: Mutex<Vec<mpsc::Sender<()>>>,
}

impl Blocked {
    fn block(&self) {
        let (unblock, unblocked) = mpsc::channel();
        self.lock().push(unblock);
        let _ = unblocked.recv_timeout(PATIENCE);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::Sender<()>>> {
        self.unblock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to one worker.
struct Connection {
    stream: TcpStream,
    worker: String,
}

impl Connection {
    async fn send(&mut self, path: &str, token: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
    }

    /// The status, and the body of a short response.
    async fn receive(&mut self) -> (u16, String) {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            let read = self.stream.read(&mut buffer).await.unwrap();
            assert_ne!(read, 0, "closed");
            bytes.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                let status = head.split(' ').nth(1).unwrap();
                return (status.parse().unwrap(), body.to_owned());
            }
        }
    }
}

/// A worker leads a call or a fetch and is then blocked by another handler of the application.
#[actix_web::test]
async fn a_blocked_worker_holds_up_no_request_of_another_one() {
    for held in [Endpoint::Introspection, Endpoint::Discovery, Endpoint::Jwks] {
        let issuer = TestIssuer::start();
        let token = if held == Endpoint::Jwks { issuer.jwt(json!({})) } else { issuer.opaque(json!({})) };
        let protect = introspecting(&issuer).response_timeout(Duration::from_secs(4)).build().unwrap();
        let blocked = Arc::new(Blocked::default());
        let data = web::Data::from(Arc::clone(&blocked));
        let app = serve!(2, move || {
            App::new()
                .app_data(data.clone())
                .route("/worker", web::get().to(async || format!("{:?}", std::thread::current().id())))
                .route(
                    "/block",
                    web::get().to(async |blocked: web::Data<Blocked>| {
                        blocked.block();
                        "unblocked"
                    }),
                )
                .service(web::resource("/").wrap(protect.clone()).get(HttpResponse::Ok))
        });
        // The first two of the same worker, and one of the other.
        let mut connections: Vec<Connection> = Vec::new();
        let (leader, blocker, follower) = loop {
            let stream = TcpStream::connect(app.address()).await.unwrap();
            let mut connection = Connection { stream, worker: String::new() };
            connection.send("/worker", "").await;
            connection.worker = connection.receive().await.1;
            connections.push(connection);
            let first = connections[0].worker.clone();
            let same: Vec<_> = (1..connections.len()).filter(|at| connections[*at].worker == first).collect();
            let other = (1..connections.len()).find(|at| connections[*at].worker != first);
            if let (Some(same), Some(other)) = (same.first(), other) {
                break (0, *same, other);
            }
        };
        issuer.fault(held, Fault::hold().always());
        connections[leader].send("/", &token).await;
        timeout(PATIENCE, issuer.received(held, 1)).await.expect("no call was made");
        connections[blocker].send("/block", "").await;
        while blocked.lock().is_empty() {
            rt::time::sleep(Duration::from_millis(2)).await;
        }
        issuer.clear_faults();
        connections[follower].send("/", &token).await;
        let (status, _) =
            timeout(PATIENCE, connections[follower].receive()).await.expect("a request does not end");
        assert_eq!((status, issuer.count(held)), (200, 2), "{held:?}");
        for unblock in blocked.lock().drain(..) {
            unblock.send(()).expect("the worker was not blocked any more");
        }
        timeout(PATIENCE, connections[leader].receive()).await.expect("the leader hangs");
    }
}
