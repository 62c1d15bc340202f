//! The state of a test issuer.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use serde_json::{Map, Value, json};

use crate::Clock;
use crate::test::{
    client::RegisteredClient,
    endpoint::{Endpoint, RecordedRequest},
    fault::Fault,
    keyring::KeyRing,
};

const MAX_RECORDED: usize = 1000;

pub(super) struct IssuerState {
    /// The issuer's URL without a trailing slash: the prefix of the endpoints.
    pub(super) base: String,
    /// The path in `base`: empty, or starting with `/`.
    pub(super) path: String,
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metadata: Value,
    pub(super) keys: KeyRing,
    /// The clients that may introspect.
    pub(super) resource_servers: Vec<RegisteredClient>,
    /// The apps that may get and revoke tokens.
    pub(super) apps: Vec<RegisteredClient>,
    pub(super) jwt_access_tokens: bool,
    pub(super) tokens: HashMap<String, Token>,
    /// The queue of security event tokens, by their `jti`.
    pub(super) events: BTreeMap<String, String>,
    /// The `jti`s of client assertions already used.
    pub(super) assertions: HashSet<String>,
    pub(super) connections: usize,
    desks: BTreeMap<Endpoint, Desk>,
}

/// A minted token, or a prepared response for a token.
#[derive(Default)]
pub(super) struct Token {
    pub(super) claims: Map<String, Value>,
    pub(super) revoked: bool,
    /// The whole body of the introspection response, instead of the claims.
    pub(super) answer: Option<String>,
}

/// One endpoint: its recorded requests and queued faults.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) count: usize,
    pub(super) recorded: VecDeque<RecordedRequest>,
    pub(super) faults: VecDeque<Fault>,
    /// The number of releases of held requests.
    pub(super) releases: u64,
    pub(super) closed: bool,
}

impl IssuerState {
    pub(super) fn new(
        base: String,
        path: String,
        issuer: String,
        audience: String,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            metadata: metadata(&base, &issuer),
            base,
            path,
            issuer,
            audience,
            clock,
            keys: KeyRing::default(),
            resource_servers: Vec::new(),
            apps: Vec::new(),
            jwt_access_tokens: false,
            tokens: HashMap::new(),
            events: BTreeMap::new(),
            assertions: HashSet::new(),
            connections: 0,
            desks: BTreeMap::new(),
        }
    }

    pub(super) fn desk(&mut self, endpoint: Endpoint) -> &mut Desk {
        self.desks.entry(endpoint).or_default()
    }

    pub(super) fn desks(&mut self) -> impl Iterator<Item = &mut Desk> {
        self.desks.values_mut()
    }

    pub(super) fn count(&self, endpoint: Endpoint) -> usize {
        self.desks.get(&endpoint).map_or(0, |desk| desk.count)
    }

    pub(super) fn releases(&self, endpoint: Endpoint) -> u64 {
        self.desks.get(&endpoint).map_or(0, |desk| desk.releases)
    }

    /// Counts and records the request, and takes the next fault from the queue.
    pub(super) fn receive(&mut self, request: &RecordedRequest) -> (Endpoint, Option<Fault>, u64) {
        let endpoint = self.route(request.path());
        let desk = self.desk(endpoint);
        desk.count += 1;
        if desk.recorded.len() == MAX_RECORDED {
            desk.recorded.pop_front();
        }
        desk.recorded.push_back(request.clone());
        (endpoint, desk.due(request), desk.releases)
    }

    fn route(&self, path: &str) -> Endpoint {
        if path.strip_prefix("/.well-known/oauth-authorization-server") == Some(self.path.as_str()) {
            return Endpoint::AuthorizationServerMetadata;
        }
        if path.strip_prefix("/.well-known/ssf-configuration") == Some(self.path.as_str()) {
            return Endpoint::SsfConfiguration;
        }
        match path.strip_prefix(self.path.as_str()) {
            Some("/.well-known/openid-configuration") => Endpoint::Discovery,
            Some("/jwks") => Endpoint::Jwks,
            Some("/introspect") => Endpoint::Introspection,
            Some("/token") => Endpoint::Token,
            Some("/revoke") => Endpoint::Revocation,
            Some("/poll") => Endpoint::Poll,
            _ => Endpoint::Other,
        }
    }

    /// Merges the layers of claims over the defaults; `null` removes one.
    pub(super) fn claims(&self, layers: impl IntoIterator<Item = Value>) -> Map<String, Value> {
        let now = self.clock.unix_time();
        let defaults = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "iat": now,
            "exp": now.saturating_add(super::LIFETIME),
            "client_id": super::APP_ID,
        });
        let mut members = Map::new();
        for object in [defaults].into_iter().chain(layers) {
            if let Value::Object(changes) = object {
                super::jwt::merge(&mut members, changes);
            }
        }
        members
    }

    /// Returns whether the token is active now.
    pub(super) fn is_active(&self, token: &Token) -> bool {
        let alive = |exp: &Value| exp.as_f64().is_none_or(|exp| exp > seconds(self.clock.unix_time()));
        !token.revoked && token.claims.get("exp").is_none_or(alive)
    }
}

impl Desk {
    fn due(&mut self, request: &RecordedRequest) -> Option<Fault> {
        self.faults.retain(|fault| fault.remaining != Some(0));
        let fault = self.faults.iter_mut().find(|fault| fault.concerns(request))?;
        fault.remaining = fault.remaining.map(|remaining| remaining.saturating_sub(1));
        Some(fault.clone())
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "exact for the next 285 million years"
)]
fn seconds(time: i64) -> f64 {
    time as f64
}

/// Returns the metadata (RFC 8414 section 2), for both documents.
fn metadata(base: &str, issuer: &str) -> Value {
    let methods =
        json!(["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt"]);
    let algorithms = json!([
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256",
        "HS384", "HS512"
    ]);
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{base}/token"),
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint": format!("{base}/introspect"),
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint": format!("{base}/revoke"),
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "jwks_uri": format!("{base}/jwks"),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
    })
}
