//! The integration tests, one binary: what callers and app developers see, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must fail, loudly and there"
)]

mod support;

mod cache;
mod discovery;
mod faults;
mod flight;
mod answers;
mod bearer;
mod config;
mod cors;
mod from_env;
mod import_rules;
mod issuer;
mod jwt;
mod metrics;
mod mounts;
mod options;
mod public_paths;
mod secrecy;
mod token_resolver;
