//! Mutual TLS (RFC 8705): tokens that are bound to a client certificate, and authentication by one.

use actix_protect_api::{
    ClientAuthentication, ClientIdentity, ProtectApiBuilder, ResolverError,
    certificate::{CertificateBinding, CertificateThumbprint},
};
use actix_web::HttpRequest;

use crate::{app::ProtectedApp, server::Server};

async fn find() -> Server {
    Server::find("oidc-provider").await
}

fn serve(builder: ProtectApiBuilder) -> ProtectedApp {
    ProtectedApp::serve(builder.build().unwrap())
}

const BOUND: [&str; 4] = ["mtls-ca-opaque", "mtls-self-opaque", "mtls-ca-jwt", "mtls-self-jwt"];

#[actix_web::test]
async fn a_bound_token_without_its_certificate_is_refused() {
    let server = find().await;
    let app = serve(server.with_client("https"));

    for name in BOUND {
        app.get("/", server.token(name)).await.assert_invalid_token();
    }
}

/// As behind a proxy that has seen this certificate.
fn shown(
    file: &str,
) -> impl Fn(&HttpRequest) -> Result<Option<CertificateThumbprint>, ResolverError> + use<> {
    let thumbprint = CertificateThumbprint::from_pem(&Server::file(file)).unwrap();
    move |_: &HttpRequest| Ok(Some(thumbprint))
}

#[actix_web::test]
async fn a_bound_token_with_its_certificate_is_taken_and_with_another_refused() {
    let server = find().await;
    for (file, taken) in [
        ("client-ca.pem", ["mtls-ca-opaque", "mtls-ca-jwt"]),
        ("client-selfsigned.pem", ["mtls-self-opaque", "mtls-self-jwt"]),
    ] {
        for binding in [CertificateBinding::WhenPresent, CertificateBinding::Required] {
            let builder = server.with_client("https").certificate_binding(binding);
            let app = serve(builder.certificate_resolver(shown(file)));
            for name in BOUND {
                let answer = app.get("/", server.token(name)).await;
                if taken.contains(&name) {
                    answer.claims();
                } else {
                    answer.assert_invalid_token();
                }
            }
        }
    }
}

#[actix_web::test]
async fn a_bound_token_is_taken_where_the_binding_is_ignored() {
    let server = find().await;
    let app = serve(server.with_client("https").certificate_binding(CertificateBinding::DangerouslyIgnore));

    for name in BOUND {
        assert!(app.get("/", server.token(name)).await.claims()["cnf"]["x5t#S256"].is_string(), "{name}");
    }
}

#[actix_web::test]
async fn an_unbound_token_is_refused_where_a_binding_is_required() {
    let server = find().await;
    let app = serve(server.with_client("https").certificate_binding(CertificateBinding::Required));

    for name in ["https-issuer-opaque", "https-issuer-jwt"] {
        app.get("/", server.token(name)).await.assert_invalid_token();
    }
}

#[actix_web::test]
async fn a_certificate_authenticates_at_the_published_alias() {
    let server = find().await;
    let identity = ClientIdentity::from_pem(Server::file("client-rs.pem"), Server::file("client-rs.key"));
    let authentication = ClientAuthentication::tls_client_auth(identity);
    let app = serve(server.without_client("https").client("rs-mtls-ca", authentication));

    app.get("/", server.token("https-issuer-opaque")).await.claims();

    let sent = server.last_request("/token/introspection").await;
    assert_eq!(sent["certificate"], "CN=rs-mtls-ca");
    assert_eq!(sent["form"]["client_id"], "rs-mtls-ca");
    assert!(server.mtls_base().ends_with(sent["headers"]["host"].as_str().unwrap()), "{sent}");
}

#[actix_web::test]
async fn a_certificate_of_another_authority_is_our_fault() {
    let server = find().await;
    let identity =
        ClientIdentity::from_pem(Server::file("client-otherca.pem"), Server::file("client-otherca.key"));
    let authentication = ClientAuthentication::tls_client_auth(identity);
    let app = serve(server.without_client("https").client("rs-mtls-ca", authentication));

    app.get("/", server.token("https-issuer-opaque")).await.assert_our_fault(500);
}

#[actix_web::test]
async fn without_a_published_alias_a_certificate_is_not_shown_to_the_plain_endpoint() {
    let server = find().await;
    let identity = ClientIdentity::from_pem(Server::file("client-rs.pem"), Server::file("client-rs.key"));
    let authentication = ClientAuthentication::tls_client_auth(identity);
    let app = serve(server.without_client("http").client("rs-mtls-ca", authentication));

    app.get("/", server.token("opaque-valid")).await.assert_our_fault(500);
    assert_eq!(server.requests("/token/introspection").await, 0);
}
