//! The shapes of the access tokens of well-known authorization servers.

use serde_json::{Value, json};

use crate::test::jwt::JwtOptions;

/// An authorization server whose access tokens [`TestIssuer::imitate`](super::TestIssuer::imitate) mints: the `typ` of the
/// header, and the claims. The algorithm is that of the test issuer.
///
/// The page [`guide::servers`](crate::guide::servers) has the settings for each of them, and states with what each shape was
/// compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Vendor {
    /// Keycloak: `azp`, the claim `typ` with the value `Bearer`, roles in `realm_access` and `resource_access`
    Keycloak,
    /// Entra ID, version 2, of a user: `scp`, `tid`, `azp`
    EntraUser,
    /// Entra ID, version 2, of a daemon: `roles`, no `scp`
    EntraDaemon,
    /// Entra ID, version 1, of a user: `scp`, `appid`
    EntraV1,
    /// Azure AD B2C: `scp`, `tfp`
    AzureAdB2c,
    /// Auth0: `scope`, `permissions`, no `client_id`
    Auth0,
    /// Okta: `scp` as an array, `cid`
    Okta,
    /// Cognito: `token_use`, `cognito:groups`, no `aud`
    Cognito,
    /// Zitadel: an object with one member for each role, no `client_id`, no scopes
    Zitadel,
    /// authentik: `azp`, `uid`, `groups`, no scopes
    Authentik,
    /// Ory Hydra: `scp` as an array
    Hydra,
    /// AD FS: `scp`, `appid`, `apptype`
    AdFs,
    /// An ID token of Firebase, which is its access token: `firebase`, `auth_time`, no scopes
    Firebase,
    /// Supabase: `role`, `aud` with the value `authenticated`
    Supabase,
    /// Salesforce: `scp`, the instance as `aud`
    Salesforce,
    /// A service account of Kubernetes: `kubernetes.io`, no `client_id`
    Kubernetes,
    /// GitHub Actions: `repository`, `repository_id`, `ref`, no scopes
    GitHubActions,
    /// Spring Authorization Server: `scope` as an array, no `typ`
    Spring,
    /// Duende `IdentityServer`: `scope` as an array, a single `role` as a string
    Duende,
    /// better-auth: `azp` and `client_id`
    BetterAuth,
    /// oidc-provider
    OidcProvider,
    /// django-oauth-toolkit, whose introspection responses have no `iss` and no `sub` for a machine
    DjangoOauthToolkit,
    /// `MonoCloud`
    MonoCloud,
}

impl Vendor {
    /// Returns the options of a JWT.
    pub(super) fn options(self) -> JwtOptions {
        let typ = match self {
            Self::Okta | Self::Cognito | Self::Kubernetes | Self::Spring => Value::Null,
            Self::Duende | Self::BetterAuth | Self::OidcProvider | Self::MonoCloud => "at+jwt".into(),
            _ => "JWT".into(),
        };
        JwtOptions::new().header("typ", typ)
    }

    /// Returns the claims that differ from those of the test issuer; `null` removes one.
    pub(super) fn claims(self) -> Value {
        let mut claims = self.special_claims();
        if let Some(members) = claims.as_object_mut().filter(|_| self.has_no_client_id()) {
            members.insert("client_id".to_owned(), Value::Null);
        }
        claims
    }

    /// Returns whether the client is in another claim, or in none.
    fn has_no_client_id(self) -> bool {
        !matches!(
            self,
            Self::Cognito
                | Self::Hydra
                | Self::Salesforce
                | Self::Duende
                | Self::BetterAuth
                | Self::OidcProvider
                | Self::DjangoOauthToolkit
                | Self::MonoCloud
        )
    }

    fn special_claims(self) -> Value {
        let client = super::APP_ID;
        match self {
            Self::Keycloak => json!({
                "typ": "Bearer", "azp": client, "sid": "session", "scope": "openid profile read",
                "realm_access": { "roles": ["offline_access", "admin"] },
                "resource_access": { "my-api": { "roles": ["editor"] } },
            }),
            Self::EntraUser => json!({
                "ver": "2.0", "azp": client, "azpacr": "0", "tid": TENANT, "oid": "user", "scp": "read write",
                "roles": ["admin"],
            }),
            Self::EntraDaemon => json!({
                "ver": "2.0", "azp": client, "azpacr": "1", "tid": TENANT, "oid": "app", "idtyp": "app",
                "roles": ["Api.Read.All"],
            }),
            Self::EntraV1 => json!({
                "ver": "1.0", "appid": client, "appidacr": "0", "tid": TENANT, "oid": "user", "scp": "read write",
                "roles": ["admin"],
            }),
            Self::AzureAdB2c => json!({
                "ver": "1.0", "azp": client, "tfp": "B2C_1_signin", "oid": "user", "scp": "read write",
            }),
            Self::Auth0 => json!({
                "azp": client, "sub": "auth0|user", "scope": "openid read", "permissions": ["admin"],
            }),
            Self::Okta => json!({
                "ver": 1, "cid": client, "uid": "user", "scp": ["openid", "read"], "groups": ["admin"],
            }),
            Self::Cognito => json!({
                "aud": null, "token_use": "access", "version": 2, "scope": "my-api/read", "auth_time": 0,
                "username": "user", "cognito:groups": ["admin"],
            }),
            Self::Zitadel => json!({
                "urn:zitadel:iam:org:project:roles": { "admin": { "1": "acme.zitadel.cloud" } },
            }),
            Self::Authentik => {
                json!({ "azp": client, "uid": "random", "auth_time": 0, "groups": ["admin"] })
            }
            Self::Hydra => json!({ "scp": ["openid", "read"], "ext": {} }),
            Self::AdFs => json!({
                "ver": "1.0", "apptype": "Public", "appid": client, "authmethod": "password", "scp": "openid read",
                "group": ["admin"],
            }),
            Self::Firebase => json!({
                "auth_time": 0, "user_id": "user", "sub": "user", "jti": null,
                "firebase": { "identities": {}, "sign_in_provider": "password" }, "roles": ["admin"],
            }),
            Self::Supabase => json!({
                "sub": "user", "role": "authenticated", "aal": "aal1", "session_id": "session", "is_anonymous": false,
                "app_metadata": { "roles": ["admin"] }, "user_metadata": {},
            }),
            Self::Salesforce => json!({ "sub": "uid:user", "scp": "api read", "mty": "oauth", "roles": [] }),
            Self::Kubernetes => json!({
                "sub": "system:serviceaccount:shop:orders",
                "kubernetes.io": { "namespace": "shop", "serviceaccount": { "name": "orders", "uid": "1" } },
            }),
            Self::GitHubActions => json!({
                "sub": "repo:acme/shop:ref:refs/heads/main", "repository": "acme/shop", "repository_owner": "acme",
                "repository_id": "456789", "repository_owner_id": "123456", "ref": "refs/heads/main", "event_name": "push",
            }),
            Self::Spring => json!({ "scope": ["openid", "read"], "roles": ["admin"] }),
            Self::Duende => json!({ "scope": ["openid", "read"], "role": "admin" }),
            Self::BetterAuth => json!({ "azp": client, "scope": "openid read" }),
            Self::OidcProvider => json!({ "scope": "read", "groups": ["admin"] }),
            Self::DjangoOauthToolkit => json!({ "iss": null, "scope": "read", "sub": null, "iat": null }),
            Self::MonoCloud => json!({ "scope": "openid read", "groups": ["admin"] }),
        }
    }
}

/// The `tid` of the tokens of Entra ID, as the guide writes it.
const TENANT: &str = "TENANT";
