//! Certificates in a header set by a proxy: safe reading of the header, and the two simple formats.

use std::fmt;

use actix_web::{
    HttpRequest,
    http::header::{HeaderName, InvalidHeaderName},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use derive_more::Display;

use super::{CertificateResolver, CertificateThumbprint, ResolverError, pem};

/// Longer values are rejected without parsing. Certificates have 1 to 3 KiB; URL-encoded with their chain, some
/// have 10.
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
/// - The base64 of the DER bytes alone (`X-ARR-ClientCert` of Azure App Service, `X-Forwarded-Tls-Client-Cert` of
///   Traefik). Exactly one: a list with commas is rejected.
/// - A byte sequence as in RFC 9440, `:BASE64:`.
///
/// `(null)`, which Apache writes for a client without a certificate, means none. See the [module](super) for the
/// requirements on the proxy, and for rejected headers.
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
    let text = pem::percent_decode(value)?;
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

#[cfg(test)]
pub(super) mod tests {
    use actix_web::{http::header::HeaderValue, test::TestRequest};
    use proptest::prelude::*;

    use super::{
        super::{
            pem::tests::percent_encode,
            thumbprint::tests::{RFC_8705_PEM, RFC_8705_X5T},
        },
        *,
    };

    /// RFC 9440 appendix A.
    const RFC_9440: &str = "MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNV\
        BAMMEkxBIEludGVybWVkaWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0C\
        AQYIKoZIzj0DAQcDQgAE8YnXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6Ny\
        MHAwCQYDVR0TBAIwADAfBgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUH\
        AwIwHQYDVR0RAQH/BBMwEYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCO\
        OB8TAiEAx/kHSB4urmiZ0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=";

    pub(in crate::certificate) fn resolve(
        resolver: &impl CertificateResolver,
        headers: &[(&str, &str)],
    ) -> Result<Option<String>, String> {
        let request = headers
            .iter()
            .fold(TestRequest::default(), |request, (name, value)| request.append_header((*name, *value)));
        let outcome = resolver.resolve(&request.to_http_request());
        outcome.map(|found| found.map(|one| one.to_base64url())).map_err(|error| error.to_string())
    }

    fn client_cert(value: &str) -> Result<Option<String>, String> {
        resolve(&ClientCertHeader::new(), &[("client-cert", value)])
    }

    fn pem() -> UrlEncodedPem {
        UrlEncodedPem::new("X-SSL-Client-Cert").unwrap()
    }

    fn url_encoded(value: &str) -> Result<Option<String>, String> {
        resolve(&pem(), &[("x-ssl-client-cert", value)])
    }

    #[test]
    fn the_example_of_rfc_9440() {
        let expected = Ok(Some("v68ffgcPn6jdYpBfFY2nP4ShE2Yk-6_Mk5PI9yh6aes".to_owned()));
        assert_eq!(client_cert(&format!(":{RFC_9440}:")), expected);
        assert_eq!(client_cert(&format!(" :{RFC_9440}:\t")), expected);
    }

    #[test]
    fn client_cert_is_exactly_one_byte_sequence() {
        let unpadded = RFC_9440.trim_end_matches('=');
        for value in [
            ":",
            "::",
            ": :",
            "?1",
            "null",
            ":MAA=",
            "MAA=:",
            "MAA=",
            ":MAA=:;a=1",
            ":MAA=:, :MAA=:",
            ":MAA:",
            ":MAB=:",
            ":MA A=:",
            ":MAA=MAA=:",
            ":MAAA:",
            ":AAAA:",
            ":-_-_:",
            "\":MAA=:\"",
            &format!(":{unpadded}:"),
            &format!(":{RFC_9440}=:"),
            &format!(":{}:", percent_encode(RFC_9440)),
            &format!(":{}:", RFC_9440.replace('/', "_")),
            &percent_encode(RFC_8705_PEM),
        ] {
            let error = client_cert(value).unwrap_err();
            assert_eq!(error, "the header `client-cert` does not hold a certificate in the expected format");
        }
        assert!(client_cert(":MAA=:").unwrap().is_some());
    }

    #[test]
    fn url_encoded_pem_as_proxies_write_it() {
        let expected = Ok(Some(RFC_8705_X5T.to_owned()));
        let nginx = percent_encode(RFC_8705_PEM);
        let aws = RFC_8705_PEM.replace(' ', "%20").replace('\n', "%0A");
        assert!(nginx.contains("%2B") && aws.contains('+'));
        for value in [&*nginx, &aws, nginx.trim_end_matches("%0A"), &nginx.replace("%2B", "%2b")] {
            assert_eq!(url_encoded(value), expected, "{value}");
        }
        let chain = format!("{nginx}-----BEGIN%20CERTIFICATE-----%0AMAA%3D%0A-----END%20CERTIFICATE-----%0A");
        assert_eq!(url_encoded(&chain), expected);
    }

    #[test]
    fn a_certificate_is_read_in_every_form_in_which_proxies_write_it() {
        let expected = Ok(Some(RFC_8705_X5T.to_owned()));
        let lines: Vec<_> = RFC_8705_PEM.lines().filter(|line| !line.starts_with('-')).collect();
        let (base64, apache) = (lines.concat(), RFC_8705_PEM.replace('\n', " "));
        for value in [
            &*apache,
            apache.trim_end(),
            &RFC_8705_PEM.replace('\n', ""),
            &percent_encode(&apache),
            &percent_encode(&RFC_8705_PEM.replace('\n', "\r\n")),
            &percent_encode(&RFC_8705_PEM.replace('\n', "\n\t")),
            &format!("{apache}{apache}"),
            &format!("subject=CN=mtls {apache} end"),
            &format!("\"{apache}\""),
            &base64,
            &lines.join(" "),
            &percent_encode(&base64),
            &percent_encode(&format!("{}\n", lines.join("\n"))),
            &format!(":{base64}:"),
            &percent_encode(&format!(":{base64}:")),
        ] {
            assert_eq!(url_encoded(value), expected, "{value}");
        }
        assert_eq!(url_encoded("(null)"), Ok(None));
    }

    #[test]
    fn malformed_url_encoded_pem_is_refused() {
        let good = percent_encode(RFC_8705_PEM);
        for value in [
            "-",
            "%",
            "%00",
            "%ff",
            &good.replace("%20", "+"),
            &good.replace("CERTIFICATE", "CERTIFICATE REQUEST"),
            good.trim_end_matches("-%0A"),
            &format!("{good}%"),
            &format!("{good},{good}"),
            &percent_encode(&good),
            &format!(":{RFC_9440}"),
            &format!(":{RFC_9440}:;a=1"),
            &format!("{RFC_9440},{RFC_9440}"),
            &format!("{RFC_9440}, {RFC_9440}"),
            RFC_9440.trim_end_matches('='),
            &RFC_9440.replace('/', "_"),
        ] {
            let error = url_encoded(value).unwrap_err();
            assert_eq!(
                error,
                "the header `x-ssl-client-cert` does not hold a certificate in the expected format"
            );
        }
    }

    #[test]
    fn no_header_or_an_empty_one_is_no_certificate() {
        for headers in
            [&[][..], &[("client-cert", "")], &[("client-cert", " \t ")], &[("client-cert-chain", ":MAA=:")]]
        {
            assert_eq!(resolve(&ClientCertHeader::new(), headers), Ok(None), "{headers:?}");
        }
        assert_eq!(resolve(&pem(), &[]), Ok(None));
        assert_eq!(url_encoded(""), Ok(None));
    }

    #[test]
    fn a_repeated_header_is_refused() {
        for (first, second) in [(":MAA=:", ":MAA=:"), (":MAA=:", ""), ("", ":MAA=:"), ("", "")] {
            let error = resolve(&ClientCertHeader::new(), &[("client-cert", first), ("Client-Cert", second)]);
            assert_eq!(error, Err("the header `client-cert` occurs more than once".to_owned()));
        }
    }

    #[test]
    fn another_spelling_of_the_header_is_refused() {
        let value = &*percent_encode(RFC_8705_PEM);
        let wanted = "was sent in another spelling";
        for headers in [
            &[("x_ssl_client_cert", value)][..],
            &[("X_SSL_Client_Cert", "")],
            &[("x-ssl_client-cert", value), ("x-ssl-client-cert", value)],
            &[("x-ssl-client-cert", value), ("x-ssl-client_cert", value)],
        ] {
            assert!(resolve(&pem(), headers).unwrap_err().contains(wanted), "{headers:?}");
        }
        let underscored = UrlEncodedPem::new("X_SSL_Client_Cert").unwrap();
        assert!(resolve(&underscored, &[("x-ssl-client-cert", value)]).unwrap_err().contains(wanted));
        assert_eq!(resolve(&underscored, &[("x_ssl_client_cert", value)]), Ok(Some(RFC_8705_X5T.to_owned())));
        assert_eq!(resolve(&pem(), &[("x-ssl-client-certs", value), ("x-ssl-client", value)]), Ok(None));
    }

    #[test]
    fn the_length_is_bounded() {
        let padded = |length: usize| format!(":{}:", STANDARD.encode(sequence(length)));
        assert!(client_cert(&padded(12_000)).unwrap().is_some());
        let error = client_cert(&padded(13_000)).unwrap_err();
        assert_eq!(error, "the header `client-cert` is longer than 16 KiB");
    }

    #[test]
    fn a_name_that_is_none_is_refused_at_start() {
        for bad in ["", "x ssl", "x:y", "x\r\ny", "é"] {
            assert!(UrlEncodedPem::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn errors_do_not_show_the_value() {
        let error = url_encoded("hunter2").unwrap_err();
        assert!(!error.contains("hunter2"));
    }

    /// A DER sequence of this many bytes of content.
    pub(in crate::certificate) fn sequence(length: usize) -> Vec<u8> {
        let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
        [&[0x30, 0x82, high, low], &*vec![7; length]].concat()
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(bytes: Vec<u8>, text in "[:%+=/\\-A-Z0-9 ]{0,80}") {
            for value in [&*bytes, text.as_bytes(), format!(":{text}:").as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(value) else { continue };
                let request = TestRequest::default()
                    .insert_header(("client-cert", value.clone()))
                    .insert_header(("x-ssl-client-cert", value))
                    .to_http_request();
                let _ = ClientCertHeader::new().resolve(&request);
                let _ = pem().resolve(&request);
            }
        }

        #[test]
        fn every_certificate_arrives_by_either_header(length in 256_usize..4000) {
            let der = sequence(length);
            let expected = Ok(Some(CertificateThumbprint::from_der(&der).unwrap().to_base64url()));
            let base64 = STANDARD.encode(&der);
            prop_assert_eq!(client_cert(&format!(":{base64}:")), expected.clone());
            let text = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
            prop_assert_eq!(url_encoded(&percent_encode(&text)), expected.clone());
            prop_assert_eq!(url_encoded(&text.replace('\n', " ")), expected.clone());
            prop_assert_eq!(url_encoded(&base64), expected.clone());
            prop_assert_eq!(url_encoded(&format!(":{base64}:")), expected);
        }
    }
}
