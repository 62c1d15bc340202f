//! The guide, with one page per topic.
//!
//! | Task | Page |
//! | --- | --- |
//! | Protect a first route | [`getting_started`] |
//! | Develop on a laptop without an authorization server | [`local_development`] |
//! | Choose between local validation and introspection | [`jwt_or_introspection`] |
//! | Look up a setting: name, unit, default, bounds, reason | [`configuration`] |
//! | Save calls, and see how long a revoked token is accepted | [`caching`] |
//! | Revoke tokens: in code, by security events, by logout | [`revocation`] |
//! | Share verdicts and revocations between replicas | [`redis`] |
//! | Require scopes and groups | [`scopes_and_groups`] |
//! | Copy code: users, tenants, ownership, rate limits, Swagger UI, audit log, jobs | [`recipes`] |
//! | Serve the metadata of the resource; see the challenges; scope hierarchy, step-up authentication | [`resource_metadata`] |
//! | Find the settings for an authorization server, such as Keycloak or Entra ID | [`servers`] |
//! | Accept the tokens of several issuers | [`issuers`] |
//! | Look up each response, and change its body | [`errors`] |
//! | Read the log, export metrics, add a readiness probe | [`observability`] |
//! | Call the API from a browser: CORS, WebSocket, server-sent events | [`cors`] |
//! | Protect an MCP server, with scopes per tool | [`mcp`] |
//! | Use client certificates | [`mtls`] |
//! | Test an application | [`testing`] |
//! | Deploy: containers, Kubernetes, other targets, graceful shutdown | [`deployment`] |
//! | Run behind a proxy | [`proxies`] |
//! | Tune for load | [`tuning`] |
//! | Find the cause of a problem | [`troubleshooting`] |
//! | React to an alert | [`on_call`] |
//! | Migrate from `@monocloud/backend-node` | [`migration`] |
//! | See the limitations | [`limits`] |
//! | See the threat model, and report a vulnerability | [`security`] |
//! | Read the design decisions | [`design`] |
//! | Read the changes | [`changelog`] |

/// The style of a page with wide tables. In a narrow window, long names are broken, so that no column is hidden.
macro_rules! wide_tables {
    () => {
        "\n<style>@media (max-width: 1200px) {
.docblock td code { overflow-wrap: anywhere; font-size: 0.8rem; }
}</style>"
    };
}

#[doc(alias("dotenv", "env_logger", "install", "quickstart", "tutorial"))]
#[doc = include_str!("../docs/getting_started.md")]
pub mod getting_started {}

#[doc(alias("dev server", "identity provider", "laptop", "localhost", "login", "pkce"))]
#[doc = include_str!("../docs/local_development.md")]
pub mod local_development {}

#[doc(alias("jwks", "opaque token", "rfc7662", "rfc8725", "rfc9068"))]
#[doc = include_str!("../diagrams/request.md")]
#[doc = include_str!("../docs/jwt_or_introspection.md")]
pub mod jwt_or_introspection {}

#[doc(alias("defaults", "environment variables", "settings"))]
#[doc = include_str!("../docs/configuration.md")]
#[doc = wide_tables!()]
pub mod configuration {}

#[doc(alias("cache", "outage", "stale"))]
#[doc = include_str!("../diagrams/cache.md")]
#[doc = include_str!("../docs/caching.md")]
pub mod caching {}

#[doc(alias("backchannel", "caep", "logout", "risc", "security events", "ssf"))]
#[doc = include_str!("../docs/revocation.md")]
pub mod revocation {}

#[doc(alias("fleet", "replicas", "shared cache", "valkey"))]
#[doc = include_str!("../diagrams/fleet.md")]
#[doc = include_str!("../docs/redis.md")]
pub mod redis {}

#[doc(alias("authorization", "openapi", "permissions", "rbac", "roles"))]
#[doc = include_str!("../docs/scopes_and_groups.md")]
pub mod scopes_and_groups {}

