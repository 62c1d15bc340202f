//! The treatment of locally validated JWTs while revocations cannot be read.

use std::{fmt, str::FromStr};

/// The treatment of locally validated JWTs while the revocations of the
/// [shared store](crate::ProtectApiBuilder::shared_store) cannot be read. The text form is used in variables: `accept`,
/// `introspect`, `reject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwtsWhenBlind {
    /// They are accepted, unless a known revocation concerns them. New revocations of other replicas are not known.
    #[default]
    Accept,
    /// They are introspected too. Requires client credentials.
    Introspect,
    /// Valid ones are rejected with 503.
    Reject,
}

impl FromStr for JwtsWhenBlind {
    type Err = UnknownJwtsWhenBlind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "accept" => Ok(Self::Accept),
            "introspect" => Ok(Self::Introspect),
            "reject" => Ok(Self::Reject),
            _ => Err(UnknownJwtsWhenBlind(())),
        }
    }
}

/// The error for a text that is not a [`JwtsWhenBlind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownJwtsWhenBlind(());

impl fmt::Display for UnknownJwtsWhenBlind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected accept, introspect or reject")
    }
}

impl std::error::Error for UnknownJwtsWhenBlind {}
