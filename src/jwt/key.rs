//! One JSON Web Key (RFC 7517) of an issuer's set: a key that verifies signatures, or an error.
//!
//! A key is parsed once, when the set is read, and not for each request.

#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::signature::{self, ParsedPublicKey, RsaPublicKeyComponents, VerificationAlgorithm};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use derive_more::Display;
use serde_json::{Map, Value};

use crate::{
    algorithm::Algorithm,
    jwk::{Curve, MODULUS_BITS, RSA, bit_length, uncompressed_point, without_leading_zeros},
};

/// The longest `kid`, in bytes. A key with a longer one is not used, so no key fits a token with a longer one.
/// Servers use a thumbprint or a UUID; a longer one only costs memory and time to compare.
const MAX_KID: usize = 256;

/// The public exponents of RSA. With 1, a signature is the message itself. aws-lc rejects more than 33 bits,
/// because verification becomes slow.
const EXPONENT: std::ops::RangeInclusive<u64> = 3..=0x1_ffff_ffff;

/// A public key of the issuer, parsed for each algorithm that it may be used with.
pub(crate) struct VerifyingKey {
    kid: Option<Box<str>>,
    kty: &'static str,
    // aws-lc-rs binds a parsed key to one algorithm. Therefore a token cannot choose another algorithm for it.
    parsed: Box<[(Algorithm, ParsedPublicKey)]>,
}

/// The reason why a key cannot be used.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq)]
pub(crate) enum Unusable {
    #[display("it is not for verifying signatures")]
    Purpose,
    #[display("its type or curve is not supported")]
    Type,
    #[display("its algorithm is not supported, or does not fit its type")]
    Algorithm,
    #[display("it is malformed, too weak, or too large")]
    Malformed,
}

impl VerifyingKey {
    /// Parses a JWK. Only the public members are used; private members are not stored. A member that is `null` is
    /// treated as absent. `x5c` and `x5u` are ignored.
    ///
    /// # Errors
    /// The reason, if the key is not for verifying signatures (`use`, `key_ops`), has an unsupported type or
    /// algorithm (also every `oct` key), is too weak, too large, or malformed.
    pub(crate) fn from_jwk(jwk: &Value) -> Result<Self, Unusable> {
        let jwk = jwk.as_object().ok_or(Unusable::Malformed)?;
        let kid = optional_string(jwk, "kid")?;
        let allowed = Allowed::read(jwk)?;
        let (kty, parsed) = match jwk.get("kty").and_then(Value::as_str) {
            Some("RSA") => ("RSA", rsa(jwk, allowed).ok_or(Unusable::Malformed)?),
            Some("EC") => ("EC", ec(jwk, allowed)?),
            Some("OKP") => ("OKP", okp(jwk, allowed)?),
            _ => return Err(Unusable::Type),
        };
        if kid.is_some_and(|kid| kid.len() > MAX_KID) {
            return Err(Unusable::Malformed);
        }
        // A key whose `alg` belongs to another key type verifies nothing.
        if parsed.is_empty() {
            return Err(Unusable::Algorithm);
        }
        Ok(Self { kid: kid.map(Into::into), kty, parsed: parsed.into() })
    }

    /// Returns the identifier of the key.
    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Returns the algorithms that the key verifies.
    pub(crate) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.parsed.iter().map(|(algorithm, _)| *algorithm)
    }

    /// Returns the parsed key for this algorithm, if the key may be used with it.
    pub(crate) fn parsed_for(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.parsed.iter().find(|(of, _)| *of == algorithm).map(|(_, key)| key)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms: Vec<_> = self.parsed.iter().map(|(algorithm, _)| algorithm).collect();
        f.debug_struct("VerifyingKey")
            .field("kid", &self.kid)
            .field("kty", &self.kty)
            .field("alg", &algorithms)
            .finish()
    }
}

type Parsed = Vec<(Algorithm, ParsedPublicKey)>;

/// The algorithms that the `alg` of the JWK allows: that one, or all if it is absent.
#[derive(Clone, Copy)]
struct Allowed(Option<Algorithm>);

impl Allowed {
    /// Returns an error if the key is not for verifying signatures.
    fn read(jwk: &Map<String, Value>) -> Result<Self, Unusable> {
        let is_for_signatures = optional_string(jwk, "use")?.is_none_or(|usage| usage == "sig");
        let may_verify = match jwk.get("key_ops") {
            None | Some(Value::Null) => true,
            Some(Value::Array(operations)) => operations.iter().any(|operation| operation == "verify"),
            Some(_) => return Err(Unusable::Malformed),
        };
        if !is_for_signatures || !may_verify {
            return Err(Unusable::Purpose);
        }
        let algorithm = optional_string(jwk, "alg")?.map(str::parse).transpose();
        algorithm.map(Self).map_err(|_| Unusable::Algorithm)
    }

