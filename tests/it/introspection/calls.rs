//! Introspection over the network: what is sent, what is understood, and what happens when it goes wrong.

use std::{net::TcpListener, time::Duration};

use actix_protect_api::{
    AuthErrorKind, ClientAuthentication, Clock as _, ProtectApi, ProtectApiBuilder, SetupFault, TokenFault,
    UpstreamFault::{BadAnswer, Failing, TimedOut, Unreachable},
    test::{Algorithm, Endpoint, Fault, RecordedRequest, TestIssuer, TestKey},
};
use actix_web::{
    http::header::USER_AGENT,
    rt::time::{sleep, timeout},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::{Either, select};
use serde_json::{Value, json};

use crate::support::{
    net::unused_address,
    service::{
        Answer, Api, NO_SCOPE, OK, Outcome, api, api_with, introspecting, setup, timed_issuer, token,
        upstream,
    },
};

/// The response to a good token while introspection has this fault. Bounded: no fault may make a request hang.
async fn answer_to(
    fault: Fault,
    settings: fn(ProtectApiBuilder) -> ProtectApiBuilder,
) -> (Answer, TestIssuer) {
    let issuer = TestIssuer::start();
    issuer.fault(Endpoint::Introspection, fault.always());
    let api = api(settings(introspecting(&issuer))).await;
    let good = issuer.opaque(json!({}));
    let answer = timeout(Duration::from_secs(8), api.get("/", &good)).await.expect("the request hangs");
    (answer, issuer)
}

fn as_is(builder: ProtectApiBuilder) -> ProtectApiBuilder {
    builder
}

fn impatient(builder: ProtectApiBuilder) -> ProtectApiBuilder {
    builder.response_timeout(Duration::from_millis(150))
}

/// The introspection response for a good token.
fn good_body(issuer: &TestIssuer) -> Value {
    let mut body = issuer.claims(&issuer.opaque(json!({})));
    body["active"] = true.into();
    body
}

#[actix_web::test]
async fn active_must_be_the_boolean() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer)).await;
    let good = good_body(&issuer).to_string();
    issuer.set_answer("good", &good);
    assert_eq!(api.outcome("good").await, OK);
    for active in [
        "\"active\":\"true\"",
        "\"active\":1",
        "\"active\":null",
        "\"active\":[true]",
        "\"active\":{}",
        "\"Active\":true",
        "\"other\":true",
        "\"active\":true,\"active\":true",
        "\"active\":false,\"active\":true",
        "\"active\":true,\"act\\u0069ve\":false",
    ] {
        issuer.set_answer("odd", &good.replace("\"active\":true", active));
        assert_eq!(api.outcome("odd").await, upstream(BadAnswer), "{active}");
    }
    issuer.set_answer("odd", &good.replace("\"active\":true", "\"active\":false"));
    assert_eq!(api.outcome("odd").await, token(TokenFault::Inactive));
}

#[actix_web::test]
async fn an_answer_that_is_no_json_object_is_the_servers_fault() {
    for (what, fault) in [
        ("not JSON", Fault::body("active")),
        ("empty", Fault::body("")),
        ("an array", Fault::body("[{\"active\":true}]")),
        ("a boolean", Fault::body("true")),
        ("cut short", Fault::body("{\"active\":true")),
        ("two objects", Fault::body("{\"active\":true}{}")),
        ("not UTF-8", Fault::body(*b"{\"active\":true,\"sub\":\"\xff\"}")),
        ("nested too deep", Fault::body(format!("{{\"active\":true,\"a\":{}", "[".repeat(100_000)))),
        ("HTML by its type", Fault::content_type("text/html")),
        ("no type", Fault::content_type("")),
        ("a token response", Fault::content_type("application/jwt")),
        ("compressed by its header", Fault::real().with_header("Content-Encoding", "gzip")),
        ("truncated", Fault::truncate()),
    ] {
        let (answer, _issuer) = answer_to(fault, as_is).await;
        assert_eq!(answer.outcome(), upstream(BadAnswer), "{what}");
    }
}

#[actix_web::test]
async fn several_media_types_mean_json() {
    for content_type in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.issuer+json"]
    {
        let (answer, _issuer) = answer_to(Fault::content_type(content_type), as_is).await;
        assert_eq!(answer.outcome(), OK, "{content_type}");
    }
}

