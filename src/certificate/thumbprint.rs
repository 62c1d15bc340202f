//! The thumbprint of a certificate (`x5t#S256`, RFC 8705 section 3.1).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{certificate::pem, secret::constant_time_eq};

/// The SHA-256 thumbprint of a client certificate: the hash over its DER bytes, `x5t#S256` in a token's `cnf` claim
/// (RFC 8705 section 3.1).
///
/// The thumbprint only identifies the certificate. It does not mean that the certificate was verified. Comparison
/// takes constant time.
#[derive(Clone, Copy)]
pub struct CertificateThumbprint([u8; 32]);

/// The bytes are not a certificate: neither one DER `SEQUENCE` from the first byte to the last, nor PEM around one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotACertificate;

impl CertificateThumbprint {
    /// Hashes a DER-encoded certificate.
    ///
    /// Only the frame of the encoding is checked: one `SEQUENCE` that covers exactly these bytes. So PEM text,
    /// base64 and trailing bytes are not hashed by mistake. It does not prove that the bytes are a certificate.
    ///
    /// # Errors
    /// [`NotACertificate`] if the frame is different.
    pub fn from_der(der: &[u8]) -> Result<Self, NotACertificate> {
        if !is_one_sequence(der) {
            return Err(NotACertificate);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, der).as_ref());
        Ok(Self(hash))
    }

    /// Hashes the first certificate of a PEM text (RFC 7468 section 5): the leaf of a chain.
    ///
    /// White space may replace the line breaks, and text is allowed before the first block and after the last one.
    /// Everything else is strict: the base64, every further block, only white space between blocks, no block of
    /// another type. A text that looks like several header values joined with `,` or `;` is rejected.
    ///
    /// # Errors
    /// [`NotACertificate`] for other text, or if [`from_der`](Self::from_der) rejects the content.
    pub fn from_pem(pem: &str) -> Result<Self, NotACertificate> {
        pem::first_certificate(pem).ok_or(NotACertificate).and_then(|der| Self::from_der(&der))
    }

    /// Hashes a certificate given as the base64 of its DER bytes: PEM without its `BEGIN` and `END` lines, as in
    /// `X-ARR-ClientCert` of Azure App Service.
    ///
    /// White space is ignored. The alphabet is the standard one (RFC 4648 section 4), and padding is required.
    ///
    /// # Errors
    /// [`NotACertificate`] if it is not base64, or if [`from_der`](Self::from_der) rejects the content.
    pub fn from_base64(text: &str) -> Result<Self, NotACertificate> {
        pem::base64(text).ok_or(NotACertificate).and_then(|der| Self::from_der(&der))
    }

    /// Creates a thumbprint from a SHA-256 hash of the certificate's DER bytes.
    pub fn from_sha256(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// Parses the form of the `cnf` claim: 43 characters of base64url without padding. The unused bits of the last
    /// character must be zero, so that each thumbprint has only one spelling.
    pub(crate) fn from_base64url(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// Parses 64 hexadecimal digits in upper or lower case.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        let hash = pairs.iter().map(|&[high, low]| pem::hex_byte(high, low)).collect::<Option<Vec<_>>>()?;
        hash.try_into().ok().map(Self)
    }

    /// Returns the thumbprint as in the `cnf` claim: 43 characters of base64url.
    pub fn to_base64url(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl PartialEq for CertificateThumbprint {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(&self.0, &other.0)
    }
}

impl Eq for CertificateThumbprint {}

impl fmt::Debug for CertificateThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CertificateThumbprint").field(&self.to_base64url()).finish()
    }
}

impl fmt::Display for NotACertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a certificate in DER or PEM")
    }
}

impl std::error::Error for NotACertificate {}

