//! Certificate-bound access tokens (RFC 8705 section 3): such a token opens the API only for the client that shows the
//! certificate named in the token's `cnf` claim, so that a stolen token is worth nothing.
//!
//! Three things meet here:
//!
//! - the certificate's [thumbprint](CertificateThumbprint), `x5t#S256`;
//! - what to do with tokens that are bound, or are not: [`CertificateBinding`];
//! - where the certificate comes from. Where TLS ends in actix: `on_connect` (crate feature `mtls`). Where it ends in
//!   a proxy: a [`CertificateResolver`] that reads the header in which the proxy passes the certificate on.
//!
//! | the proxy sends | resolver |
//! | --- | --- |
//! | `Client-Cert` of RFC 9440 (`HAProxy`, Cloudflare) | [`ClientCertHeader`] |
//! | `X-Forwarded-Client-Cert` (Envoy, Istio) | [`XForwardedClientCert`] |
//! | PEM, URL-encoded or with spaces for line breaks, or bare base64, in a header of your choice (nginx's `$ssl_client_escaped_cert`, AWS load balancers, Apache, Azure App Service, Traefik) | [`UrlEncodedPem`] |
//! | something else | a closure of your own |
//!
//! # Headers are trusted: close the way in
//!
//! A resolver believes its header. None is active unless you ask for it, and you should ask only where **every** way to
//! this server leads through a proxy that removes the header from what it receives, in all spellings (`X-Client-Cert`
//! and `X_Client_Cert` are one name to some software), and writes its own. The proxy must also have checked, in the
//! handshake, that the client owns the certificate's key; every TLS stack does that unless it is told not to.
//!
//! Each ready resolver refuses, with an error that is answered as an invalid token (401) and logged:
//!
//! - a header that occurs more than once, or beside a spelling that swaps `-` and `_`;
//! - a value longer than 16 KiB, and one that is malformed in any way (base64 is strict, with padding).
//!
//! No header, or an empty one, means that the client showed no certificate: a bound token is then refused, any other
//! is judged as the [`CertificateBinding`] says.
//!
//! # What is not checked
//!
//! The certificate's chain, names, dates and revocation. The binding needs none of these (RFC 8705 section 3: it proves
//! that the client is the one that the token was issued to); the TLS server's verifier looks at them if it should.

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

/// Finds the certificate that the client showed, usually in a header that a trusted proxy wrote.
///
/// `Ok(None)`: the client showed none. `Err`: it cannot be told; the request is answered as one with an invalid token
/// (401) and the error is logged, so it should not quote what the client sent.
///
/// Closures of that shape are resolvers:
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
    /// What keeps it from being known.
    fn resolve(&self, request: &HttpRequest) -> Result<Option<CertificateThumbprint>, ResolverError>;
}

/// Why a resolver failed. Its text goes to the log.
pub type ResolverError = Box<dyn Error + Send + Sync>;

impl<F> CertificateResolver for F
where
    F: Fn(&HttpRequest) -> Result<Option<CertificateThumbprint>, ResolverError> + Send + Sync,
{
    fn resolve(&self, request: &HttpRequest) -> Result<Option<CertificateThumbprint>, ResolverError> {
        self(request)
    }
}

/// The certificate of the TLS connection, where one was put into the connection's data: by `on_connect`, or by a
/// function of the app's own that inserts a [`CertificateThumbprint`].
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
