//! The claims that grant scopes and groups.

use actix_protect_api::{
    AuthenticatedRequest, Claims, GroupOptions, ProtectApi, ProtectApiBuilder, RequiredScopes, ScopeClaim,
    Scoped, guard, test::TestIssuer,
};
use actix_web::{App, middleware::from_fn, web};
use serde_json::{Value, json};

use crate::support::{
    api::{api_of, record_of, show_reference},
    app::{TestApp, serve},
    logs,
    service::introspecting,
};

struct Read;

impl RequiredScopes for Read {
    const SCOPES: &'static [&'static str] = &["read"];
}

struct Write;

impl RequiredScopes for Write {
    const SCOPES: &'static [&'static str] = &["write", "files"];
}

async fn describe(caller: AuthenticatedRequest) -> String {
    let scopes: Vec<_> = caller.scopes().iter().collect();
    let admin = GroupOptions::default().claim("/realm_access/roles");
    format!(
        "{} {} {} {} {}",
        scopes.join(","),
        caller.groups().join(","),
        caller.has_scope("read") && caller.require_scopes(["read"]).is_ok(),
        caller.has_group("staff") && caller.require_groups(["staff"]).is_ok(),
        caller.is_in_groups(["admin"], &admin),
    )
}

/// `/` describes the caller. The other routes require the scope `read` or the group `staff` in one of the ways.
fn serving(builder: ProtectApiBuilder) -> TestApp {
    let protect = builder.build().unwrap();
    serve!(move || {
        let ok = || async { "ok" };
        let scoped = |_: Scoped<Read>| async { "ok" };
        App::new().service(
            web::scope("")
                .wrap(protect.clone())
                .route("/", web::get().to(describe))
                .route("/scoped", web::get().to(scoped))
                .route("/guard", web::get().guard(guard::has_scopes(["read"])).to(ok))
                .service(web::resource("/read").wrap(protect.scopes(["read"])).to(ok))
                .service(web::resource("/any").wrap(protect.any_scope(["read", "x"])).to(ok))
                .service(web::resource("/team").wrap(protect.groups(["staff"])).to(ok)),
        )
    })
}

/// Returns the statuses of the routes for a JWT and for an opaque token, which must be equal.
async fn statuses(app: &TestApp, issuer: &TestIssuer, claims: &Value) -> [u16; 5] {
    let mut seen = [[0; 5]; 2];
    for (token, seen) in [issuer.jwt(claims.clone()), issuer.opaque(claims.clone())].iter().zip(&mut seen) {
        for (path, seen) in ["/scoped", "/guard", "/read", "/any", "/team"].iter().zip(seen) {
            *seen = app.get(path).token(token).send().await.status;
        }
    }
    assert_eq!(seen[0], seen[1], "{claims}");
    seen[0]
}

fn by_variables(issuer: &TestIssuer, variables: &[(&str, &str)]) -> ProtectApiBuilder {
    let all =
        variables.iter().map(|(name, value)| (format!("MONOCLOUD_BACKEND_{name}"), (*value).to_owned()));
    ProtectApi::builder_from_variables("MONOCLOUD_BACKEND_", issuer.variables().into_iter().chain(all))
}

#[actix_web::test]
async fn the_configured_claims_grant_scopes_and_groups_everywhere() {
    let issuer = TestIssuer::start();
    let code = introspecting(&issuer)
        .scope_claims(["scope", "permissions", "/realm_access/roles"])
        .scope_prefix("api://x/")
        .groups_claims(["groups", "/resource_access/api/roles", "urn:roles"])
        .groups_delimited(true);
    let variables = by_variables(
        &issuer,
        &[
            ("SCOPE_CLAIMS", "scope permissions /realm_access/roles"),
            ("SCOPE_PREFIX", "api://x/"),
            ("GROUPS_CLAIM", "groups /resource_access/api/roles urn:roles"),
            ("GROUPS_DELIMITED", "true"),
        ],
    );
    for app in [serving(code), serving(variables)] {
        for (claims, scopes, groups) in [
            (json!({ "scope": "read", "groups": ["staff"] }), true, true),
            (json!({ "permissions": ["read"], "groups": "ops staff" }), true, true),
            (json!({ "realm_access": { "roles": ["api://x/read"] } }), true, false),
            (json!({ "resource_access": { "api": { "roles": ["staff"] } } }), false, true),
            (json!({ "urn:roles": { "staff": { "1": "org" } } }), false, true),
            (json!({ "scp": "read", "roles": ["staff", "read"], "groups": "other" }), false, false),
            (
                json!({ "scope": "api://x/write READ", "permissions": { "read": 1 }, "groups": 7 }),
                false,
                false,
            ),
        ] {
            let (scope, group) = (if scopes { 200 } else { 403 }, if groups { 200 } else { 403 });
            let guard = if scopes { 200 } else { 404 };
            assert_eq!(
                statuses(&app, &issuer, &claims).await,
                [scope, guard, scope, scope, group],
                "{claims}"
            );
        }
        let token = issuer.jwt(json!({
            "scope": "api://x/read write", "realm_access": { "roles": ["admin"] }, "groups": [{ "id": "staff" }]
        }));
        app.get("/").token(&token).send().await.is(200, "read,write,admin staff true true true");
        let token = issuer.opaque(json!({ "urn:roles": { "dev": true, "off": false } }));
        app.get("/").token(&token).send().await.is(200, " dev false false false");
    }
}

