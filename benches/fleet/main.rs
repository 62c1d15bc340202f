//! Three replicas as processes with Redis: the time until a revocation is in effect, calls, and failures. See
//! `benches/README.md`.
//!
//! ```text
//! cargo bench --bench fleet [-- speed] [-- calls] [-- failures]
//! ```
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops where something is not as it expects"
)]

mod calls;
#[path = "../../examples/support/child.rs"]
mod child;
mod failures;
mod process;
#[path = "../../redis/tests/proxy.rs"]
mod proxy;
mod redis;
mod replica;
mod speed;
mod watch;

#[actix_web::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wants = |name: &str| arguments.iter().any(|argument| argument == name);
    if wants("replica") {
        return replica::serve().await;
    }
    if !wants("--bench") {
        // `cargo test --benches` runs this too, to see that it starts.
        println!("nothing measured: run it with `cargo bench --bench fleet`");
        return;
    }
    let all = !["speed", "calls", "failures"].iter().any(|name| wants(name));
    if all || wants("calls") {
        calls::run().await;
    }
    if all || wants("speed") {
        speed::run().await;
    }
    if all || wants("failures") {
        failures::run().await;
    }
}
