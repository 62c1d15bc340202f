//! Verdicts on tokens in active use that expire, with and without a refresh ahead.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use actix_protect_api::{
    ProtectApi,
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::rt;
use futures_util::future::join_all;
use serde_json::json;

use crate::{
    api::{Api, build, introspecting},
    caller::Caller,
    report::{Report, latencies},
};

/// The tokens that are cached together.
const TOGETHER: usize = 9_900;
/// Their lifetime is such that 64 calls of 20 ms are not enough for all of them in the tenth in which they expire.
const LIFETIME: Duration = Duration::from_secs(25);
/// The time between two uses of one of these tokens.
const BETWEEN_USES: Duration = Duration::from_millis(1_800);

pub(crate) async fn run(duration: Duration) -> bool {
    let mut report = Report::new("refresh-ahead: verdicts that expire while their tokens are used");
    // The latency of the harness itself, in which no request waits for a call.
    warm(&mut report, 20, WarmTokens { cached_for: Duration::from_secs(600), refreshes: false }, duration)
        .await;
    for server in [20, 100] {
        let cached_for = Duration::from_secs(2);
        let without = warm(&mut report, server, WarmTokens { cached_for, refreshes: false }, duration).await;
        let with = warm(&mut report, server, WarmTokens { cached_for, refreshes: true }, duration).await;
        let name = format!("warm tokens, {server} ms server: calls with a refresh ahead");
        report.at_most(name, with, without + without / 4);
    }
    for on in [false, true] {
        let rejected = together(&mut report, on).await;
        if on {
            report.exactly("cached together: rejected with a refresh ahead", rejected, 0);
        }
    }
    report.finish()
}

fn name_of(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

#[derive(Clone, Copy)]
struct WarmTokens {
    cached_for: Duration,
    refreshes: bool,
}

/// Uses 50 tokens, each at most 25 times a second. Returns the number of calls.
async fn warm(report: &mut Report, server: u64, settings: WarmTokens, duration: Duration) -> usize {
    let WarmTokens { cached_for, refreshes } = settings;
    let issuer = TestIssuer::start();
    let builder = introspecting(&issuer).introspection_cache_duration(cached_for);
    let api = Api::start(&build(builder.refresh_ahead(refreshes)));
    let delay = Fault::delay(Duration::from_millis(server)).always();
    issuer.fault(Endpoint::Introspection, delay);
    let times = Rc::new(RefCell::new(Vec::new()));
    let rejected = Rc::new(Cell::new(0_usize));
    let start = Instant::now();
    let users = (0..50_u64).map(|number| {
        let (token, mut caller) = (issuer.opaque(json!({})), Caller::new(api.address));
        let (times, rejected) = (Rc::clone(&times), Rc::clone(&rejected));
        async move {
            rt::time::sleep(Duration::from_micros(800 * number)).await;
            let mut is_first = true;
            while start.elapsed() < duration {
                let sent = Instant::now();
                let status = caller.status(&token).await;
                // The first request of each token has no cached verdict.
                if !std::mem::take(&mut is_first) {
                    times.borrow_mut().push(sent.elapsed());
                }
                if !matches!(status, Ok(200)) {
                    rejected.set(rejected.get() + 1);
                }
                rt::time::sleep(Duration::from_millis(40)).await;
            }
        }
    });
    join_all(users).await;
    let expiry = if cached_for > duration { "no expiry" } else { name_of(refreshes) };
    let name = format!("warm tokens, {server} ms server, {expiry}");
    let calls = issuer.count(Endpoint::Introspection);
    report.exactly(format!("{name}: rejected"), rejected.get(), 0);
    report.tell(format!("{name}: requests"), times.borrow().len());
    report.tell(format!("{name}: introspections"), calls);
    let all = times.take();
    report.tell(format!("{name}: p99"), micros(&all, 990));
    report.tell(format!("{name}: p99.9"), micros(&all, 999));
    report.tell(format!("{name}: latency"), latencies(all));
    api.stop().await;
    calls
}

fn micros(all: &[Duration], per_mille: usize) -> String {
    let mut all = all.to_vec();
    all.sort_unstable();
    let at = all.get(all.len() * per_mille / 1000).map_or(0, Duration::as_micros);
    format!("{at} µs")
}

/// Caches many verdicts together and uses their tokens past their expiry. Returns the number of rejected uses.
async fn together(report: &mut Report, on: bool) -> usize {
    let issuer = TestIssuer::start();
    let builder = introspecting(&issuer).introspection_cache_duration(LIFETIME).refresh_ahead(on);
    let protect = build(builder);
    let tokens: Vec<_> = (0..TOGETHER).map(|_| issuer.opaque(json!({}))).collect();
    for part in tokens.chunks(60) {
        join_all(part.iter().map(|token| protect.validate(token, None))).await;
    }
    let cached = issuer.count(Endpoint::Introspection);
    issuer.fault(Endpoint::Introspection, Fault::delay(Duration::from_millis(20)).always());
    let (times, rejected) = (RefCell::new(Vec::new()), Cell::new(0_usize));
    let start = Instant::now();
    let users = tokens.iter().enumerate().map(|(number, token)| {
        let (protect, times, rejected): (&ProtectApi, _, _) = (&protect, &times, &rejected);
        async move {
            let place = u32::try_from(number).unwrap_or(0);
            rt::time::sleep(BETWEEN_USES / u32::try_from(TOGETHER).unwrap_or(1) * place).await;
            while start.elapsed() < LIFETIME + Duration::from_secs(3) {
                let sent = Instant::now();
                let outcome = protect.validate(token, None).await;
                times.borrow_mut().push(sent.elapsed());
                if outcome.is_err() {
                    rejected.set(rejected.get() + 1);
                }
                rt::time::sleep(BETWEEN_USES.saturating_sub(sent.elapsed())).await;
            }
        }
    });
    join_all(users).await;
    let name = format!("cached together, {}", name_of(on));
    report.exactly(format!("{name}: cached"), cached, TOGETHER);
    report.tell(format!("{name}: uses"), times.borrow().len());
    report.tell(format!("{name}: rejected"), rejected.get());
    report.tell(format!("{name}: introspections"), issuer.count(Endpoint::Introspection) - cached);
    let all = times.take();
    report.tell(format!("{name}: p99"), micros(&all, 990));
    report.tell(format!("{name}: latency"), latencies(all));
    rejected.get()
}
