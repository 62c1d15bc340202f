//! Configurations for authorization servers that need many settings.
//!
//! Each function returns a builder with the settings of one recipe of [`guide::servers`](crate::guide::servers). Code can
//! override every setting. Servers that need at most three settings beyond issuer, audience and client have a recipe only.

use crate::{
    error::ConfigProblem,
    protect_api::{ProtectApi, ProtectApiBuilder},
};

/// Starts a configuration for a user pool of Amazon Cognito.
///
/// `user_pool` is the id of the pool, such as `eu-west-1_Ab`. `clients` are the ids of the app clients that may call this API:
/// access tokens of Cognito have no `aud`, so the list takes the place of the
/// [audience](ProtectApiBuilder::allowed_clients). [`build`](ProtectApiBuilder::build) reports a malformed region or id.
///
/// ID tokens are rejected (`token_use`). Groups are read from `cognito:groups`. Scopes contain the identifier of the resource
/// server; [`scope_prefix`](ProtectApiBuilder::scope_prefix) removes it. Recipe:
/// [Amazon Cognito](crate::guide::servers#amazon-cognito).
///
/// ```
/// # fn main() -> Result<(), actix_protect_api::ConfigError> {
/// use actix_protect_api::profile;
///
/// let protect = profile::cognito("eu-west-1", "eu-west-1_Ab", ["app"])
///     .scope_prefix("my-api/")
///     .build()?;
/// # Ok(())
/// # }
/// ```
pub fn cognito(
    region: &str,
    user_pool: &str,
    clients: impl IntoIterator<Item = impl Into<String>>,
) -> ProtectApiBuilder {
    let issuer = format!("https://cognito-idp.{region}.amazonaws.com/{user_pool}");
    let mut builder = ProtectApi::builder_for_clients(issuer, clients)
        .require_claim("token_use", ["access"])
        .groups_claim("cognito:groups");
    builder.profile_problems.extend(problem_of("region", region, "a region, such as `eu-west-1`"));
    let expected = "the id of a user pool, such as `eu-west-1_Ab`";
    builder.profile_problems.extend(problem_of("user_pool", user_pool, expected));
    builder
}

/// Starts a configuration for users of several tenants of Entra ID, version 2.
///
/// `audience` is the client id of this API, and `tenants` are the ids of the directories whose tokens are accepted. An empty
/// list is an error, because anyone can create a tenant. A domain is no id: no `iss` contains it.
///
/// Only tokens of users are accepted: `scp` is required, which tokens of daemons and ID tokens do not have. App roles are
/// groups. A `sub` is unique only within its issuer: use [`principal`](crate::AuthenticatedRequest::principal) as the key of a
/// user. Recipe: [Entra ID, several tenants](crate::guide::servers#entra-id-several-tenants).
///
/// ```
/// # fn main() -> Result<(), actix_protect_api::ConfigError> {
/// use actix_protect_api::profile;
///
/// let protect = profile::entra_tenants("API_ID", ["TENANT_1", "TENANT_2"]).build()?;
/// # Ok(())
/// # }
/// ```
pub fn entra_tenants(
    audience: impl Into<String>,
    tenants: impl IntoIterator<Item = impl AsRef<str>>,
) -> ProtectApiBuilder {
    const HOST: &str = "https://login.microsoftonline.com";
    let issuer = |tenant: &str| format!("{HOST}/{tenant}/v2.0");
    let mut builder = ProtectApi::builder(issuer("{tenantid}"), audience)
        .metadata_url(format!("{HOST}/organizations/v2.0/.well-known/openid-configuration"))
        .required_claims(["scp"])
        .groups_claim("roles");
    for tenant in tenants {
        builder.profile_problems.extend(problem_of("tenants", tenant.as_ref(), "the ids of tenants"));
        builder.token_issuers.push(issuer(tenant.as_ref()));
    }
    if builder.token_issuers.is_empty() {
        let problem = ConfigProblem::new("tenants", "is empty, expected the ids of tenants");
        builder.profile_problems.push(problem);
    }
    builder
}

/// Returns the problem of an argument that becomes a part of a URL: another character could change the host or the path.
fn problem_of(argument: &str, value: &str, expected: &str) -> Option<ConfigProblem> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_valid = !value.is_empty() && value.bytes().all(is_part);
    (!is_valid).then(|| ConfigProblem::new(argument, format!("is {value:?}, expected {expected}")))
}
