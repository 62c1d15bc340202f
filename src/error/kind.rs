//! The classes of rejections, and the reasons within them.

use derive_more::Display;

/// The class of an [`AuthError`](super::AuthError). It determines the response.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AuthErrorKind {
    /// No `Authorization` header, or one of another scheme than `Bearer`. Rejected with 401 without an error code.
    #[display("no bearer token")]
    MissingToken,
    /// The credentials are not as RFC 6750 section 2.1 requires. Rejected with 400.
    #[display("{_0}")]
    InvalidRequest(RequestFault),
    /// The token is not accepted by this API. Rejected with 401.
    #[display("{_0}")]
    InvalidToken(TokenFault),
    /// The token is valid, but lacks a scope. Rejected with 403.
    #[display("a required scope is missing")]
    InsufficientScope,
    /// The token is valid, but its subject is in none of the required groups. Rejected with 403.
    #[display("a required group is missing")]
    InsufficientGroups,
    /// The token is valid, but a rule of the application for its claims is not met. Rejected with 403.
    #[display("a claim rule is not met")]
    ClaimRule,
    /// The token is valid, but its user has to sign in again, or in another way (RFC 9470). Rejected with 401.
    #[display("the authentication of the user is not sufficient")]
    InsufficientAuthentication,
    /// The authorization server is unavailable. Rejected with 503, because the token may be valid.
    #[display("{_0}")]
    Upstream(UpstreamFault),
    /// The setup of this application, or its registration at the authorization server, is wrong. Rejected with 500.
    #[display("{_0}")]
    Misconfigured(SetupFault),
}

impl AuthErrorKind {
    /// Returns the class as a stable name for metrics and logs: one of `missing_token`, `invalid_request`,
    /// `invalid_token`, `insufficient_scope`, `insufficient_groups`, `claim_rule`, `insufficient_user_authentication`,
    /// `upstream`, `misconfigured`.
    pub fn class(self) -> &'static str {
        match self {
            Self::MissingToken => "missing_token",
            Self::InvalidRequest(_) => "invalid_request",
            Self::InvalidToken(_) => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InsufficientGroups => "insufficient_groups",
            Self::ClaimRule => "claim_rule",
            Self::InsufficientAuthentication => "insufficient_user_authentication",
            Self::Upstream(_) => "upstream",
            Self::Misconfigured(_) => "misconfigured",
        }
    }

    /// Returns the reason within the class as a stable name, such as `expired`; the class itself if it has no
    /// reasons.
    pub fn fault(self) -> &'static str {
        match self {
            Self::MissingToken
            | Self::InsufficientScope
            | Self::InsufficientGroups
            | Self::ClaimRule
            | Self::InsufficientAuthentication => self.class(),
            Self::InvalidRequest(RequestFault::Malformed) => "malformed_credentials",
            Self::InvalidRequest(RequestFault::MultipleTokens) => "multiple_tokens",
            Self::InvalidRequest(RequestFault::TooLarge) => "too_large",
            Self::InvalidRequest(RequestFault::Body) => "body",
            Self::InvalidToken(TokenFault::Inactive) => "inactive",
            Self::InvalidToken(TokenFault::Revoked) => "revoked",
            Self::InvalidToken(TokenFault::Malformed) => "malformed",
            Self::InvalidToken(TokenFault::Expired) => "expired",
            Self::InvalidToken(TokenFault::NotYetValid) => "not_yet_valid",
            Self::InvalidToken(TokenFault::Issuer) => "issuer",
            Self::InvalidToken(TokenFault::Audience) => "audience",
            Self::InvalidToken(TokenFault::Client) => "client",
            Self::InvalidToken(TokenFault::ClaimValue) => "claim_value",
            Self::InvalidToken(TokenFault::TooOld) => "too_old",
            Self::InvalidToken(TokenFault::MissingClaim) => "missing_claim",
            Self::InvalidToken(TokenFault::Signature) => "signature",
            Self::InvalidToken(TokenFault::UnknownKey) => "unknown_key",
            Self::InvalidToken(TokenFault::Algorithm) => "algorithm",
            Self::InvalidToken(TokenFault::Type) => "type",
            Self::InvalidToken(TokenFault::Binding) => "binding",
            Self::InvalidToken(TokenFault::Unsupported) => "unsupported",
            Self::InvalidToken(TokenFault::Resolver) => "resolver",
            Self::InvalidToken(TokenFault::Claims) => "claims",
            Self::Upstream(UpstreamFault::Unreachable) => "unreachable",
            Self::Upstream(UpstreamFault::TimedOut) => "timed_out",
            Self::Upstream(UpstreamFault::Failing) => "failing",
            Self::Upstream(UpstreamFault::BadAnswer) => "bad_answer",
            Self::Upstream(UpstreamFault::NoKeys) => "no_keys",
            Self::Upstream(UpstreamFault::Saturated) => "saturated",
            Self::Upstream(UpstreamFault::Paused) => "paused",
            Self::Upstream(UpstreamFault::NoRevocations) => "no_revocations",
            Self::Misconfigured(SetupFault::Refused) => "refused",
            Self::Misconfigured(SetupFault::Issuer) => "issuer_mismatch",
            Self::Misconfigured(SetupFault::Endpoint) => "endpoint",
            Self::Misconfigured(SetupFault::InsecureEndpoint) => "insecure_endpoint",
            Self::Misconfigured(SetupFault::Credentials) => "credentials",
            Self::Misconfigured(SetupFault::Proxy) => "proxy",
            Self::Misconfigured(SetupFault::RevocationIssuer) => "revocation_issuer",
            Self::Misconfigured(SetupFault::NotMounted) => "not_mounted",
        }
    }
}

