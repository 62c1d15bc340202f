//! Options of minted JWTs.

use serde_json::{Map, Value, json};

use crate::test::{algorithm::Algorithm, key::TestKey};

/// Options for [`TestIssuer::jwt_with`](super::TestIssuer::jwt_with). The default is that of
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
    /// Creates the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Signs with the issuer's current key for this algorithm, which is created and published if there is none.
    /// [`Algorithm::None`] leaves the signature empty. A [`key`](Self::key) of another algorithm takes precedence.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Signs with this key, which the issuer does not publish.
    pub fn key(mut self, key: &TestKey) -> Self {
        self.key = Some(key.clone());
        self
    }

    /// Sets the header's `kid`.
    pub fn kid(self, kid: &str) -> Self {
        self.header("kid", kid)
    }

    /// Sets a member of the header: `typ`, `alg`, `crit`, `jku`, … `null` removes it.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the whole text of the header, for duplicate members or invalid JSON.
    pub fn raw_header(mut self, text: &str) -> Self {
        self.raw_header = Some(text.to_owned());
        self
    }

    /// Sets the whole text of the payload.
    pub fn raw_payload(mut self, text: &str) -> Self {
        self.raw_payload = Some(text.to_owned());
        self
    }

    /// Sets the `typ` of the header, unless the test has set it.
    pub(super) fn default_type(mut self, typ: &str) -> Self {
        self.header.entry("typ").or_insert_with(|| typ.into());
        self
    }

    /// Builds the compact JWS. `issuer_key` returns the issuer's key for an algorithm.
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

/// Merges the changes into the members; `null` removes one.
pub(super) fn merge(members: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (name, value) in changes {
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
}
