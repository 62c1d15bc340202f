//! OpenID Connect Back-Channel Logout 1.0.

use actix_protect_api::test::{Endpoint, Fault, JwtOptions};
use serde_json::{Value, json};

use super::sources::{Site, any_bodies, bad_options, ssf};
use crate::support::{
    logs::{self, Record},
    service::{jwts_only, timed_issuer},
    time::seconds,
};

const FORM: &str = "application/x-www-form-urlencoded";
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
const REFUSED: &str =
    "{\"error\":\"invalid_request\",\"error_description\":\"The logout token was not accepted\"}";

async fn deliver(site: &Site, token: &str) -> (u16, String) {
    site.issuer.deliver_logout(&site.url("/logout"), token).await
}

fn merged(mut claims: Value, changes: &Value) -> Value {
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims
}

#[actix_web::test]
async fn a_logout_ends_the_session_or_all_sessions() {
    logs::capture();
    let site = Site::start();
    let now = site.now();
    let this = site.tokens(json!({ "sub": "alice", "sid": "s" })).await;
    let other = site.tokens(json!({ "sub": "alice", "sid": "t" })).await;
    let later = site.tokens(json!({ "sub": "alice", "sid": "u", "iat": now + 1 })).await;
    let bob = site.tokens(json!({ "sub": "bob", "sid": "v" })).await;
    let statuses = async || {
        let mut seen = Vec::new();
        for tokens in [&this, &other, &later, &bob] {
            seen.push(site.statuses(tokens).await[0]);
            assert_eq!(site.statuses(tokens).await, [seen[seen.len() - 1]; 2]);
        }
        seen
    };
    let token = site.issuer.logout_token(json!({ "aud": "spa", "sid": "s", "sub": "alice" }));
    assert_eq!(deliver(&site, &token).await, (200, String::new()));
    assert_eq!(statuses().await, [401, 200, 200, 200]);
    let token = site.issuer.logout_token(json!({ "aud": ["other", "bff"], "sub": "alice" }));
    assert_eq!(deliver(&site, &token).await, (200, String::new()));
    assert_eq!(statuses().await, [401, 401, 200, 200]);
    // A repeated delivery gets the same response, and has no effect.
    let repeated = |record: &Record| {
        record.value("issuer") == site.issuer.issuer() && record.value("outcome") == "repeated"
    };
    assert_eq!(logs::count(repeated), 0);
    assert_eq!(deliver(&site, &token).await, (200, String::new()));
    assert_eq!(logs::count(repeated), 1);
}

/// The tokens of one configuration can name several issuers, which may have users with the same `sub`.
#[actix_web::test]
async fn a_logout_concerns_the_tokens_of_its_issuer_whatever_they_name() {
    let (issuer, clock) = timed_issuer();
    let names = ["https://one.logout.example.test", "https://two.logout.example.test"];
    let (settings, ssf) = (jwts_only(&issuer).token_issuers(names), ssf(&issuer));
    let site = Site::start_with(issuer, clock, settings, ssf);
    let tokens = |sub: &str| names.map(|iss| site.issuer.jwt(json!({ "iss": iss, "sub": sub })));
    for (iss, statuses) in
        [(names[0], [401, 200]), (names[1], [200, 401]), (site.issuer.issuer(), [401, 401])]
    {
        let tokens = tokens(iss);
        assert_eq!(site.statuses(&tokens).await, [200, 200]);
        let token = site.issuer.logout_token(json!({ "iss": iss, "aud": "spa", "sub": iss }));
        assert_eq!(deliver(&site, &token).await.0, 200, "{iss}");
        assert_eq!(site.statuses(&tokens).await, statuses, "{iss}");
    }
}

#[actix_web::test]
async fn the_type_may_be_absent_as_in_older_versions() {
    let site = Site::start();
    for (number, typ) in [json!(null), json!("JWT"), json!("application/logout+jwt")].into_iter().enumerate()
    {
        let sid = number.to_string();
        let tokens = site.tokens(json!({ "sid": sid })).await;
        let options = JwtOptions::new().header("typ", typ);
        // Older servers send no `exp`.
        let claims = json!({ "aud": "spa", "sid": sid, "exp": null });
        let token = site.issuer.logout_token_with(options, claims);
        assert_eq!(deliver(&site, &token).await.0, 200);
        assert_eq!(site.statuses(&tokens).await, [401, 401]);
    }
}

