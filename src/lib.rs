//! Turns an actix-web 4 app into an OAuth 2.0 resource server.

mod breaker;
mod cache;
mod claims;
mod clock;
mod error;
mod gate;
mod json;
mod scope;
mod secret;

pub use cache::{CacheError, CacheFuture, CacheKey, CachedVerdict, IntrospectionCache};
pub use claims::{Audience, Claims, MalformedClaim};
pub use clock::{Clock, SystemClock};
pub use error::{
    AuthError, AuthErrorKind, ConfigError, ConfigProblem, RequestFault, SetupFault, TokenFault, UpstreamFault,
};
pub use scope::{Scope, Scopes};
pub use secret::Secret;
