//! Whole servers under load, side by side: CPU time per request of an app behind this crate, of the same app without any
//! protection, and of one with a middleware written by hand. See `benches/README.md`.
//!
//! ```text
//! cargo bench --bench load [-- --rounds 5 --millis 1000 --only warm]
//! PORT=… ISSUER=… CLIENT_ID=… CLIENT_SECRET=… AUDIENCE=… load serve ours-cached
//! ```
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops where something is not as it expects"
)]

mod by_hand;
#[path = "../../examples/support/child.rs"]
mod child;
mod client;
mod compare;
mod process;
mod servers;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => servers::serve(arguments.get(1).map_or("", String::as_str)),
        _ if arguments.iter().any(|argument| argument == "--bench") => compare::run(&arguments),
        // `cargo test --benches` runs this too, to see that it starts.
        _ => println!("nothing measured: run it with `cargo bench --bench load`"),
    }
}
