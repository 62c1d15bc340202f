//! Groups: any or all of them, as names or as objects, in the claim `groups` or in a nested claim.
//!
//! ```text
//! cargo run --example groups               starts the API and prints curl commands
//! cargo run --example groups -- --check    calls the API itself, exits with 1 on a difference
//! ```

mod support;

use std::{io, net::TcpListener};

use actix_protect_api::{AuthenticatedRequest, ConfigError, ProtectApi, ProtectApiBuilder, test::TestIssuer};
use actix_web::{App, HttpServer, Responder, dev::Server, web};
use serde_json::json;
use support::{Call, Outcome};

async fn mine(caller: AuthenticatedRequest) -> String {
    format!("in {}", caller.groups().join(", "))
}

/// Inside a handler: the required group depends on the document.
async fn document(
    caller: AuthenticatedRequest,
    group: web::Path<String>,
) -> actix_web::Result<impl Responder> {
    caller.require_groups([group.as_str()])?;
    Ok(if caller.has_group("editors") { "a document to edit" } else { "a document to read" })
}

/// Three configurations for the same authorization server.
struct Handles {
    any: ProtectApi,
    all: ProtectApi,
    roles: ProtectApi,
}

impl Handles {
    fn build(builder: impl Fn() -> ProtectApiBuilder) -> Result<Self, ConfigError> {
        Ok(Self {
            // The default: one of the groups that a mount requires is enough.
            any: builder().build()?,
            // All of the groups are required.
            all: builder().groups_match_all(true).build()?,
            // The server lists the groups in a nested claim: a JSON pointer (RFC 6901).
            roles: builder().groups_claim("/realm_access/roles").build()?,
        })
    }
}

/// The application: three scopes, one for each configuration.
fn serve(Handles { any, all, roles }: Handles, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .service(
                web::scope("/any")
                    .wrap(any.groups(["editors", "authors"]))
                    .route("/mine", web::get().to(mine))
                    .route("/documents/{group}", web::get().to(document)),
            )
            .service(
                web::scope("/all")
                    .wrap(all.groups(["editors", "authors"]))
                    .route("/mine", web::get().to(mine)),
            )
            .service(web::scope("/roles").wrap(roles.groups(["admin"])).route("/mine", web::get().to(mine)))
    })
    .workers(2)
    .listen(listener)?
    .run();
    Ok(server)
}

// The harness: an authorization server, tokens, and the calls to try.
#[actix_web::main]
async fn main() -> Outcome {
    support::init_logger();
    let issuer = TestIssuer::start();
    let handles = Handles::build(|| support::builder(&issuer))?;
    let (listener, base) = support::listen()?;
    let server = serve(handles, listener)?;

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
        Call::get("any: in another", "/any/mine").token(&other).answers(403).challenge("Bearer"),
        Call::get("any: in none", "/any/mine").token(&none).answers(403).challenge("Bearer"),
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
    support::run(server, &base, &calls).await
}
