//! Certificates in a header set by a proxy: safe reading of the header, and the two simple formats.

#[cfg(test)]
pub(super) mod tests;

use std::{borrow::Cow, fmt};

use actix_web::{
    HttpRequest,
    http::header::{HeaderName, InvalidHeaderName},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use derive_more::Display;

use crate::certificate::{CertificateResolver, CertificateThumbprint, ResolverError, pem};

/// Longer values are rejected without parsing. Certificates have 1 to 3 KiB. Some URL-encoded certificate chains have
/// 10 KiB.
const MAX_LENGTH: usize = 16 * 1024;

/// Reads `Client-Cert` of RFC 9440: `Client-Cert: :BASE64:`, the DER bytes of the certificate as a structured field's
/// byte sequence (RFC 8941 section 3.3.5).
///
/// Stricter than RFC 8941: base64 without padding, non-zero bits after the last byte, and parameters are rejected.
/// `Client-Cert-Chain` is not read. See the [module](super) for the requirements on the proxy, and for rejected
/// headers.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ClientCertHeader;

impl ClientCertHeader {
    /// Creates the resolver for `Client-Cert`.
    pub fn new() -> Self {
        Self
    }
}

impl CertificateResolver for ClientCertHeader {
    fn resolve(&self, request: &HttpRequest) -> Result<Option<CertificateThumbprint>, ResolverError> {
        let name = HeaderName::from_static("client-cert");
        read(request, &name, from_byte_sequence)
    }
}

fn from_byte_sequence(value: &str) -> Option<CertificateThumbprint> {
    let base64 = value.strip_prefix(':')?.strip_suffix(':')?;
    CertificateThumbprint::from_der(&STANDARD.decode(base64).ok()?).ok()
}

/// Reads a certificate as URL-encoded PEM from the header of this name, as nginx writes it:
///
/// ```nginx
/// proxy_set_header X-SSL-Client-Cert $ssl_client_escaped_cert;
/// ```
///
/// AWS load balancers send the same format in `X-Amzn-Mtls-Clientcert-Leaf`. A plus sign is not decoded.
///
/// Other formats that proxies use are supported too, percent-encoded or not:
///
/// - PEM with spaces instead of line breaks, or without any (Apache's `%{SSL_CLIENT_CERT}s`), also with text before
///   and after it. Of a chain, the first certificate is used: the leaf.
/// - The base64 of the DER bytes alone: `X-ARR-ClientCert` of Azure App Service, and `X-Forwarded-Tls-Client-Cert` of
///   Traefik if the client sends a single certificate. Traefik writes a chain as a list with commas, which is rejected.
/// - A byte sequence as in RFC 9440, `:BASE64:`.
///
/// `(null)`, which Apache writes for a client without a certificate, is treated as no certificate.
///
/// Several values joined with `,` or `;` are rejected, in every format: the proxy has then not replaced the header
/// that the client sent. See the [module](super) for the requirements on the proxy, and for rejected headers.
#[derive(Clone, Debug)]
pub struct UrlEncodedPem {
    name: HeaderName,
}

impl UrlEncodedPem {
    /// Creates the resolver for the header with this name. There is no default name.
    ///
    /// # Errors
    /// If this is not a valid header name (RFC 9110 section 5.1).
    pub fn new(name: &str) -> Result<Self, InvalidHeaderName> {
        HeaderName::try_from(name).map(|name| Self { name })
    }
}

impl CertificateResolver for UrlEncodedPem {
    fn resolve(&self, request: &HttpRequest) -> Result<Option<CertificateThumbprint>, ResolverError> {
        read(request, &self.name, from_any_form)
    }
}

/// Parses any of the formats of [`UrlEncodedPem`].
fn from_any_form(value: &str) -> Option<CertificateThumbprint> {
    // A percent sign may be part of the text before a certificate that is not encoded: `CN=100% me -----BEGIN …`.
    let text =
        pem::percent_decode(value).or_else(|| value.contains(pem::BEGIN).then_some(Cow::Borrowed(value)))?;
    let text = text.trim_ascii();
    if text.starts_with(':') {
        from_byte_sequence(text)
    } else if text.contains("-----") {
        CertificateThumbprint::from_pem(text).ok()
    } else {
        CertificateThumbprint::from_base64(text).ok()
    }
}

pub(super) fn from_url_encoded_pem(value: &str) -> Option<CertificateThumbprint> {
    CertificateThumbprint::from_pem(&pem::percent_decode(value)?).ok()
}

/// Returns the only value of the header with this name; `None` if there is no header or an empty one.
pub(super) fn read(
    request: &HttpRequest,
    name: &HeaderName,
    parse: impl FnOnce(&str) -> Option<CertificateThumbprint>,
) -> Result<Option<CertificateThumbprint>, ResolverError> {
    let fault = |problem| HeaderFault { name: name.clone(), problem };
    let Some(value) = single_value(request, name).map_err(fault)? else { return Ok(None) };
    match parse(value) {
        Some(thumbprint) => Ok(Some(thumbprint)),
        None => Err(fault(Problem::Malformed).into()),
    }
}

fn single_value<'r>(request: &'r HttpRequest, name: &HeaderName) -> Result<Option<&'r str>, Problem> {
    // A proxy that removes only one spelling forwards the other, so neither can be trusted.
    if request.headers().keys().any(|other| other != name && same_but_for_dashes(other, name)) {
        return Err(Problem::OtherSpelling);
    }
    let mut values = request.headers().get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::Repeated);
    }
    if value.len() > MAX_LENGTH {
        return Err(Problem::TooLong);
    }
    let text = value.to_str().map_err(|_| Problem::Malformed)?.trim_matches([' ', '\t']);
    // Apache writes `(null)` if there is no certificate.
    Ok(Some(text).filter(|text| !text.is_empty() && *text != "(null)"))
}

fn same_but_for_dashes(left: &HeaderName, right: &HeaderName) -> bool {
    let dashed = |byte| if byte == b'_' { b'-' } else { byte };
    left.as_str().bytes().map(dashed).eq(right.as_str().bytes().map(dashed))
}

/// The fault of a header. Names the header, never its value.
#[derive(Debug)]
struct HeaderFault {
    name: HeaderName,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, Display, PartialEq, Eq)]
enum Problem {
    #[display("occurs more than once")]
    Repeated,
    #[display("was sent in another spelling (`-` for `_` or the reverse)")]
    OtherSpelling,
    #[display("is longer than 16 KiB")]
    TooLong,
    #[display("does not hold a certificate in the expected format")]
    Malformed,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the header `{}` {}", self.name, self.problem)
    }
}

impl std::error::Error for HeaderFault {}
