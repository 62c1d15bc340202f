//! Counts and logs requests that would be rejected if a rule were enforced, by client.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::log_throttle::LogThrottle;

/// The maximum number of clients with a separate label, and the maximum length of a label in bytes.
const MAX_CLIENTS: usize = 50;
const MAX_LENGTH: usize = 128;

/// The label of all other clients, and that of a token without a client.
const OTHER: &str = "other";
const NONE: &str = "none";

/// The rule that is not enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReportedRule {
    /// A requirement of a mount with `report_only`.
    Mount,
    /// A rule of the trial of the configuration.
    Trial,
}

impl ReportedRule {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Trial => "trial",
        }
    }
}

/// The clients that were reported.
#[derive(Debug, Default)]
pub(super) struct ReportedClients {
    known: Mutex<BTreeMap<Arc<str>, LogThrottle>>,
    other: LogThrottle,
}

impl ReportedClients {
    /// Returns the label of a client, and the level of the record at this time: info once in ten seconds for each label.
    pub(super) fn label(&self, client: Option<&str>, now: Duration) -> (Arc<str>, log::Level) {
        let client = client.unwrap_or(NONE);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((label, throttle)) = known.get_key_value(client) {
            return (Arc::clone(label), throttle.level_at(now, log::Level::Info));
        }
        if known.len() >= MAX_CLIENTS || client.len() > MAX_LENGTH || client.chars().any(char::is_control) {
            return (OTHER.into(), self.other.level_at(now, log::Level::Info));
        }
        let (label, throttle) = (Arc::<str>::from(client), LogThrottle::default());
        let level = throttle.level_at(now, log::Level::Info);
        known.insert(Arc::clone(&label), throttle);
        (label, level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_labels_is_limited() {
        let clients = ReportedClients::default();
        let label = |client: Option<&str>| clients.label(client, Duration::ZERO).0;
        assert_eq!(&*label(None), "none");
        for number in 1..MAX_CLIENTS {
            assert_eq!(*label(Some(&number.to_string())), number.to_string());
        }
        assert_eq!(&*label(Some("one more")), "other");
        assert_eq!(&*label(Some("1")), "1", "a known client keeps its label");
        let clients = ReportedClients::default();
        for odd in ["x".repeat(129), "a\nb".to_owned()] {
            assert_eq!(&*clients.label(Some(&odd), Duration::ZERO).0, "other");
        }
    }

    #[test]
    fn each_label_is_logged_once_in_ten_seconds() {
        let clients = ReportedClients::default();
        let level = |client, second| clients.label(Some(client), Duration::from_secs(second)).1;
        assert_eq!(level("a", 0), log::Level::Info);
        assert_eq!(level("a", 9), log::Level::Debug);
        assert_eq!(level("b", 9), log::Level::Info);
        assert_eq!(level("a", 10), log::Level::Info);
    }
}
