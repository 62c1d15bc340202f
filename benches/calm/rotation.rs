//! The issuer changes its keys while JWTs are in use: no token that should pass is refused, and each change costs one
//! fetch of the key set.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_protect_api::test::{Endpoint, Rotation, TestIssuer};
use actix_web::rt;
use serde_json::json;

use crate::{
    api::{Api, build, jwts_only},
    caller::Caller,
    report::Report,
};

const CLIENTS: usize = 8;
/// At most one fetch because of an unknown key in this time.
const COOLDOWN: Duration = Duration::from_secs(1);
/// How long each state of the keys is under load; longer than the cooldown.
const STAGE: Duration = Duration::from_millis(1_500);

/// The tokens that the clients use, and their results.
#[derive(Default)]
struct Load {
    tokens: RefCell<Vec<String>>,
    over: Cell<bool>,
    statuses: RefCell<BTreeMap<u16, usize>>,
    broken_connections: Cell<usize>,
    /// Of tokens that should have passed.
    refused: Cell<usize>,
    last_refusal: Cell<Option<Instant>>,
}

pub(crate) async fn run() -> bool {
    let mut report = Report::new("rotation: keys change under load");
    let issuer = TestIssuer::start();
    let api = Api::start(&build(jwts_only(&issuer).jwks_cooldown(COOLDOWN)));
    let load = Rc::new(Load::default());
    let mint = |count: usize| (0..count).map(|_| issuer.jwt(json!({ "sub": "alice" }))).collect::<Vec<_>>();

    let first = mint(50);
    load.tokens.replace(first.clone());
    let clients: Vec<_> =
        (0..CLIENTS).map(|number| rt::spawn(client(Rc::clone(&load), api.address, number))).collect();
    rt::time::sleep(STAGE).await;

    // Both old and new ones are in use.
    issuer.rotate_keys(Rotation::Add);
    let second = mint(50);
    load.tokens.borrow_mut().extend(second.clone());
    stage(&mut report, &load, "added beside the old").await;

    // The old ones are withdrawn first, by those who use them.
    load.tokens.borrow_mut().clear();
    rt::time::sleep(COOLDOWN / 5).await;
    issuer.rotate_keys(Rotation::Replace);
    let third = mint(50);
    load.tokens.replace(third.clone());
    stage(&mut report, &load, "in place of the old").await;
    let mut caller = Caller::new(api.address);
    let mut gone = Vec::new();
    for token in first.iter().chain(&second).take(60) {
        gone.push(caller.status(token).await);
    }
    // Their unknown keys have cost a fetch, and started a cooldown.
    rt::time::sleep(COOLDOWN).await;

    load.tokens.borrow_mut().clear();
    rt::time::sleep(COOLDOWN / 5).await;
    issuer.rotate_keys(Rotation::SameKid);
    let fourth = mint(50);
    load.tokens.replace(fourth);
    stage(&mut report, &load, "in place of the old, under its kid").await;
    for token in &third {
        gone.push(caller.status(token).await);
    }

    load.over.set(true);
    for client in clients {
        client.await.expect("a client that ends");
    }
    let total: usize = load.statuses.borrow().values().sum();
    report.tell("requests under load", total);
    report.at_least("of them answered 200", load.statuses.borrow().get(&200).copied().unwrap_or(0), 100);
    report.exactly("broken connections", load.broken_connections.get(), 0);
    report.tell("tokens of withdrawn keys", gone.len());
    let refused = gone.iter().filter(|status| matches!(status, Ok(401))).count();
    report.exactly("of them refused", refused, gone.len());
    // The first set, one for each change, and one for each of the two times that withdrawn keys were looked for.
    report.at_most("fetches of the key set", issuer.count(Endpoint::Jwks), 1 + 3 + 2);
    api.stop().await;
    report.finish()
}

async fn stage(report: &mut Report, load: &Load, what: &str) {
    let (started, refused) = (Instant::now(), load.refused.get());
    rt::time::sleep(STAGE).await;
    report.exactly(format!("refused after a key was {what}"), load.refused.get() - refused, 0);
    if let Some(last) = load.last_refusal.get().filter(|last| *last > started) {
        report.tell("the last of them, after the change", format!("{} ms", (last - started).as_millis()));
    }
}

async fn client(load: Rc<Load>, address: std::net::SocketAddr, number: usize) {
    let mut caller = Caller::new(address);
    let mut turn = number;
    while !load.over.get() {
        let token = {
            let tokens = load.tokens.borrow();
            tokens.get(turn % tokens.len().max(1)).cloned()
        };
        turn += CLIENTS + 1;
        let Some(token) = token else {
            rt::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        match caller.status(&token).await {
            Ok(status) => {
                *load.statuses.borrow_mut().entry(status).or_default() += 1;
                if status != 200 {
                    load.refused.set(load.refused.get() + 1);
                    load.last_refusal.set(Some(Instant::now()));
                }
            }
            Err(_) => load.broken_connections.set(load.broken_connections.get() + 1),
        }
    }
}
