//! Key pairs for tests: they sign, and show their public key as a JWK.

use std::sync::LazyLock;

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::algorithm::Algorithm;

/// Making an RSA key takes a moment, so that all tests of a process share two.
static RSA: LazyLock<[RsaKeyPair; 2]> =
    LazyLock::new(|| [0, 1].map(|_| RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));

pub(crate) enum TestSigner {
    Rsa(&'static RsaKeyPair),
    Ec(Algorithm, Box<EcdsaKeyPair>),
    Ed(Ed25519KeyPair),
}

impl TestSigner {
    /// A key for this algorithm.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match ec(algorithm) {
            Some((_, signing)) => Self::Ec(algorithm, Box::new(EcdsaKeyPair::generate(signing).unwrap())),
            None if algorithm == Algorithm::EdDSA => Self::Ed(Ed25519KeyPair::generate().unwrap()),
            None => Self::Rsa(&RSA[0]),
        }
    }

    /// Another key for this algorithm.
    pub(crate) fn other(algorithm: Algorithm) -> Self {
        match Self::new(algorithm) {
            Self::Rsa(_) => Self::Rsa(&RSA[1]),
            new => new,
        }
    }

    /// Returns the public key with these members added or replaced.
    #[expect(clippy::needless_pass_by_value, reason = "callers write json!() here")]
    pub(crate) fn jwk(&self, members: Value) -> Value {
        let mut jwk = match self {
            Self::Rsa(pair) => {
                let [n, e] = integers(pair.public_key().as_ref());
                json!({"kty": "RSA", "n": b64(n), "e": b64(e)})
            }
            Self::Ec(algorithm, pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": ec(*algorithm).unwrap().0, "x": b64(x), "y": b64(y)})
            }
            Self::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key())}),
        };
        jwk.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        jwk
    }

    /// The public key as a `SubjectPublicKeyInfo` in DER.
    pub(crate) fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = match self {
            Self::Rsa(pair) => pair.public_key().as_der(),
            Self::Ec(_, pair) => pair.public_key().as_der(),
            Self::Ed(pair) => pair.public_key().as_der(),
        }
        .unwrap();
        der.as_ref().to_vec()
    }

    /// Signs with the key's algorithm; an RSA key has several, the others ignore the argument.
    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => {
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(rsa(algorithm), &SystemRandom::new(), message, &mut signed).unwrap();
                signed
            }
            Self::Ec(_, pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A JWS of exactly these two texts.
    pub(crate) fn token(&self, algorithm: Algorithm, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", b64(header), b64(payload));
        let signed = self.sign(algorithm, input.as_bytes());
        format!("{input}.{}", b64(signed))
    }
}

/// Strict base64url.
pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(algorithm: Algorithm) -> &'static dyn RsaEncoding {
    match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_SHA512,
        _ => panic!("not an algorithm of RSA keys"),
    }
}

fn ec(algorithm: Algorithm) -> Option<(&'static str, &'static EcdsaSigningAlgorithm)> {
    match algorithm {
        Algorithm::ES256 => Some(("P-256", &signature::ECDSA_P256_SHA256_FIXED_SIGNING)),
        Algorithm::ES384 => Some(("P-384", &signature::ECDSA_P384_SHA384_FIXED_SIGNING)),
        Algorithm::ES512 => Some(("P-521", &signature::ECDSA_P521_SHA512_FIXED_SIGNING)),
        _ => None,
    }
}

/// The two numbers of an `RSAPublicKey` (RFC 8017 appendix A.1.1).
fn integers(der: &[u8]) -> [&[u8]; 2] {
    let (sequence, _) = element(der);
    let (modulus, rest) = element(sequence);
    let (exponent, _) = element(rest);
    [modulus, exponent].map(|number| number.strip_prefix(&[0]).unwrap_or(number))
}

fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match der[1] {
        short if short < 0x80 => (usize::from(short), 2),
        0x81 => (usize::from(der[2]), 3),
        0x82 => (usize::from(u16::from_be_bytes([der[2], der[3]])), 4),
        _ => panic!("too long for a key"),
    };
    der[start..].split_at(length)
}
