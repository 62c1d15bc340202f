//! Security event tokens and logout tokens of the test issuer.

use std::time::Duration;

use actix_protect_api::test::{Algorithm, Endpoint, JwtOptions, TestIssuer, TestKey};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};

use super::{decoded, get};
use crate::support::time::PATIENCE;

/// Verifies the token with another implementation and the published keys.
fn verified(issuer: &TestIssuer, token: &str, audience: &str) -> Value {
    let header = decode_header(token).unwrap();
    let set: JwkSet = serde_json::from_value(issuer.jwks()).unwrap();
    let key = DecodingKey::from_jwk(set.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[issuer.issuer()]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["iss", "aud"]);
    decode::<Value>(token, &key, &validation).unwrap().claims
}

#[test]
fn events_and_logout_tokens_verify_with_the_published_keys() {
    let issuer = TestIssuer::start();
    let set = issuer.security_event(json!({
        "sub_id": { "format": "opaque", "id": "s" },
        "events": { "session-revoked": {}, "account-purged": {}, "verification": {}, "https://e.example/x": {} },
    }));
    assert_eq!(decoded(&set).0["typ"], "secevent+jwt");
    let claims = verified(&issuer, &set, issuer.audience());
    assert!(claims["jti"].is_string() && claims["exp"].is_null(), "{claims}");
    let root = "https://schemas.openid.net/secevent";
    let names: Vec<_> = claims["events"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        names,
        [
            "https://e.example/x".to_owned(),
            format!("{root}/caep/event-type/session-revoked"),
            format!("{root}/risc/event-type/account-purged"),
            format!("{root}/ssf/event-type/verification"),
        ]
    );

    let token = issuer.logout_token(json!({ "sid": "s" }));
    assert_eq!(decoded(&token).0["typ"], "logout+jwt");
    let claims = verified(&issuer, &token, "app");
    assert_eq!(claims["sid"], "s");
    assert!(claims["events"]["http://schemas.openid.net/event/backchannel-logout"].is_object());
}

#[test]
fn faults_of_events_are_options_and_claims() {
    let issuer = TestIssuer::start();
    let key = TestKey::generate(Algorithm::EdDSA, "other");
    let options = JwtOptions::new().key(&key).header("typ", "JWT");
    let (header, claims) = decoded(&issuer.security_event_with(options, json!({ "jti": null, "aud": "x" })));
    assert_eq!(header, json!({ "alg": "EdDSA", "kid": "other", "typ": "JWT" }));
    assert_eq!((&claims["jti"], &claims["aud"]), (&json!(null), &json!("x")));
    let options = JwtOptions::new().header("typ", Value::Null);
    let (header, claims) =
        decoded(&issuer.logout_token_with(options, json!({ "nonce": "n", "events": null })));
    assert_eq!(
        (&header["typ"], &claims["nonce"], &claims["events"]),
        (&json!(null), &json!("n"), &json!(null))
    );
}

#[test]
fn the_configuration_of_the_transmitter_is_below_the_host() {
    let issuer = TestIssuer::builder().path("/tenant").start();
    let url = issuer.url(Endpoint::SsfConfiguration);
    assert!(url.ends_with("/.well-known/ssf-configuration/tenant"), "{url}");
    let configuration = get(&url).json();
    assert_eq!(configuration["issuer"], issuer.issuer());
    assert_eq!(configuration["jwks_uri"], issuer.url(Endpoint::Jwks));
}

#[actix_web::test]
async fn the_queue_serves_events_until_they_are_acknowledged() {
    let issuer = TestIssuer::start();
    let client = awc::Client::builder().timeout(PATIENCE).finish();
    let poll = async |body: Value| {
        let mut response = client.post(issuer.url(Endpoint::Poll)).send_json(&body).await.unwrap();
        response.json::<Value>().await.unwrap()
    };
    let now = json!({ "returnImmediately": true });
    assert_eq!(poll(now).await, json!({ "sets": {}, "moreAvailable": false }));
    for jti in ["a", "b", "c"] {
        issuer.queue_event(jti, "set");
    }
    let first = poll(json!({ "maxEvents": 2 })).await;
    assert_eq!(first, json!({ "sets": { "a": "set", "b": "set" }, "moreAvailable": true }));
    let rest = poll(json!({ "ack": ["a"], "setErrs": { "b": { "err": "invalid_key" } } })).await;
    assert_eq!(rest, json!({ "sets": { "c": "set" }, "moreAvailable": false }));
    assert_eq!(issuer.queued_events(), ["c"]);

    // A long poll acknowledges first, and then waits for the next event.
    let waiting = poll(json!({ "ack": ["c"] }));
    let queue = async {
        issuer.received(Endpoint::Poll, 4).await;
        while !issuer.queued_events().is_empty() {
            actix_web::rt::time::sleep(Duration::from_millis(5)).await;
        }
        issuer.queue_event("d", "set");
    };
    let (answer, ()) = futures_util::future::join(waiting, queue).await;
    assert_eq!(answer["sets"], json!({ "d": "set" }));
}
