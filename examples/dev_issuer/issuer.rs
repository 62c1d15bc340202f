//! The issuer: its key, its clients, and the tokens that it signs.

use std::{
    error::Error,
    fmt::Write as _,
    io,
    net::SocketAddr,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use actix_protect_api::test::{Algorithm, TestKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use url::Url;

use crate::{
    choice::{Choice, Format},
    client::Client,
    grants::{AccessToken, Grant, Grants},
    options::Options,
    store::{Saved, Store},
};

/// The client of the API, which may introspect.
pub(crate) const API_ID: &str = "dev-api";
/// A public client for pages and native apps.
pub(crate) const APP_ID: &str = "dev-app";
/// The most clients that register themselves. Then the oldest one is removed.
const MAX_CLIENTS: usize = 100;
/// Seconds until an ID token expires.
const ID_TOKEN_LIFETIME: u64 = 300;

pub(crate) struct Issuer {
    url: String,
    pub(crate) audience: String,
    pub(crate) format: Format,
    pub(crate) event_receivers: Vec<Url>,
    pub(crate) logout_receivers: Vec<Url>,
    key: TestKey,
    built_in: [Client; 2],
    store: Store,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    saved_clients: Vec<Client>,
    pub(crate) grants: Grants,
    /// The last choice, which the page offers next time.
    pub(crate) last_choice: Option<Choice>,
    /// A message that the page shows once.
    pub(crate) notice: Option<Notice>,
}

pub(crate) struct Notice {
    pub(crate) text: String,
    pub(crate) is_problem: bool,
}

impl Issuer {
    /// Loads the key and the clients, or creates them.
    pub(crate) fn open(options: &Options) -> Result<Self, Box<dyn Error>> {
        let store = Store::new(&options.directory, options.port)
            .map_err(|error| format!("cannot create {}: {error}", options.directory.display()))?;
        let saved = if let Some(saved) = store.load()? {
            saved
        } else {
            eprintln!("dev_issuer: creates {}, because no issuer has run with it", store.path().display());
            Saved::create(&store)?
        };
        let key = TestKey::from_private_jwk(&saved.key).ok_or_else(|| {
            format!("{} has no valid key: delete it to get a new one", store.path().display())
        })?;
        Ok(Self {
            url: format!("http://{}", SocketAddr::new(options.address, options.port)),
            audience: options.audience.clone(),
            format: options.format,
            event_receivers: options.event_receivers.clone(),
            logout_receivers: options.logout_receivers.clone(),
            key,
            built_in: [api(saved.api_secret), app(&options.redirect_uris)],
            store,
            state: Mutex::new(State { saved_clients: saved.clients, ..State::default() }),
        })
    }

    /// Returns the issuer identifier, which is the prefix of all endpoints too.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn store_path(&self) -> &Path {
        self.store.path()
    }

    /// Returns the variables of an API, as lines for a shell.
    pub(crate) fn variables(&self) -> String {
        let [api, _] = &self.built_in;
        let mut lines = String::new();
        for (name, value) in [
            ("TENANT_DOMAIN", self.url()),
            ("AUDIENCE", &self.audience),
            ("CLIENT_ID", &api.client_id),
            ("CLIENT_SECRET", api.client_secret.as_deref().unwrap_or_default()),
        ] {
            let quoted = value.replace('\'', r"'\''");
            writeln!(lines, "export MONOCLOUD_BACKEND_{name}='{quoted}'").ok();
        }
        lines
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Clients.
impl Issuer {
    pub(crate) fn client(&self, id: &str) -> Option<Client> {
        let state = self.lock();
        self.built_in.iter().chain(&state.saved_clients).find(|client| client.client_id == id).cloned()
    }

    /// Returns the number of clients that registered themselves.
    pub(crate) fn registered(&self) -> usize {
        self.lock().saved_clients.len()
    }

    /// Adds a client to the file.
    pub(crate) fn add_client(&self, client: Client) -> io::Result<()> {
        let [api, _] = &self.built_in;
        let mut state = self.lock();
        if state.saved_clients.len() >= MAX_CLIENTS {
            state.saved_clients.remove(0);
        }
        state.saved_clients.push(client);
        self.store.replace(&Saved {
            key: self.key.private_jwk(),
            api_secret: api.client_secret.clone().unwrap_or_default(),
            clients: state.saved_clients.clone(),
        })
    }
}

/// Signed tokens.
impl Issuer {
    pub(crate) fn public_keys(&self) -> Value {
        json!({ "keys": [self.key.jwk()] })
    }

    /// Signs claims, to which `iss`, `iat` and `jti` are added.
    pub(crate) fn sign(&self, typ: &str, mut claims: Value) -> (String, Value) {
        if let Some(members) = claims.as_object_mut() {
            members.insert("iss".to_owned(), json!(self.url));
            members.insert("iat".to_owned(), json!(unix_time()));
            members.insert("jti".to_owned(), json!(random_text::<16>()));
        }
        let header = json!({ "alg": self.key.algorithm().name(), "typ": typ, "kid": self.key.kid() });
        (self.key.jws(&header, &claims), claims)
    }

    /// Creates an access token (RFC 9068 section 2.2), and stores it.
    pub(crate) fn access_token(&self, grant: &Grant) -> String {
        let choice = &grant.choice;
        let expires_at = unix_time() + choice.lifetime;
        let audience = match grant.audience.as_slice() {
            [one] => json!(one),
            several => json!(several),
        };
        let (jwt, claims) = self.sign(
            "at+jwt",
            json!({
                "sub": choice.subject,
                "aud": audience,
                "client_id": grant.client_id,
                "scope": choice.scopes.join(" "),
                "groups": choice.groups,
                "exp": expires_at,
                "sid": grant.session,
                "auth_time": grant.authenticated_at,
            }),
        );
        let token = match choice.format {
            Format::Jwt => jwt,
            Format::Opaque => random_text::<32>(),
        };
        self.lock().grants.add_access_token(AccessToken {
            id: random_text::<9>(),
            token: token.clone(),
            grant: grant.clone(),
            claims,
            expires_at,
            is_revoked: false,
        });
        token
    }

    /// Creates an ID token (OpenID Connect Core 1.0 section 2).
    pub(crate) fn id_token(&self, grant: &Grant) -> String {
        let mut claims = json!({
            "sub": grant.choice.subject,
            "aud": grant.client_id,
            "exp": unix_time() + ID_TOKEN_LIFETIME,
            "sid": grant.session,
            "auth_time": grant.authenticated_at,
        });
        if let (Some(nonce), Some(members)) = (&grant.nonce, claims.as_object_mut()) {
            members.insert("nonce".to_owned(), json!(nonce));
        }
        self.sign("JWT", claims).0
    }
}

impl Saved {
    /// Creates the file with a new key. Another program may do this at the same time: then its key is used.
    fn create(store: &Store) -> Result<Self, Box<dyn Error>> {
        // RS256, because every OpenID client accepts it.
        let saved = Self {
            key: TestKey::generate(Algorithm::RS256, &random_text::<6>()).private_jwk(),
            api_secret: random_text::<32>(),
            clients: Vec::new(),
        };
        let path = store.path().display();
        let is_created = store.create(&saved).map_err(|error| format!("cannot write {path}: {error}"))?;
        let current = if is_created { Some(saved) } else { store.load()? };
        current.ok_or_else(|| format!("{path} was deleted").into())
    }
}

fn api(secret: String) -> Client {
    Client {
        client_id: API_ID.to_owned(),
        client_id_issued_at: 0,
        client_name: "your API".to_owned(),
        client_secret: Some(secret),
        token_endpoint_auth_method: "client_secret_post".to_owned(),
        redirect_uris: Vec::new(),
        grant_types: vec!["client_credentials".to_owned()],
    }
}

/// Loopback redirect URIs may have any port.
fn app(redirect_uris: &[String]) -> Client {
    let usual =
        ["http://127.0.0.1/", "http://127.0.0.1/callback", "http://localhost/", "http://localhost/callback"];
    Client {
        client_id: APP_ID.to_owned(),
        client_id_issued_at: 0,
        client_name: "your app".to_owned(),
        client_secret: None,
        token_endpoint_auth_method: "none".to_owned(),
        redirect_uris: usual.map(str::to_owned).into_iter().chain(redirect_uris.iter().cloned()).collect(),
        grant_types: vec!["authorization_code".to_owned(), "refresh_token".to_owned()],
    }
}

/// Returns this many random bytes as base64url.
#[expect(clippy::expect_used, reason = "without random numbers no token can be issued")]
pub(crate) fn random_text<const N: usize>() -> String {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("random numbers");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns the seconds since 1970.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
