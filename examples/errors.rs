//! What refusals look like and how to count them: `application/problem+json`, a renderer of your own, and a middleware
//! further out that finds the `AuthError` in the response.
//!
//! ```text
//! cargo run --example errors               starts the API and prints commands to paste
//! cargo run --example errors -- --check    calls the API itself, exits 1 on a difference
//! ```

mod support;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use actix_protect_api::{
    AuthError, AuthErrorKind, AuthenticatedRequest, ClientAuthentication, ErrorBody, ProblemJson, ProtectApi,
    ProtectApiBuilder,
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::{
    App, HttpRequest, HttpServer, Responder,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web,
};
use serde_json::json;
use support::{Call, Outcome, base_url, port};

async fn data(caller: AuthenticatedRequest) -> actix_web::Result<impl Responder> {
    // Refusals from inside a handler are rendered and counted like those of the middleware.
    caller.require_scopes(["data:read"])?;
    Ok("data")
}

/// The body in the words of this API. The status and the headers stay what the standards say. It goes to a stranger, so
/// it tells the class of the error and not the cause.
fn own_words(error: &AuthError, request: &HttpRequest) -> ErrorBody {
    let code = match error.kind() {
        AuthErrorKind::InsufficientScope | AuthErrorKind::InsufficientGroups => "ACCESS_DENIED",
        AuthErrorKind::Upstream(_) | AuthErrorKind::Misconfigured(_) => "TRY_LATER",
        _ => "LOGIN_NEEDED",
    };
    ErrorBody::json(&json!({ "code": code, "path": request.path() }))
}

/// Refusals by kind, as they would go into a metrics registry. The names are few and constant.
#[derive(Default)]
struct Refusals(Mutex<BTreeMap<String, u64>>);

async fn count(
    refusals: web::Data<Refusals>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
    let response = next.call(request).await?;
    if let Some(error) = response.response().extensions().get::<AuthError>() {
        let mut counts = refusals.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(error.kind().to_string()).or_default() += 1;
    }
    Ok(response)
}

async fn refusals(refusals: web::Data<Refusals>) -> impl Responder {
    web::Json(refusals.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

fn api(issuer: &TestIssuer, secret: &str) -> ProtectApiBuilder {
    ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(secret))
        .realm("example")
}

#[actix_web::main]
async fn main() -> Outcome {
    env_logger::init();
    let issuer = TestIssuer::start();
    // An authorization server that cannot be asked now.
    let busy_issuer = TestIssuer::start();
    let later = Fault::status(503).with_header("Retry-After", "3").always();
    busy_issuer.fault(Endpoint::Introspection, later);

    let problem = api(&issuer, issuer.client_secret()).renderer(ProblemJson).build()?;
    let own = api(&issuer, issuer.client_secret()).renderer(own_words).build()?;
    let plain = api(&issuer, issuer.client_secret()).build()?;
    let busy = api(&busy_issuer, busy_issuer.client_secret()).renderer(own_words).build()?;
    // A fault of ours is never the caller's: not a 401.
    let misconfigured = api(&issuer, "not the secret of this client, alas").renderer(ProblemJson).build()?;
    let counts = web::Data::new(Refusals::default());

    let server = HttpServer::new(move || {
        let mounted =
            |path, protect: &ProtectApi| web::resource(path).wrap(protect.clone()).route(web::get().to(data));
        App::new()
            .app_data(counts.clone())
            .service(mounted("/problem", &problem))
            .service(mounted("/own", &own))
            .service(mounted("/plain", &plain))
            .service(mounted("/busy", &busy))
            .service(mounted("/misconfigured", &misconfigured))
            .route("/refusals", web::get().to(refusals))
            // Further out than the mounts, so that it sees what they answer.
            .wrap(from_fn(count))
    })
    .workers(2)
    .bind(("127.0.0.1", port()))?;
    let base = base_url(&server.addrs());

    let good = issuer.opaque(json!({ "scope": "data:read" }));
    let narrow = issuer.opaque(json!({ "scope": "other" }));
    let revoked = issuer.opaque(json!({}));
    issuer.revoke(&revoked);

    let calls = [
        Call::get("nothing to complain about", "/problem").token(&good).answers(200).body("data"),
        Call::get("problem: no token", "/problem")
            .answers(401)
            .challenge("Bearer realm=\"example\"")
            .shows("Content-Type", "application/problem+json")
            .body("\"title\":\"Unauthorized\""),
        Call::get("problem: the scope is missing", "/problem")
            .token(&narrow)
            .answers(403)
            .challenge("scope=\"data:read\"")
            .body("\"status\":403"),
        Call::get("own: a revoked token", "/own")
            .token(&revoked)
            .answers(401)
            .challenge("invalid_token")
            .shows("Cache-Control", "no-store")
            .body("{\"code\":\"LOGIN_NEEDED\",\"path\":\"/own\"}"),
        Call::get("own: the scope is missing", "/own")
            .token(&narrow)
            .answers(403)
            .challenge("insufficient_scope")
            .body("ACCESS_DENIED"),
        Call::get("default: no token", "/plain").answers(401).body("{\"message\":\"unauthorized\"}"),
        Call::get("the server is busy", "/busy")
            .token(&good)
            .answers(503)
            .lacks("WWW-Authenticate")
            .shows("Retry-After", "3")
            .body("TRY_LATER"),
        Call::get("our secret is wrong", "/misconfigured")
            .token(&good)
            .answers(500)
            .lacks("WWW-Authenticate")
            .body("\"title\":\"Internal Server Error\""),
        Call::get("counted: no token", "/refusals").answers(200).body("\"no bearer token\":2"),
        Call::get("counted: in the handler too", "/refusals")
            .answers(200)
            .body("\"a required scope is missing\":2"),
        Call::get("counted: revoked", "/refusals").answers(200).body("\"the token is not active\":1"),
        Call::get("counted: the busy server", "/refusals")
            .answers(200)
            .body("\"the authorization server is overloaded or failing\":1"),
    ];
    support::run(server.run(), &base, &calls).await
}
