//! Responses to rejected requests, and what they must not contain.

use std::{collections::BTreeSet, time::Duration};

use actix_protect_api::{
    AuthError, AuthErrorKind, ClientAuthentication, ErrorBody, ErrorRenderer, ProblemJson, ProtectApi,
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::{
    App, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web,
};
use serde_json::{Value, json};

use crate::support::{
    api::{api_of, protected, record_of},
    app::{
        Answer, INVALID, MALFORMED, MISSING, NOT_IN_GROUP, OURS, Refusal, UNAVAILABLE, needs_scope, protect,
        serve, whoami, with_scope,
    },
    logs,
    net::unused_address,
    service::introspecting,
};

/// The response has no other headers than these.
#[track_caller]
fn tells_nothing(answer: &Answer) {
    let known = [
        "content-length",
        "content-type",
        "cache-control",
        "www-authenticate",
        "retry-after",
        "date",
        "connection",
        "x-kind",
    ];
    for (name, _) in &answer.headers {
        assert!(known.contains(&name.as_str()), "{name}: {answer:?}");
    }
}

#[actix_web::test]
async fn every_invalid_token_gets_the_same_response() {
    let issuer = TestIssuer::start();
    let app = protected(protect(&issuer));
    let revoked = issuer.opaque(json!({}));
    issuer.revoke(&revoked);
    let answered = |body: &str| {
        let token = issuer.opaque(json!({}));
        issuer.set_answer(&token, body);
        token
    };
    let (iss, aud) = (issuer.issuer(), issuer.audience());
    let past = answered(&json!({ "active": true, "iss": iss, "aud": aud, "exp": 1_000 }).to_string());
    let early =
        answered(&json!({ "active": true, "iss": iss, "aud": aud, "nbf": 4_000_000_000_u32 }).to_string());
    for (token, kind) in [
        ("unknown-token".to_owned(), "Inactive"),
        (revoked, "Inactive"),
        (past, "Expired"),
        (early, "NotYetValid"),
        (issuer.opaque(json!({ "iss": "https://evil.example.test" })), "Issuer"),
        (issuer.opaque(json!({ "iss": null })), "MissingClaim"),
        (issuer.opaque(json!({ "aud": "https://other.example.test" })), "Audience"),
        (issuer.opaque(json!({ "aud": null })), "MissingClaim"),
        (issuer.opaque(json!({ "token_type": "refresh_token" })), "Type"),
        (issuer.opaque(json!({ "cnf": { "x5t#S256": "bm90LWEtcmVhbC10aHVtYnByaW50" } })), "Binding"),
        (format!("{}A", issuer.jwt(json!({}))), "Malformed"),
        (issuer.jwt(json!({ "exp": 1_000 })), "Expired"),
        (issuer.jwt(json!({ "exp": null })), "MissingClaim"),
    ] {
        let answer = app.get("/").token(&token).send().await;
        answer.refuses(INVALID);
        tells_nothing(&answer);
        let seen = answer.header("x-kind").unwrap();
        // The exact fault of the signature does not matter here.
        if kind != "Malformed" {
            assert_eq!(seen, format!("InvalidToken({kind})"));
        }
        assert!(seen.starts_with("InvalidToken("));
    }
}

#[actix_web::test]
async fn faults_of_the_authorization_server_are_503_without_details() {
    let not_json = Fault::real().with_body("{").with_header("Content-Length", "1");
    let redirect_body = Fault::body("<html>Internal error at https://internal.example.test</html>");
    for (fault, kind) in [
        (Fault::status(500), "Failing"),
        (Fault::status(503).with_body("java.lang.NullPointerException"), "Failing"),
        (Fault::status(429), "Failing"),
        (Fault::reset(), "Unreachable"),
        (Fault::truncate(), "BadAnswer"),
        (Fault::hold(), "TimedOut"),
        (not_json, "BadAnswer"),
        (redirect_body, "BadAnswer"),
        (Fault::content_type("text/html"), "BadAnswer"),
    ] {
        // Metadata is accepted by its content, whatever its type.
        let is_about_the_type = format!("{fault:?}").contains("text/html");
        for endpoint in [Endpoint::Introspection, Endpoint::Discovery] {
            if endpoint == Endpoint::Discovery && is_about_the_type {
                continue;
            }
            let issuer = TestIssuer::start();
            let app = protected(
                introspecting(&issuer).response_timeout(Duration::from_millis(300)).build().unwrap(),
            );
            if endpoint == Endpoint::Discovery {
                issuer.set_served(Endpoint::AuthorizationServerMetadata, false);
            }
            issuer.fault(endpoint, fault.clone().always());
            let token = issuer.opaque(json!({}));
            let answer = app.get("/").token(&token).send().await;
            issuer.clear_faults();
            let at = format!("{endpoint:?} {fault:?}");
            assert_eq!((answer.status, answer.challenge()), (503, None), "{at}: {answer:?}");
            answer.refuses(UNAVAILABLE);
            tells_nothing(&answer);
            if endpoint == Endpoint::Introspection {
                assert_eq!(answer.header("x-kind"), Some(format!("Upstream({kind})").as_str()), "{at}");
            }
        }
    }
}

#[actix_web::test]
async fn an_unreachable_authorization_server_is_503_without_details() {
    let protect = ProtectApi::builder(format!("http://{}", unused_address()), "api")
        .client("api", ClientAuthentication::client_secret_basic("hush-hush"))
        .build()
        .unwrap();
    let app = protected(protect);
    for _ in 0..3 {
        let answer = app.get("/").token("any").send().await;
        answer.refuses(UNAVAILABLE);
        tells_nothing(&answer);
    }
    // The response to a request without a token does not show the outage.
    app.get("/").send().await.refuses(MISSING);
    app.get("/").token("not a token").send().await.refuses(MALFORMED);
}

#[actix_web::test]
async fn faults_of_the_configuration_are_500_without_details() {
    // Wrong credentials.
    let issuer = TestIssuer::start();
    let wrong = ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic("not-the-secret"))
        .build()
        .unwrap();
    let answer = protected(wrong).get("/").token(&issuer.opaque(json!({}))).send().await;
    answer.refuses(OURS);
    tells_nothing(&answer);
    assert_eq!(answer.header("x-kind"), Some("Misconfigured(Refused)"));
    // Metadata of another issuer, and metadata without a usable endpoint.
    for (member, value, kind) in [
        ("issuer", Value::from("https://other.example.test"), "Issuer"),
        ("introspection_endpoint", Value::Null, "Endpoint"),
        ("introspection_endpoint", Value::from("http://internal.example.test/i"), "InsecureEndpoint"),
    ] {
        let issuer = TestIssuer::start();
        issuer.set_metadata(|mut metadata| {
            metadata[member] = value;
            metadata
        });
        let answer = protected(protect(&issuer)).get("/").token(&issuer.opaque(json!({}))).send().await;
        answer.refuses(OURS);
        tells_nothing(&answer);
        assert_eq!(answer.header("x-kind"), Some(format!("Misconfigured({kind})").as_str()));
    }
}

