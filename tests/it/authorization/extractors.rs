//! Extractors: the caller, custom claims, and the checks inside handlers.

use actix_protect_api::{
    AuthErrorKind, AuthenticatedRequest, Claims, Rejection, RequiredScopes, Scoped, TokenFault,
    test::TestIssuer,
};
use actix_web::{App, HttpRequest, HttpResponse, middleware::from_fn, web};
use serde::Deserialize;
use serde_json::json;

use crate::support::{
    api::{record_of, show_reference},
    app::{INVALID, MISSING, OURS, TestApp, optional_whoami, protect, serve, show_kind, whoami, with_scope},
    logs,
    service::introspecting,
};

#[actix_web::test]
async fn an_extractor_without_a_mount_is_a_500_that_names_the_fix_in_the_log() {
    logs::capture();
    let app = serve!(|| {
        App::new()
            .wrap(from_fn(show_reference))
            .route("/plain", web::get().to(whoami))
            .route("/scoped", web::get().to(|_: Scoped<PostsWrite>| async { "in" }))
            .route("/option", web::get().to(optional_whoami))
    });
    // The server continues: there was no panic.
    for path in ["/plain", "/scoped", "/plain"] {
        let answer = app.get(path).token("whatever").send().await;
        answer.refuses(OURS);
        // One in ten seconds is at the level "error", also if another test has caused it.
        assert!(record_of(&answer).text.contains("no ProtectApi is wrapped around"), "{answer:?}");
    }
}

#[derive(Debug, Deserialize)]
struct MyClaims {
    sub: String,
    tenant: u32,
}

async fn tenant(caller: AuthenticatedRequest<MyClaims>) -> String {
    let MyClaims { sub, tenant } = caller.claims();
    format!("{sub} of {tenant}, {}", caller.scopes().contains("read"))
}

#[actix_web::test]
async fn claims_can_be_a_custom_type_and_a_misfit_is_an_invalid_token() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || {
        App::new().wrap(protect.clone()).wrap(from_fn(show_kind)).route("/", web::get().to(tenant))
    });
    let fits = issuer.opaque(json!({ "sub": "alice", "tenant": 7, "scope": "read" }));
    app.get("/").token(&fits).send().await.is(200, "alice of 7, true");
    for misfit in
        [json!({ "sub": "alice" }), json!({ "sub": "alice", "tenant": "seven" }), json!({ "tenant": 7 })]
    {
        let answer = app.get("/").token(&issuer.opaque(misfit)).send().await;
        answer.refuses(INVALID);
        assert_eq!(answer.header("x-kind"), Some("InvalidToken(Claims)"));
    }
}

#[actix_web::test]
async fn a_handler_may_take_the_refusal_itself() {
    async fn either(caller: Result<AuthenticatedRequest<MyClaims>, Rejection>) -> String {
        match caller {
            Ok(caller) => caller.into_claims().sub,
            Err(rejection) => format!("{:?}", rejection.error().kind()),
        }
    }
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || {
        App::new()
            .service(web::resource("/mounted").wrap(protect.clone().optional()).route(web::get().to(either)))
            .route("/bare", web::get().to(either))
    });
    let fits = issuer.opaque(json!({ "sub": "alice", "tenant": 7 }));
    app.get("/mounted").token(&fits).send().await.is(200, "alice");
    app.get("/mounted").send().await.is(200, &format!("{:?}", AuthErrorKind::MissingToken));
    let misfit = format!("{:?}", AuthErrorKind::InvalidToken(TokenFault::Claims));
    app.get("/mounted").token(&issuer.opaque(json!({}))).send().await.is(200, &misfit);
    app.get("/bare").token(&fits).send().await.is(200, "Misconfigured(NotMounted)");
}