#[actix_web::test]
async fn a_claim_with_a_prefix_cannot_grant_a_scope_of_the_same_name() {
    let issuer = TestIssuer::start();
    let roles = ScopeClaim::from("roles").strip_prefix("api.").add_prefix("role:");
    let app = serving(introspecting(&issuer).scope_claims([ScopeClaim::from("scope"), roles]));
    let claims = json!({ "roles": ["read", "api.admin"], "scope": "write" });
    assert_eq!(statuses(&app, &issuer, &claims).await, [403, 404, 403, 403, 403]);
    app.get("/")
        .token(&issuer.jwt(claims))
        .send()
        .await
        .is(200, "write,role:read,role:admin  false false false");
}

#[test]
fn bare_claims_are_mapped_in_the_same_way() {
    let claims: Claims = serde_json::from_value(json!({
        "scope": "a", "permissions": ["b"], "roles": ["admin", "dev"], "groups": ["staff"]
    }))
    .unwrap();
    let builder = || ProtectApi::builder("https://as.example.test", "my-api");
    let plain = builder().build().unwrap();
    assert_eq!(plain.scopes_of(&claims).to_string(), "a");
    assert_eq!(plain.groups_of(&claims), ["staff"]);
    let mapped = builder().scope_claims(["scope", "permissions"]).groups_claim("roles").build().unwrap();
    assert_eq!(mapped.scopes_of(&claims).to_string(), "a b");
    assert_eq!(mapped.groups_of(&claims), ["admin", "dev"]);
    let (both, options) = (["admin", "no"], GroupOptions::default);
    assert!(mapped.is_in_groups(&claims, both, &options()));
    assert!(!mapped.is_in_groups(&claims, both, &options().match_all(true)));
    assert!(!mapped.is_in_groups(&claims, both, &options().claim("groups")));
    assert!(mapped.is_in_groups(&claims, ["staff"], &options().claim("groups").match_all(true)));
}

#[actix_web::test]
async fn the_log_describes_the_claims_that_were_read_without_their_values() {
    logs::capture();
    let issuer = TestIssuer::start();
    let protect = introspecting(&issuer).groups_claims(["groups", "/realm/roles"]).error_reference(true);
    let app = api_of(protect.build().unwrap());
    for (path, claims, expected) in [
        (
            "/read",
            json!({ "scope": null }),
            "a required scope is missing: expected \"read\"; `scope` is absent, `scp` is absent [",
        ),
        (
            "/read",
            json!({ "scope": "hidden-1 hidden-2" }),
            "`scope` is a string with 2 words, `scp` is absent [",
        ),
        (
            "/team",
            json!({}),
            "a required group is missing: expected \"engineering\"; `groups` is absent, `/realm/roles` is absent [",
        ),
        (
            "/team",
            json!({ "groups": { "hidden": 1 }, "realm": { "roles": ["hidden"] } }),
            "`groups` is an object with 1 entry, `/realm/roles` is an array with 1 entry [",
        ),
        ("/team", json!({ "groups": 77 }), "`groups` is a number, "),
    ] {
        let answer = app.get(path).token(&issuer.jwt(claims)).send().await;
        assert_eq!(answer.status, 403);
        assert!(!format!("{answer:?}").contains("absent"), "{answer:?}");
        let record = record_of(&answer).text;
        // The random reference at the end may contain any digits.
        let text = record.rsplit_once(" [").unwrap().0.to_owned() + " [";
        assert!(text.contains(expected) && !text.contains("hidden") && !text.contains("77"), "{text}");
    }
}

