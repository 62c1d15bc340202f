//! The URL of the configured issuer.

use url::Url;

/// The configured issuer: an https URL (or http on loopback) without query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IssuerUrl {
    /// The text as configured.
    text: String,
    /// The text without its trailing slash. Well-known paths are appended to it.
    base: String,
    origin: String,
    path: String,
    pub(crate) is_loopback: bool,
}

impl IssuerUrl {
    /// Parses `https://…`, `http://` with a loopback host, or a bare host (and path), which means https.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "an https URL (http is for loopback hosts only) without query, fragment and credentials";
        let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&text).map_err(|_| EXPECTED)?;
        let plain = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !plain || !is_secure(&url) || text.contains(char::is_whitespace) {
            return Err(EXPECTED);
        }
        // The text is stored as written: issuers are compared byte by byte, and `url` would normalize it.
        let base = text.strip_suffix('/').unwrap_or(&text).to_owned();
        let path = url.path().trim_end_matches('/').to_owned();
        let origin = url.origin().ascii_serialization();
        Ok(Self { base, origin, path, is_loopback: is_loopback(&url), text })
    }

    /// Returns whether `stated` is this issuer, with or without a trailing slash.
    pub(crate) fn accepts(&self, stated: &str) -> bool {
        stated.strip_suffix('/').unwrap_or(stated) == self.base
    }

    /// Returns whether the text has a placeholder, as in `https://login.microsoftonline.com/{tenantid}/v2.0`. No token
    /// has such an issuer.
    pub(crate) fn is_template(&self) -> bool {
        has_placeholder(&self.text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the URLs of the metadata, in this order: `OpenID` Connect Discovery; RFC 8414 section 3.1, with the
    /// well-known part between host and path; the same part appended to the path, which some servers use.
    pub(crate) fn well_known_urls(&self) -> Vec<String> {
        let Self { base, origin, path, .. } = self;
        let mut urls = vec![
            format!("{base}/.well-known/openid-configuration"),
            format!("{origin}/.well-known/oauth-authorization-server{path}"),
        ];
        if !path.is_empty() {
            urls.push(format!("{base}/.well-known/oauth-authorization-server"));
        }
        urls
    }
}

/// Returns whether an issuer has a placeholder.
pub(crate) fn has_placeholder(issuer: &str) -> bool {
    issuer.contains(['{', '}'])
}

/// Returns whether a URL has the scheme https, or a host that is always this machine.
pub(crate) fn is_secure(url: &Url) -> bool {
    url.has_host() && (url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url)))
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
