//! CORS: `actix-cors` goes outside of the protection. It answers preflights, which browsers send without credentials,
//! and its headers are on refusals too; without them a page could not even see that it was refused.
//!
//! ```text
//! cargo run --example cors               starts the API and prints commands to paste
//! cargo run --example cors -- --check    calls the API itself, exits 1 on a difference
//! ```

#[path = "../support/mod.rs"]
mod support;

use actix_cors::Cors;
use actix_protect_api::{AuthenticatedRequest, ClientAuthentication, ProtectApi, test::TestIssuer};
use actix_web::{
    App, HttpServer,
    http::{
        Method,
        header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    web,
};
use serde_json::json;
use support::{Call, Outcome, base_url, port};

const PAGE: &str = "https://app.example.test";

async fn data(caller: AuthenticatedRequest) -> String {
    format!("hello {}", caller.subject().unwrap_or("machine"))
}

fn cors() -> Cors {
    Cors::default()
        .allowed_origin(PAGE)
        .allowed_methods([Method::GET, Method::POST])
        .allowed_headers([AUTHORIZATION, CONTENT_TYPE])
        // Pages read only the headers that are named here: why they were refused, and when to try again.
        .expose_headers([WWW_AUTHENTICATE, RETRY_AFTER])
        .max_age(600)
    // No `supports_credentials`: that is about cookies, and tokens are none.
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
            .service(
                web::resource("/posts")
                    .wrap(protect.clone().scopes(["posts:write"]))
                    .route(web::post().to(data)),
            )
            .route("/data", web::get().to(data))
            .wrap(protect.clone())
            // The last one wrapped is the outermost.
            .wrap(cors())
    })
    .workers(2)
    .bind(("127.0.0.1", port()))?;
    let base = base_url(&server.addrs());

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
    support::run(server.run(), &base, &calls).await
}
