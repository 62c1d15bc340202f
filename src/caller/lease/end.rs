//! The reason for the end of a lease.

use derive_more::Display;

use crate::error::{AuthErrorKind, TokenFault};

/// The reason for the end of a [`Lease`](super::Lease).
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaseEnd {
    /// The token has expired. The client needs a new token.
    #[display("the token has expired")]
    Expired,
    /// The token is revoked, or the authorization server reports it as inactive.
    #[display("the token is revoked")]
    Revoked,
    /// The token was validated again and is no longer accepted, for example because a required scope is missing now.
    #[display("the token is no longer accepted")]
    Rejected(AuthErrorKind),
    /// The token could not be validated again for [`max_stale`](crate::ProtectApiBuilder::max_stale), because the
    /// authorization server is unavailable.
    #[display("the token cannot be validated")]
    Unavailable,
}

impl LeaseEnd {
    /// Returns the end for the error of a validation; `None` if the error is not a fault of the token.
    pub(super) fn from_error(kind: AuthErrorKind) -> Option<Self> {
        match kind {
            AuthErrorKind::Upstream(_) | AuthErrorKind::Misconfigured(_) => None,
            AuthErrorKind::InvalidToken(TokenFault::Expired | TokenFault::TooOld) => Some(Self::Expired),
            AuthErrorKind::InvalidToken(TokenFault::Inactive | TokenFault::Revoked) => Some(Self::Revoked),
            kind => Some(Self::Rejected(kind)),
        }
    }

    /// Returns the code for the close frame of a WebSocket. `Display` gives the text.
    ///
    /// - 4401 for [`Expired`](Self::Expired): the client gets a new token and connects again;
    /// - 4403 for [`Revoked`](Self::Revoked) and [`Rejected`](Self::Rejected): the user must sign in again, or may not use the
    ///   stream;
    /// - 1013 ("try again later") for [`Unavailable`](Self::Unavailable).
    pub fn close_code(self) -> u16 {
        match self {
            Self::Expired => 4401,
            Self::Revoked | Self::Rejected(_) => 4403,
            Self::Unavailable => 1013,
        }
    }

    /// Returns the end as a stable name for events and logs: `token_expired`, `token_revoked`, `token_rejected` or
    /// `token_unverified`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "token_expired",
            Self::Revoked => "token_revoked",
            Self::Rejected(_) => "token_rejected",
            Self::Unavailable => "token_unverified",
        }
    }
}
