//! Clients, their redirect URIs and their authentication.

use actix_web::{HttpRequest, http::header::AUTHORIZATION};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use url::{Host, Url, form_urlencoded};

use crate::{error::OAuthError, params::Params};

const MAX_URI: usize = 512;

/// A client. The members are named as in its registration (RFC 7591 section 2).
#[derive(Clone, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the RFC")]
pub(crate) struct Client {
    pub(crate) client_id: String,
    pub(crate) client_id_issued_at: u64,
    pub(crate) client_name: String,
    /// `None`: a public client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_secret: Option<String>,
    pub(crate) token_endpoint_auth_method: String,
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) grant_types: Vec<String>,
}

impl Client {
    pub(crate) fn may_use(&self, grant_type: &str) -> bool {
        self.grant_types.iter().any(|one| one == grant_type)
    }

    /// Returns the redirect URI if it is registered: exactly, or with another port on the same loopback host (RFC 8252
    /// section 7.3).
    pub(crate) fn redirect_uri(&self, given: &str) -> Option<Url> {
        let url = parse_redirect_uri(given).ok()?;
        let without_port = |url: &Url| {
            let mut url = url.clone();
            url.set_port(None).ok().map(|()| url)
        };
        let is_registered = |text: &String| {
            if text == given {
                return true;
            }
            let Ok(registered) = parse_redirect_uri(text) else { return false };
            let on_loopback =
                [&registered, &url].into_iter().all(|url| url.scheme() == "http" && is_loopback(url));
            on_loopback && without_port(&registered) == without_port(&url)
        };
        self.redirect_uris.iter().any(is_registered).then_some(url)
    }
}

/// Parses a redirect URI that a client may have: `https`, `http` on a loopback host, or a scheme of a native app.
pub(crate) fn parse_redirect_uri(text: &str) -> Result<Url, String> {
    let problem = || {
        format!(
            "is {text:?}, expected an https URL, an http URL with a loopback host, or a URL of a native app"
        )
    };
    let url = Url::parse(text).map_err(|_| problem())?;
    let has_user = !url.username().is_empty() || url.password().is_some();
    if text.len() > MAX_URI || url.fragment().is_some() || has_user {
        return Err(format!("{}, without user and fragment, of at most {MAX_URI} bytes", problem()));
    }
    let is_allowed = match url.scheme() {
        "http" => is_loopback(&url),
        // A browser runs or shows these instead of opening an app.
        "about" | "blob" | "data" | "file" | "filesystem" | "ftp" | "javascript" | "vbscript"
        | "view-source" | "ws" | "wss" => false,
        _ => true,
    };
    if is_allowed { Ok(url) } else { Err(problem()) }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The credentials of a request: the identifier, and the secret of a confidential client.
pub(crate) struct Credentials {
    pub(crate) client_id: String,
    secret: Option<String>,
}

impl Credentials {
    /// Reads `client_secret_basic` or `client_secret_post` (RFC 6749 section 2.3.1), or the identifier of a public client.
    pub(crate) fn from_request(request: &HttpRequest, params: &Params) -> Result<Self, OAuthError> {
        let form_id = params.get("client_id").map(str::to_owned);
        let form_secret = params.get("client_secret").map(str::to_owned);
        let Some(header) = request.headers().get(AUTHORIZATION) else {
            let client_id = form_id.ok_or_else(OAuthError::invalid_client)?;
            return Ok(Self { client_id, secret: form_secret });
        };
        let basic = header.to_str().ok().and_then(basic).ok_or_else(OAuthError::invalid_client)?;
        let (client_id, secret) = basic;
        if form_secret.is_some() || form_id.is_some_and(|form_id| form_id != client_id) {
            return Err(OAuthError::invalid_request("expected one way of client authentication"));
        }
        Ok(Self { client_id, secret: Some(secret) })
    }

    pub(crate) fn verify(&self, client: &Client) -> Result<(), OAuthError> {
        let is_valid = match (&self.secret, &client.client_secret) {
            (Some(given), Some(secret)) => {
                verify_slices_are_equal(given.as_bytes(), secret.as_bytes()).is_ok()
            }
            (None, None) => true,
            _ => false,
        };
        if is_valid { Ok(()) } else { Err(OAuthError::invalid_client()) }
    }
}

/// Parses `Basic` credentials, whose parts are form-encoded.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(encoded.trim()).ok())??;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((form_decode(id), form_decode(secret)))
}

fn form_decode(encoded: &str) -> String {
    form_urlencoded::parse(format!("v={}", encoded.replace('&', "%26")).as_bytes())
        .map(|(_, value)| value.into_owned())
        .collect()
}
