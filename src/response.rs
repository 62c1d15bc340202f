//! The one mapping from [`AuthError`] to an answer: status, challenge and body. Whichever door refuses (the
//! middleware, an extractor, a guard in a handler), the answer is made here.
#![deny(clippy::wildcard_enum_match_arm)]

use std::{fmt, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    web::Bytes,
};
use serde_json::json;

use crate::{
    challenge::Challenge,
    error::{AuthError, AuthErrorKind},
    limiter::Limiter,
    observe::Observer,
};

/// Writes the body of refusals. The status and the headers are not its to change.
///
/// Implemented for closures, so `.renderer(|error, request| ErrorBody::json(..))` works. The body goes to a stranger:
/// put nothing into it that tells why exactly a token was refused. Default: `{"message":"unauthorized"}` and the like.
pub trait ErrorRenderer: Send + Sync {
    /// The body for this refusal of this request.
    fn render(&self, error: &AuthError, request: &HttpRequest) -> ErrorBody;
}

impl<F: Fn(&AuthError, &HttpRequest) -> ErrorBody + Send + Sync> ErrorRenderer for F {
    fn render(&self, error: &AuthError, request: &HttpRequest) -> ErrorBody {
        self(error, request)
    }
}

/// The body of a refusal and its content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    content_type: HeaderValue,
    bytes: Bytes,
}

impl ErrorBody {
    /// Any bytes with any content type.
    ///
    /// # Panics
    /// If the content type cannot stand in a header. Make bodies of constant types only.
    pub fn new(content_type: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { content_type: HeaderValue::from_static(content_type), bytes: bytes.into().into() }
    }

    /// `application/json`.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::new("application/json", value.to_string())
    }

    /// `text/plain`, UTF-8.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new("text/plain; charset=utf-8", text.into())
    }

    /// No body at all.
    pub fn empty() -> Self {
        Self::new("text/plain; charset=utf-8", "")
    }

    fn of_message(message: &'static str, reference: Option<&str>) -> Self {
        Self::json(&match reference {
            Some(reference) => json!({ "message": message, "reference": reference }),
            None => json!({ "message": message }),
        })
    }
}

/// The renderer for `application/problem+json` (RFC 9457): `type` (`about:blank`), `title` and `status`.
///
/// ```
/// use actix_protect_api::{ProblemJson, ProtectApi};
///
/// let protect = ProtectApi::builder("https://issuer.example.test", "my-api").renderer(ProblemJson).build()?;
/// # Ok::<(), actix_protect_api::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it is named as a value, as in the example")]
pub struct ProblemJson;

impl ErrorRenderer for ProblemJson {
    fn render(&self, error: &AuthError, _: &HttpRequest) -> ErrorBody {
        let status = status(error.kind());
        let title = status.canonical_reason().unwrap_or_default();
        let problem = json!({ "type": "about:blank", "title": title, "status": status.as_u16() });
        ErrorBody::new("application/problem+json", problem.to_string())
    }
}

/// How one API answers: its challenge parameters and its renderer.
#[derive(Default)]
pub(crate) struct Answers {
    challenge: Challenge,
    renderer: Option<Arc<dyn ErrorRenderer>>,
    /// Whether bodies carry the reference of the log record.
    shows_reference: bool,
    warnings: Limiter,
    errors: Limiter,
    /// Whose answers they are; nobody's on a route without a mount.
    observer: Option<Arc<Observer>>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("challenge", &self.challenge).finish_non_exhaustive()
    }
}

impl Answers {
    pub(crate) fn new(challenge: Challenge, renderer: Option<Arc<dyn ErrorRenderer>>) -> Self {
        Self { challenge, renderer, ..Self::default() }
    }

