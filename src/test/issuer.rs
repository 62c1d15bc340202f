//! The handle that a test holds.

use std::{fmt, sync::Arc};

use serde_json::{Map, Value};

use super::{
    APP_ID, APP_SECRET, CLIENT_ID, CLIENT_SECRET,
    algorithm::Algorithm,
    answer,
    builder::TestIssuerBuilder,
    endpoint::{Endpoint, RecordedRequest},
    fault::Fault,
    jwt::{self, JwtOptions},
    key::TestKey,
    keyring::Rotation,
    must,
    server::{Server, Shared},
    state::Token,
};

/// A real authorization server in the test's process: on a port of 127.0.0.1, on a thread of its own, stopped when
/// dropped.
///
/// Nothing here needs to be awaited (except [`received`](Self::received)), so it serves blocking tests and async ones
/// alike. See the [module](super) for what it answers.
pub struct TestIssuer {
    shared: Arc<Shared>,
    issuer: String,
    audience: String,
    ca_pem: Option<String>,
    _server: Server,
}

/// Who is who.
impl TestIssuer {
    /// An issuer with the defaults.
    ///
    /// # Panics
    /// If no port can be bound, or a thread cannot be started.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// For an issuer with a path, with TLS, with other clients or keys.
    pub fn builder() -> TestIssuerBuilder {
        TestIssuerBuilder::new()
    }

    pub(super) fn new(
        shared: Arc<Shared>,
        server: Server,
        issuer: String,
        audience: String,
        ca_pem: Option<String>,
    ) -> Self {
        Self { shared, issuer, audience, ca_pem, _server: server }
    }

    /// The issuer identifier, as the metadata and the tokens state it.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audience of minted tokens.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// The `client_id` with which an API may introspect: `api-server`.
    pub fn client_id(&self) -> &'static str {
        CLIENT_ID
    }

    /// The secret that belongs to it; long enough for HS256.
    pub fn client_secret(&self) -> &'static str {
        CLIENT_SECRET
    }

    /// The `client_id` of the default app at the token and revocation endpoints: `app`.
    pub fn app_id(&self) -> &'static str {
        APP_ID
    }

    /// The secret that belongs to it.
    pub fn app_secret(&self) -> &'static str {
        APP_SECRET
    }

    /// The URL of an endpoint; of [`Endpoint::Other`], a path below the issuer that leads nowhere.
    pub fn url(&self, endpoint: Endpoint) -> String {
        let state = self.shared.lock();
        let base = &state.base;
        match endpoint {
            Endpoint::Discovery => format!("{base}/.well-known/openid-configuration"),
            Endpoint::AuthorizationServerMetadata => {
                let origin = base.strip_suffix(state.path.as_str()).unwrap_or(base);
                format!("{origin}/.well-known/oauth-authorization-server{}", state.path)
            }
            Endpoint::Jwks => format!("{base}/jwks"),
            Endpoint::Introspection => format!("{base}/introspect"),
            Endpoint::Token => format!("{base}/token"),
            Endpoint::Revocation => format!("{base}/revoke"),
            Endpoint::Other => format!("{base}/elsewhere"),
        }
    }

    /// The certificate of the issuer's authority as PEM, for `SSL_CERT_FILE` or a root store; `None` without
    /// [`TestIssuerBuilder::tls`].
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The variables that make an API trust this issuer, for a child process: `MONOCLOUD_BACKEND_TENANT_DOMAIN`,
    /// `_AUDIENCE`, `_CLIENT_ID` and `_CLIENT_SECRET`.
    pub fn variables(&self) -> Vec<(String, String)> {
        [
            ("TENANT_DOMAIN", self.issuer()),
            ("AUDIENCE", self.audience()),
            ("CLIENT_ID", self.client_id()),
            ("CLIENT_SECRET", self.client_secret()),
        ]
        .map(|(name, value)| (format!("MONOCLOUD_BACKEND_{name}"), value.to_owned()))
        .into()
    }
}

/// Tokens.
impl TestIssuer {
    /// Mints an opaque token.
    ///
    /// The claims (an object) go over the default ones: `iss`, `aud`, `iat`, `exp` (an hour from now) and `client_id`
    /// (`app`). `null` removes a default.
    pub fn opaque(&self, claims: Value) -> String {
        answer::mint_opaque(&mut self.shared.lock(), [claims])
    }

    /// Mints a JWT access token (RFC 9068), signed with ES256. The claims go over those of
    /// [`opaque`](Self::opaque), a `sub` that is the client, and a random `jti`. It can be introspected too.
    pub fn jwt(&self, claims: Value) -> String {
        self.jwt_with(JwtOptions::new(), claims)
    }

    /// Mints a JWT that departs from the usual.
    pub fn jwt_with(&self, options: JwtOptions, claims: Value) -> String {
        answer::mint_jwt(&mut self.shared.lock(), options, [claims])
    }

    /// From now on the token is not active. A JWT stays what it is: only introspection tells.
    ///
    /// # Panics
    /// If the issuer does not know the token; so do [`expire`](Self::expire), [`claims`](Self::claims) and
    /// [`set_claims`](Self::set_claims).
    pub fn revoke(&self, token: &str) {
        self.with_token(token, |token| token.revoked = true);
    }

