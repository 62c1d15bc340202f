//! One route for everybody that shows more to those who are known.
//!
//! ```text
//! cargo run --example optional_auth               starts the API and prints commands to paste
//! cargo run --example optional_auth -- --check    calls the API itself, exits 1 on a difference
//! ```

mod support;

use actix_protect_api::{AuthenticatedRequest, ClientAuthentication, ProtectApi, test::TestIssuer};
use actix_web::{App, HttpServer, web};
use serde_json::json;
use support::{Call, Outcome, base_url, port};

/// `None` is a caller without a token. A bad token never gets here: it is refused, not taken for anonymous.
async fn articles(caller: Option<AuthenticatedRequest>) -> String {
    match caller {
        Some(caller) => format!("all articles for {}", caller.subject().unwrap_or("a machine")),
        None => "three articles for free".to_owned(),
    }
}

/// Under the same mount, but not for everybody: without `Option` the extractor answers 401.
async fn bookmarks(caller: AuthenticatedRequest) -> String {
    format!("the bookmarks of {}", caller.subject().unwrap_or("a machine"))
}

async fn health() -> &'static str {
    "ok"
}

#[actix_web::main]
async fn main() -> Outcome {
    env_logger::init();
    let issuer = TestIssuer::start();
    let protect = ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(issuer.client_secret()))
        .build()?;

    let server = HttpServer::new(move || {
        App::new()
            // Wholly public: outside of every mount. No token is looked at, not even a bad one.
            .route("/health", web::get().to(health))
            .service(
                web::scope("")
                    .wrap(protect.clone().optional())
                    .route("/articles", web::get().to(articles))
                    .route("/bookmarks", web::get().to(bookmarks))
                    .service(
                        // What an inner mount asks for counts for everybody.
                        web::resource("/drafts")
                            .wrap(protect.clone().scopes(["drafts"]))
                            .route(web::get().to(articles)),
                    ),
            )
    })
    .workers(2)
    .bind(("127.0.0.1", port()))?;
    let base = base_url(&server.addrs());

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
    support::run(server.run(), &base, &calls).await
}
