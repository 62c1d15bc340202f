//! Maps each [`AuthError`] to a response: status, challenge and body. The middleware, the extractors and the guards
//! in handlers all build their rejections here.
#![deny(clippy::wildcard_enum_match_arm)]

mod body;
pub(crate) mod challenge;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use serde_json::json;

pub use self::body::ErrorBody;
use self::challenge::Challenge;
use crate::{
    error::{AuthError, AuthErrorKind},
    record::is_enabled,
    telemetry::{Denial, Telemetry, VerdictSource, log_throttle::LogThrottle},
};

/// Renders the body of rejections. It cannot change the status or the headers.
///
/// Implemented for closures: `.renderer(|error, request| ErrorBody::json(..))`. Any caller can read the body, so it
/// must not contain the exact reason of the rejection. Default: `{"message":"unauthorized"}` and similar.
pub trait ErrorRenderer: Send + Sync {
    /// Returns the body for this error and request.
    fn render(&self, error: &AuthError, request: &HttpRequest) -> ErrorBody;
}

impl<F: Fn(&AuthError, &HttpRequest) -> ErrorBody + Send + Sync> ErrorRenderer for F {
    fn render(&self, error: &AuthError, request: &HttpRequest) -> ErrorBody {
        self(error, request)
    }
}

/// Renders `application/problem+json` (RFC 9457): `type` (`about:blank`), `title` and `status`.
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

/// Builds the rejections of one API: challenge parameters and renderer.
#[derive(Default)]
pub(crate) struct RejectionBuilder {
    challenge: Challenge,
    renderer: Option<Arc<dyn ErrorRenderer>>,
    /// Whether bodies contain the reference of the log record.
    shows_reference: bool,
    /// Whether the challenge of a missing group has the error code of a missing scope.
    has_scope_error_for_groups: bool,
    warnings: LogThrottle,
    errors: LogThrottle,
    /// The telemetry of the configuration; `None` on a route without a mount.
    telemetry: Option<Arc<Telemetry>>,
}

impl fmt::Debug for RejectionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectionBuilder").field("challenge", &self.challenge).finish_non_exhaustive()
    }
}

impl RejectionBuilder {
    pub(crate) fn new(challenge: Challenge, renderer: Option<Arc<dyn ErrorRenderer>>) -> Self {
        Self { challenge, renderer, ..Self::default() }
    }

    pub(crate) fn with_telemetry(mut self, telemetry: Arc<Telemetry>) -> Self {
        self.telemetry = Some(telemetry);
        self
    }

    pub(crate) fn with_visible_reference(mut self, shows: bool) -> Self {
        self.shows_reference = shows;
        self
    }

    pub(crate) fn with_scope_error_for_groups(mut self, has_error: bool) -> Self {
        self.has_scope_error_for_groups = has_error;
        self
    }

    /// Turns a decision or an error into a rejection, and logs it.
    pub(crate) fn reject(&self, denial: impl Into<Denial>, request: &HttpRequest) -> Rejection {
        let denial = denial.into();
        if let Some(telemetry) = &self.telemetry {
            telemetry.failed(&denial.error);
        }
        self.build(self.log(denial), request)
    }

    /// Turns the error of a handler or an extractor under a mount into a rejection. It is logged and counted when it
    /// becomes a response, because the handler may ignore it. The caller of the API caused it, so its level is debug.
    pub(crate) fn reject_in_handler(&self, error: AuthError, request: &HttpRequest) -> Rejection {
        let is_logged = is_enabled(log::Level::Debug);
        let error = if is_logged || self.shows_reference { error.with_reference(reference()) } else { error };
        let report = self.telemetry.clone().map(|telemetry| Report { telemetry, is_done: false.into() });
        Rejection { report, ..self.build(error, request) }
    }

    fn build(&self, error: AuthError, request: &HttpRequest) -> Rejection {
        let challenge = self.challenge(&error);
        let body = match &self.renderer {
            Some(renderer) => renderer.render(&error, request),
            None => ErrorBody::of_message(
                message(error.kind()),
                error.reference().filter(|_| self.shows_reference),
            ),
        };
        Rejection { error, challenge, body: Box::new(body), report: None }
    }

