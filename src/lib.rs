//! Turns an actix-web 4 app into an OAuth 2.0 resource server.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod algorithm;
mod bearer;
#[cfg(feature = "__bench")]
#[doc(hidden)]
pub mod bench;
mod breaker;
pub mod cache;
pub mod certificate;
mod challenge;
mod claims;
mod client_auth;
mod clock;
mod config;
mod discovery;
mod error;
mod flight;
mod gate;
pub mod guard;
mod json;
mod jwk;
mod jwks;
mod limiter;
mod metadata;
mod middleware;
mod observe;
mod policy;
mod refresh;
mod request;
mod response;
mod scope;
mod secret;
mod shared;
mod status;
#[cfg(feature = "test-util")]
pub mod test;
#[cfg(feature = "rustls")]
mod tls;
mod token_type;
mod upstream;
mod validator;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use certificate::{CertificateBinding, ResolverError};
pub use claims::{Audience, Claims, MalformedClaim};
pub use client_auth::{ClientAuthentication, Identity, SecretSource};
pub use clock::{Clock, SystemClock};
pub use config::{Dangerous, ProtectApiBuilder};
pub use error::{
    AuthError, AuthErrorKind, ConfigError, ConfigProblem, RequestFault, SetupFault, TokenFault, UpstreamFault,
};
pub use guard::{RequiredScopes, Scoped};
pub use middleware::ProtectApi;
#[doc(hidden)]
pub use middleware::ProtectApiService;
pub use request::AuthenticatedRequest;
pub use response::{ErrorBody, ErrorRenderer, ProblemJson, Rejection};
pub use scope::{Scope, Scopes};
pub use secret::Secret;
pub use status::{Introspecting, Status};
pub use upstream::hardened_client;

/// The target of the crate's log records.
const LOG: &str = "actix_protect_api";
