//! TLS connections to the authorization server: rustls with aws-lc-rs and the platform's certificates.

use std::{
    fmt,
    sync::{Arc, Once, OnceLock},
};

use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore,
    client::{Resumption, WantsClientCert},
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::{client_auth::ClientIdentity, settings::RootCertificates};

/// TLS cannot be set up on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// Returns the TLS configuration of the hardened client: TLS 1.2 and later, the platform's certificates (or those
/// that `SSL_CERT_FILE` and `SSL_CERT_DIR` name), HTTP/1.1, no client certificate.
///
/// The crypto provider is passed explicitly. A process-wide provider is neither needed nor installed.
///
/// An empty certificate store is not an error, because a client of a loopback issuer does not use it. It is
/// reported once in the log, and every handshake fails. No other certificates are trusted instead.
pub(crate) fn client_config() -> Result<Arc<ClientConfig>, TlsError> {
    static SHARED: OnceLock<Result<Arc<ClientConfig>, TlsError>> = OnceLock::new();
    // One configuration per process, so that the workers resume each other's sessions.
    SHARED
        .get_or_init(|| {
            let config = builder(roots())?.with_no_client_auth();
            Ok(Arc::new(http1(config)))
        })
        .clone()
}

/// Returns the same configuration with additional certificates, and with a client certificate (RFC 8705), which is read
/// again when its files change.
///
/// With a client certificate, sessions are not resumed, because a resumed session would use the certificate of the first
/// handshake.
pub(crate) fn client_config_with(
    additional: &RootCertificates,
    identity: Option<&ClientIdentity>,
) -> Result<Arc<ClientConfig>, TlsError> {
    if additional.0.is_empty() && identity.is_none() {
        return client_config();
    }
    client_config_trusting(roots_with(additional), identity)
}

fn client_config_trusting(
    store: Arc<RootCertStore>,
    identity: Option<&ClientIdentity>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = builder(store)?;
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let mut config = builder.with_client_cert_resolver(identity.resolver());
            config.resumption = Resumption::disabled();
            config
        }
    };
    Ok(Arc::new(http1(config)))
}

/// Reads the certificates of authorities from PEM.
///
/// # Errors
/// If there is none, or if one of them cannot be used.
pub(crate) fn read_certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let (mut certificates, mut store) = (Vec::new(), RootCertStore::empty());
    for (index, certificate) in CertificateDer::pem_slice_iter(pem).enumerate() {
        let number = index.saturating_add(1);
        let certificate = certificate.map_err(|_| format!("certificate {number} is not valid PEM"))?;
        let der = certificate.to_vec();
        store.add(certificate).map_err(|_| {
            format!("certificate {number} cannot be used, expected an X.509 certificate of version 3")
        })?;
        certificates.push(der);
    }
    if certificates.is_empty() {
        return Err("contains no certificate, expected PEM with \"BEGIN CERTIFICATE\"".to_owned());
    }
    Ok(certificates)
}

fn builder(store: Arc<RootCertStore>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    Ok(ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(store))
}

fn http1(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// The platform's certificates, and the errors of those that could not be read.
struct PlatformRoots {
    store: Arc<RootCertStore>,
    errors: String,
}

/// Returns the platform's certificates. They are read once per process, which may take a few hundred milliseconds.
fn platform_roots() -> &'static PlatformRoots {
    static ROOTS: OnceLock<PlatformRoots> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        // Certificate stores contain certificates that no verifier can use (wrong version, broken encoding). They
        // are skipped.
        store.add_parsable_certificates(found.certs);
        let errors = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if !store.is_empty() && !errors.is_empty() {
            record!(
                log::Level::Warn, event = "unreadable_certificates";
                "some trusted certificates could not be read: {errors}"
            );
        }
        PlatformRoots { store: Arc::new(store), errors }
    })
}

