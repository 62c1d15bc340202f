//! The handle of a running test issuer.

use std::{fmt, sync::Arc};

use serde_json::{Map, Value};

use crate::test::{
    APP_ID, APP_SECRET, CLIENT_ID, CLIENT_SECRET,
    algorithm::Algorithm,
    answer,
    builder::TestIssuerBuilder,
    caller,
    endpoint::{Endpoint, RecordedRequest},
    expect_ok,
    fault::Fault,
    jwt::{self, JwtOptions},
    key::TestKey,
    keyring::Rotation,
    server::{Server, ServerState},
    state::Token,
    vendor::Vendor,
};

/// A real authorization server in the test's process: on a port of 127.0.0.1, on a separate thread, stopped when
/// dropped.
///
/// Only [`received`](Self::received) is async, so blocking and async tests can use it. The [module](super) lists
/// its responses.
#[doc(alias("fake", "mock"))]
pub struct TestIssuer {
    pub(super) shared: Arc<ServerState>,
    issuer: String,
    audience: String,
    ca_pem: Option<String>,
    _server: Server,
}

/// Identity and credentials.
impl TestIssuer {
    /// Starts an issuer with the defaults.
    ///
    /// # Panics
    /// If no port can be bound, or a thread cannot be started.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// Configures an issuer with a path, TLS, other clients or other keys.
    pub fn builder() -> TestIssuerBuilder {
        TestIssuerBuilder::new()
    }

    pub(super) fn new(
        shared: Arc<ServerState>,
        server: Server,
        issuer: String,
        audience: String,
        ca_pem: Option<String>,
    ) -> Self {
        Self { shared, issuer, audience, ca_pem, _server: server }
    }

    /// Returns the issuer identifier, as in metadata and tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the audience of minted tokens.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// Returns the `client_id` with which an API may introspect: `api-server`.
    pub fn client_id(&self) -> &'static str {
        CLIENT_ID
    }

    /// Returns the secret of that client; long enough for HS256.
    pub fn client_secret(&self) -> &'static str {
        CLIENT_SECRET
    }

    /// Returns the `client_id` of the default app at the token and revocation endpoints: `app`.
    pub fn app_id(&self) -> &'static str {
        APP_ID
    }

    /// Returns the secret of the default app.
    pub fn app_secret(&self) -> &'static str {
        APP_SECRET
    }

    /// Returns the URL of an endpoint; for [`Endpoint::Other`], a path below the issuer that responds with 404.
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
            Endpoint::SsfConfiguration => {
                let origin = base.strip_suffix(state.path.as_str()).unwrap_or(base);
                format!("{origin}/.well-known/ssf-configuration{}", state.path)
            }
            Endpoint::Poll => format!("{base}/poll"),
            Endpoint::Other => format!("{base}/elsewhere"),
        }
    }

    /// Returns the certificate of the issuer's authority as PEM, for `SSL_CERT_FILE` or a root store; `None`
    /// without [`TestIssuerBuilder::tls`].
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Returns the variables that configure an API for this issuer, for a child process:
    /// `MONOCLOUD_BACKEND_TENANT_DOMAIN`, `_AUDIENCE`, `_CLIENT_ID` and `_CLIENT_SECRET`.
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
    /// The claims (an object) replace the defaults: `iss`, `aud`, `iat`, `exp` (an hour from now) and `client_id`
    /// (`app`). `null` removes a default.
    pub fn opaque(&self, claims: Value) -> String {
        answer::mint_opaque(&mut self.shared.lock(), [claims])
    }

    /// Mints a JWT access token (RFC 9068), signed with ES256. The claims replace the defaults of
    /// [`opaque`](Self::opaque), a `sub` that is the client, and a random `jti`. It can be introspected too.
    pub fn jwt(&self, claims: Value) -> String {
        self.jwt_with(JwtOptions::new(), claims)
    }

    /// Mints a JWT with other options.
    pub fn jwt_with(&self, options: JwtOptions, claims: Value) -> String {
        answer::mint_jwt(&mut self.shared.lock(), options, [claims])
    }

    /// Mints a JWT (for django-oauth-toolkit an opaque token) with the header and the claims of another authorization server's
    /// access tokens. The given claims replace them; `null` removes one.
    ///
    /// ```
    /// # use actix_protect_api::test::{TestIssuer, Vendor};
    /// # use serde_json::json;
    /// let issuer = TestIssuer::start();
    /// let token = issuer.imitate(Vendor::Keycloak, json!({ "scope": "posts:read" }));
    /// assert_eq!(issuer.claims(&token)["azp"], "app");
    /// ```
    pub fn imitate(&self, vendor: Vendor, claims: Value) -> String {
        if vendor == Vendor::DjangoOauthToolkit {
            return answer::mint_opaque(&mut self.shared.lock(), [vendor.claims(), claims]);
        }
        answer::mint_jwt(&mut self.shared.lock(), vendor.options(), [vendor.claims(), claims])
    }

    /// Mints a [JWT](Self::jwt) with these claims and returns the header that carries it, for `insert_header`:
    /// `("Authorization", "Bearer …")`. For another token, use [`bearer`](super::bearer).
    pub fn bearer(&self, claims: Value) -> (&'static str, String) {
        caller::bearer(&self.jwt(claims))
    }

    /// Revokes the token: introspection then reports it as inactive. The JWT itself does not change.
    ///
    /// # Panics
    /// If the issuer has not minted the token. The same applies to [`expire`](Self::expire),
    /// [`claims`](Self::claims) and [`set_claims`](Self::set_claims).
    pub fn revoke(&self, token: &str) {
        self.with_token(token, |token| token.revoked = true);
    }

    /// Sets `exp` to the present second, so that introspection reports the token as inactive.
    pub fn expire(&self, token: &str) {
        let now = self.shared.lock().clock.unix_time();
        self.with_token(token, |token| token.claims.insert("exp".to_owned(), now.into()));
    }

    /// Returns the claims that introspection reports while the token is active.
    pub fn claims(&self, token: &str) -> Value {
        self.with_token(token, |token| Value::Object(token.claims.clone()))
    }

    /// Changes claims that introspection reports; `null` removes one.
    pub fn set_claims(&self, token: &str, changes: Value) {
        let changes = if let Value::Object(changes) = changes { changes } else { Map::new() };
        self.with_token(token, |token| jwt::merge(&mut token.claims, changes));
    }

    /// Sets the exact body of introspection responses for this token, minted or not: `"active": "true"`, a
    /// duplicate member, an expired token reported as active. The client must still authenticate.
    pub fn set_answer(&self, token: &str, body: &str) {
        self.shared.lock().tokens.entry(token.to_owned()).or_default().answer = Some(body.to_owned());
    }

    fn with_token<T>(&self, token: &str, change: impl FnOnce(&mut Token) -> T) -> T {
        let result = self.shared.lock().tokens.get_mut(token).map(change);
        expect_ok(result.ok_or("unknown token"), "find the token")
    }
}

