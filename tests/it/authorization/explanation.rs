//! The table of the mounts and their requirements.

use std::time::Duration;

use actix_protect_api::{
    ProtectApi, RequiredScopes, Scoped,
    test::{TestIssuer, assert_protected},
};
use actix_web::{App, web};
use serde_json::json;

use crate::support::{
    app::{serve, whoami},
    service::introspecting,
};

/// Builds the application, as each worker does.
async fn build(protect: &ProtectApi) {
    let app = actix_web::test::init_service({
        let inner = protect.any_scope(["b", "c"]).groups(["staff"]).routes(["GET /a/b", "POST /a/b"]);
        let strict =
            protect.acr(["phr"]).authenticated_within(Duration::from_secs(60)).routes(["GET /strict"]);
        App::new()
            .service(web::resource("/strict").wrap(strict).route(web::get().to(whoami)))
            .service(web::scope("/a").wrap(protect.scopes(["a"])).service(
                web::resource("/b").wrap(inner).route(web::get().to(whoami)).route(web::post().to(whoami)),
            ))
            .service(web::resource("/open").wrap(protect.optional()).route(web::get().to(whoami)))
    })
    .await;
    assert_protected(&app, &protect.explain().routes(), &[]).await;
}

#[actix_web::test]
async fn the_explanation_lists_each_mount_once_with_its_requirements() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    assert_eq!(protect.explain().to_string(), "");
    build(&protect).await;
    build(&protect).await;
    let explanation = protect.explain();
    let text = explanation.to_string();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "(routes not named): scopes a",
            "(routes not named): the token is optional",
            "GET /a/b, POST /a/b: one of the scopes b c; groups [\"staff\"]",
            "GET /strict: acr phr; authenticated within 60 s",
        ]
    );
    let mut routes = explanation.routes();
    routes.sort_unstable();
    assert_eq!(routes, ["GET /a/b", "GET /strict", "POST /a/b"]);
}

struct Transfer;

impl RequiredScopes for Transfer {
    const SCOPES: &'static [&'static str] = &["pay", "transfer"];
    const ACR: &'static [&'static str] = &["phr"];
    const AUTHENTICATED_WITHIN: Option<Duration> = Some(Duration::from_secs(60));
}

struct List;

impl RequiredScopes for List {
    const SCOPES: &'static [&'static str] = &["list"];
}

async fn transfer(_: Scoped<Transfer>) -> &'static str {
    "transferred"
}

#[actix_web::test]
async fn the_type_of_a_handler_is_required_by_its_mount_too() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).resource("https://api.example.test").build().unwrap();
    let handle = protect.clone();
    let app = serve!(move || {
        let mount = protect.scoped::<Transfer>().routes(["POST /transfer"]);
        let list = protect.scoped::<List>().routes(["GET /list"]);
        App::new()
            .service(protect.resource_metadata())
            .service(web::resource("/transfer").wrap(mount).route(web::post().to(transfer)))
            .service(web::resource("/list").wrap(list).route(web::get().to(whoami)))
    });
    // The first response already names everything, before a handler was selected.
    let answer = app.get("/transfer").send().await;
    assert!(answer.challenge().unwrap().ends_with("scope=\"pay transfer\""), "{answer:?}");
    let answer = app.post("/transfer").token(&issuer.opaque(json!({ "scope": "list" }))).send().await;
    assert_eq!(answer.status, 401);
    assert!(
        answer.challenge().unwrap().ends_with("scope=\"pay transfer\", acr_values=\"phr\", max_age=\"60\""),
        "{answer:?}"
    );
    let answer = app.get("/list").token(&issuer.opaque(json!({ "scope": "pay" }))).send().await;
    assert_eq!(answer.status, 403);
    assert!(answer.challenge().unwrap().ends_with("scope=\"list\""), "{answer:?}");
    assert_eq!(app.get("/list").token(&issuer.opaque(json!({ "scope": "list" }))).send().await.status, 200);
    let document = app.get("/.well-known/oauth-protected-resource").send().await;
    let document: serde_json::Value = serde_json::from_str(&document.body).unwrap();
    assert_eq!(document["scopes_supported"], json!(["list", "pay", "transfer"]));
    let text = handle.explain().to_string();
    assert!(text.contains("POST /transfer: scopes pay transfer; acr phr; authenticated within 60 s\n"));
    assert!(text.contains("GET /list: scopes list\n"), "{text}");
}

#[actix_web::test]
async fn a_route_has_the_scope_sets_of_all_mounts_that_name_it() {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let outer =
        protect.any_scope(["read", "write"]).any_scope::<&str>([]).routes(["GET /a/{id}", "PUT /a/{id}"]);
    let inner = protect.scopes(["write", "put"]).any_scope(["x", "y"]).routes(["PUT /a/{id}"]);
    let open = protect.clone().routes(["GET /open/{id}"]);
    let app = actix_web::test::init_service(
        App::new().service(web::resource("/open/{id}").wrap(open).route(web::get().to(whoami))).service(
            web::scope("/a").wrap(outer).service(
                web::scope("/{id}")
                    .route("", web::get().to(whoami))
                    .service(web::resource("").guard(actix_web::guard::Put()).wrap(inner).to(whoami)),
            ),
        ),
    )
    .await;
    let explanation = protect.explain();
    assert_eq!(explanation.scope_sets("GET /a/{id}").unwrap(), [["read"], ["write"]]);
    let put = explanation.scope_sets("PUT /a/{id}").unwrap();
    let put: std::collections::BTreeSet<Vec<&str>> = put
        .into_iter()
        .map(|mut set| {
            set.sort_unstable();
            set
        })
        .collect();
    let expected = [
        vec!["put", "read", "write", "x"],
        vec!["put", "read", "write", "y"],
        vec!["put", "write", "x"],
        vec!["put", "write", "y"],
    ];
    assert_eq!(put, expected.into());
    assert_eq!(explanation.scope_sets("GET /open/{id}").unwrap(), [Vec::<&str>::new()]);
    assert_eq!(explanation.scope_sets("GET /a"), None);
    // The table has each route once, with its parameters, and `assert_protected` accepts it.
    let mut routes = explanation.routes();
    routes.sort_unstable();
    assert_eq!(routes, ["GET /a/{id}", "GET /open/{id}", "PUT /a/{id}"]);
    assert_protected(&app, &explanation.routes(), &[]).await;
}