    /// Sets `exp` to the present second: introspection says that the token is not active.
    pub fn expire(&self, token: &str) {
        let now = self.shared.lock().clock.unix_time();
        self.with_token(token, |token| token.claims.insert("exp".to_owned(), now.into()));
    }

    /// The claims that introspection tells while the token is active.
    pub fn claims(&self, token: &str) -> Value {
        self.with_token(token, |token| Value::Object(token.claims.clone()))
    }

    /// Puts these members over the claims that introspection tells; `null` removes one.
    pub fn set_claims(&self, token: &str, changes: Value) {
        let changes = if let Value::Object(changes) = changes { changes } else { Map::new() };
        self.with_token(token, |token| jwt::merge(&mut token.claims, changes));
    }

    /// Answers introspection of this token, minted or not, with exactly this body: `"active": "true"`, a member that
    /// occurs twice, a token past its `exp` that is called active. The client must still authenticate.
    pub fn set_answer(&self, token: &str, body: &str) {
        self.shared.lock().tokens.entry(token.to_owned()).or_default().answer = Some(body.to_owned());
    }

    fn with_token<T>(&self, token: &str, change: impl FnOnce(&mut Token) -> T) -> T {
        let result = self.shared.lock().tokens.get_mut(token).map(change);
        must(result.ok_or("unknown token"), "find the token")
    }
}

/// Keys and metadata.
impl TestIssuer {
    /// Makes new keys for every algorithm in use. Takes back [`publish_jwks`](Self::publish_jwks).
    pub fn rotate_keys(&self, rotation: Rotation) {
        self.shared.lock().keys.rotate(rotation);
    }

    /// The key that signs with this algorithm now; made and published where there is none. (HMAC secrets are made, but
    /// never published.)
    pub fn key(&self, algorithm: Algorithm) -> TestKey {
        self.shared.lock().keys.signing(algorithm)
    }

    /// The key set as it is served.
    pub fn jwks(&self) -> Value {
        self.shared.lock().keys.document()
    }

    /// Serves this document as the key set, until the next [`rotate_keys`](Self::rotate_keys).
    pub fn publish_jwks(&self, document: Value) {
        self.shared.lock().keys.instead = Some(document);
    }

    /// The `Content-Type` of the key set. Default: `application/jwk-set+json` (RFC 7517 section 8.5).
    pub fn set_jwks_content_type(&self, content_type: &str) {
        content_type.clone_into(&mut self.shared.lock().keys.content_type);
    }

    /// Changes the metadata of both documents: gives the present one, takes the next.
    ///
    /// ```
    /// # use actix_protect_api::test::TestIssuer;
    /// let issuer = TestIssuer::start();
    /// issuer.set_metadata(|mut metadata| {
    ///     metadata["issuer"] = "https://somebody.example".into();
    ///     metadata
    /// });
    /// ```
    pub fn set_metadata(&self, change: impl FnOnce(Value) -> Value) {
        let present = self.shared.lock().metadata.clone();
        // Not under the lock: the closure may ask the issuer for its URLs.
        let next = change(present);
        self.shared.lock().metadata = next;
    }

    /// Whether the endpoint is there at all; if not, it answers 404. Switching [`Endpoint::Discovery`] off leaves
    /// RFC 8414 alone to tell the metadata.
    pub fn set_served(&self, endpoint: Endpoint, served: bool) {
        self.shared.lock().desk(endpoint).closed = !served;
    }
}

/// Faults and observation.
impl TestIssuer {
    /// Queues a fault behind those that are still due at this endpoint.
    pub fn fault(&self, endpoint: Endpoint, fault: Fault) {
        self.shared.lock().desk(endpoint).faults.push_back(fault);
    }

    /// Forgets all faults of all endpoints and lets go of the requests that [`Fault::hold`] holds.
    pub fn clear_faults(&self) {
        for desk in self.shared.lock().desks() {
            desk.faults.clear();
            desk.releases += 1;
        }
        self.shared.notify();
    }

    /// Lets go of the requests that [`Fault::hold`] holds at this endpoint. Later ones are held as before.
    pub fn release(&self, endpoint: Endpoint) {
        self.shared.lock().desk(endpoint).releases += 1;
        self.shared.notify();
    }

    /// How many requests arrived there, answered or not.
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.shared.lock().count(endpoint)
    }

    /// Waits until that many requests have arrived there since the start or the last
    /// [`reset_counters`](Self::reset_counters). Works on any runtime; put a timeout around it.
    pub async fn received(&self, endpoint: Endpoint, count: usize) {
        self.shared.wait_until(|state| state.count(endpoint) >= count).await;
    }

    /// The last 1000 requests there, oldest first.
    pub fn requests(&self, endpoint: Endpoint) -> Vec<RecordedRequest> {
        self.shared.lock().desk(endpoint).recorded.iter().cloned().collect()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Counts from zero again and forgets the recorded requests.
    pub fn reset_counters(&self) {
        let mut state = self.shared.lock();
        state.connections = 0;
        for desk in state.desks() {
            desk.count = 0;
            desk.recorded.clear();
        }
    }
}

impl fmt::Debug for TestIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestIssuer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
