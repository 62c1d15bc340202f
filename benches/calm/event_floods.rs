//! Floods of the endpoints of events, a transmitter without usable keys, and transmitters that misbehave when they are polled.
//! Good events and good requests are sent beside them all.

mod attackers;
mod polls;
mod transmitter;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_protect_api::{
    ProtectApi, Revocation, Ssf,
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::{
    App, HttpServer,
    dev::ServerHandle,
    rt::{self, task::JoinHandle},
    web,
};
use serde_json::{Value, json};

use self::attackers::{Attack, Hostile};
use crate::{
    api::{HEAD_TIMEOUT, build, hello, jwts_only},
    caller::Caller,
    memory,
    report::{Report, latencies},
};

pub(super) const STREAM: &str = "https://stream.example.test";
const SECRET: &str = "secret-of-the-webhook";
const CALLERS: usize = 4;
/// At most one fetch because of an unknown key in this time, for each key set.
const COOLDOWN: Duration = Duration::from_secs(1);
/// The key set of the API and that of the transmitter.
const KEY_SETS: usize = 2;
/// The growth of the process after the first third of a flood.
const GROWTH_KIB: usize = 16 * 1024;

/// How often each status was seen; 0 stands for a connection that was closed without one.
type Statuses = BTreeMap<u16, usize>;

pub(crate) async fn run(length: Duration) -> bool {
    let mut report = Report::new("event-floods: push, back-channel logout and webhook");
    let issuer = TestIssuer::start();
    let protect = build(jwts_only(&issuer).jwks_cooldown(COOLDOWN).response_timeout(Duration::from_secs(1)));
    let (handle, address) = serve(&issuer, &protect);
    let mut good = GoodEvents::new(&issuer, address);
    // The keys are fetched.
    for sender in Sender::ALL {
        good.send(sender).await;
    }
    let misbehaviours = polls::misbehaviours(&issuer);
    let callers = Callers::start(&issuer, address);
    let hostile = Hostile::all(&issuer, SECRET);

    flood(&mut report, &issuer, &hostile, &mut good, length).await;
    callers.tell(&mut report);
    without_keys(&mut report, &issuer, &hostile, &mut good, length / 3).await;
    callers.tell(&mut report);
    let held = report.finish();

    let mut report = Report::new("event-floods: polls of transmitters that misbehave");
    polls::run(&mut report, &issuer, &protect, misbehaviours, length).await;
    callers.tell(&mut report);
    callers.stop().await;
    handle.stop(false).await;
    held & report.finish()
}

/// The endpoints are created in the closure of each worker.
fn serve(issuer: &TestIssuer, protect: &ProtectApi) -> (ServerHandle, SocketAddr) {
    let (ssf, protect) = (Ssf::transmitter(issuer.issuer()).audience(STREAM), protect.clone());
    let server = HttpServer::new(move || {
        let by_name = |body: &Value| body["user"].as_str().map(Revocation::subject).into_iter().collect();
        App::new()
            .service(protect.ssf_push("/events", ssf.clone()))
            .service(protect.backchannel_logout("/logout", ["spa"]))
            .service(protect.revocation_webhook("/webhook", SECRET, by_name))
            .service(web::resource("/").wrap(protect.clone()).route(web::get().to(hello)))
    });
    let server = server.workers(2).client_request_timeout(HEAD_TIMEOUT).disable_signals();
    let server = server.bind(("127.0.0.1", 0)).expect("a free port");
    let address = server.addrs().first().copied().expect("an address");
    let running = server.run();
    let handle = running.handle();
    rt::spawn(running);
    (handle, address)
}

/// All three endpoints at the same time.
async fn flood(
    report: &mut Report,
    issuer: &TestIssuer,
    hostile: &[Hostile],
    good: &mut GoodEvents<'_>,
    length: Duration,
) {
    let fetches = Fetches::count(issuer);
    let attack = Attack::start(hostile, good.address, length);
    let mut resident = None;
    while attack.is_running() {
        good.send_one_of_each().await;
        if resident.is_none() && attack.elapsed() >= length / 3 {
            resident = memory::resident();
        }
    }
    let elapsed = attack.elapsed();
    attack.tell(report, |_| false).await;
    fetches.tell(report, issuer, elapsed);
    good.tell(report);
    report.growth(resident, GROWTH_KIB);
}

/// The key set cannot be fetched. The known keys are still used.
async fn without_keys(
    report: &mut Report,
    issuer: &TestIssuer,
    hostile: &[Hostile],
    good: &mut GoodEvents<'_>,
    length: Duration,
) {
    issuer.fault(Endpoint::Jwks, Fault::status(503).always());
    let fetches = Fetches::count(issuer);
    let attack = Attack::start(hostile, good.address, length);
    while attack.is_running() {
        good.send_one_of_each().await;
    }
    let elapsed = attack.elapsed();
    report.tell("the key set cannot be fetched", format!("{:.1} s", elapsed.as_secs_f64()));
    // The key of such an event may be new, so it must be delivered again.
    attack.tell(report, |hostile| hostile.has_unknown_key).await;
    fetches.tell(report, issuer, elapsed);
    good.tell(report);
    issuer.clear_faults();
}

/// The fetches before a flood.
struct Fetches {
    keys: usize,
    metadata: usize,
}

impl Fetches {
    fn count(issuer: &TestIssuer) -> Self {
        let metadata = issuer.count(Endpoint::Discovery) + issuer.count(Endpoint::SsfConfiguration);
        Self { keys: issuer.count(Endpoint::Jwks), metadata }
    }

