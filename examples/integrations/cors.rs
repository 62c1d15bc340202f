//! CORS: `actix-cors` is outside of the protection. It answers preflights, which browsers send without credentials. It adds its
//! headers to rejections too; without them a page cannot read the status of a rejection.
//!
//! ```text
//! cargo run --example cors               starts the API and prints curl commands
//! cargo run --example cors -- --check    calls the API itself, exits with 1 on a difference
//! ```

#[path = "../support/mod.rs"]
mod support;

use std::{io, net::TcpListener};

use actix_cors::Cors;
use actix_protect_api::{AuthenticatedRequest, ProtectApi, test::TestIssuer};
use actix_web::{
    App, HttpServer,
    dev::Server,
    http::{
        Method,
        header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    web,
};
use serde_json::json;
use support::{Call, Outcome};

const PAGE: &str = "https://app.example.test";

async fn data(caller: AuthenticatedRequest) -> String {
    format!("hello {}", caller.subject().unwrap_or("machine"))
}

fn cors() -> Cors {
    Cors::default()
        .allowed_origin(PAGE)
        .allowed_methods([Method::GET, Method::POST])
        .allowed_headers([AUTHORIZATION, CONTENT_TYPE])
        // A page can read only these headers: the reason of a rejection, and when to retry.
        .expose_headers([WWW_AUTHENTICATE, RETRY_AFTER])
        .max_age(600)
    // No `supports_credentials`: it is for cookies, not for tokens in the `Authorization` header.
}

/// The application: CORS is the outermost middleware.
fn serve(protect: ProtectApi, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .service(
                web::resource("/posts").wrap(protect.scopes(["posts:write"])).route(web::post().to(data)),
            )
            .route("/data", web::get().to(data))
            .wrap(protect.clone())
            // The last one wrapped is the outermost.
            .wrap(cors())
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

    let good = issuer.opaque(json!({ "sub": "alice" }));
    let allowed = "Access-Control-Allow-Origin";
    let preflight = |title, origin: &str| {
        Call::new(title, Method::OPTIONS, "/data")
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "GET")
            .header("Access-Control-Request-Headers", "authorization")
    };
    let from_page = |call: Call| call.header("Origin", PAGE).shows(allowed, PAGE);

    let calls = [
        preflight("preflight, without a token", PAGE)
            .answers(200)
            .shows(allowed, PAGE)
            .shows("Access-Control-Allow-Headers", "authorization")
            .shows("Access-Control-Max-Age", "600"),
        preflight("preflight of another page", "https://evil.example.test").answers(400).lacks(allowed),
        Call::new("OPTIONS that is no preflight", Method::OPTIONS, "/data").answers(401).challenge("Bearer"),
        from_page(Call::get("a good token", "/data").token(&good)).answers(200).body("hello alice"),
        from_page(Call::get("no token: the page can see why", "/data"))
            .answers(401)
            .challenge("Bearer")
            .shows("Access-Control-Expose-Headers", "www-authenticate"),
        from_page(Call::post("no scope: the page can see why", "/posts").token(&good))
            .answers(403)
            .challenge("scope=\"posts:write\"")
            .shows("Access-Control-Expose-Headers", "www-authenticate"),
        from_page(Call::get("nonsense: the page can see why", "/data").token("not a token"))
            .answers(400)
            .challenge("invalid_request"),
        Call::get("no page at all", "/data").token(&good).answers(200).lacks(allowed),
    ];
    support::run(server, &base, &calls).await
}
