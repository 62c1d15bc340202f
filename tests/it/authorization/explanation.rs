//! The table of the mounts and their requirements.

use std::time::Duration;

use actix_protect_api::{
    ProtectApi,
    test::{TestIssuer, assert_protected},
};
use actix_web::{App, web};

use crate::support::{app::whoami, service::introspecting};

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
