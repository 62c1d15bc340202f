//! The URL of an endpoint of the authorization server.

use std::{fmt, sync::Arc};

use actix_web::http::Uri;
use url::Url;

use super::issuer_url::{is_loopback, is_secure};
use crate::redact::redacted;

/// The URL of an endpoint: https or loopback, without fragment and credentials. `Debug` and `Display` print only
/// the parts that are not secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EndpointUrl {
    pub(crate) uri: Uri,
    /// The text as published or configured. It is the audience of assertions for this endpoint: servers compare it
    /// byte by byte, and `url` would normalize it.
    pub(crate) text: Arc<str>,
}

impl EndpointUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "an https URL (http is for loopback hosts only) without fragment and credentials";
        let url = Url::parse(text).map_err(|_| EXPECTED)?;
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        if !is_secure(&url) || url.fragment().is_some() || has_credentials {
            return Err(EXPECTED);
        }
        let uri = url.as_str().parse().map_err(|_| EXPECTED)?;
        Ok(Self { uri, text: text.into() })
    }

    /// Returns whether the host is always this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        Url::parse(&self.text).is_ok_and(|url| is_loopback(&url))
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.text))
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&redacted(&self.text), f)
    }
}