#[actix_web::test]
async fn retry_after_is_passed_on_and_absent_otherwise() {
    let issuer = TestIssuer::start();
    let app = protected(protect(&issuer));
    let token = issuer.opaque(json!({ "sub": "alice" }));
    issuer.fault(Endpoint::Introspection, Fault::status(503));
    let answer = app.get("/").token(&token).send().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, None));
    issuer.fault(Endpoint::Introspection, Fault::status(429).with_header("Retry-After", "7"));
    let answer = app.get("/").token(&token).send().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("7")));
    tells_nothing(&answer);
}

/// The responses of this API to requests that it rejects, one of each kind.
async fn refusals(issuer: &TestIssuer, protect: ProtectApi) -> Vec<Answer> {
    let scoped = protect.clone().scopes(["posts:write"]);
    let grouped = protect.clone().groups(["staff"]);
    let app = serve!(move || {
        App::new()
            .service(web::resource("/scope").wrap(scoped.clone()).route(web::get().to(whoami)))
            .service(web::resource("/group").wrap(grouped.clone()).route(web::get().to(whoami)))
    });
    let token = issuer.opaque(json!({}));
    let mut answers = Vec::new();
    for call in [
        app.get("/scope"),
        app.get("/scope").token("not a token"),
        app.get("/scope").token("unknown-token"),
        app.get("/scope").token(&token),
        app.get("/group").token(&token),
    ] {
        answers.push(call.send().await);
    }
    issuer.fault(Endpoint::Introspection, Fault::status(503));
    answers.push(app.get("/scope").token(&token).send().await);
    let invalid_client = Fault::status(401).with_body(r#"{"error":"invalid_client"}"#);
    issuer.fault(Endpoint::Introspection, invalid_client);
    answers.push(app.get("/scope").token(&token).send().await);
    answers
}

#[actix_web::test]
async fn the_default_refusals_are_exactly_these() {
    let issuer = TestIssuer::start();
    let answers = refusals(&issuer, protect(&issuer)).await;
    let scope: &'static str = needs_scope("posts:write").leak();
    let expected: [Refusal; 7] = [
        with_scope(MISSING, "posts:write"),
        MALFORMED,
        with_scope(INVALID, "posts:write"),
        (403, Some(scope), "forbidden"),
        NOT_IN_GROUP,
        UNAVAILABLE,
        OURS,
    ];
    for (answer, expected) in answers.iter().zip(expected) {
        answer.refuses(expected);
        tells_nothing(answer);
    }
}

#[actix_web::test]
async fn realm_and_resource_metadata_are_in_every_challenge() {
    let issuer = TestIssuer::start();
    let metadata = "https://api.example.test/.well-known/oauth-protected-resource";
    let protect =
        introspecting(&issuer).realm("the \"posts\" API\\1").resource_metadata(metadata).build().unwrap();
    let prefix = format!("Bearer realm=\"the \\\"posts\\\" API\\\\1\", resource_metadata=\"{metadata}\"");
    let answers = refusals(&issuer, protect).await;
    let challenges: Vec<_> = answers.iter().map(Answer::challenge).collect();
    assert_eq!(challenges[0], Some(&*format!("{prefix}, scope=\"posts:write\"")));
    assert_eq!(challenges[4], Some(prefix.as_str()));
    for (challenge, error) in
        challenges[1..4].iter().zip(["invalid_request", "invalid_token", "insufficient_scope"])
    {
        let start = format!("{prefix}, error=\"{error}\", ");
        assert!(challenge.is_some_and(|challenge| challenge.starts_with(&start)), "{challenge:?}");
    }
    assert_eq!(challenges[5..], [None, None]);
}

#[actix_web::test]
async fn a_renderer_writes_the_body_and_changes_nothing_else() {
    let issuer = TestIssuer::start();
    let plain = refusals(&issuer, protect(&issuer)).await;
    let renderer = |error: &AuthError, request: &HttpRequest| match error.kind() {
        AuthErrorKind::MissingToken => ErrorBody::empty(),
        AuthErrorKind::InvalidToken(_) => ErrorBody::text("no such luck"),
        AuthErrorKind::InsufficientScope => {
            ErrorBody::new("text/html", format!("<p>{}</p>", error.required_scopes()))
        }
        _ => ErrorBody::json(&json!({ "path": request.path(), "retry": error.is_retryable() })),
    };
    let rendered = refusals(&issuer, introspecting(&issuer).renderer(renderer).build().unwrap()).await;
    let bodies = [
        (None, ""),
        (Some("application/json"), "{\"path\":\"/scope\",\"retry\":false}"),
        (Some("text/plain; charset=utf-8"), "no such luck"),
        (Some("text/html"), "<p>posts:write</p>"),
        (Some("application/json"), "{\"path\":\"/group\",\"retry\":false}"),
        (Some("application/json"), "{\"path\":\"/scope\",\"retry\":true}"),
        (Some("application/json"), "{\"path\":\"/scope\",\"retry\":false}"),
    ];
    for ((rendered, plain), (content_type, body)) in rendered.iter().zip(&plain).zip(bodies) {
        rendered.is(plain.status, body);
        assert_eq!(rendered.header("content-type"), content_type);
        for name in ["www-authenticate", "cache-control", "retry-after"] {
            assert_eq!(rendered.header(name), plain.header(name));
        }
    }
}

#[actix_web::test]
async fn problem_json_is_ready_made() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).renderer(ProblemJson).build().unwrap();
    let titles = [
        (401, "Unauthorized"),
        (400, "Bad Request"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (403, "Forbidden"),
        (503, "Service Unavailable"),
        (500, "Internal Server Error"),
    ];
    for (answer, (status, title)) in refusals(&issuer, protect).await.iter().zip(titles) {
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body, json!({ "type": "about:blank", "title": title, "status": status }));
    }
}

