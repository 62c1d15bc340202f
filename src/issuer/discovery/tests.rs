use proptest::prelude::*;

use super::*;

fn issuer(text: &str) -> IssuerUrl {
    IssuerUrl::parse(text).unwrap()
}

fn parse(issuer_text: &str, document: &str, needs: &RequiredEndpoints) -> Result<Metadata, AuthErrorKind> {
    let issuer = issuer(issuer_text);
    Metadata::parse(document.as_bytes(), &issuer, issuer.is_loopback, needs).map_err(|error| error.kind())
}

/// Returns the requirements of a configuration that needs both endpoints.
fn both() -> RequiredEndpoints {
    RequiredEndpoints { introspection: true, jwks: true, ..RequiredEndpoints::default() }
}

/// Returns the URL of an endpoint, or the kind of its error.
fn url(endpoint: &PublishedEndpoint) -> Result<String, AuthErrorKind> {
    endpoint.require("endpoint").map(|endpoint| endpoint.uri.to_string()).map_err(|error| error.kind())
}

const INSECURE: AuthErrorKind = AuthErrorKind::Misconfigured(SetupFault::InsecureEndpoint);
const ABSENT: AuthErrorKind = AuthErrorKind::Misconfigured(SetupFault::Endpoint);

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
        assert!(IssuerUrl::parse(good).is_ok(), "{good}");
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
        assert!(IssuerUrl::parse(bad).is_err(), "{bad}");
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
        assert_eq!(
            parse(configured, &document(stated), &RequiredEndpoints::default()).unwrap().issuer,
            stated
        );
    }
    for (configured, stated) in [
        ("https://a.test", "https://b.test"),
        ("https://a.test", "https://A.test"),
        ("https://a.test", "https://a.test//"),
        ("https://a.test", "http://a.test"),
        ("https://a.test/x", "https://a.test"),
        ("https://a.test", ""),
    ] {
        let seen = parse(configured, &document(stated), &RequiredEndpoints::default());
        let kind = seen.map(|_| ()).unwrap_err();
        assert_eq!(kind, AuthErrorKind::Misconfigured(SetupFault::Issuer), "{configured} {stated}");
    }
}

#[test]
fn an_endpoint_is_https_or_on_the_loopback_host_of_an_issuer_there() {
    let endpoints = |issuer: &str, url_text: &str| {
        let document =
            serde_json::json!({ "issuer": issuer, "introspection_endpoint": url_text, "jwks_uri": url_text });
        let metadata = parse(issuer, &document.to_string(), &both()).unwrap();
        (url(&metadata.introspection_endpoint), url(&metadata.jwks_uri))
    };
    for issuer in ["https://a.test", "https://127.0.0.1.test", "http://localhost:9", "https://[::1]"] {
        let good = "https://k.test/j?x=1";
        assert_eq!(endpoints(issuer, good), (Ok(good.to_owned()), Ok(good.to_owned())), "{issuer}");
        for bad in [
            "http://a.test/i",
            "http://localhost./i",
            "http://[::ffff:127.0.0.1]/i",
            "http://0.0.0.0/i",
            "http://[::]/i",
            "http://10.0.0.1/i",
            "http://user@127.0.0.1/i",
            "https://user:password@a.test/i",
            "ftp://127.0.0.1/i",
            "file:///etc/passwd",
            "//a.test/i",
            "/i",
            "",
        ] {
            assert_eq!(endpoints(issuer, bad), (Err(INSECURE), Err(INSECURE)), "{issuer} {bad}");
        }
    }
    for loopback in [
        "http://127.0.0.1:1/i",
        "http://127.9.9.9/i",
        "http://localhost/i",
        "HTTP://LOCALHOST/i",
        "http://[::1]:7/i",
        "http://127.1/i",
        "http://0x7f.1/i",
        "http://2130706433/i",
        "http:\\\\127.0.0.1\\i",
    ] {
        for issuer in ["http://localhost:9", "https://127.0.0.1", "http://[::1]"] {
            assert!(endpoints(issuer, loopback).0.is_ok(), "{issuer} {loopback}");
        }
        for issuer in ["https://a.test", "https://localhost.test", "https://127.0.0.1.test"] {
            let seen = endpoints(issuer, loopback);
            assert_eq!(seen, (Err(INSECURE), Err(INSECURE)), "{issuer} {loopback}");
        }
    }
}

