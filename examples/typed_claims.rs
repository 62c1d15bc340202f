//! Claims as a Rust type: the required claims are in the handler's signature.
//!
//! ```text
//! cargo run --example typed_claims               starts the API and prints curl commands
//! cargo run --example typed_claims -- --check    calls the API itself, exits with 1 on a difference
//! ```

mod support;

use std::{io, net::TcpListener};

use actix_protect_api::{AuthenticatedRequest, ProtectApi, RequiredScopes, Scoped, test::TestIssuer};
use actix_web::{App, HttpServer, dev::Server, web};
use serde::Deserialize;
use serde_json::{Value, json};
use support::{Call, Outcome};

/// The claims that this API requires. A token whose claims do not fit is rejected with 401.
#[derive(Deserialize)]
struct Member {
    sub: String,
    tenant: u32,
    #[serde(default)]
    plan: Plan,
    #[serde(rename = "https://example.test/display_name")]
    display_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Plan {
    #[default]
    Free,
    Paid,
}

async fn profile(caller: AuthenticatedRequest<Member>) -> String {
    let Member { sub, tenant, plan, display_name } = caller.claims();
    format!("{} of tenant {tenant}, plan {plan:?}", display_name.as_ref().unwrap_or(sub))
}

struct Invoices;

impl RequiredScopes for Invoices {
    const SCOPES: &'static [&'static str] = &["invoices"];
}

/// Scopes and claims together.
async fn invoices(caller: Scoped<Invoices, Member>) -> String {
    format!("the invoices of tenant {}", caller.claims().tenant)
}

/// Without a type: any claim by its name.
async fn raw(caller: AuthenticatedRequest) -> String {
    format!("tenant: {}", caller.claims().get("tenant").unwrap_or(&Value::Null))
}

/// The application: the type of the claims is in each handler.
fn serve(protect: ProtectApi, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .wrap(protect.clone())
            .route("/profile", web::get().to(profile))
            .route("/invoices", web::get().to(invoices))
            .route("/raw", web::get().to(raw))
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

    let member = issuer.opaque(json!({ "sub": "alice", "tenant": 7, "plan": "paid", "scope": "invoices" }));
    let named =
        issuer.jwt(json!({ "sub": "bob", "tenant": 8, "https://example.test/display_name": "Bob B." }));
    let without = issuer.opaque(json!({ "sub": "carol" }));
    let misfit = issuer.opaque(json!({ "sub": "dave", "tenant": "seven" }));

    let calls = [
        Call::get("claims that fit", "/profile")
            .token(&member)
            .answers(200)
            .body("alice of tenant 7, plan Paid"),
        Call::get("the same from a JWT", "/profile")
            .token(&named)
            .answers(200)
            .body("Bob B. of tenant 8, plan Free"),
        Call::get("a claim is missing", "/profile").token(&without).answers(401).challenge("invalid_token"),
        Call::get("a claim is of another type", "/profile")
            .token(&misfit)
            .answers(401)
            .challenge("invalid_token"),
        Call::get("with a scope", "/invoices").token(&member).answers(200).body("tenant 7"),
        Call::get("without the scope", "/invoices").token(&named).answers(403).challenge("invoices"),
        Call::get("any claim", "/raw").token(&misfit).answers(200).body("tenant: \"seven\""),
        Call::get("any claim, absent", "/raw").token(&without).answers(200).body("tenant: null"),
    ];
    support::run(server, &base, &calls).await
}
