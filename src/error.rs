//! The two error types: [`AuthError`] of a request, [`ConfigError`] of start-up. Neither knows HTTP; the one mapping to
//! statuses and challenges is in `response.rs`.

mod config;
mod kind;

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

pub use self::{
    config::{ConfigError, ConfigProblem},
    kind::{AuthErrorKind, RequestFault, SetupFault, TokenFault, UpstreamFault},
};

/// Why a request was not let through.
///
/// Opaque on purpose: [`kind`](Self::kind) tells the class and is what to count, log and match on. The text names
/// neither the token nor any claim's value, and does not repeat the text of its [`source`](StdError::source).
/// A clone is cheap.
#[derive(Clone, Debug)]
pub struct AuthError(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: AuthErrorKind,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    required_scopes: Box<str>,
    retry_after: Option<Duration>,
    reference: Option<Box<str>>,
    verdict_via: &'static str,
    may_be_the_tokens: bool,
}

impl AuthError {
    pub(crate) fn new(kind: AuthErrorKind) -> Self {
        Self(Arc::new(Inner {
            kind,
            source: None,
            required_scopes: "".into(),
            retry_after: None,
            reference: None,
            verdict_via: "",
            may_be_the_tokens: false,
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

    /// Adds the cause.
    pub(crate) fn because(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.with(|inner| inner.source = Some(source.into().into()))
    }

    /// Adds the scopes that a challenge should name.
    pub(crate) fn requiring(self, scopes: impl Into<Box<str>>) -> Self {
        self.with(|inner| inner.required_scopes = scopes.into())
    }

    /// Adds when to try again.
    pub(crate) fn retry_after(self, after: Option<Duration>) -> Self {
        self.with(|inner| inner.retry_after = after)
    }

    /// Adds what ties the answer to its log record.
    pub(crate) fn referred_to_as(self, reference: String) -> Self {
        self.with(|inner| inner.reference = Some(reference.into()))
    }

    /// Adds how the verdict came about that the refusal is based on.
    pub(crate) fn with_verdict_via(self, via: &'static str) -> Self {
        self.with(|inner| inner.verdict_via = via)
    }

    /// Adds that a single odd token may be the reason, though it looks like a failure of ours.
    pub(crate) fn may_be_the_tokens(self) -> Self {
        self.with(|inner| inner.may_be_the_tokens = true)
    }

    /// Whether it tells of a failure for certain that no caller can cause.
    pub(crate) fn is_failure_for_certain(&self) -> bool {
        !self.is_client_fault() && !self.0.may_be_the_tokens
    }

    /// How the verdict came about, as metrics name it; empty where there was none.
    pub(crate) fn verdict_via(&self) -> &'static str {
        self.0.verdict_via
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The class of this error.
    pub fn kind(&self) -> AuthErrorKind {
        self.0.kind
    }

    /// Whether the same request may succeed a little later without any change: true for faults of the authorization
    /// server.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.kind, AuthErrorKind::Upstream(_))
    }

    /// Whether the caller is to blame (answered 4xx).
    pub fn is_client_fault(&self) -> bool {
        !matches!(self.0.kind, AuthErrorKind::Upstream(_) | AuthErrorKind::Misconfigured(_))
    }

    /// The scopes that were asked for, space-delimited; empty where the error is of another kind.
    pub fn required_scopes(&self) -> &str {
        &self.0.required_scopes
    }

    /// The random name of this refusal in the log, where one was given: with
    /// [`error_reference`](crate::ProtectApiBuilder::error_reference), or while the log takes refusals.
    pub fn reference(&self) -> Option<&str> {
        self.0.reference.as_deref()
    }

    /// When to try again, where the authorization server or the circuit breaker told.
    pub fn retry_after_hint(&self) -> Option<Duration> {
        self.0.retry_after
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
        let error = AuthError::upstream(UpstreamFault::Unreachable).because("connection refused");
        assert_eq!(error.to_string(), "the authorization server is unreachable");
        assert_eq!(error.source().unwrap().to_string(), "connection refused");
        assert!(error.is_retryable() && !error.is_client_fault());
    }
}