#[actix_web::test]
async fn the_log_says_why_there_is_no_token_without_the_text_of_the_header() {
    logs::capture();
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).build().unwrap();
    let app = serve!(move || {
        let route = |path, protect| web::resource(path).wrap(protect).to(whoami);
        App::new()
            .wrap(from_fn(show_reference))
            .service(route("/mount", protect.clone()))
            .service(route("/extractor", protect.optional()))
            .service(route("/resolver", protect.token_resolver(|_| Ok(None))))
    });
    let hidden = issuer.opaque(json!({}));
    for (header, reason) in [
        (None, "there is no Authorization header".to_owned()),
        (Some(hidden.clone()), "the Authorization header has no scheme, ".to_owned()),
        (Some(format!("Basic {hidden}")), "the Authorization header has the scheme Basic, ".to_owned()),
        (Some(format!("DPoP {hidden}")), "the Authorization header has the scheme DPoP, ".to_owned()),
        (Some(format!("{hidden} x")), "the Authorization header has another scheme, ".to_owned()),
    ] {
        for (path, before) in
            [("/mount", ""), ("/extractor", ""), ("/resolver", "the token resolver returned none, and ")]
        {
            let request = app.get(path);
            let request = match &header {
                Some(value) => request.header("Authorization", value),
                None => request,
            };
            let answer = request.send().await;
            answer.refuses(MISSING);
            let text = record_of(&answer).text;
            assert!(text.contains(&format!("no bearer token: {before}{reason}")), "{path}: {text}");
            assert!(!text.contains(&hidden), "{path}: {text}");
        }
    }
}

#[actix_web::test]
async fn handlers_get_all_claims_of_the_token() {
    async fn all(caller: AuthenticatedRequest<Claims>) -> web::Json<serde_json::Value> {
        web::Json(json!({
            "sub": caller.subject(), "client": caller.client_id(), "iss": caller.issuer(),
            "aud": caller.audience().iter().collect::<Vec<_>>(), "exp": caller.expires_at(),
            "groups": caller.groups(), "read": caller.has_scope("read"), "rea": caller.has_scope("rea"),
            "staff": caller.has_group("staff"), "tenant": caller.claims().get("tenant"), "token": caller.token(),
        }))
    }
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || App::new().wrap(protect.clone()).route("/", web::get().to(all)));
    let groups = json!(["sales", { "id": "7", "name": "staff" }]);
    let claims = json!({
        "sub": "alice", "client_id": "spa", "scope": "read write", "groups": groups, "tenant": 7, "exp": 4_000_000_000_u32,
    });
    for token in [issuer.opaque(claims.clone()), issuer.jwt(claims)] {
        let answer = app.get("/").token(&token).send().await;
        let seen: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(
            seen,
            json!({
                "sub": "alice", "client": "spa", "iss": issuer.issuer(), "aud": [issuer.audience()],
                "exp": 4_000_000_000_u32, "groups": ["sales", "7", "staff"], "read": true, "rea": false,
                "staff": true, "tenant": 7, "token": token,
            })
        );
    }
}

#[actix_web::test]
async fn the_caller_can_be_read_from_the_request() {
    async fn by_request(request: HttpRequest) -> actix_web::Result<String> {
        let caller = AuthenticatedRequest::try_from_request(&request)?;
        Ok(caller.subject().unwrap_or_default().to_owned())
    }
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || App::new().wrap(protect.clone()).route("/", web::get().to(by_request)));
    app.get("/").token(&issuer.opaque(json!({ "sub": "alice" }))).send().await.is(200, "alice");
}

struct PostsWrite;

impl RequiredScopes for PostsWrite {
    const SCOPES: &'static [&'static str] = &["posts:read", "posts:write"];
}

