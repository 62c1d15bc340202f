//! Mounts, the requirements of each mount, and the arguments of handlers.

use actix_protect_api::{
    AuthErrorKind, AuthenticatedRequest, Claims, ProtectApi, Rejection, RequiredScopes, Scoped, TokenFault,
    guard,
    test::{Endpoint, TestIssuer},
};
use actix_web::{App, HttpRequest, HttpResponse, middleware::from_fn, web};
use serde::Deserialize;
use serde_json::json;

use crate::support::{
    api::{record_of, show_reference},
    app::{
        Answer, INVALID, MISSING, NOT_IN_GROUP, OURS, TestApp, needs_scope, protect, serve, show_kind, whoami,
    },
    logs,
    service::introspecting,
};

/// Returns the subject, or "anonymous" without a caller.
async fn perhaps(caller: Option<AuthenticatedRequest>) -> String {
    caller
        .and_then(|caller| caller.subject().map(ToOwned::to_owned))
        .unwrap_or_else(|| "anonymous".to_owned())
}

async fn open() -> &'static str {
    "open"
}

#[track_caller]
fn lacks_scope(answer: &Answer, scope: &str) {
    answer.is(403, "{\"message\":\"forbidden\"}");
    assert_eq!(answer.challenge(), Some(needs_scope(scope).as_str()));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
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
    lacks_scope(&app.get("/b/c").token(&token("b", &["staff"])).send().await, "a");
    lacks_scope(&app.get("/b/c").token(&token("a", &["staff"])).send().await, "b");
    app.get("/b/c").token(&token("a b", &["sales"])).send().await.refuses(NOT_IN_GROUP);
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
    lacks_scope(&app.get("/base").token(&writer).send().await, "read");
    for token in [&reader, &writer] {
        lacks_scope(&app.get("/more").token(token).send().await, "read write");
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
            .route("/perhaps", web::get().to(perhaps))
            .route("/surely", web::get().to(whoami))
            .service(web::resource("/required").wrap(protect.clone()).route(web::get().to(perhaps)))
    });
    let reader = issuer.opaque(json!({ "sub": "alice", "scope": "read" }));
    let other = issuer.opaque(json!({ "sub": "bob" }));
    app.get("/perhaps").send().await.is(200, "anonymous");
    app.get("/perhaps").header("Authorization", "Basic YTpi").send().await.is(200, "anonymous");
    app.get("/perhaps").token(&reader).send().await.is(200, "alice");
    app.get("/perhaps").token("unknown-token").send().await.refuses(INVALID);
    assert_eq!(app.get("/perhaps").token("not a token").send().await.status, 400);
    lacks_scope(&app.get("/perhaps").token(&other).send().await, "read");
    // A handler that requires a caller rejects anonymous requests.
    app.get("/surely").send().await.refuses(MISSING);
    app.get("/surely").token(&reader).send().await.is(200, "alice");
    // A required mount inside an optional one is required.
    app.get("/required").send().await.refuses(MISSING);
    app.get("/required").token(&reader).send().await.is(200, "alice");
}

#[actix_web::test]
async fn optional_inside_a_required_mount_does_not_open_it() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || {
        let inner = web::resource("/").wrap(protect.clone().optional()).route(web::get().to(perhaps));
        App::new().wrap(protect.clone()).service(inner)
    });
    app.get("/").send().await.refuses(MISSING);
    app.get("/").token(&issuer.opaque(json!({ "sub": "alice" }))).send().await.is(200, "alice");
}

#[actix_web::test]
async fn optional_does_not_turn_an_outage_into_an_anonymous_caller() {
    let issuer = TestIssuer::start();
    let protect = protect(&issuer);
    let app = serve!(move || App::new().wrap(protect.clone().optional()).route("/", web::get().to(perhaps)));
    let token = issuer.opaque(json!({ "sub": "alice" }));
    issuer.fault(Endpoint::Introspection, actix_protect_api::test::Fault::status(503).always());
    assert_eq!(app.get("/").token(&token).send().await.status, 503);
}

#[actix_web::test]
async fn an_extractor_without_a_mount_is_a_500_that_names_the_fix_in_the_log() {
    logs::capture();
    let app = serve!(|| {
        App::new()
            .wrap(from_fn(show_reference))
            .route("/plain", web::get().to(whoami))
            .route("/scoped", web::get().to(|_: Scoped<PostsWrite>| async { "in" }))
            .route("/option", web::get().to(perhaps))
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
    lacks_scope(&app.post("/").token(&reader).send().await, "posts:read posts:write");
    app.post("/").send().await.refuses(MISSING);
}

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
        App::new().route("/bare", web::get().guard(guard::has_scopes(["admin"])).to(open)).service(
            web::resource("/late")
                .guard(guard::has_scopes(["admin"]))
                .wrap(protect.clone())
                .route(web::get().to(open)),
        )
    });
    let admin = issuer.opaque(json!({ "scope": "admin" }));
    for path in ["/bare", "/late"] {
        assert_eq!(app.get(path).token(&admin).send().await.status, 404, "{path}");
    }
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
    let outside = "Bearer realm=\"posts\", error=\"insufficient_scope\", \
                   error_description=\"The subject is not in a required group\"";
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

