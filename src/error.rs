//! The two error types: [`AuthError`] for requests, [`ConfigError`] for start-up. They do not depend on HTTP;
//! `response.rs` maps them to statuses and challenges.

mod check;
mod config;
mod description;
mod kind;

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

pub(crate) use self::description::Description;
pub use self::{
    check::CheckError,
    config::{ConfigError, ConfigProblem},
    kind::{AuthErrorKind, RequestFault, SetupFault, TokenFault, UpstreamFault},
};

/// The reason why a request was rejected.
///
/// An opaque type: match, log and count its [`kind`](Self::kind). The text contains neither the token nor the value
/// of a claim, and does not repeat the text of its [`source`](StdError::source). A clone is cheap.
#[derive(Clone)]
pub struct AuthError(Arc<AuthErrorInner>);

#[derive(Clone)]
struct AuthErrorInner {
    kind: AuthErrorKind,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    required_scopes: Box<str>,
    acr_values: Box<str>,
    /// The longest time since the user signed in, in seconds.
    max_age: Option<i64>,
    resource_metadata: Option<Arc<str>>,
    retry_after: Option<Duration>,
    reference: Option<Box<str>>,
    /// The URL that was called, without the parts that may be secret.
    url: Option<Box<str>>,
    possibly_token_specific: Option<Evidence>,
    is_before_sending: bool,
}

/// The verdicts on other tokens that show that a single token caused a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// The verdict of a call that started after the failure, or that of a health check.
    Current,
    /// Also a verdict shortly before the failure.
    Recent,
}

impl AuthError {
    pub(crate) fn new(kind: AuthErrorKind) -> Self {
        Self(Arc::new(AuthErrorInner {
            kind,
            source: None,
            required_scopes: "".into(),
            acr_values: "".into(),
            max_age: None,
            resource_metadata: None,
            retry_after: None,
            reference: None,
            url: None,
            possibly_token_specific: None,
            is_before_sending: false,
        }))
    }

    pub(crate) fn token(fault: TokenFault) -> Self {
        Self::new(AuthErrorKind::InvalidToken(fault))
    }

    pub(crate) fn upstream(fault: UpstreamFault) -> Self {
        Self::new(AuthErrorKind::Upstream(fault))
    }

    pub(crate) fn setup(fault: SetupFault) -> Self {
        Self::new(AuthErrorKind::Misconfigured(fault))
    }

