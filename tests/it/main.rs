//! The integration tests, one binary: what callers and app developers see, and what lies behind it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must fail, loudly and there"
)]

mod support;

mod algorithms;
mod answers;
mod bearer;
mod breaker;
mod cache;
mod config;
mod cors;
mod discovery;
mod faults;
mod flight;
mod from_env;
mod guide;
mod hardened_client;
mod import_rules;
mod issuer;
mod jwt;
mod metrics;
mod mounts;
mod observability;
mod options;
mod public_paths;
mod readme;
mod secrecy;
mod status;
mod storm;
mod token_resolver;
mod troubleshooting;
mod waiting;
