//! What a minted JWT looks like where it departs from the usual.

use serde_json::{Map, Value, json};

use super::{algorithm::Algorithm, key::TestKey};

/// How [`TestIssuer::jwt_with`](super::TestIssuer::jwt_with) builds a token. The default is that of
/// [`TestIssuer::jwt`](super::TestIssuer::jwt): ES256, the issuer's current key, its `kid`, `typ` `at+jwt`.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct JwtOptions {
    algorithm: Option<Algorithm>,
    key: Option<TestKey>,
    header: Map<String, Value>,
    raw_header: Option<String>,
    raw_payload: Option<String>,
}

impl JwtOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Signs with the issuer's current key for this algorithm, which is made and published where there is none yet.
    /// [`Algorithm::None`] leaves the signature empty. With a [`key`](Self::key) of another algorithm, the key wins.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Signs with this key, which the issuer does not publish.
    pub fn key(mut self, key: &TestKey) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// The header's `kid`.
    pub fn kid(self, kid: &str) -> Self {
        self.header("kid", kid)
    }

    /// A member of the header, over the usual one: `typ`, `alg`, `crit`, `jku`, … `null` leaves it out.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// The header's text instead of all of the above: members that occur twice, something that is not JSON.
    pub fn raw_header(mut self, text: &str) -> Self {
        self.raw_header = Some(text.to_owned());
        self
    }

    /// The payload's text instead of the claims.
    pub fn raw_payload(mut self, text: &str) -> Self {
        self.raw_payload = Some(text.to_owned());
        self
    }

    /// The compact JWS; `issuer_key` finds the issuer's own key for an algorithm.
    pub(super) fn build(
        self,
        claims: &Map<String, Value>,
        issuer_key: impl FnOnce(Option<Algorithm>) -> TestKey,
    ) -> String {
        let key = self.key.unwrap_or_else(|| issuer_key(self.algorithm));
        let mut header = json!({ "alg": key.algorithm().name(), "typ": "at+jwt", "kid": key.kid() });
        if let Some(members) = header.as_object_mut() {
            merge(members, self.header);
        }
        let header = self.raw_header.unwrap_or_else(|| header.to_string());
        let payload = self.raw_payload.unwrap_or_else(|| json!(claims).to_string());
        key.jws_of(&header, &payload)
    }
}

/// Puts the changes over the members; `null` removes one.
pub(super) fn merge(members: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (name, value) in changes {
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
}
