//! The endpoints and their recorded requests.

use std::{collections::BTreeMap, fmt};

/// An endpoint of the [`TestIssuer`](super::TestIssuer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `{issuer}/.well-known/openid-configuration` (OpenID Connect Discovery 1.0 section 4).
    Discovery,
    /// `/.well-known/oauth-authorization-server{path of the issuer}` (RFC 8414 section 3).
    AuthorizationServerMetadata,
    /// The key set (RFC 7517).
    Jwks,
    /// Token introspection (RFC 7662).
    Introspection,
    /// The token endpoint (RFC 6749 section 3.2), grant `client_credentials` only.
    Token,
    /// Token revocation (RFC 7009).
    Revocation,
    /// `/.well-known/ssf-configuration{path of the issuer}` (Shared Signals Framework 1.0 section 7.2).
    SsfConfiguration,
    /// The polling endpoint of security events (RFC 8936).
    Poll,
    /// Every other path; responds with 404. A target for redirects and `jku` values that must not be followed.
    Other,
}

/// A recorded request. `Debug` shows neither query, header values nor body, because they contain tokens and
/// secrets.
#[derive(Clone)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// The request target as sent, with the query.
    pub target: String,
    /// Names as sent, in their order.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    pub body: Vec<u8>,
}

impl RecordedRequest {
    /// Returns the value of the first header with this name, in any letter case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns the target without the query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// Returns the parameters of a form body, decoded. Of duplicates, the last one is used.
    pub fn form(&self) -> BTreeMap<String, String> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }
}

impl fmt::Debug for RecordedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("RecordedRequest")
            .field("method", &self.method)
            .field("path", &self.path())
            .field("headers", &names)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}
