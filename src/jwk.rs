//! The tables and functions that public and private JSON Web Keys share (RFC 7518 section 6).

use std::ops::RangeInclusive;

use aws_lc_rs::signature::{
    self, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, RsaParameters, RsaSignatureEncoding,
};

use crate::algorithm::Algorithm;

/// The bits of an RSA modulus. Less than 2048 are forbidden (RFC 7518 section 3.3). More than 8192 make each request slow.
pub(crate) const MODULUS_BITS: RangeInclusive<usize> = 2048..=8192;

/// The algorithms of RSA keys, with the parameters to verify and the encoding to sign.
pub(crate) const RSA: [(Algorithm, &RsaParameters, &RsaSignatureEncoding); 6] = [
    (Algorithm::RS256, &signature::RSA_PKCS1_2048_8192_SHA256, &signature::RSA_PKCS1_SHA256),
    (Algorithm::RS384, &signature::RSA_PKCS1_2048_8192_SHA384, &signature::RSA_PKCS1_SHA384),
    (Algorithm::RS512, &signature::RSA_PKCS1_2048_8192_SHA512, &signature::RSA_PKCS1_SHA512),
    (Algorithm::PS256, &signature::RSA_PSS_2048_8192_SHA256, &signature::RSA_PSS_SHA256),
    (Algorithm::PS384, &signature::RSA_PSS_2048_8192_SHA384, &signature::RSA_PSS_SHA384),
    (Algorithm::PS512, &signature::RSA_PSS_2048_8192_SHA512, &signature::RSA_PSS_SHA512),
];

/// A curve of EC keys, which has one algorithm.
pub(crate) struct Curve {
    pub(crate) algorithm: Algorithm,
    /// The length of a coordinate in bytes.
    pub(crate) length: usize,
    pub(crate) verification: &'static EcdsaVerificationAlgorithm,
    pub(crate) signing: &'static EcdsaSigningAlgorithm,
}

impl Curve {
    /// Returns the curve of a key by its `crv`, if it is supported.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        use signature::{
            ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
            ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING,
        };

        let (algorithm, length, verification, signing) = match name {
            "P-256" => (Algorithm::ES256, 32, &ECDSA_P256_SHA256_FIXED, &ECDSA_P256_SHA256_FIXED_SIGNING),
            "P-384" => (Algorithm::ES384, 48, &ECDSA_P384_SHA384_FIXED, &ECDSA_P384_SHA384_FIXED_SIGNING),
            "P-521" => (Algorithm::ES512, 66, &ECDSA_P521_SHA512_FIXED, &ECDSA_P521_SHA512_FIXED_SIGNING),
            _ => return None,
        };
        Some(Self { algorithm, length, verification, signing })
    }
}

/// Encodes a point of a curve without compression (SEC 1 section 2.3.3).
pub(crate) fn uncompressed_point(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

/// Removes leading zero bytes of a number. Some servers and libraries write them, although RFC 7518 section 6.3.1.1
/// forbids it.
pub(crate) fn without_leading_zeros(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}

/// Returns the number of bits of a number without leading zero bytes.
pub(crate) fn bit_length(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |first| usize::try_from(first.leading_zeros()).unwrap_or(0));
    number.len() * 8 - unused
}
