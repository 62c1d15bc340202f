//! `X-Forwarded-Client-Cert` (XFCC), in the format of Envoy.

use std::borrow::Cow;

use actix_web::{HttpRequest, http::header::HeaderName};

use crate::certificate::{
    CertificateResolver, CertificateThumbprint, ResolverError,
    header::{from_url_encoded_pem, read},
};

/// Reads `X-Forwarded-Client-Cert` of Envoy, Istio and others.
///
/// Each proxy on the path adds an element after a comma. An element contains `Key=value` pairs separated by
/// semicolons. Values may be quoted, with a backslash before quotes inside. Of each element, `Hash` (SHA-256 in
/// hexadecimal) and `Cert` (URL-encoded PEM) are read. At least one of them must be present. Neither may occur twice.
/// If both are present, they must identify the same certificate.
///
/// By default the header must contain **exactly one** element: that of a single proxy, which replaces the header of
/// each request (Envoy: `forward_client_cert_details: SANITIZE_SET`). If several proxies add elements, set [their
/// number](Self::hops); to trust only the last one, use [`last_hop`](Self::last_hop).
///
/// Prefer `SANITIZE_SET` at the outermost proxy. `APPEND_FORWARD` forwards elements that a client wrote, and
/// `FORWARD_ONLY` trusts them. Let the proxies send only `Hash` or `Cert`: Envoy neither quotes nor escapes the
/// names of the client's certificate in `URI` and `DNS`, so a certificate with a name like `urn:a,Hash=0123…` adds
/// elements. The exact number of elements detects this.
///
/// See the [module](super) for the other requirements on the proxy, and for rejected headers.
#[derive(Clone, Copy, Debug)]
pub struct XForwardedClientCert {
    element: Wanted,
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    FirstOf(usize),
    Last,
}

impl XForwardedClientCert {
    /// Reads the element of a single proxy. More than one element is rejected.
    pub fn new() -> Self {
        Self { element: Wanted::FirstOf(1) }
    }

    /// Requires exactly this many elements, one from each proxy on the path, and reads the first: the client's
    /// certificate, as received by the outermost proxy. The others are certificates of the proxies.
    ///
    /// 0 is treated as 1, the default.
    #[must_use]
    pub fn hops(self, hops: usize) -> Self {
        Self { element: Wanted::FirstOf(hops.max(1)) }
    }

    /// Reads the last of any number of elements, as received by the nearest proxy. Use it in service meshes in which
    /// the token is bound to the certificate of the calling service and the earlier elements are not trusted.
    ///
    /// **That proxy must not add `URI` or `DNS`**, unless it accepts certificates only of a CA whose names are
    /// trusted: see [above](Self).
    #[must_use]
    pub fn last_hop(self) -> Self {
        Self { element: Wanted::Last }
    }

    fn parse(self, value: &str) -> Option<CertificateThumbprint> {
        let elements = elements(value)?;
        match self.element {
            Wanted::FirstOf(hops) => elements.first().filter(|_| elements.len() == hops),
            Wanted::Last => elements.last(),
        }?
        .thumbprint()
    }
}

impl Default for XForwardedClientCert {
    fn default() -> Self {
        Self::new()
    }
}

impl CertificateResolver for XForwardedClientCert {
    fn resolve(&self, request: &HttpRequest) -> Result<Option<CertificateThumbprint>, ResolverError> {
        read(request, &HeaderName::from_static("x-forwarded-client-cert"), |value| self.parse(value))
    }
}

/// The data of one proxy about its client's certificate.
#[derive(Default)]
struct Element {
    hash: Option<CertificateThumbprint>,
    cert: Option<CertificateThumbprint>,
}

impl Element {
    fn add(&mut self, key: &str, value: &str) -> Option<()> {
        let (known, thumbprint) = if key.eq_ignore_ascii_case("hash") {
            (&mut self.hash, CertificateThumbprint::from_hex(value)?)
        } else if key.eq_ignore_ascii_case("cert") {
            (&mut self.cert, from_url_encoded_pem(value)?)
        } else {
            return Some(());
        };
        known.replace(thumbprint).is_none().then_some(())
    }

    fn thumbprint(&self) -> Option<CertificateThumbprint> {
        match (self.hash, self.cert) {
            (Some(hash), Some(cert)) if hash != cert => None,
            (hash, cert) => hash.or(cert),
        }
    }
}

