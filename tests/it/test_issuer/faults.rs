//! Scripted faults.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use actix_protect_api::test::{Endpoint, Fault, TestIssuer};
use serde_json::json;
use url::Url;

use super::{Answer, connect, get, introspect, is_active, raw, request_text};

fn plain_get(issuer: &TestIssuer, endpoint: Endpoint) -> std::io::Result<Vec<u8>> {
    let url = issuer.url(endpoint);
    raw(&url, request_text("GET", &url, &[("Connection", "close")], "").as_bytes())
}

#[test]
fn faults_queue_up_and_end() {
    let issuer = TestIssuer::start();
    let url = issuer.url(Endpoint::Jwks);
    issuer.fault(Endpoint::Jwks, Fault::status(503).with_header("Retry-After", "3").times(2));
    issuer.fault(Endpoint::Jwks, Fault::status(500).times(0));
    issuer.fault(Endpoint::Jwks, Fault::body("[]"));
    assert_eq!(get(&issuer.url(Endpoint::Discovery)).status, 200);
    for _ in 0..2 {
        let answer = get(&url);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("3")));
        assert!(answer.body.is_empty());
    }
    let answer = get(&url);
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"[]"[..]));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(get(&url).json(), issuer.jwks());
    assert_eq!(issuer.count(Endpoint::Jwks), 4);
}

#[test]
fn a_fault_can_last_until_cleared() {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({}));
    issuer.fault(Endpoint::Introspection, Fault::status(500).always());
    for _ in 0..5 {
        assert_eq!(introspect(&issuer, &token).status, 500);
    }
    issuer.clear_faults();
    assert!(is_active(&issuer, &token));
}

#[test]
fn the_real_response_can_be_changed() {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({}));
    issuer.fault(Endpoint::Introspection, Fault::real().with_status(201).with_header("X-Odd", "1"));
    issuer.fault(Endpoint::Introspection, Fault::content_type("text/html"));
    issuer.fault(Endpoint::Introspection, Fault::real().with_status(204));
    let answer = introspect(&issuer, &token);
    assert_eq!(
        (answer.status, answer.header("x-odd"), &answer.json()["active"]),
        (201, Some("1"), &json!(true))
    );
    let answer = introspect(&issuer, &token);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html")));
    assert_eq!(answer.head.matches("ontent-").count(), 2, "{}", answer.head);
    let answer = introspect(&issuer, &token);
    assert_eq!((answer.status, answer.body.len(), answer.header("content-length")), (204, 0, None));
}

#[test]
fn a_redirect_keeps_the_method() {
    let issuer = TestIssuer::start();
    let target = issuer.url(Endpoint::Other);
    issuer.fault(Endpoint::Introspection, Fault::redirect(&target));
    let answer = introspect(&issuer, "t");
    assert_eq!((answer.status, answer.header("location")), (307, Some(target.as_str())));
}

#[test]
fn reset_closes_without_an_answer() {
    let issuer = TestIssuer::start();
    issuer.fault(Endpoint::Jwks, Fault::reset());
    let error = plain_get(&issuer, Endpoint::Jwks).expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(issuer.count(Endpoint::Jwks), 1);
    assert_eq!(get(&issuer.url(Endpoint::Jwks)).status, 200);
}

#[test]
fn truncate_announces_more_than_it_sends() {
    let issuer = TestIssuer::start();
    let whole = issuer.jwks().to_string();
    issuer.fault(Endpoint::Jwks, Fault::truncate());
    issuer.fault(Endpoint::Jwks, Fault::truncate().with_body(""));
    // Without `Connection: close`, so that it is the server that ends it.
    let url = issuer.url(Endpoint::Jwks);
    let ask = || Answer::parse(&raw(&url, request_text("GET", &url, &[], "").as_bytes()).unwrap());
    let answer = ask();
    assert_eq!(answer.header("content-length"), Some(whole.len().to_string().as_str()));
    assert_eq!(answer.body, whole.as_bytes()[..whole.len() / 2]);
    let answer = ask();
    assert_eq!((answer.header("content-length"), answer.body.len()), (Some("2"), 0));
}

