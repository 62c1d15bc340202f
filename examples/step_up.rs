//! Step-up authentication (RFC 9470): one operation requires a strong and recent sign-in. Clients find the authorization server
//! and the scopes in the metadata document (RFC 9728).
//!
//! ```text
//! cargo run --example step_up               starts the API and prints curl commands
//! cargo run --example step_up -- --check    calls the API itself, exits with 1 on a difference
//! cargo run --example step_up -- --env 127.0.0.1:8080    serves with the settings of `MONOCLOUD_BACKEND_…`
//! ```

mod support;

use std::{
    env, io,
    net::TcpListener,
    time::{Duration, SystemTime},
};

use actix_protect_api::{
    AuthenticatedRequest, ProtectApi, RequiredScopes, Resource, Scoped, SecretSource, test::TestIssuer,
};
use actix_web::{App, HttpServer, dev::Server, web};
use serde_json::json;
use support::{Call, Outcome};

/// A transfer requires a sign-in that resists phishing, within the last five minutes.
struct Transfer;

impl RequiredScopes for Transfer {
    const SCOPES: &'static [&'static str] = &["payments:write"];
    const ACR: &'static [&'static str] = &["phr"];
    const AUTHENTICATED_WITHIN: Option<Duration> = Some(Duration::from_secs(300));
}

async fn list(_: AuthenticatedRequest) -> &'static str {
    "no payments"
}

async fn transfer(caller: Scoped<Transfer>) -> String {
    format!("{} paid", caller.subject().unwrap_or("a machine"))
}

/// The application. The mount of the transfer requires the type of its handler, so that the first response names everything.
fn serve(protect: ProtectApi, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        let reading = protect.scopes(["payments:read"]);
        let paying = protect.scoped::<Transfer>();
        App::new()
            .service(protect.resource_metadata())
            .service(web::resource("/payments").wrap(reading).route(web::get().to(list)))
            .service(web::resource("/payments/transfer").wrap(paying).route(web::post().to(transfer)))
    });
    Ok(server.workers(2).listen(listener)?.run())
}

/// The resource, with signed metadata if `METADATA_KEY_FILE` names a private JWK.
fn resource(base: &str) -> Resource {
    let resource = Resource::new(format!("{base}/payments")).name("Payments");
    match env::var_os("METADATA_KEY_FILE") {
        Some(path) => resource.signed_metadata(base, SecretSource::file(path)),
        None => resource,
    }
}

// The harness: an authorization server, tokens, and the calls to try.
#[actix_web::main]
async fn main() -> Outcome {
    support::init_logger();
    let mut arguments = env::args().skip_while(|argument| argument != "--env").skip(1);
    if let Some(address) = arguments.next() {
        let base = format!("http://{address}");
        let protect = ProtectApi::builder_from_env().resource(resource(&base)).build()?;
        let server = serve(protect, TcpListener::bind(address)?)?;
        return support::serve(server, &base, &[]).await;
    }
    let issuer = TestIssuer::start();
    let (listener, base) = support::listen()?;
    let protect = support::builder(&issuer).resource(resource(&base)).build()?;
    let server = serve(protect, listener)?;

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let token = |acr: &str, auth_time: u64| {
        let scope = "payments:read payments:write";
        issuer.opaque(json!({ "sub": "alice", "scope": scope, "acr": acr, "auth_time": auth_time }))
    };
    let (weak, old, sufficient) = (token("pwd", now), token("phr", now - 3600), token("phr", now));
    let post = |title: &str, token: &str| Call::post(title, "/payments/transfer").token(token);
    let metadata = "/.well-known/oauth-protected-resource/payments";
    let missing = "acr_values=\"phr\", max_age=\"300\"";
    let calls = [
        Call::get("the metadata document", metadata).body("payments:write"),
        Call::get("no token", "/payments").answers(401).challenge(metadata),
        Call::get("any sign-in", "/payments").token(&weak).body("no payments"),
        post("another sign-in", &weak).answers(401).challenge(missing),
        post("an old sign-in", &old).answers(401).challenge("insufficient_user_authentication"),
        post("a strong and recent sign-in", &sufficient).body("alice paid"),
    ];
    support::run(server, &base, &calls).await
}
