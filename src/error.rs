//! The two error types: [`AuthError`] of a request, [`ConfigError`] of start-up. Neither knows HTTP; the one mapping to
//! statuses and challenges is in `response.rs`.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use derive_more::Display;

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
}

/// The class of an [`AuthError`], and so its answer.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthErrorKind {
    /// No `Authorization` header, or one of another scheme than `Bearer`. Answered 401 without an error code.
    #[display("no bearer token")]
    MissingToken,
    /// The credentials are not what RFC 6750 section 2.1 describes. Answered 400.
    #[display("{_0}")]
    InvalidRequest(RequestFault),
    /// The token does not open this API. Answered 401.
    #[display("{_0}")]
    InvalidToken(TokenFault),
    /// The token is good, but lacks a scope. Answered 403.
    #[display("a required scope is missing")]
    InsufficientScope,
    /// The token is good, but its subject is in none of the required groups. Answered 403.
    #[display("a required group is missing")]
    InsufficientGroups,
    /// The authorization server could not be asked. Answered 503: the token may be perfectly good.
    #[display("{_0}")]
    Upstream(UpstreamFault),
    /// This application, or its registration at the authorization server, is set up wrongly. Answered 500.
    #[display("{_0}")]
    Misconfigured(SetupFault),
}

/// What is wrong with the credentials in the request.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestFault {
    /// Not `Bearer`, one or more spaces, and a `b64token`.
    #[display("the Authorization header is malformed")]
    Malformed,
    /// More than one `Authorization` header.
    #[display("there is more than one Authorization header")]
    MultipleTokens,
    /// Longer than the configured maximum.
    #[display("the token is too long")]
    TooLarge,
}

/// What is wrong with the token.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenFault {
    /// The authorization server says that it is not active (expired, revoked, or never issued).
    #[display("the token is not active")]
    Inactive,
    /// It, or one of its claims, is not well-formed.
    #[display("the token or one of its claims is malformed")]
    Malformed,
    /// `exp` has passed.
    #[display("the token has expired")]
    Expired,
    /// `nbf` (or `iat`) lies in the future.
    #[display("the token is not valid yet")]
    NotYetValid,
    /// `iss` is another issuer.
    #[display("the token was issued by another issuer")]
    Issuer,
    /// `aud` does not name this API.
    #[display("the token is meant for another audience")]
    Audience,
    /// A claim that must be there is not.
    #[display("a required claim is missing")]
    MissingClaim,
    /// The signature does not verify.
    #[display("the signature does not verify")]
    Signature,
    /// No published key fits.
    #[display("no published key fits the token")]
    UnknownKey,
    /// Signed with an algorithm that is not accepted.
    #[display("the algorithm is not accepted")]
    Algorithm,
    /// A token of another type: a refresh token, an ID token, a logout token.
    #[display("the token is not an access token")]
    Type,
    /// Bound to a client certificate or key that was not shown (RFC 8705, RFC 9449).
    #[display("the token is bound to another certificate or key")]
    Binding,
    /// No validator takes it: an opaque token where introspection is not configured, or one of a kind that the
    /// authorization server does not introspect.
    #[display("tokens of this kind are not accepted")]
    Unsupported,
    /// The token or certificate resolver failed.
    #[display("the resolver failed")]
    Resolver,
    /// The claims do not fit the type that the handler asks for.
    #[display("the claims do not fit the type that the handler asks for")]
    Claims,
}

/// What went wrong on the way to the authorization server.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpstreamFault {
    /// No connection, a failed TLS handshake, or one that broke off.
    #[display("the authorization server is unreachable")]
    Unreachable,
    /// No complete answer before the deadline.
    #[display("the authorization server did not answer in time")]
    TimedOut,
    /// It answered 408, 429 or 5xx.
    #[display("the authorization server is overloaded or failing")]
    Failing,
    /// An answer that is not what the protocol says: not JSON, too large, cut short, without `active`.
    #[display("the authorization server gave a broken answer")]
    BadAnswer,
    /// No usable signing keys.
    #[display("the authorization server's keys are not available")]
    NoKeys,
    /// Too many calls are under way already.
    #[display("too many calls to the authorization server are under way")]
    Saturated,
    /// The circuit breaker is open after repeated failures.
    #[display("calls to the authorization server are paused after repeated failures")]
    Paused,
}

/// What is set up wrongly.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetupFault {
    /// The introspection endpoint answered 400, 401, 403, 404 or another unexpected status.
    #[display("the introspection endpoint refused our request")]
    Refused,
    /// The metadata names another issuer than the configured one.
    #[display("the metadata names another issuer")]
    Issuer,
    /// The metadata lacks an endpoint that is needed.
    #[display("the metadata lacks an endpoint that is needed")]
    Endpoint,
    /// An endpoint is neither https nor on loopback.
    #[display("an endpoint is neither https nor on loopback")]
    InsecureEndpoint,
    /// The client's key or certificate cannot be used (any more).
    #[display("the client's credentials cannot be used")]
    Credentials,
    /// An extractor or guard runs without `ProtectApi` in front of it.
    #[display("AuthenticatedRequest is used on a route that no ProtectApi is wrapped around")]
    NotMounted,
}

impl AuthError {
    pub(crate) fn new(kind: AuthErrorKind) -> Self {
        Self(Arc::new(Inner { kind, source: None, required_scopes: "".into(), retry_after: None }))
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
    is_shareable::<ConfigError>();
};

/// What is wrong with the configuration: **all** of it, found before the first request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<ConfigProblem>,
}

/// One problem of a [`ConfigError`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigProblem {
    /// The variable (`MONOCLOUD_BACKEND_AUDIENCE`) or the builder's method (`audience`).
    pub name: String,
    /// What was seen (unless it is a secret) and what is wanted.
    pub message: String,
}

impl ConfigError {
    pub(crate) fn of(problems: Vec<ConfigProblem>) -> Self {
        Self { problems }
    }

    /// Every problem, in the order in which they were found.
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }
}

impl ConfigProblem {
    pub(crate) fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into() }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [one] => write!(f, "invalid configuration: {one}"),
            many => {
                write!(f, "invalid configuration, {} problems:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
            }
        }
    }
}

impl StdError for ConfigError {}

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

    #[test]
    fn config_error_lists_every_problem() {
        let error = ConfigError::of(vec![
            ConfigProblem::new("A", "is missing"),
            ConfigProblem::new("B", "is \"x\", a number is wanted"),
        ]);
        assert_eq!(
            error.to_string(),
            "invalid configuration, 2 problems:\n  - A: is missing\n  - B: is \"x\", a number is wanted"
        );
    }
}
