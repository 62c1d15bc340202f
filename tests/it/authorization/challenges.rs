//! The scopes in a challenge: everything that the operation requires.

use actix_protect_api::{AuthenticatedRequest, RequiredScopes, Scoped, test::TestIssuer};
use actix_web::{App, web};
use serde_json::json;

use crate::support::{
    app::{Answer, TestApp, protect, serve, whoami},
    service::introspecting,
};

struct Publish;

impl RequiredScopes for Publish {
    const SCOPES: &'static [&'static str] = &["publish", "mcp"];
}

async fn publish(caller: Scoped<Publish>) -> String {
    caller.subject().unwrap_or_default().to_owned()
}

async fn review(caller: AuthenticatedRequest) -> actix_web::Result<String> {
    caller.require_any_scope(["review", "admin"])?;
    Ok(String::new())
}

async fn grouped(caller: AuthenticatedRequest) -> actix_web::Result<String> {
    caller.require_groups(["staff"])?;
    Ok(String::new())
}

fn nested(issuer: &TestIssuer) -> TestApp {
    let protect = protect(issuer);
    serve!(move || {
        let inner = web::resource("/inner").wrap(protect.scopes(["files"]).any_scope(["one", "two"]));
        let team = web::resource("/team").wrap(protect.groups(["staff"]).scopes(["files"]));
        let optional = web::resource("/optional").wrap(protect.optional().scopes(["maybe"]));
        let mcp = web::scope("/mcp")
            .wrap(protect.scopes(["mcp"]).hint_scopes(["files:read"]))
            .service(inner.route(web::get().to(whoami)))
            .service(team.route(web::get().to(whoami)))
            .route("/publish", web::get().to(publish))
            .route("/review", web::get().to(review))
            .route("/group", web::get().to(grouped));
        App::new().service(mcp).service(optional.route(web::get().to(publish)))
    })
}

/// The scope in the challenge; empty if there is none.
fn scope(answer: &Answer) -> &str {
    let challenge = answer.challenge().unwrap();
    challenge.split_once("scope=\"").map_or("", |(_, rest)| rest.split_once('"').unwrap().0)
}

#[actix_web::test]
async fn every_401_and_403_names_all_scopes_of_the_operation() {
    let issuer = TestIssuer::start();
    let app = nested(&issuer);
    for (path, token, status, scopes) in [
        // The outer mount rejects before the route is selected: its scopes, and those that it hints at.
        ("/mcp/inner", None, 401, "mcp files:read"),
        ("/mcp/inner", Some("x"), 403, "mcp files:read"),
        // The inner mount adds its scopes. Of alternatives, it names the one that the token has.
        ("/mcp/inner", Some("mcp"), 403, "mcp files one two"),
        ("/mcp/inner", Some("mcp two"), 403, "mcp files two"),
        ("/mcp/inner", Some("mcp files"), 403, "mcp files one two"),
        ("/mcp/inner", Some("mcp files two"), 200, ""),
        ("/mcp/team", Some("mcp"), 403, "mcp files"),
        // Extractors and handlers.
        ("/mcp/publish", Some("mcp"), 403, "mcp publish"),
        ("/mcp/review", Some("mcp"), 403, "mcp review admin"),
        ("/optional", None, 401, "maybe publish mcp"),
        ("/optional", Some("x"), 403, "maybe"),
        ("/optional", Some("maybe"), 403, "maybe publish mcp"),
    ] {
        let token = token.map(|scope| issuer.opaque(json!({ "scope": scope, "sub": "alice" })));
        let call = app.get(path);
        let answer = match &token {
            Some(token) => call.token(token).send().await,
            None => call.send().await,
        };
        assert_eq!(answer.status, status, "{path} {scopes}");
        if status != 200 {
            assert_eq!(scope(&answer), scopes, "{path}: {answer:?}");
        }
    }
    let invalid = app.get("/mcp/inner").token("unknown").send().await;
    assert_eq!((invalid.status, scope(&invalid)), (401, "mcp files:read"));
    let malformed = app.get("/mcp/inner").token("not a token").send().await;
    assert_eq!((malformed.status, scope(&malformed)), (400, ""));
}