/// The statuses of a mount for tokens with these claims.
async fn statuses(issuer: &TestIssuer, protect: ProtectApi, claims: &[serde_json::Value]) -> Vec<u16> {
    let app = serve!(move || App::new().wrap(protect.clone()).route("/", web::get().to(open)));
    let mut statuses = Vec::new();
    for claims in claims {
        statuses.push(app.get("/").token(&issuer.opaque(claims.clone())).send().await.status);
    }
    statuses
}

#[actix_web::test]
async fn scopes_are_all_needed_exactly_and_in_any_order() {
    let issuer = TestIssuer::start();
    let claims = ["b x a", "a", "b", "", "ab", "A B", "a,b", "aa bb"].map(|scope| json!({ "scope": scope }));
    let seen = statuses(&issuer, protect(&issuer).scopes(["a", "b"]), &claims).await;
    assert_eq!(seen, [200, 403, 403, 403, 403, 403, 403, 403]);
}

#[actix_web::test]
async fn any_scope_requires_one_of_each_list() {
    let issuer = TestIssuer::start();
    let claims = ["a", "b", "c", "a c", ""].map(|scope| json!({ "scope": scope }));
    let one = protect(&issuer).any_scope(["a", "b"]);
    assert_eq!(statuses(&issuer, one.clone(), &claims).await, [200, 200, 403, 200, 403]);
    assert_eq!(statuses(&issuer, one.any_scope(["c"]), &claims).await, [403, 403, 403, 200, 403]);
}

#[actix_web::test]
async fn groups_require_any_of_a_list_by_id_or_name_or_all_if_configured() {
    let issuer = TestIssuer::start();
    let claims = [
        json!({ "groups": ["a"] }),
        json!({ "groups": [{ "id": "b" }, { "name": "a" }] }),
        json!({ "groups": ["c"] }),
        json!({ "groups": "a" }),
        json!({ "groups": { "a": true } }),
        json!({ "groups": [] }),
        json!({}),
    ];
    let any = protect(&issuer).groups(["a", "b"]);
    assert_eq!(statuses(&issuer, any, &claims).await, [200, 200, 403, 403, 403, 403, 403]);
    let all = introspecting(&issuer).groups_match_all(true).build().unwrap().groups(["a", "b"]);
    assert_eq!(statuses(&issuer, all, &claims).await, [403, 200, 403, 403, 403, 403, 403]);
    // Called again, each list counts.
    let twice = protect(&issuer).groups(["a"]).groups(["b"]);
    assert_eq!(statuses(&issuer, twice, &claims).await, [403, 200, 403, 403, 403, 403, 403]);
}

#[actix_web::test]
async fn groups_may_be_under_another_name_or_behind_a_pointer() {
    let issuer = TestIssuer::start();
    let claims = [
        json!({ "groups": ["staff"] }),
        json!({ "roles": ["staff"] }),
        json!({ "realm_access": { "roles": ["staff"] } }),
        json!({ "https://example.test/roles": ["staff"] }),
    ];
    for (claim, expected) in [
        ("groups", [200, 403, 403, 403]),
        ("roles", [403, 200, 403, 403]),
        ("/realm_access/roles", [403, 403, 200, 403]),
        ("https://example.test/roles", [403, 403, 403, 200]),
        ("/https:~1~1example.test~1roles", [403, 403, 403, 200]),
    ] {
        let protect = introspecting(&issuer).groups_claim(claim).build().unwrap().groups(["staff"]);
        assert_eq!(statuses(&issuer, protect, &claims).await, expected, "{claim}");
    }
}

#[actix_web::test]
async fn empty_lists_require_only_a_valid_token() {
    let issuer = TestIssuer::start();
    let none: [&str; 0] = [];
    let protect = protect(&issuer).scopes(none).any_scope(none).groups(none);
    assert_eq!(statuses(&issuer, protect.clone(), &[json!({})]).await, [200]);
    let app = serve!(move || App::new().wrap(protect.clone()).route("/", web::get().to(open)));
    app.get("/").send().await.refuses(MISSING);
}

fn panics(run: impl FnOnce()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err()
}

#[test]
fn an_invalid_scope_is_rejected_when_the_mount_is_created() {
    let protect = ProtectApi::builder("https://issuer.example.test", "api").build().unwrap();
    for scope in ["", "a b", "a\"", "a\\", "\u{e9}", "a\n"] {
        let one = protect.clone();
        assert!(panics(move || drop(one.scopes([scope]))), "{scope:?}");
        let one = protect.clone();
        assert!(panics(move || drop(one.any_scope([scope]))), "{scope:?}");
    }
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
