//! The throttles of the log records about events, for each source of events.

use super::log_throttle::LogThrottle;

/// A source of revocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventSource {
    SsfPush,
    SsfPoll,
    BackchannelLogout,
    Webhook,
}

impl EventSource {
    /// Returns the name in logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SsfPush => "ssf_push",
            Self::SsfPoll => "ssf_poll",
            Self::BackchannelLogout => "backchannel_logout",
            Self::Webhook => "webhook",
        }
    }
}

/// The throttles of one source. Anybody can cause rejections, so they have a separate throttle: they do not hide other records.
#[derive(Debug, Default)]
pub(crate) struct SourceThrottles {
    pub(crate) applied: LogThrottle,
    pub(crate) ineffective: LogThrottle,
    pub(crate) rejected: LogThrottle,
    pub(crate) failed: LogThrottle,
}

/// The throttles of all endpoints of one configuration, in all workers.
#[derive(Debug, Default)]
pub(crate) struct EventThrottles {
    ssf_push: SourceThrottles,
    ssf_poll: SourceThrottles,
    backchannel_logout: SourceThrottles,
    webhook: SourceThrottles,
}

impl EventThrottles {
    pub(crate) fn get(&self, source: EventSource) -> &SourceThrottles {
        match source {
            EventSource::SsfPush => &self.ssf_push,
            EventSource::SsfPoll => &self.ssf_poll,
            EventSource::BackchannelLogout => &self.backchannel_logout,
            EventSource::Webhook => &self.webhook,
        }
    }
}