#[actix_web::test]
async fn a_missing_group_starts_no_step_up_unless_that_is_configured() {
    let issuer = TestIssuer::start();
    let app = nested(&issuer);
    let token = issuer.opaque(json!({ "scope": "mcp files", "sub": "alice" }));
    for (path, challenge) in
        [("/mcp/team", "Bearer scope=\"mcp files\""), ("/mcp/group", "Bearer scope=\"mcp files:read\"")]
    {
        let answer = app.get(path).token(&token).send().await;
        assert_eq!((answer.status, answer.challenge()), (403, Some(challenge)), "{path}");
    }
    let builder = introspecting(&issuer).claim_rule("never", |claims| claims.subject() == Some("bob"));
    let rule = builder.build().unwrap();
    let as_sdk = introspecting(&issuer).insufficient_scope_for_groups(true).build().unwrap();
    let rule_as_sdk = introspecting(&issuer)
        .insufficient_scope_for_groups(true)
        .claim_rule("never", |claims| claims.subject() == Some("bob"))
        .build()
        .unwrap();
    let app = serve!(move || {
        let resource = |path: &str, protect: &actix_protect_api::ProtectApi| {
            web::resource(path).wrap(protect.clone()).route(web::get().to(whoami))
        };
        App::new()
            .service(resource("/rule", &rule.scopes(["mcp"])))
            .service(resource("/sdk", &as_sdk.groups(["staff"])))
            .service(resource("/rule-sdk", &rule_as_sdk))
    });
    for (path, challenge) in [
        ("/rule", "Bearer scope=\"mcp\""),
        (
            "/sdk",
            "Bearer error=\"insufficient_scope\", error_description=\"The subject is not in a required group\"",
        ),
        (
            "/rule-sdk",
            "Bearer error=\"insufficient_scope\", error_description=\"The access token does not grant this access\"",
        ),
    ] {
        let answer = app.get(path).token(&token).send().await;
        assert_eq!((answer.status, answer.challenge()), (403, Some(challenge)), "{path}");
    }
}

/// The mounts of another configuration require scopes of other tokens.
#[actix_web::test]
async fn a_challenge_names_no_scopes_of_another_configuration() {
    let (outer, inner) = (TestIssuer::start(), TestIssuer::start());
    let (first, second) = (protect(&outer), protect(&inner));
    let app = serve!(move || {
        let resource = web::resource("/").wrap(second.scopes(["inner"])).route(web::get().to(whoami));
        App::new()
            .wrap(first.scopes(["outer"]).token_resolver(|request| {
                Ok(request
                    .headers()
                    .get("x-outer")
                    .map(|value| value.to_str().map(str::to_owned))
                    .transpose()?)
            }))
            .service(resource)
    });
    let token = outer.opaque(json!({ "scope": "outer" }));
    let answer = app.get("/").header("X-Outer", &token).token("unknown").send().await;
    assert_eq!((answer.status, scope(&answer)), (401, "inner"));
}

#[actix_web::test]
async fn a_scope_grants_the_scopes_that_it_includes_everywhere() {
    async fn names(caller: AuthenticatedRequest) -> actix_web::Result<String> {
        caller.require_scopes(["files:read"])?;
        caller.require_any_scope(["other", "files:read"])?;
        Ok(format!("{} {}", caller.has_scope("files:read"), caller.scopes()))
    }
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer)
        .scope_implies("all", ["files"])
        .scope_implies("files", ["files:read", "publish", "mcp"])
        .build()
        .unwrap();
    let validating = protect.clone();
    let app = serve!(move || {
        let guard = actix_protect_api::guard::has_scopes(["files:read"]);
        let guarded = web::resource("/guard").guard(guard).route(web::get().to(whoami));
        let mounts = web::resource("/mount").wrap(protect.scopes(["files:read"]).any_scope(["files:read"]));
        let both = web::resource("/both").wrap(protect.scopes(["files:read", "files", "other"]));
        let any = web::resource("/any").wrap(protect.any_scope(["files", "files:read"]));
        App::new()
            .wrap(protect.clone())
            .service(guarded)
            .service(mounts.route(web::get().to(whoami)))
            .service(both.route(web::get().to(whoami)))
            .service(any.route(web::get().to(whoami)))
            .route("/publish", web::get().to(publish))
            .route("/names", web::get().to(names))
    });
    for scope in ["files", "all", "files:read publish mcp"] {
        let token = issuer.opaque(json!({ "sub": "alice", "scope": scope }));
        for path in ["/guard", "/mount", "/publish"] {
            app.get(path).token(&token).send().await.is(200, "alice");
        }
        app.get("/names").token(&token).send().await.is(200, &format!("true {scope}"));
        assert!(validating.validate(&token, None).await.unwrap().has_scope("files:read"));
    }
    let none = issuer.opaque(json!({ "scope": "file files:write files:read:deep" }));
    assert_eq!(app.get("/guard").token(&none).send().await.status, 404);
    for (path, scopes) in [
        ("/mount", "files:read"),
        ("/both", "files other"),
        ("/any", "files:read"),
        ("/publish", "publish mcp"),
    ] {
        let answer = app.get(path).token(&none).send().await;
        assert_eq!((answer.status, scope(&answer)), (403, scopes), "{path}");
    }
}

#[test]
fn a_hierarchy_with_a_cycle_is_rejected_at_start_up() {
    let builder = actix_protect_api::ProtectApi::builder("https://issuer.example.test", "me");
    let error = builder.scope_implies("a", ["b"]).scope_implies("b", ["a"]).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid configuration: scope_implies: contains a cycle: \"a\" includes itself"
    );
}
