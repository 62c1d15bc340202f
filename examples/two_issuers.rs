//! Two authorization servers in one application: each on another path, and both on one path. And a stricter configuration
//! inside another one.
//!
//! With settings from the environment: `ProtectApi::from_env_with_prefix("CUSTOMERS_")` and
//! `ProtectApi::from_env_with_prefix("STAFF_")`.
//!
//! ```text
//! cargo run --example two_issuers               starts the API and prints curl commands
//! cargo run --example two_issuers -- --check    calls the API itself, exits with 1 on a difference
//! ```

mod support;

use std::{io, net::TcpListener};

use actix_protect_api::{
    AuthenticatedRequest, ClientAuthentication, ConfigError, ProtectApi, test::TestIssuer,
};
use actix_web::{App, HttpServer, dev::Server, web};
use serde_json::json;
use support::{Call, Outcome};

const PAYROLL: &str = "https://payroll.example.test";

async fn who(caller: AuthenticatedRequest) -> String {
    format!("{} of {}", caller.subject().unwrap_or("a machine"), caller.issuer())
}

struct Handles {
    customers: ProtectApi,
    staff: ProtectApi,
    payroll: ProtectApi,
    /// Accepts the tokens of both.
    both: ProtectApi,
}

/// The application: each scope has the handle of its authorization server, and `/news` has that of both.
fn serve(handles: Handles, listener: TcpListener) -> io::Result<Server> {
    let Handles { customers, staff, payroll, both } = handles;
    let server = HttpServer::new(move || {
        App::new()
            .service(web::scope("/news").wrap(both.clone()).route("", web::get().to(who)))
            .service(web::scope("/shop").wrap(customers.clone()).route("/orders", web::get().to(who)))
            .service(
                web::scope("/office")
                    .wrap(staff.clone())
                    .route("/orders", web::get().to(who))
                    // Both mounts must accept the request. The handler receives the caller of the inner mount.
                    .service(
                        web::scope("/payroll")
                            .wrap(payroll.scopes(["payroll"]))
                            .route("/salaries", web::get().to(who)),
                    ),
            )
    })
    .workers(2)
    .listen(listener)?
    .run();
    Ok(server)
}

// The harness: two authorization servers, tokens, and the calls to try.
#[actix_web::main]
async fn main() -> Outcome {
    support::init_logger();
    let (customers, staff) = (TestIssuer::start(), TestIssuer::start());
    let customers_api = protect(&customers, customers.audience())?;
    let staff_api = protect(&staff, staff.audience())?;
    let handles = Handles {
        // A JWT names its authorization server. For an opaque token, one is tried after the other.
        both: ProtectApi::any_of([customers_api.clone(), staff_api.clone()])
            .opaque_in_order([&customers_api, &staff_api])
            .build()?,
        customers: customers_api,
        staff: staff_api,
        // The same authorization server with another audience is another configuration, which validates on its own.
        payroll: protect(&staff, PAYROLL)?,
    };
    let (listener, base) = support::listen()?;
    let server = serve(handles, listener)?;

    let customer = customers.opaque(json!({ "sub": "alice" }));
    let customer_jwt = customers.jwt(json!({ "sub": "alice" }));
    let clerk = staff.opaque(json!({ "sub": "bob", "scope": "payroll" }));
    let clerk_jwt = staff.jwt(json!({ "sub": "bob", "scope": "payroll" }));
    let audiences = json!([staff.audience(), PAYROLL]);
    let accountant = staff.opaque(json!({ "sub": "carol", "aud": audiences, "scope": "payroll" }));
    let novice = staff.opaque(json!({ "sub": "dave", "aud": audiences }));
    let only_payroll = staff.opaque(json!({ "sub": "eve", "aud": PAYROLL, "scope": "payroll" }));

    let calls = [
        Call::get("a customer in the shop", "/shop/orders").token(&customer).answers(200).body("alice of"),
        Call::get("the same with a JWT", "/shop/orders").token(&customer_jwt).answers(200).body("alice of"),
        Call::get("staff in the shop", "/shop/orders").token(&clerk).answers(401).challenge("invalid_token"),
        Call::get("the same with a JWT", "/shop/orders")
            .token(&clerk_jwt)
            .answers(401)
            .challenge("invalid_token"),
        Call::get("staff in the office", "/office/orders").token(&clerk).answers(200).body("bob of"),
        Call::get("the same with a JWT", "/office/orders").token(&clerk_jwt).answers(200).body("bob of"),
        Call::get("a customer in the office", "/office/orders")
            .token(&customer)
            .answers(401)
            .challenge("invalid_token"),
        Call::get("a customer in the news", "/news").token(&customer_jwt).answers(200).body("alice of"),
        Call::get("staff in the news", "/news").token(&clerk).answers(200).body("bob of"),
        Call::get("nobody in the news", "/news").token("unknown").answers(401).challenge("invalid_token"),
        Call::get("nested: the outer one only", "/office/payroll/salaries").token(&clerk).answers(401),
        Call::get("nested: the inner one only", "/office/payroll/salaries").token(&only_payroll).answers(401),
        Call::get("nested: both, no scope", "/office/payroll/salaries")
            .token(&novice)
            .answers(403)
            .challenge("scope=\"payroll\""),
        Call::get("nested: both", "/office/payroll/salaries")
            .token(&accountant)
            .answers(200)
            .body("carol of"),
    ];
    support::run(server, &base, &calls).await
}

fn protect(issuer: &TestIssuer, audience: &str) -> Result<ProtectApi, ConfigError> {
    ProtectApi::builder(issuer.issuer(), audience)
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(issuer.client_secret()))
        .build()
}
