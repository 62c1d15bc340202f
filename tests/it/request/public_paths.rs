//! Protection follows the routed resource: no spelling of a path avoids it.

use actix_protect_api::test::{Endpoint, TestIssuer};
use actix_web::{App, middleware::NormalizePath, web};
use serde_json::json;

use crate::support::app::{MISSING, protect, serve, whoami};

const SECRET: &str = "the secret";

async fn secret() -> &'static str {
    SECRET
}

async fn public() -> &'static str {
    "public"
}

/// Ways to write `/admin/secret`, as they go over the wire.
const SPELLINGS: [&str; 32] = [
    "/admin/secret",
    "//admin/secret",
    "///admin/secret",
    "/admin//secret",
    "/admin/secret/",
    "/admin/secret//",
    "/admin;x=y/secret",
    "/admin/secret;x=y",
    "/admin/;/secret",
    "/;/admin/secret",
    "/%61dmin/secret",
    "/admin/%73ecret",
    "/admin%2Fsecret",
    "/admin%2fsecret",
    "/admin%5Csecret",
    "/admin\\secret",
    "/./admin/secret",
    "/admin/./secret",
    "/%2e/admin/secret",
    "/public/../admin/secret",
    "/public/%2e%2e/admin/secret",
    "/public/..%2fadmin/secret",
    "/public;/../admin/secret",
    "/admin/x/../secret",
    "/Admin/secret",
    "/ADMIN/SECRET",
    "/admin/secret?public",
    "/admin/secret?/public",
    "/admin/secret%00",
    "/admin/secret%20",
    "/admin/secret%3Fpublic",
    "/public?/../admin/secret",
];

#[actix_web::test]
async fn no_spelling_of_a_path_leads_around_a_protected_scope() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let strict = protect.clone();
    let plain = serve!(move || {
        App::new()
            .route("/public", web::get().to(public))
            .service(web::scope("/admin").wrap(strict.clone()).route("/secret", web::get().to(secret)))
    });
    let normalizing = serve!(move || {
        App::new()
            .wrap(NormalizePath::trim())
            .route("/public", web::get().to(public))
            .service(web::scope("/admin").wrap(protect.clone()).route("/secret", web::get().to(secret)))
    });
    for app in [&plain, &normalizing] {
        for spelling in SPELLINGS {
            let answer = app.get(spelling).send().await;
            assert!(!answer.body.contains(SECRET), "{spelling}: {answer:?}");
            let expected = if spelling.starts_with("/public?") { &[200][..] } else { &[400, 401, 404][..] };
            assert!(expected.contains(&answer.status), "{spelling}: {answer:?}");
        }
        // If the router selects the scope, its mount responds.
        for inside in [
            "/admin/secret",
            "/%61dmin/secret",
            "/admin/secret/",
            "/admin/secret?public",
            "/admin/x/../secret",
            "/admin/nothing",
        ] {
            app.get(inside).send().await.refuses(MISSING);
        }
    }
    assert_eq!(plain.get("//admin//secret/").send().await.status, 404);
    normalizing.get("//admin//secret/").send().await.refuses(MISSING);
    let token = issuer.opaque(json!({}));
    plain.get("/%61dmin/secret").token(&token).send().await.is(200, SECRET);
    normalizing.get("//admin//secret/").token(&token).send().await.is(200, SECRET);
}

#[actix_web::test]
async fn headers_that_name_another_path_change_nothing() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || {
        App::new()
            .route("/public", web::get().to(public))
            .service(web::scope("/admin").wrap(protect.clone()).route("/secret", web::get().to(secret)))
    });
    for name in ["X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Uri", "X-Forwarded-Prefix", "X-Original-Uri"]
    {
        app.get("/admin/secret").header(name, "/public").send().await.refuses(MISSING);
        app.get("/public").header(name, "/admin/secret").send().await.is(200, "public");
    }
    for agent in ["kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0"] {
        app.get("/admin/secret").header("User-Agent", agent).send().await.refuses(MISSING);
    }
    let absolute = format!("http://{}/admin/secret", app.address());
    app.get(&absolute).send().await.refuses(MISSING);
}

#[actix_web::test]
async fn unmatched_paths_and_methods_of_a_protected_app_are_401_to_strangers() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || App::new().wrap(protect.clone()).route("/known", web::get().to(whoami)));
    app.get("/unknown").send().await.refuses(MISSING);
    app.post("/known").send().await.refuses(MISSING);
    let token = issuer.opaque(json!({ "sub": "alice" }));
    assert_eq!(app.get("/unknown").token(&token).send().await.status, 404);
    assert_eq!(app.post("/known").token(&token).send().await.status, 404);
    assert_eq!(issuer.count(Endpoint::Introspection), 2);
}
