//! The configuration of a test issuer.

use std::{
    fmt,
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::test::{
    APP_ID, APP_SECRET, CLIENT_ID, CLIENT_SECRET,
    algorithm::Algorithm,
    client::{RegisteredClient, TestCredential},
    expect_ok,
    issuer::TestIssuer,
    issuer_port,
    key::TestKey,
    server::{Server, ServerState},
    state::IssuerState,
    tls,
};
use crate::{Clock, SystemClock};

/// Configures a [`TestIssuer`]. Created by [`TestIssuer::builder`].
#[must_use = "an issuer serves when it is started"]
pub struct TestIssuerBuilder {
    path: String,
    trailing_slash: bool,
    port: u16,
    tls: bool,
    audience: String,
    resource_servers: Vec<RegisteredClient>,
    apps: Vec<RegisteredClient>,
    jwt_access_tokens: bool,
    algorithms: Vec<Algorithm>,
    clock: Arc<dyn Clock>,
}

impl TestIssuerBuilder {
    pub(super) fn new() -> Self {
        Self {
            path: String::new(),
            trailing_slash: false,
            port: 0,
            tls: false,
            audience: "https://api.example.test".to_owned(),
            resource_servers: vec![RegisteredClient::with_secret(CLIENT_ID, CLIENT_SECRET)],
            apps: Vec::new(),
            jwt_access_tokens: false,
            algorithms: vec![Algorithm::ES256],
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Sets the issuer's path, such as `/tenant/a`. Trailing slashes are removed. Default: none.
    pub fn path(mut self, path: &str) -> Self {
        let path = path.trim_matches('/');
        self.path = if path.is_empty() { String::new() } else { format!("/{path}") };
        self
    }

    /// Sets whether the issuer identifier ends with a slash. The endpoints' URLs stay the same. Default: no.
    pub fn trailing_slash(mut self, slash: bool) -> Self {
        self.trailing_slash = slash;
        self
    }

    /// Sets the port. Default: a free one that no earlier issuer of this process had.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Serves `https://localhost:PORT` with a certificate of an authority created for this issuer; see
    /// [`TestIssuer::ca_pem`].
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Sets the default `aud` of minted tokens. Default: `https://api.example.test`.
    pub fn audience(mut self, audience: &str) -> Self {
        audience.clone_into(&mut self.audience);
        self
    }

    /// Registers another client that may introspect, with a secret: `client_secret_basic`, `client_secret_post` and
    /// `client_secret_jwt` (HS256, HS384, HS512).
    pub fn client(mut self, id: &str, secret: &str) -> Self {
        self.resource_servers.push(RegisteredClient::with_secret(id, secret));
        self
    }

    /// Registers another client that may introspect, with a key: `private_key_jwt` with exactly the key's
    /// algorithm.
    pub fn client_with_key(mut self, id: &str, key: &TestKey) -> Self {
        let credential = TestCredential::Key(key.clone());
        self.resource_servers.push(RegisteredClient { id: id.to_owned(), credential, claims: Value::Null });
        self
    }

    /// Registers an app that may get tokens (`client_credentials`) and revoke them. Its tokens contain these claims
    /// in place of the default ones, with `sub` and `client_id` of the app. `scope` is the requested scope, or that
    /// of the claims. Default: one app, `app` with the secret `app-secret`; the first call replaces it.
    ///
    /// ```
    /// # use actix_protect_api::test::TestIssuer;
    /// # use serde_json::json;
    /// let issuer = TestIssuer::builder().app("spa", "s3cret", json!({ "groups": ["engineering"] })).start();
    /// ```
    pub fn app(mut self, id: &str, secret: &str, claims: Value) -> Self {
        let claims = if claims.is_null() { json!({}) } else { claims };
        self.apps.push(RegisteredClient { claims, ..RegisteredClient::with_secret(id, secret) });
        self
    }

    /// Sets whether the token endpoint issues JWTs. Default: no, opaque tokens.
    pub fn jwt_access_tokens(mut self, jwt: bool) -> Self {
        self.jwt_access_tokens = jwt;
        self
    }

    /// Sets the algorithms whose keys are published from the start. A key for another algorithm is added when the
    /// first token is signed with it. Default: ES256.
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Sets the clock of the issuer: for `iat` and `exp` of minted tokens, and for the expiry of tokens. Delays use
    /// the real time. Default: the system's clock.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Starts the issuer. The port accepts connections when this returns.
    ///
    /// # Panics
    /// If the port cannot be bound, or a thread cannot be started.
    #[track_caller]
    pub fn start(self) -> TestIssuer {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, self.port));
        let listener = if self.port == 0 { issuer_port::listen(bind) } else { bind() };
        let listener = expect_ok(listener, &format!("bind the port {}", self.port));
        let port = expect_ok(listener.local_addr(), "read the port").port();
        let (ca_pem, acceptor) = if self.tls { Some(tls::generate()) } else { None }.unzip();
        let origin =
            if self.tls { format!("https://localhost:{port}") } else { format!("http://127.0.0.1:{port}") };
        let base = format!("{origin}{}", self.path);
        let issuer = format!("{base}{}", if self.trailing_slash { "/" } else { "" });

        let mut state = IssuerState::new(base, self.path, issuer.clone(), self.audience.clone(), self.clock);
        state.resource_servers = self.resource_servers;
        state.apps = self.apps;
        if state.apps.is_empty() {
            state.apps.push(RegisteredClient {
                claims: json!({}),
                ..RegisteredClient::with_secret(APP_ID, APP_SECRET)
            });
        }
        state.jwt_access_tokens = self.jwt_access_tokens;
        for algorithm in self.algorithms {
            state.keys.signing(algorithm);
        }
        let shared = Arc::new(ServerState::new(state));
        let server = Server::start(listener, acceptor, Arc::clone(&shared));
        TestIssuer::new(shared, server, issuer, self.audience, ca_pem)
    }
}

impl fmt::Debug for TestIssuerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestIssuerBuilder")
            .field("path", &self.path)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
