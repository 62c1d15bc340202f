//! 400 and 403: malformed credentials, and valid tokens without the required scope or group.

use actix_protect_api::test::TestIssuer;
use serde_json::json;

use super::{
    Walk, Walked,
    api::{api, authorized, refused, works},
    walks,
};
use crate::support::service::introspecting;

pub(super) fn malformed() -> Vec<(&'static str, Walk)> {
    walks! {
        "the Authorization header is malformed…" => malformed_header,
        "there is more than one Authorization header" => two_headers,
        "the token is too long" => long_token,
    }
}

pub(super) fn forbidden() -> Vec<(&'static str, Walk)> {
    walks! {
        "a required scope is missing: …" => missing_scope,
        "a required group is missing: …" => missing_group,
        "a claim rule is not met: \"…\"" => claim_rule,
    }
}

async fn malformed_header() -> Walked {
    let issuer = TestIssuer::start();
    let (app, token) = (api(introspecting(&issuer)), issuer.opaque(json!({})));
    let mut lines = Vec::new();
    for wrong in [format!("Bearer \"{token}\""), "Bearer ".to_owned(), format!("Bearer {token} {token}")] {
        let line = refused(authorized(&app, &wrong), 400).await;
        let is_empty = wrong == "Bearer ";
        assert_eq!(line.text.contains("there is no token after \"Bearer\""), is_empty, "{wrong:?}: {line}");
        lines.push(line);
    }
    Walked::new(lines, works(authorized(&app, &format!("Bearer {token}"))).await)
}

async fn two_headers() -> Walked {
    let issuer = TestIssuer::start();
    let (app, token) = (api(introspecting(&issuer)), issuer.opaque(json!({})));
    let line = refused(app.get("/").token("of-the-caller").token(&token), 400).await;
    Walked::new([line], works(app.get("/").token(&token)).await)
}

async fn long_token() -> Walked {
    let issuer = TestIssuer::start();
    let token = issuer.jwt(json!({ "padding": "x".repeat(20_000) }));
    let line = refused(api(introspecting(&issuer)).get("/").token(&token), 400).await;
    let roomy = api(introspecting(&issuer).max_token_length(64 * 1024));
    works(roomy.get("/").token(&token)).await;
    Walked::new([line], works(api(introspecting(&issuer)).get("/").token(&issuer.jwt(json!({})))).await)
}

async fn missing_scope() -> Walked {
    let issuer = TestIssuer::start();
    let (wrong, right) = (json!({ "scope": "READ read:all" }), json!({ "scp": ["read"] }));
    let app = api(introspecting(&issuer));
    let answer = app.get("/read").token(&issuer.jwt(wrong.clone())).send().await;
    assert!(answer.challenge().unwrap().ends_with("scope=\"read\""), "{answer:?}");
    let line = refused(app.get("/read").token(&issuer.opaque(wrong)), 403).await;
    let permissions = issuer.jwt(json!({ "permissions": ["read"] }));
    works(api(introspecting(&issuer).scope_claims(["permissions"])).get("/read").token(&permissions)).await;
    Walked::new([line], works(app.get("/read").token(&issuer.opaque(right))).await)
}

async fn missing_group() -> Walked {
    let issuer = TestIssuer::start();
    let token = issuer.jwt(json!({ "roles": ["engineering"], "groups": "engineering sales" }));
    let line = refused(api(introspecting(&issuer)).get("/team").token(&token), 403).await;
    works(api(introspecting(&issuer).groups_delimited(true)).get("/team").token(&token)).await;
    let app = api(introspecting(&issuer).groups_claim("roles"));
    Walked::new([line], works(app.get("/team").token(&token)).await)
}

async fn claim_rule() -> Walked {
    let issuer = TestIssuer::start();
    let app =
        api(introspecting(&issuer).claim_rule("own tenant", |claims| claims.string("tid") == Some("a")));
    let line = refused(app.get("/").token(&issuer.jwt(json!({ "tid": "b" }))), 403).await;
    Walked::new([line], works(app.get("/").token(&issuer.jwt(json!({ "tid": "a" })))).await)
}
