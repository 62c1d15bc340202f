//! Security event tokens and logout tokens, and their delivery.

use std::io;

use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::test::{
    APP_ID,
    algorithm::Algorithm,
    endpoint::RecordedRequest,
    expect_ok,
    http::Response,
    issuer::TestIssuer,
    jwt::{JwtOptions, merge},
    key,
    state::IssuerState,
};

/// The event of a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4).
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Seconds between `iat` and `exp` of a logout token.
const LOGOUT_TOKEN_LIFETIME: i64 = 120;

/// The longest response of a receiver that is read.
const MAX_RESPONSE: u64 = 1024 * 1024;

/// Security events.
impl TestIssuer {
    /// Mints a security event token (RFC 8417, Shared Signals Framework 1.0), signed with ES256.
    ///
    /// The claims replace the defaults: `iss`, `aud` (the audience of the issuer), `iat` and a random `jti`. `events` has no
    /// default. The name of an event may be abbreviated: `session-revoked` is the event of CAEP, `account-disabled` that of
    /// RISC, and `verification` that of SSF.
    ///
    /// ```
    /// # use actix_protect_api::test::TestIssuer;
    /// # use serde_json::json;
    /// let issuer = TestIssuer::start();
    /// let set = issuer.security_event(json!({
    ///     "sub_id": { "format": "opaque", "id": "session-1" },
    ///     "events": { "session-revoked": { "event_timestamp": 1_800_000_000 } },
    /// }));
    /// ```
    pub fn security_event(&self, claims: Value) -> String {
        self.security_event_with(JwtOptions::new(), claims)
    }

    /// Mints a security event token with other options, for example another key or `typ`.
    pub fn security_event_with(&self, options: JwtOptions, claims: Value) -> String {
        let mut state = self.shared.lock();
        let mut members = event_claims(&state, json!({ "aud": state.audience }), claims);
        if let Some(Value::Object(events)) = members.get_mut("events") {
            *events =
                std::mem::take(events).into_iter().map(|(name, event)| (event_uri(&name), event)).collect();
        }
        sign(&mut state, options.default_type("secevent+jwt"), &members)
    }

    /// Mints a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4), signed with ES256.
    ///
    /// The claims replace the defaults: `iss`, `aud` (the client `app`), `iat`, `exp` (in two minutes), `events` and a random
    /// `jti`. `sid` and `sub` have no default.
    pub fn logout_token(&self, claims: Value) -> String {
        self.logout_token_with(JwtOptions::new(), claims)
    }

    /// Mints a logout token with other options, for example another key or `typ`.
    pub fn logout_token_with(&self, options: JwtOptions, claims: Value) -> String {
        let mut state = self.shared.lock();
        let exp = state.clock.unix_time().saturating_add(LOGOUT_TOKEN_LIFETIME);
        let defaults = json!({ "aud": APP_ID, "exp": exp, "events": { LOGOUT_EVENT: {} } });
        let members = event_claims(&state, defaults, claims);
        sign(&mut state, options.default_type("logout+jwt"), &members)
    }

    /// Adds a security event token to the queue of the [polling endpoint](super::Endpoint::Poll), under this `jti`. It stays
    /// there until the receiver acknowledges it or reports an error for it.
    pub fn queue_event(&self, jti: &str, set: &str) {
        self.shared.lock().events.insert(jti.to_owned(), set.to_owned());
        self.shared.notify();
    }

    /// Returns the `jti` of each security event token in the queue.
    pub fn queued_events(&self) -> Vec<String> {
        self.shared.lock().events.keys().cloned().collect()
    }

    /// Posts a security event token to this `http` URL (RFC 8935), and returns the status and the body of the response.
    /// Needs a tokio runtime, such as that of `#[actix_web::test]`.
    ///
    /// # Panics
    /// If the receiver cannot be reached.
    pub async fn deliver(&self, url: &str, set: &str) -> (u16, String) {
        let body = set.as_bytes();
        expect_ok(post(url, "application/secevent+jwt", None, body).await, "deliver the event")
    }

    /// Like [`deliver`](Self::deliver), with this value of the `Authorization` header.
    pub async fn deliver_with_authorization(&self, url: &str, set: &str, value: &str) -> (u16, String) {
        let body = set.as_bytes();
        expect_ok(post(url, "application/secevent+jwt", Some(value), body).await, "deliver the event")
    }

