//! Metadata from another URL than the well-known ones, and the accepted values of `iss`.

use actix_protect_api::{
    AuthenticatedRequest, ProtectApi, SetupFault, TokenFault,
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::web;
use serde_json::{Value, json};

use crate::support::{
    app::serve,
    service::{Api, OK, api, introspecting, setup, token},
};

/// The issuer of the tokens. Nothing can be fetched from it.
const ELSEWHERE: &str = "https://sts.example.test/tid/";

/// Serves the metadata of this issuer at [`Endpoint::Other`] only, with another `issuer`.
fn publish_elsewhere(issuer: &TestIssuer, name: &str) {
    let mut document = Value::Null;
    issuer.set_metadata(|mut metadata| {
        metadata["issuer"] = json!(name);
        document = metadata.clone();
        metadata
    });
    issuer.set_served(Endpoint::Discovery, false);
    issuer.set_served(Endpoint::AuthorizationServerMetadata, false);
    issuer.fault(Endpoint::Other, Fault::body(document.to_string()).always());
}

fn fetched(issuer: &TestIssuer) -> [usize; 3] {
    [Endpoint::Other, Endpoint::Discovery, Endpoint::AuthorizationServerMetadata]
        .map(|endpoint| issuer.count(endpoint))
}

#[actix_web::test]
async fn the_metadata_is_fetched_from_its_url_only() {
    let issuer = TestIssuer::start();
    publish_elsewhere(&issuer, ELSEWHERE);
    let settings = || introspecting(&issuer).issuer(ELSEWHERE).metadata_url(issuer.url(Endpoint::Other));
    let api = api(settings()).await;
    let claims = json!({ "iss": ELSEWHERE });
    assert_eq!(api.outcome(&issuer.jwt(claims.clone())).await, OK);
    assert_eq!(api.outcome(&issuer.opaque(claims)).await, OK);
    assert_eq!(api.outcome(&issuer.jwt(json!({}))).await, token(TokenFault::Issuer));
    assert_eq!(fetched(&issuer), [1, 0, 0]);
}

#[actix_web::test]
async fn the_document_at_the_url_must_name_the_configured_issuer() {
    let issuer = TestIssuer::start();
    publish_elsewhere(&issuer, "https://evil.example.test");
    let api = api(introspecting(&issuer).metadata_url(issuer.url(Endpoint::Other))).await;
    for one in [issuer.jwt(json!({})), issuer.opaque(json!({}))] {
        assert_eq!(api.outcome(&one).await, setup(SetupFault::Issuer));
    }
    assert_eq!(fetched(&issuer), [1, 0, 0], "no other URL is tried");
}

#[actix_web::test]
async fn tokens_may_have_another_issuer_than_the_metadata() {
    async fn issuer_of(caller: AuthenticatedRequest) -> String {
        caller.issuer().to_owned()
    }
    let issuer = TestIssuer::start();
    let accepted = ["http://as.example.test/services/trust", "https://as.example.test/tenant/2"];
    let protect = introspecting(&issuer).token_issuers(accepted).accept_missing_issuer(true).build().unwrap();
    let app = serve!(move || actix_web::App::new()
        .service(web::resource("/").wrap(protect.clone()).route(web::get().to(issuer_of))));
    for iss in accepted {
        for one in [issuer.jwt(json!({ "iss": iss })), issuer.opaque(json!({ "iss": iss }))] {
            app.get("/").token(&one).send().await.is(200, iss);
        }
    }
    // The issuer of the metadata is not one of them. Only a response without `iss` gets it.
    for claims in [json!({}), json!({ "iss": "https://as.example.test/tenant/3" })] {
        for one in [issuer.jwt(claims.clone()), issuer.opaque(claims)] {
            assert_eq!(app.get("/").token(&one).send().await.status, 401);
        }
    }
    app.get("/").token(&issuer.opaque(json!({ "iss": null }))).send().await.is(200, issuer.issuer());
    assert_eq!(app.get("/").token(&issuer.jwt(json!({ "iss": null }))).send().await.status, 401);
}

#[actix_web::test]
async fn the_issuer_may_be_the_template_of_the_metadata() {
    const TEMPLATE: &str = "https://login.example.test/{tenantid}/v2.0";
    let tenants = ["https://login.example.test/one/v2.0", "https://login.example.test/two/v2.0"];
    let issuer = TestIssuer::start();
    let settings = || {
        introspecting(&issuer)
            .issuer(TEMPLATE)
            .metadata_url(issuer.url(Endpoint::Other))
            .token_issuers(tenants)
    };
    publish_elsewhere(&issuer, TEMPLATE);
    let good = api(settings()).await;
    for tenant in tenants {
        assert_eq!(good.outcome(&issuer.jwt(json!({ "iss": tenant }))).await, OK);
        assert_eq!(good.outcome(&issuer.opaque(json!({ "iss": tenant }))).await, OK);
    }
    for other in [TEMPLATE, "https://login.example.test/three/v2.0", issuer.issuer()] {
        assert_eq!(good.outcome(&issuer.jwt(json!({ "iss": other }))).await, token(TokenFault::Issuer));
    }
    // The text of the template is compared, and no token.
    issuer.clear_faults();
    publish_elsewhere(&issuer, tenants[0]);
    let other = api(settings().realm("another configuration")).await;
    assert_eq!(other.outcome(&issuer.jwt(json!({ "iss": tenants[0] }))).await, setup(SetupFault::Issuer));
}

#[actix_web::test]
async fn with_several_issuers_a_jwt_goes_to_the_one_that_accepts_its_iss() {
    let [one, two] = [TestIssuer::start(), TestIssuer::start()];
    let iss = "http://one.example.test/services/trust";
    let of = |issuer: &TestIssuer| introspecting(issuer).build().unwrap();
    let renamed = introspecting(&one).token_issuers([iss]).build().unwrap();
    let protect = ProtectApi::any_of([of(&two), renamed.clone()]).build().unwrap();
    let api = Api::of(&protect, None).await;
    assert_eq!(api.outcome(&one.jwt(json!({ "iss": iss }))).await, OK);
    assert_eq!(api.outcome(&two.jwt(json!({}))).await, OK);
    let forged = two.jwt(json!({ "iss": iss }));
    assert_eq!(api.outcome(&forged).await, token(TokenFault::Signature), "both keys have one `kid`");
    let other = introspecting(&two).token_issuers([iss]).build().unwrap();
    let twice = ProtectApi::any_of([renamed, other]).build().unwrap_err().to_string();
    assert!(twice.contains("is configured twice"), "{twice}");
}
