//! The cost of revocation records: bytes per record, the time of a new record, and the time of a check. The number of
//! records is the argument (default: 100 000). See `benches/README.md`.
#![expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops where something is not as it expects"
)]

use std::{
    alloc::System,
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use actix_protect_api::{Claims, Revocation, bench::RevocationRecords};
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NOW: i64 = 1_800_000_000;
const ROUNDS: u32 = 200;

fn main() {
    let records = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(100_000_u32);
    let index = RevocationRecords::new("https://as.example.test", 10_000_000);
    let tokens: Vec<(String, Claims)> = (0..1000).map(token).collect();
    println!("check of a token without any record: {:?}", check(&index, &tokens));
    let region = Region::new(ALLOCATOR);
    let slowest = add(&index, 0..records);
    let change = region.change();
    let bytes = change.bytes_allocated.saturating_sub(change.bytes_deallocated);
    println!(
        "{records} records: {:.0} bytes each, the slowest took {slowest:?}",
        bytes as f64 / f64::from(records)
    );
    println!("check of a token after no new record: {:?}", check(&index, &tokens));
    println!("first check of a token: {:?}", first_check(&index));
    println!("check of a token after a new record: {:?}", check_after_new_records(&index, &tokens));
    println!("slowest check while records are added: {:?}", slowest_check_beside_changes(&index, &tokens));
}

fn token(number: u32) -> (String, Claims) {
    let claims = json!({
        "iss": "https://as.example.test", "aud": "api", "sub": format!("user {number}"), "client_id": "spa",
        "jti": format!("jti {number}"), "sid": format!("sid {number}"), "iat": NOW, "scope": "a b",
    });
    (format!("token {number}"), serde_json::from_value(claims).expect("claims"))
}

fn add(index: &RevocationRecords, numbers: std::ops::Range<u32>) -> Duration {
    let mut slowest = Duration::ZERO;
    for number in numbers {
        let revocation = Revocation::session(format!("revoked {number}"));
        let start = Instant::now();
        index.add(&revocation, NOW);
        slowest = slowest.max(start.elapsed());
    }
    slowest
}

fn check(index: &RevocationRecords, tokens: &[(String, Claims)]) -> Duration {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        for (token, claims) in tokens {
            assert!(black_box(index.accepts(token, claims, NOW)));
        }
    }
    start.elapsed() / ROUNDS / u32::try_from(tokens.len()).expect("few")
}

fn first_check(index: &RevocationRecords) -> Duration {
    let fresh: Vec<_> = (0..10_000).map(token).collect();
    let start = Instant::now();
    for (token, claims) in &fresh {
        assert!(black_box(index.accepts(token, claims, NOW)));
    }
    start.elapsed() / 10_000
}

/// Each check follows a new record, so that the token is compared with the records again.
fn check_after_new_records(index: &RevocationRecords, tokens: &[(String, Claims)]) -> Duration {
    let mut total = Duration::ZERO;
    for round in 0..100 {
        index.add(&Revocation::session(format!("another {round}")), NOW);
        let start = Instant::now();
        for (token, claims) in tokens {
            assert!(black_box(index.accepts(token, claims, NOW)));
        }
        total += start.elapsed();
    }
    total / 100 / u32::try_from(tokens.len()).expect("few")
}

fn slowest_check_beside_changes(index: &RevocationRecords, tokens: &[(String, Claims)]) -> Duration {
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let checking = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !ends.load(Ordering::Relaxed) {
                for (token, claims) in tokens {
                    let start = Instant::now();
                    assert!(black_box(index.accepts(token, claims, NOW)));
                    slowest = slowest.max(start.elapsed());
                }
            }
            slowest
        });
        add(index, 20_000_000..20_050_000);
        ends.store(true, Ordering::Relaxed);
        checking.join().expect("no panic")
    })
}
