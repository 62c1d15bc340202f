//! An authorization server for local development: authorization code with PKCE, and a page on which anyone logs in as anyone.
//! It listens on a loopback address only. **Never use it for anything but development.** The guide describes it:
//! `docs/local_development.md`.
//!
//! ```text
//! cargo run --example dev_issuer                   serves on port 9400 and prints the variables of an API
//! cargo run --example dev_issuer -- --print-env    prints the variables for `eval` and exits
//! cargo run --example dev_issuer -- --help         lists the options
//! cargo run --example dev_issuer -- --check        calls itself, exits with 1 on a difference
//! tests/browser/run.sh dev_issuer                  logs in with a real browser
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it prints the variables and a warning")]

#[path = "../support/mod.rs"]
mod support;

mod authorize;
mod boundary;
mod check;
mod choice;
mod client;
mod error;
mod events;
mod grants;
mod issuer;
mod metadata;
mod options;
mod pages;
mod params;
mod register;
mod session_page;
mod store;
mod token;

use std::{io, net::TcpListener, process::ExitCode};

use actix_web::{App, HttpServer, dev::Server, middleware::from_fn, web};
use issuer::Issuer;
use options::{Command, Options, USAGE};
use support::Outcome;

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 16 * 1024;

fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/.well-known/openid-configuration", web::get().to(metadata::authorization_server))
        .route("/.well-known/oauth-authorization-server", web::get().to(metadata::authorization_server))
        .route("/.well-known/ssf-configuration", web::get().to(metadata::transmitter))
        .route("/jwks", web::get().to(metadata::keys))
        .route("/register", web::post().to(register::register))
        .service(
            web::resource("/authorize")
                .route(web::get().to(authorize::show))
                .route(web::post().to(authorize::decide)),
        )
        .route("/token", web::post().to(token::issue))
        .route("/revoke", web::post().to(token::revoke))
        .route("/introspect", web::post().to(token::introspect))
        .route("/", web::get().to(session_page::show))
        .route("/tokens", web::post().to(session_page::issue))
        .route("/tokens/{id}/{action}", web::post().to(session_page::act))
        .route("/style.css", web::get().to(pages::style));
}

fn serve(issuer: web::Data<Issuer>, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(issuer.clone())
            .app_data(web::PayloadConfig::new(MAX_BODY))
            .configure(routes)
            .wrap(from_fn(boundary::enforce))
    });
    Ok(server.workers(1).listen(listener)?.run())
}

#[actix_web::main]
async fn main() -> ExitCode {
    support::init_logger();
    match Options::parse(std::env::args().skip(1)) {
        Ok((command, options)) => run(command, options).await.unwrap_or_else(|problem| {
            eprintln!("dev_issuer: {problem}");
            ExitCode::FAILURE
        }),
        Err(problem) => {
            eprintln!("dev_issuer: {problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

async fn run(command: Command, options: Options) -> Outcome {
    match command {
        Command::Help => println!("{USAGE}"),
        Command::Check => return check::run().await,
        Command::PrintVariables => print!("{}", Issuer::open(&options)?.variables()),
        Command::Serve => {
            let address = options.socket_address();
            let listener = TcpListener::bind(address)
                .map_err(|error| format!("cannot listen on {address}: {error} (choose another --port)"))?;
            let issuer = web::Data::new(Issuer::open(&options)?);
            introduce(&issuer);
            serve(issuer, listener)?.await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the variables to the standard output, and everything else to the standard error.
fn introduce(issuer: &Issuer) {
    eprintln!(
        "A development issuer. WARNING: anyone who can reach it can log in as anyone. Do not use it in production,\n\
         and do not forward its port.\n\n\
         Page:    {}/  (tokens, revocation, events)\n\
         Client:  {}  (for pages and native apps, without a secret, with PKCE)\n\
         Keys:    {}\n\n\
         Variables of an API:\n",
        issuer.url(),
        issuer::APP_ID,
        issuer.store_path().display(),
    );
    print!("{}", issuer.variables());
    eprintln!("\nStop with Ctrl-C.");
}