#[actix_web::test]
async fn a_custom_type_can_be_a_renderer() {
    struct Teapot;
    impl ErrorRenderer for Teapot {
        fn render(&self, _: &AuthError, _: &HttpRequest) -> ErrorBody {
            ErrorBody::text("short and stout")
        }
    }
    let issuer = TestIssuer::start();
    let app = protected(introspecting(&issuer).renderer(Teapot).build().unwrap());
    app.get("/").send().await.is(401, "short and stout");
}

#[actix_web::test]
async fn middleware_outside_finds_the_error_in_the_extensions_of_the_answer() {
    async fn count(
        request: ServiceRequest,
        next: Next<impl MessageBody>,
    ) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
        let mut response = next.call(request).await?;
        let seen = response.response().extensions().get::<AuthError>().map(|error| {
            let (fault, retry) = (error.is_client_fault(), error.is_retryable());
            format!("{:?} scopes={} caller={fault} retry={retry}", error.kind(), error.required_scopes())
        });
        let seen = seen.unwrap_or_else(|| "none".to_owned());
        response.headers_mut().insert("x-seen".parse().unwrap(), seen.parse().unwrap());
        Ok(response)
    }
    async fn strict(caller: actix_protect_api::AuthenticatedRequest) -> actix_web::Result<&'static str> {
        caller.require_scopes(["root"])?;
        Ok("root")
    }
    let issuer = TestIssuer::start();
    let protect = protect(&issuer).scopes(["read"]);
    let app = serve!(move || {
        App::new()
            .wrap(protect.clone())
            .wrap(from_fn(count))
            .route("/", web::get().to(whoami))
            .route("/strict", web::get().to(strict))
    });
    let reader = issuer.opaque(json!({ "scope": "read" }));
    let other = issuer.opaque(json!({}));
    issuer.fault(Endpoint::Introspection, Fault::real());
    for (call, seen) in [
        (app.get("/").token(&reader), "none"),
        (app.get("/"), "MissingToken scopes=read caller=true retry=false"),
        (app.get("/").token("a b"), "InvalidRequest(Malformed) scopes= caller=true retry=false"),
        (app.get("/").token("x"), "InvalidToken(Inactive) scopes=read caller=true retry=false"),
        (app.get("/").token(&other), "InsufficientScope scopes=read caller=true retry=false"),
        (app.get("/strict").token(&reader), "InsufficientScope scopes=read root caller=true retry=false"),
    ] {
        assert_eq!(call.send().await.header("x-seen"), Some(seen));
    }
    issuer.fault(Endpoint::Introspection, Fault::status(500));
    let answer = app.get("/").token(&reader).send().await;
    assert_eq!(answer.header("x-seen"), Some("Upstream(Failing) scopes= caller=false retry=true"));
}

