//! The error of a check of the configuration.

use std::{error::Error as StdError, fmt};

use super::{AuthError, AuthErrorKind};

/// The reason why [`ProtectApi::check`](crate::ProtectApi::check) failed.
///
/// The text names the reason and the URL that was called, or the issuer. It contains no secret. It is for the operator:
/// do not show it to callers.
#[derive(Clone, Debug)]
pub struct CheckError {
    kind: AuthErrorKind,
    text: String,
}

impl CheckError {
    pub(crate) fn new(error: &AuthError, issuer: &str) -> Self {
        Self { kind: error.kind(), text: error.describe(issuer).to_string() }
    }

    /// Returns the class of the error: [`Misconfigured`](AuthErrorKind::Misconfigured) if the settings, or the
    /// registration at the authorization server, are wrong, or [`Upstream`](AuthErrorKind::Upstream) if the server is not
    /// available.
    pub fn kind(&self) -> AuthErrorKind {
        self.kind
    }
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for CheckError {}
