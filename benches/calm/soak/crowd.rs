//! The callers: clients with every kind of token, and two that use one token from its creation to its end.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use actix_protect_api::test::{Algorithm, JwtOptions, TestIssuer, TestKey};
use actix_web::rt::{self, task::JoinHandle};
use serde_json::json;

use super::{LONGEST, Scene, tally::Truth};
use crate::{caller::Caller, random_tokens::random_token};

const CLIENTS: usize = 12;
/// Between the requests of one client.
const PAUSE: Duration = Duration::from_millis(4);

/// The lifetime of good tokens, in seconds: longer than any run.
const LIFETIME: u64 = 1_000_000;
/// How many tokens the watchers use up in a second, at most.
const WATCHED_PER_SECOND: u64 = 3;

/// The tokens. All opaque ones are minted before anything is measured, and JWTs never: the issuer remembers every token
/// that it minted, and that shall not look like growth of the API.
pub(super) struct Crowd {
    good: Vec<String>,
    good_jwts: RefCell<Rc<[String]>>,
    revoked: Vec<String>,
    expired: Vec<String>,
    bad_jwts: Vec<String>,
    unknown: Cell<usize>,
    /// For the watchers.
    unused: RefCell<Vec<String>>,
}

impl Crowd {
    pub(super) fn new(issuer: &TestIssuer, duration: Duration) -> Self {
        let opaque = || issuer.opaque(json!({ "sub": "alice", "exp": now() + LIFETIME }));
        let (revoked, expired) = (many(20, opaque), many(20, opaque));
        for token in &revoked {
            issuer.revoke(token);
        }
        for token in &expired {
            issuer.expire(token);
        }
        let past = json!({ "exp": now() - 3600 });
        // The issuer calls these active, though they are past their time.
        let lied_about = issuer.opaque(past.clone());
        let mut claims = issuer.claims(&lied_about);
        if let Some(members) = claims.as_object_mut() {
            members.insert("active".to_owned(), json!(true));
        }
        issuer.set_answer(&lied_about, &claims.to_string());
        let ours = issuer.key(Algorithm::ES256);
        let forged = TestKey::generate(Algorithm::ES256, ours.kid());
        let forge = || issuer.jwt_with(JwtOptions::new().key(&forged), json!({ "sub": "alice" }));
        let late = || jwt(issuer, now() - 3600);
        let unused = usize::try_from(duration.as_secs() * WATCHED_PER_SECOND).unwrap_or(0);
        Self {
            good: many(100, opaque),
            good_jwts: RefCell::new(jwts(issuer)),
            revoked,
            expired: [expired, vec![lied_about]].concat(),
            bad_jwts: [many(20, forge), many(20, late)].concat(),
            unknown: Cell::new(0),
            unused: RefCell::new(many(unused, opaque)),
        }
    }

    /// A good token that was not used yet.
    fn unused(&self, issuer: &TestIssuer) -> String {
        self.unused.borrow_mut().pop().unwrap_or_else(|| issuer.opaque(json!({ "sub": "bob" })))
    }

    /// From now on the clients use JWTs of the issuer's present key.
    pub(super) fn renew_jwts(&self, issuer: &TestIssuer) {
        self.good_jwts.replace(jwts(issuer));
    }

    /// How many of the good tokens are let through now, and how many there are.
    pub(super) async fn all_good(&self, address: SocketAddr) -> (usize, usize) {
        let mut caller = Caller::new(address);
        let jwts = Rc::clone(&self.good_jwts.borrow());
        let mut good = 0;
        for token in self.good.iter().chain(&*jwts) {
            good += usize::from(matches!(caller.status(token).await, Ok(200)));
        }
        (good, self.good.len() + jwts.len())
    }

    /// The token of this turn. Two in three are good.
    fn pick(&self, turn: usize) -> (Truth, &'static str, String) {
        let of = |tokens: &[String]| tokens.get(turn / 12 % tokens.len()).cloned().unwrap_or_default();
        match turn % 12 {
            0..4 => (Truth::Good, "a good token", of(&self.good)),
            4..8 => (Truth::Good, "a good JWT", of(&self.good_jwts.borrow())),
            8 => (Truth::Bad, "a revoked token", of(&self.revoked)),
            9 => (Truth::Bad, "an expired token", of(&self.expired)),
            10 => (Truth::Bad, "a bad JWT", of(&self.bad_jwts)),
            _ => {
                self.unknown.set(self.unknown.get() + 1);
                (Truth::Bad, "an unknown token", random_token(self.unknown.get()))
            }
        }
    }
}

