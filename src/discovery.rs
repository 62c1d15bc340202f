//! The authorization server's metadata: OpenID Connect Discovery 1.0 section 4 and RFC 8414 section 3.

use actix_web::http::Uri;
use serde_json::{Map, Value};
use url::Url;

use crate::{
    error::{AuthError, AuthErrorKind, SetupFault},
    json::strict_object,
    upstream::{self, Limits, bad_answer},
};

/// The configured issuer: an https URL (or http on loopback) without query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issuer {
    /// As configured.
    text: String,
    /// Without its trailing slash: what well-known paths are appended to.
    base: String,
    origin: String,
    path: String,
}

impl Issuer {
    /// Takes `https://…`, `http://` of a loopback host, or a bare host (and path), which means https.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const WANTED: &str =
            "an https URL (http is for loopback hosts only) without query, fragment and credentials";
        let text = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let url = Url::parse(&text).map_err(|_| WANTED)?;
        let plain = url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !plain || !is_secure(&url) {
            return Err(WANTED);
        }
        // The text is kept as written: issuers are compared byte by byte, and `url` would normalize it.
        let base = text.strip_suffix('/').unwrap_or(&text).to_owned();
        let path = url.path().trim_end_matches('/').to_owned();
        Ok(Self { base, origin: url.origin().ascii_serialization(), path, text })
    }

    /// Whether the metadata may call the issuer so: the same, or with one trailing slash more or less.
    fn accepts(&self, stated: &str) -> bool {
        stated.strip_suffix('/').unwrap_or(stated) == self.base
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Where the metadata may be, in the order of trying: `OpenID` Connect Discovery; RFC 8414 with the well-known part
    /// between host and path (section 3.1); the same appended to the path, as some servers have it.
    fn well_known_urls(&self) -> Vec<String> {
        let Self { base, origin, path, .. } = self;
        let mut urls = vec![
            format!("{base}/.well-known/openid-configuration"),
            format!("{origin}/.well-known/oauth-authorization-server{path}"),
        ];
        if !path.is_empty() {
            urls.push(format!("{base}/.well-known/oauth-authorization-server"));
        }
        urls
    }
}

/// https, or a host that cannot be anywhere else than on this machine.
pub(crate) fn is_secure(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.has_host() && (url.scheme() == "https" || (url.scheme() == "http" && loopback))
}

/// An endpoint's URL: https or loopback, without fragment and credentials.
pub(crate) fn endpoint(text: &str) -> Result<Uri, &'static str> {
    const WANTED: &str = "an https URL (http is for loopback hosts only) without fragment and credentials";
    let url = Url::parse(text).map_err(|_| WANTED)?;
    if !is_secure(&url) || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some()
    {
        return Err(WANTED);
    }
    url.as_str().parse().map_err(|_| WANTED)
}

/// What is used of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// As the document spells it: what tokens must say.
    pub(crate) issuer: String,
    pub(crate) introspection_endpoint: Option<Uri>,
    pub(crate) jwks_uri: Option<Uri>,
}

/// Which endpoints a configuration needs, and by which names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) introspection: bool,
    pub(crate) jwks: bool,
    /// Introspection over mutual TLS: the endpoint is an alias (RFC 8705 section 5), of this trust store if named.
    pub(crate) mtls: bool,
    pub(crate) trust_store: Option<String>,
}

/// Fetches the metadata: the first document that has what is needed, completed by the others where one lacks an
/// endpoint (real servers have an OIDC document without `introspection_endpoint` beside an RFC 8414 one with it).
pub(crate) async fn fetch(
    client: &awc::Client,
    issuer: &Issuer,
    needs: &Needs,
    limits: Limits,
) -> Result<Metadata, AuthError> {
    let mut found: Option<Metadata> = None;
    let mut refusal = None;
    for url in issuer.well_known_urls() {
        match document(client, issuer, &url, needs, limits).await {
            Ok(metadata) => {
                let merged = match found.take() {
                    Some(first) => first.completed_by(metadata),
                    None => metadata,
                };
                if merged.has(needs) {
                    return Ok(merged);
                }
                found = Some(merged);
            }
            // A server that cannot be reached, or is failing, is not asked three times.
            Err(error) if !is_absence(&error) => return Err(error),
            Err(error) => {
                refusal.get_or_insert(error);
            }
        }
    }
    match (found, refusal) {
        // Without all endpoints, but a document all the same: whoever misses one says so.
        (Some(metadata), _) => Ok(metadata),
        (None, Some(error)) => Err(error),
        (None, None) => Err(bad_answer("no metadata")),
    }
}

impl Metadata {
    fn has(&self, needs: &Needs) -> bool {
        (!needs.introspection || self.introspection_endpoint.is_some())
            && (!needs.jwks || self.jwks_uri.is_some())
    }

