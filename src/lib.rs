//! Turns an [actix-web](actix_web) 4 app into an OAuth 2.0 resource server.
//!
//! Wrap [`ProtectApi`] around an app, a scope, a resource or a route: only requests with a valid access token reach
//! the handlers. Handlers take [`AuthenticatedRequest`] to get the caller. JWTs are validated with the issuer's
//! published keys (RFC 9068, RFC 8725), opaque tokens are introspected (RFC 7662).
//!
//! ```no_run
//! use actix_protect_api::{AuthenticatedRequest, ProtectApi};
//! use actix_web::{App, HttpServer, Responder, web};
//!
//! async fn data(caller: AuthenticatedRequest) -> impl Responder {
//!     web::Json(caller.claims().clone())
//! }
//!
//! #[actix_web::main]
//! async fn main() -> std::io::Result<()> {
//!     // RUST_LOG=actix_protect_api=debug adds the reason of each rejection
//!     env_logger::init_from_env(env_logger::Env::default().default_filter_or("info"));
//!     // Reads `MONOCLOUD_BACKEND_…` variables. Panics with all problems of the configuration.
//!     let protect = ProtectApi::from_env();
//!     HttpServer::new(move || {
//!         let posts = web::resource("/api/posts").wrap(protect.scopes(["posts:write"]));
//!         App::new()
//!             .wrap(protect.clone())
//!             .route("/api/data", web::get().to(data))
//!             .service(posts.route(web::post().to(data)))
//!     })
//!     .bind(("127.0.0.1", 8080))?
//!     .run()
//!     .await
//! }
//! ```
//!
//! `RUST_LOG=actix_protect_api=debug cargo run` logs the reason of each rejection. The following test shows the
//! responses, with the [test issuer](guide::testing):
//!
//! ```
//! use actix_protect_api::{
//!     AuthenticatedRequest, ClientAuthentication, ProtectApi,
//!     test::{TestIssuer, bearer},
//! };
//! use actix_web::{App, test, web};
//! use serde_json::json;
//!
//! # #[actix_web::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let issuer = TestIssuer::start();
//! let protect = ProtectApi::builder(issuer.issuer(), issuer.audience())
//!     .client(
//!         issuer.client_id(),
//!         ClientAuthentication::client_secret_basic(issuer.client_secret()),
//!     )
//!     .build()?;
//! let who = |caller: AuthenticatedRequest| async move {
//!     caller.subject().unwrap_or("a machine").to_owned()
//! };
//! let app = test::init_service(
//!     App::new().wrap(protect.clone()).route("/who", web::get().to(who)).service(
//!         web::resource("/posts")
//!             .wrap(protect.scopes(["posts:write"]))
//!             .route(web::get().to(who)),
//!     ),
//! )
//! .await;
//!
//! let token = issuer.opaque(json!({ "sub": "alice", "scope": "posts:read" }));
//! let get = |path| test::TestRequest::get().uri(path);
//! let with = |path, token: &str| get(path).insert_header(bearer(token));
//!
//! let body = test::call_and_read_body(&app, with("/who", &token).to_request()).await;
//! assert_eq!(body, "alice");
//! let response = test::call_service(&app, with("/posts", &token).to_request()).await;
//! assert_eq!(response.status(), 403);
//! let response = test::call_service(&app, get("/who").to_request()).await;
//! assert_eq!(response.status(), 401);
//! issuer.revoke(&token);
//! let response = test::call_service(&app, with("/who", &token).to_request()).await;
//! assert_eq!(response.status(), 401);
//! # Ok(()) }
//! ```
//!
//! # Terms
//!
//! - A **mount** is one place where a `ProtectApi` is wrapped around an app, a scope, a resource or a route. Each
//!   mount has its own requirements, such as scopes.
//! - A **verdict** is the statement of the authorization server about a token: active with these claims, or
//!   inactive. Verdicts can be cached. Decisions about requests are never cached.
//! - The **caller** is the client or user whose token the request carries.
//!
//! # What is checked
//!
//! On every request: the form of the credentials (RFC 6750 section 2.1); the token's signature, or that the issuer
//! reports the token as active; `iss`, `aud`, `exp`, `nbf`; that it is an access token; the scopes and groups of
//! each mount around the handler; the client certificate to which the token is bound (RFC 8705).
//!
//! # What is not checked
//!
//! Permissions on single objects: check them in the handler. The values of `iat` and `sub`: by default, only their
//! types are checked. DPoP proofs: a token bound to a DPoP key is rejected. [`guide::limits`] has the complete list.
//!
//! # Overview
//!
//! | Topic | Items |
//! | --- | --- |
//! | middleware and its configuration | [`ProtectApi`], [`ProtectApiBuilder`], [`Dangerous`], [`ConfigError`] |
//! | client authentication for introspection | [`ClientAuthentication`], [`SecretSource`], [`Secret`], [`ClientIdentity`], [`IntrospectionValue`] |
//! | the caller in a handler | [`AuthenticatedRequest`], [`Claims`], [`Audience`], [`Scopes`] |
//! | several issuers, tenants | [`AnyOf`], [`TenantRequest`], [`Principal`] |
//! | configurations for servers that need many settings | [`profile`] |
//! | a token without an HTTP request | [`ValidatedToken`] |
//! | rules that are reported and not enforced | [`Trial`], [`ProtectApi::report_only`] |
//! | long streams | [`Lease`], [`LeaseEnd`] |
//! | metadata of the resource, table of the mounts | [`Resource`], [`ResourceMetadata`], [`Explanation`] |
//! | scopes in a handler's signature, or to choose a route | [`Scoped`], [`RequiredScopes`], [`guard::has_scopes`] |
//! | rejections: class, response, body | [`AuthError`], [`AuthErrorKind`], [`Rejection`], [`ErrorRenderer`], [`ErrorBody`], [`ProblemJson`] |
//! | scopes per tool of an MCP server | `mcp` (feature `mcp`) |
//! | client certificates | [`certificate`], [`CertificateBinding`] |
//! | revocation, and its sources | [`Revocation`], [`Ssf`], [`SsfPoll`], [`guide::revocation`] |
//! | shared verdict cache | [`cache`], [`shared_store`] |
//! | diagnosis of metadata, keys and tokens | [`PublishedKey`], [`unverified_jwt_header`] |
//! | time, readiness | [`Clock`], [`SystemClock`], [`Status`], [`LastError`], [`IntrospectionState`], [`CheckError`] |
//! | the HTTP client for other calls | [`hardened_client`] |
//! | authorization server for tests | `test` (feature `test-util`) |
//! | guide | [`guide`] |
//!
//! # Crate features
//!
//! | Feature | Default |
//! | --- | --- |
//! | `rustls` | yes |
//! | `mtls` | no |
//! | `metrics` | no |
//! | `tracing` | no |
//! | `mcp` | no |
//! | `test-util` | no |
//!
//! - **`rustls`**: TLS to the authorization server by rustls with aws-lc-rs and the certificates of the platform
//!   (`SSL_CERT_FILE` is used; further authorities are a setting). Disable it if the application puts an `awc::Client` into the app data.
//!   Without the feature and without such a client, only issuers on loopback can be reached, and client
//!   authentication by mutual TLS is a configuration error.
//! - **`mtls`**: `certificate::on_connect`, which reads the client's certificate if actix terminates TLS (rustls
//!   0.23). It is not needed for certificates that a proxy sends in a header, or to present a certificate to the
//!   authorization server.
//! - **`metrics`**: metrics of decisions and calls through the facade of the `metrics` crate.
//!   [`guide::observability`] lists the names. The application must install an exporter.
//! - **`tracing`**: spans of authentications and calls, and log records as events with fields, for a subscriber of the
//!   `tracing` crate. [`guide::observability`] lists the names. It adds no dependency, because actix-web uses `tracing` too.
//! - **`mcp`**: scopes for the tools of an MCP server, see [`guide::mcp`]. It adds no dependency.
//! - **`test-util`**: the module `test`, with a real authorization server for tests. It adds a certificate
//!   generator and a TLS server to the build, so enable it under `[dev-dependencies]` only.
//!
//! Features are independent of each other, and none disables a check.