#[test]
fn trickle_sends_byte_by_byte() {
    let issuer = TestIssuer::start();
    let pause = Duration::from_millis(5);
    issuer.fault(Endpoint::Jwks, Fault::trickle(pause).with_body("0123456789"));
    let start = Instant::now();
    let answer = Answer::parse(&plain_get(&issuer, Endpoint::Jwks).unwrap());
    assert!(start.elapsed() >= pause * 10);
    assert_eq!((answer.header("content-length"), answer.body.as_slice()), (Some("10"), &b"0123456789"[..]));

    // The head is there long before the body is.
    issuer.fault(Endpoint::Jwks, Fault::trickle(Duration::from_secs(3600)));
    let url = Url::parse(&issuer.url(Endpoint::Jwks)).unwrap();
    let mut stream = connect(&url);
    stream.write_all(request_text("GET", url.as_str(), &[], "").as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[test]
fn delay_comes_before_the_answer() {
    let issuer = TestIssuer::start();
    issuer.fault(Endpoint::Jwks, Fault::delay(Duration::from_millis(30)));
    let start = Instant::now();
    assert_eq!(get(&issuer.url(Endpoint::Jwks)).status, 200);
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[actix_web::test]
async fn held_requests_are_answered_on_release_with_what_is_true_then() {
    let issuer = TestIssuer::start();
    let token = issuer.opaque(json!({}));
    issuer.fault(Endpoint::Introspection, Fault::hold().times(3));
    let (mut held, endpoint) = (Vec::new(), Endpoint::Introspection);
    let ask = |issuer: &TestIssuer| {
        let url = Url::parse(&issuer.url(endpoint)).unwrap();
        let mut stream = connect(&url);
        let body = super::form(&[
            ("token", &token),
            ("client_id", issuer.client_id()),
            ("client_secret", issuer.client_secret()),
        ]);
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Connection", "close")];
        stream.write_all(request_text("POST", url.as_str(), &headers, &body).as_bytes()).unwrap();
        stream
    };
    let finish = |mut stream: std::net::TcpStream| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Answer::parse(&bytes).json()
    };
    held.push(ask(&issuer));
    held.push(ask(&issuer));
    issuer.received(endpoint, 2).await;
    issuer.release(Endpoint::Jwks);
    held[0].set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert!(held[0].read(&mut [0]).is_err(), "answered too early");
    held[0].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    issuer.revoke(&token);
    issuer.release(endpoint);
    for stream in held {
        assert_eq!(finish(stream), json!({ "active": false }));
    }

    let third = ask(&issuer);
    issuer.received(endpoint, 3).await;
    issuer.clear_faults();
    assert_eq!(finish(third), json!({ "active": false }));
}

#[test]
fn dropping_it_does_not_wait_for_what_is_held() {
    let issuer = TestIssuer::start();
    issuer.fault(Endpoint::Jwks, Fault::hold().always());
    let url = Url::parse(&issuer.url(Endpoint::Jwks)).unwrap();
    let mut stream = connect(&url);
    stream.write_all(request_text("GET", url.as_str(), &[], "").as_bytes()).unwrap();
    while issuer.count(Endpoint::Jwks) == 0 {
        thread::yield_now();
    }
    drop(issuer);
    assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
}

#[actix_web::test]
async fn awc_accepts_a_truncated_body() {
    let issuer = TestIssuer::start();
    issuer.fault(Endpoint::Jwks, Fault::truncate());
    issuer.fault(Endpoint::Jwks, Fault::reset());
    let client = awc::Client::default();
    // If this becomes an error, the crate need not compare the lengths after awc any more.
    let mut answer = client.get(issuer.url(Endpoint::Jwks)).send().await.unwrap();
    let announced: usize = answer.headers().get("content-length").unwrap().to_str().unwrap().parse().unwrap();
    assert!(answer.body().await.unwrap().len() < announced);
    assert!(client.get(issuer.url(Endpoint::Jwks)).send().await.is_err());
    assert!(client.get(issuer.url(Endpoint::Jwks)).send().await.unwrap().body().await.is_ok());
}
