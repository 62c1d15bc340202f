//! A middleware written by hand, for comparison: `awc` to introspect, `jsonwebtoken` for JWTs, a map of verdicts.
//! It does less than this crate does (calls are not shared, nothing is bounded, keys are fetched once).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use actix_web::{
    Error, HttpMessage as _, HttpRequest, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::{ErrorBadGateway, ErrorServiceUnavailable, ErrorUnauthorized},
    http::header::AUTHORIZATION,
    middleware::Next,
    web::{Data, ReqData},
};
use awc::Client;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde::Deserialize;

use crate::servers::{Answer, KEPT, Setup};

pub(crate) struct ByHand {
    setup: Setup,
    endpoint: String,
    keys: HashMap<String, (DecodingKey, Validation)>,
    kept: Option<Mutex<HashMap<String, CachedVerdicts>>>,
}

/// A verdict and when it was given.
type CachedVerdicts = (Instant, Arc<Claims>);

#[derive(Deserialize)]
struct Metadata {
    introspection_endpoint: String,
    jwks_uri: String,
}

/// The caller, as the middleware stores it.
#[derive(Deserialize)]
#[expect(dead_code, reason = "a handler of another app would use them")]
pub(crate) struct Claims {
    sub: String,
    iss: String,
    aud: Vec<String>,
    exp: u64,
}

#[derive(Deserialize)]
struct Introspected {
    active: bool,
    #[serde(default)]
    sub: String,
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: Audience,
    #[serde(default)]
    exp: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

pub(crate) fn client() -> Data<Client> {
    Data::new(Client::builder().timeout(Duration::from_secs(10)).finish())
}

impl ByHand {
    pub(crate) async fn discover(setup: &Setup, keeps: bool) -> Data<Self> {
        let client = Client::default();
        let metadata: Metadata =
            fetch(&client, &format!("{}/.well-known/openid-configuration", setup.issuer)).await;
        let set: JwkSet = fetch(&client, &metadata.jwks_uri).await;
        let usable = set.keys.iter().filter_map(|jwk| {
            let algorithm = match jwk.common.key_algorithm?.to_string().as_str() {
                "RS256" => Algorithm::RS256,
                "ES256" => Algorithm::ES256,
                "EdDSA" => Algorithm::EdDSA,
                _ => return None,
            };
            let mut validation = Validation::new(algorithm);
            validation.set_issuer(&[&setup.issuer]);
            validation.set_audience(&[&setup.audience]);
            validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            Some((jwk.common.key_id.clone()?, (DecodingKey::from_jwk(jwk).ok()?, validation)))
        });
        Data::new(Self {
            setup: setup.clone(),
            endpoint: metadata.introspection_endpoint,
            keys: usable.collect(),
            kept: keeps.then(Mutex::default),
        })
    }

    async fn validate(&self, client: &Client, token: &str) -> Result<Arc<Claims>, Error> {
        if token.bytes().filter(|byte| *byte == b'.').count() == 2 {
            return self.verify(token).ok_or_else(|| ErrorUnauthorized(""));
        }
        if let Some(claims) = self.kept(token) {
            return Ok(claims);
        }
        let claims = self.introspect(client, token).await?;
        if let Some(kept) = &self.kept {
            kept.lock().unwrap().insert(token.to_owned(), (Instant::now(), Arc::clone(&claims)));
        }
        Ok(claims)
    }

    fn kept(&self, token: &str) -> Option<Arc<Claims>> {
        let kept = self.kept.as_ref()?.lock().unwrap();
        let (since, claims) = kept.get(token)?;
        (since.elapsed() < KEPT && claims.exp > now()).then(|| Arc::clone(claims))
    }

    fn verify(&self, token: &str) -> Option<Arc<Claims>> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let (key, validation) = self.keys.get(&header.kid?)?;
        jsonwebtoken::decode(token, key, validation).ok().map(|decoded| Arc::new(decoded.claims))
    }

    async fn introspect(&self, client: &Client, token: &str) -> Result<Arc<Claims>, Error> {
        let Setup { issuer, audience, client_id, client_secret } = &self.setup;
        let form = [
            ("token", token),
            ("token_type_hint", "access_token"),
            ("client_id", client_id),
            ("client_secret", client_secret),
        ];
        let mut response =
            client.post(&self.endpoint).send_form(&form).await.map_err(|_| ErrorServiceUnavailable(""))?;
        let told: Introspected = response.json().await.map_err(|_| ErrorServiceUnavailable(""))?;
        let aud = match told.aud {
            Audience::One(one) => vec![one],
            Audience::Many(many) => many,
        };
        let is_ours = told.iss == *issuer && aud.contains(audience) && told.exp > now();
        if !told.active || !is_ours {
            return Err(ErrorUnauthorized(""));
        }
        Ok(Arc::new(Claims { sub: told.sub, iss: told.iss, aud, exp: told.exp }))
    }
}

pub(crate) async fn protect(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let (by_hand, client) = tools(request.request());
    let claims = {
        let token = bearer(request.request()).ok_or_else(|| ErrorUnauthorized(""))?;
        by_hand.validate(&client, token).await?
    };
    request.extensions_mut().insert(claims);
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

pub(crate) async fn data(claims: ReqData<Arc<Claims>>) -> HttpResponse {
    HttpResponse::Ok().json(Answer { sub: &claims.sub })
}

/// Posts the token and ignores the response: no server that introspects each token can be cheaper.
pub(crate) async fn forward(request: HttpRequest) -> Result<HttpResponse, Error> {
    let (by_hand, client) = tools(&request);
    let token = bearer(&request).ok_or_else(|| ErrorUnauthorized(""))?;
    let Setup { client_id, client_secret, .. } = &by_hand.setup;
    let form = format!("token={token}&client_id={client_id}&client_secret={client_secret}");
    let request = client.post(&by_hand.endpoint).content_type("application/x-www-form-urlencoded");
    let mut response = request.send_body(form).await.map_err(|_| ErrorBadGateway(""))?;
    let _answer = response.body().await.map_err(ErrorBadGateway)?;
    Ok(HttpResponse::Ok().json(Answer { sub: "forwarded" }))
}

async fn fetch<T: serde::de::DeserializeOwned>(client: &Client, url: &str) -> T {
    let mut response = client.get(url).send().await.expect("the issuer answers");
    serde_json::from_slice(&response.body().await.expect("a body")).expect("a document")
}

fn tools(request: &HttpRequest) -> (Data<ByHand>, Data<Client>) {
    let by_hand = request.app_data::<Data<ByHand>>().expect("in the app data").clone();
    (by_hand, request.app_data::<Data<Client>>().expect("in the app data").clone())
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    request.headers().get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}
