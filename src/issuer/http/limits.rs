//! The limits of a call.

use std::time::{Duration, Instant};

use crate::{deadline::Deadline, settings::Traceparent};

/// The limits of every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CallLimits {
    /// The time from the wait for a connection to the last byte of the body.
    pub(crate) deadline: Duration,
    /// The longest body in bytes.
    pub(crate) max_body: usize,
    /// The trace context that is sent.
    pub(crate) traceparent: Traceparent,
}

impl CallLimits {
    /// Returns the same limits, but not past this deadline, in whole milliseconds.
    pub(crate) fn until(self, deadline: Deadline) -> Self {
        let millis = u64::try_from(deadline.time_left().as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        Self { deadline: self.deadline.min(Duration::from_millis(millis)), ..self }
    }

    /// Returns the deadline of a call that starts now, including its retry.
    pub(crate) fn starting_now(self) -> CallDeadline {
        CallDeadline { limits: self, started: Instant::now() }
    }
}

/// The limits of a call in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallDeadline {
    limits: CallLimits,
    started: Instant,
}

impl CallDeadline {
    pub(super) fn limits(self) -> CallLimits {
        self.limits
    }

    pub(super) fn time_left(self) -> Duration {
        self.limits.deadline.saturating_sub(self.started.elapsed())
    }
}
