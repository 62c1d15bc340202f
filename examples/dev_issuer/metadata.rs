//! The documents by which clients and APIs find the endpoints and the keys.

use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::issuer::Issuer;

/// The metadata (RFC 8414 section 2, OpenID Connect Discovery 1.0 section 3), the same in both places.
pub(crate) async fn authorization_server(issuer: web::Data<Issuer>) -> HttpResponse {
    let url = issuer.url();
    HttpResponse::Ok().json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "registration_endpoint": format!("{url}/register"),
        "revocation_endpoint": format!("{url}/revoke"),
        "introspection_endpoint": format!("{url}/introspect"),
        "jwks_uri": format!("{url}/jwks"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "scopes_supported": ["openid", "offline_access"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "authorization_response_iss_parameter_supported": true,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
    }))
}

/// The configuration of the transmitter of security events (Shared Signals Framework 1.0 section 7.1).
pub(crate) async fn transmitter(issuer: web::Data<Issuer>) -> HttpResponse {
    let url = issuer.url();
    HttpResponse::Ok().json(json!({
        "spec_version": "1_0",
        "issuer": url,
        "jwks_uri": format!("{url}/jwks"),
        "delivery_methods_supported": ["urn:ietf:rfc:8935"],
    }))
}

/// The public keys (RFC 7517).
pub(crate) async fn keys(issuer: web::Data<Issuer>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/jwk-set+json").body(issuer.public_keys().to_string())
}