    /// Both documents state the configured issuer (but for a slash); the spelling stays the first one's.
    fn completed_by(self, other: Self) -> Self {
        Self {
            introspection_endpoint: self.introspection_endpoint.or(other.introspection_endpoint),
            jwks_uri: self.jwks_uri.or(other.jwks_uri),
            ..self
        }
    }

    fn parse(bytes: &[u8], issuer: &Issuer, needs: &Needs) -> Result<Self, AuthError> {
        let members = strict_object(bytes)
            .map_err(|error| bad_answer(format!("metadata that is no JSON object: {error}")))?;
        let stated = members
            .get("issuer")
            .and_then(Value::as_str)
            .ok_or_else(|| bad_answer("metadata without issuer"))?;
        if !issuer.accepts(stated) {
            let detail = format!("configured is {:?}, stated is {:?}", issuer.as_str(), shown(stated));
            return Err(AuthError::setup(SetupFault::Issuer).because(detail));
        }
        let holder =
            if needs.mtls { mtls_aliases(&members, needs.trust_store.as_deref()) } else { Some(&members) };
        Ok(Self {
            issuer: stated.to_owned(),
            introspection_endpoint: url_of(holder, "introspection_endpoint")?,
            jwks_uri: url_of(Some(&members), "jwks_uri")?,
        })
    }
}

/// RFC 8705 section 5; a trust store has aliases of its own. Never the plain endpoint in their place.
fn mtls_aliases<'m>(
    members: &'m Map<String, Value>,
    trust_store: Option<&str>,
) -> Option<&'m Map<String, Value>> {
    match trust_store {
        Some(id) => members.get("mtls_additional_endpoint_aliases")?.get(id)?.as_object(),
        None => members.get("mtls_endpoint_aliases")?.as_object(),
    }
}

fn url_of(holder: Option<&Map<String, Value>>, name: &str) -> Result<Option<Uri>, AuthError> {
    match holder.and_then(|members| members.get(name)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => match endpoint(text) {
            Ok(uri) => Ok(Some(uri)),
            Err(wanted) => Err(AuthError::setup(SetupFault::InsecureEndpoint)
                .because(format!("{name} is {:?}, wanted is {wanted}", shown(text)))),
        },
        Some(_) => Err(bad_answer(format!("metadata whose {name} is not a string"))),
    }
}

async fn document(
    client: &awc::Client,
    issuer: &Issuer,
    url: &str,
    needs: &Needs,
    limits: Limits,
) -> Result<Metadata, AuthError> {
    let uri =
        endpoint(url).map_err(|wanted| AuthError::setup(SetupFault::InsecureEndpoint).because(wanted))?;
    let reply = upstream::get(client, &uri, limits).await?;
    if !reply.is_ok() || !reply.is_json() {
        return Err(bad_answer(format!("no metadata at {url} (status {})", reply.status)));
    }
    Metadata::parse(&reply.body, issuer, needs).map_err(|error| match error.kind() {
        AuthErrorKind::Misconfigured(_) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            let (issuer, fault) = (issuer.as_str(), error.kind().fault());
            log::error!(target: crate::LOG, event = "metadata_refused", issuer, fault; "{url}: {error}: {cause}");
            error
        }
        _ => error,
    })
}

/// Whether another well-known URL is worth a try.
fn is_absence(error: &AuthError) -> bool {
    use crate::error::UpstreamFault::BadAnswer;
    matches!(error.kind(), AuthErrorKind::Upstream(BadAnswer) | AuthErrorKind::Misconfigured(_))
}

