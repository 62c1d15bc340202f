//! Tokens for which the authorization server fails, beside callers with good ones; and a server that is down.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use actix_protect_api::test::{Endpoint, Fault, TestIssuer};
use actix_web::rt;
use serde_json::json;

use crate::{
    api::{Api, build, introspecting},
    caller::Caller,
    report::Report,
};

const GOOD_CLIENTS: usize = 4;
const ATTACKERS: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(1);
/// Between two requests of an attacker: with all of them, 80 in a second.
const PAUSE: Duration = Duration::from_millis(50);

/// The tokens of an attack begin with this; the server fails for them.
const BAD: &str = "bad-";

pub(crate) async fn attack(duration: Duration) -> bool {
    let mut held = true;
    for caches in [false, true] {
        let with = if caches { "with a cache of 1 s" } else { "without a cache" };
        for (what, fault, tokens) in [
            ("one token, 500", Fault::status(500), Tokens::One),
            (
                "one token, 429 with Retry-After",
                Fault::status(429).with_header("Retry-After", "1"),
                Tokens::One,
            ),
            ("one token, no response", Fault::hold(), Tokens::One),
            ("distinct tokens, 500", Fault::status(500), Tokens::Distinct),
            ("distinct tokens, reset", Fault::reset(), Tokens::Distinct),
            ("500 for every unknown token, from a cold start", Fault::status(500), Tokens::AllUnknown),
        ] {
            let mut report = Report::new("breaker-attack: tokens that the server fails for");
            report.tell("attack", format!("{what}, {with}"));
            one_attack(&mut report, fault, tokens, caches, duration).await;
            held &= report.finish();
        }
    }
    held
}

/// The tokens for which the server fails.
#[derive(Clone, Copy, PartialEq)]
enum Tokens {
    One,
    Distinct,
    /// Distinct ones, and also that of a health check. The attack begins before the first good request.
    AllUnknown,
}

/// A cold start has this time to let the good clients in.
const COLD_START: Duration = Duration::from_secs(1);

async fn one_attack(report: &mut Report, fault: Fault, tokens: Tokens, caches: bool, duration: Duration) {
    let issuer = TestIssuer::start();
    let cache = if caches { Duration::from_secs(1) } else { Duration::ZERO };
    let api = Api::start(&build(
        introspecting(&issuer).introspection_cache_duration(cache).response_timeout(TIMEOUT),
    ));
    let is_cold = tokens == Tokens::AllUnknown;
    let good: Vec<_> = (0..GOOD_CLIENTS).map(|_| issuer.opaque(json!({ "sub": "alice" }))).collect();
    if is_cold {
        for token in &good {
            issuer.fault(Endpoint::Introspection, Fault::real().for_tokens(token).always());
        }
        issuer.fault(Endpoint::Introspection, fault.always());
    } else {
        issuer.fault(Endpoint::Introspection, fault.for_tokens(BAD).always());
    }
    let ends = Rc::new(Cell::new(false));
    let good: Vec<_> = good
        .into_iter()
        .map(|token| {
            let (ends, address) = (Rc::clone(&ends), api.address);
            rt::spawn(async move {
                let (mut caller, mut all, mut good) = (Caller::new(address), 0, 0);
                if is_cold {
                    rt::time::sleep(COLD_START).await;
                }
                let begun = Instant::now();
                while !ends.get() {
                    let is_good = caller.status(&token).await.unwrap_or(0) == 200;
                    if !is_cold || begun.elapsed() > COLD_START {
                        all += 1;
                        good += usize::from(is_good);
                    }
                    rt::time::sleep(Duration::from_millis(10)).await;
                }
                (all, good)
            })
        })
        .collect();
    let attackers: Vec<_> = (0..ATTACKERS)
        .map(|attacker| {
            let (ends, address) = (Rc::clone(&ends), api.address);
            rt::spawn(async move {
                let (mut caller, mut sent) = (Caller::new(address), 0_usize);
                while !ends.get() {
                    let is_one = tokens == Tokens::One;
                    let token = if is_one { format!("{BAD}1") } else { format!("{BAD}{attacker}-{sent}") };
                    sent += 1;
                    let _status = caller.status(&token).await;
                    rt::time::sleep(PAUSE).await;
                }
                sent
            })
        })
        .collect();
    rt::time::sleep(if is_cold { duration + COLD_START * 2 } else { duration }).await;
    ends.set(true);
    let (mut sent, mut all, mut passed) = (0, 0, 0);
    for attacker in attackers {
        sent += attacker.await.expect("an attacker that ends");
    }
    for client in good {
        let (requests, good) = client.await.expect("a client that ends");
        all += requests;
        passed += good;
    }
    report.tell("requests of the attack", sent);
    report.tell("introspections", issuer.count(Endpoint::Introspection));
    report.at_least(format!("let through, of {all} good requests (99 %)"), passed, all - all / 100);
    api.stop().await;
}

