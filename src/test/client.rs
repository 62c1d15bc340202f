//! Registered clients, and their authentication.

use std::collections::{BTreeMap, HashSet};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Map, Value};

use crate::test::{algorithm::Algorithm, endpoint::RecordedRequest, http::Response, key::TestKey};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// The longest lifetime of an assertion, in seconds.
const MAX_ASSERTION_LIFE: i64 = 300;

/// A registered client.
pub(super) struct RegisteredClient {
    pub(super) id: String,
    pub(super) credential: TestCredential,
    /// The claims of tokens that the token endpoint issues to it.
    pub(super) claims: Value,
}

pub(super) enum TestCredential {
    Secret(String),
    Key(TestKey),
}

impl RegisteredClient {
    pub(super) fn with_secret(id: &str, secret: &str) -> Self {
        Self { id: id.to_owned(), credential: TestCredential::Secret(secret.to_owned()), claims: Value::Null }
    }
}

/// Parses the parameters of a form. RFC 6749 section 3.1 forbids duplicates.
pub(super) fn form(request: &RecordedRequest) -> Result<BTreeMap<String, String>, Response> {
    let media_type = request.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(error(400, "invalid_request"));
    }
    let mut parameters = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(&request.body).into_owned() {
        if parameters.insert(name, value).is_some() {
            return Err(error(400, "invalid_request"));
        }
    }
    Ok(parameters)
}

/// Returns an error of RFC 6749 section 5.2.
pub(super) fn error(status: u16, code: &str) -> Response {
    let body = Response::json(status, format!(r#"{{"error":"{code}"}}"#));
    if status == 401 { body.with("WWW-Authenticate", "Basic realm=\"test issuer\"") } else { body }
}

/// Authenticates the client that sent the request. More than one method at once is an error (RFC 6749 section 2.3).
pub(super) fn authenticate<'a>(
    clients: &'a [RegisteredClient],
    request: &RecordedRequest,
    form: &BTreeMap<String, String>,
    assertions: &mut HashSet<String>,
    issuer: &str,
    now: i64,
) -> Result<&'a RegisteredClient, Response> {
    let header = request.header("authorization");
    let secret = form.get("client_secret");
    let assertion = form.get("client_assertion");
    let named = |id: &str| form.get("client_id").is_none_or(|stated| stated == id);
    let client = match (header, secret, assertion) {
        (Some(header), None, None) => basic(header)
            .filter(|(id, _)| named(id))
            .and_then(|(id, secret)| by_secret(clients, &id, &secret)),
        (None, Some(secret), None) => form.get("client_id").and_then(|id| by_secret(clients, id, secret)),
        (None, None, Some(assertion))
            if form.get("client_assertion_type").is_some_and(|one| one == JWT_BEARER) =>
        {
            by_assertion(clients, assertion, issuer, now)
                .filter(|(client, _)| named(&client.id))
                .filter(|(_, jti)| assertions.insert(jti.clone()))
                .map(|(client, _)| client)
        }
        (None, None, _) => None,
        _ => return Err(error(400, "invalid_request")),
    };
    client.ok_or_else(|| error(401, "invalid_client"))
}

/// Parses the header of `client_secret_basic`. Both parts are form-encoded (RFC 6749 section 2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, credentials) = header.split_once(' ')?;
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(credentials).ok())??;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((form_decode(id)?, form_decode(secret)?))
}

/// Decodes a form-encoded text. Returns `None` if a character that must be encoded is not.
fn form_decode(encoded: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*+%~".contains(&byte);
    if !encoded.bytes().all(plain) {
        return None;
    }
    let pair = format!("v={encoded}");
    form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned())
}

fn by_secret<'a>(clients: &'a [RegisteredClient], id: &str, secret: &str) -> Option<&'a RegisteredClient> {
    clients.iter().find(|client| {
        client.id == id
            && matches!(&client.credential, TestCredential::Secret(expected) if expected == secret)
    })
}

/// Authenticates a client by `client_secret_jwt` or `private_key_jwt` (RFC 7523 sections 2.2 and 3). Requires the
/// signature of the client's key, `iss` and `sub` equal to the client, `aud` equal to the issuer, an `exp` that is
/// near but not past, and a `jti`.
fn by_assertion<'a>(
    clients: &'a [RegisteredClient],
    jwt: &str,
    issuer: &str,
    now: i64,
) -> Option<(&'a RegisteredClient, String)> {
    let (signed, signature) = jwt.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let (header, payload) = (object(header)?, object(payload)?);
    let subject = payload.get("sub")?.as_str()?;
    let client = clients.iter().find(|client| client.id == subject)?;
    let key = assertion_key(&client.credential, header.get("alg")?.as_str()?)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let exp = payload.get("exp")?.as_i64()?;
    let good = key.verifies(signed.as_bytes(), &signature)
        && payload.get("iss")?.as_str()? == subject
        && payload.get("aud")?.as_str()? == issuer
        && exp > now
        && exp <= now.saturating_add(MAX_ASSERTION_LIFE);
    let jti = payload.get("jti")?.as_str()?;
    good.then(|| (client, format!("{subject} {jti}")))
}

/// Returns the key that must have signed the assertion: the secret with the HMAC of the header, or the registered
/// key.
fn assertion_key(credential: &TestCredential, algorithm: &str) -> Option<TestKey> {
    match credential {
        TestCredential::Secret(secret) => [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]
            .into_iter()
            .find(|one| one.name() == algorithm)
            .map(|one| TestKey::hmac(secret.as_bytes(), "").with_algorithm(one)),
        TestCredential::Key(key) if key.algorithm().name() == algorithm => Some(key.clone()),
        TestCredential::Key(_) => None,
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