/// A foreign text for the log: bounded.
fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn issuer(text: &str) -> Issuer {
        Issuer::parse(text).unwrap()
    }

    fn parse(issuer_text: &str, document: &str, needs: &Needs) -> Result<Metadata, AuthErrorKind> {
        Metadata::parse(document.as_bytes(), &issuer(issuer_text), needs).map_err(|error| error.kind())
    }

    #[test]
    fn an_issuer_is_https_or_on_loopback() {
        for good in [
            "https://as.example.test",
            "as.example.test",
            "as.example.test/tenant/a",
            "http://localhost:9",
            "http://127.0.0.1:9/a/",
            "http://127.9.9.9",
            "http://[::1]:9",
        ] {
            assert!(Issuer::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://as.example.test",
            "http://localhost.evil.test",
            "http://127.0.0.1.evil.test",
            "http://10.0.0.1",
            "ftp://localhost",
            "https://as.example.test?x=1",
            "https://as.example.test#x",
            "https://user@as.example.test",
            "https://user:pw@as.example.test",
            "https://",
            "https:// x",
        ] {
            assert!(Issuer::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn well_known_urls_for_an_issuer_with_and_without_a_path() {
        assert_eq!(
            issuer("as.example.test/").well_known_urls(),
            [
                "https://as.example.test/.well-known/openid-configuration",
                "https://as.example.test/.well-known/oauth-authorization-server"
            ]
        );
        assert_eq!(
            issuer("https://as.example.test:8443/tenant/a/").well_known_urls(),
            [
                "https://as.example.test:8443/tenant/a/.well-known/openid-configuration",
                "https://as.example.test:8443/.well-known/oauth-authorization-server/tenant/a",
                "https://as.example.test:8443/tenant/a/.well-known/oauth-authorization-server"
            ]
        );
    }

    #[test]
    fn the_stated_issuer_must_be_the_configured_one_but_for_a_slash() {
        let document = |stated: &str| format!(r#"{{"issuer":"{stated}"}}"#);
        for (configured, stated) in [
            ("https://a.test", "https://a.test"),
            ("https://a.test/", "https://a.test"),
            ("https://a.test", "https://a.test/"),
            ("a.test/x", "https://a.test/x/"),
        ] {
            assert_eq!(parse(configured, &document(stated), &Needs::default()).unwrap().issuer, stated);
        }
        for (configured, stated) in [
            ("https://a.test", "https://b.test"),
            ("https://a.test", "https://A.test"),
            ("https://a.test", "https://a.test//"),
            ("https://a.test", "http://a.test"),
            ("https://a.test/x", "https://a.test"),
            ("https://a.test", ""),
        ] {
            let seen = parse(configured, &document(stated), &Needs::default());
            assert_eq!(seen, Err(AuthErrorKind::Misconfigured(SetupFault::Issuer)), "{configured} {stated}");
        }
    }

    #[test]
    fn endpoints_must_be_secure() {
        let document = r#"{"issuer":"https://a.test","introspection_endpoint":"http://a.test/i"}"#;
        let seen = parse("a.test", document, &Needs::default());
        assert_eq!(seen, Err(AuthErrorKind::Misconfigured(SetupFault::InsecureEndpoint)));
        let document = r#"{"issuer":"https://a.test","introspection_endpoint":"http://127.0.0.1:1/i","jwks_uri":"https://k.test/j?x=1"}"#;
        let metadata = parse("a.test", document, &Needs::default()).unwrap();
        assert_eq!(metadata.introspection_endpoint.unwrap().to_string(), "http://127.0.0.1:1/i");
        assert_eq!(metadata.jwks_uri.unwrap().to_string(), "https://k.test/j?x=1");
    }

    #[test]
    fn mutual_tls_takes_the_alias_and_never_the_plain_endpoint() {
        let document = r#"{"issuer":"https://a.test","introspection_endpoint":"https://a.test/i",
            "mtls_endpoint_aliases":{"introspection_endpoint":"https://mtls.a.test/i"},
            "mtls_additional_endpoint_aliases":{"ts1":{"introspection_endpoint":"https://ts1.a.test/i"}}}"#;
        let of = |document: &str, trust_store: Option<&str>| {
            let needs = Needs { mtls: true, trust_store: trust_store.map(str::to_owned), ..Needs::default() };
            parse("a.test", document, &needs).unwrap().introspection_endpoint.map(|uri| uri.to_string())
        };
        assert_eq!(of(document, None).as_deref(), Some("https://mtls.a.test/i"));
        assert_eq!(of(document, Some("ts1")).as_deref(), Some("https://ts1.a.test/i"));
        assert_eq!(of(document, Some("ts2")), None);
        assert_eq!(
            of(r#"{"issuer":"https://a.test","introspection_endpoint":"https://a.test/i"}"#, None),
            None
        );
    }

    #[test]
    fn broken_documents_are_the_servers_fault() {
        for document in [
            "",
            "[]",
            "null",
            "<html>",
            "{}",
            r#"{"issuer":1}"#,
            r#"{"issuer":"https://a.test","issuer":"https://a.test"}"#,
        ] {
            let seen = parse("a.test", document, &Needs::default());
            assert!(matches!(seen, Err(AuthErrorKind::Upstream(_))), "{document}");
        }
        let document = r#"{"issuer":"https://a.test","jwks_uri":7}"#;
        assert!(matches!(parse("a.test", document, &Needs::default()), Err(AuthErrorKind::Upstream(_))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(25_000))]

        #[test]
        fn no_document_panics_or_brings_in_an_insecure_endpoint(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            url in "(https?|ftp)?(://)?[a-z0-9.:/@#?\\[\\]-]{0,30}",
            other in ".{0,20}",
        ) {
            let issuer = issuer("https://a.test");
            let _ = Metadata::parse(&bytes, &issuer, &Needs::default());
            let document = serde_json::json!({"issuer": "https://a.test", "introspection_endpoint": url, "jwks_uri": other}).to_string();
            if let Ok(metadata) = Metadata::parse(document.as_bytes(), &issuer, &Needs::default()) {
                for uri in [metadata.introspection_endpoint, metadata.jwks_uri].into_iter().flatten() {
                    let host = uri.host().unwrap_or_default();
                    prop_assert!(uri.scheme_str() == Some("https") || host == "localhost" || host.starts_with("127.") || host == "[::1]");
                }
            }
            let _ = Issuer::parse(&other);
        }
    }
}
