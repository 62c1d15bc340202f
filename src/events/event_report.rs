//! Log records and metrics of the events from one source.

use std::sync::Arc;

use crate::{
    error::AuthError,
    protect_api::state::State,
    telemetry::{EventSource, Telemetry, log_throttle::LogThrottle},
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
    source: EventSource,
    telemetry: Arc<Telemetry>,
    /// The configuration of the sender. Its throttles limit the records.
    sender: Arc<Telemetry>,
}

impl EventReport {
    /// `sender` is the configuration of the sender, or that of the API if the sender has none. Endpoints with the same one share
    /// the throttles of the log, in all workers.
    pub(super) fn new(source: EventSource, api: &State, sender: &State) -> Self {
        Self { source, telemetry: Arc::clone(&api.telemetry), sender: Arc::clone(&sender.telemetry) }
    }

    /// Reports an accepted event.
    pub(super) fn accepted(&self, kind: &'static str, outcome: Outcome) {
        let throttles = self.sender.event_throttles.get(self.source);
        let level = match outcome {
            Outcome::Applied => self.level(&throttles.applied, log::Level::Info),
            Outcome::Unusable | Outcome::StreamStopped => {
                self.level(&throttles.ineffective, log::Level::Warn)
            }
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
        let throttles = self.sender.event_throttles.get(self.source);
        let (outcome, what, throttle) = if error.is_client_fault() {
            ("rejected", "an event was rejected", &throttles.rejected)
        } else {
            ("failed", "an event could not be applied and must be delivered again", &throttles.failed)
        };
        let issuer = &*self.telemetry.issuer;
        let level = self.level(throttle, log::Level::Warn);
        let text = format!("{what}: {}", error.describe(issuer));
        self.log(level, "", outcome, fault, &text);
    }

    fn level(&self, throttle: &LogThrottle, level: log::Level) -> log::Level {
        throttle.level_at(self.telemetry.clock.monotonic(), level)
    }

    fn log(&self, level: log::Level, kind: &'static str, outcome: &'static str, fault: &str, text: &str) {
        let (issuer, source) = (&*self.telemetry.issuer, self.source.name());
        record!(
            level, event = "revocation_event", issuer, source, kind, outcome, fault;
            "{source}: {text} ({issuer})"
        );
        self.telemetry.revocation_event(source, kind, outcome);
    }
}
