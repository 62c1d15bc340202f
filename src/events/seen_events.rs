//! The events that were applied, so that a repeated delivery has no effect.

use aws_lc_rs::digest::{SHA256, digest};
use quick_cache::sync::Cache;

/// The number of events that are kept. If there are more, a repeated event is applied again, which has the same effect.
const CAPACITY: usize = 10_000;

/// The digests of the `jti` of events.
pub(super) struct SeenEvents(Cache<[u8; 16], ()>);

impl SeenEvents {
    pub(super) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    pub(super) fn contains(&self, issuer: &str, id: &str) -> bool {
        self.0.get(&key(issuer, id)).is_some()
    }

    pub(super) fn insert(&self, issuer: &str, id: &str) {
        self.0.insert(key(issuer, id), ());
    }
}

/// Returns the digest of an issuer and a `jti`. The length of the issuer separates them.
fn key(issuer: &str, id: &str) -> [u8; 16] {
    let digest = digest(&SHA256, format!("{}:{issuer}{id}", issuer.len()).as_bytes());
    let mut key = [0; 16];
    key.iter_mut().zip(digest.as_ref()).for_each(|(byte, of_digest)| *byte = *of_digest);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_kept_by_issuer_and_id_up_to_a_limit() {
        let seen = SeenEvents::new();
        seen.insert("https://a", "1");
        assert!(seen.contains("https://a", "1"));
        assert!(!seen.contains("https://a", "2") && !seen.contains("https://b", "1"));
        assert_ne!(key("ab", "c"), key("a", "bc"));
        for id in 0..100_000 {
            seen.insert("https://a", &id.to_string());
        }
        assert!(seen.0.len() <= CAPACITY + CAPACITY / 10, "{}", seen.0.len());
    }
}
