//! Tokens that are bound to a client certificate (RFC 8705): a stolen token is useless. Here TLS ends in actix. If TLS ends in a
//! proxy, see `certificate_resolver`.
//!
//! ```text
//! cargo run --example mtls               starts the API and prints curl commands
//! cargo run --example mtls -- --check    calls the API itself, exits with 1 on a difference
//! ```

mod support;

use std::{error::Error, fs, io, net::TcpListener, path::Path, sync::Arc};

use actix_protect_api::{
    AuthenticatedRequest, ProtectApi,
    certificate::{self, CertificateThumbprint},
    test::TestIssuer,
};
use actix_web::{App, HttpServer, dev::Server, web};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use serde_json::json;
use support::{Call, Outcome};

async fn account(caller: AuthenticatedRequest) -> String {
    format!("the account of {}", caller.subject().unwrap_or("a machine"))
}

/// The server's TLS. It accepts clients without a certificate, so that their requests are rejected with 401.
fn server_tls(authority: &Authority) -> Result<ServerConfig, Box<dyn Error>> {
    let verifier = WebPkiClientVerifier::builder(authority.roots()?).allow_unauthenticated().build()?;
    let own = authority.issue("127.0.0.1")?;
    let tls = ServerConfig::builder().with_client_cert_verifier(verifier);
    Ok(tls.with_single_cert(own.chain(), own.key()?)?)
}

/// The application. `when_present`, the default, checks the tokens that are bound; `required` rejects all others.
fn serve(protect: ProtectApi, tls: ServerConfig, listener: TcpListener) -> io::Result<Server> {
    let server =
        HttpServer::new(move || App::new().wrap(protect.clone()).route("/account", web::get().to(account)))
            // Keeps the client certificate of each connection.
            .on_connect(certificate::on_connect)
            .workers(2)
            .listen_rustls_0_23(listener, tls)?
            .run();
    Ok(server)
}

// The harness: an authority, certificates, an authorization server, tokens, and the calls to try.
#[actix_web::main]
async fn main() -> Outcome {
    support::init_logger();
    let authority = Authority::new()?;
    let (alice, mallory) = (authority.issue("alice")?, authority.issue("mallory")?);
    let issuer = TestIssuer::start();
    let protect = support::builder(&issuer).build()?;
    let (listener, base) = support::listen()?;
    let base = base.replace("http:", "https:");
    let server = serve(protect, server_tls(&authority)?, listener)?;

    // The claim that an authorization server writes if the client uses its certificate at the token endpoint.
    let thumbprint = CertificateThumbprint::from_der(alice.certificate.der())?.to_base64url();
    let bound = json!({ "sub": "alice", "cnf": { "x5t#S256": thumbprint } });
    let (opaque, jwt) = (issuer.opaque(bound.clone()), issuer.jwt(bound));
    let unbound = issuer.opaque(json!({ "sub": "bob" }));

    let with_alices = Caller::new(&authority, Some(&alice))?;
    let with_mallorys = Caller::new(&authority, Some(&mallory))?;
    let with_none = Caller::new(&authority, None)?;
    let get =
        |title, caller: &Caller| Call::get(title, "/account").with(&caller.client, &caller.curl_options);
    let calls = [
        get("the right certificate", &with_alices).token(&opaque).answers(200).body("of alice"),
        get("another certificate", &with_mallorys).token(&opaque).answers(401).challenge("invalid_token"),
        get("no certificate", &with_none).token(&opaque).answers(401).challenge("invalid_token"),
        get("a JWT, the right certificate", &with_alices).token(&jwt).answers(200).body("of alice"),
        get("a JWT, another certificate", &with_mallorys).token(&jwt).answers(401).challenge("invalid_token"),
        get("a JWT, no certificate", &with_none).token(&jwt).answers(401).challenge("invalid_token"),
        get("an unbound token", &with_none).token(&unbound).answers(200).body("of bob"),
        get("no token", &with_alices).answers(401).challenge("Bearer"),
    ];
    support::run(server, &base, &calls).await
}

/// A certificate authority for this run.
struct Authority(CertifiedIssuer<'static, KeyPair>);

struct ClientIdentity {
    name: String,
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Authority of the mtls example");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    fn issue(&self, name: &str) -> Result<ClientIdentity, rcgen::Error> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &self.0)?;
        Ok(ClientIdentity { name: name.to_owned(), certificate, key })
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone())?;
        Ok(Arc::new(roots))
    }
}

impl ClientIdentity {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.der().clone()]
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Box<dyn Error>> {
        Ok(PrivateKeyDer::try_from(self.key.serialize_der())?)
    }
}

/// A caller of the API: a client for the check, and options for curl.
struct Caller {
    client: awc::Client,
    curl_options: String,
}

impl Caller {
    fn new(authority: &Authority, identity: Option<&ClientIdentity>) -> Result<Self, Box<dyn Error>> {
        let tls = ClientConfig::builder().with_root_certificates(authority.roots()?);
        let tls = match identity {
            Some(identity) => tls.with_client_auth_cert(identity.chain(), identity.key()?)?,
            None => tls.with_no_client_auth(),
        };
        let connector = awc::Connector::new().rustls_0_23(Arc::new(tls));
        let client = awc::Client::builder().connector(connector).finish();
        let curl_options =
            if support::wants_check() { String::new() } else { Self::curl_options(authority, identity)? };
        Ok(Self { client, curl_options })
    }

    /// Writes the files that curl needs.
    fn curl_options(authority: &Authority, identity: Option<&ClientIdentity>) -> io::Result<String> {
        let folder = Path::new("target/mtls");
        fs::create_dir_all(folder)?;
        let write = |name: &str, content: String| {
            let path = folder.join(name);
            fs::write(&path, content).map(|()| path.display().to_string())
        };
        let mut options = format!("--cacert {}", write("ca.pem", authority.0.pem())?);
        if let Some(ClientIdentity { name, certificate, key }) = identity {
            let certificate = write(&format!("{name}.pem"), certificate.pem())?;
            let key = write(&format!("{name}.key"), key.serialize_pem())?;
            options = format!("{options} --cert {certificate} --key {key}");
        }
        Ok(options)
    }
}