#[actix_web::test]
async fn scopes_in_a_handlers_signature_are_enforced() {
    async fn publish(caller: Scoped<PostsWrite>) -> String {
        let subject = caller.subject().unwrap_or_default().to_owned();
        assert!(caller.into_inner().has_scope("posts:write"));
        subject
    }
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || App::new().wrap(protect.clone().optional()).route("/", web::post().to(publish)));
    let writer = issuer.opaque(json!({ "sub": "alice", "scope": "posts:write posts:read" }));
    app.post("/").token(&writer).send().await.is(200, "alice");
    let reader = issuer.opaque(json!({ "sub": "bob", "scope": "posts:read" }));
    app.post("/").token(&reader).send().await.lacks_scope("posts:read posts:write");
    app.post("/").send().await.refuses(with_scope(MISSING, "posts:read posts:write"));
}

/// Handlers that require more than their mount does.
fn asking(issuer: &TestIssuer) -> TestApp {
    type Answer = Result<HttpResponse, Rejection>;
    async fn all(caller: AuthenticatedRequest) -> Answer {
        caller.require_scopes(["a", "b"])?;
        Ok(HttpResponse::Ok().finish())
    }
    async fn any(caller: AuthenticatedRequest) -> Answer {
        caller.require_any_scope(["a", "b"])?;
        Ok(HttpResponse::Ok().finish())
    }
    async fn groups(caller: AuthenticatedRequest) -> Answer {
        caller.require_groups(["staff", "root"])?;
        Ok(HttpResponse::Ok().finish())
    }
    async fn nothing(caller: AuthenticatedRequest) -> Answer {
        caller.require_scopes::<&str>([])?;
        caller.require_any_scope::<&str>([])?;
        caller.require_groups::<&str>([])?;
        Ok(HttpResponse::Ok().finish())
    }
    let protect = introspecting(issuer)
        .realm("posts")
        .renderer(|error: &actix_protect_api::AuthError, request: &HttpRequest| {
            let body = format!("{}: {:?}", request.path(), error.kind());
            actix_protect_api::ErrorBody::text(body)
        })
        .build()
        .unwrap();
    serve!(move || {
        App::new()
            .wrap(protect.clone())
            .wrap(from_fn(show_kind))
            .route("/all", web::get().to(all))
            .route("/any", web::get().to(any))
            .route("/groups", web::get().to(groups))
            .route("/nothing", web::get().to(nothing))
    })
}

#[actix_web::test]
async fn guards_inside_handlers_refuse_as_their_mount_does() {
    let issuer = TestIssuer::start();
    let app = asking(&issuer);
    let none = issuer.opaque(json!({}));
    let missing = "Bearer realm=\"posts\", error=\"insufficient_scope\", \
                   error_description=\"The access token does not have the required scope\", scope=\"a b\"";
    let outside = "Bearer realm=\"posts\"";
    for (path, challenge, kind) in [
        ("/all", missing, "InsufficientScope"),
        ("/any", missing, "InsufficientScope"),
        ("/groups", outside, "InsufficientGroups"),
    ] {
        let answer = app.get(path).token(&none).send().await;
        answer.is(403, &format!("{path}: {kind}"));
        assert_eq!(answer.challenge(), Some(challenge));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-kind"), Some(kind));
    }
}

#[actix_web::test]
async fn guards_inside_handlers_require_all_or_any() {
    let issuer = TestIssuer::start();
    let app = asking(&issuer);
    for (claims, all, any, groups) in [
        (json!({ "scope": "a b" }), 200, 200, 403),
        (json!({ "scope": "b" }), 403, 200, 403),
        (json!({ "scope": "ab" }), 403, 403, 403),
        (json!({ "scope": "A B" }), 403, 403, 403),
        (json!({ "groups": ["root"] }), 403, 403, 200),
        (json!({ "groups": ["Root"] }), 403, 403, 403),
        (json!({}), 403, 403, 403),
    ] {
        let token = issuer.opaque(claims.clone());
        for (path, status) in [("/all", all), ("/any", any), ("/groups", groups), ("/nothing", 200)] {
            assert_eq!(app.get(path).token(&token).send().await.status, status, "{path} {claims}");
        }
    }
}
