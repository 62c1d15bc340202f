//! Dynamic client registration (RFC 7591).

use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    client::{Client, parse_redirect_uri},
    error::OAuthError,
    issuer::{Issuer, random_text, unix_time},
};

const MAX_REDIRECT_URIS: usize = 10;
const MAX_NAME: usize = 100;

/// The metadata that is used; other members are ignored (section 2).
#[derive(Deserialize)]
struct ClientMetadata {
    #[serde(default)]
    redirect_uris: Vec<String>,
    client_name: Option<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
}

/// Registers a client. It must be JSON, which a page of another origin cannot send without a preflight.
pub(crate) async fn register(
    issuer: web::Data<Issuer>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, OAuthError> {
    let invalid = |problem: String| OAuthError::new("invalid_client_metadata", problem);
    if !request.content_type().eq_ignore_ascii_case("application/json") {
        return Err(invalid("expected the content type application/json".to_owned()));
    }
    let metadata: ClientMetadata = serde_json::from_slice(&body)
        .map_err(|error| invalid(format!("the metadata is invalid: {error}")))?;
    let client = new_client(metadata)?;
    let mut response = serde_json::to_value(&client).unwrap_or_default();
    if let Some(members) = response.as_object_mut() {
        members.insert("response_types".to_owned(), json!(["code"]));
        if client.client_secret.is_some() {
            members.insert("client_secret_expires_at".to_owned(), Value::from(0));
        }
    }
    issuer.add_client(client).map_err(|error| invalid(format!("the client was not saved: {error}")))?;
    Ok(HttpResponse::Created().json(response))
}

fn new_client(metadata: ClientMetadata) -> Result<Client, OAuthError> {
    let invalid = |problem: &str| Err(OAuthError::new("invalid_client_metadata", problem));
    let method = metadata.token_endpoint_auth_method.unwrap_or_else(|| "client_secret_basic".to_owned());
    if !["none", "client_secret_basic", "client_secret_post"].contains(&method.as_str()) {
        return invalid(
            "token_endpoint_auth_method: expected none, client_secret_basic or client_secret_post",
        );
    }
    let is_public = method == "none";
    let mut grant_types = metadata.grant_types.unwrap_or_else(|| vec!["authorization_code".to_owned()]);
    // The server may replace values (section 3.2.1).
    grant_types.retain(|one| match one.as_str() {
        "authorization_code" | "refresh_token" => true,
        "client_credentials" => !is_public,
        _ => false,
    });
    grant_types.sort();
    grant_types.dedup();
    if grant_types.is_empty() {
        return invalid("grant_types: expected authorization_code, refresh_token or client_credentials");
    }
    if metadata.response_types.is_some_and(|types| !types.iter().any(|one| one == "code")) {
        return invalid("response_types: expected code");
    }
    let uses_redirects = grant_types.iter().any(|one| one == "authorization_code");
    if uses_redirects && metadata.redirect_uris.is_empty() || metadata.redirect_uris.len() > MAX_REDIRECT_URIS
    {
        let problem = format!("redirect_uris: expected 1 to {MAX_REDIRECT_URIS}");
        return Err(OAuthError::new("invalid_redirect_uri", problem));
    }
    for uri in &metadata.redirect_uris {
        parse_redirect_uri(uri).map_err(|problem| {
            OAuthError::new("invalid_redirect_uri", format!("a redirect URI {problem}"))
        })?;
    }
    let name = metadata.client_name.unwrap_or_else(|| "A registered client".to_owned());
    Ok(Client {
        client_id: random_text::<12>(),
        client_id_issued_at: unix_time(),
        client_name: name.chars().filter(|character| !character.is_control()).take(MAX_NAME).collect(),
        client_secret: if is_public { None } else { Some(random_text::<32>()) },
        token_endpoint_auth_method: method,
        redirect_uris: metadata.redirect_uris,
        grant_types,
    })
}
