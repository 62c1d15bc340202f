//! A spray of random tokens: the tokens in use stay in the cache, memory and calls stay bounded.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use actix_protect_api::{
    ProtectApi,
    test::{Endpoint, TestIssuer},
};
use actix_web::{
    App,
    dev::Service as _,
    rt,
    test::{TestRequest, init_service},
    web,
};
use futures_util::future::LocalBoxFuture;
use serde_json::json;

use crate::{
    api::{Api, build, hello, introspecting},
    caller::Caller,
    memory,
    report::Report,
};

/// The cache's places, for active and inactive tokens each.
const ENTRIES: usize = 10_000;
const WARM: usize = 1_000;
const CLIENTS: usize = 256;
/// How much the process may grow once the cache is full.
const GROWTH_KIB: usize = 16 * 1024;

/// Sends one request and gives its status; 0 if there is none. One of them is one client.
type Send = Box<dyn FnMut(String) -> LocalBoxFuture<'static, u16>>;

/// Through the whole middleware, without a socket in front of it.
pub(crate) async fn run(count: usize) -> bool {
    let issuer = TestIssuer::start();
    let protect = build(
        introspecting(&issuer).introspection_cache_duration(Duration::from_secs(3600)).cache_entries(ENTRIES),
    );
    let app = App::new().wrap(protect.clone()).route("/", web::get().to(hello));
    let service = Rc::new(init_service(app).await);
    let client = || -> Send {
        let service = Rc::clone(&service);
        Box::new(move |token| {
            let request = TestRequest::get().insert_header(("Authorization", format!("Bearer {token}")));
            let answer = service.call(request.to_request());
            Box::pin(async move { answer.await.map_or(0, |response| response.status().as_u16()) })
        })
    };
    let mut report = Report::new("random-tokens: a spray, without sockets");
    spray(&mut report, &issuer, &protect, &client, count, 64).await;
    report.finish()
}

/// From clients with kept-alive connections, more of them than may call and wait: some are turned away.
pub(crate) async fn run_over_sockets(count: usize) -> bool {
    let (issuer, most_calls) = (TestIssuer::start(), 16);
    let builder =
        introspecting(&issuer).introspection_cache_duration(Duration::from_secs(3600)).cache_entries(ENTRIES);
    let protect = build(builder.max_calls(most_calls).max_waiting(64));
    let api = Api::start(&protect);
    let client = || -> Send {
        let caller = Rc::new(tokio::sync::Mutex::new(Caller::new(api.address)));
        Box::new(move |token| {
            let caller = Rc::clone(&caller);
            Box::pin(async move { caller.lock().await.status(&token).await.unwrap_or(0) })
        })
    };
    let mut report = Report::new("random-tokens: a spray, over sockets");
    spray(&mut report, &issuer, &protect, &client, count, most_calls).await;
    api.stop().await;
    report.finish()
}

/// The common state of the clients of one spray.
struct Spray {
    left: Cell<usize>,
    seen: RefCell<BTreeMap<u16, usize>>,
    /// Resident memory once the cache is full.
    full: Cell<Option<usize>>,
    full_at: usize,
}

async fn spray(
    report: &mut Report,
    issuer: &TestIssuer,
    protect: &ProtectApi,
    client: &impl Fn() -> Send,
    count: usize,
    most_calls: usize,
) {
    let warm: Vec<_> = (0..WARM).map(|_| issuer.opaque(json!({ "sub": "alice" }))).collect();
    report.tell("good tokens in use", WARM);
    report.exactly("let through before", let_through(&warm, client()).await, WARM);
    let calls_before = issuer.count(Endpoint::Introspection);

    let spray = Rc::new(Spray {
        left: Cell::new(count),
        seen: RefCell::default(),
        full: Cell::new(None),
        // Twice as many as the cache holds, or half of all.
        full_at: count - (2 * ENTRIES).min(count / 2),
    });
    let attack: Vec<_> = (0..CLIENTS).map(|_| rt::spawn(attacker(Rc::clone(&spray), client()))).collect();
    let (mut good, mut of_good, mut send) = (0, 0, client());
    for token in warm.iter().cycle().take_while(|_| spray.left.get() > 0) {
        of_good += 1;
        good += usize::from(send(token.clone()).await == 200);
        rt::time::sleep(Duration::from_millis(1)).await;
    }
    for attacker in attack {
        attacker.await.expect("a client that ends");
    }

    let calls = issuer.count(Endpoint::Introspection) - calls_before;
    let seen = spray.seen.take();
    let of = |status| seen.get(&status).copied().unwrap_or(0);
    report.tell("random tokens", count);
    report.tell("answered 401, and 503 where too many waited", format!("{}, {}", of(401), of(503)));
    report.exactly("answered otherwise", count - of(401) - of(503), 0);
    report.at_most("introspections for them", calls, count);
    report.at_most("introspections under way at once", protect.status().most_calls_in_flight, most_calls);
    report.at_most("verdicts kept", protect.status().cached_verdicts, ENTRIES + WARM);
    report.exactly(format!("let through meanwhile, of {of_good} good"), good, of_good);
    report.exactly("let through afterwards", let_through(&warm, client()).await, WARM);
    let calls_after = issuer.count(Endpoint::Introspection) - calls_before - calls;
    report.exactly("introspections for them", calls_after, 0);
    report.growth(spray.full.get(), GROWTH_KIB);
}

async fn let_through(tokens: &[String], mut send: Send) -> usize {
    let mut good = 0;
    for token in tokens {
        good += usize::from(send(token.clone()).await == 200);
    }
    good
}

async fn attacker(spray: Rc<Spray>, mut send: Send) {
    while let Some(left) = spray.left.get().checked_sub(1) {
        spray.left.set(left);
        if left == spray.full_at {
            spray.full.set(memory::resident());
        }
        let status = send(random_token(left)).await;
        *spray.seen.borrow_mut().entry(status).or_default() += 1;
    }
}

/// 64 digits that are new for each number (`SplitMix64`).
pub(crate) fn random_token(number: usize) -> String {
    let mut state = u64::try_from(number).unwrap_or(0).wrapping_mul(0xD134_2543_DE82_EF95);
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    };
    format!("{:016x}{:016x}{:016x}{:016x}", next(), next(), next(), next())
}
