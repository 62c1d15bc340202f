//! The HTTP proxy to the authorization server.

use std::{fmt, net::IpAddr, sync::Arc};

use actix_web::http::Uri;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::Url;
use zeroize::Zeroizing;

use crate::client_auth::SecretSource;

/// The proxy, and the hosts that are called without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) url: ProxyUrl,
    pub(crate) exceptions: Vec<ProxyException>,
    pub(crate) credentials: Option<ProxyCredentials>,
}

impl Proxy {
    /// Returns whether this host of a URL is called without the proxy.
    pub(crate) fn excepts(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches([']', '.']).to_ascii_lowercase();
        self.exceptions.iter().any(|exception| exception.contains(&host))
    }
}

/// The URL of a proxy: `http`, with host and port only.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ProxyUrl {
    pub(crate) uri: Uri,
    text: Arc<str>,
}

impl ProxyUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "an http URL with host and port only (TLS to the proxy is not supported), such as \
                                http://proxy.example:3128";
        let url = Url::parse(text).map_err(|_| EXPECTED)?;
        let is_plain = url.scheme() == "http"
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !is_plain {
            return Err(EXPECTED);
        }
        let uri = url.as_str().parse().map_err(|_| EXPECTED)?;
        Ok(Self { uri, text: url.as_str().trim_end_matches('/').into() })
    }
}

/// The URL contains no credentials.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

/// Hosts that are called without the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyException {
    Every,
    /// A host name, and the names below it.
    Name(String),
    /// The addresses with these first bits.
    Addresses(IpAddr, u32),
}

impl ProxyException {
    /// Parses `*`, a host name (with or without a leading dot), an IP address, or a block of addresses such as `10.0.0.0/8`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Every);
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address = address.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(address);
        if let Ok(address) = address.parse::<IpAddr>() {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.unwrap_or(most);
            return (bits <= most).then_some(Self::Addresses(address, bits));
        }
        let name = text.trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
        let is_name =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        is_name.then_some(Self::Name(name))
    }

    /// Returns the hosts that are always this machine.
    pub(crate) fn loopback() -> Vec<Self> {
        ["localhost", "127.0.0.0/8", "::1"].into_iter().filter_map(Self::parse).collect()
    }

    fn contains(&self, host: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Name(name) => {
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Self::Addresses(network, bits) => {
                host.parse().is_ok_and(|address: IpAddr| shares(address.to_canonical(), *network, *bits))
            }
        }
    }
}

/// Returns whether the first bits of two addresses of one family are the same.
fn shares(left: IpAddr, right: IpAddr, bits: u32) -> bool {
    match (left, right) {
        (IpAddr::V4(left), IpAddr::V4(right)) => {
            let different = left.to_bits() ^ right.to_bits();
            different.leading_zeros() >= bits
        }
        (IpAddr::V6(left), IpAddr::V6(right)) => {
            let different = left.to_bits() ^ right.to_bits();
            different.leading_zeros() >= bits
        }
        _ => false,
    }
}

impl fmt::Display for ProxyException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.write_str("*"),
            Self::Name(name) => f.write_str(name),
            Self::Addresses(address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

/// The credentials for the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProxyCredentials {
    pub(crate) username: String,
    pub(crate) password: SecretSource,
}

impl ProxyCredentials {
    /// Returns the value of `Proxy-Authorization` (RFC 7617) with the current password.
    pub(crate) fn header(&self) -> Result<Zeroizing<String>, String> {
        let password = self.password.current()?;
        let pair = Zeroizing::new(format!("{}:{}", self.username, password.expose()));
        Ok(Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_auth::testing::Folder;

    #[test]
    fn exceptions_are_names_with_their_subdomains_and_addresses() {
        for (exceptions, host, is_excepted) in [
            ("as.example", "as.example", true),
            ("as.example", "AS.example.", true),
            ("as.example", "a.as.example", true),
            (".as.example", "as.example", true),
            ("as.example", "bas.example", false),
            ("as.example", "as.example.org", false),
            ("AS.Example", "as.example", true),
            ("*", "as.example", true),
            ("*", "10.0.0.1", true),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "10.example", false),
            ("0.0.0.0/0", "11.0.0.1", true),
            ("0.0.0.0/0", "[::2]", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "[::ffff:10.0.0.1]", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("fd00::/8", "[fd12::1]", true),
            ("fd00::/8", "[fe00::1]", false),
            ("[::1]", "[::1]", true),
            ("::1", "::1", true),
        ] {
            let exception = ProxyException::parse(exceptions).unwrap();
            let url = ProxyUrl::parse("http://proxy.example:3128").unwrap();
            let proxy = Proxy { url, exceptions: vec![exception], credentials: None };
            assert_eq!(proxy.excepts(host), is_excepted, "{exceptions} {host}");
        }
    }

    #[test]
    fn other_texts_are_no_exception() {
        for text in [
            "",
            ".",
            "*.example",
            "as.example:443",
            "http://as.example",
            "10.0.0.0/33",
            "::/129",
            "a/8",
            "10.0.0.0/x",
        ] {
            assert_eq!(ProxyException::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn loopback_is_the_default_exception() {
        let contains = |host| ProxyException::loopback().iter().any(|exception| exception.contains(host));
        assert!(["localhost", "127.0.0.1", "127.9.9.9", "::1", "a.localhost"].into_iter().all(contains));
        assert!(!["128.0.0.1", "::2", "as.example"].into_iter().any(contains));
    }

    #[test]
    fn the_header_has_the_current_password() {
        let folder = Folder::new();
        let password = SecretSource::watching(folder.write("password", "one\n"), std::time::Duration::ZERO);
        let credentials = ProxyCredentials { username: "me".to_owned(), password };
        let header = |credentials: &ProxyCredentials| credentials.header().unwrap().to_string();
        assert_eq!(header(&credentials), format!("Basic {}", STANDARD.encode("me:one")));
        folder.write("password", "two");
        assert_eq!(header(&credentials), format!("Basic {}", STANDARD.encode("me:two")));
    }

    #[test]
    fn the_url_of_a_proxy_has_host_and_port_only() {
        for text in
            ["http://proxy.example:3128", "http://proxy.example:3128/", "http://[::1]:3128", "http://proxy"]
        {
            assert_eq!(ProxyUrl::parse(text).unwrap().to_string(), text.trim_end_matches('/'));
        }
        for text in [
            "proxy.example:3128",
            "https://proxy.example",
            "socks5://proxy.example",
            "http://user:hunter2@proxy.example",
            "http://proxy.example/path",
            "http://proxy.example?a",
            "http://proxy.example#a",
            "http:///",
        ] {
            assert!(ProxyUrl::parse(text).is_err(), "{text}");
        }
    }
}
