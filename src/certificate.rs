//! Certificate-bound access tokens (RFC 8705 section 3). Such a token is accepted only from a client that presents
//! the certificate named in the token's `cnf` claim, so a stolen token is useless.
//!
//! The module contains:
//!
//! - the certificate's [thumbprint](CertificateThumbprint), `x5t#S256`;
//! - the rules for bound and unbound tokens: [`CertificateBinding`];
//! - the source of the certificate. If actix terminates TLS: `on_connect` (crate feature `mtls`). If a proxy
//!   terminates TLS: a [`CertificateResolver`] that reads the header in which the proxy sends the certificate.
//!
//! | The proxy sends | Resolver |
//! | --- | --- |
//! | `Client-Cert` of RFC 9440 (`HAProxy`, Cloudflare) | [`ClientCertHeader`] |
//! | `X-Forwarded-Client-Cert` (Envoy, Istio) | [`XForwardedClientCert`] |
//! | PEM, URL-encoded or with spaces for line breaks, or bare base64, in any header (nginx's `$ssl_client_escaped_cert`, AWS load balancers, Apache, Azure App Service, Traefik) | [`UrlEncodedPem`] |
//! | another format | a closure |
//!
//! # Headers are trusted
//!
//! A resolver trusts its header. No resolver is active by default. Install one only if **every** connection to this
//! server comes from a proxy that removes the header from incoming requests, in all spellings (some software treats
//! `X-Client-Cert` and `X_Client_Cert` as one name), and then sets the header. The proxy must also verify in the
//! handshake that the client owns the certificate's key; every TLS stack does so by default.
//!
//! Each ready resolver rejects the following with 401 and a log record:
//!
//! - a header that occurs more than once, or together with a header whose name differs only by `-` and `_`;
//! - a value longer than 16 KiB, or malformed in any way (base64 is strict, with padding).
//!
//! No header, or an empty one, means that the client presented no certificate. A bound token is then rejected.
//! Other tokens are checked according to the [`CertificateBinding`].
//!
//! # What is not checked
//!
//! The certificate's chain, names, dates and revocation. The binding needs none of them (RFC 8705 section 3: it
//! proves that the client is the one to which the token was issued). Configure the TLS server's verifier to check
//! them.

mod binding;
mod header;
mod pem;
mod thumbprint;
#[cfg(feature = "mtls")]
mod tls;
mod xfcc;

use std::error::Error;

use actix_web::HttpRequest;

pub(crate) use self::binding::check;
#[cfg(feature = "mtls")]
pub use self::tls::on_connect;
pub use self::{
    binding::{CertificateBinding, UnknownCertificateBinding},
    header::{ClientCertHeader, UrlEncodedPem},
    thumbprint::{CertificateThumbprint, NotACertificate},
    xfcc::XForwardedClientCert,
};

/// Finds the certificate that the client presented, usually in a header set by a trusted proxy.
///
/// Returns `Ok(None)` if the client presented none. With `Err` the request is rejected like one with an invalid
/// token (401), and the error is logged, so it should not quote the request.
///
/// Closures of this shape are resolvers:
///
/// ```
/// use actix_protect_api::certificate::{CertificateResolver, CertificateThumbprint};
/// use actix_web::HttpRequest;
///
/// fn resolver() -> impl CertificateResolver {
///     |request: &HttpRequest| {
///         let Some(header) = request.headers().get("x-client-cert-pem") else { return Ok(None) };
///         Ok(Some(CertificateThumbprint::from_pem(header.to_str()?)?))
///     }
/// }
/// # resolver();
/// ```
pub trait CertificateResolver: Send + Sync {
    /// Finds the certificate of this request.
    ///
    /// # Errors
    /// The reason why the certificate cannot be determined.
    fn resolve(&self, request: &HttpRequest) -> Result<Option<CertificateThumbprint>, ResolverError>;
}

/// The reason why a resolver failed. Its text is logged.
pub type ResolverError = Box<dyn Error + Send + Sync>;

impl<F> CertificateResolver for F
where
    F: Fn(&HttpRequest) -> Result<Option<CertificateThumbprint>, ResolverError> + Send + Sync,
{
    fn resolve(&self, request: &HttpRequest) -> Result<Option<CertificateThumbprint>, ResolverError> {
        self(request)
    }
}

/// Returns the certificate of the TLS connection, if the connection's data contains one. It is inserted by
/// `on_connect`, or by a function of the application that inserts a [`CertificateThumbprint`].
pub(crate) fn of_connection(request: &HttpRequest) -> Option<CertificateThumbprint> {
    request.conn_data::<CertificateThumbprint>().copied()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn ask(resolver: &impl CertificateResolver) -> Result<Option<CertificateThumbprint>, ResolverError> {
        resolver.resolve(&TestRequest::default().insert_header(("x-id", "7")).to_http_request())
    }

    #[test]
    fn closures_are_resolvers() {
        let seven = CertificateThumbprint::from_sha256([7; 32]);
        assert_eq!(ask(&move |_: &HttpRequest| Ok(Some(seven))).unwrap(), Some(seven));
        assert_eq!(ask(&|_: &HttpRequest| Ok(None)).unwrap(), None);
        let id = |request: &HttpRequest| {
            let id = request.headers().get("x-id").ok_or("no id")?.to_str()?.parse()?;
            Ok(Some(CertificateThumbprint::from_sha256([id; 32])))
        };
        assert_eq!(ask(&id).unwrap(), Some(seven));
        assert_eq!(ask(&|_: &HttpRequest| Err("down".into())).unwrap_err().to_string(), "down");
    }

    #[test]
    fn a_resolver_can_be_shared_between_workers() {
        fn shareable<T: Send + Sync + 'static>(_: &T) {}
        let all: [std::sync::Arc<dyn CertificateResolver>; 2] =
            [std::sync::Arc::new(ClientCertHeader::new()), std::sync::Arc::new(XForwardedClientCert::new())];
        shareable(&all);
    }

    #[test]
    fn a_request_without_connection_data_shows_no_certificate() {
        assert_eq!(of_connection(&TestRequest::default().to_http_request()), None);
    }
}
