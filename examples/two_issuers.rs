//! Two authorization servers in one app, side by side, and a stricter configuration nested in another.
//!
//! With settings from the environment: `ProtectApi::from_env_with_prefix("CUSTOMERS_")` and
//! `ProtectApi::from_env_with_prefix("STAFF_")`.
//!
//! ```text
//! cargo run --example two_issuers               starts the API and prints commands to paste
//! cargo run --example two_issuers -- --check    calls the API itself, exits 1 on a difference
//! ```

mod support;

use actix_protect_api::{
    AuthenticatedRequest, ClientAuthentication, ConfigError, ProtectApi, test::TestIssuer,
};
use actix_web::{App, HttpServer, web};
use serde_json::json;
use support::{Call, Outcome, base_url, port};

const PAYROLL: &str = "https://payroll.example.test";

async fn who(caller: AuthenticatedRequest) -> String {
    format!("{} of {}", caller.subject().unwrap_or("a machine"), caller.issuer())
}

fn protect(issuer: &TestIssuer, audience: &str) -> Result<ProtectApi, ConfigError> {
    ProtectApi::builder(issuer.issuer(), audience)
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(issuer.client_secret()))
        .build()
}

#[actix_web::main]
async fn main() -> Outcome {
    env_logger::init();
    let (customers, staff) = (TestIssuer::start(), TestIssuer::start());
    let for_customers = protect(&customers, customers.audience())?;
    let for_staff = protect(&staff, staff.audience())?;
    // The same authorization server, another audience: a configuration of its own, which validates for itself.
    let for_payroll = protect(&staff, PAYROLL)?;

    let server = HttpServer::new(move || {
        App::new()
            .service(web::scope("/shop").wrap(for_customers.clone()).route("/orders", web::get().to(who)))
            .service(
                web::scope("/office")
                    .wrap(for_staff.clone())
                    .route("/orders", web::get().to(who))
                    // Both must let the request through. The handler gets to know the caller of the inner one.
                    .service(
                        web::scope("/payroll")
                            .wrap(for_payroll.clone().scopes(["payroll"]))
                            .route("/salaries", web::get().to(who)),
                    ),
            )
    })
    .workers(2)
    .bind(("127.0.0.1", port()))?;
    let base = base_url(&server.addrs());

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
    support::run(server.run(), &base, &calls).await
}