#[actix_web::test]
async fn the_size_of_an_answer_is_bounded_however_it_is_framed() {
    // Good responses, except for their size.
    let padding = " ".repeat(10 << 20);
    let issuer = TestIssuer::start();
    let (good, body) = (issuer.opaque(json!({})), format!("{}{padding}", good_body(&issuer)));
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for fault in [Fault::body(body), Fault::body(chunked).with_header("Transfer-Encoding", "chunked")] {
        issuer.fault(Endpoint::Introspection, fault.times(1));
        let api = api(introspecting(&issuer)).await;
        assert_eq!(api.outcome(&good).await, upstream(BadAnswer));
    }
    // The endpoint is configured, because the limit applies to the metadata too.
    let bounded = |bytes| {
        let endpoint = issuer.url(Endpoint::Introspection);
        api(introspecting(&issuer).introspection_endpoint(endpoint).max_response_size(bytes))
    };
    let length = good_body(&issuer).to_string().len();
    assert_eq!(bounded(length - 1).await.outcome(&good).await, upstream(BadAnswer));
    assert_eq!(bounded(length).await.outcome(&good).await, OK);
}

#[actix_web::test]
async fn a_slow_answer_is_given_up_at_the_deadline() {
    for (what, fault) in [
        ("late", Fault::delay(Duration::from_secs(60))),
        ("byte by byte", Fault::trickle(Duration::from_millis(30))),
        ("never", Fault::hold()),
    ] {
        let (answer, _issuer) = answer_to(fault, impatient).await;
        assert_eq!(answer.outcome(), upstream(TimedOut), "{what}");
    }
}

#[actix_web::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up_at_the_deadline() {
    let issuer = TestIssuer::start();
    // The system completes the connection, and no program accepts it.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let endpoint = format!("http://{}/introspect", silent.local_addr().unwrap());
    let api = api(impatient(introspecting(&issuer)).introspection_endpoint(endpoint)).await;
    let outcome = timeout(Duration::from_secs(8), api.outcome("token")).await.expect("the request hangs");
    assert_eq!(outcome, upstream(TimedOut));
}

#[actix_web::test]
async fn a_broken_connection_is_the_servers_fault() {
    for fault in [Fault::reset(), Fault::close()] {
        let (answer, _issuer) = answer_to(fault, as_is).await;
        assert_eq!(answer.outcome(), upstream(Unreachable));
    }

    let issuer = TestIssuer::start();
    let nobody =
        api(introspecting(&issuer).introspection_endpoint(format!("http://{}/introspect", unused_address())))
            .await;
    assert_eq!(nobody.outcome("token").await, upstream(Unreachable));
}

#[actix_web::test]
async fn a_connection_that_the_server_has_closed_meanwhile_costs_no_request() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer)).await;
    let good = issuer.opaque(json!({}));
    // Each response closes its connection. The client may still have it in its pool.
    issuer.fault(Endpoint::Introspection, Fault::real().with_header("Connection", "close").always());
    for _ in 0..5 {
        assert_eq!(api.outcome(&good).await, OK);
    }
}

#[actix_web::test]
async fn a_connection_that_closes_before_an_answer_is_tried_once_more_and_no_more() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer)).await;
    let good = issuer.opaque(json!({}));
    assert_eq!(api.outcome(&good).await, OK);
    for fault in [Fault::close(), Fault::reset()] {
        issuer.reset_counters();
        issuer.fault(Endpoint::Introspection, fault);
        assert_eq!((api.outcome(&good).await, issuer.count(Endpoint::Introspection)), (OK, 2));
        // With a kept-alive connection.
        assert_eq!(api.outcome(&good).await, OK);
    }
    issuer.reset_counters();
    issuer.fault(Endpoint::Introspection, Fault::reset().always());
    assert_eq!(api.outcome(&good).await, upstream(Unreachable));
    assert_eq!(issuer.count(Endpoint::Introspection), 2);
    // A call that got a part of a response is not repeated.
    issuer.clear_faults();
    issuer.fault(Endpoint::Introspection, Fault::truncate());
    assert_eq!(api.outcome(&good).await, upstream(BadAnswer));
    assert_eq!(issuer.count(Endpoint::Introspection), 3);
}

#[actix_web::test]
async fn an_issuer_that_restarts_costs_no_request() {
    let issuer = TestIssuer::start();
    let port = issuer.issuer().rsplit_once(':').unwrap().1.parse().unwrap();
    let api = api(introspecting(&issuer)).await;
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    drop(issuer);
    let issuer = TestIssuer::builder().port(port).start();
    // The kept-alive connection is closed. The runtime detects this when it next polls its sockets.
    sleep(Duration::from_millis(5)).await;
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
}

