//! The settings of the metadata and of the accepted issuers.

use super::ProtectApiBuilder;

impl ProtectApiBuilder {
    /// Sets the URL of the metadata document, for a server that does not publish it at a well-known URL of its issuer.
    /// An https URL, or http on a loopback host. Only this URL is fetched. The `issuer` of the document must be the
    /// configured [`issuer`](Self::issuer). Default: the well-known URLs of the issuer (OpenID Connect Discovery
    /// section 4, RFC 8414 section 3).
    pub fn metadata_url(mut self, url: impl Into<String>) -> Self {
        self.metadata_url = Some(url.into().into());
        self
    }

    /// Sets the accepted values of the claim `iss`, for a server whose tokens have another `iss` than the `issuer` of
    /// its metadata. They are compared byte by byte and are not fetched, so they may be http. Default: the `issuer` of
    /// the metadata.
    ///
    /// A token is accepted if its `iss` is **one** of them. They replace the issuer of the metadata, so list it too if
    /// tokens have it. A `sub` is unique only within its issuer: identify a user by
    /// [`issuer`](crate::AuthenticatedRequest::issuer) and `sub` together.
    ///
    /// The configured [`issuer`](Self::issuer) may then be a template such as
    /// `https://login.microsoftonline.com/{tenantid}/v2.0`, if [`metadata_url`](Self::metadata_url) is set too.
    pub fn token_issuers(mut self, issuers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.token_issuers = issuers.into_iter().map(Into::into).collect();
        self
    }
}
