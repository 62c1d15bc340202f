//! The time that one request has for everything that it waits for.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::time::timeout_at;

use crate::error::{AuthError, UpstreamFault};

/// How much longer [`Deadline::bound`] waits: a call ends at the deadline by itself, and its error says more.
const GRACE: Duration = Duration::from_millis(50);

/// A moment on the monotonic clock of this machine, which tests do not move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    pub(crate) fn time_left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The earlier one of this deadline and one after `time`.
    pub(crate) fn at_most(self, time: Duration) -> Self {
        Self(self.0.min(Instant::now() + time))
    }

    /// The deadline after half of the time that is left: so long a request waits for what another request has started,
    /// so that it can do the same by itself in the other half.
    pub(crate) fn half(self) -> Self {
        Self::after(self.time_left() / 2)
    }

    /// Waits until this deadline; `None` if it passes first.
    pub(crate) async fn wait<T>(self, future: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.0.into(), future).await.ok()
    }

    /// Bounds everything that a request waits for.
    pub(crate) async fn bound<T>(
        self,
        future: impl Future<Output = Result<T, AuthError>>,
    ) -> Result<T, AuthError> {
        Self(self.0 + GRACE).wait(future).await.unwrap_or_else(|| Err(timed_out()))
    }
}

/// The error of a request that waited until its deadline.
pub(crate) fn timed_out() -> AuthError {
    AuthError::upstream(UpstreamFault::TimedOut).with_source("the request waited until its deadline")
}
