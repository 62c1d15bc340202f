//! Key pairs for tests of JWTs. Their JWKs have no `kid`, `alg` and `use` unless a test adds them.

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{
    algorithm::Algorithm,
    test::{self, TestKey},
};

/// RSA keys take long to create, so all tests of a process share two.
static RSA: LazyLock<[TestKey; 2]> =
    LazyLock::new(|| [0, 1].map(|_| TestKey::generate(test::Algorithm::RS256, "")));

pub(crate) struct TestSigner(TestKey);

impl TestSigner {
    /// Creates a key for this algorithm.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self(if is_rsa(algorithm) { RSA[0].clone() } else { TestKey::generate(of_kit(algorithm), "") })
    }

    /// Creates another key for this algorithm.
    pub(crate) fn other(algorithm: Algorithm) -> Self {
        if is_rsa(algorithm) { Self(RSA[1].clone()) } else { Self::new(algorithm) }
    }

    pub(crate) fn is_rsa(&self) -> bool {
        self.0.algorithm() == test::Algorithm::RS256
    }

    /// Returns the public key with these members added or replaced.
    #[expect(clippy::needless_pass_by_value, reason = "callers write json!() here")]
    pub(crate) fn jwk(&self, members: Value) -> Value {
        let mut jwk = self.0.jwk();
        let object = jwk.as_object_mut().unwrap();
        object.retain(|name, _| !["kid", "alg", "use"].contains(&name.as_str()));
        object.extend(members.as_object().unwrap().clone());
        jwk
    }

    /// Returns the public key as a `SubjectPublicKeyInfo` in DER.
    pub(crate) fn spki(&self) -> Vec<u8> {
        self.0.public_der()
    }

    /// Signs with the algorithm of the key. Only RSA keys have several algorithms; other keys ignore the argument.
    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let key = self.0.clone();
        if self.is_rsa() { key.with_algorithm(of_kit(algorithm)) } else { key }.sign(message)
    }

    /// Creates a JWS with exactly these two texts.
    pub(crate) fn token(&self, algorithm: Algorithm, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", b64(header), b64(payload));
        let signed = self.sign(algorithm, input.as_bytes());
        format!("{input}.{}", b64(signed))
    }
}

/// Encodes strict base64url.
pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn is_rsa(algorithm: Algorithm) -> bool {
    Algorithm::ALL[..6].contains(&algorithm)
}

/// Returns the algorithm of the test kit with the same name.
fn of_kit(algorithm: Algorithm) -> test::Algorithm {
    match algorithm {
        Algorithm::RS256 => test::Algorithm::RS256,
        Algorithm::RS384 => test::Algorithm::RS384,
        Algorithm::RS512 => test::Algorithm::RS512,
        Algorithm::PS256 => test::Algorithm::PS256,
        Algorithm::PS384 => test::Algorithm::PS384,
        Algorithm::PS512 => test::Algorithm::PS512,
        Algorithm::ES256 => test::Algorithm::ES256,
        Algorithm::ES384 => test::Algorithm::ES384,
        Algorithm::ES512 => test::Algorithm::ES512,
        Algorithm::EdDSA => test::Algorithm::EdDSA,
    }
}
