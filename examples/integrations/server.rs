//! The API of the quickstart with a real authorization server: the settings come from the environment, or from a file
//! `.env` in the current folder.
//!
//! ```text
//! MONOCLOUD_BACKEND_TENANT_DOMAIN=https://your-tenant.example
//! MONOCLOUD_BACKEND_AUDIENCE=https://api.example
//! MONOCLOUD_BACKEND_CLIENT_ID=…
//! MONOCLOUD_BACKEND_CLIENT_SECRET=…
//! ```
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it tells where it listens, and what is wrong"
)]

use std::process::ExitCode;

use actix_protect_api::{AuthenticatedRequest, ProtectApi};
use actix_web::{App, HttpServer, Responder, web};

async fn data(caller: AuthenticatedRequest) -> impl Responder {
    web::Json(caller.claims().clone())
}

async fn publish(caller: AuthenticatedRequest) -> String {
    format!("published by {}\n", caller.subject().unwrap_or("a machine"))
}

async fn team(caller: AuthenticatedRequest) -> String {
    format!("the teams of {}: {}\n", caller.subject().unwrap_or("a machine"), caller.groups().join(", "))
}

#[actix_web::main]
async fn main() -> ExitCode {
    // A missing `.env` is fine: the variables may be set otherwise.
    let _ = dotenvy::dotenv();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();

    let protect = match ProtectApi::try_from_env() {
        Ok(protect) => protect,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let server = HttpServer::new(move || {
        let posts = web::resource("/api/posts").wrap(protect.clone().scopes(["posts:write"]));
        let team = web::resource("/api/team").wrap(protect.clone().groups(["engineering"]));
        App::new()
            .wrap(protect.clone())
            .route("/api/data", web::get().to(data))
            .service(posts.route(web::post().to(publish)))
            .service(team.route(web::get().to(self::team)))
    });
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let bound = server.bind(("127.0.0.1", port));
    println!("listening on http://127.0.0.1:{port}");
    match bound {
        Ok(server) => match server.run().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("cannot listen on port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}