#[actix_web::test]
async fn a_status_that_refuses_our_request_is_our_misconfiguration() {
    // The status alone is ambiguous. A health check shows that other tokens are rejected as well.
    for status in [201, 202, 204, 300, 400, 401, 402, 403, 404, 405, 406, 409, 415, 418, 422, 451] {
        // With the body of a good response: only the status counts.
        let fault = Fault::real().with_status(status).with_header("Retry-After", "9");
        let (answer, issuer) = answer_to(fault, as_is).await;
        assert_eq!((answer.outcome(), answer.retry_after), (setup(SetupFault::Refused), None), "{status}");
        assert_eq!(issuer.count(Endpoint::Introspection), 2, "{status}");
    }
}

#[actix_web::test]
async fn a_refusal_of_one_token_is_about_that_token_if_others_get_verdicts() {
    let unsupported = token(TokenFault::Unsupported);
    for status in
        [300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 406, 409, 413, 414, 415, 418, 422, 431, 451]
    {
        for body in ["", "<html>blocked</html>", r#"{"error":"invalid_request"}"#] {
            let (issuer, clock) = timed_issuer();
            let protect = introspecting(&issuer).clock(clock).build().unwrap();
            let api = Api::of(&protect, None).await;
            let fault = Fault::status(status).with_body(body).with_header("Content-Type", "text/html");
            issuer.fault(Endpoint::Introspection, fault.for_tokens("odd").always());
            for _ in 0..20 {
                assert_eq!(api.outcome("odd-token").await, unsupported, "{status} {body}");
            }
            assert_eq!(protect.status().last_error, None, "{status}: the token's fault only");
            assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
            // One health check in a second.
            assert!(issuer.count(Endpoint::Introspection) <= 22, "{status}");
        }
    }
}

#[actix_web::test]
async fn a_refusal_of_the_client_is_ours_whatever_other_tokens_get() {
    for (status, error) in [
        (302, "invalid_client"),
        (400, "invalid_client"),
        (400, "unauthorized_client"),
        (401, "invalid_client"),
        (401, "unauthorized_client"),
        (403, "invalid_client"),
        (403, "unauthorized_client"),
        (413, "invalid_client"),
    ] {
        let (issuer, clock) = timed_issuer();
        let protect = introspecting(&issuer).clock(clock).build().unwrap();
        let api = Api::of(&protect, None).await;
        let fault = Fault::status(status).with_body(json!({ "error": error }).to_string());
        issuer.fault(Endpoint::Introspection, fault.for_tokens("odd").always());
        assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
        assert_eq!(api.outcome("odd-token").await, setup(SetupFault::Refused), "{status} {error}");
        let last = protect.status().last_error.map(|last| last.kind);
        assert_eq!(last, Some(AuthErrorKind::Misconfigured(SetupFault::Refused)), "{status} {error}");
    }
}

#[actix_web::test]
async fn an_error_code_about_the_token_is_about_the_token_even_if_all_tokens_get_it() {
    for status in [400, 401] {
        for code in ["invalid_token", "inactive_token", "unsupported_token_type"] {
            let fault = Fault::status(status).with_body(json!({ "error": code }).to_string());
            let (answer, issuer) = answer_to(fault, as_is).await;
            assert_eq!(answer.outcome(), token(TokenFault::Unsupported), "{status} {code}");
            assert_eq!(issuer.count(Endpoint::Introspection), 1, "{status} {code}");
        }
    }
}

#[actix_web::test]
async fn a_page_instead_of_json_is_about_the_token_if_others_get_verdicts() {
    let unsupported = token(TokenFault::Unsupported);
    for (content_type, body, expected) in [
        ("text/html", "<html>blocked</html>", unsupported),
        ("text/html; charset=utf-8", "{\"active\":true}", unsupported),
        ("text/plain", "blocked", unsupported),
        ("", "blocked", unsupported),
        // These are broken responses, not pages about the token.
        ("text/html", "", upstream(BadAnswer)),
        ("application/json", "<html>blocked</html>", upstream(BadAnswer)),
        ("application/json", "{\"active\":true", upstream(BadAnswer)),
    ] {
        let (issuer, clock) = timed_issuer();
        let protect = introspecting(&issuer).clock(clock).build().unwrap();
        let api = Api::of(&protect, None).await;
        let fault = Fault::content_type(content_type).with_body(body);
        issuer.fault(Endpoint::Introspection, fault.for_tokens("odd").always());
        for _ in 0..20 {
            assert_eq!(api.outcome("odd-token").await, expected, "{content_type} {body}");
        }
        assert_eq!(protect.status().last_error.is_none(), expected == unsupported, "{content_type} {body}");
        assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
        assert!(issuer.count(Endpoint::Introspection) <= 22, "one health check in a second");
    }
}

