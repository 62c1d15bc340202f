//! Events in a format of the application.

use serde_json::json;

use super::sources::{SECRET, Site, any_bodies};
use crate::support::app::Answer;

async fn post(site: &Site, authorization: &str, body: &str) -> Answer {
    let call = site.app.post("/webhook").header("Authorization", authorization);
    call.body("application/json", body).send().await
}

#[actix_web::test]
async fn the_function_of_the_application_decides_what_is_revoked() {
    let site = Site::start();
    let alice = site.tokens(json!({ "sub": "alice" })).await;
    let bob = site.tokens(json!({ "sub": "bob" })).await;
    let carol = site.tokens(json!({ "sub": "carol" })).await;
    let bearer = format!("Bearer {SECRET}");
    for (body, status) in [("{\"users\":[]}", 204), ("{", 400), ("", 400)] {
        assert_eq!(post(&site, &bearer, body).await.status, status, "{body}");
    }
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

#[actix_web::test]
async fn no_body_causes_a_panic_or_a_5xx() {
    let site = Site::start();
    let bearer = format!("Bearer {SECRET}");
    for body in any_bodies("{\"users\":[\"alice\"],\"other\":[1,2.5e7,null,true,{}]}") {
        let status = post(&site, &bearer, &body).await.status;
        assert!([204, 400].contains(&status), "{status}: {body}");
    }
}
