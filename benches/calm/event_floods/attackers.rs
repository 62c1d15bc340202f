//! Strangers that flood the endpoints of events.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_protect_api::test::{Algorithm, JwtOptions, TestIssuer, TestKey};
use actix_web::rt::{self, task::JoinHandle};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{Statuses, good_event};
use crate::{
    caller::{Caller, connect, read},
    random_tokens::random_token,
    report::Report,
};

pub(super) const SET: &str = "Content-Type: application/secevent+jwt\r\n";
pub(super) const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// The connections of each kind of requests.
const CONNECTIONS: usize = 2;
/// The connections that send a body slowly, for each endpoint that reads the body of a stranger.
const SLOW_CLIENTS: usize = 10;
/// The different requests of each kind.
const REQUESTS: usize = 200;

/// One kind of hostile requests.
#[derive(Clone)]
pub(super) struct Hostile {
    name: &'static str,
    path: &'static str,
    headers: String,
    bodies: Rc<[String]>,
    /// The response that is due.
    expected: u16,
    pub(super) has_unknown_key: bool,
}

impl Hostile {
    pub(super) fn all(issuer: &TestIssuer, secret: &str) -> Vec<Self> {
        let stranger = TestKey::generate(Algorithm::ES256, issuer.key(Algorithm::ES256).kid());
        let with_kid = |number: usize| JwtOptions::new().kid(&format!("made-up-{number}"));
        let with_key = |_: usize| JwtOptions::new().key(&stranger);
        // With the `jti` of good events.
        let event = |iss: &str, number: usize| {
            good_event(iss, &format!("target-{number}"), &format!("event-{number}"))
        };
        let logout = |iss: &str, number: usize| {
            let (sid, id) = (format!("session-{number}"), format!("logout-{number}"));
            json!({ "iss": iss, "aud": "spa", "sid": sid, "jti": id })
        };
        let set = |options: &dyn Fn(usize) -> JwtOptions, iss: &str| -> Rc<[String]> {
            (0..REQUESTS).map(|n| issuer.security_event_with(options(n), event(iss, n))).collect()
        };
        let form = |options: &dyn Fn(usize) -> JwtOptions, iss: &str| -> Rc<[String]> {
            let token = |n| issuer.logout_token_with(options(n), logout(iss, n));
            (0..REQUESTS).map(|n| format!("logout_token={}", token(n))).collect()
        };
        let text = |body: String| -> Rc<[String]> { [body].into() };
        let garbage: Rc<[String]> = (0..REQUESTS).map(random_token).collect();
        let (own, elsewhere) = (issuer.issuer(), "https://elsewhere.example.test");
        let large = "a".repeat(64 * 1024 + 1);
        let push = |name, bodies, expected| Self::new(name, "/events", SET, bodies, expected);
        let logged_out = |name, bodies, expected| Self::new(name, "/logout", FORM, bodies, expected);
        let hook = |name, authorization: &str, bodies, expected| {
            let headers = format!("Authorization: {authorization}\r\n");
            Self::new(name, "/webhook", &headers, bodies, expected)
        };
        let user = text(json!({ "user": "target" }).to_string());
        vec![
            push("push: unknown key", set(&with_kid, own), 400).unknown_key(),
            push("push: wrong signature", set(&with_key, own), 400),
            push("push: unknown issuer", set(&with_kid, elsewhere), 400),
            push("push: no token", Rc::clone(&garbage), 400),
            push("push: 64 KiB and a byte", text(large.clone()), 413),
            push("push: repeated", text(issuer.security_event(event(own, usize::MAX))), 202),
            logged_out("logout: unknown key", form(&with_kid, own), 400).unknown_key(),
            logged_out("logout: wrong signature", form(&with_key, own), 400),
            logged_out("logout: unknown issuer", form(&with_kid, elsewhere), 400),
            logged_out("logout: no token", Rc::clone(&garbage), 400),
            logged_out("logout: 64 KiB and a byte", text(format!("logout_token={large}")), 413),
            logged_out(
                "logout: repeated",
                text(format!("logout_token={}", issuer.logout_token(logout(own, usize::MAX)))),
                200,
            ),
            hook("webhook: wrong secret", "Bearer wrong", Rc::clone(&user), 401),
            hook("webhook: another scheme", &format!("Basic {secret}"), Rc::clone(&user), 401),
            hook("webhook: wrong secret, 64 KiB and a byte", "Bearer wrong", text(large), 401),
        ]
    }

