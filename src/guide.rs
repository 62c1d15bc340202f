//! The guide, with one page per topic.
//!
//! | Task | Page |
//! | --- | --- |
//! | Protect a first route | [`getting_started`] |
//! | Choose between local validation and introspection | [`jwt_or_introspection`] |
//! | Look up a setting: name, unit, default, bounds, reason | [`configuration`] |
//! | Save calls, and see how long a revoked token is accepted | [`caching`] |
//! | Revoke tokens: in code, by security events, by logout | [`revocation`] |
//! | Share verdicts and revocations between replicas | [`redis`] |
//! | Require scopes and groups | [`scopes_and_groups`] |
//! | Serve the metadata of the resource; see the challenges; scope hierarchy, step-up authentication | [`resource_metadata`] |
//! | Find the settings for an authorization server, such as Keycloak or Entra ID | [`servers`] |
//! | Accept the tokens of several issuers | [`issuers`] |
//! | Look up each response, and change its body | [`errors`] |
//! | Read the log, export metrics, add a readiness probe | [`observability`] |
//! | Call the API from a browser | [`cors`] |
//! | Protect an MCP server, with scopes per tool | [`mcp`] |
//! | Use client certificates | [`mtls`] |
//! | Test an application | [`testing`] |
//! | Run behind a proxy | [`proxies`] |
//! | Tune for load | [`tuning`] |
//! | Find the cause of a problem | [`troubleshooting`] |
//! | Migrate from `@monocloud/backend-node` | [`migration`] |
//! | See the limitations | [`limits`] |
//! | See the threat model, and report a vulnerability | [`security`] |
//! | Read the design decisions | [`design`] |
//! | Read the changes | [`changelog`] |

#[doc = include_str!("../docs/getting_started.md")]
pub mod getting_started {}

#[doc = include_str!("../docs/jwt_or_introspection.md")]
pub mod jwt_or_introspection {}

#[doc = include_str!("../docs/configuration.md")]
pub mod configuration {}

#[doc = include_str!("../docs/caching.md")]
pub mod caching {}

#[doc = include_str!("../docs/revocation.md")]
pub mod revocation {}

#[doc = include_str!("../docs/redis.md")]
pub mod redis {}

#[doc = include_str!("../docs/scopes_and_groups.md")]
pub mod scopes_and_groups {}

#[doc = include_str!("../docs/resource_metadata.md")]
pub mod resource_metadata {}

#[doc = include_str!("../docs/servers.md")]
pub mod servers {}

#[doc = include_str!("../docs/issuers.md")]
pub mod issuers {}

#[doc = include_str!("../docs/errors.md")]
pub mod errors {}

#[doc = include_str!("../docs/observability.md")]
pub mod observability {}

#[doc = include_str!("../docs/cors.md")]
pub mod cors {}

#[doc = include_str!("../docs/mcp.md")]
pub mod mcp {}

#[doc = include_str!("../docs/mtls.md")]
pub mod mtls {}

#[doc = include_str!("../docs/testing.md")]
pub mod testing {}

#[doc = include_str!("../docs/proxies.md")]
pub mod proxies {}

#[doc = include_str!("../docs/tuning.md")]
pub mod tuning {}

#[doc = include_str!("../docs/troubleshooting.md")]
pub mod troubleshooting {}

#[doc = include_str!("../docs/migration.md")]
pub mod migration {}

#[doc = include_str!("../docs/limits.md")]
pub mod limits {}

#[doc = include_str!("../SECURITY.md")]
pub mod security {}

#[doc = include_str!("../DESIGN.md")]
pub mod design {}

#[doc = include_str!("../CHANGELOG.md")]
pub mod changelog {}

/// Compiles the code of the README with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
