//! The failure of a revocation.

use std::{error::Error as StdError, fmt};

/// The failure of [`ProtectApi::revoke`](crate::ProtectApi::revoke).
#[derive(Debug)]
#[non_exhaustive]
pub enum RevocationError {
    /// The issuer of the revocation is not configured; or there are tenants, and the revocation names no issuer and no token.
    /// Nothing was revoked.
    Issuer,
    /// The token of the revocation is empty, or has other characters than a bearer token. Nothing was revoked.
    Token,
    /// The `jti`, the session, the subject, the client or the issuer of the revocation is empty or blank. Nothing was revoked.
    Empty,
    /// The end of the revocation is not in the future. Nothing was revoked.
    Ended,
    /// The shared store failed or timed out. The tokens are revoked in this process, and the revocation is sent to the other
    /// replicas later, for as long as this process runs.
    Store(Box<dyn StdError + Send + Sync>),
}

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Issuer => "the issuer of the revocation is not configured, or it is not named",
            Self::Token => "the token of the revocation is malformed",
            Self::Empty => "a value of the revocation is empty",
            Self::Ended => "the end of the revocation is not in the future",
            Self::Store(_) => "the revocation is not in the shared store yet",
        })
    }
}

impl StdError for RevocationError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Issuer | Self::Token | Self::Empty | Self::Ended => None,
            Self::Store(cause) => Some(cause.as_ref()),
        }
    }
}