/// Returns whether the bytes are one DER `SEQUENCE` (X.690 sections 8.1 and 10.1) and nothing else.
fn is_one_sequence(der: &[u8]) -> bool {
    match der {
        [0x30, short @ 0..=0x7f, content @ ..] => content.len() == usize::from(*short),
        // The long form: the number of length octets, then the length. Only the shortest form is allowed, without
        // leading zeros.
        [0x30, 0x81, length @ 0x80..=0xff, content @ ..] => content.len() == usize::from(*length),
        [0x30, 0x82, high @ 1..=0xff, low, content @ ..] => {
            content.len() == usize::from(u16::from_be_bytes([*high, *low]))
        }
        // A certificate of 64 KiB or more fits neither into a TLS handshake of common stacks nor into a header.
        _ => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The certificate of RFC 8705 appendix A.
    pub(in crate::certificate) const RFC_8705_PEM: &str = "\
-----BEGIN CERTIFICATE-----
MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx
ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG
SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ
/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID
SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV
bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=
-----END CERTIFICATE-----
";
    pub(in crate::certificate) const RFC_8705_X5T: &str = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";

    #[test]
    fn the_example_of_rfc_8705() {
        let thumbprint = CertificateThumbprint::from_pem(RFC_8705_PEM).unwrap();
        assert_eq!(thumbprint.to_base64url(), RFC_8705_X5T);
        assert_eq!(CertificateThumbprint::from_base64url(RFC_8705_X5T), Some(thumbprint));
        assert_eq!(format!("{thumbprint:?}"), format!("CertificateThumbprint({RFC_8705_X5T:?})"));
    }

    #[test]
    fn base64_without_the_lines_of_pem_is_the_same_certificate() {
        let lines: Vec<_> = RFC_8705_PEM.lines().filter(|line| !line.starts_with('-')).collect();
        let expected = CertificateThumbprint::from_pem(RFC_8705_PEM);
        for text in [lines.concat(), lines.join("\n"), lines.join(" "), format!(" {}\r\n", lines.concat())] {
            assert_eq!(CertificateThumbprint::from_base64(&text), expected, "{text}");
        }
        let whole = lines.concat();
        for bad in [
            "",
            " ",
            "AAAA",
            RFC_8705_PEM,
            whole.trim_end_matches('='),
            &format!("{whole}="),
            &format!("{whole},{whole}"),
            &format!("{whole}{whole}"),
            &format!(":{whole}:"),
            &whole.replace('+', "-").replace('/', "_"),
        ] {
            assert_eq!(CertificateThumbprint::from_base64(bad), Err(NotACertificate), "{bad}");
        }
    }

    #[test]
    fn der_is_one_sequence_and_nothing_after_it() {
        let long = |length: usize, head: &[u8]| [head, &vec![0; length]].concat();
        for good in [
            vec![0x30, 0x00],
            vec![0x30, 0x02, 0x05, 0x00],
            long(0x7f, &[0x30, 0x7f]),
            long(0x80, &[0x30, 0x81, 0x80]),
            long(0xff, &[0x30, 0x81, 0xff]),
            long(0x100, &[0x30, 0x82, 0x01, 0x00]),
            long(0xffff, &[0x30, 0x82, 0xff, 0xff]),
        ] {
            assert!(CertificateThumbprint::from_der(&good).is_ok(), "{:02x?}", &good[..2]);
            let mut longer = good.clone();
            longer.push(0);
            assert_eq!(CertificateThumbprint::from_der(&longer), Err(NotACertificate));
            assert_eq!(CertificateThumbprint::from_der(&good[..good.len() - 1]), Err(NotACertificate));
        }
        for bad in [
            vec![],
            vec![0x30],
            vec![0x31, 0x00],
            vec![0x02, 0x01, 0x00],
            vec![0x30, 0x80, 0x00, 0x00],             // indefinite length
            long(0x7f, &[0x30, 0x81, 0x7f]),          // not the shortest form
            long(0xff, &[0x30, 0x82, 0x00, 0xff]),    // a leading zero
            long(0x10000, &[0x30, 0x83, 1, 0, 0]),    // 64 KiB
            vec![0x30, 0xff, 0xff, 0xff, 0xff, 0xff], // reserved
            RFC_8705_PEM.into(),
        ] {
            assert!(CertificateThumbprint::from_der(&bad).is_err(), "{:02x?}", bad.get(..5));
        }
    }

    #[test]
    fn a_thumbprint_has_one_spelling() {
        let zeros = "A".repeat(43);
        assert_eq!(
            CertificateThumbprint::from_base64url(&zeros),
            Some(CertificateThumbprint::from_sha256([0; 32]))
        );
        for bad in [
            String::new(),
            "A".repeat(42),
            "A".repeat(44),
            "A".repeat(40),
            "A".repeat(86),
            format!("{}B", "A".repeat(42)), // a bit set beyond the 256th
            format!("{zeros}="),
            format!(" {zeros}"),
            format!("{zeros}\n"),
            format!("{}+", "A".repeat(42)),
            format!("{}/{}", "A".repeat(20), "A".repeat(22)),
            format!("{}é{}", "A".repeat(20), "A".repeat(21)),
        ] {
            assert_eq!(CertificateThumbprint::from_base64url(&bad), None, "{bad}");
        }
    }

    #[test]
    fn hexadecimal_is_exactly_32_bytes() {
        let expected = Some(CertificateThumbprint::from_sha256([0xab; 32]));
        assert_eq!(CertificateThumbprint::from_hex(&"aB".repeat(32)), expected);
        for bad in [
            "",
            &"ab".repeat(31),
            &"ab".repeat(33),
            &"a".repeat(63),
            &"a".repeat(65),
            &"ag".repeat(32),
            &"+1".repeat(32),
        ] {
            assert_eq!(CertificateThumbprint::from_hex(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_thumbprint_survives_both_spellings(hash: [u8; 32]) {
            let thumbprint = CertificateThumbprint::from_sha256(hash);
            prop_assert_eq!(CertificateThumbprint::from_base64url(&thumbprint.to_base64url()), Some(thumbprint));
            let hex = hash.map(|byte| format!("{byte:02x}")).concat();
            prop_assert_eq!(CertificateThumbprint::from_hex(&hex), Some(thumbprint));
        }

        #[test]
        fn equal_only_where_every_byte_is(hash: [u8; 32], at in 0_usize..32, bit in 0_u32..8) {
            let mut other = hash;
            other[at] ^= 1 << bit;
            prop_assert_ne!(CertificateThumbprint::from_sha256(hash), CertificateThumbprint::from_sha256(other));
        }

        #[test]
        fn no_bytes_make_it_panic(der: Vec<u8>, text: String) {
            let _ = CertificateThumbprint::from_der(&der);
            let _ = CertificateThumbprint::from_pem(&text);
            let _ = CertificateThumbprint::from_base64(&text);
            let _ = CertificateThumbprint::from_base64url(&text);
            let _ = CertificateThumbprint::from_hex(&text);
        }
    }
}
