//! The body of a rejection, and counting rejections: `application/problem+json`, a custom renderer, and an outer middleware
//! that finds the `AuthError` in the response.
//!
//! ```text
//! cargo run --example errors               starts the API and prints curl commands
//! cargo run --example errors -- --check    calls the API itself, exits with 1 on a difference
//! ```

mod support;

use std::{
    collections::BTreeMap,
    io,
    net::TcpListener,
    sync::{Mutex, PoisonError},
};

use actix_protect_api::{
    AuthError, AuthErrorKind, AuthenticatedRequest, ClientAuthentication, ErrorBody, ProblemJson, ProtectApi,
    test::{Endpoint, Fault, TestIssuer},
};
use actix_web::{
    App, HttpRequest, HttpServer, Responder,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web,
};
use serde_json::json;
use support::{Call, Outcome};

async fn data(caller: AuthenticatedRequest) -> actix_web::Result<impl Responder> {
    // Rejections from inside a handler are rendered and counted like those of the middleware.
    caller.require_scopes(["data:read"])?;
    Ok("data")
}

/// The body in the format of this API. The status and the headers stay as the standards require. Any caller reads the body, so it
/// contains the class of the error and not the cause.
fn custom_body(error: &AuthError, request: &HttpRequest) -> ErrorBody {
    let code = match error.kind() {
        AuthErrorKind::InsufficientScope | AuthErrorKind::InsufficientGroups | AuthErrorKind::ClaimRule => {
            "ACCESS_DENIED"
        }
        AuthErrorKind::Upstream(_) | AuthErrorKind::Misconfigured(_) => "TRY_LATER",
        _ => "LOGIN_NEEDED",
    };
    ErrorBody::json(&json!({ "code": code, "path": request.path() }))
}

/// Rejections by kind, as they would go into a metrics registry. The names are few and constant.
#[derive(Default)]
struct Rejections(Mutex<BTreeMap<String, u64>>);

async fn count(
    rejections: web::Data<Rejections>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
    let response = next.call(request).await?;
    if let Some(error) = response.response().extensions().get::<AuthError>() {
        let mut counts = rejections.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(error.kind().to_string()).or_default() += 1;
    }
    Ok(response)
}

async fn rejections(rejections: web::Data<Rejections>) -> impl Responder {
    web::Json(rejections.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

struct Handles {
    problem: ProtectApi,
    custom: ProtectApi,
    plain: ProtectApi,
    busy: ProtectApi,
    misconfigured: ProtectApi,
}

/// The application: one route for each configuration, and one for the counts.
fn serve(handles: Handles, listener: TcpListener) -> io::Result<Server> {
    let counts = web::Data::new(Rejections::default());
    let server = HttpServer::new(move || {
        let mounted =
            |path, protect: &ProtectApi| web::resource(path).wrap(protect.clone()).route(web::get().to(data));
        App::new()
            .app_data(counts.clone())
            .service(mounted("/problem", &handles.problem))
            .service(mounted("/custom", &handles.custom))
            .service(mounted("/plain", &handles.plain))
            .service(mounted("/busy", &handles.busy))
            .service(mounted("/misconfigured", &handles.misconfigured))
            .route("/rejections", web::get().to(rejections))
            // Outside of the mounts, so that it sees their responses.
            .wrap(from_fn(count))
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
    let issuer = TestIssuer::start();
    // An authorization server that is overloaded.
    let busy_issuer = TestIssuer::start();
    let later = Fault::status(503).with_header("Retry-After", "3").always();
    busy_issuer.fault(Endpoint::Introspection, later);

    let builder = || support::builder(&issuer).realm("example");
    let wrong_secret = ClientAuthentication::client_secret_basic("not the secret of this client, alas");
    let handles = Handles {
        problem: builder().renderer(ProblemJson).build()?,
        custom: builder().renderer(custom_body).build()?,
        plain: builder().build()?,
        busy: support::builder(&busy_issuer).renderer(custom_body).build()?,
        // A fault of the API is never the caller's fault: not a 401.
        misconfigured: builder().client(issuer.client_id(), wrong_secret).renderer(ProblemJson).build()?,
    };
    let (listener, base) = support::listen()?;
    let server = serve(handles, listener)?;

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
        Call::get("custom: a revoked token", "/custom")
            .token(&revoked)
            .answers(401)
            .challenge("invalid_token")
            .shows("Cache-Control", "no-store")
            .body("{\"code\":\"LOGIN_NEEDED\",\"path\":\"/custom\"}"),
        Call::get("custom: the scope is missing", "/custom")
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
        Call::get("counted: no token", "/rejections").answers(200).body("\"no bearer token\":2"),
        Call::get("counted: in the handler too", "/rejections")
            .answers(200)
            .body("\"a required scope is missing\":2"),
        Call::get("counted: revoked", "/rejections").answers(200).body("\"the token is not active\":1"),
        Call::get("counted: the busy server", "/rejections")
            .answers(200)
            .body("\"the authorization server is overloaded or failing\":1"),
    ];
    support::run(server, &base, &calls).await
}