#[actix_web::test]
async fn a_server_that_refuses_every_unknown_token_needs_a_verdict_of_the_last_seconds() {
    for status in [400, 402, 403, 404, 406, 409, 415, 418, 422, 451] {
        let (issuer, clock) = timed_issuer();
        let protect = introspecting(&issuer).clock(clock.clone()).build().unwrap();
        let api = Api::of(&protect, None).await;
        let good = issuer.opaque(json!({}));
        issuer.fault(Endpoint::Introspection, Fault::real().for_tokens(&good).always());
        issuer.fault(Endpoint::Introspection, Fault::status(status).always());
        for round in 0..5 {
            assert_eq!(api.outcome(&good).await, OK);
            for second in 0..5 {
                let unknown = format!("unknown-{round}-{second}");
                assert_eq!(api.outcome(&unknown).await, token(TokenFault::Unsupported), "{status}");
                clock.advance(Duration::from_secs(1));
            }
        }
        assert_eq!(protect.status().last_error, None, "{status}");
        clock.advance(Duration::from_secs(5));
        assert_eq!(api.outcome("unknown").await, setup(SetupFault::Refused), "{status}: no evidence is left");
        assert_eq!(api.outcome(&good).await, OK);
        assert_eq!(api.outcome("unknown").await, token(TokenFault::Unsupported), "{status}");
    }
}

#[actix_web::test]
async fn a_server_that_refuses_everything_after_a_while_is_noticed() {
    for (fault, after, expected) in [
        (Fault::status(401), 0, setup(SetupFault::Refused)),
        (Fault::status(302), 0, setup(SetupFault::Refused)),
        (Fault::status(403).with_body(r#"{"error":"invalid_client"}"#), 0, setup(SetupFault::Refused)),
        (Fault::content_type("text/html"), 0, upstream(BadAnswer)),
        // After a time without a verdict.
        (Fault::status(400), 10, setup(SetupFault::Refused)),
        (Fault::status(403), 10, setup(SetupFault::Refused)),
        (Fault::status(404), 10, setup(SetupFault::Refused)),
    ] {
        let (issuer, clock) = timed_issuer();
        let api = api(introspecting(&issuer).clock(clock.clone())).await;
        assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
        clock.advance(Duration::from_secs(after));
        issuer.fault(Endpoint::Introspection, fault.always());
        assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, expected, "{after}");
    }
}

#[actix_web::test]
async fn a_request_that_waits_for_a_health_check_holds_no_call() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer).max_calls(1)).await;
    issuer.fault(Endpoint::Introspection, Fault::status(401).for_tokens("odd").always());
    // The health check.
    issuer.fault(Endpoint::Introspection, Fault::hold());
    let good = issuer.opaque(json!({}));
    let odd = Box::pin(api.outcome("odd-token"));
    let other = Box::pin(async {
        while issuer.count(Endpoint::Introspection) < 2 {
            sleep(Duration::from_millis(5)).await;
        }
        api.outcome(&good).await
    });
    let Either::Right((outcome, odd)) = select(odd, other).await else {
        panic!("the other waits for the health check")
    };
    assert_eq!(outcome, OK);
    // The health check gets no verdict in time, but the other token got one.
    assert_eq!(odd.await, token(TokenFault::Unsupported));
}

#[actix_web::test]
async fn a_status_of_a_failing_server_is_503_and_passes_its_retry_after_on() {
    for status in [408, 429, 500, 502, 503, 504] {
        let (answer, _issuer) = answer_to(Fault::real().with_status(status), as_is).await;
        assert_eq!((answer.outcome(), answer.retry_after), (upstream(Failing), None), "{status}");
        let fault = Fault::real().with_status(status).with_header("Retry-After", "17");
        let (answer, _issuer) = answer_to(fault, as_is).await;
        assert_eq!((answer.outcome(), answer.retry_after), (upstream(Failing), Some(17)), "{status}");
    }
    for nonsense in ["soon", "-1", "Wed, 21 Oct 2065 07:28:00 GMT", "99999999999999999999999"] {
        let fault = Fault::status(503).with_header("Retry-After", nonsense);
        let (answer, _issuer) = answer_to(fault, as_is).await;
        assert_eq!((answer.outcome(), answer.retry_after), (upstream(Failing), None), "{nonsense}");
    }
}