/// The fault of the credentials in the request.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestFault {
    /// The header is not `Bearer`, one or more spaces, and a `b64token`.
    #[display("the Authorization header is malformed")]
    Malformed,
    /// More than one `Authorization` header.
    #[display("there is more than one Authorization header")]
    MultipleTokens,
    /// The token is longer than the configured maximum.
    #[display("the token is too long")]
    TooLarge,
    /// The body of an event is malformed, too long, or did not arrive in time. Only for
    /// [sources of revocations](crate::guide::revocation).
    #[display("the body of the request is not accepted")]
    Body,
}

/// The fault of the token.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenFault {
    /// The authorization server reports the token as inactive (expired, revoked, or never issued).
    #[display("the token is not active")]
    Inactive,
    /// The token was revoked with [`ProtectApi::revoke`](crate::ProtectApi::revoke), or by an event of the authorization
    /// server.
    #[display("the token is revoked")]
    Revoked,
    /// The token or one of its claims is malformed.
    #[display("the token or one of its claims is malformed")]
    Malformed,
    /// `exp` has passed.
    #[display("the token has expired")]
    Expired,
    /// `nbf` is in the future; or `iat` is, and a maximum age is configured.
    #[display("the token is not valid yet")]
    NotYetValid,
    /// `iss` names another issuer.
    #[display("the token was issued by another issuer")]
    Issuer,
    /// `aud` does not contain this API.
    #[display("the token is meant for another audience")]
    Audience,
    /// The token was issued to a client that is not allowed to call this API.
    #[display("the token was issued to another client")]
    Client,
    /// A required claim has another value.
    #[display("a claim has a value that is not accepted")]
    ClaimValue,
    /// The token was issued longer ago than this API accepts.
    #[display("the token was issued too long ago")]
    TooOld,
    /// A required claim is missing.
    #[display("a required claim is missing")]
    MissingClaim,
    /// The signature does not verify.
    #[display("the signature does not verify")]
    Signature,
    /// No published key matches the token.
    #[display("no published key fits the token")]
    UnknownKey,
    /// The token is signed with an algorithm that is not accepted.
    #[display("the algorithm is not accepted")]
    Algorithm,
    /// A token of another type: a refresh token, an ID token, a logout token.
    #[display("the token is not an access token")]
    Type,
    /// The token is bound to a client certificate or key that the caller did not present (RFC 8705, RFC 9449).
    #[display("the token is bound to another certificate or key")]
    Binding,
    /// No validator accepts tokens of this kind: an opaque token without introspection, or a kind that the
    /// authorization server does not introspect.
    #[display("tokens of this kind are not accepted")]
    Unsupported,
    /// The token or certificate resolver failed.
    #[display("the resolver failed")]
    Resolver,
    /// The claims do not deserialize into the type of the handler.
    #[display("the claims do not fit the type that the handler asks for")]
    Claims,
}

/// The failure of a call to the authorization server.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UpstreamFault {
    /// No connection, a failed TLS handshake, or a broken connection.
    #[display("the authorization server is unreachable")]
    Unreachable,
    /// No complete response before the deadline.
    #[display("the authorization server did not respond in time")]
    TimedOut,
    /// The authorization server responded with 408, 429 or 5xx.
    #[display("the authorization server is overloaded or failing")]
    Failing,
    /// The response does not follow the protocol: not JSON, too large, truncated, or without `active`.
    #[display("the authorization server sent an invalid response")]
    BadAnswer,
    /// No usable signing keys.
    #[display("the authorization server's keys are not available")]
    NoKeys,
    /// Too many calls are in flight.
    #[display("too many calls to the authorization server are under way")]
    Saturated,
    /// The circuit breaker is open after repeated failures.
    #[display("calls to the authorization server are paused after repeated failures")]
    Paused,
    /// The revocations in the shared store cannot be read, and JWTs are then rejected by configuration.
    #[display("the revocations in the shared store cannot be read")]
    NoRevocations,
}

/// The fault of the setup.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetupFault {
    /// The introspection endpoint responded with 400, 401, 403, 404 or another unexpected status.
    #[display("the introspection endpoint rejected the request")]
    Refused,
    /// The metadata names another issuer than the configuration.
    #[display("the metadata names another issuer")]
    Issuer,
    /// The metadata lacks a required endpoint.
    #[display("the metadata lacks an endpoint that is needed")]
    Endpoint,
    /// An endpoint uses neither https nor a loopback host.
    #[display("an endpoint is neither https nor on loopback")]
    InsecureEndpoint,
    /// The client's key or certificate cannot be used, or can no longer be used.
    #[display("the client's credentials cannot be used")]
    Credentials,
    /// The HTTP proxy to the authorization server requires credentials, or rejects the configured ones.
    #[display("the proxy to the authorization server rejects this API")]
    Proxy,
    /// A revocation names an issuer that is not configured, or none although there are tenants. Only for the endpoints of
    /// events.
    #[display("the issuer of a revocation is not configured")]
    RevocationIssuer,
    /// An extractor or guard runs on a route without `ProtectApi`.
    #[display("AuthenticatedRequest is used on a route that no ProtectApi is wrapped around")]
    NotMounted,
}
