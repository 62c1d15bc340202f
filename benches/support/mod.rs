//! Common parts of the benchmarks: an issuer, an API that trusts it, and requests that it has already accepted once.
#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "each benchmark uses a part of it, and stops where something is not as it expects"
)]

use std::time::Duration;

use actix_protect_api::{
    Claims, ClientAuthentication, ProtectApi, ProtectApiBuilder, Secret,
    bench::RequestPath,
    test::{Algorithm, JwtOptions, TestIssuer},
};
use actix_web::{
    dev::ServiceRequest,
    http::{
        Method,
        header::{AUTHORIZATION, HeaderValue},
    },
    test::TestRequest,
};
use serde_json::{Value, json};

/// Longer than any benchmark runs: no document grows old meanwhile.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// An API that introspects with the issuer's credentials, and keeps verdicts.
pub(crate) fn caching_api(issuer: &TestIssuer) -> ProtectApiBuilder {
    api(issuer).introspection_cache_duration(LONG)
}

/// An API that introspects with the issuer's credentials, at every request.
pub(crate) fn api(issuer: &TestIssuer) -> ProtectApiBuilder {
    let secret = ClientAuthentication::client_secret_post(Secret::from(issuer.client_secret()));
    ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), secret)
        .metadata_cache_duration(LONG)
        .jwks_cache_duration(LONG)
}

pub(crate) fn claims() -> Value {
    json!({ "sub": "user-7", "scope": "openid profile email read write", "groups": ["staff", "billing-admins", "eu-west"],
            "preferred_username": "user7", "email": "user7@example.test", "email_verified": true })
}

/// A token of 42 bytes that is active.
pub(crate) fn opaque(issuer: &TestIssuer) -> String {
    let minted = issuer.opaque(claims());
    let mut told = issuer.claims(&minted);
    told["active"] = true.into();
    let token = format!("{minted:x<42.42}");
    issuer.set_answer(&token, &told.to_string());
    token
}

/// A JWT of about 1 KB with RS256, less with the others.
pub(crate) fn jwt(issuer: &TestIssuer, algorithm: Algorithm) -> String {
    let mut claims = claims();
    claims["sid"] = "0b9a3a4e-6d7c-4c0e-8f5b-1a2b3c4d5e6f".into();
    claims["azp"] = "webapp".into();
    issuer.jwt_with(JwtOptions::new().algorithm(algorithm), claims)
}

/// The claims of a token as this crate sees them.
pub(crate) fn claims_of(issuer: &TestIssuer, token: &str) -> Claims {
    serde_json::from_value(issuer.claims(token)).expect("claims")
}

pub(crate) fn request(token: &str) -> ServiceRequest {
    with_token(token).to_srv_request()
}

/// The header's bytes are shared already, as they are where a server has read them: the first clone allocates nothing.
pub(crate) fn with_token(token: &str) -> TestRequest {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a token");
    let _sharing = value.clone();
    TestRequest::default().insert_header((AUTHORIZATION, value))
}

/// A call of a tool of an MCP server.
pub(crate) fn tool_call(token: &str) -> TestRequest {
    let params = json!({ "name": "write_document", "arguments": { "title": "Minutes", "text": "Nothing was decided." } });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    with_token(token).method(Method::POST).set_json(message)
}

/// An API, and a request that it has already accepted: no further call is needed.
pub(crate) fn warm(builder: ProtectApiBuilder, token: &str) -> (RequestPath, ServiceRequest) {
    let (way, request) = (RequestPath::new(&builder.build().expect("a configuration")), request(token));
    let accepted = actix_web::rt::System::new().block_on(way.accepts(&request));
    assert!(accepted, "the token is refused");
    (way, request)
}
