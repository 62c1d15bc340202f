//! Sources of revocations: security events (RFC 8417, Shared Signals Framework 1.0) by push and poll, logout tokens (OpenID
//! Connect Back-Channel Logout 1.0), and webhooks. Each source validates its events and calls
//! [`ProtectApi::revoke`](crate::ProtectApi::revoke).
//!
//! Anybody can call the endpoints. Their bodies are limited, and an event causes no other call than a fetch of keys, which the
//! cooldown of the key set limits.

mod body;
mod event_claims;
mod event_report;
mod event_subject;
mod event_type;
mod logout;
mod poll;
mod push;
mod receiver;
mod reply;
mod seen_events;
mod ssf;
mod target_issuer;
mod webhook;

pub use self::{poll::SsfPoll, ssf::Ssf};

use actix_web::{HttpRequest, web};

use crate::{
    error::{AuthError, UpstreamFault},
    protect_api::{ProtectApi, state::State},
    revocation::Revocation,
};

/// Revokes tokens. If that fails, the event must be delivered again.
async fn revoke(protect: &ProtectApi, revocation: Revocation) -> Result<(), AuthError> {
    protect.revoke(revocation).await.map_err(|error| {
        let cause = format!("the revocation was not stored: {error}");
        AuthError::upstream(UpstreamFault::Unreachable).with_source(cause)
    })
}

/// Returns the client of the application from the app data, or that of this worker.
fn worker_client(request: &HttpRequest, state: &State) -> awc::Client {
    match request.app_data::<web::Data<awc::Client>>() {
        Some(client) if !state.uses_mtls() => client.get_ref().clone(),
        _ => state.thread_client(),
    }
}

#[track_caller]
#[expect(clippy::panic, reason = "documented: a programmer's mistake that shows at start-up")]
fn panic_with(problem: &str) -> ! {
    panic!("{problem}")
}