#[actix_web::test]
async fn the_log_names_the_missing_scopes_and_groups_and_no_others() {
    type Handled = Result<&'static str, actix_protect_api::Rejection>;
    logs::capture();
    let issuer = TestIssuer::start();
    for (match_all, groups) in [(false, r#""staff" or "ops""#), (true, r#""ops""#)] {
        let builder = introspecting(&issuer).error_reference(true).groups_match_all(match_all);
        let protect = builder.scope_implies("files", ["read"]).build().unwrap();
        let app = serve!(move || {
            let all = |caller: AuthenticatedRequest| async move {
                caller.require_scopes(["files", "write", "drop"])?;
                Handled::Ok("")
            };
            let any = |caller: AuthenticatedRequest| async move {
                caller.require_any_scope(["write", "not a scope"])?;
                Handled::Ok("")
            };
            let team = |caller: AuthenticatedRequest| async move {
                caller.require_groups(["staff", "ops"])?;
                Handled::Ok("")
            };
            let ok = || async { "ok" };
            let many =
                protect.scopes(["files", "write", "drop"]).any_scope(["read", "x"]).any_scope(["y", "z"]);
            App::new().wrap(from_fn(show_reference)).service(
                web::scope("")
                    .wrap(protect.clone())
                    .service(web::resource("/mounts").wrap(many).to(ok))
                    .service(web::resource("/any").wrap(protect.any_scope(["y", "z"])).to(ok))
                    .service(web::resource("/team").wrap(protect.groups(["staff", "ops"])).to(ok))
                    .service(web::resource("/step-up").wrap(protect.scopes(["drop"]).acr(["phr"])).to(ok))
                    .route("/scoped", web::get().to(|_: Scoped<Write>| async { "ok" }))
                    .route("/handler", web::get().to(all))
                    .route("/handler-any", web::get().to(any))
                    .route("/handler-team", web::get().to(team)),
            )
        });
        let member = if match_all { "staff" } else { "hidden" };
        let token = issuer.jwt(json!({ "scope": "files hidden", "groups": [member] }));
        for (path, expected) in [
            ("/mounts", r#"scope is missing: expected "write" and "drop" and ("y" or "z"); `scope` "#),
            ("/any", r#"scope is missing: expected "y" or "z"; `scope` is a string with 2 words, "#),
            ("/scoped", r#"scope is missing: expected "write"; `scope` is a string with 2 words, "#),
            ("/handler", r#"scope is missing: expected "write" and "drop"; `scope` is a string "#),
            ("/handler-any", r#"scope is missing: expected "write" or "not a scope"; `scope` is "#),
            ("/team", &format!("group is missing: expected {groups}; `groups` is an array with 1 entry [")),
            ("/handler-team", &format!("group is missing: expected {groups}; `groups` is an array with 1 ")),
            (
                "/step-up",
                r#"`acr` is missing, expected "phr"; a required scope is missing: expected "drop"; "#,
            ),
        ] {
            let answer = app.get(path).token(&token).send().await;
            let text = record_of(&answer).text;
            assert!(text.contains(expected) && !text.contains("hidden"), "{path}: {text}");
        }
    }
}

#[test]
fn malformed_and_empty_claims_are_problems() {
    let none: [&str; 0] = [];
    let builder = || ProtectApi::builder("https://as.example.test", "my-api");
    for (wrong, name) in [
        (builder().scope_claims(none), "scope_claims"),
        (builder().scope_claims(["scope", " "]), "scope_claims"),
        (builder().scope_claims(["/a~2"]), "scope_claims"),
        (builder().groups_claims(none), "groups_claims"),
        (builder().groups_claims(["groups", ""]), "groups_claims"),
        (builder().groups_claims(["groups", "/a~"]), "groups_claims"),
    ] {
        let error = wrong.build().unwrap_err();
        let names: Vec<_> = error.problems().iter().map(|problem| problem.name.as_str()).collect();
        assert_eq!(names, [name]);
    }
}
