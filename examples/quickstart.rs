//! A protected API and an authorization server in one process, to try with curl:
//!
//! ```text
//! cargo run --example quickstart               starts both and prints curl commands
//! cargo run --example quickstart -- --check    calls the API itself, prints the answers, exits with 1 on a difference
//! ```

mod support;

use std::{io, net::TcpListener};

use actix_protect_api::{AuthenticatedRequest, ProtectApi, test::TestIssuer};
use actix_web::{App, HttpServer, Responder, dev::Server, web};
use serde_json::json;
use support::{Call, Outcome};

async fn data(caller: AuthenticatedRequest) -> impl Responder {
    web::Json(caller.claims().clone())
}

async fn publish(caller: AuthenticatedRequest) -> String {
    format!("published by {}\n", caller.subject().unwrap_or("a machine"))
}

async fn team(caller: AuthenticatedRequest) -> String {
    format!("the teams of {}: {}\n", caller.subject().unwrap_or("a machine"), caller.groups().join(", "))
}

/// The application: every route requires a valid token, two of them a scope or a group.
fn serve(protect: ProtectApi, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        let posts = web::resource("/api/posts").wrap(protect.scopes(["posts:write"]));
        let team = web::resource("/api/team").wrap(protect.groups(["engineering"]));
        App::new()
            .wrap(protect.clone())
            .route("/api/data", web::get().to(data))
            .service(posts.route(web::post().to(publish)))
            .service(team.route(web::get().to(self::team)))
    })
    .workers(2)
    .listen(listener)?
    .run();
    Ok(server)
}

// The harness: an authorization server, tokens, and the calls to try. In production, `ProtectApi::from_env()` reads the settings
// of your authorization server from the environment.
#[actix_web::main]
async fn main() -> Outcome {
    // The log has the reason of every rejection. The environment variable `RUST_LOG` overrides these levels.
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn,actix_protect_api=debug"));
    let issuer = TestIssuer::start();
    let protect = support::builder(&issuer).build()?;
    let (listener, base) = support::listen()?;
    let server = serve(protect, listener)?;

    let good = issuer.opaque(json!({ "sub": "alice", "scope": "posts:read" }));
    let jwt = issuer.jwt(json!({ "sub": "alice", "scope": "posts:read" }));
    let writer = issuer.opaque(json!({ "sub": "bob", "scope": "posts:read posts:write" }));
    let engineer = issuer.opaque(json!({ "sub": "carol", "groups": ["engineering"] }));
    let revoked = issuer.opaque(json!({ "sub": "mallory" }));
    issuer.revoke(&revoked);
    let foreign = issuer.opaque(json!({ "sub": "alice", "aud": "https://another-api.example.test" }));

    let calls = [
        Call::get("a good token", "/api/data").token(&good).answers(200).body("\"sub\":\"alice\""),
        Call::get("a good JWT", "/api/data").token(&jwt).answers(200).body("\"sub\":\"alice\""),
        Call::get("no token", "/api/data").answers(401).challenge("Bearer"),
        Call::get("a revoked token", "/api/data").token(&revoked).answers(401).challenge("invalid_token"),
        Call::get("for another API", "/api/data").token(&foreign).answers(401).challenge("invalid_token"),
        Call::get("nonsense", "/api/data").token("not a token").answers(400).challenge("invalid_request"),
        Call::post("without the scope", "/api/posts")
            .token(&good)
            .answers(403)
            .challenge("scope=\"posts:write\""),
        Call::post("with the scope", "/api/posts").token(&writer).answers(200).body("published by bob"),
        Call::get("outside the group", "/api/team").token(&good).answers(403).challenge("Bearer"),
        Call::get("inside the group", "/api/team").token(&engineer).answers(200).body("engineering"),
    ];

    support::run(server, &base, &calls).await
}
