//! The part of DER (X.690) that the keys and certificates of tests need.

use base64::{Engine as _, engine::general_purpose::STANDARD};

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// Returns the integers of a SEQUENCE, unsigned and without leading zeros: `RSAPublicKey` and `RSAPrivateKey` of
/// RFC 8017 appendix A.1 are such sequences. Stops at the first other element.
pub(super) fn integers(der: &[u8]) -> Vec<&[u8]> {
    let mut rest = element(der, SEQUENCE).map_or(&[][..], |(content, _)| content);
    let mut numbers = Vec::new();
    while let Some((number, after)) = element(rest, INTEGER) {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        numbers.push(number.get(zeros..).unwrap_or_default());
        rest = after;
    }
    numbers
}

/// Returns the `privateKey` of PKCS #8 (RFC 5208 section 5): version, algorithm, octets. Empty for other input.
pub(crate) fn pkcs8_key(der: &[u8]) -> &[u8] {
    let key = || {
        let (content, _) = element(der, SEQUENCE)?;
        let (_, after_version) = element(content, INTEGER)?;
        let (_, after_algorithm) = element(after_version, SEQUENCE)?;
        element(after_algorithm, OCTET_STRING).map(|(key, _)| key)
    };
    key().unwrap_or_default()
}

/// Encodes PEM (RFC 7468) in lines of 64 characters.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let mut body = String::new();
    for (index, character) in STANDARD.encode(der).chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            body.push('\n');
        }
        body.push(character);
    }
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// Splits the content of the first element from the rest.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (length, rest) = length(rest)?;
    if *found == tag { rest.split_at_checked(length) } else { None }
}

fn length(der: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = der.split_first()?;
    if *first < 0x80 {
        return Some((usize::from(*first), rest));
    }
    let (bytes, rest) = rest.split_at_checked(usize::from(*first & 0x7f))?;
    let length =
        bytes.iter().try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)))?;
    Some((length, rest))
}
