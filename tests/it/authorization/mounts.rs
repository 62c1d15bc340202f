//! Mounts: their places, nested and optional ones, and several issuers.

use actix_protect_api::{
    ProtectApi,
    test::{Endpoint, TestIssuer},
};
use actix_web::{App, web};
use serde_json::json;

use crate::support::{
    app::{INVALID, MISSING, optional_whoami, protect, serve, whoami, with_scope},
    service::introspecting,
};

async fn open() -> &'static str {
    "open"
}

#[actix_web::test]
async fn app_scope_resource_and_route_can_be_protected_and_nothing_beside_them_is() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let whole = protect.clone();
    let whole = serve!(move || App::new().wrap(whole.clone()).route("/a", web::get().to(whoami)));
    let parts = serve!(move || {
        App::new()
            .service(web::scope("/scope").wrap(protect.clone()).route("/in", web::get().to(whoami)))
            .service(web::resource("/resource").wrap(protect.clone()).route(web::get().to(whoami)))
            .service(
                web::resource("/route")
                    .route(web::get().to(whoami).wrap(protect.clone()))
                    .route(web::post().to(open)),
            )
            .route("/open", web::get().to(open))
    });
    let token = issuer.opaque(json!({ "sub": "alice" }));
    for (app, path) in [(&whole, "/a"), (&parts, "/scope/in"), (&parts, "/resource"), (&parts, "/route")] {
        app.get(path).send().await.refuses(MISSING);
        app.get(path).token("unknown-token").send().await.refuses(INVALID);
        app.get(path).token(&token).send().await.is(200, "alice");
    }
    parts.get("/open").send().await.is(200, "open");
    parts.post("/route").send().await.is(200, "open");
}

#[actix_web::test]
async fn nested_mounts_of_one_configuration_introspect_once_and_each_enforces_its_requirements() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || {
        let scope = web::scope("/b").wrap(protect.clone().scopes(["b"])).service(
            web::resource("/c").wrap(protect.clone().groups(["staff"])).route(web::get().to(whoami)),
        );
        App::new().wrap(protect.clone().scopes(["a"])).service(scope)
    });
    let token = |scope: &str, groups: &[&str]| {
        issuer.opaque(json!({ "sub": "alice", "scope": scope, "groups": groups }))
    };
    app.get("/b/c").token(&token("a b", &["staff"])).send().await.is(200, "alice");
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
    app.get("/b/c").token(&token("b", &["staff"])).send().await.lacks_scope("a");
    app.get("/b/c").token(&token("a", &["staff"])).send().await.lacks_scope("a b");
    let sales = app.get("/b/c").token(&token("a b", &["sales"])).send().await;
    sales.refuses((403, Some("Bearer scope=\"a b\""), "forbidden"));
    assert_eq!(issuer.count(Endpoint::Introspection), 4);
    assert_eq!(issuer.count(Endpoint::Discovery), 1);
}

#[actix_web::test]
async fn a_handle_with_more_requirements_keeps_the_earlier_ones() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || {
        let base = protect.clone().scopes(["read"]);
        App::new()
            .service(web::resource("/base").wrap(base.clone()).route(web::get().to(whoami)))
            .service(web::resource("/more").wrap(base.scopes(["write"])).route(web::get().to(whoami)))
    });
    let reader = issuer.opaque(json!({ "sub": "alice", "scope": "read" }));
    let writer = issuer.opaque(json!({ "sub": "bob", "scope": "write" }));
    app.get("/base").token(&reader).send().await.is(200, "alice");
    app.get("/base").token(&writer).send().await.lacks_scope("read");
    for token in [&reader, &writer] {
        app.get("/more").token(token).send().await.lacks_scope("read write");
    }
}

#[actix_web::test]
async fn two_issuers_stand_side_by_side_and_neither_accepts_the_others_tokens() {
    let (first, second) = (TestIssuer::start(), TestIssuer::start());
    let (one, two) = (protect(&first), protect(&second));
    let app = serve!(move || {
        App::new()
            .service(web::resource("/one").wrap(one.clone()).route(web::get().to(whoami)))
            .service(web::resource("/two").wrap(two.clone()).route(web::get().to(whoami)))
    });
    let claims = json!({ "sub": "alice" });
    for (mine, theirs) in [
        (first.opaque(claims.clone()), second.opaque(claims.clone())),
        (first.jwt(claims.clone()), second.jwt(claims)),
    ] {
        app.get("/one").token(&mine).send().await.is(200, "alice");
        app.get("/two").token(&theirs).send().await.is(200, "alice");
        app.get("/one").token(&theirs).send().await.refuses(INVALID);
        app.get("/two").token(&mine).send().await.refuses(INVALID);
    }
}