#[actix_web::test]
async fn a_reference_ties_the_answer_to_the_log_where_it_is_asked_for() {
    logs::capture();
    let issuer = TestIssuer::start();
    let make = |shows| {
        let protect = introspecting(&issuer).error_reference(shows).build().unwrap();
        api_of(protect)
    };
    let good = issuer.opaque(json!({}));
    let (mut seen, malformed) = (BTreeSet::new(), "not a token");
    for (path, token, fault, status) in [
        ("/", malformed, None, 400),
        ("/", "unknown-token", None, 401),
        ("/read", &*good, None, 403),
        ("/team", &*good, None, 403),
        ("/", &*good, Some(Fault::status(401).with_body(r#"{"error":"invalid_client"}"#)), 500),
        ("/", &*good, Some(Fault::status(429)), 503),
        ("/department", &*good, None, 401),
    ] {
        for shows in [true, false] {
            let app = make(shows);
            if let Some(fault) = &fault {
                issuer.fault(Endpoint::Introspection, fault.clone());
            }
            let answer = app.get(path).token(token).send().await;
            assert_eq!(answer.status, status, "{answer:?}");
            // The reference of the record. The header exists only in the tests.
            let reference = record_of(&answer).value("reference").to_owned();
            assert!(reference.len() == 16 && reference.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body.get("reference"), shows.then(|| json!(reference)).as_ref(), "{answer:?}");
            assert!(seen.insert(reference), "the same reference twice");
        }
    }
}
