use actix_web::{http::header::HeaderValue, test::TestRequest};
use proptest::prelude::*;

use super::{
    super::{
        pem::tests::percent_encode,
        thumbprint::tests::{RFC_8705_PEM, RFC_8705_X5T},
    },
    *,
};

/// The certificate of RFC 9440 appendix A.
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
        &format!("subject=CN=mtls, O=example {apache}"),
        &format!("issuer=CN=a, O=b; subject=CN=mtls, O=b {apache}"),
        &percent_encode(&format!("subject=CN=mtls, O=example\n{RFC_8705_PEM}")),
        &format!("subject=CN=100% mtls {apache}"),
        &format!("subject=CN=100% mtls, O=%zz, OU=%ff {apache} 100%"),
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
        &format!("100% {good}"),
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

/// Tests a proxy that appends to the header of the client, or inserts before it, instead of replacing it.
#[test]
fn a_header_that_a_proxy_joined_with_that_of_the_client_is_refused() {
    let apache = RFC_8705_PEM.replace('\n', " ");
    let clients = [
        percent_encode(RFC_8705_PEM),
        RFC_8705_PEM.replace(' ', "%20").replace('\n', "%0A"),
        apache.clone(),
        apache.trim_end().to_owned(),
        format!("\"{apache}\""),
        format!("'{}'", apache.trim_end()),
        format!("{apache} end"),
        format!("{apache} \" end %22"),
        format!("subject=CN=a, O=b {apache}"),
        format!("100% {apache}"),
        format!("{apache} 100%"),
        format!("{apache} %2"),
        format!("{apache} (null"),
    ];
    let proxys = [
        "",
        "(null)",
        "\"\"",
        "-",
        "MAIFAA==",
        "MAIFAA%3D%3D",
        ":MAIFAA==:",
        "%3AMAIFAA%3D%3D%3A",
        RFC_9440,
        "-----BEGIN CERTIFICATE----- MAIFAA== -----END CERTIFICATE-----",
        "-----BEGIN%20CERTIFICATE-----%0AMAIFAA==%0A-----END%20CERTIFICATE-----%0A",
    ];
    for client in &clients {
        assert_eq!(url_encoded(client), Ok(Some(RFC_8705_X5T.to_owned())), "{client}");
        for proxy in proxys {
            for join in [",", ", ", " , ", ";", "; "] {
                let value = format!("{client}{join}{proxy}");
                assert!(url_encoded(&value).is_err(), "{value}");
                // Text of the client may hide the place at which the values were joined.
                for hidden in ["", "x ", "100% ", "CN=a, O=b "] {
                    let value = format!("{proxy}{join}{hidden}{client}");
                    // A dash is treated like other text.
                    assert!(proxy == "-" || url_encoded(&value).is_err(), "{value}");
                }
            }
        }
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

/// Returns a DER sequence with this many bytes of content.
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
    fn two_joined_values_are_never_the_first_certificate(
        lengths in (0_usize..300, 0_usize..300), forms in (0_usize..8, 0_usize..10),
        join in prop::sample::select(vec![",", ", ", ",  ", " ,", ";", "; ", ",,", ", ,"]),
        tail in "[a-zA-Z0-9 =\"'%()]{0,12}",
    ) {
        let form = |length: usize, form: usize| {
            let base64 = STANDARD.encode(sequence(256 + length));
            let text = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
            match form {
                0 => percent_encode(&text),
                1 => text.replace(' ', "%20").replace('\n', "%0A"),
                2 => text.replace('\n', " "),
                3 => text.replace('\n', ""),
                4 => base64,
                5 => percent_encode(&base64),
                6 => format!(":{base64}:"),
                7 => percent_encode(&format!(":{base64}:")),
                8 => "(null)".to_owned(),
                _ => String::new(),
            }
        };
        let (client, proxy) = (form(lengths.0, forms.0), form(lengths.1, forms.1));
        prop_assert!(url_encoded(&client).is_ok());
        for value in [format!("{client}{join}{proxy}"), format!("{client}{tail}{join}{proxy}")] {
            prop_assert!(url_encoded(&value).is_err(), "{}", value);
        }
        if !proxy.is_empty() {
            let value = format!("{proxy}{join}{client}");
            prop_assert!(url_encoded(&value).is_err(), "{}", value);
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
