//! The guide: longer texts, one page per topic.
//!
//! | You want to | Page |
//! | --- | --- |
//! | protect a first route | [`getting_started`] |
//! | choose between local validation and introspection | [`jwt_or_introspection`] |
//! | look a setting up: name, unit, default, bounds, reason | [`configuration`] |
//! | save calls, and know how long a revoked token lives | [`caching`] |
//! | ask for scopes and groups | [`scopes_and_groups`] |
//! | know every answer, change its body | [`errors`] |
//! | read the log, export metrics, tell a readiness probe | [`observability`] |
//! | call the API from a browser | [`cors`] |
//! | use client certificates | [`mtls`] |
//! | test your app | [`testing`] |
//! | run behind a proxy | [`proxies`] |
//! | serve more requests | [`tuning`] |
//! | find out what is wrong | [`troubleshooting`] |
//! | come from `@monocloud/backend-node` | [`migration`] |
//! | know what is missing | [`limits`] |
//! | know what is defended, and report a vulnerability | [`security`] |
//! | know why things are as they are | [`design`] |
//! | know what changed | [`changelog`] |

#[doc = include_str!("../docs/getting_started.md")]
pub mod getting_started {}

#[doc = include_str!("../docs/jwt_or_introspection.md")]
pub mod jwt_or_introspection {}

#[doc = include_str!("../docs/configuration.md")]
pub mod configuration {}

#[doc = include_str!("../docs/caching.md")]
pub mod caching {}

#[doc = include_str!("../docs/scopes_and_groups.md")]
pub mod scopes_and_groups {}

#[doc = include_str!("../docs/errors.md")]
pub mod errors {}

#[doc = include_str!("../docs/observability.md")]
pub mod observability {}

#[doc = include_str!("../docs/cors.md")]
pub mod cors {}

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

/// The code of the README is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
