//! What the examples share: a list of calls and what each should answer, to be printed as curl commands or to be made.
#![expect(clippy::print_stdout, reason = "the examples print")]
#![allow(dead_code, unreachable_pub, clippy::allow_attributes, reason = "each example uses a part of it")]

use std::{net::SocketAddr, process::ExitCode};

use actix_web::http::{Method, header::WWW_AUTHENTICATE};

/// Whether the example shall check itself.
pub fn wants_check() -> bool {
    std::env::args().any(|argument| argument == "--check")
}

/// A free port for a check, a fixed one to be called by hand.
pub fn port() -> u16 {
    if wants_check() { 0 } else { 8080 }
}

/// Where a server listens.
pub fn base_url(addresses: &[SocketAddr]) -> String {
    addresses.first().map(|address| format!("http://{address}")).unwrap_or_default()
}

/// One request, and what it should answer.
#[derive(Clone)]
pub struct Call {
    title: &'static str,
    method: Method,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    status: u16,
    challenge: Option<&'static str>,
    body: Option<&'static str>,
}

impl Call {
    pub fn get(title: &'static str, path: &'static str) -> Self {
        Self::new(title, Method::GET, path)
    }

    pub fn post(title: &'static str, path: &'static str) -> Self {
        Self::new(title, Method::POST, path)
    }

    pub fn new(title: &'static str, method: Method, path: &'static str) -> Self {
        Self { title, method, path, headers: Vec::new(), status: 200, challenge: None, body: None }
    }

    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn answers(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// A part of the `WWW-Authenticate` header.
    pub fn challenge(mut self, part: &'static str) -> Self {
        self.challenge = Some(part);
        self
    }

    /// A part of the body.
    pub fn body(mut self, part: &'static str) -> Self {
        self.body = Some(part);
        self
    }

    pub fn as_curl(&self, base: &str) -> String {
        let method = if self.method == Method::GET { String::new() } else { format!(" -X {}", self.method) };
        let headers: Vec<String> =
            self.headers.iter().map(|(name, value)| format!(" -H '{name}: {value}'")).collect();
        let headers = headers.concat();
        format!("# {}: {}\ncurl -i{method}{headers} {base}{}\n", self.title, self.status, self.path)
    }

    /// What was seen, and whether it is what should be.
    async fn make(&self, client: &awc::Client, base: &str) -> (String, bool) {
        let mut request = client.request(self.method.clone(), format!("{base}{}", self.path));
        for (name, value) in &self.headers {
            request = request.append_header((*name, value.as_str()));
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return (format!("no answer: {error}"), false),
        };
        let status = response.status().as_u16();
        let challenge = response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let challenge = challenge.unwrap_or_default().to_owned();
        let body = response.body().await.unwrap_or_default();
        let body = String::from_utf8_lossy(&body);
        let holds = status == self.status
            && self.challenge.is_none_or(|part| challenge.contains(part))
            && self.body.is_none_or(|part| body.contains(part));
        let detail = if challenge.is_empty() { body.trim().to_owned() } else { challenge };
        (format!("{status} {}", detail.chars().take(100).collect::<String>()), holds)
    }
}

/// Makes every call and prints a table; fails if one answers otherwise than it should.
pub async fn check(base: &str, calls: &[Call]) -> ExitCode {
    let client = awc::Client::default();
    let mut failures = 0;
    println!("{:<5} {:<28} {:<8} seen", "", "call", "expected");
    for call in calls {
        let (seen, holds) = call.make(&client, base).await;
        failures += i32::from(!holds);
        println!("{:<5} {:<28} {:<8} {seen}", if holds { "ok" } else { "FAIL" }, call.title, call.status);
    }
    println!("{} calls, {failures} differ", calls.len());
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
