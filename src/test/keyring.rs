//! The keys of the issuer.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::test::{algorithm::Algorithm, key::TestKey};

/// The effect of a rotation on the old keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rotation {
    /// New keys sign; the old ones stay published.
    Add,
    /// New keys sign; the old ones are removed from the key set.
    Replace,
    /// New keys under the old `kid`s. Servers must not do this, but some do.
    SameKid,
}

pub(super) struct KeyRing {
    current: BTreeMap<Algorithm, TestKey>,
    published: Vec<TestKey>,
    generation: u32,
    /// A document that is published instead of the keys.
    pub(super) instead: Option<Value>,
    pub(super) content_type: String,
}

impl Default for KeyRing {
    fn default() -> Self {
        Self {
            current: BTreeMap::new(),
            published: Vec::new(),
            generation: 1,
            instead: None,
            content_type: "application/jwk-set+json".to_owned(),
        }
    }
}

impl KeyRing {
    /// Returns the key that signs with this algorithm, and creates and publishes it if there is none. Keys without a
    /// public half are never published.
    pub(super) fn signing(&mut self, algorithm: Algorithm) -> TestKey {
        if let Some(key) = self.current.get(&algorithm) {
            return key.clone();
        }
        let key = self.generate(algorithm);
        if algorithm.is_asymmetric() {
            self.published.push(key.clone());
        }
        self.current.insert(algorithm, key.clone());
        key
    }

    pub(super) fn rotate(&mut self, rotation: Rotation) {
        let before = std::mem::take(&mut self.current);
        self.instead = None;
        if rotation == Rotation::SameKid {
            self.published.retain(|key| !before.values().any(|old| old.kid() == key.kid()));
        } else {
            self.generation += 1;
        }
        if rotation == Rotation::Replace {
            self.published.clear();
        }
        for algorithm in before.into_keys() {
            self.signing(algorithm);
        }
    }

    pub(super) fn document(&self) -> Value {
        let keys = || json!({ "keys": self.published.iter().map(TestKey::jwk).collect::<Vec<_>>() });
        self.instead.clone().unwrap_or_else(keys)
    }

    /// RSA keys are slow to create, so those of one generation share the numbers.
    fn generate(&self, algorithm: Algorithm) -> TestKey {
        let kid = format!("{}-{}", algorithm.name().to_lowercase(), self.generation);
        let sibling = if algorithm.is_rsa() {
            self.current.values().find(|key| key.algorithm().is_rsa())
        } else {
            None
        };
        match sibling {
            Some(key) => key.clone().with_kid(&kid).with_algorithm(algorithm),
            None => TestKey::generate(algorithm, &kid),
        }
    }
}
