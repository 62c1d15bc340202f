//! The responses of each endpoint without a fault.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::test::{
    algorithm::Algorithm,
    client::{self, RegisteredClient},
    endpoint::{Endpoint, RecordedRequest},
    http::Response,
    jwt::JwtOptions,
    key, security_event,
    state::{IssuerState, Token},
};

/// Returns the real response to a request.
pub(super) fn to(state: &mut IssuerState, endpoint: Endpoint, request: &RecordedRequest) -> Response {
    if state.desk(endpoint).closed {
        return Response::empty(404);
    }
    match endpoint {
        Endpoint::Discovery | Endpoint::AuthorizationServerMetadata => {
            open(request, "GET", |_| Ok(Response::json(200, state.metadata.to_string())))
        }
        Endpoint::Jwks => open(request, "GET", |_| {
            let keys = state.keys.document().to_string();
            Ok(Response::json(200, keys).with("Content-Type", &state.keys.content_type))
        }),
        Endpoint::Token => open(request, "POST", |request| token(state, request)),
        Endpoint::Revocation => open(request, "POST", |request| revoke(state, request)),
        Endpoint::Introspection if request.method == "POST" => {
            introspect(state, request).unwrap_or_else(|no| no)
        }
        Endpoint::SsfConfiguration => {
            let configuration = security_event::configuration(state).to_string();
            open(request, "GET", |_| Ok(Response::json(200, configuration)))
        }
        Endpoint::Poll if request.method == "POST" => security_event::poll(state, request),
        Endpoint::Introspection | Endpoint::Poll => Response::empty(405).with("Allow", "POST"),
        Endpoint::Other => Response::empty(404),
    }
}

/// Returns the response with CORS headers, so that pages of any origin may call the endpoint (Fetch standard, CORS
/// protocol). Cookies are never used as credentials here.
fn open(
    request: &RecordedRequest,
    method: &str,
    answer: impl FnOnce(&RecordedRequest) -> Result<Response, Response>,
) -> Response {
    let response = match request.method.as_str() {
        "OPTIONS" => Response::empty(204)
            .with("Access-Control-Allow-Methods", method)
            .with("Access-Control-Allow-Headers", "Authorization, Content-Type"),
        given if given == method => answer(request).unwrap_or_else(|no| no),
        _ => Response::empty(405).with("Allow", method),
    };
    response.with("Access-Control-Allow-Origin", "*")
}

/// Introspects a token (RFC 7662 section 2).
fn introspect(state: &mut IssuerState, request: &RecordedRequest) -> Result<Response, Response> {
    let form = client::form(request)?;
    authenticate(state, Who::ResourceServer, request, &form)?;
    let token = form.get("token").ok_or_else(|| client::error(400, "invalid_request"))?;
    let body = match state.tokens.get(token) {
        Some(Token { answer: Some(answer), .. }) => answer.clone(),
        Some(token) if state.is_active(token) => {
            let mut answer = token.claims.clone();
            answer.insert("active".to_owned(), json!(true));
            Value::Object(answer).to_string()
        }
        _ => json!({ "active": false }).to_string(),
    };
    Ok(Response::json(200, body))
}

/// Issues a token for the client credentials grant (RFC 6749 section 4.4).
fn token(state: &mut IssuerState, request: &RecordedRequest) -> Result<Response, Response> {
    let form = client::form(request)?;
    let app = authenticate(state, Who::App, request, &form)?;
    let (id, mut claims) = (app.id.clone(), app.claims.clone());
    match form.get("grant_type").map(String::as_str) {
        Some("client_credentials") => {}
        Some(_) => return Err(client::error(400, "unsupported_grant_type")),
        None => return Err(client::error(400, "invalid_request")),
    }
    if let (Some(scope), Some(members)) = (form.get("scope"), claims.as_object_mut()) {
        members.insert("scope".to_owned(), json!(scope));
    }
    let scope = claims.get("scope").cloned().unwrap_or_else(|| json!(""));
    let claims = [json!({ "client_id": id, "sub": id }), claims];
    let token = if state.jwt_access_tokens {
        mint_jwt(state, JwtOptions::new(), claims)
    } else {
        mint_opaque(state, claims)
    };
    Ok(Response::json(
        200,
        json!({ "access_token": token, "token_type": "Bearer", "expires_in": super::LIFETIME, "scope": scope })
            .to_string(),
    ))
}

/// Revokes a token (RFC 7009 section 2). An unknown token is treated as revoked. Every app may revoke every token.
fn revoke(state: &mut IssuerState, request: &RecordedRequest) -> Result<Response, Response> {
    let form = client::form(request)?;
    authenticate(state, Who::App, request, &form)?;
    let token = form.get("token").ok_or_else(|| client::error(400, "invalid_request"))?;
    if let Some(token) = state.tokens.get_mut(token) {
        token.revoked = true;
    }
    Ok(Response::empty(200))
}

#[derive(Clone, Copy)]
enum Who {
    ResourceServer,
    App,
}

fn authenticate<'a>(
    state: &'a mut IssuerState,
    who: Who,
    request: &RecordedRequest,
    form: &BTreeMap<String, String>,
) -> Result<&'a RegisteredClient, Response> {
    let clients = match who {
        Who::ResourceServer => &state.resource_servers,
        Who::App => &state.apps,
    };
    let now = state.clock.unix_time();
    client::authenticate(clients, request, form, &mut state.assertions, &state.issuer, now)
}

/// Creates a random string that refers to the claims.
pub(super) fn mint_opaque(state: &mut IssuerState, claims: impl IntoIterator<Item = Value>) -> String {
    let token = key::base64url(&key::random::<32>());
    let claims = state.claims(claims);
    state.tokens.insert(token.clone(), Token { claims, ..Token::default() });
    token
}

/// Creates a signed token that contains the claims and can be introspected as well.
pub(super) fn mint_jwt(
    state: &mut IssuerState,
    options: JwtOptions,
    claims: impl IntoIterator<Item = Value>,
) -> String {
    // RFC 9068 section 2.2: without a user, the subject is the client.
    let defaults = json!({ "sub": super::APP_ID, "jti": key::base64url(&key::random::<16>()) });
    let claims = state.claims([defaults].into_iter().chain(claims));
    let keys = &mut state.keys;
    let token = options.build(&claims, |algorithm| keys.signing(algorithm.unwrap_or(Algorithm::ES256)));
    state.tokens.insert(token.clone(), Token { claims, ..Token::default() });
    token
}