#[doc(alias("audit log", "background jobs", "current user", "ownership", "rate limit", "swagger", "tenant"))]
#[doc = include_str!("../docs/recipes.md")]
pub mod recipes {}

#[doc(alias("rfc9470", "rfc9728", "step-up", "www-authenticate"))]
#[doc = include_str!("../docs/resource_metadata.md")]
pub mod resource_metadata {}

#[doc(alias(
    "adfs",
    "auth0",
    "authentik",
    "azure",
    "cognito",
    "duende",
    "entra",
    "firebase",
    "github actions",
    "hydra",
    "keycloak",
    "okta",
    "salesforce",
    "spring",
    "supabase",
    "zitadel",
))]
#[doc = include_str!("../docs/servers.md")]
pub mod servers {}

#[doc(alias("multi-tenant", "several issuers", "tenants"))]
#[doc = include_str!("../docs/issuers.md")]
pub mod issuers {}

#[doc(alias("401", "403", "500", "503", "problem json", "rfc9457"))]
#[doc = include_str!("../docs/errors.md")]
#[doc = wide_tables!()]
pub mod errors {}

#[doc(alias(
    "dashboard",
    "grafana",
    "health check",
    "logging",
    "opentelemetry",
    "prometheus",
    "readiness",
    "tracing",
))]
#[doc = include_str!("../docs/observability.md")]
#[doc = wide_tables!()]
pub mod observability {}

#[doc(alias(
    "browser",
    "cors spa",
    "eventsource",
    "preflight",
    "server-sent events",
    "spa",
    "sse",
    "websocket",
))]
#[doc = include_str!("../docs/cors.md")]
pub mod cors {}

#[doc(alias("model context protocol", "rmcp"))]
#[doc = include_str!("../docs/mcp.md")]
#[doc = wide_tables!()]
pub mod mcp {}

#[doc(alias("client certificate", "mutual tls", "rfc8705", "spiffe"))]
#[doc = include_str!("../docs/mtls.md")]
#[doc = wide_tables!()]
pub mod mtls {}

#[doc(alias("fake server", "mock", "test issuer"))]
#[doc = include_str!("../docs/testing.md")]
pub mod testing {}

#[doc(alias(
    "alpine",
    "arm64",
    "container",
    "distroless",
    "docker",
    "graceful shutdown",
    "kubernetes",
    "liveness",
    "musl",
    "scratch",
))]
#[doc = include_str!("../docs/deployment.md")]
#[doc = wide_tables!()]
pub mod deployment {}

#[doc(alias("envoy", "ingress", "load balancer", "nginx", "traefik"))]
#[doc = include_str!("../docs/proxies.md")]
pub mod proxies {}

#[doc(alias("benchmark", "capacity", "performance"))]
#[doc = include_str!("../docs/tuning.md")]
pub mod tuning {}

#[doc(alias("debug", "faq", "invalid_token", "unauthorized"))]
#[doc = include_str!("../docs/troubleshooting.md")]
pub mod troubleshooting {}

#[doc(alias("alert", "incident", "runbook"))]
#[doc = include_str!("../docs/on_call.md")]
pub mod on_call {}

#[doc(alias("backend-node", "express", "fastify", "monocloud"))]
#[doc = include_str!("../docs/migration.md")]
#[doc = wide_tables!()]
pub mod migration {}

#[doc(alias("csrf", "dpop", "limitations", "token exchange"))]
#[doc = include_str!("../docs/limits.md")]
pub mod limits {}

#[doc(alias("threat model", "vulnerability"))]
#[doc = include_str!("../SECURITY.md")]
pub mod security {}

#[doc(alias("architecture"))]
#[doc = include_str!("../DESIGN.md")]
pub mod design {}

#[doc(alias("release notes"))]
#[doc = include_str!("../CHANGELOG.md")]
pub mod changelog {}

/// Compiles the code of the README with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
