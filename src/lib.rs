//! Turns an actix-web 4 app into an OAuth 2.0 resource server.

pub mod certificate;
mod algorithm;
mod claims;
mod client_auth;
mod clock;
mod error;
mod json;
mod jwk;
mod jwks;
mod scope;
mod secret;
#[cfg(feature = "rustls")]
mod tls;
mod validator;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use claims::{Audience, Claims, MalformedClaim};
pub use client_auth::{ClientAuthentication, Identity, SecretSource};
pub use clock::{Clock, SystemClock};
pub use error::{
    AuthError, AuthErrorKind, ConfigError, ConfigProblem, RequestFault, SetupFault, TokenFault, UpstreamFault,
};
pub use scope::{Scope, Scopes};
pub use secret::Secret;
