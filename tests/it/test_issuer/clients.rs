//! Client authentication at the introspection endpoint.

use actix_protect_api::{
    Clock as _, SystemClock,
    test::{Algorithm, Endpoint, TestIssuer, TestKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Answer, basic, decoded, post};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ODD_ID: &str = "https://api.example/ä:b";
const ODD_SECRET: &str = "p%40+ &=:/ü\"";

fn ask(issuer: &TestIssuer, authorization: Option<&str>, parameters: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> = authorization.map(|value| ("Authorization", value)).into_iter().collect();
    post(&issuer.url(Endpoint::Introspection), &headers, &[&[("token", "t")], parameters].concat())
}

#[test]
fn secrets_are_taken_in_the_header_and_in_the_form() {
    let issuer = TestIssuer::builder().client(ODD_ID, ODD_SECRET).start();
    for (id, secret) in [(issuer.client_id(), issuer.client_secret()), (ODD_ID, ODD_SECRET)] {
        assert_eq!(ask(&issuer, Some(&basic(id, secret)), &[]).status, 200, "{id}");
        assert_eq!(ask(&issuer, Some(&basic(id, secret)), &[("client_id", id)]).status, 200, "{id}");
        assert_eq!(ask(&issuer, None, &[("client_id", id), ("client_secret", secret)]).status, 200, "{id}");
    }
}

#[test]
fn wrong_credentials_are_an_invalid_client() {
    let issuer = TestIssuer::builder().client(ODD_ID, ODD_SECRET).start();
    let (id, secret) = (issuer.client_id(), issuer.client_secret());
    let unencoded = |id: &str, secret: &str| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    for header in [
        basic(id, "wrong"),
        basic(id, ""),
        basic("nobody", secret),
        basic(id, ODD_SECRET),
        unencoded(ODD_ID, ODD_SECRET),
        unencoded("https%3A%2F%2Fapi.example%2F%C3%A4%3Ab", ODD_SECRET),
        "Basic !!!".to_owned(),
        format!("Bearer {secret}"),
    ] {
        let answer = ask(&issuer, Some(&header), &[]);
        assert_eq!((answer.status, answer.json()), (401, json!({ "error": "invalid_client" })), "{header}");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Basic "));
    }
    // The decoded value is the same, but the encoding is wrong.
    let issuer = TestIssuer::builder().client("slash", "a/b").start();
    assert_eq!(ask(&issuer, Some(&basic("slash", "a/b")), &[]).status, 200);
    assert_eq!(ask(&issuer, Some(&unencoded("slash", "a/b")), &[]).status, 401);
    assert_eq!(ask(&issuer, Some(&basic(id, secret)), &[("client_id", ODD_ID)]).status, 401);
    assert_eq!(ask(&issuer, None, &[]).status, 401);
    assert_eq!(ask(&issuer, None, &[("client_id", id)]).status, 401);
    assert_eq!(ask(&issuer, None, &[("client_secret", secret)]).status, 401);
    assert_eq!(ask(&issuer, None, &[("client_id", id), ("client_secret", "wrong")]).status, 401);
    assert_eq!(ask(&issuer, None, &[("client_id", ODD_ID), ("client_secret", secret)]).status, 401);
}

#[test]
fn two_methods_at_once_are_an_invalid_request() {
    let issuer = TestIssuer::start();
    let (id, secret) = (issuer.client_id(), issuer.client_secret());
    let answer = ask(&issuer, Some(&basic(id, secret)), &[("client_id", id), ("client_secret", secret)]);
    assert_eq!((answer.status, answer.json()), (400, json!({ "error": "invalid_request" })));
    let both = [("client_secret", secret), ("client_assertion", "x"), ("client_assertion_type", JWT_BEARER)];
    assert_eq!(ask(&issuer, None, &both).status, 400);
}

/// A good assertion with these changes; `null` removes a claim.
fn assertion(issuer: &TestIssuer, key: &TestKey, id: &str, jti: &str, changes: &Value) -> String {
    let now = SystemClock::new().unix_time();
    let mut claims =
        json!({ "iss": id, "sub": id, "aud": issuer.issuer(), "exp": now + 60, "iat": now, "jti": jti });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    key.jws(&json!({ "alg": key.algorithm().name(), "typ": "JWT" }), &claims)
}

fn present(issuer: &TestIssuer, assertion: &str) -> u16 {
    ask(issuer, None, &[("client_assertion_type", JWT_BEARER), ("client_assertion", assertion)]).status
}

#[test]
fn assertions_of_both_kinds_are_verified() {
    let ec = TestKey::generate(Algorithm::ES256, "client-key");
    let ed = TestKey::generate(Algorithm::EdDSA, "client-key");
    let issuer = TestIssuer::builder().client_with_key("ec", &ec).client_with_key("ed", &ed).start();
    let hs256 = TestKey::hmac(issuer.client_secret(), "");
    let hs512 = hs256.clone().with_algorithm(Algorithm::HS512);
    let mut number = 0;
    let mut status = |key: &TestKey, id: &str, changes: Value| {
        number += 1;
        present(&issuer, &assertion(&issuer, key, id, &number.to_string(), &changes))
    };
    for (key, id) in [(&ec, "ec"), (&ed, "ed"), (&hs256, issuer.client_id()), (&hs512, issuer.client_id())] {
        assert_eq!(status(key, id, json!({})), 200, "{key:?}");
    }
    let now = SystemClock::new().unix_time();
    for defect in [
        json!({ "iss": "ed" }),
        json!({ "sub": "ed" }),
        json!({ "sub": "nobody", "iss": "nobody" }),
        json!({ "aud": issuer.url(Endpoint::Introspection) }),
        json!({ "aud": [issuer.issuer()] }),
        json!({ "exp": now - 1 }),
        json!({ "exp": now + 3600 }),
        json!({ "exp": null }),
        json!({ "jti": null }),
    ] {
        assert_eq!(status(&ec, "ec", defect.clone()), 401, "{defect}");
    }
    let stranger = TestKey::generate(Algorithm::ES256, "client-key");
    let by_public_key = TestKey::hmac(ec.public_pem(), "");
    let unsigned = TestKey::generate(Algorithm::None, "");
    for key in [&stranger, &ed, &by_public_key, &unsigned, &TestKey::hmac("", "")] {
        assert_eq!(status(key, "ec", json!({})), 401, "{key:?}");
    }
    let other_name = ec.jws(
        &json!({ "alg": "ES384" }),
        &decoded(&assertion(&issuer, &ec, "ec", "other name", &json!({}))).1,
    );
    assert_eq!(present(&issuer, &other_name), 401);
    assert_eq!(status(&TestKey::hmac("guess", ""), issuer.client_id(), json!({})), 401);
    assert_eq!(status(&unsigned, issuer.client_id(), json!({})), 401);
}

#[test]
fn an_assertion_is_good_once() {
    let key = TestKey::generate(Algorithm::PS256, "client-key");
    let issuer = TestIssuer::builder().client_with_key("api", &key).start();
    let once = assertion(&issuer, &key, "api", "1", &json!({}));
    assert_eq!(present(&issuer, &once), 200);
    assert_eq!(present(&issuer, &once), 401);
    assert_eq!(present(&issuer, &assertion(&issuer, &key, "api", "2", &json!({}))), 200);
    let third = assertion(&issuer, &key, "api", "3", &json!({}));
    let without_type = [("client_assertion", third.as_str())];
    assert_eq!(ask(&issuer, None, &without_type).status, 401);
    let wrong_id = [without_type[0], ("client_assertion_type", JWT_BEARER), ("client_id", "other")];
    assert_eq!(ask(&issuer, None, &wrong_id).status, 401);
}