#[actix_web::test]
async fn a_wrong_client_secret_is_our_misconfiguration_whatever_the_token() {
    let issuer = TestIssuer::start();
    let wrong = "not the secret";
    for authentication in
        [ClientAuthentication::client_secret_post(wrong), ClientAuthentication::client_secret_basic(wrong)]
    {
        let builder = ProtectApi::builder(issuer.issuer(), issuer.audience())
            .client(issuer.client_id(), authentication);
        let api = api(builder).await;
        for any in [issuer.opaque(json!({})), "unheard-of".to_owned(), issuer.opaque(json!({ "aud": "b" }))] {
            assert_eq!(api.outcome(&any).await, setup(SetupFault::Refused));
        }
    }
}

fn assert_carries_nothing(request: &RecordedRequest, secrets: &[&str]) {
    let mut text = format!("{} {}", request.method, request.target);
    text.extend(request.headers.iter().map(|(name, value)| format!("{name}: {value}\n")));
    text.push_str(&String::from_utf8_lossy(&request.body));
    for secret in secrets {
        assert!(!text.contains(secret), "{text}");
    }
    assert_eq!(request.header("authorization"), None);
    assert!(request.body.is_empty(), "{text}");
}

#[actix_web::test]
async fn a_redirect_sends_neither_secret_nor_token_to_another_place() {
    let (mut followed, methods) = (0, ["post", "basic", "jwt"]);
    for status in [301, 302, 303, 307, 308] {
        for method in methods {
            let (issuer, elsewhere) = (TestIssuer::start(), TestIssuer::start());
            let redirect = Fault::redirect(&elsewhere.url(Endpoint::Introspection)).with_status(status);
            issuer.fault(Endpoint::Introspection, redirect.always());
            let secret = issuer.client_secret();
            let authentication = match method {
                "post" => ClientAuthentication::client_secret_post(secret),
                "basic" => ClientAuthentication::client_secret_basic(secret),
                _ => ClientAuthentication::client_secret_jwt(secret),
            };
            let builder = || {
                ProtectApi::builder(issuer.issuer(), issuer.audience())
                    .client(issuer.client_id(), authentication.clone())
            };
            let good = issuer.opaque(json!({}));

            // The hardened client follows no redirect.
            let own = api(builder()).await;
            assert_eq!(own.outcome(&good).await, setup(SetupFault::Refused), "{status} {method}");
            assert_eq!(elsewhere.connections(), 0, "{status} {method}");

            // A client that follows redirects arrives without credentials, and the request is rejected.
            let followers = api_with(builder(), awc::Client::default()).await;
            assert_eq!(followers.outcome(&good).await, setup(SetupFault::Refused), "{status} {method}");
            let basic = STANDARD.encode(format!("{}:{secret}", issuer.client_id()));
            for request in elsewhere.requests(Endpoint::Introspection) {
                followed += 1;
                assert_carries_nothing(&request, &[secret, &good, &basic, "client_assertion"]);
            }
        }
    }
    assert!(followed >= 5 * methods.len(), "the client did follow, or this test shows nothing");
}

/// Returns the introspection request of an API with this client authentication, and the outcome.
async fn sent(
    issuer: &TestIssuer,
    id: &str,
    authentication: ClientAuthentication,
) -> (RecordedRequest, Outcome) {
    issuer.reset_counters();
    let api = api(ProtectApi::builder(issuer.issuer(), issuer.audience()).client(id, authentication)).await;
    let outcome = api.outcome(&issuer.opaque(json!({}))).await;
    (issuer.requests(Endpoint::Introspection).pop().unwrap(), outcome)
}

#[actix_web::test]
async fn the_request_is_a_form_with_the_token_and_a_hint() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer)).await;
    let odd = "a.b-c_d~e+f/g==";
    issuer.set_answer(odd, &good_body(&issuer).to_string());
    assert_eq!(api.outcome(odd).await, OK);
    let request = &issuer.requests(Endpoint::Introspection)[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/introspect"));
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!(request.header("content-length"), Some(request.body.len().to_string().as_str()));
    let agent = concat!("actix-protect-api/", env!("CARGO_PKG_VERSION"));
    assert_eq!(request.header("user-agent"), Some(agent));
    let form = request.form();
    assert_eq!((form["token"].as_str(), form["token_type_hint"].as_str()), (odd, "access_token"));
    assert_eq!(form.len(), 2, "{:?}", form.keys());
}

