//! Security events by poll (RFC 8936).

use std::time::Duration;

use actix_protect_api::{
    SsfPoll,
    test::{Endpoint, Fault, JwtOptions},
};
use actix_web::rt::time::timeout;
use serde_json::{Value, json};

use super::sources::{STREAM, Site, ssf};
use crate::support::time::{PATIENCE, eventually};

fn poll(site: &Site) -> SsfPoll {
    let ssf = ssf(&site.issuer).authorization_header("Bearer of-the-stream");
    site.protect.ssf_poll(&site.issuer.url(Endpoint::Poll), ssf.poll_interval(Duration::from_millis(20)))
}

fn event(site: &Site, user: &str) -> String {
    let claims = json!({ "aud": STREAM, "sub_id": site.user(user), "events": { "session-revoked": {} } });
    site.issuer.security_event(claims)
}

/// Waits for the second poll.
async fn two_polls(site: &Site) {
    timeout(PATIENCE, site.issuer.received(Endpoint::Poll, 2)).await.expect("no second poll");
}

/// The bodies of the polls.
fn polls(site: &Site) -> Vec<Value> {
    let requests = site.issuer.requests(Endpoint::Poll);
    requests.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

#[actix_web::test]
async fn events_are_applied_and_acknowledged() {
    let site = Site::start();
    let alice = site.tokens(json!({ "sub": "alice" })).await;
    let bob = site.tokens(json!({ "sub": "bob" })).await;
    let carol = site.tokens(json!({ "sub": "carol" })).await;
    site.issuer.queue_event("a", &event(&site, "alice"));
    let poll = poll(&site);
    assert!(eventually(async || site.issuer.queued_events().is_empty()).await);
    assert_eq!(site.statuses(&alice).await, [401, 401]);
    // The next poll waits for an event.
    site.issuer.queue_event("b", &event(&site, "bob"));
    let stranger = JwtOptions::new().kid("unknown");
    let claims = json!({ "aud": STREAM, "sub_id": site.user("carol"), "events": { "session-revoked": {} } });
    site.issuer.queue_event("c", &site.issuer.security_event_with(stranger, claims));
    site.issuer.queue_event("d", "no token");
    assert!(eventually(async || site.issuer.queued_events().is_empty()).await);
    assert_eq!(site.statuses(&bob).await, [401, 401]);
    assert_eq!(site.statuses(&carol).await, [200, 200]);

    let polls = polls(&site);
    assert_eq!(polls[0], json!({ "maxEvents": 100, "returnImmediately": true, "ack": [], "setErrs": {} }));
    assert_eq!((&polls[1]["ack"], &polls[1]["returnImmediately"]), (&json!(["a"]), &json!(false)));
    let errors: Vec<_> = polls.iter().filter_map(|poll| poll["setErrs"].as_object()).flatten().collect();
    let codes: Vec<_> =
        errors.iter().map(|(jti, error)| (jti.as_str(), error["err"].as_str().unwrap())).collect();
    assert_eq!(codes, [("c", "invalid_key"), ("d", "invalid_request")]);
    let request = &site.issuer.requests(Endpoint::Poll)[0];
    assert_eq!(request.header("authorization"), Some("Bearer of-the-stream"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    drop(poll);
}

#[actix_web::test]
async fn an_event_that_cannot_be_applied_is_not_acknowledged() {
    let site = Site::start();
    let alice = site.tokens(json!({ "sub": "alice" })).await;
    site.issuer.fault(Endpoint::SsfConfiguration, Fault::status(500).always());
    site.issuer.queue_event("a", &event(&site, "alice"));
    let poll = poll(&site);
    two_polls(&site).await;
    assert_eq!(site.issuer.queued_events(), ["a"]);
    assert_eq!(site.statuses(&alice).await, [200, 200]);
    site.issuer.clear_faults();
    site.clock.advance(Duration::from_secs(5));
    assert!(eventually(async || site.issuer.queued_events().is_empty()).await);
    assert_eq!(site.statuses(&alice).await, [401, 401]);
    drop(poll);
}

#[actix_web::test]
async fn failures_of_the_transmitter_end_no_poll() {
    let site = Site::start();
    let alice = site.tokens(json!({ "sub": "alice" })).await;
    for fault in [Fault::body("[]"), Fault::status(403)] {
        site.issuer.fault(Endpoint::Poll, fault);
    }
    site.issuer.queue_event("a", &event(&site, "alice"));
    let poll = poll(&site);
    assert!(eventually(async || site.issuer.queued_events().is_empty()).await);
    assert_eq!(site.statuses(&alice).await, [401, 401]);
    drop(poll);
}

/// A transmitter that sends more events than were requested, in any form. Those that were read are acknowledged or have an error.
#[actix_web::test]
async fn no_more_events_are_read_than_were_requested() {
    let site = Site::start();
    let (alice, bob) =
        (site.tokens(json!({ "sub": "alice" })).await, site.tokens(json!({ "sub": "bob" })).await);
    let mut sets: serde_json::Map<_, _> =
        (0..5000).map(|number| (format!("x-{number:04}"), json!({ "no": "token" }))).collect();
    sets.insert("a".to_owned(), event(&site, "alice").into());
    sets.insert("z".to_owned(), event(&site, "bob").into());
    let body = json!({ "moreAvailable": true, "sets": sets });
    site.issuer.fault(Endpoint::Poll, Fault::body(body.to_string()));
    let poll = poll(&site);
    two_polls(&site).await;
    let second = &polls(&site)[1];
    assert_eq!(second["ack"], json!(["a"]));
    assert_eq!(second["setErrs"].as_object().unwrap().len(), 99);
    assert_eq!((site.statuses(&alice).await, site.statuses(&bob).await), ([401, 401], [200, 200]));
    drop(poll);
}

/// An event with an empty subject has an error, so that the transmitter does not take it for applied.
#[actix_web::test]
async fn an_event_with_an_empty_subject_has_an_error() {
    let site = Site::start();
    site.issuer.queue_event("a", &event(&site, " "));
    let poll = poll(&site);
    assert!(eventually(async || site.issuer.queued_events().is_empty()).await);
    let polls = polls(&site);
    let errors: Vec<_> = polls.iter().filter_map(|poll| poll["setErrs"]["a"]["err"].as_str()).collect();
    assert_eq!(errors, ["invalid_request"]);
    drop(poll);
}

/// A transmitter that ignores acknowledgements.
#[actix_web::test]
async fn repeated_events_are_polled_with_a_pause() {
    let site = Site::start();
    let alice = site.tokens(json!({ "sub": "alice" })).await;
    let body = json!({ "sets": { "a": event(&site, "alice"), "b": "no token" }, "moreAvailable": true });
    site.issuer.fault(Endpoint::Poll, Fault::body(body.to_string()).always());
    let ssf = ssf(&site.issuer).poll_interval(Duration::from_secs(3600));
    let poll = site.protect.ssf_poll(&site.issuer.url(Endpoint::Poll), ssf);
    // The second poll follows at once, because an event was new.
    site.issuer.queue_event("c", "so that the second poll does not wait");
    two_polls(&site).await;
    assert!(eventually(async || site.statuses(&alice).await == [401, 401]).await);
    actix_web::rt::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(site.issuer.count(Endpoint::Poll), 2);
    drop(poll);
}

#[actix_web::test]
async fn a_dropped_poll_stops() {
    let site = Site::start();
    let poll = poll(&site);
    // The second poll waits for an event, and ends with its connection.
    two_polls(&site).await;
    drop(poll);
    actix_web::rt::time::sleep(Duration::from_millis(200)).await;
    let before = site.issuer.count(Endpoint::Poll);
    site.issuer.queue_event("a", &event(&site, "alice"));
    actix_web::rt::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(site.issuer.count(Endpoint::Poll), before);
    assert_eq!(site.issuer.queued_events(), ["a"]);
}