    fn new(
        name: &'static str,
        path: &'static str,
        headers: &str,
        bodies: Rc<[String]>,
        expected: u16,
    ) -> Self {
        Self { name, path, headers: headers.to_owned(), bodies, expected, has_unknown_key: false }
    }

    fn unknown_key(mut self) -> Self {
        self.has_unknown_key = true;
        self
    }
}

/// A flood that runs.
pub(super) struct Attack {
    started: Instant,
    is_over: Rc<Cell<bool>>,
    hostile: Vec<Hostile>,
    /// By the index of the kind; the last one is for bodies that are sent slowly.
    seen: Rc<RefCell<BTreeMap<usize, Statuses>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Attack {
    pub(super) fn start(hostile: &[Hostile], address: SocketAddr, length: Duration) -> Self {
        let is_over = Rc::new(Cell::new(false));
        let seen = Rc::<RefCell<BTreeMap<usize, Statuses>>>::default();
        let started = Instant::now();
        let mut clients = Vec::new();
        for (kind, hostile) in hostile.iter().enumerate() {
            for start in (0..CONNECTIONS).map(|client| client * hostile.bodies.len() / CONNECTIONS) {
                let (hostile, seen, is_over) = (hostile.clone(), Rc::clone(&seen), Rc::clone(&is_over));
                clients.push(rt::spawn(async move {
                    let mut caller = Caller::new(address);
                    for body in hostile.bodies.iter().cycle().skip(start).take_while(|_| !is_over.get()) {
                        let status = caller.post(hostile.path, &hostile.headers, body).await.unwrap_or(0);
                        *seen.borrow_mut().entry(kind).or_default().entry(status).or_default() += 1;
                    }
                }));
            }
        }
        for (path, headers) in [("/events", SET), ("/logout", FORM)] {
            for _ in 0..SLOW_CLIENTS {
                let (seen, is_over, kind) = (Rc::clone(&seen), Rc::clone(&is_over), hostile.len());
                clients.push(rt::spawn(async move {
                    while !is_over.get() {
                        let status = drip(address, path, headers).await.unwrap_or(0);
                        *seen.borrow_mut().entry(kind).or_default().entry(status).or_default() += 1;
                    }
                }));
            }
        }
        let over = Rc::clone(&is_over);
        clients.push(rt::spawn(async move {
            rt::time::sleep(length).await;
            over.set(true);
        }));
        Self { started, is_over, hostile: hostile.to_vec(), seen, clients }
    }

    pub(super) fn is_running(&self) -> bool {
        !self.is_over.get()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits for the end, and reports the responses. `may_fail` is whether a kind may get 503.
    pub(super) async fn tell(self, report: &mut Report, may_fail: impl Fn(&Hostile) -> bool) {
        for client in self.clients {
            client.await.expect("a client that ends");
        }
        let seen = self.seen.take();
        let (mut all, mut total, mut failed) = (Statuses::new(), 0, 0);
        for (kind, statuses) in &seen {
            let hostile = self.hostile.get(*kind);
            let sent: usize = statuses.values().sum();
            let (name, expected) =
                hostile.map_or(("a slow body", 408), |hostile| (hostile.name, hostile.expected));
            // The server closes the connection of a body that it does not read. The client may be writing then.
            let is_due = |status: u16| {
                status == expected
                    || (status == 0 && [401, 408, 413].contains(&expected))
                    || (status == 503 && hostile.is_some_and(&may_fail))
            };
            let due: usize =
                statuses.iter().filter(|(status, _)| is_due(**status)).map(|(_, count)| count).sum();
            report.exactly(format!("{name}: {sent}, due {expected}, others"), sent - due, 0);
            for (status, count) in statuses {
                *all.entry(*status).or_default() += count;
                total += count;
                failed += if *status >= 500 && !is_due(*status) { *count } else { 0 };
            }
        }
        let text: Vec<_> = all.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        report.tell("hostile requests", total);
        report.tell("statuses (0: closed)", text.join(", "));
        report.exactly("5xx because of a stranger", failed, 0);
    }
}

/// Sends a byte of the body now and then, so that the body would be complete after 2.5 s.
async fn drip(address: SocketAddr, path: &str, headers: &str) -> io::Result<u16> {
    let mut stream = connect(address).await?;
    let head = format!("POST {path} HTTP/1.1\r\nHost: api\r\nContent-Length: 25\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await?;
    // The response arrives before the body is complete.
    while rt::time::timeout(Duration::from_millis(100), stream.readable()).await.is_err() {
        stream.write_all(b"a").await?;
    }
    Ok(read(&mut stream, &mut Vec::new()).await?.status)
}
