//! The client certificate of a connection if actix terminates TLS.

use std::any::Any;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::{dev::Extensions, rt::net::TcpStream};

use crate::certificate::CertificateThumbprint;

/// Records the client's certificate of each TLS connection, for
/// [`HttpServer::on_connect`](actix_web::HttpServer::on_connect). Hashed once per connection.
///
/// Inserts the [`CertificateThumbprint`] of the leaf certificate into the connection's data if the connection uses
/// rustls 0.23 and the client presented a certificate. Otherwise it inserts nothing, and the client is treated as one
/// without a certificate.
///
/// # Terminating mTLS in actix
///
/// Request the client's certificate in the TLS configuration, and pass this function to the server. The verifier
/// decides which clients may connect. `allow_unauthenticated` also lets clients without a certificate connect; they
/// can use tokens that are not bound.
///
/// ```
/// use std::sync::Arc;
///
/// use actix_protect_api::certificate;
/// use actix_web::{App, HttpRequest, HttpServer, web};
/// use rustls::{
///     RootCertStore, ServerConfig,
///     pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
///     server::WebPkiClientVerifier,
/// };
///
/// type Error = Box<dyn std::error::Error>;
///
/// fn tls() -> Result<ServerConfig, Error> {
///     let mut clients = RootCertStore::empty();
///     for authority in CertificateDer::pem_file_iter("clients-ca.pem")? {
///         clients.add(authority?)?;
///     }
///     let verifier = WebPkiClientVerifier::builder(Arc::new(clients)).allow_unauthenticated().build()?;
///     let chain = CertificateDer::pem_file_iter("server.pem")?.collect::<Result<_, _>>()?;
///     let key = PrivateKeyDer::from_pem_file("server.key")?;
///     Ok(ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?)
/// }
///
/// async fn who(request: HttpRequest) -> String {
///     format!("{:?}", request.conn_data::<certificate::CertificateThumbprint>())
/// }
///
/// async fn serve() -> Result<(), Error> {
///     HttpServer::new(|| App::new().route("/", web::get().to(who)))
///         .on_connect(certificate::on_connect)
///         .bind_rustls_0_23("0.0.0.0:8443", tls()?)?
///         .run()
///         .await?;
///     Ok(())
/// }
/// # let _ = serve;
/// ```
///
/// For self-signed client certificates (RFC 8705 section 2.2), write a verifier that accepts any chain. It must
/// still verify the signatures of the handshake (`verify_tls12_signature`, `verify_tls13_signature`): they prove
/// that the client has the certificate's key, while certificates themselves are public.
///
/// A resumed TLS session keeps the certificate of the first session and does not verify it again. For another TLS
/// stack, write a similar function that inserts a [`CertificateThumbprint`].
pub fn on_connect(connection: &dyn Any, data: &mut Extensions) {
    let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>() else { return };
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    if let Some(Ok(thumbprint)) = leaf.map(|leaf| CertificateThumbprint::from_der(leaf)) {
        data.insert(thumbprint);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpStream},
        sync::Arc,
        time::Duration,
    };

    use actix_web::{App, HttpRequest, HttpServer, dev::ServerHandle, rt, web};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion,
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
        server::WebPkiClientVerifier,
        version::{TLS12, TLS13},
    };

    use super::*;

    struct Authority(CertifiedIssuer<'static, KeyPair>);

    struct Identity {
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    }

    impl Authority {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        fn issue(&self, name: &str) -> Identity {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let leaf = params.signed_by(&key, &self.0).unwrap();
            // The certificate of the authority is sent too, so that the test detects the use of another certificate
            // than the leaf.
            let chain = vec![leaf.der().clone(), self.0.der().clone()];
            Identity { chain, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
        }

        fn roots(&self) -> Arc<RootCertStore> {
            let mut roots = RootCertStore::empty();
            roots.add(self.0.der().clone()).unwrap();
            Arc::new(roots)
        }
    }

    impl Identity {
        fn thumbprint(&self) -> String {
            CertificateThumbprint::from_der(&self.chain[0]).unwrap().to_base64url()
        }
    }

    fn provider() -> Arc<CryptoProvider> {
        Arc::new(aws_lc_rs::default_provider())
    }

    async fn shown(request: HttpRequest) -> String {
        super::super::of_connection(&request).map_or_else(|| "none".to_owned(), |one| one.to_base64url())
    }

    /// Serves [`shown`] over TLS and over plain TCP.
    fn start(authority: &Authority) -> (Vec<SocketAddr>, ServerHandle) {
        let own = authority.issue("localhost");
        let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots(), provider())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(own.chain, own.key)
            .unwrap();
        let server = HttpServer::new(|| App::new().route("/", web::get().to(shown)))
            .on_connect(on_connect)
            .workers(1)
            .disable_signals()
            .bind_rustls_0_23("127.0.0.1:0", config)
            .unwrap()
            .bind("127.0.0.1:0")
            .unwrap();
        let addresses = server.addrs();
        let server = server.run();
        let handle = server.handle();
        rt::spawn(server);
        (addresses, handle)
    }

    fn client(
        authority: &Authority,
        version: &'static SupportedProtocolVersion,
        identity: Option<Identity>,
    ) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(authority.roots());
        Arc::new(match identity {
            Some(identity) => builder.with_client_auth_cert(identity.chain, identity.key).unwrap(),
            None => builder.with_no_client_auth(),
        })
    }

    const TWO_REQUESTS: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n\
        GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    fn connect(address: SocketAddr) -> TcpStream {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        tcp
    }

    /// Sends two requests over one connection. Returns all received bytes (none if the handshake failed).
    async fn ask(address: SocketAddr, config: Arc<ClientConfig>) -> (String, Option<HandshakeKind>) {
        web::block(move || {
            let name = ServerName::try_from("localhost").unwrap();
            let mut connection = ClientConnection::new(config, name).unwrap();
            let mut tcp = connect(address);
            let mut tls = rustls::Stream::new(&mut connection, &mut tcp);
            let mut answer = Vec::new();
            if tls.write_all(TWO_REQUESTS).is_ok() {
                // An error at the end only means that the server closed without a TLS close alert.
                let _ = tls.read_to_end(&mut answer);
            }
            (String::from_utf8(answer).unwrap(), connection.handshake_kind())
        })
        .await
        .unwrap()
    }

    #[actix_web::test]
    async fn each_connection_has_the_certificate_of_its_own_client() {
        let authority = Authority::new();
        let (addresses, server) = start(&authority);
        for version in [&TLS12, &TLS13] {
            let (alice, bob) = (authority.issue("alice"), authority.issue("bob"));
            let (first, second) = (alice.thumbprint(), bob.thumbprint());
            assert_ne!(first, second);
            let alice = client(&authority, version, Some(alice));
            let bob = client(&authority, version, Some(bob));
            for (config, own) in [(&alice, &first), (&bob, &second)] {
                let (answer, _) = ask(addresses[0], config.clone()).await;
                assert_eq!(answer.matches(own.as_str()).count(), 2, "{answer}");
            }
            // A resumed session has the certificate of the first one.
            let (answer, handshake) = ask(addresses[0], alice.clone()).await;
            assert_eq!(handshake, Some(HandshakeKind::Resumed));
            assert_eq!(answer.matches(&first).count(), 2, "{answer}");
        }
        server.stop(false).await;
    }

    #[actix_web::test]
    async fn a_client_without_a_certificate_has_none() {
        let authority = Authority::new();
        let (addresses, server) = start(&authority);
        for version in [&TLS12, &TLS13] {
            let (answer, _) = ask(addresses[0], client(&authority, version, None)).await;
            assert_eq!(answer.matches("none").count(), 2, "{answer}");
        }
        server.stop(false).await;
    }

    #[actix_web::test]
    async fn a_plain_connection_has_none() {
        let authority = Authority::new();
        let (addresses, server) = start(&authority);
        let answer = web::block(move || {
            let mut tcp = connect(addresses[1]);
            tcp.write_all(TWO_REQUESTS).unwrap();
            let mut answer = String::new();
            tcp.read_to_string(&mut answer).unwrap();
            answer
        })
        .await
        .unwrap();
        assert_eq!(answer.matches("none").count(), 2, "{answer}");
        server.stop(false).await;
    }

    #[actix_web::test]
    async fn a_certificate_of_an_unknown_authority_gets_no_answer() {
        let authority = Authority::new();
        let (addresses, server) = start(&authority);
        let stranger = Authority::new().issue("alice");
        let (answer, _) = ask(addresses[0], client(&authority, &TLS13, Some(stranger))).await;
        assert_eq!(answer, "");
        server.stop(false).await;
    }
}
