//! Errors of the configuration at the start.

use std::panic::AssertUnwindSafe;

use actix_protect_api::{
    ConfigError, ProtectApi,
    test::{Algorithm, Endpoint, TestIssuer, TestKey},
};
use serde_json::json;

use super::{
    Line, Walk, Walked,
    api::{api_of, works},
    message, walks,
};

pub(super) fn walks() -> Vec<(&'static str, Walk)> {
    walks! {
        "…AUDIENCE: is missing, expected …" => audience_is_missing,
        "…TENANT_DOMAIN: is \"http://…\", expected an https URL …" => domain_is_not_https,
        "…TENANT_DOMAIN: is \"https://…\", expected the issuer, without …" => domain_is_a_document,
        "…CLIENT_ID: is missing, but …CLIENT_SECRET is set" => secret_without_client,
        "…CLIENT_SECRET: does not fit private_key_jwt: …" => key_that_is_none,
        "…INTROSPECT_JWT_TOKENS: is true, but there are no client credentials …" => introspection_without_client,
        "…JWKS_CACHE_DURATION: is 0 s, expected a duration from 1 s to 86400 s (1 d)" => duration_out_of_bounds,
        "\"posts write\" is not a scope (RFC 6749 section 3.3)" => two_scopes_in_one,
    }
}

const PREFIX: &str = "MONOCLOUD_BACKEND_";

/// Reads the issuer's variables with these changes; an empty value is the same as none.
fn read(issuer: &TestIssuer, changes: &[(&str, &str)]) -> Result<ProtectApi, ConfigError> {
    let changes = changes.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()));
    let mut variables = issuer.variables();
    for (name, value) in changes {
        variables.retain(|(before, _)| *before != name);
        variables.push((name, value));
    }
    ProtectApi::try_from_variables(PREFIX, variables)
}

/// Wrong variables are the one problem; with the right ones, the API serves an opaque token and a JWT as it should.
async fn walk(issuer: &TestIssuer, wrong: &[(&str, &str)], right: &[(&str, &str)]) -> Walked {
    let error = read(issuer, wrong).unwrap_err();
    assert_eq!(error.problems().len(), 1, "{error}");
    let app = api_of(read(issuer, right).unwrap());
    works(app.get("/").token(&issuer.jwt(json!({})))).await;
    let after = format!("starts; {}", works(app.get("/").token(&issuer.opaque(json!({})))).await);
    Walked { lines: vec![Line::Message(error.problems()[0].to_string())], after }
}

async fn audience_is_missing() -> Walked {
    let issuer = TestIssuer::start();
    walk(&issuer, &[("AUDIENCE", "")], &[("AUDIENCE", issuer.audience())]).await
}

async fn domain_is_not_https() -> Walked {
    let issuer = TestIssuer::start();
    let https = "https://as.example.test";
    assert!(read(&issuer, &[("TENANT_DOMAIN", https)]).is_ok());
    walk(&issuer, &[("TENANT_DOMAIN", "http://as.example.test")], &[("TENANT_DOMAIN", issuer.issuer())]).await
}

async fn domain_is_a_document() -> Walked {
    let issuer = TestIssuer::start();
    let url = issuer.url(Endpoint::Discovery);
    let both = [("TENANT_DOMAIN", issuer.issuer()), ("METADATA_URL", &url)];
    let https = "https://as.example.test/.well-known/openid-configuration";
    walk(&issuer, &[("TENANT_DOMAIN", https)], &both).await
}

async fn secret_without_client() -> Walked {
    let issuer = TestIssuer::start();
    assert!(read(&issuer, &[("CLIENT_ID", ""), ("CLIENT_SECRET", "")]).is_ok(), "none of both");
    walk(&issuer, &[("CLIENT_ID", "")], &[("CLIENT_ID", issuer.client_id())]).await
}

async fn key_that_is_none() -> Walked {
    let key = TestKey::generate(Algorithm::ES256, "of-the-api");
    let issuer = TestIssuer::builder().client_with_key("with-a-key", &key).start();
    let with = |secret| {
        [("CLIENT_ID", "with-a-key"), ("CLIENT_AUTH_METHOD", "private_key_jwt"), ("CLIENT_SECRET", secret)]
    };
    let jwk = key.private_jwk().to_string();
    walk(&issuer, &with("-----BEGIN PRIVATE KEY-----"), &with(&jwk)).await
}

async fn introspection_without_client() -> Walked {
    let issuer = TestIssuer::start();
    let without = [("CLIENT_ID", ""), ("CLIENT_SECRET", ""), ("INTROSPECT_JWT_TOKENS", "true")];
    assert!(
        read(&issuer, &[("CLIENT_ID", ""), ("CLIENT_SECRET", ""), ("INTROSPECT_JWT_TOKENS", "false")])
            .is_ok()
    );
    walk(&issuer, &without, &[("INTROSPECT_JWT_TOKENS", "true")]).await
}

async fn duration_out_of_bounds() -> Walked {
    let issuer = TestIssuer::start();
    walk(&issuer, &[("JWKS_CACHE_DURATION", "0")], &[("JWKS_CACHE_DURATION", "1")]).await
}

async fn two_scopes_in_one() -> Walked {
    let issuer = TestIssuer::start();
    let protect = read(&issuer, &[]).unwrap();
    let wrong = protect.clone();
    let build = AssertUnwindSafe(|| wrong.scopes(["posts write"]));
    let panic = std::panic::catch_unwind(build).unwrap_err();
    let app = api_of(protect.scopes(["posts", "write"]));
    let after = works(app.get("/").token(&issuer.opaque(json!({ "scope": "write posts" })))).await;
    Walked { lines: vec![Line::Message(message(&*panic))], after: format!("starts; {after}") }
}