#[test]
fn an_endpoint_that_is_not_needed_is_not_looked_at() {
    for odd in [r#""http://keycloak:8080/i""#, "false", r#""/relative""#, r#""""#, "7", "{}", "[]"] {
        let document = format!(
            r#"{{"issuer":"https://a.test","introspection_endpoint":{odd},"jwks_uri":"https://a.test/j"}}"#
        );
        let jwks = RequiredEndpoints { jwks: true, ..RequiredEndpoints::default() };
        let metadata = parse("a.test", &document, &jwks).unwrap();
        assert!(metadata.has(&jwks), "{odd}");
        assert_eq!(url(&metadata.introspection_endpoint), Err(ABSENT), "{odd}");
        let needy = parse("a.test", &document, &both()).unwrap();
        assert!(!needy.has(&both()) && url(&needy.introspection_endpoint).is_err(), "{odd}");
        assert!(url(&needy.jwks_uri).is_ok(), "a fault of one member is not one of the other: {odd}");
    }
}

#[test]
fn a_usable_endpoint_of_the_second_document_replaces_an_unusable_one() {
    let metadata = |introspection: &str| {
        let document = format!(
            r#"{{"issuer":"https://a.test","introspection_endpoint":{introspection},"jwks_uri":"https://a.test/j"}}"#
        );
        parse("a.test", &document, &both()).unwrap()
    };
    for (first, second, merged) in [
        ("false", r#""https://a.test/i""#, Ok("https://a.test/i".to_owned())),
        ("null", r#""https://a.test/i""#, Ok("https://a.test/i".to_owned())),
        (r#""https://a.test/i""#, r#""http://b.test/i""#, Ok("https://a.test/i".to_owned())),
        (r#""http://b.test/i""#, "null", Err(INSECURE)),
        ("null", r#""http://b.test/i""#, Err(INSECURE)),
    ] {
        let completed = metadata(first).completed_by(metadata(second));
        assert_eq!(url(&completed.introspection_endpoint), merged, "{first} {second}");
    }
}

#[test]
fn the_text_of_an_unusable_endpoint_names_the_member_and_no_secret() {
    for text in [
        "http://user:hush@a.test/path?key=hush#hush",
        "http://user:hush@hush@a.test/path",
        "https://a.test/path#hush",
        "http:hush@a.test/path?hush",
        "user:hush@a.test/path",
    ] {
        let document = serde_json::json!({ "issuer": "https://a.test", "jwks_uri": text }).to_string();
        let metadata = parse("a.test", &document, &both()).unwrap();
        let error = metadata.jwks_uri.require("jwks_uri").unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.starts_with("jwks_uri is "), "{cause}");
        assert!(!cause.contains("hush"), "{cause}");
    }
}

#[test]
fn mutual_tls_takes_the_alias_and_never_the_plain_endpoint() {
    let document = r#"{"issuer":"https://a.test","introspection_endpoint":"https://a.test/i",
        "mtls_endpoint_aliases":{"introspection_endpoint":"https://mtls.a.test/i"},
        "mtls_additional_endpoint_aliases":{"ts1":{"introspection_endpoint":"https://ts1.a.test/i"}}}"#;
    let of = |document: &str, trust_store: Option<&str>| {
        let needs = RequiredEndpoints { mtls: true, trust_store: trust_store.map(str::to_owned), ..both() };
        url(&parse("a.test", document, &needs).unwrap().introspection_endpoint)
    };
    assert_eq!(of(document, None).as_deref(), Ok("https://mtls.a.test/i"));
    assert_eq!(of(document, Some("ts1")).as_deref(), Ok("https://ts1.a.test/i"));
    assert_eq!(of(document, Some("ts2")), Err(ABSENT));
    let plain = r#"{"issuer":"https://a.test","introspection_endpoint":"https://a.test/i"}"#;
    assert_eq!(of(plain, None), Err(ABSENT));
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
        let seen = parse("a.test", document, &RequiredEndpoints::default());
        assert!(matches!(seen, Err(AuthErrorKind::Upstream(_))), "{document}");
    }
    let document = r#"{"issuer":"https://a.test","jwks_uri":7}"#;
    let metadata = parse("a.test", document, &both()).unwrap();
    assert!(matches!(url(&metadata.jwks_uri), Err(AuthErrorKind::Upstream(_))));
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
        let _ = Metadata::parse(&bytes, &issuer, false, &both());
        let document = serde_json::json!({"issuer": "https://a.test", "introspection_endpoint": url, "jwks_uri": other}).to_string();
        let metadata = Metadata::parse(document.as_bytes(), &issuer, false, &both()).unwrap();
        for endpoint in [metadata.introspection_endpoint, metadata.jwks_uri] {
            prop_assert!(endpoint.usable().is_none_or(|endpoint| endpoint.uri.scheme_str() == Some("https")));
        }
        let _ = IssuerUrl::parse(&other);
    }
}