    /// Returns the challenge of a rejection. The descriptions are constants. The exact reason is logged and not sent to
    /// the caller.
    ///
    /// A missing group has no error code, unless it is configured: clients react to `insufficient_scope` by requesting
    /// a new token, which would not be in the group either.
    fn challenge(&self, error: &AuthError) -> Option<HeaderValue> {
        let (code, description) = match error.kind() {
            AuthErrorKind::InvalidRequest(_) => {
                ("invalid_request", "The request carries no well-formed bearer token")
            }
            AuthErrorKind::InvalidToken(_) => {
                ("invalid_token", "The access token is expired, revoked or otherwise invalid")
            }
            AuthErrorKind::InsufficientScope => {
                ("insufficient_scope", "The access token does not have the required scope")
            }
            AuthErrorKind::InsufficientGroups if self.has_scope_error_for_groups => {
                ("insufficient_scope", "The subject is not in a required group")
            }
            AuthErrorKind::ClaimRule if self.has_scope_error_for_groups => {
                ("insufficient_scope", "The access token does not grant this access")
            }
            AuthErrorKind::MissingToken | AuthErrorKind::InsufficientGroups | AuthErrorKind::ClaimRule => {
                ("", "")
            }
            AuthErrorKind::InsufficientAuthentication => {
                ("insufficient_user_authentication", "The user must sign in again or in another way")
            }
            AuthErrorKind::Upstream(_) | AuthErrorKind::Misconfigured(_) => return None,
        };
        Some(self.challenge.write(code, description, error))
    }

    /// Logs faults of the caller at debug level, faults of the authorization server as warnings, and faults of the
    /// setup as errors. Warnings and errors are throttled, so that callers cannot fill the log. Records between two
    /// of them are at debug level.
    ///
    /// Adds a random reference to the error if the record is logged or the body contains it.
    fn log(&self, denial: Denial) -> AuthError {
        let via = denial.via();
        let error = denial.error;
        let level = match error.kind() {
            AuthErrorKind::Upstream(_) if self.warnings.is_due() => log::Level::Warn,
            AuthErrorKind::Misconfigured(_) if self.errors.is_due() => log::Level::Error,
            AuthErrorKind::MissingToken
            | AuthErrorKind::InvalidRequest(_)
            | AuthErrorKind::InvalidToken(_)
            | AuthErrorKind::InsufficientScope
            | AuthErrorKind::InsufficientGroups
            | AuthErrorKind::ClaimRule
            | AuthErrorKind::InsufficientAuthentication
            | AuthErrorKind::Upstream(_)
            | AuthErrorKind::Misconfigured(_) => log::Level::Debug,
        };
        let is_logged = is_enabled(level);
        let error = if is_logged || self.shows_reference { error.with_reference(reference()) } else { error };
        if is_logged {
            log_rejection(level, self.telemetry.as_deref(), &error, via);
        }
        error
    }
}

fn log_rejection(level: log::Level, telemetry: Option<&Telemetry>, error: &AuthError, via: &'static str) {
    let (status, fault) = (status(error.kind()).as_u16(), error.kind().fault());
    let reference = error.reference().unwrap_or_default();
    let issuer = telemetry.map_or("", |telemetry| &telemetry.issuer);
    let text = if error.is_client_fault() { error.text() } else { error.describe(issuer).to_string() };
    record!(
        level, event = "refused", issuer, status, fault, via, reference;
        "request rejected: {text} [{reference}]"
    );
}

/// The report of a rejection by a handler. It must be made once.
struct Report {
    telemetry: Arc<Telemetry>,
    is_done: AtomicBool,
}

impl Report {
    fn send(&self, error: &AuthError) {
        if self.is_done.swap(true, Ordering::Relaxed) {
            return;
        }
        let denial = Denial::new(error.clone(), VerdictSource::Handler);
        self.telemetry.decided(Err(&denial));
        if is_enabled(log::Level::Debug) {
            log_rejection(log::Level::Debug, Some(&self.telemetry), error, denial.via());
        }
    }
}

