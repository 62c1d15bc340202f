//! A client and a browser without a window, which send requests and report the responses.

use std::error::Error;

use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use url::{Url, form_urlencoded::Serializer};

use crate::{
    issuer::{Issuer, random_text},
    support::{Call, Table},
};

pub(super) const REDIRECT: &str = "http://127.0.0.1:5173/callback";

pub(super) struct Steps {
    pub(super) client: awc::Client,
    pub(super) table: Table,
    pub(super) url: String,
    pub(super) api: String,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.json().get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    pub(super) fn location(&self) -> String {
        let location = self.headers.get("Location").and_then(|value| value.to_str().ok());
        location.unwrap_or_default().to_owned()
    }

    /// Returns a parameter of the redirect.
    pub(super) fn redirected(&self, name: &str) -> String {
        let url = Url::parse(&self.location()).ok();
        let found = url.as_ref().and_then(|url| url.query_pairs().find(|(one, _)| one == name));
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    }
}

pub(super) type Pairs<'a> = Vec<(&'a str, &'a str)>;

impl Steps {
    async fn send(&self, request: awc::ClientRequest, body: String) -> Result<Answer, Box<dyn Error>> {
        let mut response = request.send_body(body).await.map_err(|error| error.to_string())?;
        let body = String::from_utf8_lossy(&response.body().await?).into_owned();
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, Box<dyn Error>> {
        self.send(self.client.get(format!("{}{path}", self.url)), String::new()).await
    }

    pub(super) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Answer, Box<dyn Error>> {
        let request = self.client.post(format!("{}{path}", self.url));
        let request = request.insert_header((CONTENT_TYPE, "application/x-www-form-urlencoded"));
        self.send(request, Serializer::new(String::new()).extend_pairs(form).finish()).await
    }

    pub(super) async fn register(&self, metadata: Value) -> Result<Answer, Box<dyn Error>> {
        let request = self.client.post(format!("{}/register", self.url));
        let request = request.insert_header((CONTENT_TYPE, "application/json"));
        self.send(request, metadata.to_string()).await
    }

    pub(super) async fn api(&mut self, title: &str, token: &str, status: u16, body: &'static str) {
        let call = Call::get(title, "/posts").token(token).answers(status).body(body);
        self.table.call(&self.api, &call).await;
    }

    /// Logs in on the page, and exchanges the code.
    pub(super) async fn log_in(
        &self,
        client_id: &str,
        choices: &[(&str, &str)],
    ) -> Result<Answer, Box<dyn Error>> {
        let verifier = random_text::<32>();
        let challenge = challenge(&verifier);
        let mut form = authorization(client_id, REDIRECT, &challenge);
        form.extend(choices.iter().copied());
        let code = self.post("/authorize", &form).await?.redirected("code");
        self.post("/token", &exchange(client_id, &code, &verifier)).await
    }

    pub(super) async fn introspect(&self, issuer: &Issuer, token: &str) -> Result<Answer, Box<dyn Error>> {
        let secret = api_secret(issuer);
        self.post("/introspect", &[("client_id", "dev-api"), ("client_secret", &secret), ("token", token)])
            .await
    }
}

pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
}

pub(super) fn authorization<'a>(client_id: &'a str, redirect_uri: &'a str, challenge: &'a str) -> Pairs<'a> {
    vec![
        ("response_type", "code"),
        ("client_id", client_id),
        ("redirect_uri", redirect_uri),
        ("scope", "openid posts:read"),
        ("state", "a \"state\" <&>"),
        ("nonce", "n-1"),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
    ]
}

pub(super) fn exchange<'a>(client_id: &'a str, code: &'a str, verifier: &'a str) -> Pairs<'a> {
    vec![
        ("grant_type", "authorization_code"),
        ("client_id", client_id),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", verifier),
    ]
}

pub(super) fn choices<'a>(subject: &'a str, format: &'a str) -> Pairs<'a> {
    vec![
        ("subject", subject),
        ("granted", "openid"),
        ("granted", "posts:read"),
        ("groups", "engineering, Domain Users"),
        ("format", format),
        ("lifetime", "3600"),
        ("decision", "grant"),
    ]
}

pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let path = "/authorize?";
    Serializer::for_suffix(path.to_owned(), path.len()).extend_pairs(pairs).finish()
}

pub(super) fn api_secret(issuer: &Issuer) -> String {
    let client = issuer.client("dev-api");
    client.and_then(|client| client.client_secret).unwrap_or_default()
}