/// Parses all elements, also unused ones: if one is malformed, the others may be misread.
fn elements(value: &str) -> Option<Vec<Element>> {
    let mut done = Vec::new();
    let mut current = Element::default();
    let mut rest = value;
    loop {
        let (key, after) = rest.split_once('=')?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            return None;
        }
        let (value, after) = field_value(after)?;
        current.add(key, &value)?;
        if let Some(after) = after.strip_prefix(';') {
            rest = after;
            continue;
        }
        done.push(current);
        if after.is_empty() {
            return Some(done);
        }
        rest = after.strip_prefix(',')?.trim_start_matches(' ');
        current = Element::default();
    }
}

/// Splits off the first value. A value without quotes may contain an equals sign, as in the URIs that Envoy writes.
fn field_value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = text.split_at_checked(text.find([',', ';']).unwrap_or(text.len()))?;
        return (!value.contains('"')).then_some((value.into(), after));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value.into(), characters.as_str())),
            '\\' => value.push(characters.next()?),
            character => value.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{http::header::HeaderValue, test::TestRequest};
    use proptest::prelude::*;

    use super::{
        super::{
            header::tests::resolve,
            pem::tests::percent_encode,
            thumbprint::tests::{RFC_8705_PEM, RFC_8705_X5T},
        },
        *,
    };

    const NAME: &str = "x-forwarded-client-cert";
    /// The hash of the certificate in RFC 8705 appendix A.
    const HASH: &str = "0380ed2f626650c840b2f263e6d2b29fae12ab39ae5db32b25ad27efad72e6fd";
    const OTHER: &str = "468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688";

    fn first_of(hops: usize, value: &str) -> Option<String> {
        resolve(&XForwardedClientCert::new().hops(hops), &[(NAME, value)]).ok().flatten()
    }

    fn only(value: &str) -> Option<String> {
        resolve(&XForwardedClientCert::new(), &[(NAME, value)]).ok().flatten()
    }

    fn last(value: &str) -> Option<String> {
        resolve(&XForwardedClientCert::new().last_hop(), &[(NAME, value)]).ok().flatten()
    }

    #[expect(clippy::unnecessary_wraps, reason = "compared with what was read, if anything")]
    fn mine() -> Option<String> {
        Some(RFC_8705_X5T.to_owned())
    }

    fn cert() -> String {
        percent_encode(RFC_8705_PEM)
    }

    #[test]
    fn reads_what_envoy_writes() {
        let cert = cert();
        for value in [
            &format!("Hash={HASH}"),
            &format!("hash={}", HASH.to_uppercase()),
            &format!("HASH=\"{HASH}\""),
            &format!("Cert=\"{cert}\""),
            &format!("cert={cert}"),
            &format!("Hash={HASH};Cert=\"{cert}\""),
            &format!(
                "By=spiffe://a/b;Hash={HASH};Subject=\"CN=a,O=\\\"b;c\\\"\\\\\";URI=spiffe://c/d;DNS=e;DNS=f"
            ),
            &format!("By=;Hash={HASH};Subject=\"\";URI="),
            &format!("By=urn:x?a=b;Hash={HASH};Chain=\"{cert}{cert}\""),
            &format!("Hash={HASH};Subject=\"x,Hash={OTHER};Hash={OTHER}\""),
            &format!("  Hash={HASH}  "),
        ] {
            assert_eq!(only(value), mine(), "{value}");
            assert_eq!(last(value), mine(), "{value}");
        }
    }

    #[test]
    fn no_header_is_no_certificate() {
        assert_eq!(resolve(&XForwardedClientCert::new(), &[]), Ok(None));
        assert_eq!(resolve(&XForwardedClientCert::new(), &[(NAME, "")]), Ok(None));
    }

    #[test]
    fn the_number_of_elements_is_exact() {
        let two = format!("Hash={HASH},By=x;Hash={OTHER}");
        assert_eq!(only(&two), None);
        assert_eq!(first_of(2, &two), mine());
        assert_eq!(first_of(2, &two.replace(',', ", ")), mine());
        assert_eq!(first_of(3, &two), None);
        assert_eq!(first_of(2, &format!("Hash={HASH}")), None);
        assert_eq!(first_of(0, &format!("Hash={HASH}")), mine());
    }

    #[test]
    fn the_last_element_is_read_only_where_one_asks_for_it() {
        assert_eq!(last(&format!("Hash={OTHER},Hash={HASH}")), mine());
        assert_ne!(last(&format!("Hash={HASH},Hash={OTHER}")), mine());
        assert_eq!(last(&format!("Hash={HASH},By=x")), None);
    }

    #[test]
    fn a_name_in_the_certificate_cannot_forge_an_element() {
        // Envoy copies these names without escaping.
        for name in [
            format!("urn:a,Hash={HASH}"),
            format!("urn:a;Hash={HASH}"),
            format!("urn:a;Cert={}", cert()),
            format!("\",Hash={HASH};Subject=\""),
            format!("urn:a\",Hash={HASH}"),
            format!("urn:a,By=spiffe://a/b;Hash={HASH};Subject=\"\";URI="),
        ] {
            let value = format!("By=spiffe://a/b;Hash={OTHER};URI={name}");
            assert_ne!(only(&value), mine(), "{value}");
            assert_ne!(first_of(2, &format!("{value},By=x;Hash={OTHER}")), mine(), "{value}");
        }
    }

    #[test]
    fn malformed_values_are_refused() {
        let cert = cert();
        for value in [
            ",",
            ";",
            "=",
            "\"",
            "Hash",
            "Hash=",
            "By=x",
            "Hash=\"",
            "Cert=\"\"",
            "Cert=x",
            &format!("={HASH}"),
            &format!("Hash ={HASH}"),
            &format!("Hash= {HASH}"),
            &format!("Hash={HASH} ;By=x"),
            &format!("Hash={HASH};"),
            &format!("Hash={HASH},"),
            &format!(",Hash={HASH}"),
            &format!("Hash={HASH};;By=x"),
            &format!("Hash={HASH};By"),
            &format!("Hash={HASH};By=\"x"),
            &format!("Hash={HASH};By=\"x\\\""),
            &format!("Hash={HASH};By=\"x\\"),
            &format!("Hash={HASH};By=\"x\"y"),
            &format!("Hash={HASH};By=x\"y\""),
            &format!("\"Hash={HASH}\""),
            &format!("\"Hash\"={HASH}"),
            &format!("Hash={HASH};Hash={HASH}"),
            &format!("Hash={HASH};hash={OTHER}"),
            &format!("Cert={cert};Cert={cert}"),
            &format!("Hash={OTHER};Cert={cert}"),
            &format!("Hash={HASH};Cert=x"),
            &format!("Hash={}", HASH.trim_start_matches("03")),
            &format!("Hash={HASH}00"),
            &format!("Hash=sha256:{HASH}"),
        ] {
            for resolver in [XForwardedClientCert::new(), XForwardedClientCert::new().last_hop()] {
                let error = resolve(&resolver, &[(NAME, value)]).unwrap_err();
                assert!(error.contains("does not hold a certificate"), "{value}: {error}");
            }
        }
    }

    #[test]
    fn a_malformed_element_spoils_its_neighbours() {
        assert_eq!(last(&format!("Hash=zz,Hash={HASH}")), None);
        assert_eq!(last(&format!("By=\",Hash={HASH}")), None);
        assert_eq!(first_of(2, &format!("Hash={HASH},By=\"")), None);
    }

    #[test]
    fn repeated_and_respelled_headers_are_refused() {
        let value = &*format!("Hash={HASH}");
        for headers in [[(NAME, value), (NAME, value)], [(NAME, value), ("x_forwarded_client_cert", "")]] {
            assert!(resolve(&XForwardedClientCert::new(), &headers).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(bytes: Vec<u8>, text in "(Hash|Cert|By|[=,;\"\\\\%a0 ]){0,40}") {
            for value in [&*bytes, text.as_bytes()] {
                let Ok(value) = HeaderValue::from_bytes(value) else { continue };
                let request = TestRequest::default().insert_header((NAME, value)).to_http_request();
                let _ = XForwardedClientCert::new().hops(2).resolve(&request);
                let _ = XForwardedClientCert::new().last_hop().resolve(&request);
            }
        }

        #[test]
        fn whatever_follows_the_hash_cannot_replace_it(tail in "([=,;\"\\\\a ]|Hash=|Cert=){0,30}") {
            // The elements are also not accepted with a hash that the attacker chose at any place.
            let tail = tail.replace("Hash=", &format!("Hash={HASH}"));
            for hops in 1..3 {
                prop_assert_ne!(first_of(hops, &format!("By=x;Hash={OTHER};URI={tail}")), mine());
            }
        }
    }
}