/// Returns the platform's certificates. If there are none, reports it once.
fn roots() -> Arc<RootCertStore> {
    static REPORT: Once = Once::new();
    let PlatformRoots { store, errors } = platform_roots();
    if let Some(problem) = emptiness(store, errors) {
        REPORT.call_once(|| record!(log::Level::Error, event = "no_trusted_certificates"; "{problem}"));
    }
    Arc::clone(store)
}

/// Returns the platform's certificates with additional ones.
fn roots_with(additional: &RootCertificates) -> Arc<RootCertStore> {
    if additional.0.is_empty() {
        return roots();
    }
    let mut store = RootCertStore::clone(&platform_roots().store);
    store.add_parsable_certificates(additional.0.iter().map(|der| CertificateDer::from(der.as_slice())));
    Arc::new(store)
}

/// Returns the message for the operator if no certificate is trusted.
fn emptiness(store: &RootCertStore, errors: &str) -> Option<String> {
    let cause = if errors.is_empty() { String::new() } else { format!(" ({errors})") };
    store.is_empty().then(|| {
        format!(
            "no trusted certificates were found{cause}: every TLS connection to the authorization server will fail. \
             Install the platform's ca-certificates, or set SSL_CERT_FILE or ROOT_CERTIFICATES_FILE to a file with PEM \
             certificates"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::{env, io, net::Ipv4Addr, process::Command};

    use actix_web::{
        App, HttpRequest, HttpServer,
        rt::net::{TcpListener, TcpStream},
        web,
    };
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls::{
        ServerConfig,
        pki_types::{PrivateKeyDer, ServerName},
        server::WebPkiClientVerifier,
    };
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::client_auth::testing::Folder;

    /// Signs the certificates of both sides.
    struct RootAuthority(CertifiedIssuer<'static, KeyPair>);

    impl RootAuthority {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, "authority of the test");
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        /// A certificate and its key, as PEM.
        fn issue(&self, name: &str) -> (String, String) {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new([name.to_owned()]).unwrap();
            (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
        }

        fn store(&self) -> Arc<RootCertStore> {
            let mut store = RootCertStore::empty();
            store.add(self.0.der().clone()).unwrap();
            Arc::new(store)
        }

        /// Returns a server for "localhost". With `ask`, it requires a client certificate of this authority.
        fn server(&self, ask: bool) -> ServerConfig {
            let (certificate, key) = self.issue("localhost");
            let provider = Arc::new(default_provider());
            let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .unwrap();
            let builder = if ask {
                let verifier = WebPkiClientVerifier::builder_with_provider(self.store(), provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            } else {
                builder.with_no_client_auth()
            };
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_single_cert(vec![der(&certificate)], key).unwrap()
        }
    }

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    }

    /// Makes one handshake over loopback, and sends a byte in each direction so that session tickets arrive.
    /// Returns the client certificate that the server received.
    async fn handshake(
        client: &Arc<ClientConfig>,
        server: &Arc<ServerConfig>,
    ) -> io::Result<Option<CertificateDer<'static>>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let near = TcpStream::connect(listener.local_addr()?).await?;
        let (far, _) = listener.accept().await?;
        let accept = async {
            let mut stream = TlsAcceptor::from(Arc::clone(server)).accept(far).await?;
            stream.read_u8().await?;
            stream.write_u8(1).await?;
            stream.flush().await?;
            let seen = stream.get_ref().1.peer_certificates();
            io::Result::Ok(
                seen.and_then(|chain| chain.first()).map(|certificate| certificate.clone().into_owned()),
            )
        };
        let connect = async {
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, near).await?;
            stream.write_u8(1).await?;
            stream.flush().await?;
            stream.read_u8().await
        };
        let (seen, answer) = tokio::join!(accept, connect);
        let seen = seen?;
        answer?;
        Ok(seen)
    }

    #[actix_web::test]
    async fn the_certificate_is_presented_and_the_new_one_after_its_files_change() {
        let (authority, folder) = (RootAuthority::new(), Folder::new());
        let server = Arc::new(authority.server(true));
        let (first, first_key) = authority.issue("first");
        let (second, second_key) = authority.issue("second");
        let paths = [folder.write("cert", &first), folder.write("key", first_key)];
        let identity = ClientIdentity::watching(paths, std::time::Duration::ZERO);
        let client = client_config_trusting(authority.store(), Some(&identity)).unwrap();

        for _ in 0..2 {
            assert_eq!(handshake(&client, &server).await.unwrap(), Some(der(&first)));
        }
        folder.write("cert", &second);
        assert_eq!(
            handshake(&client, &server).await.unwrap(),
            Some(der(&first)),
            "half of the change is no pair"
        );
        folder.write("key", second_key);
        assert_eq!(handshake(&client, &server).await.unwrap(), Some(der(&second)));
    }

    #[actix_web::test]
    async fn without_an_identity_no_certificate_is_presented() {
        let authority = RootAuthority::new();
        let config = |store| Arc::new(http1(builder(store).unwrap().with_no_client_auth()));
        let client = config(authority.store());
        assert_eq!(handshake(&client, &Arc::new(authority.server(false))).await.unwrap(), None);
        assert!(handshake(&client, &Arc::new(authority.server(true))).await.is_err());
        let stranger = config(RootAuthority::new().store());
        assert!(handshake(&stranger, &Arc::new(authority.server(false))).await.is_err());
    }

    #[actix_web::test]
    async fn an_empty_store_is_reported_and_trusts_nobody() {
        let problem = emptiness(&RootCertStore::empty(), "it is gone").unwrap();
        assert!(problem.contains("(it is gone)") && problem.contains("SSL_CERT_FILE"), "{problem}");
        let (authority, client) =
            (RootAuthority::new(), builder(RootCertStore::empty().into()).unwrap().with_no_client_auth());
        assert!(handshake(&Arc::new(client), &Arc::new(authority.server(false))).await.is_err());
        assert_eq!(emptiness(&authority.store(), "one is gone"), None);
    }

    /// Environment variables and the process-wide provider belong to a process, so the test body runs in a separate
    /// one.
    #[test]
    fn the_shared_configuration_works_with_awc_trusts_ssl_cert_file_and_needs_no_process_wide_provider() {
        const NAME: &str = "issuer::tls::tests::a_process_of_its_own";
        let (authority, folder) = (RootAuthority::new(), Folder::new());
        let roots = folder.write("roots.pem", authority.0.pem());
        let (certificate, key) = authority.issue("localhost");
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", NAME, "--ignored", "--nocapture"])
            .env("SSL_CERT_FILE", roots)
            .env_remove("SSL_CERT_DIR")
            .env("TEST_CERTIFICATE", folder.write("cert.pem", certificate))
            .env("TEST_KEY", folder.write("key.pem", key))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }

    #[actix_web::test]
    #[ignore = "the test above runs it in a process of its own"]
    async fn a_process_of_its_own() {
        // Without these variables the test was started directly, and there is nothing to do.
        let (Ok(certificate), Ok(key)) = (env::var("TEST_CERTIFICATE"), env::var("TEST_KEY")) else { return };
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(certificate).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let version = |request: HttpRequest| async move { format!("{:?}", request.version()) };
        let server = HttpServer::new(move || App::new().route("/", web::get().to(version)))
            .workers(1)
            .disable_signals()
            .bind_rustls_0_23((Ipv4Addr::LOCALHOST, 0), config)
            .unwrap();
        let port = server.addrs()[0].port();
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);

        assert!(!roots().is_empty());
        let connector = awc::Connector::new().rustls_0_23(client_config().unwrap());
        let client = awc::Client::builder().connector(connector).finish();
        let mut answer = client.get(format!("https://localhost:{port}/")).send().await.unwrap();
        assert_eq!(answer.body().await.unwrap(), "HTTP/1.1");
        assert!(rustls::crypto::CryptoProvider::get_default().is_none());
        assert!(Arc::ptr_eq(&client_config().unwrap(), &client_config().unwrap()));
        handle.stop(false).await;
    }
}