/// A rejection, ready to be sent. Extractors and the `require_*` methods return it as their error.
///
/// Return it from a handler with `?`, or read [`error`](Self::error) and continue. It is logged and counted when it
/// becomes a response. `Debug` shows the status and the [fault](AuthErrorKind::fault).
pub struct Rejection {
    error: AuthError,
    challenge: Option<HeaderValue>,
    body: Box<ErrorBody>,
    /// `None` if it was reported when it was created.
    report: Option<Report>,
}

/// Short, because some middleware logs the errors of responses with `Debug`.
impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.error.kind();
        f.debug_struct("Rejection")
            .field("status", &status(kind).as_u16())
            .field("fault", &kind.fault())
            .finish_non_exhaustive()
    }
}

impl Rejection {
    /// Returns the reason of the rejection.
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
        if let Some(report) = &self.report {
            report.send(&self.error);
        }
        let mut response = HttpResponse::build(self.status_code());
        // Rejections must not be cached: they concern one caller at one time.
        response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")));
        if let Some(challenge) = &self.challenge {
            response.insert_header((WWW_AUTHENTICATE, challenge.clone()));
        }
        if let Some(after) = self.error.retry_after() {
            // Rounded up, because a retry that comes too early is rejected again.
            response.insert_header((RETRY_AFTER, after.as_secs() + u64::from(after.subsec_nanos() > 0)));
        }
        response.extensions_mut().insert(self.error.clone());
        if self.body.bytes.is_empty() {
            return response.finish();
        }
        response.insert_header((CONTENT_TYPE, self.body.content_type.clone())).body(self.body.bytes.clone())
    }
}

/// Returns 64 random bits as hexadecimal digits. The caller can report them, and the operator finds the log record
/// by them.
fn reference() -> String {
    let mut bytes = [0; 8];
    // Without random numbers the reference is empty. The request is rejected nevertheless.
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => format!("{:016x}", u64::from_be_bytes(bytes)),
        Err(_) => String::new(),
    }
}

