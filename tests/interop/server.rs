//! The authorization server that `run.sh` has started.

use std::{
    env, fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use actix_protect_api::{ClientAuthentication, ProtectApi, ProtectApiBuilder};
use serde_json::Value;

/// A running authorization server and the tokens that were taken from it.
pub(crate) struct Server {
    addresses: Value,
    taken: Value,
}

impl Server {
    /// The server that this test is for.
    ///
    /// # Panics
    /// If it is not running: a test must not pass without a real server.
    pub(crate) async fn find(name: &str) -> Self {
        assert_eq!(
            variable("INTEROP_SERVER"),
            name,
            "this test is for another server: run `tests/interop/run.sh {name}`"
        );
        let server = Self {
            addresses: json(&PathBuf::from(variable("INTEROP_STATE")).join("server.json")),
            taken: json(&PathBuf::from(variable("INTEROP_TOKENS"))),
        };
        if name == "oidc-provider" {
            server.admin("reset").await;
        }
        server
    }

    /// The issuer `http`, or where the server has more than one: `path`, `slash`, `https`.
    pub(crate) fn issuer(&self, name: &str) -> &str {
        self.addresses["issuers"][name].as_str().unwrap()
    }

    /// The address at which oidc-provider requests a client certificate.
    pub(crate) fn mtls_base(&self) -> &str {
        self.addresses["mtls_base"].as_str().unwrap()
    }

    /// The audience that most tokens are for.
    pub(crate) fn audience(&self) -> &str {
        self.taken["audience"].as_str().unwrap()
    }

    /// A token that was taken before the tests.
    pub(crate) fn token(&self, name: &str) -> &str {
        self.taken["tokens"][name].as_str().unwrap_or_else(|| panic!("there is no token {name}"))
    }

    /// The secret of a resource server.
    pub(crate) fn secret(&self, client: &str) -> &str {
        self.taken["secrets"][client].as_str().unwrap_or_else(|| panic!("{client} has no secret"))
    }

    /// The identifier that better-auth gave to this client.
    pub(crate) fn client_id(&self, client: &str) -> &str {
        self.taken["ids"][client].as_str().unwrap_or_else(|| panic!("{client} has no identifier"))
    }

    /// A file with keys or certificates.
    #[track_caller]
    pub(crate) fn file(name: &str) -> String {
        fs::read_to_string(PathBuf::from(variable("INTEROP_STATE")).join(name)).unwrap()
    }

    /// Settings for this issuer, without credentials for introspection.
    pub(crate) fn without_client(&self, issuer: &str) -> ProtectApiBuilder {
        ProtectApi::builder(self.issuer(issuer), self.audience()).response_timeout(unlike_any_other())
    }

    /// Settings for this issuer, with the credentials of a client that it accepts.
    pub(crate) fn with_client(&self, issuer: &str) -> ProtectApiBuilder {
        let basic = ClientAuthentication::client_secret_basic(self.secret("rs-basic"));
        self.without_client(issuer).client("rs-basic", basic)
    }

    /// A fresh token of oidc-provider for the resource of this name.
    pub(crate) async fn mint(&self, resource: &str) -> String {
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "read"),
            ("resource", &format!("{}/{resource}", self.audience())),
        ];
        let mut response = awc::Client::default()
            .post(format!("{}/token", self.issuer("http")))
            .basic_auth("app", "app-secret-0123456789abcdef0123456789abcdef")
            .send_form(&form)
            .await
            .unwrap();
        let answer: Value = response.json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// Lets oidc-provider's next answer at this path fail: `status`, `delay_ms`, `drop`, `headers`, `body`.
    pub(crate) async fn fail_next(&self, path: &str, mut fault: Value) {
        fault["path"] = path.into();
        let url = format!("{}/__admin/fault", self.issuer("http"));
        let response = awc::Client::default().post(url).send_json(&fault).await.unwrap();
        assert_eq!(response.status(), 200);
    }

    /// Gives oidc-provider new keys; `add`, `replace` or `same_kid`.
    pub(crate) async fn rotate(&self, mode: &str) {
        let answer = self.admin(&format!("rotate?mode={mode}")).await;
        assert!(answer["kids"].is_array(), "{answer}");
    }

    /// How many requests oidc-provider received at this path in this test.
    pub(crate) async fn requests(&self, path: &str) -> u64 {
        self.admin("stats").await[path].as_u64().unwrap_or(0)
    }

    /// The last request that oidc-provider got at this path in this test: `method`, `url`, `headers`, `form`.
    pub(crate) async fn last_request(&self, path: &str) -> Value {
        let request = self.admin(&format!("last?path={path}")).await;
        assert!(request.is_object(), "no request at {path}");
        request
    }

    /// An access token of a user in a session, from oidc-provider, for the resource of this name.
    pub(crate) async fn user_token(&self, sub: &str, sid: &str, resource: &str) -> String {
        let resource = format!("{}/{resource}", self.audience());
        let answer = self.admin(&format!("user-token?sub={sub}&sid={sid}&resource={resource}")).await;
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Lets oidc-provider send a logout token to this address, with `sid` unless it is empty.
    pub(crate) async fn log_out(&self, uri: &str, sub: &str, sid: &str) {
        let sid = if sid.is_empty() { String::new() } else { format!("&sid={sid}") };
        self.admin(&format!("logout?uri={uri}&sub={sub}{sid}")).await;
    }

    /// Lets `jose` sign a security event with a key of oidc-provider, and push it to this address. Returns the status.
    pub(crate) async fn push_event(&self, uri: &str, audience: &str, algorithm: &str, sub: &str) -> u64 {
        let query = format!("uri={uri}&audience={audience}&alg={algorithm}&sub={sub}");
        self.admin(&format!("push-event?{query}")).await["status"].as_u64().unwrap()
    }

    async fn admin(&self, what: &str) -> Value {
        let url = format!("{}/__admin/{what}", self.issuer("http"));
        let mut response = awc::Client::default().get(url).send().await.unwrap();
        assert_eq!(response.status(), 200, "{what}");
        response.json().await.unwrap()
    }
}

/// A deadline that no other test has: equal settings share metadata, keys and verdicts, and tests must not.
fn unlike_any_other() -> Duration {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    Duration::from_secs(20) + Duration::from_millis(NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: these tests need a real authorization server, run `tests/interop/run.sh`")
    })
}

fn json(path: &PathBuf) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}
