//! One route for all callers, with more content for authenticated callers.
//!
//! ```text
//! cargo run --example optional_auth               starts the API and prints curl commands
//! cargo run --example optional_auth -- --check    calls the API itself, exits with 1 on a difference
//! ```

mod support;

use std::{io, net::TcpListener};

use actix_protect_api::{AuthenticatedRequest, ProtectApi, test::TestIssuer};
use actix_web::{App, HttpServer, dev::Server, web};
use serde_json::json;
use support::{Call, Outcome};

/// `None` is a caller without a token. An invalid token is rejected before this handler; it is not treated as anonymous.
async fn articles(caller: Option<AuthenticatedRequest>) -> String {
    match caller {
        Some(caller) => format!("all articles for {}", caller.subject().unwrap_or("a machine")),
        None => "three articles for free".to_owned(),
    }
}

/// Under the same mount, but only for authenticated callers: without `Option` the extractor rejects with 401.
async fn bookmarks(caller: AuthenticatedRequest) -> String {
    format!("the bookmarks of {}", caller.subject().unwrap_or("a machine"))
}

async fn health() -> &'static str {
    "ok"
}

/// The application: a public route, routes for everybody, and one that requires a scope.
fn serve(protect: ProtectApi, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            // Public: outside of every mount. No token is validated, not even an invalid one.
            .route("/health", web::get().to(health))
            .service(
                web::scope("")
                    .wrap(protect.optional())
                    .route("/articles", web::get().to(articles))
                    .route("/bookmarks", web::get().to(bookmarks))
                    .service(
                        // The requirements of an inner mount apply to all callers.
                        web::resource("/drafts")
                            .wrap(protect.scopes(["drafts"]))
                            .route(web::get().to(articles)),
                    ),
            )
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
    let protect = support::builder(&issuer).build()?;
    let (listener, base) = support::listen()?;
    let server = serve(protect, listener)?;

    let alice = issuer.opaque(json!({ "sub": "alice" }));
    let author = issuer.opaque(json!({ "sub": "bob", "scope": "drafts" }));
    let revoked = issuer.opaque(json!({ "sub": "mallory" }));
    issuer.revoke(&revoked);

    let calls = [
        Call::get("nobody", "/articles").answers(200).body("three articles"),
        Call::get("somebody", "/articles").token(&alice).answers(200).body("all articles for alice"),
        Call::get("a revoked token", "/articles").token(&revoked).answers(401).challenge("invalid_token"),
        Call::get("nonsense", "/articles").token("not a token").answers(400).challenge("invalid_request"),
        Call::get("another scheme: nobody", "/articles")
            .header("Authorization", "Basic YTpi")
            .answers(200)
            .body("three articles"),
        Call::get("nobody's bookmarks", "/bookmarks").answers(401).challenge("Bearer"),
        Call::get("somebody's bookmarks", "/bookmarks").token(&alice).answers(200).body("of alice"),
        Call::get("nobody's drafts", "/drafts").answers(401).challenge("Bearer"),
        Call::get("without the scope", "/drafts").token(&alice).answers(403).challenge("drafts"),
        Call::get("with the scope", "/drafts").token(&author).answers(200).body("for bob"),
        Call::get("public, with a bad token", "/health").token(&revoked).answers(200).body("ok"),
    ];
    support::run(server, &base, &calls).await
}
