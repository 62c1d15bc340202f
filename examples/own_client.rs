//! A custom HTTP client for the calls to the authorization server. Here its certificate is from a private authority. (For this
//! case alone, the setting `root_certificates_file`, `MONOCLOUD_BACKEND_ROOT_CERTIFICATES_FILE`, and the default client are
//! sufficient.)
//!
//! ```text
//! cargo run --example own_client               starts the API and prints curl commands
//! cargo run --example own_client -- --check    calls the API itself, exits with 1 on a difference
//! ```

mod support;

use std::{error::Error, io, net::TcpListener, sync::Arc, time::Duration};

use actix_protect_api::{AuthenticatedRequest, ProtectApi, test::TestIssuer};
use actix_web::{App, HttpServer, dev::Server, web};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::json;
use support::{Call, Outcome, Table};

async fn data(caller: AuthenticatedRequest) -> String {
    format!("hello {}", caller.subject().unwrap_or("machine"))
}

/// Trusts only this authority.
fn trusting(ca_pem: &str) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// awc follows redirects by default. An authorization server has no reason to redirect these calls, and a redirect would send the
/// API's credentials to another server.
///
/// With a custom client, `actix-protect-api` uses a new connection for each call, because awc can mix up the responses of a kept
/// connection. Do not use this client for other calls to the authorization server.
fn client(tls: &Arc<ClientConfig>) -> awc::Client {
    awc::Client::builder()
        .connector(awc::Connector::new().rustls_0_23(Arc::clone(tls)).timeout(Duration::from_secs(2)))
        .disable_redirects()
        .finish()
}

/// The application: the client is in the app data.
fn serve(protect: ProtectApi, tls: Arc<ClientConfig>, listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            // A client belongs to its worker: make it inside this closure.
            .app_data(web::Data::new(client(&tls)))
            .wrap(protect.clone())
            .route("/data", web::get().to(data))
    })
    .workers(2)
    .listen(listener)?
    .run();
    Ok(server)
}

// The harness: an authorization server with a private certificate authority, tokens, and the calls to try.
#[actix_web::main]
async fn main() -> Outcome {
    support::init_logger();
    let issuer = TestIssuer::builder().tls().start();
    let tls = trusting(issuer.ca_pem().unwrap_or_default())?;
    let protect = support::builder(&issuer).build()?;
    let (listener, base) = support::listen()?;
    let server = serve(protect.clone(), tls, listener)?;

    let opaque = issuer.opaque(json!({ "sub": "alice" }));
    let jwt = issuer.jwt(json!({ "sub": "bob" }));
    let calls = [
        Call::get("introspection over TLS", "/data").token(&opaque).answers(200).body("hello alice"),
        Call::get("keys over TLS", "/data").token(&jwt).answers(200).body("hello bob"),
        Call::get("no token", "/data").answers(401).challenge("Bearer"),
    ];
    if !support::wants_check() {
        return support::serve(server, &base, &calls).await;
    }

    // The same app without the client: the default client does not trust the authority, so every call fails.
    let (listener, base_without) = support::listen_on_free_port()?;
    let app = move || App::new().wrap(protect.clone()).route("/data", web::get().to(data));
    let without = HttpServer::new(app).workers(1).listen(listener)?.run();
    let untrusted = Call::get("without the client", "/data").token(&opaque).answers(503);

    let servers = [support::start(server), support::start(without)];
    let mut table = Table::new();
    for call in &calls {
        table.call(&base, call).await;
    }
    table.call(&base_without, &untrusted).await;
    for server in servers {
        server.stop(false).await;
    }
    Ok(table.finish())
}
