//! Tokens of several kinds at one route, in the shapes of well-known authorization servers. The recipes are tested in
//! `servers`.

use actix_protect_api::{
    AuthErrorKind, ProtectApi, ProtectApiBuilder, ScopeClaim, TokenFault,
    test::{Endpoint, TestIssuer, Vendor},
};
use serde_json::json;

use crate::support::service::{Api, NO_SCOPE, OK, Outcome, api, jwts_only, token};

const NO_GROUP: Outcome = Err(AuthErrorKind::InsufficientGroups);

async fn outcome(protect: &ProtectApi, token: &str) -> Outcome {
    Api::of(protect, None).await.outcome(token).await
}

#[actix_web::test]
async fn roles_of_a_keycloak_realm_and_of_a_client_are_groups() {
    let issuer = TestIssuer::start();
    let (realm, client) = ("/realm_access/roles", "/resource_access/my-api/roles");
    let token = issuer.imitate(Vendor::Keycloak, json!({}));
    for (claims, admin, editor) in
        [(vec![realm], OK, NO_GROUP), (vec![client], NO_GROUP, OK), (vec![realm, client], OK, OK)]
    {
        let protect = jwts_only(&issuer).groups_claims(claims.clone()).build().unwrap();
        assert_eq!(outcome(&protect.groups(["admin"]), &token).await, admin, "{claims:?}");
        assert_eq!(outcome(&protect.groups(["editor"]), &token).await, editor, "{claims:?}");
    }
}

#[actix_web::test]
async fn users_and_daemons_of_entra_share_a_route() {
    let issuer = TestIssuer::start();
    let roles = ScopeClaim::from("roles").add_prefix("role:");
    let protect = jwts_only(&issuer).scope_claims([ScopeClaim::from("scp"), roles]).build().unwrap();
    let protect = protect.any_scope(["read", "role:Api.Read.All"]);
    for (vendor, claims, expected) in [
        (Vendor::EntraUser, json!({ "scp": "read" }), OK),
        (Vendor::EntraUser, json!({ "scp": "write", "roles": ["read"] }), NO_SCOPE),
        (Vendor::EntraUser, json!({ "scp": "Api.Read.All" }), NO_SCOPE),
        (Vendor::EntraDaemon, json!({ "roles": ["Api.Read.All"] }), OK),
        (Vendor::EntraDaemon, json!({ "roles": ["read"] }), NO_SCOPE),
        (Vendor::EntraDaemon, json!({ "roles": null }), NO_SCOPE),
    ] {
        let token = issuer.imitate(vendor, claims.clone());
        assert_eq!(outcome(&protect, &token).await, expected, "{vendor:?} {claims}");
    }
}

#[actix_web::test]
async fn both_versions_of_entra_share_a_mount() {
    let issuer = TestIssuer::start();
    let [v1, v2, foreign] = ["sts/TENANT/", "login/TENANT/v2.0", "login/OTHER/v2.0"]
        .map(|path| format!("{}/{path}", issuer.issuer()));
    // Both metadata documents name the same keys.
    let version = |name: &str| -> ProtectApiBuilder {
        let metadata = json!({ "issuer": name, "jwks_uri": issuer.url(Endpoint::Jwks) });
        ProtectApi::builder(name, "API_ID").metadata_document(metadata.to_string())
    };
    let one = version(&v1).audiences(["api://my-api", "API_ID"]).build().unwrap();
    let two = version(&v2).build().unwrap();
    let api = Api::of(&ProtectApi::any_of([one, two]).build().unwrap(), None).await;
    for (vendor, iss, aud, expected) in [
        (Vendor::EntraV1, &v1, "api://my-api", OK),
        (Vendor::EntraV1, &v1, "API_ID", OK),
        (Vendor::EntraUser, &v2, "API_ID", OK),
        (Vendor::EntraUser, &v2, "api://my-api", token(TokenFault::Audience)),
        (Vendor::EntraUser, &foreign, "API_ID", token(TokenFault::Issuer)),
    ] {
        let token = issuer.imitate(vendor, json!({ "iss": iss, "aud": aud }));
        assert_eq!(api.outcome(&token).await, expected, "{vendor:?} {iss} {aud}");
    }
}

#[actix_web::test]
async fn the_client_of_each_vendor_is_known() {
    let issuer = TestIssuer::start();
    let [allowed, other] = ["app", "other"].map(|client| jwts_only(&issuer).allowed_clients([client]));
    let (allowed, other) = (api(allowed).await, api(other).await);
    for vendor in [
        Vendor::Keycloak,
        Vendor::EntraUser,
        Vendor::EntraV1,
        Vendor::Auth0,
        Vendor::Okta,
        Vendor::AdFs,
        Vendor::Hydra,
        Vendor::Authentik,
    ] {
        let token_of_app = issuer.imitate(vendor, json!({}));
        assert_eq!(allowed.outcome(&token_of_app).await, OK, "{vendor:?}");
        assert_eq!(other.outcome(&token_of_app).await, token(TokenFault::Client), "{vendor:?}");
    }
}
