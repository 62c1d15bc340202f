//! Responses with odd framing, and connections that break: no request gets the verdict of another request, and only a good
//! token is accepted. The authorization server is a server that writes fixed bytes.

use std::{io, rc::Rc, time::Duration};

use actix_protect_api::{
    ClientAuthentication, ProtectApi, ProtectApiBuilder,
    UpstreamFault::BadAnswer,
    test::{Endpoint, TestIssuer},
};
use actix_web::rt::{
    net::TcpStream,
    time::{sleep, timeout},
};
use futures_util::future::join;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    net::serving,
    service::{OK, api, api_with, upstream},
};

/// The parts of a response, each with a pause in milliseconds before it. `GOOD` is a response with the body of the
/// request, `BODY` that body, `LENGTH` its length.
type Parts = Vec<(u64, String)>;

fn parts(parts: &[(u64, &str)]) -> Parts {
    parts.iter().map(|(pause, part)| (*pause, (*part).to_owned())).collect()
}

fn good() -> Parts {
    parts(&[(0, "GOOD")])
}

/// An authorization server whose response to a path and a body the function chooses, and whether the connection is closed
/// after it.
struct Server {
    url: String,
}

type Choose = dyn Fn(&str, &str) -> (Parts, bool);

impl Server {
    async fn start(choose: impl Fn(&str, &str) -> (Parts, bool) + 'static) -> Self {
        let choose: Rc<Choose> = Rc::new(choose);
        let (url, _) = serving(move |stream| serve(stream, Rc::clone(&choose))).await;
        let url = url.trim_end_matches('/').to_owned();
        Self { url }
    }

    fn builder(&self) -> ProtectApiBuilder {
        ProtectApi::builder(&self.url, "api")
            .client("api", ClientAuthentication::client_secret_basic("secret"))
            .introspection_cache_duration(Duration::ZERO)
    }
}

async fn serve(mut stream: TcpStream, choose: Rc<Choose>) -> io::Result<()> {
    let base = format!("http://{}", stream.local_addr().unwrap());
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8(read.drain(..end).collect()).unwrap().to_ascii_lowercase();
        let length = head
            .split_once("content-length: ")
            .map_or(0, |(_, rest)| rest.split_once("\r\n").unwrap().0.parse::<usize>().unwrap());
        while read.len() < length {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        let form = String::from_utf8(read.drain(..length).collect()).unwrap();
        let path = head.split(' ').nth(1).unwrap();
        let body = body(path, &form, &base);
        let (parts, close) = choose(path, &form);
        for (pause, part) in parts {
            sleep(Duration::from_millis(pause)).await;
            let part = part
                .replace(
                    "GOOD",
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: LENGTH\r\n\r\nBODY",
                )
                .replace("LENGTH", &body.len().to_string())
                .replace("BODY", &body);
            stream.write_all(part.as_bytes()).await?;
        }
        if close {
            return Ok(());
        }
    }
}

