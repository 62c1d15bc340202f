//! A real authorization server for tests, examples and demos. Feature `test-util`; not for production.
//!
//! A [`TestIssuer`] listens on a port of 127.0.0.1 until it is dropped. It mints tokens, responds over HTTP as an
//! authorization server does, records requests, and injects faults:
//!
//! ```
//! use actix_protect_api::test::{Endpoint, Fault, TestIssuer};
//! use serde_json::json;
//!
//! let issuer = TestIssuer::start();
//! let token = issuer.opaque(json!({ "sub": "alice", "scope": "posts:read" }));
//! issuer.fault(Endpoint::Introspection, Fault::status(503).times(2));
//! // … point the API at `issuer.issuer()` and call it with the token …
//! assert_eq!(issuer.count(Endpoint::Introspection), 0);
//! ```
//!
//! | Endpoint | Serves |
//! | --- | --- |
//! | [`Discovery`](Endpoint::Discovery), [`AuthorizationServerMetadata`](Endpoint::AuthorizationServerMetadata) | the metadata, the same in both places |
//! | [`Jwks`](Endpoint::Jwks) | the public keys |
//! | [`Introspection`](Endpoint::Introspection) | RFC 7662, for `api-server` and the clients of the builder: `client_secret_basic`, `client_secret_post`, `client_secret_jwt`, `private_key_jwt`. Wrong credentials are 401 `invalid_client`; a token that is unknown, revoked or past its `exp` is `{"active":false}`. `nbf` and `aud` are not checked |
//! | [`Token`](Endpoint::Token) | the grant `client_credentials`, for `app` or the apps of the builder, with the same methods |
//! | [`Revocation`](Endpoint::Revocation) | RFC 7009, for the same apps |
//! | [`SsfConfiguration`](Endpoint::SsfConfiguration) | the configuration of the transmitter of security events |
//! | [`Poll`](Endpoint::Poll) | RFC 8936: the queue of security event tokens, with long polling. Every client may poll |
//!
//! Pages of any origin may call all endpoints except introspection and polling (CORS). The server uses HTTP/1.1 with keep-alive. A
//! request's head may have 64 KiB, its body 1 MiB.
//!
//! Handlers can also be tested without a server: [`authenticate`] marks a request as authenticated, and
//! [`assert_protected`] finds routes that are not protected.
//!
//! A [`MemoryStore`] is a [`SharedStore`](crate::shared_store::SharedStore) for several configurations in one process.
//! [`assert_revoked_everywhere`] waits until all of them reject a token.
//!
//! A [`TestClock`] controls the time of the tested code, and of the issuer if it is passed to its builder. Wrong
//! use of this module panics, as an assertion would.

mod algorithm;
mod answer;
mod builder;
mod caller;
mod client;
mod clock;
pub(crate) mod der;
mod endpoint;
mod fault;
mod http;
mod issuer;
mod issuer_port;
mod jwt;
mod key;
mod keyring;
mod memory_store;
mod revoked;
mod security_event;
mod server;
mod state;
mod tls;
mod vendor;
mod walk;

use std::fmt;

pub use algorithm::Algorithm;
pub use builder::TestIssuerBuilder;
pub use caller::{authenticate, bearer};
pub use clock::TestClock;
pub use endpoint::{Endpoint, RecordedRequest};
pub use fault::Fault;
pub use issuer::TestIssuer;
pub use jwt::JwtOptions;
pub use key::TestKey;
pub use keyring::Rotation;
pub use memory_store::MemoryStore;
pub use revoked::assert_revoked_everywhere;
pub use vendor::Vendor;
pub use walk::assert_protected;

const CLIENT_ID: &str = "api-server";
/// The secret of the default client. RFC 7518 section 3.2 requires 32 bytes for HS256.
const CLIENT_SECRET: &str = "secret-of-the-api-server-in-tests";
const APP_ID: &str = "app";
const APP_SECRET: &str = "app-secret";
/// Seconds between `iat` and `exp`.
const LIFETIME: i64 = 3600;

/// Returns the value, or panics if the test cannot continue.
#[track_caller]
#[expect(clippy::panic, reason = "a test that cannot set up its server must fail, loudly and here")]
fn expect_ok<T, E: fmt::Debug>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("cannot {what}: {error:?}"),
    }
}
