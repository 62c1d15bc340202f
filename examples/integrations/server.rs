//! The API of the quickstart with a real authorization server: the settings come from the environment, or from a file
//! `.env` in the current folder.
//!
//! ```text
//! MONOCLOUD_BACKEND_TENANT_DOMAIN=https://your-tenant.example
//! MONOCLOUD_BACKEND_AUDIENCE=https://api.example
//! MONOCLOUD_BACKEND_CLIENT_ID=…
//! MONOCLOUD_BACKEND_CLIENT_SECRET=…
//!
//! cargo run --example server               starts the API on port 8080, or on `PORT`
//! cargo run --example server -- --check    starts it with the settings of a test issuer and calls it, exits 1 on a difference
//! ```
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it prints where it listens, and the problems of the configuration"
)]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/mod.rs"]
mod support;

use std::{
    error::Error,
    io::{BufRead as _, BufReader},
    process::{ExitCode, Stdio},
};

use actix_protect_api::{AuthenticatedRequest, ProtectApi, test::TestIssuer};
use actix_web::{App, HttpServer, Responder, web};
use child::ChildProcess;
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

/// The application.
async fn serve() -> Result<(), Box<dyn Error>> {
    // A missing `.env` is fine: the variables may be set otherwise.
    let _ = dotenvy::dotenv();
    // The log has the reason of every rejection. `RUST_LOG` overrides the levels.
    env_logger::init_from_env(env_logger::Env::default().default_filter_or("warn,actix_protect_api=debug"));

    let protect = ProtectApi::try_from_env()?;
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let server = HttpServer::new(move || {
        let posts = web::resource("/api/posts").wrap(protect.scopes(["posts:write"]));
        let team = web::resource("/api/team").wrap(protect.groups(["engineering"]));
        App::new()
            .wrap(protect.clone())
            .route("/api/data", web::get().to(data))
            .service(posts.route(web::post().to(publish)))
            .service(team.route(web::get().to(self::team)))
    })
    .bind(("127.0.0.1", port))?;
    for address in server.addrs() {
        println!("listening on http://{address}");
    }
    Ok(server.run().await?)
}

#[actix_web::main]
async fn main() -> Outcome {
    if support::wants_check() {
        return check().await;
    }
    match serve().await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("{error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

// The harness: this program as a child process with the variables of a test issuer, and calls to it.
async fn check() -> Outcome {
    let issuer = TestIssuer::start();
    let (_child, base) = start(&issuer)?;
    let reader = issuer.opaque(json!({ "sub": "alice" }));
    let writer = issuer.opaque(json!({ "sub": "bob", "scope": "posts:write", "groups": ["engineering"] }));
    let calls = [
        Call::get("a good token", "/api/data").token(&reader).answers(200).body("\"sub\":\"alice\""),
        Call::get("no token", "/api/data").answers(401).challenge("Bearer"),
        Call::post("without the scope", "/api/posts").token(&reader).answers(403).challenge("posts:write"),
        Call::post("with the scope", "/api/posts").token(&writer).answers(200).body("published by bob"),
        Call::get("in the group", "/api/team").token(&writer).answers(200).body("engineering"),
    ];
    Ok(support::check(&base, &calls).await)
}

/// Starts this program with the settings of the issuer. Returns its URL, too.
fn start(issuer: &TestIssuer) -> Result<(ChildProcess, String), Box<dyn Error>> {
    let mut command = child::command(std::env::current_exe()?);
    command.envs(issuer.variables()).env("PORT", "0").stdout(Stdio::piped());
    let mut process = ChildProcess(command.spawn()?);
    let output = process.0.stdout.take().ok_or("the server has no output")?;
    let line = BufReader::new(output).lines().next().ok_or("the server has ended")??;
    let base = line.strip_prefix("listening on ").ok_or_else(|| line.clone())?.to_owned();
    Ok((process, base))
}
