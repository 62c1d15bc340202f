//! The failure of a revocation.

use std::{error::Error as StdError, fmt};

/// The failure of [`ProtectApi::revoke`](crate::ProtectApi::revoke).
#[derive(Debug)]
#[non_exhaustive]
pub enum RevocationError {
    /// The issuer of the revocation is not configured; or there are tenants, and the revocation names no issuer and no JWT.
    /// Nothing was revoked.
    Issuer,
    /// The shared store failed or timed out. The tokens are revoked in this process, and the revocation is sent to the other
    /// replicas later, for as long as this process runs.
    Store(Box<dyn StdError + Send + Sync>),
}

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Issuer => "the issuer of the revocation is not configured, or it is not named",
            Self::Store(_) => "the revocation is not in the shared store yet",
        })
    }
}

impl StdError for RevocationError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Issuer => None,
            Self::Store(cause) => Some(cause.as_ref()),
        }
    }
}
