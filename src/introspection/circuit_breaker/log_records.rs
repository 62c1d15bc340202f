//! The log records of the circuit breaker.

use std::time::Duration;

use crate::error::AuthError;

/// Logs that calls are paused for this time after this failure. The caller throttles it: a server that fails from time to
/// time must not fill the log.
pub(super) fn paused(issuer: &str, pause: Duration, cause: &AuthError) {
    let fault = cause.kind().fault();
    record!(
        log::Level::Warn, event = "introspection_paused", issuer, fault;
        "calls to the authorization server are paused for {pause:?}: {}", cause.describe(issuer)
    );
}

/// Logs that calls are made again.
pub(super) fn resumed(issuer: &str) {
    record!(
        log::Level::Info, event = "introspection_resumed", issuer;
        "the authorization server responds again ({issuer})"
    );
}