#![cfg_attr(docsrs, feature(doc_cfg))]

// Before the other modules, which use its macro.
#[macro_use]
mod record;

mod algorithm;
mod bearer;
#[cfg(feature = "__bench")]
#[doc(hidden)]
pub mod bench;
pub mod cache;
mod caller;
pub mod certificate;
mod claims;
mod client_auth;
mod clock;
mod deadline;
mod duration_text;
mod error;
mod events;
pub mod guide;
mod introspection;
mod issuer;
mod jwk;
mod jwt;
#[cfg(feature = "mcp")]
pub mod mcp;
mod middleware;
mod policy;
pub mod profile;
mod protect_api;
mod redact;
mod response;
mod revocation;
mod secret;
mod settings;
pub mod shared_store;
mod telemetry;
#[cfg(feature = "test-util")]
pub mod test;
mod validator;
mod waiting_room;

/// Scopes in a handler's signature, and scopes that choose between routes.
pub mod guard {
    pub use crate::caller::scoped::{HasScopes, RequiredScopes, Scoped, has_scopes};
}
pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use caller::{AuthenticatedRequest, Lease, LeaseEnd, Principal, RequiredScopes, Scoped, ValidatedToken};
pub use certificate::{CertificateBinding, ResolverError};
pub use claims::{Audience, Claims, MalformedClaim, Scope, ScopeClaim, Scopes};
pub use client_auth::{
    ClientAssertionAudience, ClientAuthentication, ClientIdentity, SecretSource,
    UnknownClientAssertionAudience,
};
pub use clock::{Clock, SystemClock};
pub use error::{
    AuthError, AuthErrorKind, CheckError, ConfigError, ConfigProblem, RequestFault, SetupFault, TokenFault,
    UpstreamFault,
};
pub use events::{Ssf, SsfPoll};
pub use issuer::hardened_client;
pub use jwt::{PublishedKey, unverified_jwt_header};
#[doc(hidden)]
pub use middleware::ProtectApiService;
pub use policy::{GroupOptions, Trial};
pub use protect_api::{
    AnyOf, Dangerous, Explanation, ProtectApi, ProtectApiBuilder, ResourceMetadata, TenantRequest,
};
pub use response::{ErrorBody, ErrorRenderer, ProblemJson, Rejection};
pub use revocation::{Revocation, RevocationError};
pub use secret::Secret;
pub use settings::{IntrospectionValue, Resource};
pub use settings::{JwtsWhenBlind, UnknownJwtsWhenBlind};
pub use shared_store::StoreError;
pub use telemetry::{IntrospectionState, LastError, SharedStoreState, Status};

/// The target of the crate's log records.
const LOG: &str = "actix_protect_api";
