//! The `Origin` header (MCP 2026-07-28, Streamable HTTP, section "Security & Endpoint").

use actix_web::http::header::{HeaderMap, ORIGIN};
use url::Url;

/// The origins of web pages that may call the server. Requests without an `Origin` are accepted: browsers send it with every
/// `POST`, other clients usually do not.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins(Vec<Box<str>>);

impl Origins {
    /// Adds an origin.
    ///
    /// # Errors
    /// If the text is not an origin.
    pub(super) fn add(&mut self, origin: &str) -> Result<(), ()> {
        self.0.push(parse(origin).ok_or(())?.into());
        Ok(())
    }

    /// Returns whether a request with these headers is accepted.
    pub(super) fn accept(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN);
        match (origins.next(), origins.next()) {
            (None, _) => true,
            (Some(origin), None) => self.0.iter().any(|listed| listed.as_bytes() == origin.as_bytes()),
            (Some(_), Some(_)) => false,
        }
    }
}

/// Returns an origin as browsers write it: in lower case and without the default port (RFC 6454 section 6.2).
fn parse(origin: &str) -> Option<String> {
    let url = Url::parse(origin).ok()?;
    let is_bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let host = url.host_str().filter(|host| is_bare && !host.is_empty())?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{host}{port}", url.scheme()))
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn origins_are_normalised_and_others_are_errors() {
        for (given, parsed) in [
            ("https://App.example:443/", Some("https://app.example")),
            ("http://localhost:6274", Some("http://localhost:6274")),
            ("http://[::1]:80", Some("http://[::1]")),
            ("vscode-webview://abc", Some("vscode-webview://abc")),
            ("https://app.example/path", None),
            ("https://user@app.example", None),
            ("https://app.example?a", None),
            ("app.example", None),
            ("*", None),
            ("null", None),
            ("", None),
        ] {
            assert_eq!(parse(given).as_deref(), parsed, "{given}");
        }
    }

    #[test]
    fn only_listed_origins_are_accepted_and_one_header() {
        let mut origins = Origins::default();
        origins.add("https://app.example").unwrap();
        for (values, is_accepted) in [
            (&[][..], true),
            (&["https://app.example"], true),
            (&["https://app.example:8443"], false),
            (&["http://app.example"], false),
            (&["https://app.example.evil.example"], false),
            (&["null"], false),
            (&[""], false),
            (&["https://app.example", "https://app.example"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ORIGIN, HeaderValue::from_static(value));
            }
            assert_eq!(origins.accept(&headers), is_accepted, "{values:?}");
        }
    }
}