    fn tell(&self, report: &mut Report, issuer: &TestIssuer, elapsed: Duration) {
        let now = Self::count(issuer);
        // One at once, and one after each cooldown.
        let each = 1 + usize::try_from(elapsed.as_secs() / COOLDOWN.as_secs()).unwrap_or(0);
        report.at_most("fetches of the two key sets", now.keys - self.keys, KEY_SETS * each);
        report.exactly("fetches of metadata", now.metadata - self.metadata, 0);
    }
}

#[derive(Clone, Copy)]
enum Sender {
    Push,
    Logout,
    Webhook,
}

impl Sender {
    const ALL: [Self; 3] = [Self::Push, Self::Logout, Self::Webhook];
}

/// Events that revoke the tokens of one user each.
struct GoodEvents<'i> {
    issuer: &'i TestIssuer,
    address: SocketAddr,
    caller: Caller,
    sent: usize,
    /// Events after which the token, which was accepted before, was rejected.
    applied: usize,
    took: Vec<Duration>,
}

impl<'i> GoodEvents<'i> {
    fn new(issuer: &'i TestIssuer, address: SocketAddr) -> Self {
        Self { issuer, address, caller: Caller::new(address), sent: 0, applied: 0, took: Vec::new() }
    }

    async fn send_one_of_each(&mut self) {
        for sender in Sender::ALL {
            self.send(sender).await;
            rt::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn send(&mut self, sender: Sender) {
        let number = self.sent;
        let user = format!("victim-{number}");
        self.sent += 1;
        let token = self.issuer.jwt(json!({ "sub": user }));
        let (path, headers, body, accepted) = match sender {
            Sender::Push => {
                // Strangers have sent forged events with the first of these.
                let id = format!("event-{number}");
                let set = self.issuer.security_event(good_event(self.issuer.issuer(), &user, &id));
                ("/events", attackers::SET.to_owned(), set, 202)
            }
            Sender::Logout => {
                let claims = json!({ "aud": "spa", "sub": user, "jti": format!("logout-{number}") });
                let logout = self.issuer.logout_token(claims);
                ("/logout", attackers::FORM.to_owned(), format!("logout_token={logout}"), 200)
            }
            Sender::Webhook => {
                let body = json!({ "user": user }).to_string();
                ("/webhook", format!("Authorization: Bearer {SECRET}\r\n"), body, 204)
            }
        };
        let before = self.caller.status(&token).await.unwrap_or(0);
        let started = Instant::now();
        let status = self.caller.post(path, &headers, &body).await.unwrap_or(0);
        self.took.push(started.elapsed());
        let after = self.caller.status(&token).await.unwrap_or(0);
        self.applied += usize::from((before, status, after) == (200, accepted, 401));
    }

    /// Reports the events since the last time.
    fn tell(&mut self, report: &mut Report) {
        report.at_least("good events meanwhile", self.sent, 1);
        report.exactly("of them applied", self.applied, self.sent);
        report.tell("time until a good event was accepted", latencies(std::mem::take(&mut self.took)));
    }
}

/// The claims of an event that revokes the tokens of this user.
fn good_event(issuer: &str, user: &str, id: &str) -> Value {
    json!({
        "iss": issuer,
        "jti": id,
        "aud": STREAM,
        "sub_id": { "format": "iss_sub", "iss": issuer, "sub": user },
        "events": { "session-revoked": {} },
    })
}

/// Clients of the API with good tokens, from start to stop.
struct Callers {
    seen: Rc<RefCell<(Statuses, Vec<Duration>)>>,
    over: Rc<Cell<bool>>,
    clients: Vec<JoinHandle<()>>,
}

impl Callers {
    fn start(issuer: &TestIssuer, address: SocketAddr) -> Self {
        let (seen, over) = (Rc::<RefCell<(Statuses, Vec<Duration>)>>::default(), Rc::new(Cell::new(false)));
        let client = |number: usize| {
            let token = issuer.jwt(json!({ "sub": format!("caller-{number}") }));
            let (seen, over) = (Rc::clone(&seen), Rc::clone(&over));
            rt::spawn(async move {
                let mut caller = Caller::new(address);
                while !over.get() {
                    let started = Instant::now();
                    let status = caller.status(&token).await.unwrap_or(0);
                    {
                        let (statuses, took) = &mut *seen.borrow_mut();
                        *statuses.entry(status).or_default() += 1;
                        took.push(started.elapsed());
                    }
                    rt::time::sleep(Duration::from_millis(2)).await;
                }
            })
        };
        let clients = (0..CALLERS).map(client).collect();
        Self { seen, over, clients }
    }

    /// Reports the requests since the last time.
    fn tell(&self, report: &mut Report) {
        let (statuses, took) = self.seen.take();
        let total: usize = statuses.values().sum();
        report.at_least("requests of API callers meanwhile", total, 1);
        report.exactly("of them accepted", statuses.get(&200).copied().unwrap_or(0), total);
        report.tell("their latencies", latencies(took));
    }

    async fn stop(self) {
        self.over.set(true);
        for client in self.clients {
            client.await.expect("a client that ends");
        }
    }
}
