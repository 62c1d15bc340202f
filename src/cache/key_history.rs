//! Every key under which a token may be cached. A key depends on the endpoint, which new metadata may change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cache::{CacheKey, CacheKeyHasher};

/// The maximum number of pairs of issuer and endpoint. One is usual; a second one appears if the server moves.
const MAX_REMEMBERED: usize = 16;

/// The key hashers of all endpoints that the metadata has named so far, so that an eviction also removes verdicts
/// that were cached under an earlier endpoint.
#[derive(Debug)]
pub(crate) struct KeyHistory {
    client_id: String,
    /// The parts of the request that may change the verdict.
    fields: Vec<String>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The endpoints. The last one is the newest.
    endpoints: Vec<EndpointHistory>,
    has_forgotten: bool,
}

#[derive(Debug)]
struct EndpointHistory {
    issuer: String,
    url: String,
    hasher: Arc<CacheKeyHasher>,
}

/// The keys of one token.
#[derive(Debug, PartialEq)]
pub(crate) struct TokenKeys {
    /// The keys. The first one is that of the newest endpoint.
    pub(crate) keys: Vec<CacheKey>,
    /// Whether the history contains every endpoint so far.
    pub(crate) is_complete: bool,
}

impl KeyHistory {
    pub(crate) fn new(client_id: &str, fields: &[&str]) -> Self {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        Self { client_id: client_id.to_owned(), fields, seen: Mutex::default() }
    }

    /// Returns the key hasher of this endpoint, which becomes the newest one.
    pub(crate) fn hasher(&self, issuer: &str, url: &str) -> Arc<CacheKeyHasher> {
        let mut seen = self.lock();
        let same = |known: &EndpointHistory| known.issuer == issuer && known.url == url;
        let known = seen.endpoints.iter().position(same).map(|place| seen.endpoints.remove(place));
        let endpoint = known.unwrap_or_else(|| EndpointHistory {
            issuer: issuer.to_owned(),
            url: url.to_owned(),
            hasher: Arc::new(CacheKeyHasher::with_fields(
                issuer,
                url,
                &self.client_id,
                self.fields.iter().map(String::as_str),
            )),
        });
        let hasher = Arc::clone(&endpoint.hasher);
        if seen.endpoints.len() >= MAX_REMEMBERED {
            seen.endpoints.remove(0);
            seen.has_forgotten = true;
        }
        seen.endpoints.push(endpoint);
        hasher
    }

    /// Returns every key under which this process may have cached a token.
    pub(crate) fn keys(&self, token: &str) -> TokenKeys {
        let seen = self.lock();
        let keys = seen.endpoints.iter().rev().map(|endpoint| endpoint.hasher.key(token)).collect();
        TokenKeys { keys, is_complete: !seen.has_forgotten }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // No code panics while it holds the lock. Even after a panic the list would be consistent.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_a_key_for_each_endpoint_and_the_newest_comes_first() {
        let history = KeyHistory::new("api", &[]);
        let key = |url| CacheKeyHasher::new("https://as.example.test", url, "api").key("token");
        for url in ["/a", "/b", "/a", "/a"] {
            assert_eq!(history.hasher("https://as.example.test", url).key("token"), key(url));
        }
        let both = TokenKeys { keys: vec![key("/a"), key("/b")], is_complete: true };
        assert_eq!(history.keys("token"), both);
        history.hasher("https://other.example.test", "/a");
        assert_eq!(history.keys("token").keys.len(), 3);
    }

    #[test]
    fn endpoints_are_bounded_in_number_and_a_forgotten_one_is_told() {
        let history = KeyHistory::new("api", &[]);
        for number in 0..MAX_REMEMBERED {
            history.hasher("issuer", &number.to_string());
        }
        history.hasher("issuer", "0");
        assert!(history.keys("token").is_complete);
        history.hasher("issuer", "one more");
        let TokenKeys { keys, is_complete } = history.keys("token");
        assert_eq!((keys.len(), is_complete), (MAX_REMEMBERED, false));
        assert!(
            keys.contains(&CacheKeyHasher::new("issuer", "0", "api").key("token")),
            "the oldest one is forgotten"
        );
    }
}
