//! The options of a mount for long streams.

use std::time::Duration;

use super::ProtectApi;

/// The shortest time between validations of one lease.
const SHORTEST: Duration = Duration::from_secs(1);

impl ProtectApi {
    /// Ends the bodies of responses when the token of the caller expires, is revoked, or is rejected by a
    /// [`recheck`](Self::recheck); see [`guide::revocation`](crate::guide::revocation). Handlers need no change. Has no effect on
    /// bodies that are complete when the handler returns.
    ///
    /// - **Server-sent events** (`text/event-stream`): a last event, `token_expired` or `token_revoked`, and a regular end. In the
    ///   middle of an event, the body ends like other bodies.
    /// - **WebSocket**: a close frame with the code 4401 or 4403, and the end of the connection.
    /// - **Other bodies**, such as downloads: an error. The connection is closed before the end of the body, so that clients
    ///   notice that it is not complete. actix logs this error.
    ///
    /// Middleware that compresses events must be outside of this mount.
    pub fn end_streams(&self) -> Self {
        self.mounted(|mount| mount.ends_streams = true)
    }

    /// Validates the tokens of long streams again each time this duration has passed, at least 1 s. Default: not at all. The
    /// requirements of all mounts around the handler apply. The cache may be used, so a revocation at the authorization server is
    /// noticed after at most this time and the cache duration. Affects [leases](crate::Lease) and
    /// [`end_streams`](Self::end_streams).
    ///
    /// A failure of the authorization server does not end a stream. The token is validated again after a quarter of the time (1 to
    /// 30 s). If that fails for [`max_stale`](crate::ProtectApiBuilder::max_stale), the stream ends. A worker validates at most
    /// four leases of one configuration at the same time.
    pub fn recheck(&self, interval: Duration) -> Self {
        let interval = interval.max(SHORTEST);
        self.mounted(|mount| {
            mount.recheck = Some(mount.recheck.map_or(interval, |before| before.min(interval)));
        })
    }
}