#[actix_web::test]
async fn client_secret_post_is_in_the_form_only() {
    let (id, secret) = ("me:you/é", "p@ss:w/rd %+&=é€~");
    let issuer = TestIssuer::builder().client(id, secret).start();
    let (request, outcome) = sent(&issuer, id, ClientAuthentication::client_secret_post(secret)).await;
    assert_eq!(outcome, OK);
    let form = request.form();
    assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), (id, secret));
    assert_eq!(request.header("authorization"), None);
}

#[actix_web::test]
async fn client_secret_basic_is_in_the_header_only_and_form_encoded() {
    let (id, secret) = ("me:you/é", "p@ss:w/rd %+&=é€~");
    let issuer = TestIssuer::builder().client(id, secret).start();
    let (request, outcome) = sent(&issuer, id, ClientAuthentication::client_secret_basic(secret)).await;
    assert_eq!(outcome, OK);
    let encoded = "me%3Ayou%2F%C3%A9:p%40ss%3Aw%2Frd+%25%2B%26%3D%C3%A9%E2%82%AC%7E";
    let wanted = format!("Basic {}", STANDARD.encode(encoded));
    assert_eq!(request.header("authorization"), Some(wanted.as_str()));
    assert_eq!(request.form().len(), 2, "token and hint");
}

#[actix_web::test]
async fn client_secret_basic_raw_is_not_encoded() {
    let issuer = TestIssuer::start();
    let (id, secret) = ("me/you", "p@ss:w/rd %+");
    let (request, outcome) = sent(&issuer, id, ClientAuthentication::client_secret_basic_raw(secret)).await;
    assert_eq!(outcome, setup(SetupFault::Refused), "this issuer wants it encoded");
    let wanted = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    assert_eq!(request.header("authorization"), Some(wanted.as_str()));
    let plain = ClientAuthentication::client_secret_basic_raw(issuer.client_secret());
    assert_eq!(sent(&issuer, issuer.client_id(), plain).await.1, OK, "where there is nothing to encode");
}

#[actix_web::test]
async fn client_assertions_are_accepted_and_used_once() {
    let keys = [
        Algorithm::RS256,
        Algorithm::PS256,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::ES512,
        Algorithm::EdDSA,
    ]
    .map(|algorithm| TestKey::generate(algorithm, algorithm.name()));
    let mut builder = TestIssuer::builder();
    for key in &keys {
        builder = builder.client_with_key(key.kid(), key);
    }
    let issuer = builder.start();
    let with_secret = (issuer.client_id(), ClientAuthentication::client_secret_jwt(issuer.client_secret()));
    let with_keys = keys
        .iter()
        .map(|key| (key.kid(), ClientAuthentication::private_key_jwt(key.private_jwk().to_string())));
    for (id, authentication) in with_keys.chain([with_secret]) {
        issuer.reset_counters();
        let api =
            api(ProtectApi::builder(issuer.issuer(), issuer.audience()).client(id, authentication)).await;
        // The issuer rejects an assertion that was used before.
        for _ in 0..3 {
            assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK, "{id}");
        }
        for request in issuer.requests(Endpoint::Introspection) {
            let form = request.form();
            assert_eq!(form["client_id"], id);
            assert_eq!(
                form["client_assertion_type"],
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            );
            assert!(!form.contains_key("client_secret") && request.header("authorization").is_none());
        }
    }
}

