//! Sources of revocations: security events (RFC 8417, Shared Signals Framework 1.0) by push and poll, logout tokens (OpenID
//! Connect Back-Channel Logout 1.0), and webhooks. Each source validates its events and calls
//! [`ProtectApi::revoke`](crate::ProtectApi::revoke).
//!
//! Anybody can call the endpoints. Their bodies are limited, and an event causes no other call than a fetch of keys, which the
//! cooldown of the key set limits, and the search for a tenant, which is limited as for access tokens.

mod body;
mod event_claims;
mod event_report;
mod event_subject;
mod event_type;
mod logout;
mod poll;
mod poll_response;
mod push;
mod receiver;
mod reply;
mod ssf;
mod target_issuer;
mod webhook;

pub use self::{poll::SsfPoll, ssf::Ssf};

use std::sync::Arc;

use actix_web::{HttpRequest, web};

use self::event_report::Outcome;
use crate::{
    error::{AuthError, AuthErrorKind, RequestFault, SetupFault, TokenFault, UpstreamFault},
    policy::quoted,
    protect_api::{ProtectApi, state::State},
    redact::redacted,
    revocation::{Revocation, RevocationError},
};

/// Revokes tokens. If that fails, except because of a malformed token or an empty value, the event must be delivered again.
async fn revoke(protect: &ProtectApi, revocation: Revocation) -> Result<Outcome, AuthError> {
    let issuer = revocation.issuer().map(redacted);
    match protect.revoke(revocation).await {
        Ok(()) => Ok(Outcome::Applied),
        // The tokens have expired.
        Err(RevocationError::Ended) => Ok(Outcome::Ignored),
        Err(error @ RevocationError::Token) => {
            Err(AuthError::token(TokenFault::Malformed).with_source(error))
        }
        Err(error @ RevocationError::Empty) => {
            let kind = AuthErrorKind::InvalidRequest(RequestFault::Body);
            Err(AuthError::new(kind).with_source(error))
        }
        Err(RevocationError::Issuer) => {
            let named = issuer.map_or_else(|| "it is not named".to_owned(), |name| format!("it is {name:?}"));
            let cause = format!("{named}, expected {}", quoted(&token_issuers(protect)));
            Err(AuthError::setup(SetupFault::RevocationIssuer).with_source(cause))
        }
        Err(error @ RevocationError::Store(_)) => {
            let cause = format!("the revocation was not stored: {error}");
            Err(AuthError::upstream(UpstreamFault::Unreachable).with_source(cause))
        }
    }
}

/// Returns the configured issuers, as tokens name them.
fn token_issuers(protect: &ProtectApi) -> Vec<String> {
    let of_state = |state: &Arc<State>| match &*state.settings.rules.token_issuers {
        [] => vec![state.settings.issuer.as_str().to_owned()],
        issuers => issuers.to_vec(),
    };
    protect.states().iter().flat_map(of_state).collect()
}

/// Returns the client of the application from the app data, or that of this worker.
fn worker_client(request: &HttpRequest, state: &State) -> awc::Client {
    match request.app_data::<web::Data<awc::Client>>() {
        Some(client) if !state.needs_own_client() => client.get_ref().clone(),
        _ => state.thread_client(),
    }
}

#[track_caller]
#[expect(clippy::panic, reason = "documented: a programmer's mistake that shows at start-up")]
fn panic_with(problem: &str) -> ! {
    panic!("{problem}")
}
