//! Log records and metrics of the events from one source.

use std::sync::Arc;

use crate::{
    error::AuthError,
    telemetry::{Telemetry, log_throttle::LogThrottle},
};

/// The result of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Tokens were revoked, or cached verdicts are not used any more.
    Applied,
    /// The event has no effect on tokens.
    Ignored,
    /// The subject cannot be matched with tokens.
    Unusable,
    /// The event was applied before.
    Repeated,
    /// The transmitter has paused or disabled the stream.
    StreamStopped,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::Unusable => "unusable",
            Self::Repeated => "repeated",
            Self::StreamStopped => "stream_stopped",
        }
    }
}

/// Reports the events of one source.
pub(super) struct EventReport {
    telemetry: Arc<Telemetry>,
    /// `ssf_push`, `ssf_poll`, `backchannel_logout` or `webhook`.
    source: &'static str,
    accepted: LogThrottle,
    warnings: LogThrottle,
}

impl EventReport {
    pub(super) fn new(source: &'static str, telemetry: &Arc<Telemetry>) -> Self {
        Self {
            source,
            telemetry: Arc::clone(telemetry),
            accepted: LogThrottle::default(),
            warnings: LogThrottle::default(),
        }
    }

    /// Reports an accepted event.
    pub(super) fn accepted(&self, kind: &'static str, outcome: Outcome) {
        let level = match outcome {
            Outcome::Applied => self.level(&self.accepted, log::Level::Info),
            Outcome::Unusable | Outcome::StreamStopped => self.level(&self.warnings, log::Level::Warn),
            Outcome::Ignored | Outcome::Repeated => log::Level::Debug,
        };
        let effect = match outcome {
            Outcome::Applied => "was applied",
            Outcome::Ignored => "has no effect on tokens",
            Outcome::Unusable => "has no effect, because its subject cannot be matched with tokens",
            Outcome::Repeated => "was applied before",
            Outcome::StreamStopped => {
                "states that the stream is paused or disabled, so that no events are delivered"
            }
        };
        self.log(level, kind, outcome.name(), "", &format!("an event ({kind}) {effect}"));
    }

    /// Reports an event that was rejected because of its token, or could not be applied.
    pub(super) fn refused(&self, error: &AuthError) {
        let fault = error.kind().fault();
        let (outcome, what) = if error.is_client_fault() {
            ("rejected", "an event was rejected")
        } else {
            ("failed", "an event could not be applied and must be delivered again")
        };
        let issuer = &*self.telemetry.issuer;
        let level = self.level(&self.warnings, log::Level::Warn);
        let text = format!("{what}: {}", error.describe(issuer));
        self.log(level, "", outcome, fault, &text);
    }

    fn level(&self, throttle: &LogThrottle, level: log::Level) -> log::Level {
        throttle.level_at(self.telemetry.clock.monotonic(), level)
    }

    fn log(&self, level: log::Level, kind: &'static str, outcome: &'static str, fault: &str, text: &str) {
        let (issuer, source) = (&*self.telemetry.issuer, self.source);
        record!(
            level, event = "revocation_event", issuer, source, kind, outcome, fault;
            "{source}: {text} ({issuer})"
        );
        self.telemetry.revocation_event(source, kind, outcome);
    }
}