    /// Adds the source.
    pub(crate) fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.with(|inner| inner.source = Some(source.into().into()))
    }

    /// Adds the scopes that the challenge names.
    pub(crate) fn with_required_scopes(self, scopes: impl Into<Box<str>>) -> Self {
        self.with(|inner| inner.required_scopes = scopes.into())
    }

    /// Adds the authentication that the challenge names (RFC 9470).
    pub(crate) fn with_step_up(self, acr_values: impl Into<Box<str>>, max_age: Option<i64>) -> Self {
        self.with(|inner| {
            inner.acr_values = acr_values.into();
            inner.max_age = max_age;
        })
    }

    /// Adds the URL of the metadata of the resource that was called.
    pub(crate) fn with_resource_metadata(self, url: Arc<str>) -> Self {
        self.with(|inner| inner.resource_metadata = Some(url))
    }

    pub(crate) fn resource_metadata(&self) -> Option<&str> {
        self.0.resource_metadata.as_deref()
    }

    /// Adds the time after which a retry may succeed.
    pub(crate) fn with_retry_after(self, after: Option<Duration>) -> Self {
        self.with(|inner| inner.retry_after = after)
    }

    /// Adds the reference that links the response to its log record.
    pub(crate) fn with_reference(self, reference: String) -> Self {
        self.with(|inner| inner.reference = Some(reference.into()))
    }

    /// Adds the URL that was called. Its text must not contain secrets.
    pub(crate) fn with_url(self, url: impl fmt::Display) -> Self {
        self.with(|inner| inner.url = Some(url.to_string().into()))
    }

    /// Returns the text of this error with its cause.
    pub(crate) fn text(&self) -> String {
        self.0.source.as_ref().map_or_else(|| self.to_string(), |cause| format!("{self}: {cause}"))
    }

    /// Returns the text of the cause; empty if there is none.
    pub(crate) fn cause(&self) -> String {
        self.0.source.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Returns the text of this error for a log record about the configuration with this issuer.
    pub(crate) fn describe<'e>(&'e self, issuer: &'e str) -> Description<'e> {
        Description::new(self, self.0.url.as_deref().unwrap_or(issuer))
    }

    /// Marks a failure that a single token may have caused, although it looks like a failure of the server or the
    /// setup. `evidence` states which verdicts would show this.
    pub(crate) fn possibly_token_specific(self, evidence: Evidence) -> Self {
        self.with(|inner| inner.possibly_token_specific = Some(evidence))
    }

    /// Removes this mark: no token caused the failure.
    pub(crate) fn not_the_tokens(self) -> Self {
        self.with(|inner| inner.possibly_token_specific = None)
    }

    /// Returns the evidence that a token caused this failure; `None` if no token can have caused it.
    pub(crate) fn could_be_the_tokens(&self) -> Option<Evidence> {
        self.0.possibly_token_specific
    }

    /// Adds that no connection was made, so that nothing was sent.
    pub(crate) fn before_sending(self) -> Self {
        self.with(|inner| inner.is_before_sending = true)
    }

    pub(crate) fn is_before_sending(&self) -> bool {
        self.0.is_before_sending
    }

    /// Returns whether this is a failure that no caller can cause.
    pub(crate) fn is_server_fault(&self) -> bool {
        !self.is_client_fault() && self.0.possibly_token_specific.is_none()
    }

    fn with(mut self, change: impl FnOnce(&mut AuthErrorInner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Returns the class of this error.
    pub fn kind(&self) -> AuthErrorKind {
        self.0.kind
    }

    /// Returns whether the same request may succeed later without a change: true for failures of the authorization
    /// server.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, AuthErrorKind::Upstream(_))
    }

    /// Returns whether the caller caused the error (4xx).
    pub fn is_client_fault(&self) -> bool {
        !matches!(self.0.kind, AuthErrorKind::Upstream(_) | AuthErrorKind::Misconfigured(_))
    }

    /// Returns all scopes that the rejected operation requires, as far as they are known, space-delimited. Empty for
    /// responses other than 401 and 403.
    pub fn required_scopes(&self) -> &str {
        &self.0.required_scopes
    }

    /// Returns the required authentication contexts (`acr_values` of RFC 9470), space-delimited; empty for other errors.
    pub fn acr_values(&self) -> &str {
        &self.0.acr_values
    }

    /// Returns the longest time since the user signed in (`max_age` of RFC 9470), in seconds; `None` for other errors.
    pub fn max_authentication_age(&self) -> Option<i64> {
        self.0.max_age
    }

    /// Returns the random reference of this rejection in the log. There is one if
    /// [`error_reference`](crate::ProtectApiBuilder::error_reference) is set, or if the rejection was logged.
    pub fn reference(&self) -> Option<&str> {
        self.0.reference.as_deref()
    }

    /// Returns the time after which a retry may succeed, if the authorization server or the circuit breaker gave one.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

/// Shows the fault only, because some middleware logs the errors of responses with `Debug`.
impl fmt::Debug for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthError").field("fault", &self.0.kind.fault()).finish_non_exhaustive()
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.kind, f)
    }
}

impl StdError for AuthError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.source {
            Some(cause) => Some(cause.as_ref()),
            None => None,
        }
    }
}

const _: fn() = || {
    fn is_shareable<T: Send + Sync + 'static>() {}
    is_shareable::<AuthError>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_does_not_repeat_the_source() {
        let error = AuthError::upstream(UpstreamFault::Unreachable).with_source("connection refused");
        assert_eq!(error.to_string(), "the authorization server is unreachable");
        assert_eq!(error.source().unwrap().to_string(), "connection refused");
        assert!(error.is_retryable() && !error.is_client_fault());
    }
}
