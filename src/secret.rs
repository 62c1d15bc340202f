//! Secrets: redacted when printed, wiped when dropped.

use std::fmt;

use zeroize::Zeroizing;

/// A secret string: a client secret, a private key as JWK or PEM, an assertion.
///
/// `Debug` prints `Secret([redacted])`; there is no `Display`, no `Serialize` and no `Deref`. The memory is
/// overwritten when the value is dropped. Equality takes the same time wherever two secrets of one length differ.
///
/// ```compile_fail,E0277
/// # use actix_protect_api::Secret;
/// println!("{}", Secret::from("hush"));
/// ```
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Returns the secret. Reviews should check every call of this method.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Self::from(secret.to_owned())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(self.0.as_bytes(), other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// Compares in constant time for inputs of equal length.
pub(crate) fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_secret() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), "Secret([redacted])");
    }

    #[test]
    fn equality_is_by_content() {
        assert_eq!(Secret::from("a"), Secret::from("a"));
        assert_ne!(Secret::from("a"), Secret::from("b"));
        assert_ne!(Secret::from("a"), Secret::from("ab"));
    }
}