    /// Posts a logout token to this `http` URL, as the form that OpenID Connect Back-Channel Logout 1.0 section 2.5
    /// requires, and returns the status and the body of the response.
    ///
    /// # Panics
    /// If the receiver cannot be reached.
    pub async fn deliver_logout(&self, url: &str, logout_token: &str) -> (u16, String) {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("logout_token", logout_token)
            .finish();
        let sent = post(url, "application/x-www-form-urlencoded", None, form.as_bytes()).await;
        expect_ok(sent, "deliver the logout token")
    }
}

/// Merges the claims over the defaults of every event.
fn event_claims(state: &IssuerState, defaults: Value, claims: Value) -> Map<String, Value> {
    let common = json!({
        "iss": state.issuer,
        "iat": state.clock.unix_time(),
        "jti": key::base64url(&key::random::<16>()),
    });
    let mut members = Map::new();
    for layer in [common, defaults, claims] {
        if let Value::Object(changes) = layer {
            merge(&mut members, changes);
        }
    }
    members
}

fn sign(state: &mut IssuerState, options: JwtOptions, claims: &Map<String, Value>) -> String {
    let keys = &mut state.keys;
    options.build(claims, |algorithm| keys.signing(algorithm.unwrap_or(Algorithm::ES256)))
}

/// Returns the URI of an event with an abbreviated name.
fn event_uri(name: &str) -> String {
    const ROOT: &str = "https://schemas.openid.net/secevent";
    let profile = match name {
        "verification" | "stream-updated" => "ssf",
        name if name.contains(':') => return name.to_owned(),
        name if name.starts_with("account-") || name == "sessions-revoked" => "risc",
        _ => "caep",
    };
    format!("{ROOT}/{profile}/event-type/{name}")
}

/// Removes the acknowledged events from the queue, and those with an error (RFC 8936 section 2.4).
pub(super) fn acknowledge(state: &mut IssuerState, request: &RecordedRequest) {
    let Ok(Value::Object(poll)) = serde_json::from_slice(&request.body) else { return };
    let acknowledged = poll.get("ack").and_then(Value::as_array).into_iter().flatten();
    for jti in acknowledged.filter_map(Value::as_str) {
        state.events.remove(jti);
    }
    for jti in poll.get("setErrs").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
        state.events.remove(jti);
    }
}

/// Returns whether the request waits for events (RFC 8936 section 2.2).
pub(super) fn is_long_poll(request: &RecordedRequest) -> bool {
    let poll: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    poll.get("returnImmediately") != Some(&json!(true)) && poll.get("maxEvents") != Some(&json!(0))
}

/// Returns the events of the queue, as many as the request allows.
pub(super) fn poll(state: &IssuerState, request: &RecordedRequest) -> Response {
    let Ok(poll @ Value::Object(_)) = serde_json::from_slice::<Value>(&request.body) else {
        return Response::empty(400);
    };
    let max = poll.get("maxEvents").and_then(Value::as_u64).and_then(|max| usize::try_from(max).ok());
    let max = max.unwrap_or(usize::MAX);
    let sets: Map<_, _> = state.events.iter().take(max).map(|(jti, set)| (jti.clone(), json!(set))).collect();
    let more = state.events.len() > sets.len();
    Response::json(200, json!({ "sets": sets, "moreAvailable": more }).to_string())
}

/// Returns the configuration of the transmitter (Shared Signals Framework 1.0 section 7.1).
pub(super) fn configuration(state: &IssuerState) -> Value {
    json!({
        "spec_version": "1_0",
        "issuer": state.issuer,
        "jwks_uri": format!("{}/jwks", state.base),
        "delivery_methods_supported": ["urn:ietf:rfc:8935", "urn:ietf:rfc:8936"],
    })
}

async fn post(
    url: &str,
    content_type: &str,
    authorization: Option<&str>,
    body: &[u8],
) -> io::Result<(u16, String)> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(|| invalid("expected an http URL"))?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n{authorization}\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(host).await?;
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    let mut response = Vec::new();
    stream.take(MAX_RESPONSE).read_to_end(&mut response).await?;
    let text = String::from_utf8_lossy(&response);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| invalid("no response"))?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or_else(|| invalid("no status"))?, body.to_owned()))
}