fn status(kind: AuthErrorKind) -> StatusCode {
    match kind {
        AuthErrorKind::InvalidRequest(_) => StatusCode::BAD_REQUEST,
        AuthErrorKind::MissingToken
        | AuthErrorKind::InvalidToken(_)
        | AuthErrorKind::InsufficientAuthentication => StatusCode::UNAUTHORIZED,
        AuthErrorKind::InsufficientScope | AuthErrorKind::InsufficientGroups | AuthErrorKind::ClaimRule => {
            StatusCode::FORBIDDEN
        }
        AuthErrorKind::Upstream(_) => StatusCode::SERVICE_UNAVAILABLE,
        AuthErrorKind::Misconfigured(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn message(kind: AuthErrorKind) -> &'static str {
    match kind {
        AuthErrorKind::InvalidRequest(_) => "bad request",
        AuthErrorKind::MissingToken
        | AuthErrorKind::InvalidToken(_)
        | AuthErrorKind::InsufficientAuthentication => "unauthorized",
        AuthErrorKind::InsufficientScope | AuthErrorKind::InsufficientGroups | AuthErrorKind::ClaimRule => {
            "forbidden"
        }
        AuthErrorKind::Upstream(_) => "service unavailable",
        AuthErrorKind::Misconfigured(_) => "internal server error",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::{body::to_bytes, test::TestRequest};

    use super::*;
    use crate::error::{RequestFault, SetupFault, TokenFault, UpstreamFault};

    fn respond(rejections: &RejectionBuilder, error: AuthError) -> HttpResponse {
        rejections.reject(error, &TestRequest::default().to_http_request()).error_response()
    }

    #[actix_web::test]
    async fn every_kind_has_its_status_challenge_and_body() {
        let realm = RejectionBuilder::new(Challenge::new(Some("api"), None), None);
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
                AuthError::new(AuthErrorKind::InsufficientScope).with_required_scopes("a b"),
                403,
                Some(
                    "Bearer realm=\"api\", error=\"insufficient_scope\", error_description=\"The access token does not have the required scope\", scope=\"a b\"",
                ),
                "forbidden",
            ),
            (
                AuthError::new(AuthErrorKind::InsufficientGroups),
                403,
                Some("Bearer realm=\"api\""),
                "forbidden",
            ),
            (AuthError::new(AuthErrorKind::ClaimRule), 403, Some("Bearer realm=\"api\""), "forbidden"),
            (
                AuthError::new(AuthErrorKind::InsufficientAuthentication)
                    .with_step_up("mfa \"x\"", Some(0))
                    .with_required_scopes("a"),
                401,
                Some(
                    "Bearer realm=\"api\", error=\"insufficient_user_authentication\", error_description=\"The user must sign in again or in another way\", scope=\"a\", acr_values=\"mfa \\\"x\\\"\", max_age=\"0\"",
                ),
                "unauthorized",
            ),
            (AuthError::upstream(UpstreamFault::TimedOut), 503, None, "service unavailable"),
            (AuthError::setup(SetupFault::Refused), 500, None, "internal server error"),
        ] {
            let response = respond(&realm, error.clone());
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

    #[test]
    fn debug_is_short() {
        let rejections = RejectionBuilder::new(Challenge::new(Some("api"), None), None);
        let request = TestRequest::default().to_http_request();
        let error = AuthError::new(AuthErrorKind::InsufficientScope).with_required_scopes("a b");
        assert_eq!(format!("{error:?}"), r#"AuthError { fault: "insufficient_scope", .. }"#);
        let rejection = rejections.reject(error, &request);
        assert_eq!(format!("{rejection:?}"), r#"Rejection { status: 403, fault: "insufficient_scope", .. }"#);
    }

    #[actix_web::test]
    async fn retry_after_is_rounded_up() {
        let error =
            AuthError::upstream(UpstreamFault::Paused).with_retry_after(Some(Duration::from_millis(1_200)));
        assert_eq!(respond(&RejectionBuilder::default(), error).headers().get(RETRY_AFTER).unwrap(), "2");
    }

    #[actix_web::test]
    async fn a_renderer_changes_the_body_and_nothing_else() {
        let renderer = |error: &AuthError, _: &HttpRequest| ErrorBody::text(format!("no: {error}"));
        let rejections = RejectionBuilder::new(Challenge::default(), Some(Arc::new(renderer)));
        let response = respond(&rejections, AuthError::token(TokenFault::Inactive));
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));
        assert_eq!(to_bytes(response.into_body()).await.unwrap(), "no: the token is not active");
    }

    #[actix_web::test]
    async fn a_reference_is_shown_only_where_that_is_switched_on() {
        let shows = RejectionBuilder::default().with_visible_reference(true);
        for (rejections, shown) in [(&shows, true), (&RejectionBuilder::default(), false)] {
            let response = respond(rejections, AuthError::token(TokenFault::Inactive));
            let reference = response.extensions().get::<AuthError>().unwrap().reference().map(str::to_owned);
            let bytes = to_bytes(response.into_body()).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(
                body.get("reference").and_then(|value| value.as_str().map(str::to_owned)),
                reference.filter(|_| shown)
            );
            assert_eq!(body.get("reference").is_some(), shown);
        }
        let one = respond(&shows, AuthError::token(TokenFault::Inactive));
        let two = respond(&shows, AuthError::token(TokenFault::Inactive));
        let of = |response: &HttpResponse| {
            response.extensions().get::<AuthError>().unwrap().reference().map(str::to_owned)
        };
        assert_ne!(of(&one), of(&two));
        assert_eq!(of(&one).unwrap().len(), 16);
    }

    #[actix_web::test]
    async fn problem_json_has_type_title_and_status() {
        let rejections = RejectionBuilder::new(Challenge::default(), Some(Arc::new(ProblemJson)));
        let response = respond(&rejections, AuthError::new(AuthErrorKind::InsufficientScope));
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), "application/problem+json");
        let body: serde_json::Value =
            serde_json::from_slice(&to_bytes(response.into_body()).await.unwrap()).unwrap();
        assert_eq!(body, json!({"type": "about:blank", "title": "Forbidden", "status": 403}));
    }
}
