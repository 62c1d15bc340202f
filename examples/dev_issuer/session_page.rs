//! The page with the issued tokens, and its buttons.

use actix_web::{HttpRequest, HttpResponse, http::header::LOCATION, web};

use crate::{
    authorize::are_resources,
    choice::{Choice, Format},
    events,
    grants::Grant,
    issuer::{APP_ID, Issuer, Notice},
    pages,
    params::Params,
};

/// Shows the tokens.
pub(crate) async fn show(issuer: web::Data<Issuer>) -> HttpResponse {
    pages::tokens(&issuer)
}

/// Issues a token without a client, for example for curl.
pub(crate) async fn issue(issuer: web::Data<Issuer>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let parsed = Params::from_form(&request, &body).and_then(|params| {
        let choice = Choice::from_params(&params)?;
        let audience = params.get("audience").unwrap_or(&issuer.audience).to_owned();
        // The configured audience needs not be a URI.
        if audience != issuer.audience && !are_resources(std::slice::from_ref(&audience)) {
            return Err("the audience must be an absolute URI without fragment".to_owned());
        }
        Ok((choice, audience))
    });
    let (choice, audience) = match parsed {
        Ok(parsed) => parsed,
        Err(problem) => return pages::problem(&problem),
    };
    issuer.access_token(&Grant::new(APP_ID, choice.clone(), vec![audience]));
    issuer.lock().last_choice = Some(choice);
    back_with(&issuer, "The token is issued.".to_owned(), false)
}

/// Revokes a token, or ends its session and reports this to the receivers.
pub(crate) async fn act(issuer: web::Data<Issuer>, path: web::Path<(String, String)>) -> HttpResponse {
    let (id, action) = path.into_inner();
    let found =
        issuer.lock().grants.access_tokens().find(|token| token.id == id).map(|token| token.grant.clone());
    let Some(grant) = found else { return pages::problem("the token is unknown") };
    let mut is_problem = false;
    let notice = match action.as_str() {
        "revoke" => {
            issuer.lock().grants.revoke_by_id(&id);
            match grant.choice.format {
                Format::Opaque => "The token is revoked: introspection reports it as inactive.".to_owned(),
                Format::Jwt => {
                    "The token is revoked. An API that validates it locally accepts it until it expires, or \
                                until it receives an event."
                        .to_owned()
                }
            }
        }
        "event" | "logout" => {
            issuer.lock().grants.end_session(&grant.session);
            let results = if action == "event" {
                events::push_session_revoked(&issuer, &grant).await
            } else {
                events::send_logout_token(&issuer, &grant).await
            };
            is_problem = results.iter().any(|result| !result.is_success);
            let results: Vec<_> = results.into_iter().map(|result| result.text).collect();
            format!("The session of {:?} has ended. {}.", grant.choice.subject, results.join("; "))
        }
        _ => return pages::problem("the action is unknown"),
    };
    back_with(&issuer, notice, is_problem)
}

fn back_with(issuer: &Issuer, text: String, is_problem: bool) -> HttpResponse {
    issuer.lock().notice = Some(Notice { text, is_problem });
    HttpResponse::SeeOther().insert_header((LOCATION, "/")).finish()
}
