//! The signature algorithms of JWTs.

use std::{fmt, str::FromStr};

/// An asymmetric signature algorithm of a JWT (the header's `alg`, RFC 7518 section 3.1 and RFC 8037 section 3.1).
///
/// `none` and the HMAC algorithms (`HS256`, `HS384`, `HS512`) are not included, so that no setting can enable them:
/// the keys are public, so such a signature would prove nothing.
///
/// Parsed from and displayed as the registered name, which is case-sensitive. `Ed25519`, the newer name of `EdDSA`
/// with that curve (RFC 9864), parses too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256. The default of most servers.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes.
    PS256,
    /// RSASSA-PSS with SHA-384 and a salt of 48 bytes.
    PS384,
    /// RSASSA-PSS with SHA-512 and a salt of 64 bytes.
    PS512,
    /// ECDSA with the curve P-256 and SHA-256.
    ES256,
    /// ECDSA with the curve P-384 and SHA-384.
    ES384,
    /// ECDSA with the curve P-521 and SHA-512.
    ES512,
    /// `EdDSA` with the curve Ed25519. Ed448 is not supported.
    EdDSA,
}

impl Algorithm {
    /// All supported algorithms.
    pub const ALL: &'static [Self] = &[
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// Returns the registered name, as in the header's `alg`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a supported [`Algorithm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownAlgorithm;

impl fmt::Display for UnknownAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not one of")?;
        Algorithm::ALL.iter().try_for_each(|algorithm| write!(f, " {algorithm}"))
    }
}

impl std::error::Error for UnknownAlgorithm {}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name).ok_or(UnknownAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for &algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
            assert_eq!(algorithm.to_string(), format!("{algorithm:?}"));
        }
        assert_eq!(Algorithm::ALL.len(), 10);
        assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDSA));
    }

    #[test]
    fn neither_none_nor_hmac_nor_another_case_is_an_algorithm() {
        for name in [
            "", "none", "None", "nOnE", "NONE", "HS256", "HS384", "HS512", "hs256", "rs256", "Rs256",
            "eddsa", "ed25519", "EDDSA", "Ed448", "ES256K", "RSA-OAEP", "dir", " RS256", "RS256 ", "RS256\0",
        ] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name:?}");
        }
    }

    #[test]
    fn the_error_says_what_is_wanted() {
        assert_eq!(
            UnknownAlgorithm.to_string(),
            "not one of RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA"
        );
    }
}
