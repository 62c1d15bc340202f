//! The token endpoint (RFC 6749 section 3.2), revocation (RFC 7009) and introspection (RFC 7662).

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use crate::{
    authorize::are_resources,
    choice::{Choice, parse_scopes},
    client::{Client, Credentials},
    error::OAuthError,
    grants::Grant,
    issuer::{API_ID, Issuer},
    params::Params,
};

/// Issues tokens.
pub(crate) async fn issue(
    issuer: web::Data<Issuer>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, OAuthError> {
    let (params, client) = authenticated(&issuer, &request, &body)?;
    let grant_type = params.get("grant_type").unwrap_or_default();
    if !["authorization_code", "refresh_token", "client_credentials"].contains(&grant_type) {
        let problem = "expected authorization_code, refresh_token or client_credentials";
        return Err(OAuthError::new("unsupported_grant_type", problem));
    }
    if !client.may_use(grant_type) {
        return Err(OAuthError::new("unauthorized_client", "the client registered no such grant"));
    }
    let expected = |name: &str| {
        params.get(name).ok_or_else(|| OAuthError::invalid_request(format!("{name} is missing")))
    };
    let grant = match grant_type {
        "authorization_code" => {
            let (code, verifier) = (expected("code")?, expected("code_verifier")?);
            let redirect_uri = params.get("redirect_uri");
            issuer.lock().grants.redeem_code(code, &client.client_id, redirect_uri, verifier)?
        }
        "refresh_token" => {
            let token = expected("refresh_token")?;
            let check = |grant: &Grant| narrowed(grant.clone(), &params).map(drop);
            issuer.lock().grants.redeem_refresh_token(token, &client.client_id, check)?
        }
        _ => machine(&issuer, &client, &params)?,
    };
    let is_machine = grant_type == "client_credentials";
    // A refresh token keeps everything that was granted, also if this access token has less (RFC 6749 section 6).
    let refresh_token = (!is_machine && client.may_use("refresh_token"))
        .then(|| issuer.lock().grants.add_refresh_token(grant.clone()));
    let grant = if is_machine { grant } else { narrowed(grant, &params)? };
    Ok(HttpResponse::Ok().json(response(&issuer, &grant, refresh_token, is_machine)))
}

fn response(issuer: &Issuer, grant: &Grant, refresh_token: Option<String>, is_machine: bool) -> Value {
    let mut response = json!({
        "access_token": issuer.access_token(grant),
        "token_type": "Bearer",
        "expires_in": grant.choice.lifetime,
        "scope": grant.choice.scopes.join(" "),
    });
    let id_token = (!is_machine && grant.has_scope("openid")).then(|| issuer.id_token(grant));
    if let Some(members) = response.as_object_mut() {
        let further = [("refresh_token", refresh_token), ("id_token", id_token)];
        members
            .extend(further.into_iter().filter_map(|(name, token)| Some((name.to_owned(), token?.into()))));
    }
    response
}

/// Returns the grant of a client without a user (RFC 6749 section 4.4).
fn machine(issuer: &Issuer, client: &Client, params: &Params) -> Result<Grant, OAuthError> {
    let scopes = scopes(params)?.unwrap_or_default();
    let resources = resources(params)?;
    let audience = if resources.is_empty() { vec![issuer.audience.clone()] } else { resources };
    let subject = client.client_id.clone();
    let choice = Choice { subject, scopes, ..Choice::first(issuer.format) };
    Ok(Grant::new(&client.client_id, choice, audience))
}

/// Reduces the grant to the requested scopes and resources, which must have been granted.
fn narrowed(mut grant: Grant, params: &Params) -> Result<Grant, OAuthError> {
    if let Some(scopes) = scopes(params)? {
        if !scopes.iter().all(|scope| grant.has_scope(scope)) {
            return Err(OAuthError::new("invalid_scope", "expected scopes that were granted"));
        }
        grant.choice.scopes = scopes;
    }
    let resources = resources(params)?;
    if !resources.iter().all(|resource| grant.audience.contains(resource)) {
        return Err(OAuthError::new("invalid_target", "expected resources that were granted"));
    }
    if !resources.is_empty() {
        grant.audience = resources;
    }
    Ok(grant)
}

fn scopes(params: &Params) -> Result<Option<Vec<String>>, OAuthError> {
    let scopes = params.get("scope").map(parse_scopes).transpose();
    scopes.map_err(|problem| OAuthError::new("invalid_scope", problem))
}

fn resources(params: &Params) -> Result<Vec<String>, OAuthError> {
    let resources: Vec<_> = params.all("resource").map(str::to_owned).collect();
    if are_resources(&resources) {
        Ok(resources)
    } else {
        Err(OAuthError::new("invalid_target", "expected absolute URIs without fragment"))
    }
}

/// Revokes a token of the client. An unknown token is no error.
pub(crate) async fn revoke(
    issuer: web::Data<Issuer>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, OAuthError> {
    let (params, client) = authenticated(&issuer, &request, &body)?;
    let token = params.get("token").ok_or_else(|| OAuthError::invalid_request("token is missing"))?;
    issuer.lock().grants.revoke(token, &client.client_id);
    Ok(HttpResponse::Ok().finish())
}

/// Reports whether a token is active, to the API only.
pub(crate) async fn introspect(
    issuer: web::Data<Issuer>,
    request: HttpRequest,
    body: web::Bytes,
) -> Result<HttpResponse, OAuthError> {
    let (params, client) = authenticated(&issuer, &request, &body)?;
    if client.client_id != API_ID {
        return Err(OAuthError::invalid_client());
    }
    let token = params.get("token").ok_or_else(|| OAuthError::invalid_request("token is missing"))?;
    let state = issuer.lock();
    let mut answer = json!({ "active": false });
    if let Some(found) = state.grants.find(token).filter(|found| found.is_active()) {
        answer = found.claims.clone();
        if let Some(members) = answer.as_object_mut() {
            members.insert("active".to_owned(), json!(true));
            members.insert("token_type".to_owned(), json!("Bearer"));
        }
    }
    Ok(HttpResponse::Ok().json(answer))
}

fn authenticated(
    issuer: &Issuer,
    request: &HttpRequest,
    body: &[u8],
) -> Result<(Params, Client), OAuthError> {
    let params = Params::from_form(request, body).map_err(OAuthError::invalid_request)?;
    let credentials = Credentials::from_request(request, &params)?;
    let client = issuer.client(&credentials.client_id).ok_or_else(OAuthError::invalid_client)?;
    credentials.verify(&client)?;
    Ok((params, client))
}
