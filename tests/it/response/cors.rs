//! Side by side with `actix-cors`, and preflights.

use actix_cors::Cors;
use actix_protect_api::test::{Endpoint, Fault, TestIssuer};
use actix_web::{App, HttpResponse, web};
use serde_json::json;

use crate::support::app::{Answer, Call, MISSING, TestApp, protect, serve, whoami};

const ORIGIN: &str = "https://spa.example.test";

fn cors() -> Cors {
    Cors::default()
        .allowed_origin(ORIGIN)
        .allowed_methods(["GET", "POST"])
        .allowed_headers(["authorization", "content-type"])
        .expose_headers(["www-authenticate", "retry-after"])
}

fn allowed_origin(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

fn preflight(app: &TestApp, path: &str) -> Call {
    app.call("OPTIONS", path)
        .header("Origin", ORIGIN)
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "authorization")
}

#[actix_web::test]
async fn cors_outside_answers_preflights_and_marks_every_refusal() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || {
        App::new()
            .wrap(protect.clone().scopes(["read"]))
            // The one that is wrapped last is outermost.
            .wrap(cors())
            .route("/", web::get().to(whoami))
    });
    let answer = preflight(&app, "/").send().await;
    assert_eq!((answer.status, allowed_origin(&answer)), (200, Some(ORIGIN)));
    assert_eq!(issuer.count(Endpoint::Introspection), 0);

    let reader = issuer.opaque(json!({ "sub": "alice", "scope": "read" }));
    let other = issuer.opaque(json!({ "sub": "bob" }));
    let from_page = || app.get("/").header("Origin", ORIGIN);
    for (call, status) in [
        (from_page().token(&reader), 200),
        (from_page(), 401),
        (from_page().token("unknown-token"), 401),
        (from_page().token("not a token"), 400),
        (from_page().token(&other), 403),
    ] {
        let answer = call.send().await;
        assert_eq!((answer.status, allowed_origin(&answer)), (status, Some(ORIGIN)), "{answer:?}");
        assert_eq!(
            answer.header("access-control-expose-headers").map(|names| names.contains("www-authenticate")),
            Some(true)
        );
    }
    issuer.fault(Endpoint::Introspection, Fault::status(503).always());
    let answer = from_page().token(&reader).send().await;
    assert_eq!((answer.status, allowed_origin(&answer)), (503, Some(ORIGIN)));
    issuer.clear_faults();
    issuer.fault(Endpoint::Introspection, Fault::status(401).always());
    let other_api = issuer.opaque(json!({ "scope": "read" }));
    let answer = from_page().token(&other_api).send().await;
    assert_eq!(allowed_origin(&answer), Some(ORIGIN));
    assert!(answer.status >= 500, "{answer:?}");
}

#[actix_web::test]
async fn without_allow_preflight_a_preflight_is_refused_like_everything_else() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || App::new().wrap(cors()).wrap(protect.clone()).route("/", web::get().to(whoami)));
    preflight(&app, "/").send().await.refuses(MISSING);
}

/// An app whose CORS is inside the mount, and that has a handler for everything else.
fn lenient(issuer: &TestIssuer) -> TestApp {
    let protect = protect(issuer);
    serve!(move || {
        App::new()
            .wrap(cors())
            .wrap(protect.clone().allow_preflight())
            .default_service(web::to(|| async { HttpResponse::Ok().body("reached") }))
    })
}

#[actix_web::test]
async fn allow_preflight_lets_genuine_preflights_through_to_cors_inside() {
    let issuer = TestIssuer::start();
    let app = lenient(&issuer);
    let answer = preflight(&app, "/").send().await;
    assert_eq!((answer.status, allowed_origin(&answer)), (200, Some(ORIGIN)));
    answer.is(200, "");
}

#[actix_web::test]
async fn allow_preflight_lets_nothing_else_through() {
    let issuer = TestIssuer::start();
    let app = lenient(&issuer);
    let asks = |call: Call| call.header("Access-Control-Request-Method", "GET");
    let from = |call: Call| call.header("Origin", ORIGIN);
    for call in [
        app.call("OPTIONS", "/"),
        app.call("OPTIONS", "*"),
        from(app.call("OPTIONS", "/")),
        asks(app.call("OPTIONS", "/")),
        from(asks(app.get("/"))),
        from(asks(app.post("/"))),
        from(asks(app.call("options", "/"))),
        from(asks(app.call("HEAD", "/"))).header("X-HTTP-Method", "OPTIONS"),
        from(asks(app.post("/"))).header("X-HTTP-Method-Override", "OPTIONS"),
        from(asks(app.get("/"))).header("X-Method-Override", "OPTIONS"),
        app.post("/?_method=OPTIONS").header("Origin", ORIGIN).header("Access-Control-Request-Method", "GET"),
    ] {
        let answer = call.clone().send().await;
        assert_eq!((answer.status, answer.challenge()), (401, Some("Bearer")), "{call:?}: {answer:?}");
    }
    assert_eq!(issuer.count(Endpoint::Introspection), 0);
}

#[actix_web::test]
async fn a_handler_that_a_preflight_reaches_has_no_caller() {
    async fn perhaps(caller: Option<actix_protect_api::AuthenticatedRequest>) -> &'static str {
        if caller.is_some() { "somebody" } else { "nobody" }
    }
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || {
        let inner = web::resource("/inner").wrap(protect.clone()).route(web::to(perhaps));
        App::new()
            .wrap(protect.clone().allow_preflight())
            .service(inner)
            .route("/whoami", web::to(whoami))
            .route("/perhaps", web::to(perhaps))
    });
    preflight(&app, "/whoami").send().await.refuses(MISSING);
    preflight(&app, "/inner").send().await.refuses(MISSING);
    preflight(&app, "/perhaps").send().await.is(200, "nobody");
    // Also with a token, which is not validated.
    let token = issuer.opaque(json!({ "sub": "alice" }));
    preflight(&app, "/whoami").token(&token).send().await.refuses(MISSING);
    preflight(&app, "/perhaps").token(&token).send().await.is(200, "nobody");
}