#[actix_web::test]
async fn claims_decide_as_they_should() {
    use TokenFault::{Audience, Expired, Issuer, MissingClaim, NotYetValid, Type};

    let (issuer, clock) = timed_issuer();
    let api = api(introspecting(&issuer).clock(clock.clone())).await;
    let (now, iss, aud) = (clock.unix_time(), issuer.issuer(), issuer.audience());
    let cases = [
        (json!({}), OK),
        (json!({ "iss": null }), token(MissingClaim)),
        (json!({ "iss": format!("{iss}/") }), token(Issuer)),
        (json!({ "iss": "https://issuer.example.test" }), token(Issuer)),
        (json!({ "iss": "" }), token(Issuer)),
        (json!({ "iss": [iss] }), upstream(BadAnswer)),
        (json!({ "aud": null }), token(MissingClaim)),
        (json!({ "aud": [] }), token(MissingClaim)),
        (json!({ "aud": [aud, "https://other.example.test"] }), OK),
        (json!({ "aud": ["https://other.example.test"] }), token(Audience)),
        (json!({ "aud": "" }), token(Audience)),
        (json!({ "aud": format!("{aud}/") }), token(Audience)),
        (json!({ "aud": aud.to_uppercase() }), token(Audience)),
        (json!({ "aud": [aud, 1] }), upstream(BadAnswer)),
        (json!({ "aud": { "a": aud } }), upstream(BadAnswer)),
        (json!({ "sub": null }), OK),
        (json!({ "sub": ["alice"] }), upstream(BadAnswer)),
        (json!({ "exp": null }), OK),
        (json!({ "exp": now - 59 }), OK),
        (json!({ "exp": now - 60 }), token(Expired)),
        (json!({ "exp": 0 }), token(Expired)),
        (json!({ "exp": 1.5 }), token(Expired)),
        (json!({ "exp": -1 }), upstream(BadAnswer)),
        (json!({ "exp": i64::MAX }), OK),
        (json!({ "exp": u64::MAX }), OK),
        (json!({ "exp": 1e300 }), OK),
        (json!({ "exp": 253_402_300_800_i64 }), OK),
        (json!({ "nbf": i64::MAX }), upstream(BadAnswer)),
        (json!({ "token_type": 7 }), upstream(BadAnswer)),
        (json!({ "cnf": "x" }), upstream(BadAnswer)),
        (json!({ "exp": format!("{}", now + 100) }), upstream(BadAnswer)),
        (json!({ "nbf": now + 60 }), OK),
        (json!({ "nbf": now + 61 }), token(NotYetValid)),
        (json!({ "nbf": true }), upstream(BadAnswer)),
        (json!({ "iat": "now" }), upstream(BadAnswer)),
        (json!({ "client_id": 7 }), upstream(BadAnswer)),
        (json!({ "scope": { "read": true } }), upstream(BadAnswer)),
        (json!({ "token_type": "Bearer" }), OK),
        (json!({ "token_type": "access_token" }), OK),
        (json!({ "token_type": "refresh_token" }), token(Type)),
        (json!({ "token_type": "urn:ietf:params:oauth:token-type:id_token" }), token(Type)),
        (json!({ "token_use": "access" }), OK),
        (json!({ "token_use": "id" }), token(Type)),
        (json!({ "typ": "Bearer" }), OK),
        (json!({ "typ": "Refresh" }), token(Type)),
        (json!({ "typ": "ID" }), token(Type)),
        // The first failed check determines the fault.
        (json!({ "iss": "https://issuer.example.test", "aud": "b", "exp": 0 }), token(Issuer)),
        (json!({ "aud": "b", "exp": 0, "nbf": now + 100 }), token(Audience)),
        (json!({ "exp": 0, "nbf": now + 100 }), token(Expired)),
    ];
    for (changes, wanted) in cases {
        assert_eq!(api.outcome(&answered_with(&issuer, &changes)).await, wanted, "{changes}");
    }
    let cases = [
        (json!({ "scope": "read" }), OK),
        (json!({ "scope": "write read" }), OK),
        (json!({ "scope": ["write", "read"] }), OK),
        (json!({ "scp": "write read" }), OK),
        (json!({ "scp": ["read"] }), OK),
        (json!({ "scope": null, "scp": ["read"] }), OK),
        (json!({ "scope": "", "scp": ["read"] }), NO_SCOPE),
        (json!({ "scope": "write", "scp": ["read"] }), NO_SCOPE),
        (json!({}), NO_SCOPE),
        (json!({ "scope": "reading" }), NO_SCOPE),
        (json!({ "scope": "READ" }), NO_SCOPE),
        (json!({ "scope": "read,write" }), NO_SCOPE),
        (json!({ "scope": "write", "exp": 0 }), token(Expired)),
    ];
    for (changes, wanted) in cases {
        let outcome = api.outcome_at("/read", &answered_with(&issuer, &changes)).await;
        assert_eq!(outcome, wanted, "{changes}");
    }
}

/// A token whose introspection response is a good one with these changes.
fn answered_with(issuer: &TestIssuer, changes: &Value) -> String {
    let mut body = good_body(issuer);
    for (name, value) in changes.as_object().unwrap() {
        body[name] = value.clone();
    }
    let token = issuer.opaque(json!({}));
    issuer.set_answer(&token, &body.to_string());
    token
}

