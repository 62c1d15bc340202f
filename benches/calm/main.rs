//! The behaviour of the crate under load, faults and attacks. Every program counts events, prints a
//! table and fails where a bound is broken. The bounds are counts and invariants, never timings. See `README.md` beside
//! this file.
//!
//! ```text
//! cargo bench --bench calm -- quick                              most of them, in one to two minutes
//! cargo bench --bench calm -- soak --minutes 10
//! cargo bench --bench calm -- random-tokens --count 1000000 --sockets 100000
//! cargo bench --bench calm -- rotation
//! cargo bench --bench calm -- herd --connections 200
//! cargo bench --bench calm -- kids --count 10000
//! cargo bench --bench calm -- dead-pool
//! cargo bench --bench calm -- breaker-attack --minutes 0.2
//! cargo bench --bench calm -- outage
//! cargo bench --bench calm -- malformed-jwts --count 20000
//! cargo bench --bench calm -- refresh-ahead --minutes 0.5
//! cargo bench --bench calm -- event-floods --minutes 0.2
//! ```
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "it prints, and stops where its own surroundings fail it"
)]

mod api;
mod breaker;
mod caller;
mod dead_pool;
mod event_floods;
mod herd;
mod kids;
mod malformed_jwts;
mod memory;
mod random_tokens;
mod refresh_ahead;
mod report;
mod rotation;
mod soak;

use std::{process::ExitCode, str::FromStr, time::Duration};

use actix_web::rt;

/// The command line: a program's name and `--name value` pairs.
struct Arguments(Vec<String>);

impl Arguments {
    fn get<T: FromStr>(&self, name: &str, default: T) -> T {
        let value = self.0.iter().position(|argument| argument == name).and_then(|at| self.0.get(at + 1));
        value.map_or(default, |value| value.parse().ok().expect("a number after the option"))
    }

    fn minutes(&self, default: f64) -> Duration {
        Duration::from_secs_f64(self.get("--minutes", default) * 60.0)
    }
}

fn main() -> ExitCode {
    // No log without RUST_LOG: the library logs the faults that are caused here on purpose.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("off")).init();
    report::count_panics();
    // Cargo adds `--bench`.
    let arguments = Arguments(std::env::args().skip(1).filter(|argument| argument != "--bench").collect());
    let program = arguments.0.first().cloned().unwrap_or_default();
    let held = rt::System::new().block_on(run(&program, &arguments));
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether every bound held.
async fn run(program: &str, arguments: &Arguments) -> bool {
    match program {
        "quick" => quick().await,
        "soak" => soak::run(arguments.minutes(10.0)).await,
        "random-tokens" => {
            let (count, sockets) = (arguments.get("--count", 1_000_000), arguments.get("--sockets", 100_000));
            random_tokens::run(count).await & random_tokens::run_over_sockets(sockets).await
        }
        "rotation" => rotation::run().await,
        "herd" => herd::run(arguments.get("--connections", 200)).await,
        "kids" => kids::run(arguments.get("--count", 10_000)).await,
        "malformed-jwts" => malformed_jwts::run(arguments.get("--count", 20_000)).await,
        "dead-pool" => dead_pool::run().await,
        "breaker-attack" => breaker::attack(arguments.minutes(0.2)).await,
        "outage" => breaker::outage().await,
        "event-floods" => event_floods::run(arguments.minutes(0.2)).await,
        "refresh-ahead" => refresh_ahead::run(arguments.minutes(0.5)).await,
        // `cargo test --benches` runs this too, to see that it starts.
        "" => {
            println!("name a program: quick, soak, random-tokens, rotation, herd, kids, dead-pool,");
            println!("breaker-attack, outage, malformed-jwts, refresh-ahead, event-floods");
            true
        }
        other => {
            println!("there is no program {other:?}");
            false
        }
    }
}

/// A short version of each, for CI.
async fn quick() -> bool {
    let mut held = herd::run(200).await;
    held &= kids::run(1_000).await;
    held &= dead_pool::run().await;
    held &= breaker::attack(Duration::from_secs(2)).await;
    held &= malformed_jwts::run(2_000).await;
    held &= event_floods::run(Duration::from_secs(3)).await;
    held &= rotation::run().await;
    held &= random_tokens::run(15_000).await;
    held &= random_tokens::run_over_sockets(5_000).await;
    held & soak::run(Duration::from_secs(26)).await
}
