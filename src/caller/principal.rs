//! The key of a user or machine if an API accepts several issuers.

use std::fmt;

/// The issuer and the subject of a token: the key of a user or machine if an API accepts several issuers.
///
/// It is displayed as issuer, space and subject. An issuer contains no space, so two principals never have the same
/// text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Principal {
    /// The `iss` of the token.
    pub issuer: Box<str>,
    /// The `sub` of the token.
    pub subject: Box<str>,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.issuer, self.subject)
    }
}
