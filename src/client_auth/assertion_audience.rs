//! The audience of client assertions.

use std::{fmt, str::FromStr};

use derive_more::Display;

/// The `aud` claim of client assertions (RFC 7523 section 3), for `client_secret_jwt` and `private_key_jwt`.
///
/// It is always one string. With a list of several audiences, one server could use the assertion at another server.
#[derive(Clone, Copy, Debug, Default, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientAssertionAudience {
    /// `issuer`, the default: the issuer, as the metadata spells it. If the issuer is a template, this is the text of the
    /// template, which a server does not accept: use [`Endpoint`](Self::Endpoint).
    #[default]
    #[display("issuer")]
    Issuer,
    /// `endpoint`: the URL of the introspection endpoint that receives the assertion. Some authorization servers
    /// accept no other audience.
    #[display("endpoint")]
    Endpoint,
}

/// The text is not the name of a [`ClientAssertionAudience`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownClientAssertionAudience;

impl FromStr for ClientAssertionAudience {
    type Err = UnknownClientAssertionAudience;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "issuer" => Ok(Self::Issuer),
            "endpoint" => Ok(Self::Endpoint),
            _ => Err(UnknownClientAssertionAudience),
        }
    }
}

impl fmt::Display for UnknownClientAssertionAudience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected `issuer` or `endpoint`")
    }
}

impl std::error::Error for UnknownClientAssertionAudience {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_exactly_and_written_alike() {
        for (text, audience) in
            [("issuer", ClientAssertionAudience::Issuer), ("endpoint", ClientAssertionAudience::Endpoint)]
        {
            assert_eq!(text.parse(), Ok(audience));
            assert_eq!(audience.to_string(), text);
        }
        for bad in ["", "Issuer", "both", "issuer,endpoint", " issuer"] {
            assert_eq!(bad.parse::<ClientAssertionAudience>(), Err(UnknownClientAssertionAudience), "{bad}");
        }
    }
}
