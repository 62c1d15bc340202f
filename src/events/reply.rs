//! The responses to those who deliver events. They contain no reason that depends on the configuration.

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header::{
        CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    },
};

use super::body::BodyFault;
use crate::error::{AuthError, AuthErrorKind, TokenFault};

/// The error codes of RFC 8935 section 2.4.
pub(super) fn error_code(kind: AuthErrorKind) -> &'static str {
    match kind {
        AuthErrorKind::InvalidToken(TokenFault::Signature | TokenFault::UnknownKey) => "invalid_key",
        AuthErrorKind::InvalidToken(TokenFault::Issuer) => "invalid_issuer",
        AuthErrorKind::InvalidToken(TokenFault::Audience) => "invalid_audience",
        AuthErrorKind::MissingToken => "authentication_failed",
        _ => "invalid_request",
    }
}

/// The response to an accepted security event token (RFC 8935 section 2.2).
pub(super) fn accepted() -> HttpResponse {
    no_store(HttpResponse::Accepted()).finish()
}

/// The response to an accepted logout token (OpenID Connect Back-Channel Logout 1.0 section 2.8).
pub(super) fn logged_out() -> HttpResponse {
    no_store(HttpResponse::Ok()).finish()
}

/// The response to an accepted request of a webhook.
pub(super) fn no_content() -> HttpResponse {
    no_store(HttpResponse::NoContent()).finish()
}

/// The response to a security event token that was not accepted.
pub(super) fn set_refused(error: &AuthError) -> HttpResponse {
    let code = error_code(error.kind());
    let body =
        format!("{{\"err\":\"{code}\",\"description\":\"The security event token was not accepted\"}}");
    if error.is_client_fault() { bad_request(body) } else { unavailable(error) }
}

/// The response to a logout token that was not accepted.
pub(super) fn logout_refused(error: &AuthError) -> HttpResponse {
    let body = "{\"error\":\"invalid_request\",\"error_description\":\"The logout token was not accepted\"}";
    if error.is_client_fault() { bad_request(body.to_owned()) } else { unavailable(error) }
}

/// The response to a request of a webhook that was not accepted.
pub(super) fn webhook_refused(error: &AuthError) -> HttpResponse {
    match error.kind() {
        AuthErrorKind::MissingToken => {
            let challenge = HeaderValue::from_static("Bearer");
            no_store(HttpResponse::Unauthorized()).insert_header((WWW_AUTHENTICATE, challenge)).finish()
        }
        _ if error.is_client_fault() => no_store(HttpResponse::BadRequest()).finish(),
        _ => unavailable(error),
    }
}

/// The response to a body that was not read.
pub(super) fn unread(fault: BodyFault) -> HttpResponse {
    let mut response = match fault {
        BodyFault::TooLarge => HttpResponse::PayloadTooLarge(),
        BodyFault::TimedOut => HttpResponse::RequestTimeout(),
        BodyFault::Broken => HttpResponse::BadRequest(),
    };
    // The rest of the body is not read.
    response.force_close();
    no_store(response).finish()
}

fn bad_request(body: String) -> HttpResponse {
    no_store(HttpResponse::BadRequest())
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .insert_header((CONTENT_LANGUAGE, HeaderValue::from_static("en")))
        .body(body)
}

/// The event must be delivered again.
fn unavailable(error: &AuthError) -> HttpResponse {
    let mut response = match error.kind() {
        AuthErrorKind::Upstream(_) => HttpResponse::ServiceUnavailable(),
        _ => HttpResponse::InternalServerError(),
    };
    if let Some(after) = error.retry_after() {
        response.insert_header((RETRY_AFTER, after.as_secs() + 1));
    }
    no_store(response).finish()
}

fn no_store(mut response: HttpResponseBuilder) -> HttpResponseBuilder {
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    response
}
