//! Guards, which select a route by the scopes of the caller.

use actix_protect_api::{guard, test::TestIssuer};
use actix_web::{App, HttpResponse, web};
use serde_json::json;

use crate::support::app::{MISSING, protect, serve};

#[actix_web::test]
async fn a_guard_chooses_between_routes_and_answers_404_or_405_when_none_is_left() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || {
        App::new()
            .wrap(protect.clone())
            .service(
                web::resource("/view")
                    .route(web::get().guard(guard::has_scopes(["admin"])).to(|| async { "all of it" }))
                    .route(web::get().to(|| async { "your part" })),
            )
            .service(
                web::resource("/admin")
                    .guard(guard::has_scopes(["admin", "deep"]))
                    .route(web::get().to(|| async { "admin" })),
            )
    });
    let admin = issuer.opaque(json!({ "scope": "admin deep" }));
    let half = issuer.opaque(json!({ "scope": "admin" }));
    let user = issuer.opaque(json!({ "scope": "user" }));
    app.get("/view").token(&admin).send().await.is(200, "all of it");
    app.get("/view").token(&user).send().await.is(200, "your part");
    app.get("/admin").token(&admin).send().await.is(200, "admin");
    for token in [&half, &user] {
        assert_eq!(app.get("/admin").token(token).send().await.status, 404);
    }
    app.get("/admin").send().await.refuses(MISSING);
}

#[actix_web::test]
async fn a_guard_without_a_mount_further_out_chooses_nothing() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || {
        App::new()
            .route("/bare", web::get().guard(guard::has_scopes(["admin"])).to(HttpResponse::Ok))
            .service(
                web::resource("/late")
                    .guard(guard::has_scopes(["admin"]))
                    .wrap(protect.clone())
                    .route(web::get().to(HttpResponse::Ok)),
            )
    });
    let admin = issuer.opaque(json!({ "scope": "admin" }));
    for path in ["/bare", "/late"] {
        assert_eq!(app.get(path).token(&admin).send().await.status, 404, "{path}");
    }
}
