//! Tests of a protected application: handlers without a server, whole requests with an authorization server in the test's process,
//! and failures of the authorization server.
//!
//! ```text
//! cargo test --example testing              runs the tests at the end of this file
//! cargo run --example testing               starts the API and prints curl commands
//! cargo run --example testing -- --check    calls the API itself, exits with 1 on a difference
//! ```

mod support;

use std::{io, net::TcpListener};

use actix_protect_api::{AuthenticatedRequest, ProtectApi, test::TestIssuer};
use actix_web::{App, HttpServer, Responder, dev::Server, web};
use serde_json::json;
use support::{Call, Outcome};

async fn read(caller: AuthenticatedRequest) -> String {
    format!("the notes of {}", caller.subject().unwrap_or("a machine"))
}

async fn remove(caller: AuthenticatedRequest) -> actix_web::Result<impl Responder> {
    caller.require_groups(["editors"])?;
    Ok("removed")
}

/// The application: the routes with their protection, which `serve` and the tests use.
fn routes(protect: ProtectApi) -> impl FnOnce(&mut web::ServiceConfig) {
    move |config| {
        let write = protect.scopes(["notes:write"]);
        config.service(
            web::resource("/notes")
                .wrap(protect)
                .route(web::get().to(read))
                .route(web::delete().to(remove).wrap(write)),
        );
    }
}

fn serve(protect: ProtectApi, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || App::new().configure(routes(protect.clone())))
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

    let alice = issuer.opaque(json!({ "sub": "alice" }));
    let calls = [
        Call::get("a good token", "/notes").token(&alice).answers(200).body("the notes of alice"),
        Call::get("no token", "/notes").answers(401).challenge("Bearer"),
    ];
    support::run(server, &base, &calls).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_protect_api::{
        ClientAuthentication,
        test::{Endpoint, Fault, TestClock, authenticate},
    };
    use actix_web::{
        http::{StatusCode, header::WWW_AUTHENTICATE},
        test::{TestRequest, call_and_read_body, call_service, init_service},
    };
    use serde_json::Value;

    use super::*;

    /// The rules, without any server: `authenticate` makes a request count as validated, with claims of your choice.
    async fn status_of_removing(claims: Value) -> StatusCode {
        let protect = ProtectApi::builder("https://issuer.example.test", "notes").build().unwrap();
        let app = init_service(App::new().configure(routes(protect.clone()))).await;
        let request = authenticate(&protect, TestRequest::delete().uri("/notes").to_request(), claims);
        call_service(&app, request).await.status()
    }

    #[actix_web::test]
    async fn removing_takes_the_scope_and_the_group() {
        let both = json!({ "scope": "notes:write", "groups": ["editors"] });
        assert_eq!(status_of_removing(both).await, 200);
        assert_eq!(status_of_removing(json!({ "scope": "notes:write" })).await, 403);
        assert_eq!(status_of_removing(json!({ "groups": ["editors"] })).await, 403);
        assert_eq!(status_of_removing(json!({ "aud": "another-api" })).await, 401);
    }

    fn protect(issuer: &TestIssuer, clock: &TestClock) -> ProtectApi {
        ProtectApi::builder(issuer.issuer(), issuer.audience())
            .client(issuer.client_id(), ClientAuthentication::client_secret_basic(issuer.client_secret()))
            .introspection_cache_duration(Duration::from_secs(60))
            .clock(clock.clone())
            .build()
            .unwrap()
    }

    fn notes(token: &str) -> TestRequest {
        TestRequest::get().uri("/notes").insert_header(("Authorization", format!("Bearer {token}")))
    }

    /// A whole request, with a real authorization server.
    #[actix_web::test]
    async fn a_revoked_token_works_only_as_long_as_the_cache_says() {
        let clock = TestClock::new();
        let issuer = TestIssuer::builder().clock(clock.clone()).start();
        let app = init_service(App::new().configure(routes(protect(&issuer, &clock)))).await;
        let token = issuer.opaque(json!({ "sub": "alice" }));
        assert_eq!(call_and_read_body(&app, notes(&token).to_request()).await, "the notes of alice");

        issuer.revoke(&token);
        assert_eq!(call_service(&app, notes(&token).to_request()).await.status(), 200);
        // A test does not wait: it moves the clock.
        clock.advance(Duration::from_secs(61));
        assert_eq!(call_service(&app, notes(&token).to_request()).await.status(), 401);
        assert_eq!(issuer.count(Endpoint::Introspection), 2);
    }

    /// A failure of the authorization server is no fault of the caller.
    #[actix_web::test]
    async fn an_outage_is_no_401() {
        let (issuer, clock) = (TestIssuer::start(), TestClock::new());
        let app = init_service(App::new().configure(routes(protect(&issuer, &clock)))).await;
        let token = issuer.opaque(json!({ "sub": "alice" }));

        issuer.fault(Endpoint::Introspection, Fault::status(500));
        let answer = call_service(&app, notes(&token).to_request()).await;
        assert_eq!(answer.status(), 503);
        assert!(!answer.headers().contains_key(WWW_AUTHENTICATE));
        assert_eq!(call_service(&app, notes(&token).to_request()).await.status(), 200);
    }
}