    pub(crate) fn of(mut self, observer: Arc<Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    pub(crate) fn showing_reference(mut self, shows: bool) -> Self {
        self.shows_reference = shows;
        self
    }

    /// Turns an error into its answer, and logs it.
    pub(crate) fn reject(&self, error: AuthError, request: &HttpRequest) -> Rejection {
        if let Some(observer) = &self.observer {
            observer.failed(&error);
        }
        let error = self.log(error);
        let challenge = challenge(&self.challenge, &error);
        let body = match &self.renderer {
            Some(renderer) => renderer.render(&error, request),
            None => ErrorBody::of_message(
                message(error.kind()),
                error.reference().filter(|_| self.shows_reference),
            ),
        };
        Rejection { error, challenge, body }
    }

    /// A caller's fault is everyday business; one of the authorization server is worth a warning; one of ours an error.
    /// The loud ones are few, so that nobody can fill the log: in between, they are at debug level too.
    ///
    /// The error comes back with a random reference if somebody gets to see one: the log, or the caller.
    fn log(&self, error: AuthError) -> AuthError {
        let level = match error.kind() {
            AuthErrorKind::Upstream(_) if self.warnings.is_due() => log::Level::Warn,
            AuthErrorKind::Misconfigured(_) if self.errors.is_due() => log::Level::Error,
            AuthErrorKind::MissingToken
            | AuthErrorKind::InvalidRequest(_)
            | AuthErrorKind::InvalidToken(_)
            | AuthErrorKind::InsufficientScope
            | AuthErrorKind::InsufficientGroups
            | AuthErrorKind::Upstream(_)
            | AuthErrorKind::Misconfigured(_) => log::Level::Debug,
        };
        let is_logged = log::log_enabled!(target: crate::LOG, level);
        let error = if is_logged || self.shows_reference { error.referred_to_as(reference()) } else { error };
        if is_logged {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            let separator = if cause.is_empty() { "" } else { ": " };
            let (status, fault) = (status(error.kind()).as_u16(), error.kind().fault());
            let (via, reference) = (error.verdict_via(), error.reference().unwrap_or_default());
            let issuer = self.observer.as_ref().map_or("", |observer| &observer.issuer);
            log::log!(
                target: crate::LOG, level, event = "refused", issuer, status, fault, via, reference;
                "request refused: {error}{separator}{cause} [{reference}]"
            );
        }
        error
    }
}

/// A refusal, ready to be sent: what guards in handlers and extractors return as their error.
///
/// Return it with `?` from a handler, or look at [`error`](Self::error) and go on.
#[derive(Debug)]
pub struct Rejection {
    error: AuthError,
    challenge: Option<HeaderValue>,
    body: ErrorBody,
}

impl Rejection {
    /// Why the request was refused.
    pub fn error(&self) -> &AuthError {
        &self.error
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for Rejection {}

impl ResponseError for Rejection {
    fn status_code(&self) -> StatusCode {
        status(self.error.kind())
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status_code());
        // Refusals are about one caller and one moment.
        response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")));
        if let Some(challenge) = &self.challenge {
            response.insert_header((WWW_AUTHENTICATE, challenge.clone()));
        }
        if let Some(after) = self.error.retry_after_hint() {
            // Rounded up: a caller that comes back a moment early is refused again.
            response.insert_header((RETRY_AFTER, after.as_secs() + u64::from(after.subsec_nanos() > 0)));
        }
        response.extensions_mut().insert(self.error.clone());
        if self.body.bytes.is_empty() {
            return response.finish();
        }
        response.insert_header((CONTENT_TYPE, self.body.content_type.clone())).body(self.body.bytes.clone())
    }
}

/// 64 random bits: what a caller reads to the support, and the support finds in the log.
fn reference() -> String {
    let mut bytes = [0; 8];
    // Without random numbers there is no reference worth the name; the refusal stands all the same.
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => format!("{:016x}", u64::from_be_bytes(bytes)),
        Err(_) => String::new(),
    }
}

fn status(kind: AuthErrorKind) -> StatusCode {
    match kind {
        AuthErrorKind::InvalidRequest(_) => StatusCode::BAD_REQUEST,
        AuthErrorKind::MissingToken | AuthErrorKind::InvalidToken(_) => StatusCode::UNAUTHORIZED,
        AuthErrorKind::InsufficientScope | AuthErrorKind::InsufficientGroups => StatusCode::FORBIDDEN,
        AuthErrorKind::Upstream(_) => StatusCode::SERVICE_UNAVAILABLE,
        AuthErrorKind::Misconfigured(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn message(kind: AuthErrorKind) -> &'static str {
    match kind {
        AuthErrorKind::InvalidRequest(_) => "bad request",
        AuthErrorKind::MissingToken | AuthErrorKind::InvalidToken(_) => "unauthorized",
        AuthErrorKind::InsufficientScope | AuthErrorKind::InsufficientGroups => "forbidden",
        AuthErrorKind::Upstream(_) => "service unavailable",
        AuthErrorKind::Misconfigured(_) => "internal server error",
    }
}

/// The descriptions are constants: why exactly a token was refused is for the log, not for whoever holds it.
fn challenge(challenge: &Challenge, error: &AuthError) -> Option<HeaderValue> {
    match error.kind() {
        AuthErrorKind::MissingToken => Some(challenge.missing_token()),
        AuthErrorKind::InvalidRequest(_) => {
            Some(challenge.error("invalid_request", "The request carries no well-formed bearer token", ""))
        }
        AuthErrorKind::InvalidToken(_) => Some(challenge.error(
            "invalid_token",
            "The access token is expired, revoked or otherwise invalid",
            "",
        )),
        AuthErrorKind::InsufficientScope => Some(challenge.error(
            "insufficient_scope",
            "The access token does not have the required scope",
            error.required_scopes(),
        )),
        AuthErrorKind::InsufficientGroups => Some(challenge.error(
            "insufficient_scope",
            "The subject is not in a required group",
            error.required_scopes(),
        )),
        AuthErrorKind::Upstream(_) | AuthErrorKind::Misconfigured(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::{body::to_bytes, test::TestRequest};

    use super::*;
    use crate::error::{RequestFault, SetupFault, TokenFault, UpstreamFault};

    fn answer(answers: &Answers, error: AuthError) -> HttpResponse {
        answers.reject(error, &TestRequest::default().to_http_request()).error_response()
    }

    #[actix_web::test]
    async fn every_kind_has_its_status_challenge_and_body() {
        let realm = Answers::new(Challenge::new(Some("api"), None), None);
        for (error, status, challenge, body) in [
            (AuthError::new(AuthErrorKind::MissingToken), 401, Some("Bearer realm=\"api\""), "unauthorized"),
            (
                AuthError::new(AuthErrorKind::InvalidRequest(RequestFault::Malformed)),
                400,
                Some(
                    "Bearer realm=\"api\", error=\"invalid_request\", error_description=\"The request carries no well-formed bearer token\"",
                ),
                "bad request",
            ),
            (
                AuthError::token(TokenFault::Expired),
                401,
                Some(
                    "Bearer realm=\"api\", error=\"invalid_token\", error_description=\"The access token is expired, revoked or otherwise invalid\"",
                ),
                "unauthorized",
            ),
            (
                AuthError::new(AuthErrorKind::InsufficientScope).requiring("a b"),
                403,
                Some(
                    "Bearer realm=\"api\", error=\"insufficient_scope\", error_description=\"The access token does not have the required scope\", scope=\"a b\"",
                ),
                "forbidden",
            ),
            (
                AuthError::new(AuthErrorKind::InsufficientGroups),
                403,
                Some(
                    "Bearer realm=\"api\", error=\"insufficient_scope\", error_description=\"The subject is not in a required group\"",
                ),
                "forbidden",
            ),
            (AuthError::upstream(UpstreamFault::TimedOut), 503, None, "service unavailable"),
            (AuthError::setup(SetupFault::Refused), 500, None, "internal server error"),
        ] {
            let response = answer(&realm, error.clone());
            assert_eq!(response.status().as_u16(), status, "{error}");
            assert_eq!(
                response.headers().get(WWW_AUTHENTICATE).map(|value| value.to_str().unwrap()),
                challenge
            );
            assert_eq!(response.headers().get(CACHE_CONTROL).unwrap(), "no-store");
            assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), "application/json");
            assert_eq!(response.extensions().get::<AuthError>().unwrap().kind(), error.kind());
            let bytes = to_bytes(response.into_body()).await.unwrap();
            assert_eq!(bytes, format!("{{\"message\":\"{body}\"}}"));
        }
    }

    #[actix_web::test]
    async fn retry_after_is_rounded_up() {
        let error =
            AuthError::upstream(UpstreamFault::Paused).retry_after(Some(Duration::from_millis(1_200)));
        assert_eq!(answer(&Answers::default(), error).headers().get(RETRY_AFTER).unwrap(), "2");
    }

    #[actix_web::test]
    async fn a_renderer_changes_the_body_and_nothing_else() {
        let renderer = |error: &AuthError, _: &HttpRequest| ErrorBody::text(format!("no: {error}"));
        let answers = Answers::new(Challenge::default(), Some(Arc::new(renderer)));
        let response = answer(&answers, AuthError::token(TokenFault::Inactive));
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));
        assert_eq!(to_bytes(response.into_body()).await.unwrap(), "no: the token is not active");
    }

    #[actix_web::test]
    async fn a_reference_is_shown_only_where_that_is_switched_on() {
        let shows = Answers::default().showing_reference(true);
        for (answers, shown) in [(&shows, true), (&Answers::default(), false)] {
            let response = answer(answers, AuthError::token(TokenFault::Inactive));
            let reference = response.extensions().get::<AuthError>().unwrap().reference().map(str::to_owned);
            let bytes = to_bytes(response.into_body()).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(
                body.get("reference").and_then(|value| value.as_str().map(str::to_owned)),
                reference.filter(|_| shown)
            );
            assert_eq!(body.get("reference").is_some(), shown);
        }
        let one = answer(&shows, AuthError::token(TokenFault::Inactive));
        let two = answer(&shows, AuthError::token(TokenFault::Inactive));
        let of = |response: &HttpResponse| {
            response.extensions().get::<AuthError>().unwrap().reference().map(str::to_owned)
        };
        assert_ne!(of(&one), of(&two));
        assert_eq!(of(&one).unwrap().len(), 16);
    }

    #[actix_web::test]
    async fn problem_json_has_type_title_and_status() {
        let answers = Answers::new(Challenge::default(), Some(Arc::new(ProblemJson)));
        let response = answer(&answers, AuthError::new(AuthErrorKind::InsufficientScope));
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), "application/problem+json");
        let body: serde_json::Value =
            serde_json::from_slice(&to_bytes(response.into_body()).await.unwrap()).unwrap();
        assert_eq!(body, json!({"type": "about:blank", "title": "Forbidden", "status": 403}));
    }
}