fn body(path: &str, form: &str, base: &str) -> String {
    match path {
        "/introspect" if form.contains("good") => {
            format!(r#"{{"active":true,"sub":"alice","aud":"api","iss":"{base}"}}"#)
        }
        "/introspect" => r#"{"active":false}"#.to_owned(),
        // The key of RFC 7517, appendix A.1.
        "/keys" => r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#.to_owned(),
        _ => format!(
            r#"{{"issuer":"{base}","introspection_endpoint":"{base}/introspect","jwks_uri":"{base}/keys","response_types_supported":["code"]}}"#
        ),
    }
}

/// Responses whose verdict is used.
fn understood() -> Vec<(Parts, bool)> {
    let open = [
        parts(&[(0, "HTTP/1.1 100 Continue\r\n\r\nGOOD")]),
        parts(&[(0, "HTTP/1.1 100 Continue\r\n\r\n"), (250, "GOOD")]),
        parts(&[(0, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), (150, "GOOD")]),
        parts(&[(0, "HTTP/1.1 103 Early Hints\r\nContent-Length: 30\r\n\r\n"), (150, "GOOD")]),
        parts(&[
            (0, "HTTP/1.1 10"),
            (20, "0 Continue\r"),
            (20, "\n\r\nHTTP/1.1 199 X\r\n\r"),
            (20, "\nGOOD"),
        ]),
        parts(&[
            (
                0,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nUpgrade: websocket\r\nContent-Length: LENGTH\r\n\r\n",
            ),
            (150, "BODY"),
        ]),
    ];
    let closing = [
        parts(&[
            (0, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"),
            (50, "BODY"),
        ]),
        parts(&[(
            0,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: identity\r\n\r\nBODY",
        )]),
    ];
    let closing = closing.into_iter().map(|parts| (parts, true));
    open.into_iter().map(|parts| (parts, false)).chain(closing).collect()
}

/// Responses that are rejected.
fn refused() -> Vec<(Parts, bool)> {
    let heads = [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    ];
    heads.iter().map(|head| (parts(&[(0, head), (150, "GOOD")]), false)).collect()
}

/// The good token gets an odd response. Meanwhile unknown tokens are introspected on the same worker.
#[actix_web::test]
async fn an_unknown_token_never_gets_the_verdict_on_another() {
    for (is_understood, cases) in [(true, understood()), (false, refused())] {
        for (odd, close) in cases {
            let shown = format!("{odd:?}");
            let server = Server::start(move |path, form| match path {
                "/introspect" if form.contains("good") => (odd.clone(), close),
                _ => (good(), false),
            })
            .await;
            for own in [false, true] {
                let builder = server.builder().realm(if own { "own" } else { "hardened" });
                let api =
                    if own { api_with(builder, awc::Client::default()).await } else { api(builder).await };
                let unknown = async {
                    sleep(Duration::from_millis(30)).await;
                    for turn in 0..12 {
                        let answer = api.get("/", &format!("unknown-{turn}")).await;
                        assert_ne!(answer.status, 200, "{shown}: {answer:?}");
                        sleep(Duration::from_millis(15)).await;
                    }
                };
                let both = join(api.get("/", "good"), unknown);
                let (answer, ()) = timeout(Duration::from_secs(30), both).await.expect("a request hangs");
                if is_understood && !own {
                    assert_eq!((answer.status, &answer.body["sub"]), (200, &"alice".into()), "{shown}");
                } else if !is_understood {
                    assert_ne!(answer.status, 200, "{shown}");
                }
            }
        }
    }
}

#[actix_web::test]
async fn metadata_and_key_sets_with_odd_framing_are_read_or_refused() {
    for odd_path in ["/.well-known", "/keys"] {
        for (is_understood, cases) in [(true, understood()), (false, refused())] {
            for (odd, close) in cases {
                let shown = format!("{odd_path}: {odd:?}");
                let server = Server::start(move |path, _| {
                    if path.starts_with(odd_path) { (odd.clone(), close) } else { (good(), false) }
                })
                .await;
                let api = api(server.builder()).await;
                // A JWT that no key of the set verifies, and that makes the API fetch the set.
                let jwt = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEiLCJ0eXAiOiJhdCtqd3QifQ.e30.AAAA";
                let answer = timeout(Duration::from_secs(30), api.get("/", jwt)).await.expect("it hangs");
                let expected: &[u16] = if is_understood { &[401] } else { &[500, 503] };
                assert!(expected.contains(&answer.status), "{shown}: {answer:?}");
                if is_understood {
                    assert_eq!(api.outcome("good").await, OK, "{shown}");
                }
            }
        }
    }
}

/// A server that sends no length and does not close the connection.
#[actix_web::test]
async fn a_response_without_a_length_is_refused_and_not_waited_for() {
    let server = Server::start(|path, _| match path {
        "/introspect" => {
            (parts(&[(0, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\nBODY")]), false)
        }
        _ => (good(), false),
    })
    .await;
    for client in [None, Some(awc::Client::default())] {
        let builder = server.builder().realm(if client.is_some() { "own" } else { "hardened" });
        let api = match client {
            Some(client) => api_with(builder, client).await,
            None => api(builder).await,
        };
        assert_eq!(api.outcome("good").await, upstream(BadAnswer));
    }
}

/// An application's client may have credentials for its own calls: the authorization server must not see them.
#[actix_web::test]
async fn default_headers_of_the_applications_client_are_not_sent() {
    let issuer = TestIssuer::start();
    let client = awc::Client::builder()
        .bearer_auth("the-applications-own")
        .add_default_header(("Cookie", "session=the-applications-own"))
        .add_default_header(("X-Api-Key", "the-applications-own"))
        .add_default_header(("Expect", "100-continue"))
        .finish();
    let builder = ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_post(issuer.client_secret()));
    let api = api_with(builder, client).await;
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    for endpoint in [Endpoint::Discovery, Endpoint::Introspection, Endpoint::Jwks] {
        let requests = issuer.requests(endpoint);
        assert_eq!(requests.len(), 1, "{endpoint:?}");
        for name in ["authorization", "cookie", "x-api-key", "expect"] {
            assert_eq!(requests[0].header(name), None, "{endpoint:?}: {name}");
        }
    }
}
