//! Attacks on an API that validates JWTs: tokens of invented keys, tokens and heads that are too large, heads
//! that never end. Good requests are served beside them all.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_protect_api::test::{Endpoint, JwtOptions, TestIssuer};
use actix_web::rt::{self, task::JoinHandle};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::{
    api::{Api, HEAD_TIMEOUT, build, jwts_only},
    caller::{Caller, connect, head, read},
    report::Report,
};

const ATTACKERS: usize = 16;
const SLOW_CLIENTS: usize = 50;
/// At most one fetch because of an unknown key in this time.
const COOLDOWN: Duration = Duration::from_secs(1);

/// How often each status was seen; 0 stands for a connection that was closed without one.
type Statuses = BTreeMap<u16, usize>;

pub(crate) async fn run(count: usize) -> bool {
    let mut report = Report::new("kids: unknown keys, oversized and slow heads");
    let issuer = TestIssuer::start();
    let api = Api::start(&build(jwts_only(&issuer).jwks_cooldown(COOLDOWN)));
    let good: Vec<_> = (0..100).map(|_| issuer.jwt(json!({ "sub": "alice" }))).collect();
    let good = Good::start(&good, api.address);

    unknown_keys(&mut report, &issuer, api.address, count).await;
    good.tell(&mut report, "meanwhile");
    oversized(&mut report, &good, api.address).await;
    good.tell(&mut report, "meanwhile");
    slow(&mut report, api.address).await;
    good.tell(&mut report, "meanwhile");

    good.stop().await;
    api.stop().await;
    report.finish()
}

/// Each token names a different key, which does not exist.
async fn unknown_keys(report: &mut Report, issuer: &TestIssuer, address: SocketAddr, count: usize) {
    let token = |number| issuer.jwt_with(JwtOptions::new().kid(&format!("made-up-{number}")), json!({}));
    let tokens: Vec<_> = (0..count).map(token).collect();
    let (fetches, started) = (issuer.count(Endpoint::Jwks), Instant::now());
    // Everything once, and again until some cooldowns have passed.
    let attack = tokens.chunks(count.div_ceil(ATTACKERS).max(1)).map(|share| {
        let share = share.to_vec();
        rt::spawn(async move {
            let (mut caller, mut seen) = (Caller::new(address), Statuses::new());
            for (turn, token) in share.iter().cycle().enumerate() {
                if turn >= share.len() && started.elapsed() >= COOLDOWN * 3 {
                    break;
                }
                *seen.entry(caller.status(token).await.unwrap_or(0)).or_default() += 1;
            }
            seen
        })
    });
    let seen = sum(attack.collect()).await;
    // One at once, and one after each cooldown.
    let allowed = 1 + usize::try_from(started.elapsed().as_secs() / COOLDOWN.as_secs()).unwrap_or(0);
    report.tell("JWTs that name an unknown key", count);
    let total: usize = seen.values().sum();
    report.tell("requests with them", total);
    report.exactly("of them refused (401)", of(&seen, 401), total);
    report.at_most("fetches of the key set", issuer.count(Endpoint::Jwks) - fetches, allowed);
}

/// Tokens beyond the longest allowed, and beyond what the server takes as a head.
async fn oversized(report: &mut Report, good: &Good, address: SocketAddr) {
    for (what, length, wanted) in [("64 KiB", 64 << 10, 40), ("1 MiB", 1 << 20, 10)] {
        let calls = (0..wanted).map(|_| {
            rt::spawn(async move {
                let status = Caller::new(address).status(&"a".repeat(length)).await;
                Statuses::from([(status.unwrap_or(0), 1)])
            })
        });
        let seen = sum(calls.collect()).await;
        report.tell(format!("tokens of {what}: statuses (0: closed)"), text(&seen));
        report.exactly(format!("tokens of {what}: refused or cut off"), refused(&seen), wanted);
    }
    // There shall be some beside them, however quick that was.
    good.some_more().await;
}

/// A byte of the head now and then, of a request that would be let through.
async fn slow(report: &mut Report, address: SocketAddr) {
    let trickle = |address| async move {
        let mut stream = connect(address).await?;
        let head = head("Authorization: Bearer e30.e30.e30\r\n");
        let pause = HEAD_TIMEOUT / 20;
        for byte in head.as_bytes() {
            rt::time::sleep(pause).await;
            if stream.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        io::Result::Ok(read(&mut stream, &mut Vec::new()).await?.status)
    };
    let clients = (0..SLOW_CLIENTS)
        .map(|_| rt::spawn(async move { Statuses::from([(trickle(address).await.unwrap_or(0), 1)]) }));
    let seen = sum(clients.collect()).await;
    report.tell("clients that trickle a head: statuses (0: closed)", text(&seen));
    report.exactly("clients that trickle a head: cut off", refused(&seen), SLOW_CLIENTS);
}

/// Neither let through nor a fault of the server's.
fn refused(seen: &Statuses) -> usize {
    seen.iter().filter(|(status, _)| matches!(status, 0 | 400..500)).map(|(_, count)| count).sum()
}

fn of(seen: &Statuses, status: u16) -> usize {
    seen.get(&status).copied().unwrap_or(0)
}

fn text(seen: &Statuses) -> String {
    seen.iter().map(|(status, count)| format!("{status}: {count}")).collect::<Vec<_>>().join(", ")
}

async fn sum(tasks: Vec<JoinHandle<Statuses>>) -> Statuses {
    let mut sum = Statuses::new();
    for task in tasks {
        for (status, count) in task.await.expect("a client that ends") {
            *sum.entry(status).or_default() += count;
        }
    }
    sum
}

/// Clients with good tokens, from start to stop.
struct Good {
    seen: Rc<RefCell<Statuses>>,
    over: Rc<Cell<bool>>,
    clients: Vec<JoinHandle<()>>,
}

impl Good {
    fn start(tokens: &[String], address: SocketAddr) -> Self {
        let (seen, over) = (Rc::new(RefCell::new(Statuses::new())), Rc::new(Cell::new(false)));
        let client = |share: &[String]| {
            let (tokens, seen, over) = (share.to_vec(), Rc::clone(&seen), Rc::clone(&over));
            rt::spawn(async move {
                let mut caller = Caller::new(address);
                for token in tokens.iter().cycle().take_while(|_| !over.get()) {
                    let status = caller.status(token).await.unwrap_or(0);
                    *seen.borrow_mut().entry(status).or_default() += 1;
                    rt::time::sleep(Duration::from_millis(1)).await;
                }
            })
        };
        let clients = tokens.chunks(25).map(client).collect();
        Self { seen, over, clients }
    }

    /// Reports what was seen since the last time.
    fn tell(&self, report: &mut Report, when: &str) {
        let seen = std::mem::take(&mut *self.seen.borrow_mut());
        let total: usize = seen.values().sum();
        report.at_least(format!("good requests {when}"), total, 1);
        report.exactly("of them let through", of(&seen, 200), total);
    }

    async fn some_more(&self) {
        let count = || self.seen.borrow().values().sum::<usize>();
        let wanted = count() + 10;
        while count() < wanted {
            rt::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn stop(self) {
        self.over.set(true);
        for client in self.clients {
            client.await.expect("a client that ends");
        }
    }
}
