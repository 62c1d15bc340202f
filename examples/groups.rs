//! Groups: any of them or all of them, as names or as objects, in the claim `groups` or somewhere deeper.
//!
//! ```text
//! cargo run --example groups               starts the API and prints commands to paste
//! cargo run --example groups -- --check    calls the API itself, exits 1 on a difference
//! ```

mod support;

use actix_protect_api::{AuthenticatedRequest, ClientAuthentication, ProtectApi, test::TestIssuer};
use actix_web::{App, HttpServer, Responder, web};
use serde_json::json;
use support::{Call, Outcome, base_url, port};

async fn mine(caller: AuthenticatedRequest) -> String {
    format!("in {}", caller.groups().join(", "))
}

/// Inside a handler: who may see a document is known only when it is found.
async fn document(
    caller: AuthenticatedRequest,
    group: web::Path<String>,
) -> actix_web::Result<impl Responder> {
    caller.require_groups([group.as_str()])?;
    Ok(if caller.has_group("editors") { "a document to edit" } else { "a document to read" })
}

#[actix_web::main]
async fn main() -> Outcome {
    env_logger::init();
    let issuer = TestIssuer::start();
    let api = || {
        ProtectApi::builder(issuer.issuer(), issuer.audience())
            .client(issuer.client_id(), ClientAuthentication::client_secret_basic(issuer.client_secret()))
    };
    // One group of those that a mount names will do; that is the default.
    let any = api().build()?;
    // It takes all of them.
    let all = api().groups_match_all(true).build()?;
    // Where the server lists roles in an object: a JSON pointer (RFC 6901).
    let roles = api().groups_claim("/realm_access/roles").build()?;

    let server = HttpServer::new(move || {
        App::new()
            .service(
                web::scope("/any")
                    .wrap(any.clone().groups(["editors", "authors"]))
                    .route("/mine", web::get().to(mine))
                    .route("/documents/{group}", web::get().to(document)),
            )
            .service(
                web::scope("/all")
                    .wrap(all.clone().groups(["editors", "authors"]))
                    .route("/mine", web::get().to(mine)),
            )
            .service(
                web::scope("/roles")
                    .wrap(roles.clone().groups(["admin"]))
                    .route("/mine", web::get().to(mine)),
            )
    })
    .workers(2)
    .bind(("127.0.0.1", port()))?;
    let base = base_url(&server.addrs());

    let editor = issuer.opaque(json!({ "groups": ["editors"] }));
    let both = issuer.opaque(json!({ "groups": ["editors", "authors"] }));
    let other = issuer.opaque(json!({ "groups": ["guests"] }));
    let none = issuer.opaque(json!({}));
    let author = issuer.opaque(json!({ "groups": [{ "id": "7f3a", "name": "authors" }] }));
    let admin = issuer.opaque(json!({ "realm_access": { "roles": ["admin"] } }));
    let user = issuer.opaque(json!({ "realm_access": { "roles": ["user"] }, "groups": ["admin"] }));

    let calls = [
        Call::get("any: in one of two", "/any/mine").token(&editor).answers(200).body("in editors"),
        Call::get("any: an object with a name", "/any/mine").token(&author).answers(200).body("authors"),
        Call::get("any: in another", "/any/mine").token(&other).answers(403).challenge("insufficient_scope"),
        Call::get("any: in none", "/any/mine").token(&none).answers(403).challenge("insufficient_scope"),
        Call::get("handler: in the group", "/any/documents/authors")
            .token(&author)
            .answers(200)
            .body("to read"),
        Call::get("handler: the group's id", "/any/documents/7f3a").token(&author).answers(200),
        Call::get("handler: outside the group", "/any/documents/authors").token(&editor).answers(403),
        Call::get("all: in one of two", "/all/mine").token(&editor).answers(403),
        Call::get("all: in both", "/all/mine").token(&both).answers(200).body("in editors, authors"),
        Call::get("pointer: the role", "/roles/mine").token(&admin).answers(200).body("in admin"),
        Call::get("pointer: another claim", "/roles/mine").token(&user).answers(403),
    ];
    support::run(server.run(), &base, &calls).await
}
