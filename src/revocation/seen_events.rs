//! The events that were applied, so that a repeated delivery has no effect.

use std::{fmt, sync::OnceLock};

use aws_lc_rs::digest::{Context, SHA256};
use quick_cache::sync::Cache;

/// The number of events that are kept. If there are more, a repeated event is applied again, which has the same effect.
const CAPACITY: usize = 10_000;

/// The events that were applied to the tokens of one configuration, by all endpoints of all workers. Memory is allocated for the
/// first event.
#[derive(Default)]
pub(crate) struct SeenEvents(OnceLock<Cache<SeenEvent, ()>>);

/// The digest that identifies an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SeenEvent([u8; 16]);

impl SeenEvents {
    pub(crate) fn contains(&self, event: &SeenEvent) -> bool {
        self.0.get().is_some_and(|events| events.get(event).is_some())
    }

    pub(crate) fn insert(&self, event: SeenEvent) {
        self.0.get_or_init(|| Cache::new(CAPACITY)).insert(event, ());
    }

    fn len(&self) -> usize {
        self.0.get().map_or(0, Cache::len)
    }
}

impl SeenEvent {
    /// Computes the digest of the kind of the event, of the names that it belongs to (its issuer, and the issuer of the tokens that
    /// it concerns), and of its `jti`. The same `jti` of another kind, sender or target is another event.
    pub(crate) fn new(kind: &str, names: &[&str], id: &str) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [kind, id].iter().chain(names) {
            // With the length of each part, no two lists have the same bytes.
            context.update(format!("{}:{part}", part.len()).as_bytes());
        }
        let mut half = [0; 16];
        half.iter_mut().zip(context.finish().as_ref()).for_each(|(place, byte)| *place = *byte);
        Self(half)
    }
}

impl fmt::Debug for SeenEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} events]", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_kept_by_kind_issuer_target_and_id_up_to_a_limit() {
        let seen = SeenEvents::default();
        let event = |id: &str| SeenEvent::new("set", &["https://a", "https://t"], id);
        assert!(!seen.contains(&event("1")));
        seen.insert(event("1"));
        assert!(seen.contains(&event("1")));
        for other in [
            event("2"),
            SeenEvent::new("logout", &["https://a", "https://t"], "1"),
            SeenEvent::new("set", &["https://b", "https://t"], "1"),
            SeenEvent::new("set", &["https://a", "https://u"], "1"),
            SeenEvent::new("set", &["https://a"], "1"),
            SeenEvent::new("set", &["https://ahttps://t"], "1"),
        ] {
            assert!(!seen.contains(&other), "{other:?}");
        }
        for id in 0..100_000 {
            seen.insert(event(&id.to_string()));
        }
        assert!(seen.len() <= CAPACITY + CAPACITY / 10, "{}", seen.len());
    }
}
