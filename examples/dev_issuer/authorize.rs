//! The authorization endpoint: authorization code with PKCE (RFC 6749 section 4.1, RFC 7636, RFC 8707, RFC 9207).
//!
//! The page sends the parameters of the request with the choice, and both are validated again. Therefore nothing is stored
//! until somebody has chosen.

use actix_web::{HttpRequest, HttpResponse, http::header::LOCATION, web};
use url::Url;

use crate::{
    choice::{Choice, parse_scopes},
    client::Client,
    grants::Grant,
    issuer::Issuer,
    pages,
    params::Params,
};

/// The parameters that the page sends again.
const PARAMETERS: [&str; 9] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "resource",
];
const MAX_RESOURCES: usize = 4;
const MAX_RESOURCE: usize = 512;
const MAX_STATE: usize = 2000;

/// A valid authorization request.
pub(crate) struct AuthorizationRequest {
    pub(crate) client: Client,
    pub(crate) redirect_uri: Url,
    pub(crate) scopes: Vec<String>,
    pub(crate) audience: Vec<String>,
    pub(crate) login_hint: Option<String>,
    pub(crate) parameters: Vec<(String, String)>,
    challenge: String,
    nonce: Option<String>,
}

/// The reason why a request is refused.
enum Refusal {
    /// The redirect URI cannot be trusted, so the page shows the problem.
    Page(String),
    /// The client gets the error at this URL.
    Redirect(Url),
}

impl From<Refusal> for HttpResponse {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Page(problem) => pages::problem(&problem),
            Refusal::Redirect(url) => redirect(&url),
        }
    }
}

/// Shows the page.
pub(crate) async fn show(issuer: web::Data<Issuer>, request: HttpRequest) -> HttpResponse {
    let parsed = Params::parse(request.query_string().as_bytes()).map_err(Refusal::Page);
    match parsed.and_then(|params| AuthorizationRequest::new(&issuer, &params)) {
        Ok(request) => pages::authorize(&issuer, &request),
        Err(refusal) => refusal.into(),
    }
}

/// Reads the choice and redirects to the client.
pub(crate) async fn decide(
    issuer: web::Data<Issuer>,
    request: HttpRequest,
    body: web::Bytes,
) -> HttpResponse {
    let params = match Params::from_form(&request, &body) {
        Ok(params) => params,
        Err(problem) => return pages::problem(&problem),
    };
    let request = match AuthorizationRequest::new(&issuer, &params) {
        Ok(request) => request,
        Err(refusal) => return refusal.into(),
    };
    let state = params.get("state");
    if params.get("decision") != Some("grant") {
        let problem = ("error_description", "the login was cancelled");
        let parameters = [("error", "access_denied"), problem];
        return redirect(&response_url(&issuer, &request.redirect_uri, state, &parameters));
    }
    let choice = match Choice::from_params(&params) {
        Ok(choice) => choice,
        Err(problem) => return pages::problem(&problem),
    };
    let mut grant = Grant::new(&request.client.client_id, choice.clone(), request.audience);
    grant.nonce = request.nonce;
    let redirect_uri = params.get("redirect_uri").unwrap_or_default().to_owned();
    let code = {
        let mut locked = issuer.lock();
        locked.last_choice = Some(choice);
        locked.grants.add_code(grant, redirect_uri, request.challenge)
    };
    redirect(&response_url(&issuer, &request.redirect_uri, state, &[("code", &code)]))
}

impl AuthorizationRequest {
    fn new(issuer: &Issuer, params: &Params) -> Result<Self, Refusal> {
        let id = params.get("client_id").ok_or_else(|| Refusal::Page("client_id is missing".to_owned()))?;
        let client = issuer.client(id).ok_or_else(|| {
            Refusal::Page(format!("the client {id:?} is unknown: register it, or use dev-app"))
        })?;
        let uri = params.get("redirect_uri").unwrap_or_default();
        let redirect_uri = client.redirect_uri(uri).ok_or_else(|| {
            let registered = client.redirect_uris.join(" ");
            Refusal::Page(format!("redirect_uri is {uri:?}, expected one of the client: {registered}"))
        })?;

        let state = params.get("state");
        let refuse = |error: &str, description: &str| {
            let state = state.filter(|state| state.len() <= MAX_STATE);
            let problem = [("error", error), ("error_description", description)];
            Refusal::Redirect(response_url(issuer, &redirect_uri, state, &problem))
        };
        let expect = |holds: bool, error: &str, description: &str| {
            if holds { Ok(()) } else { Err(refuse(error, description)) }
        };
        let is = |name: &str, value: &str| params.get(name).is_none_or(|given| given == value);
        let is_short = |name: &str| params.get(name).unwrap_or_default().len() <= MAX_STATE;
        let challenge = params.get("code_challenge").unwrap_or_default();
        let has_challenge = is_challenge(challenge) && params.get("code_challenge_method") == Some("S256");
        let resources: Vec<_> = params.all("resource").map(str::to_owned).collect();
        let invalid = "invalid_request";
        expect(is_short("state"), invalid, "state is too long")?;
        expect(is_short("nonce"), invalid, "nonce is too long")?;
        expect(params.get("request").is_none(), "request_not_supported", "request is not supported")?;
        expect(
            params.get("request_uri").is_none(),
            "request_uri_not_supported",
            "request_uri is not supported",
        )?;
        expect(params.get("response_type").is_some(), invalid, "response_type is missing")?;
        expect(is("response_type", "code"), "unsupported_response_type", "expected the response type code")?;
        expect(is("response_mode", "query"), invalid, "expected the response mode query")?;
        expect(
            client.may_use("authorization_code"),
            "unauthorized_client",
            "the client registered no such grant",
        )?;
        expect(has_challenge, invalid, "expected a code_challenge with the method S256")?;
        expect(params.get("prompt") != Some("none"), "login_required", "every login needs the page")?;
        expect(
            are_resources(&resources),
            "invalid_target",
            "expected at most 4 absolute URIs without fragment",
        )?;
        let scopes = parse_scopes(params.get("scope").unwrap_or_default())
            .map_err(|problem| refuse("invalid_scope", &problem))?;
        Ok(Self {
            audience: if resources.is_empty() { vec![issuer.audience.clone()] } else { resources },
            login_hint: params.get("login_hint").map(str::to_owned),
            parameters: params.only(&PARAMETERS),
            challenge: challenge.to_owned(),
            nonce: params.get("nonce").map(str::to_owned),
            client,
            redirect_uri,
            scopes,
        })
    }
}

/// Returns whether these can be the audience of a token (RFC 8707 section 2).
pub(crate) fn are_resources(resources: &[String]) -> bool {
    let is_resource = |text: &String| {
        text.len() <= MAX_RESOURCE && Url::parse(text).is_ok_and(|url| url.fragment().is_none())
    };
    resources.len() <= MAX_RESOURCES && resources.iter().all(is_resource)
}

/// Returns whether it can be the SHA-256 of a verifier, as base64url.
fn is_challenge(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Returns the redirect URI with the parameters of the response.
fn response_url(issuer: &Issuer, uri: &Url, state: Option<&str>, parameters: &[(&str, &str)]) -> Url {
    let mut uri = uri.clone();
    uri.query_pairs_mut()
        .extend_pairs(parameters)
        .extend_pairs(state.map(|state| ("state", state)))
        .append_pair("iss", issuer.url());
    uri
}

fn redirect(url: &Url) -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, url.as_str())).finish()
}
