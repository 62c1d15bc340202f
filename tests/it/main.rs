//! The integration tests, one binary.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod support;

mod cache;
mod discovery;
mod faults;
mod flight;
mod issuer;
mod jwt;
mod metrics;