    fn contains(self, algorithm: Algorithm) -> bool {
        self.0.is_none_or(|only| only == algorithm)
    }
}

/// Parses an RSA key (RFC 7518 section 6.3.1).
fn rsa(jwk: &Map<String, Value>, allowed: Allowed) -> Option<Parsed> {
    let (modulus, exponent) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    // Some servers add a leading zero byte, like the sign byte in DER. The number is the same.
    let (n, e) = (without_leading_zeros(&modulus), without_leading_zeros(&exponent));
    if !MODULUS_BITS.contains(&bit_length(n)) || !is_odd(n) || !is_odd(e) || !EXPONENT.contains(&number(e)?) {
        return None;
    }
    let components = RsaPublicKeyComponents { n, e };
    RSA.into_iter()
        .filter(|(algorithm, ..)| allowed.contains(*algorithm))
        .map(|(algorithm, parameters, _)| {
            Some((algorithm, components.to_parsed_public_key(parameters).ok()?))
        })
        .collect()
}

/// Parses an elliptic curve key (RFC 7518 section 6.2.1). aws-lc checks that the point is on the curve and not at
/// infinity.
fn ec(jwk: &Map<String, Value>, allowed: Allowed) -> Result<Parsed, Unusable> {
    let curve = jwk.get("crv").and_then(Value::as_str).and_then(Curve::from_name).ok_or(Unusable::Type)?;
    // Coordinates must have the full length of the curve, but some servers encode them as signed integers: with an
    // additional zero byte, or without the leading zero bytes. The number is the same.
    let coordinate = |name| {
        let bytes = bytes(jwk, name)?;
        let number = without_leading_zeros(&bytes);
        let zeros = curve.length.checked_sub(number.len())?;
        Some([&vec![0; zeros], number].concat())
    };
    let point = coordinate("x").zip(coordinate("y")).map(|(x, y)| uncompressed_point(&x, &y));
    point
        .and_then(|point| single(curve.algorithm, curve.verification, &point, allowed))
        .ok_or(Unusable::Malformed)
}

/// Parses an Ed25519 key (RFC 8037 section 2).
fn okp(jwk: &Map<String, Value>, allowed: Allowed) -> Result<Parsed, Unusable> {
    if jwk.get("crv").and_then(Value::as_str) != Some("Ed25519") {
        return Err(Unusable::Type);
    }
    let key = bytes(jwk, "x").and_then(|x| <[u8; signature::ED25519_PUBLIC_KEY_LEN]>::try_from(x).ok());
    key.filter(|key| !has_small_order(key))
        .and_then(|key| single(Algorithm::EdDSA, &signature::ED25519, &key, allowed))
        .ok_or(Unusable::Malformed)
}

/// Returns whether an Ed25519 key is one of the eight points of small order, in any encoding, or another point
/// whose encoding is not canonical (RFC 8032 section 5.1.3). With a key of small order one signature fits many
/// messages, and aws-lc accepts such a key.
fn has_small_order(key: &[u8; 32]) -> bool {
    /// The y coordinates of the points of order 8. Each belongs to two points.
    const ORDER_8: [[u8; 32]; 2] = [
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
            0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
            0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ];
    let [first, middle @ .., last] = *key;
    // The highest bit is the sign of x. The other bits are y, in little endian.
    let last = last & 0x7f;
    let mut y = *key;
    if let Some(byte) = y.last_mut() {
        *byte = last;
    }
    // The values 0 (order 4) and 1 (order 1), and those from p - 1 on (order 2, and encodings that are not below
    // p).
    let is_tiny = first <= 1 && last == 0 && middle.iter().all(|byte| *byte == 0);
    let is_huge = first >= 0xec && last == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    is_tiny || is_huge || ORDER_8.contains(&y)
}

fn single(
    algorithm: Algorithm,
    verification: &'static dyn VerificationAlgorithm,
    key: &[u8],
    allowed: Allowed,
) -> Option<Parsed> {
    let parsed = ParsedPublicKey::new(verification, key).ok()?;
    allowed.contains(algorithm).then(|| vec![(algorithm, parsed)])
}

fn optional_string<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Unusable> {
    match jwk.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Unusable::Malformed),
    }
}

/// Decodes base64url. The standard alphabet and padding, which some servers use, are accepted too.
fn bytes(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    let text = jwk.get(name)?.as_str()?;
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last % 2 == 1)
}

/// Returns the number; `None` if it does not fit.
fn number(bytes: &[u8]) -> Option<u64> {
    let mut padded = [0; 8];
    padded.get_mut(8_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(u64::from_be_bytes(padded))
}
