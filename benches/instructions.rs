//! Instructions per operation, counted by valgrind: the same on a busy machine as on a quiet one, so that two versions
//! can be compared. See `benches/README.md`.
//!
//! Valgrind's processor has no SHA extensions and no AVX-512: what hashes or verifies takes more instructions there
//! than in reality. Compare figures with figures of the same operation only.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::panic,
    reason = "a benchmark prints, and stops where something is not as it expects"
)]

mod support;

use std::{
    hint::black_box,
    process::{Command, ExitCode, Stdio},
};

use actix_protect_api::{
    bench::{CachedVerdicts, PublishedKeys, Refusal, find_token},
    test::{Algorithm, TestIssuer},
};
use futures_util::FutureExt as _;

const OPERATIONS: [&str; 9] = [
    "bearer, 42 B",
    "digest, 42 B",
    "cache hit",
    "cache miss",
    "policy",
    "challenge",
    "warm, opaque 42 B",
    "warm, JWT remembered",
    "JWT ES256 at first sight",
];

const TIMES: u64 = 1000;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("operation") => {
            operation(&arguments.next().unwrap_or_default());
            ExitCode::SUCCESS
        }
        Some("--bench") => count_all(),
        _ => {
            println!("nothing counted: run it with `cargo bench --bench instructions`");
            ExitCode::SUCCESS
        }
    }
}

fn count_all() -> ExitCode {
    let is_there = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !is_there {
        eprintln!("SKIPPED: valgrind is not installed, no instructions were counted");
        return ExitCode::from(2);
    }
    println!("| operation | instructions |\n|---|---|");
    for name in OPERATIONS {
        println!("| {name} | {} |", count(name) / TIMES);
    }
    ExitCode::SUCCESS
}

/// Runs this program under callgrind, which counts while [`repeated`] runs.
fn count(name: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*instructions*repeated*")
        .arg(std::env::current_exe().expect("this program"))
        .args(["operation", name])
        .output()
        .expect("valgrind");
    let log = String::from_utf8_lossy(&output.stderr);
    let collected = log.lines().find_map(|line| line.split_once("Collected :"));
    let count = collected.and_then(|(_, count)| count.trim().parse().ok());
    count.unwrap_or_else(|| panic!("no figure in valgrind's output:\n{log}"))
}

/// The function that is counted. It takes a pointer to a function, so that the compiler does not inline the call.
#[inline(never)]
fn repeated(operation: &dyn Fn() -> bool) {
    for _ in 0..TIMES {
        assert!(black_box(operation)(), "the operation fails");
    }
}

fn operation(name: &str) {
    let issuer = TestIssuer::start();
    let token = support::opaque(&issuer);
    let request = support::request(&token);
    let jwt = support::jwt(&issuer, Algorithm::ES256);
    let claims = support::claims_of(&issuer, &jwt);
    let kept = CachedVerdicts::new(issuer.issuer(), "http://127.0.0.1/introspect", "api");
    let (known, unknown) = (kept.key(&token), kept.key("of nobody"));
    kept.insert(known, &claims);
    let (way, warm) = support::warm(support::caching_api(&issuer), &token);
    let (_, remembered) = support::warm(support::caching_api(&issuer), &jwt);
    let keys = PublishedKeys::parse(issuer.jwks().to_string().as_bytes()).expect("keys");
    let refusal = Refusal::new("api");
    let passes = |request| way.accepts(request).now_or_never() == Some(true);
    match name {
        "bearer, 42 B" => repeated(&|| find_token(request.headers()).is_some()),
        "digest, 42 B" => repeated(&|| kept.key(&token) == known),
        "cache hit" => repeated(&|| kept.get(&known)),
        "cache miss" => repeated(&|| !kept.get(&unknown)),
        "policy" => repeated(&|| way.allows(&claims)),
        "challenge" => repeated(&|| !refusal.challenge().is_empty()),
        "warm, opaque 42 B" => repeated(&|| passes(&warm)),
        "warm, JWT remembered" => repeated(&|| passes(&remembered)),
        "JWT ES256 at first sight" => repeated(&|| keys.verify(&jwt).is_some()),
        other => panic!("{other:?} is no operation"),
    }
}
