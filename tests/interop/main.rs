//! The crate against real authorization servers, end to end over sockets.
//!
//! `tests/interop/run.sh` installs and starts a server, takes tokens from it and runs the tests of its module. Without a
//! server they fail and say so.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test helper that cannot go on fails its test"
)]

#[path = "better-auth"]
mod better_auth {
    mod tokens;
}
#[path = "django-oauth-toolkit"]
mod django_oauth_toolkit {
    mod opaque;
}
#[path = "oidc-provider"]
mod oidc_provider {
    mod client_auth;
    mod jwt;
    mod mtls;
    mod opaque;
    mod revocation;
}
mod app;
mod server;