#[actix_web::test]
async fn a_nested_mount_of_another_configuration_validates_for_itself() {
    let (outer, inner) = (TestIssuer::start(), TestIssuer::start());
    let (one, two) = (protect(&outer), protect(&inner));
    let app = serve!(move || {
        App::new()
            .wrap(one.clone())
            .service(web::resource("/inner").wrap(two.clone()).route(web::get().to(whoami)))
    });
    // The outer mount rejects tokens of the inner mount's issuer, and the inner mount rejects those of the outer one's.
    app.get("/inner").token(&inner.opaque(json!({}))).send().await.refuses(INVALID);
    app.get("/inner").token(&outer.opaque(json!({}))).send().await.refuses(INVALID);
    assert_eq!(inner.count(Endpoint::Introspection), 1, "the outer verdict was taken for the inner one's");
    // Both accept this token: the handler gets the result of the innermost mount.
    let token = outer.opaque(json!({ "sub": "outer's alice" }));
    let claims =
        json!({ "active": true, "sub": "inner's alice", "iss": inner.issuer(), "aud": inner.audience() });
    inner.set_answer(&token, &claims.to_string());
    app.get("/inner").token(&token).send().await.is(200, "inner's alice");
}

#[actix_web::test]
async fn a_nested_mount_for_another_audience_of_the_same_issuer_validates_for_itself() {
    let issuer = TestIssuer::start();
    let one = protect(&issuer);
    let two = ProtectApi::builder(issuer.issuer(), "https://admin.example.test")
        .client(
            issuer.client_id(),
            actix_protect_api::ClientAuthentication::client_secret_basic(issuer.client_secret()),
        )
        .build()
        .unwrap();
    let app = serve!(move || {
        let admin = web::resource("/admin").wrap(two.clone()).route(web::get().to(whoami));
        App::new().wrap(one.clone()).service(admin)
    });
    app.get("/admin").token(&issuer.opaque(json!({ "sub": "alice" }))).send().await.refuses(INVALID);
    let both = json!({ "sub": "root", "aud": [issuer.audience(), "https://admin.example.test"] });
    app.get("/admin").token(&issuer.opaque(both)).send().await.is(200, "root");
}

#[actix_web::test]
async fn optional_lets_requests_without_a_token_in_as_anonymous_and_no_bad_token() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || {
        App::new()
            .wrap(protect.clone().optional().scopes(["read"]))
            .route("/perhaps", web::get().to(optional_whoami))
            .route("/surely", web::get().to(whoami))
            .service(web::resource("/required").wrap(protect.clone()).route(web::get().to(optional_whoami)))
    });
    let reader = issuer.opaque(json!({ "sub": "alice", "scope": "read" }));
    let other = issuer.opaque(json!({ "sub": "bob" }));
    app.get("/perhaps").send().await.is(200, "anonymous");
    app.get("/perhaps").header("Authorization", "Basic YTpi").send().await.is(200, "anonymous");
    app.get("/perhaps").token(&reader).send().await.is(200, "alice");
    app.get("/perhaps").token("unknown-token").send().await.refuses(with_scope(INVALID, "read"));
    assert_eq!(app.get("/perhaps").token("not a token").send().await.status, 400);
    app.get("/perhaps").token(&other).send().await.lacks_scope("read");
    // A handler that requires a caller rejects anonymous requests.
    app.get("/surely").send().await.refuses(with_scope(MISSING, "read"));
    app.get("/surely").token(&reader).send().await.is(200, "alice");
    // A required mount inside an optional one is required.
    app.get("/required").send().await.refuses(with_scope(MISSING, "read"));
    app.get("/required").token(&reader).send().await.is(200, "alice");
}

#[actix_web::test]
async fn optional_inside_a_required_mount_does_not_open_it() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || {
        let inner = web::resource("/").wrap(protect.clone().optional()).route(web::get().to(optional_whoami));
        App::new().wrap(protect.clone()).service(inner)
    });
    app.get("/").send().await.refuses(MISSING);
    app.get("/").token(&issuer.opaque(json!({ "sub": "alice" }))).send().await.is(200, "alice");
}

#[actix_web::test]
async fn optional_does_not_turn_an_outage_into_an_anonymous_caller() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || App::new()
        .wrap(protect.clone().optional())
        .route("/", web::get().to(optional_whoami)));
    let token = issuer.opaque(json!({ "sub": "alice" }));
    issuer.fault(Endpoint::Introspection, actix_protect_api::test::Fault::status(503).always());
    assert_eq!(app.get("/").token(&token).send().await.status, 503);
}

#[actix_web::test]
async fn a_mount_may_want_a_younger_verdict_than_the_cache_keeps() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer)
        .introspection_cache_duration(std::time::Duration::from_secs(60))
        .build()
        .unwrap();
    let app = serve!(move || {
        App::new()
            .service(web::resource("/cached").wrap(protect.clone()).route(web::get().to(whoami)))
            .service(
                web::resource("/now")
                    .wrap(protect.clone().max_age(std::time::Duration::ZERO))
                    .route(web::get().to(whoami)),
            )
    });
    let token = issuer.opaque(json!({ "sub": "alice" }));
    for _ in 0..3 {
        app.get("/cached").token(&token).send().await.is(200, "alice");
    }
    assert_eq!(issuer.count(Endpoint::Introspection), 1);
    issuer.revoke(&token);
    app.get("/cached").token(&token).send().await.is(200, "alice");
    app.get("/now").token(&token).send().await.refuses(INVALID);
    // The newer verdict is kept for everyone.
    app.get("/cached").token(&token).send().await.refuses(INVALID);
    assert_eq!(issuer.count(Endpoint::Introspection), 2);
}
