//! Required scopes and groups of a mount.

use actix_protect_api::{ProtectApi, test::TestIssuer};
use actix_web::{App, HttpResponse, web};
use serde_json::json;

use crate::support::{
    app::{MISSING, protect, serve},
    service::introspecting,
};

/// The statuses of a mount for tokens with these claims.
async fn statuses(issuer: &TestIssuer, protect: ProtectApi, claims: &[serde_json::Value]) -> Vec<u16> {
    let app = serve!(move || App::new().wrap(protect.clone()).route("/", web::get().to(HttpResponse::Ok)));
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
    assert_eq!(statuses(&issuer, any, &claims).await, [200, 200, 403, 200, 200, 403, 403]);
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
    let app = serve!(move || App::new().wrap(protect.clone()).route("/", web::get().to(HttpResponse::Ok)));
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
