//! An HTTP client of your own for the calls to the authorization server, here because its certificate comes from a
//! private authority. (For that alone, `SSL_CERT_FILE` and the default client will do.)
//!
//! ```text
//! cargo run --example own_client               starts the API and prints commands to paste
//! cargo run --example own_client -- --check    calls the API itself, exits 1 on a difference
//! ```

mod support;

use std::{error::Error, sync::Arc, time::Duration};

use actix_protect_api::{AuthenticatedRequest, ClientAuthentication, ProtectApi, test::TestIssuer};
use actix_web::{App, HttpServer, web};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::json;
use support::{Call, Outcome, Table, base_url, port};

async fn data(caller: AuthenticatedRequest) -> String {
    format!("hello {}", caller.subject().unwrap_or("machine"))
}

/// Trusts this authority and no other.
fn trusting(ca_pem: &str) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate?)?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

/// awc follows redirects unless told not to. An authorization server has no reason to redirect these calls, and whoever
/// makes it do so wants the API's credentials.
///
/// The calls of `actix-protect-api` use a new connection each time with such a client, since awc can mix up responses on a kept
/// one. Do not call the authorization server with it yourself.
fn client(tls: &Arc<ClientConfig>) -> awc::Client {
    awc::Client::builder()
        .connector(awc::Connector::new().rustls_0_23(Arc::clone(tls)).timeout(Duration::from_secs(2)))
        .disable_redirects()
        .finish()
}

#[actix_web::main]
async fn main() -> Outcome {
    env_logger::init();
    let issuer = TestIssuer::builder().tls().start();
    let tls = trusting(issuer.ca_pem().unwrap_or_default())?;
    let protect = ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(issuer.client_secret()))
        .build()?;

    let protect_without = protect.clone();
    let server = HttpServer::new(move || {
        App::new()
            // A client belongs to its worker: make it inside this closure.
            .app_data(web::Data::new(client(&tls)))
            .wrap(protect.clone())
            .route("/data", web::get().to(data))
    })
    .workers(2)
    .bind(("127.0.0.1", port()))?;
    let base = base_url(&server.addrs());

    let opaque = issuer.opaque(json!({ "sub": "alice" }));
    let jwt = issuer.jwt(json!({ "sub": "bob" }));
    let calls = [
        Call::get("introspection over TLS", "/data").token(&opaque).answers(200).body("hello alice"),
        Call::get("keys over TLS", "/data").token(&jwt).answers(200).body("hello bob"),
        Call::get("no token", "/data").answers(401).challenge("Bearer"),
    ];
    if !support::wants_check() {
        return support::serve(server.run(), &base, &calls).await;
    }

    // The same app without the client: the default one does not know the authority, so nobody can be asked.
    let without =
        HttpServer::new(move || App::new().wrap(protect_without.clone()).route("/data", web::get().to(data)))
            .workers(1)
            .bind(("127.0.0.1", 0))?;
    let base_without = base_url(&without.addrs());
    let untrusted = Call::get("without the client", "/data").token(&opaque).answers(503);

    let servers = [support::start(server.run()), support::start(without.run())];
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
