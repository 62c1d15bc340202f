//! Symptoms without a record of their cause.

use std::time::Duration;

use actix_cors::Cors;
use actix_protect_api::{
    AuthenticatedRequest, ErrorBody, ProtectApi, guard,
    test::{Endpoint, TestIssuer},
};
use actix_web::{App, HttpRequest, middleware::from_fn, web};
use serde_json::json;

use super::{
    Walk, Walked,
    api::{api, record_of, show_reference, works},
    walks,
};
use crate::support::{
    app::{Answer, TestApp, serve, whoami},
    service::introspecting,
};

pub(super) fn walks() -> Vec<(&'static str, Walk)> {
    walks! {
        "a revoked token is still accepted" => revoked,
        "a browser shows a CORS error and no status" => cors,
        "caches are not shared between workers" => two_configurations,
        "`optional()` rejects a request" => optional,
        "an `Option<AuthenticatedRequest>` is always `None`" => outside,
        "a 404 or 405 where a 403 was expected" => guarded,
    }
}

async fn revoked() -> Walked {
    let issuer = TestIssuer::start();
    let cached = api(introspecting(&issuer).introspection_cache_duration(Duration::from_secs(60)));
    let (jwt, opaque) = (issuer.jwt(json!({})), issuer.opaque(json!({})));
    works(cached.get("/").token(&opaque)).await;
    for token in [&jwt, &opaque] {
        issuer.revoke(token);
        works(cached.get("/").token(token)).await;
    }
    let fresh = api(introspecting(&issuer).introspect_jwt_tokens(true));
    for token in [&jwt, &opaque] {
        assert_eq!(fresh.get("/").token(token).send().await.status, 401);
    }
    Walked::silent("401 without the cache, for JWTs with `INTROSPECT_JWT_TOKENS`")
}

const ORIGIN: &str = "https://app.example.test";

/// A response that does not name the origin of the page, so that the browser hides it.
fn is_hidden(answer: &Answer) -> bool {
    answer.header("access-control-allow-origin") != Some(ORIGIN)
}

async fn cors() -> Walked {
    fn allow() -> Cors {
        Cors::default().allowed_origin(ORIGIN).allowed_methods(["GET"]).allowed_header("authorization")
    }
    let issuer = TestIssuer::start();
    let (inside, outside) =
        (introspecting(&issuer).build().unwrap(), introspecting(&issuer).build().unwrap());
    let wrong =
        serve!(move || App::new().wrap(allow()).wrap(inside.clone()).route("/", web::get().to(whoami)));
    let right =
        serve!(move || App::new().wrap(outside.clone()).wrap(allow()).route("/", web::get().to(whoami)));
    let both = async |app: &TestApp| {
        let preflight = app.call("OPTIONS", "/").header("Origin", ORIGIN);
        let asked = preflight
            .header("Access-Control-Request-Method", "GET")
            .header("Access-Control-Request-Headers", "authorization");
        [asked.send().await, app.get("/").header("Origin", ORIGIN).send().await]
    };
    let [preflight, refusal] = both(&wrong).await;
    assert_eq!((preflight.status, is_hidden(&preflight), is_hidden(&refusal)), (401, true, true));
    let [preflight, refusal] = both(&right).await;
    assert_eq!((preflight.status, refusal.status), (200, 401));
    assert!(!is_hidden(&preflight) && !is_hidden(&refusal), "{refusal:?}");
    let call = right.get("/").header("Origin", ORIGIN).token(&issuer.opaque(json!({}))).send().await;
    assert!(call.status == 200 && !is_hidden(&call), "{call:?}");
    Walked::silent("the preflight is 200, and the page sees the 401 and the 200")
}

/// Two of them are what two workers would have, each for itself.
async fn two_configurations() -> Walked {
    let issuer = TestIssuer::start();
    let make = || {
        let text = |_: &actix_protect_api::AuthError, _: &HttpRequest| ErrorBody::text("no");
        introspecting(&issuer)
            .introspection_cache_duration(Duration::from_secs(60))
            .renderer(text)
            .build()
            .unwrap()
    };
    let calls = async |apps: [ProtectApi; 2]| {
        let token = issuer.opaque(json!({}));
        issuer.reset_counters();
        for protect in apps {
            works(super::api::api_of(protect).get("/").token(&token)).await;
        }
        issuer.count(Endpoint::Introspection)
    };
    assert_eq!(calls([make(), make()]).await, 2);
    let one = make();
    assert_eq!(calls([one.clone(), one]).await, 1);
    Walked::silent("1 call instead of 2")
}

async fn whom(caller: Option<AuthenticatedRequest>) -> String {
    caller.map_or_else(|| "nobody".to_owned(), |caller| caller.subject().unwrap_or("somebody").to_owned())
}

async fn optional() -> Walked {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let app = serve!(move || App::new().wrap(protect.clone().optional()).route("/", web::get().to(whom)));
    assert_eq!(app.get("/").token("a-bad-one").send().await.status, 401);
    app.get("/").send().await.is(200, "nobody");
    app.get("/").token(&issuer.opaque(json!({ "sub": "alice" }))).send().await.is(200, "alice");
    Walked::silent("200 without a token or with a good one")
}

async fn outside() -> Walked {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let app = serve!(move || {
        App::new()
            .wrap(from_fn(show_reference))
            .route("/", web::get().to(whom))
            .route("/one", web::get().to(whoami))
            .service(web::resource("/inside").wrap(protect.clone().optional()).route(web::get().to(whom)))
    });
    let token = issuer.opaque(json!({ "sub": "alice" }));
    app.get("/").token(&token).send().await.is(200, "nobody");
    let record = record_of(&app.get("/one").token(&token).send().await);
    assert!(record.text.contains("AuthenticatedRequest is used on a route"), "{record}");
    app.get("/inside").token(&token).send().await.is(200, "alice");
    Walked::new([record], "the caller")
}

async fn guarded() -> Walked {
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let app = serve!(move || {
        let admin = || guard::has_scopes(["admin"]);
        App::new()
            .wrap(protect.clone())
            .service(
                web::resource("/405")
                    .route(web::get().guard(admin()).to(whoami))
                    .route(web::post().to(whoami)),
            )
            .service(web::resource("/404").guard(admin()).route(web::get().to(whoami)))
            .service(web::resource("/").wrap(protect.clone().scopes(["admin"])).route(web::get().to(whoami)))
    });
    let (poor, rich) = (issuer.jwt(json!({})), issuer.jwt(json!({ "scope": "admin" })));
    for (path, status) in [("/405", 405), ("/404", 404), ("/", 403)] {
        assert_eq!(app.get(path).token(&poor).send().await.status, status, "{path}");
        works(app.get(path).token(&rich)).await;
    }
    Walked::silent("403")
}