#[actix_web::test]
async fn a_missing_issuer_or_audience_is_accepted_only_where_it_is_said_so_and_a_wrong_one_never() {
    let issuer = TestIssuer::start();
    let (no_issuer, no_audience) = (json!({ "iss": null }), json!({ "aud": null }));
    let wrong = [
        (json!({ "iss": "https://issuer.example.test" }), token(TokenFault::Issuer)),
        (json!({ "aud": "https://other.example.test" }), token(TokenFault::Audience)),
    ];
    let missing = token(TokenFault::MissingClaim);
    let lax = introspecting(&issuer).accept_missing_issuer(true);
    for (builder, wanted) in [
        (introspecting(&issuer), [missing, missing]),
        (lax, [OK, missing]),
        (introspecting(&issuer).dangerous().accept_missing_audience(), [missing, OK]),
    ] {
        let api = api(builder).await;
        let seen = [
            api.outcome(&answered_with(&issuer, &no_issuer)).await,
            api.outcome(&answered_with(&issuer, &no_audience)).await,
        ];
        assert_eq!(seen, wanted);
        for (changes, wanted) in &wrong {
            assert_eq!(api.outcome(&answered_with(&issuer, changes)).await, *wanted);
        }
    }
}

#[actix_web::test]
async fn without_a_cache_a_revoked_token_is_refused_at_the_next_request() {
    let issuer = TestIssuer::start();
    let api = api(introspecting(&issuer)).await;
    let good = issuer.opaque(json!({}));
    for _ in 0..3 {
        assert_eq!(api.outcome(&good).await, OK);
    }
    issuer.revoke(&good);
    assert_eq!(api.outcome(&good).await, token(TokenFault::Inactive));
    assert_eq!(issuer.count(Endpoint::Introspection), 4);
    assert!(issuer.connections() <= 2, "connections are kept: {}", issuer.connections());
}

#[actix_web::test]
async fn the_client_in_the_app_data_makes_the_calls() {
    let issuer = TestIssuer::start();
    let client = awc::Client::builder().add_default_header((USER_AGENT, "the-users-own/1")).finish();
    let api = api_with(introspecting(&issuer), client).await;
    assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    for endpoint in [Endpoint::Discovery, Endpoint::Introspection, Endpoint::Jwks] {
        let requests = issuer.requests(endpoint);
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].header("user-agent"), Some("the-users-own/1"), "{endpoint:?}");
    }
}

#[actix_web::test]
async fn the_deadline_applies_to_a_client_of_the_application_too() {
    let issuer = TestIssuer::start();
    issuer.fault(Endpoint::Introspection, Fault::trickle(Duration::from_millis(30)).always());
    let patient = awc::Client::builder().timeout(Duration::from_secs(60)).finish();
    let api = api_with(impatient(introspecting(&issuer)), patient).await;
    let good = issuer.opaque(json!({}));
    let outcome = timeout(Duration::from_secs(8), api.outcome(&good)).await.expect("the request hangs");
    assert_eq!(outcome, upstream(TimedOut));
}

#[cfg(feature = "rustls")]
mod tls {
    use std::sync::Arc;

    use actix_protect_api::test::TestIssuer;
    use rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, pem::PemObject as _},
    };
    use serde_json::json;

    use super::{Endpoint, OK, Unreachable, api, api_with, introspecting, upstream};

    fn trusting(issuer: &TestIssuer) -> awc::Client {
        let mut roots = RootCertStore::empty();
        let pem = issuer.ca_pem().unwrap().as_bytes();
        roots.add(CertificateDer::from_pem_slice(pem).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        awc::Client::builder().connector(awc::Connector::new().rustls_0_23(Arc::new(config))).finish()
    }

    #[actix_web::test]
    async fn an_issuer_behind_tls_is_reached_by_a_client_that_trusts_it() {
        let issuer = TestIssuer::builder().tls().start();
        assert!(issuer.issuer().starts_with("https://"));
        let api = api_with(introspecting(&issuer), trusting(&issuer)).await;
        assert_eq!(api.outcome(&issuer.opaque(json!({}))).await, OK);
        assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, OK);
    }

    #[actix_web::test]
    async fn an_unknown_authority_is_not_trusted() {
        let (issuer, other) = (TestIssuer::builder().tls().start(), TestIssuer::builder().tls().start());
        let own = api(introspecting(&issuer)).await;
        assert_eq!(own.outcome(&issuer.opaque(json!({}))).await, upstream(Unreachable));
        let misled = api_with(introspecting(&issuer).realm("another"), trusting(&other)).await;
        assert_eq!(misled.outcome(&issuer.opaque(json!({}))).await, upstream(Unreachable));
        assert!(issuer.connections() >= 2, "they came");
        assert_eq!(issuer.count(Endpoint::Discovery), 0, "and said nothing");
    }
}