/// The time after which an outage must be noticed, the time that it lasts then, and the time after which nothing of it is left.
const NOTICED: Duration = Duration::from_secs(5);
const OUTAGE_GOES_ON: Duration = Duration::from_secs(3);
const RECOVERED: Duration = Duration::from_secs(5);

pub(crate) async fn outage() -> bool {
    let mut held = true;
    // A health check and one token after each pause of at least a second, and a call's second try. If the server responds
    // with a failure: also 20 calls in a second.
    for (what, fault, most) in [
        ("500", Fault::status(500), 16 + 3 * 20),
        ("reset", Fault::reset(), 16),
        ("429 with Retry-After", Fault::status(429).with_header("Retry-After", "2"), 16),
        ("no response", Fault::hold(), 16),
    ] {
        let mut report = Report::new("outage: a server that is down");
        report.tell("outage", what);
        one_outage(&mut report, fault, most).await;
        held &= report.finish();
    }
    held
}

/// 8 clients with one token each, which send requests without a pause, and one client with new tokens.
async fn one_outage(report: &mut Report, fault: Fault, most: usize) {
    let issuer = Rc::new(TestIssuer::start());
    let api = Api::start(&build(introspecting(&issuer).response_timeout(TIMEOUT)));
    let (ends, is_well) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(None::<Instant>)));
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (issuer, address) = (Rc::clone(&issuer), api.address);
            let (ends, is_well) = (Rc::clone(&ends), Rc::clone(&is_well));
            let mut token = issuer.opaque(json!({ "sub": "alice" }));
            rt::spawn(async move {
                let (mut caller, mut late) = (Caller::new(address), 0_usize);
                while !ends.get() {
                    if client == 0 {
                        token = issuer.opaque(json!({ "sub": "alice" }));
                    }
                    let asked = Instant::now();
                    let status = caller.status(&token).await.unwrap_or(0);
                    let since = is_well.get().map(|time| asked.saturating_duration_since(time));
                    late += usize::from(status != 200 && since.is_some_and(|since| since > RECOVERED));
                    rt::time::sleep(Duration::from_millis(20)).await;
                }
                late
            })
        })
        .collect();
    rt::time::sleep(Duration::from_secs(1)).await;
    issuer.fault(Endpoint::Introspection, fault.always());
    rt::time::sleep(NOTICED).await;
    let before = issuer.count(Endpoint::Introspection);
    rt::time::sleep(OUTAGE_GOES_ON).await;
    let calls = issuer.count(Endpoint::Introspection) - before;
    report.at_most("introspections in its last 3 s", calls, most);
    issuer.clear_faults();
    is_well.set(Some(Instant::now()));
    rt::time::sleep(RECOVERED + Duration::from_secs(2)).await;
    ends.set(true);
    let mut late = 0;
    for client in clients {
        late += client.await.expect("a client that ends");
    }
    report.exactly("requests refused later than 5 s after its end", late, 0);
    api.stop().await;
}
