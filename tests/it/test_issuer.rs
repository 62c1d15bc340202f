//! The authorization server of `actix_protect_api::test`, called over raw sockets and with awc.

mod clients;
mod endpoints;
mod faults;
mod security_events;
mod tokens;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use actix_protect_api::test::{Endpoint, TestIssuer};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use form_urlencoded::Serializer;
use serde_json::Value;
use url::Url;

use crate::support::jwt::decoded;

/// A response, as far as it was received.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: bytes[end + 4..].to_vec() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (one, value) = line.split_once(": ")?;
            one.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

fn connect(url: &Url) -> TcpStream {
    let stream = TcpStream::connect((url.host_str().unwrap(), url.port().unwrap())).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Everything that comes back until the server closes the connection.
fn raw(url: &str, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = connect(&Url::parse(url).unwrap());
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn request_text(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> String {
    let url = Url::parse(url).unwrap();
    let mut text = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", url.path(), url.authority());
    for (name, value) in headers {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut headers = headers.to_vec();
    headers.push(("Connection", "close"));
    Answer::parse(&raw(url, request_text(method, url, &headers, body).as_bytes()).unwrap())
}

fn get(url: &str) -> Answer {
    send("GET", url, &[], "")
}

fn post(url: &str, headers: &[(&str, &str)], parameters: &[(&str, &str)]) -> Answer {
    let mut headers = headers.to_vec();
    headers.push(("Content-Type", "application/x-www-form-urlencoded"));
    send("POST", url, &headers, &form(parameters))
}

fn form(parameters: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// Asks as the default client, with `client_secret_post`.
fn introspect(issuer: &TestIssuer, token: &str) -> Answer {
    post(
        &issuer.url(Endpoint::Introspection),
        &[],
        &[("token", token), ("client_id", issuer.client_id()), ("client_secret", issuer.client_secret())],
    )
}

fn is_active(issuer: &TestIssuer, token: &str) -> bool {
    let answer = introspect(issuer, token);
    assert_eq!(answer.status, 200);
    answer.json()["active"].as_bool().unwrap()
}

fn form_encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", form_encode(id), form_encode(secret))))
}
