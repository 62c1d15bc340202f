//! The deadline for everything that one request waits for.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::time::timeout_at;

use crate::error::{AuthError, UpstreamFault};

/// The additional time that [`Deadline::bound`] waits. A call ends at the deadline itself, with a more precise
/// error.
const GRACE: Duration = Duration::from_millis(50);

/// A time on the monotonic clock of the operating system, which tests do not change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    pub(crate) fn time_left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Returns the earlier one of this deadline and a deadline after `time`.
    pub(crate) fn at_most(self, time: Duration) -> Self {
        Self(self.0.min(Instant::now() + time))
    }

    /// Returns the deadline after half of the remaining time. A request waits until then for a call of another
    /// request, so that it can make the call itself in the other half.
    pub(crate) fn half(self) -> Self {
        Self::after(self.time_left() / 2)
    }

    /// Waits until this deadline. Returns `None` if the deadline passes first.
    pub(crate) async fn wait<T>(self, future: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.0.into(), future).await.ok()
    }

    /// Limits everything that a request waits for.
    pub(crate) async fn bound<T>(
        self,
        future: impl Future<Output = Result<T, AuthError>>,
    ) -> Result<T, AuthError> {
        Self(self.0 + GRACE).wait(future).await.unwrap_or_else(|| Err(timed_out()))
    }
}

/// Returns the error of a request that waited until its deadline.
pub(crate) fn timed_out() -> AuthError {
    AuthError::upstream(UpstreamFault::TimedOut).with_source("the request waited until its deadline")
}
