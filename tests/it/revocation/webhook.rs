//! Events in a format of the application.

use actix_protect_api::Revocation;
use actix_web::{
    App,
    test::{TestRequest, call_service, init_service},
    web,
};
use serde_json::{Value, json};

use super::sources::{SECRET, Site, any_bodies};
use crate::support::{
    app::{Answer, serve, whoami},
    logs,
};

async fn post(site: &Site, authorization: &str, body: &str) -> Answer {
    let call = site.app.post("/webhook").header("Authorization", authorization);
    call.body("application/json", body).send().await
}

#[actix_web::test]
async fn the_function_of_the_application_decides_what_is_revoked() {
    logs::capture();
    let site = Site::start();
    let alice = site.tokens(json!({ "sub": "alice" })).await;
    let bob = site.tokens(json!({ "sub": "bob" })).await;
    let carol = site.tokens(json!({ "sub": "carol" })).await;
    let bearer = format!("Bearer {SECRET}");
    for (body, status) in [("{\"users\":[]}", 204), ("{", 400), ("", 400)] {
        assert_eq!(post(&site, &bearer, body).await.status, status, "{body}");
    }
    let (issuer, text) = (site.issuer.issuer(), "the body of the request is not accepted: expected JSON");
    let refused = |record: &logs::Record| record.value("issuer") == issuer && record.text.contains(text);
    assert_eq!(logs::last(refused).unwrap().value("fault"), "body");
    assert_eq!(site.statuses(&alice).await, [200, 200]);
    let answer = post(&site, &bearer, "{\"users\":[\"alice\",\"bob\"]}").await;
    assert_eq!((answer.status, answer.header("cache-control")), (204, Some("no-store")));
    for (tokens, status) in [(alice, 401), (bob, 401), (carol, 200)] {
        assert_eq!(site.statuses(&tokens).await, [status; 2]);
    }
}

#[actix_web::test]
async fn the_secret_is_required() {
    let site = Site::start();
    let alice = site.tokens(json!({ "sub": "alice" })).await;
    let body = "{\"users\":[\"alice\"]}";
    for wrong in ["", SECRET, "Bearer", "Bearer wrong", "Basic x", &format!("Bearer {SECRET}x")] {
        let answer = post(&site, wrong, body).await;
        assert_eq!((answer.status, answer.challenge()), (401, Some("Bearer")), "{wrong}");
    }
    let right = format!("Bearer {SECRET}");
    let twice = site.app.post("/webhook").header("Authorization", &right).header("Authorization", &right);
    assert_eq!(twice.body("application/json", body).send().await.status, 401);
    assert_eq!(site.app.post("/webhook").body("application/json", body).send().await.status, 401);
    assert_eq!(post(&site, &right, &"1".repeat(64 * 1024 + 1)).await.status, 413);
    assert_eq!(site.statuses(&alice).await, [200, 200]);
}

/// A setting that was forgotten, such as a variable without a value. A header with this value can be sent with HTTP/2.
#[actix_web::test]
async fn an_empty_secret_accepts_no_request() {
    let protect = Site::start().protect;
    let webhook = protect.revocation_webhook("/", "", |_| panic!("the body is read"));
    let app = init_service(App::new().service(webhook)).await;
    let request = TestRequest::post().insert_header(("Authorization", "Bearer ")).set_payload("{}");
    let response = call_service(&app, request.to_request()).await;
    assert_eq!(response.status(), 500, "the fault of this API");
}

#[actix_web::test]
async fn a_revocation_without_an_effect_prevents_no_other_and_is_no_failure_of_the_store() {
    logs::capture();
    let mut site = Site::start();
    let protect = site.protect.clone();
    site.app = serve!(move || {
        let revocations = |body: &Value| {
            let ended = body["until"].as_i64().map(|until| Revocation::subject("dave").until(until));
            let token = body["token"].as_str().map(Revocation::token);
            let issuer = body["iss"].as_str().map(|issuer| Revocation::subject("dave").of_issuer(issuer));
            let other = body["sub"].as_str().map(Revocation::subject);
            let user = body["user"].as_str().map(Revocation::subject);
            [token, issuer, ended, other, user].into_iter().flatten().collect()
        };
        App::new()
            .service(protect.revocation_webhook("/webhook", SECRET, revocations))
            .service(web::resource("/").wrap(protect.clone()).route(web::get().to(whoami)))
    });
    let bearer = format!("Bearer {SECRET}");
    let elsewhere = "https://elsewhere.example.test/?secret";
    for (user, mut body, status) in [
        ("alice", json!({ "until": 1 }), 204),
        ("bob", json!({ "token": "not a token" }), 400),
        ("frank", json!({ "sub": "" }), 400),
        ("grace", json!({ "sub": " " }), 400),
        ("heidi", json!({ "iss": "" }), 400),
        ("carol", json!({ "iss": elsewhere }), 500),
        ("erin", json!({ "token": "not a token", "iss": elsewhere, "until": 1 }), 500),
    ] {
        let tokens = site.tokens(json!({ "sub": user })).await;
        body["user"] = json!(user);
        assert_eq!(post(&site, &bearer, &body.to_string()).await.status, status, "{body}");
        assert_eq!(site.statuses(&tokens).await, [401, 401], "{body}");
    }
    assert_eq!(post(&site, &bearer, "{\"until\":1}").await.status, 204);
    let records = logs::records();
    let issuer = site.issuer.issuer();
    let is_it =
        |record: &&logs::Record| record.value("issuer") == issuer && record.value("source") == "webhook";
    let records: Vec<_> = records.iter().filter(is_it).collect();
    let expected = format!(
        "the issuer of a revocation is not configured: it is \"https://elsewhere.example.test/?…\", expected \"{issuer}\""
    );
    let named: Vec<_> = records.iter().filter(|record| record.text.contains(&expected)).collect();
    assert_eq!(named.len(), 2, "{records:?}");
    assert!(named.iter().all(|record| record.value("fault") == "revocation_issuer"), "{records:?}");
    assert!(records.iter().any(|record| record.text.contains("the token of the revocation is malformed")));
    let is_empty = |record: &&&logs::Record| record.text.contains("a value of the revocation is empty");
    let empty: Vec<_> = records.iter().filter(is_empty).collect();
    assert_eq!(empty.len(), 3, "{records:?}");
    assert!(empty.iter().all(|record| record.value("fault") == "body"), "{empty:?}");
    assert!(records.iter().all(|record| !record.text.contains("unreachable")), "{records:?}");
    assert!(records.iter().any(|record| record.value("outcome") == "ignored"), "{records:?}");
}

#[actix_web::test]
async fn no_body_causes_a_panic_or_a_5xx() {
    let site = Site::start();
    let bearer = format!("Bearer {SECRET}");
    for body in any_bodies("{\"users\":[\"alice\"],\"other\":[1,2.5e7,null,true,{}]}") {
        let status = post(&site, &bearer, &body).await.status;
        assert!([204, 400].contains(&status), "{status}: {body}");
    }
}