#[actix_web::test]
async fn faults_are_rejected_and_have_no_effect() {
    logs::capture();
    let site = Site::start();
    let tokens = site.tokens(json!({ "sub": "alice", "sid": "s" })).await;
    let now = site.now();
    let claims = || json!({ "aud": "spa", "sid": "s", "sub": "alice" });
    for changes in [
        json!({ "iss": "https://elsewhere.example" }),
        json!({ "iss": null }),
        json!({ "aud": "app" }),
        json!({ "aud": site.issuer.audience() }),
        json!({ "aud": null }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "jti": " " }),
        json!({ "iat": null }),
        json!({ "iat": now + 61 }),
        json!({ "iat": now - 661 }),
        json!({ "exp": now - 60 }),
        json!({ "nonce": "n" }),
        json!({ "nonce": null, "events": null }),
        json!({ "events": {} }),
        json!({ "events": { "https://events.example/other": {} } }),
        json!({ "events": { LOGOUT: "yes" } }),
        json!({ "sid": null, "sub": null }),
        json!({ "sid": 7 }),
        json!({ "sid": "" }),
        json!({ "sid": " " }),
        json!({ "sub": "" }),
        json!({ "sid": null, "sub": "\t" }),
        json!({ "sub": [] }),
    ] {
        let token = site.issuer.logout_token(merged(claims(), &changes));
        assert_eq!(deliver(&site, &token).await, (400, REFUSED.to_owned()), "{changes}");
    }
    for (_, options) in bad_options(&site.issuer) {
        let token = site.issuer.logout_token_with(options.clone(), claims());
        assert_eq!(deliver(&site, &token).await, (400, REFUSED.to_owned()), "{options:?}");
    }
    let options = JwtOptions::new().header("typ", "secevent+jwt");
    let event = site.issuer.logout_token_with(options, claims());
    for token in [&event, &tokens[1], ""] {
        assert_eq!(deliver(&site, token).await, (400, REFUSED.to_owned()), "{token}");
    }
    assert_eq!(site.statuses(&tokens).await, [200, 200]);
    let malformed = |record: &Record| {
        record.value("issuer") == site.issuer.issuer()
            && record.value("outcome") == "rejected"
            && record.value("fault") == "malformed"
    };
    let before = logs::count(malformed);
    let blank = site.issuer.logout_token(merged(claims(), &json!({ "sid": " " })));
    assert_eq!(deliver(&site, &blank).await.0, 400);
    assert_eq!(logs::count(malformed), before + 1);
}

#[actix_web::test]
async fn requests_are_limited_in_method_form_and_size() {
    let site = Site::start();
    let token = site.issuer.logout_token(json!({ "aud": "spa", "sid": "s" }));
    for (content_type, body, status) in [
        (FORM, format!("logout_token={token}&other=1"), 200),
        ("application/json", format!("logout_token={token}"), 400),
        (FORM, format!("logout_token={token}&logout_token={token}"), 400),
        (FORM, String::new(), 400),
        (FORM, format!("logout_token={}", "a".repeat(64 * 1024)), 413),
    ] {
        let answer = site.app.post("/logout").body(content_type, &body).send().await;
        assert_eq!(answer.status, status, "{}", body.len());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert_eq!(site.app.get(&format!("/logout?logout_token={token}")).send().await.status, 405);
}

#[actix_web::test]
async fn a_flood_of_logout_tokens_fetches_keys_once() {
    let site = Site::start();
    site.tokens(json!({})).await;
    let fetched = || site.issuer.count(Endpoint::Jwks);
    assert_eq!(fetched(), 1);
    site.clock.advance(seconds(31));
    for number in 0..200 {
        let options = JwtOptions::new().kid(&number.to_string());
        let token = site.issuer.logout_token_with(options, json!({ "aud": "spa", "sid": "s" }));
        assert_eq!(deliver(&site, &token).await.0, 400);
    }
    assert_eq!(fetched(), 2);
}

#[actix_web::test]
async fn a_logout_token_is_not_rejected_because_keys_cannot_be_fetched() {
    let site = Site::start();
    site.issuer.fault(Endpoint::Jwks, Fault::status(500).times(1));
    let token = site.issuer.logout_token(json!({ "aud": "spa", "sid": "s" }));
    assert_eq!(deliver(&site, &token).await, (503, String::new()));
    site.clock.advance(seconds(5));
    assert_eq!(deliver(&site, &token).await.0, 200);
}

#[actix_web::test]
async fn no_body_causes_a_panic_or_a_5xx() {
    let site = Site::start();
    let token = site.issuer.logout_token(json!({ "aud": "spa", "sid": "s" }));
    for body in any_bodies(&format!("logout_token={token}")) {
        let status = site.app.post("/logout").body(FORM, &body).send().await.status;
        assert!([200, 400].contains(&status), "{status}: {body}");
    }
}