/// Keys and metadata.
impl TestIssuer {
    /// Creates new keys for every algorithm in use, and undoes [`publish_jwks`](Self::publish_jwks).
    pub fn rotate_keys(&self, rotation: Rotation) {
        self.shared.lock().keys.rotate(rotation);
    }

    /// Returns the key that signs with this algorithm now, and creates and publishes it if there is none. (HMAC
    /// secrets are never published.)
    pub fn key(&self, algorithm: Algorithm) -> TestKey {
        self.shared.lock().keys.signing(algorithm)
    }

    /// Returns the key set as it is served.
    pub fn jwks(&self) -> Value {
        self.shared.lock().keys.document()
    }

    /// Serves this document as the key set, until the next [`rotate_keys`](Self::rotate_keys).
    pub fn publish_jwks(&self, document: Value) {
        self.shared.lock().keys.instead = Some(document);
    }

    /// Sets the `Content-Type` of the key set. Default: `application/jwk-set+json` (RFC 7517 section 8.5).
    pub fn set_jwks_content_type(&self, content_type: &str) {
        content_type.clone_into(&mut self.shared.lock().keys.content_type);
    }

    /// Changes the metadata of both documents. The closure gets the present metadata and returns the new one.
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
        // Not under the lock, because the closure may call the issuer for its URLs.
        let next = change(present);
        self.shared.lock().metadata = next;
    }

    /// Sets whether the endpoint exists; if not, it responds with 404. Without [`Endpoint::Discovery`] only RFC
    /// 8414 metadata is served.
    pub fn set_served(&self, endpoint: Endpoint, served: bool) {
        self.shared.lock().desk(endpoint).closed = !served;
    }
}

/// Faults and observation.
impl TestIssuer {
    /// Adds a fault to the queue of this endpoint.
    pub fn fault(&self, endpoint: Endpoint, fault: Fault) {
        self.shared.lock().desk(endpoint).faults.push_back(fault);
    }

    /// Removes all faults of all endpoints and releases the requests that [`Fault::hold`] holds.
    pub fn clear_faults(&self) {
        for desk in self.shared.lock().desks() {
            desk.faults.clear();
            desk.releases += 1;
        }
        self.shared.notify();
    }

    /// Releases the requests that [`Fault::hold`] holds at this endpoint. Later requests are held as before.
    pub fn release(&self, endpoint: Endpoint) {
        self.shared.lock().desk(endpoint).releases += 1;
        self.shared.notify();
    }

    /// Returns the number of requests that arrived at this endpoint, with or without a response.
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.shared.lock().count(endpoint)
    }

    /// Waits until this many requests have arrived since the start or the last
    /// [`reset_counters`](Self::reset_counters). Works on any runtime; add a timeout.
    pub async fn received(&self, endpoint: Endpoint, count: usize) {
        self.shared.wait_until(|state| state.count(endpoint) >= count).await;
    }

    /// Returns the last 1000 requests at this endpoint, oldest first.
    pub fn requests(&self, endpoint: Endpoint) -> Vec<RecordedRequest> {
        self.shared.lock().desk(endpoint).recorded.iter().cloned().collect()
    }

    /// Returns the number of accepted connections.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// Resets the counters and removes the recorded requests.
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