fn many(count: usize, make: impl Fn() -> String) -> Vec<String> {
    (0..count).map(|_| make()).collect()
}

fn jwts(issuer: &TestIssuer) -> Rc<[String]> {
    many(50, || jwt(issuer, now() + LIFETIME)).into()
}

/// A JWT of the issuer's present key.
fn jwt(issuer: &TestIssuer, exp: u64) -> String {
    let key = issuer.key(Algorithm::ES256);
    let header = json!({ "alg": key.algorithm().name(), "typ": "at+jwt", "kid": key.kid() });
    let claims = json!({
        "iss": issuer.issuer(),
        "aud": issuer.audience(),
        "sub": "alice",
        "client_id": "app",
        "iat": now(),
        "exp": exp,
    });
    key.jws(&header, &claims)
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Starts the clients of one API, which keeps verdicts for so long.
pub(super) fn start(
    scene: &Rc<Scene>,
    crowd: &Rc<Crowd>,
    address: SocketAddr,
    kept: Duration,
) -> Vec<JoinHandle<()>> {
    let client = |number| rt::spawn(client(Rc::clone(scene), Rc::clone(crowd), address, number));
    let mut tasks: Vec<_> = (0..CLIENTS).map(client).collect();
    tasks.push(rt::spawn(watch_revocations(Rc::clone(scene), Rc::clone(crowd), address, kept)));
    tasks.push(rt::spawn(watch_expiries(Rc::clone(scene), Rc::clone(crowd), address)));
    tasks
}

async fn client(scene: Rc<Scene>, crowd: Rc<Crowd>, address: SocketAddr, number: usize) {
    let mut client = Client { scene, caller: Caller::new(address), address };
    let mut turn = number;
    while !client.scene.is_over() {
        let (truth, what, token) = crowd.pick(turn);
        client.call(truth, what, &token).await;
        turn += CLIENTS + 1;
        rt::time::sleep(PAUSE).await;
    }
}

/// A token is good, is revoked, and is never let through again once no verdict of before may be used.
async fn watch_revocations(scene: Rc<Scene>, crowd: Rc<Crowd>, address: SocketAddr, kept: Duration) {
    let mut client = Client { scene: Rc::clone(&scene), caller: Caller::new(address), address };
    while !scene.is_over() {
        let token = crowd.unused(&scene.issuer);
        client.call(Truth::Good, "a token to be revoked", &token).await;
        scene.issuer.revoke(&token);
        rt::time::sleep(kept).await;
        client.call(Truth::Bad, "a token revoked just now", &token).await;
        rt::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A token is good, expires, and is never accepted again, even if its verdict is cached.
async fn watch_expiries(scene: Rc<Scene>, crowd: Rc<Crowd>, address: SocketAddr) {
    let mut client = Client { scene: Rc::clone(&scene), caller: Caller::new(address), address };
    while !scene.is_over() {
        let exp = now() + 2;
        let (opaque, jwt) = (crowd.unused(&scene.issuer), jwt(&scene.issuer, exp));
        scene.issuer.set_claims(&opaque, json!({ "exp": exp }));
        for token in [&opaque, &jwt] {
            // This caches its verdict; slow responses may come after its end.
            let _ = client.caller.status(token).await;
        }
        while now() < exp {
            rt::time::sleep(Duration::from_millis(20)).await;
        }
        client.call(Truth::Bad, "a token expired just now", &opaque).await;
        client.call(Truth::Bad, "a JWT expired just now", &jwt).await;
    }
}

struct Client {
    scene: Rc<Scene>,
    caller: Caller,
    address: SocketAddr,
}

impl Client {
    /// Makes one request and checks its response.
    async fn call(&mut self, truth: Truth, what: &str, token: &str) {
        let started = Instant::now();
        // A little more, to distinguish a late response from no response.
        let answer = rt::time::timeout(LONGEST * 2, self.caller.status(token)).await;
        if answer.is_err() {
            self.caller = Caller::new(self.address);
        }
        let status = answer.ok().and_then(Result::ok);
        self.scene.tally.count(truth, what, status, started, &self.scene.weather);
    }
}
