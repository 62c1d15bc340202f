//! The configuration from variables: the setting of each variable, and the message for a wrong value. The effects of the
//! settings are tested in `builder.rs`.

use std::{ffi::OsString, time::Duration};

use actix_protect_api::{
    ClientAuthentication, ConfigError, ProtectApi, ProtectApiBuilder,
    test::{Algorithm, Endpoint, MemoryStore, TestIssuer, TestKey},
};
use actix_web::{App, web};
use serde_json::json;

use crate::support::{
    app::{serve, whoami},
    folder::Folder,
    logs,
    store::Store,
};

const PREFIX: &str = "MONOCLOUD_BACKEND_";
const SECRET: &str = "hunter2-and-more-than-32-bytes-of-it";

/// Reads the smallest configuration with these changes; an empty value removes a variable.
fn read(changes: &[(&str, &str)]) -> Result<ProtectApi, ConfigError> {
    let mut variables = vec![("TENANT_DOMAIN", "tenant.example.test"), ("AUDIENCE", "my-api")];
    variables.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    variables.extend(changes);
    ProtectApi::try_from_variables(
        PREFIX,
        variables.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), value)),
    )
}

/// Reads the same with a client that has a secret.
fn read_with_client(changes: &[(&str, &str)]) -> Result<ProtectApi, ConfigError> {
    read(&[&[("CLIENT_ID", "me"), ("CLIENT_SECRET", SECRET)], changes].concat())
}

/// `NAME: message` of each problem, without the prefix.
fn problems(result: Result<ProtectApi, ConfigError>) -> Vec<String> {
    let error = result.expect_err("the configuration was accepted");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "a secret is shown: {error}");
    let strip = |name: &str| name.strip_prefix(PREFIX).expect("no prefix").to_owned();
    error.problems().iter().map(|problem| format!("{}: {}", strip(&problem.name), problem.message)).collect()
}

#[track_caller]
fn only_problem(result: Result<ProtectApi, ConfigError>, start: &str, part: &str) {
    let problems = problems(result);
    assert!(
        problems.len() == 1 && problems[0].starts_with(start) && problems[0].contains(part),
        "wanted {start:?} … {part:?}: {problems:#?}"
    );
}

#[test]
fn two_variables_are_enough_and_everything_else_has_its_default() {
    let by_variables = format!("{:?}", read(&[]).unwrap());
    let by_builder = format!("{:?}", ProtectApi::builder("tenant.example.test", "my-api").build().unwrap());
    assert_eq!(by_variables, by_builder);
    for part in [
        "clock_skew: 0",
        "clock_tolerance: 60",
        "Name(\"groups\")",
        "groups_match_all: false",
        "jwks_lifetime: 300s",
        "metadata_lifetime: 300s",
        "introspect_jwt_tokens: false",
        "binding: WhenPresent",
        "response_timeout: 10s",
        "introspection_cache: None",
        "accept_missing_issuer: false",
        "accept_missing_audience: false",
        "client: None",
        "realm: None",
        "trust_store: None",
    ] {
        assert!(by_variables.contains(part), "{part}: {by_variables}");
    }
}

#[test]
fn every_variable_sets_its_setting() {
    for (name, value, part) in [
        ("TENANT_DOMAIN", "https://other.example.test/t/", "\"https://other.example.test/t/\""),
        ("TENANT_DOMAIN", "http://127.0.0.1:8081", "\"http://127.0.0.1:8081\""),
        ("AUDIENCE", "https://api.example.test", "audiences: [\"https://api.example.test\"]"),
        (
            "METADATA_URL",
            "https://other.example.test/meta?p=x",
            "metadata_url: Some(\"https://other.example.test/meta?…\")",
        ),
        ("TOKEN_ISSUERS", "http://one https://two", "token_issuers: [\"http://one\", \"https://two\"]"),
        ("AUDIENCES", "api://one, api://two", "audiences: [\"api://one\", \"api://two\"]"),
        ("INTROSPECTION_ENDPOINT", "https://other.example.test/introspect", "other.example.test/introspect"),
        ("JWKS_URI", "https://other.example.test/keys", "other.example.test/keys"),
        ("ALGORITHMS", "ES256,EdDSA", "algorithms: [ES256, EdDSA]"),
        ("REQUIRE_AT_JWT", "true", "require_at_jwt: true"),
        ("REMEMBER_JWTS", "false", "remember_jwts: false"),
        ("JWKS_COOLDOWN", "13", "jwks_cooldown: 13s"),
        ("MAX_STALE", "7200", "max_stale: 7200s"),
        ("MAX_RESPONSE_SIZE", "2048", "max_response_size: 2048"),
        ("MAX_TOKEN_LENGTH", "4096", "max_token_length: 4096"),
        ("CACHE_ENTRIES", "17", "cache_entries: 17"),
        ("CACHE_BYTES", "65536", "cache_bytes: 65536"),
        ("REFRESH_AHEAD", "false", "refresh_ahead: false"),
        ("MAX_CALLS", "18", "max_calls: 18"),
        ("MAX_WAITING", "19", "max_waiting: 19"),
        ("RESOURCE_METADATA", "https://api.example.test/meta", "api.example.test/meta"),
        ("RESOURCE", "https://api.example.test/a", "oauth-protected-resource/a"),
        ("ERROR_REFERENCE", "true", "error_reference: true"),
        ("CLIENT_ID", "another", "id: \"another\""),
        ("CLIENT_ASSERTION_AUDIENCE", "endpoint", "client_assertion_audience: Endpoint"),
        ("GROUPS_CLAIM", "roles", "Name(\"roles\")"),
        ("GROUPS_CLAIM", "/realm_access/roles", "Pointer(\"realm_access\", \"/roles\")"),
        ("GROUPS_CLAIM", "groups, roles", "[Name(\"groups\"), Name(\"roles\")]"),
        ("GROUPS_DELIMITED", "true", "is_delimited: true"),
        ("SCOPE_CLAIMS", "scope permissions", "path: Name(\"permissions\")"),
        (
            "SCOPE_IMPLIES",
            "a=b b=c=d",
            "hierarchy: ScopeHierarchy({\"b\": [\"a\"], \"c=d\": [\"a\", \"b\"]})",
        ),
        ("INSUFFICIENT_SCOPE_FOR_GROUPS", "true", "insufficient_scope_for_groups: true"),
        ("SCOPE_PREFIX", "api://x/", "prefix: Some(\"api://x/\")"),
        ("GROUPS_MATCH_ALL", "true", "groups_match_all: true"),
        ("GROUPS_MATCH_ALL", "1", "groups_match_all: true"),
        ("GROUPS_MATCH_ALL", "TRUE", "groups_match_all: true"),
        ("CLOCK_SKEW", "5", "clock_skew: 5"),
        ("CLOCK_TOLERANCE", "7", "clock_tolerance: 7"),
        ("CLOCK_TOLERANCE", "0", "clock_tolerance: 0"),
        ("JWKS_CACHE_DURATION", "11", "jwks_lifetime: 11s"),
        ("METADATA_CACHE_DURATION", "12", "metadata_lifetime: 12s"),
        ("INTROSPECT_JWT_TOKENS", "true", "introspect_jwt_tokens: true"),
        ("VALIDATE_CERTIFICATE_BINDING", "required", "binding: Required"),
        ("VALIDATE_CERTIFICATE_BINDING", "dangerously_ignore", "binding: DangerouslyIgnore"),
        ("RESPONSE_TIMEOUT", "1500", "response_timeout: 1.5s"),
        ("INTROSPECTION_CACHE_DURATION", "30", "introspection_cache: Some(30s)"),
        ("ACCEPT_MISSING_ISSUER", "true", "accept_missing_issuer: true"),
        ("DANGEROUSLY_ACCEPT_MISSING_AUDIENCE", "true", "accept_missing_audience: true"),
        (
            "REQUIRED_CLAIMS",
            "client_id",
            "required_claims: [RequiredClaim { name: \"client_id\", values: None }]",
        ),
        (
            "REQUIRED_CLAIMS",
            " jti, sub,,client_id ",
            "name: \"sub\", values: None }, RequiredClaim { name: \"client_id\"",
        ),
        ("REQUIRED_CLAIMS", "tid=a sub tid=b=c", "name: \"tid\", values: Some([\"a\", \"b=c\"])"),
        ("ALLOWED_CLIENTS", "spa, cli", "allowed_clients: [\"spa\", \"cli\"]"),
        ("MAX_TOKEN_AGE", "3600", "max_token_age: Some(3600)"),
        ("REALM", "posts", "realm: Some(\"posts\")"),
        ("CLIENT_AUTH_METHOD", "client_secret_basic", "SecretBasic,"),
    ] {
        assert!(!format!("{:?}", read_with_client(&[]).unwrap()).contains(part), "{part} is the default");
        let changes = [("CLIENT_ID", "me"), ("CLIENT_SECRET", SECRET)];
        let changes = changes.into_iter().filter(|(one, _)| *one != name).chain([(name, value)]);
        let replaces_audience = (name == "AUDIENCES").then_some(("AUDIENCE", ""));
        let changes: Vec<_> = changes.chain(replaces_audience).collect();
        let text = format!("{:?}", read(&changes).unwrap());
        assert!(text.contains(part), "{name}={value}: {text}");
        // White space around a value is not part of it.
        let padded = format!("  {value}\t");
        let padded: Vec<_> = changes
            .iter()
            .map(|(one, value)| if *one == name { (name, padded.as_str()) } else { (*one, *value) })
            .collect();
        assert_eq!(format!("{:?}", read(&padded).unwrap()), text);
    }
    // Values that are the default.
    for (name, value) in [
        ("GROUPS_MATCH_ALL", "false"),
        ("GROUPS_MATCH_ALL", "0"),
        ("INTROSPECTION_CACHE_DURATION", "0"),
        ("VALIDATE_CERTIFICATE_BINDING", "when_present"),
        ("DANGEROUSLY_ACCEPT_MISSING_AUDIENCE", "false"),
        ("CLIENT_AUTH_METHOD", "client_secret_post"),
    ] {
        let text = |changes: &[_]| format!("{:?}", read_with_client(changes).unwrap());
        assert_eq!(text(&[(name, value)]), text(&[]), "{name}");
    }
}

#[test]
fn a_list_without_a_claim_is_a_problem() {
    only_problem(read(&[("REQUIRED_CLAIMS", " , ,")]), "REQUIRED_CLAIMS: ", "expected names");
}

#[test]
fn an_empty_variable_is_unset() {
    let plain = format!("{:?}", read(&[]).unwrap());
    for name in [
        "CLIENT_ID",
        "CLIENT_SECRET",
        "CLIENT_SECRET_FILE",
        "CLIENT_SECRET_BASIC_ENCODING",
        "CLIENT_ASSERTION_AUDIENCE",
        "CLIENT_CERTIFICATE_FILE",
        "CLIENT_KEY_FILE",
        "SPIFFE_JWT_FILE",
        "TRUST_STORE_ID",
        "GROUPS_CLAIM",
        "GROUPS_DELIMITED",
        "SCOPE_PREFIX",
        "CLOCK_SKEW",
        "CLOCK_TOLERANCE",
        "JWKS_CACHE_DURATION",
        "METADATA_CACHE_DURATION",
        "RESPONSE_TIMEOUT",
        "INTROSPECTION_CACHE_DURATION",
        "ACCEPT_MISSING_ISSUER",
        "DANGEROUSLY_ACCEPT_MISSING_AUDIENCE",
        "REALM",
        "ROOT_CERTIFICATES",
        "ROOT_CERTIFICATES_FILE",
        "HTTP_PROXY",
        "NO_PROXY",
        "HTTP_PROXY_USERNAME",
        "HTTP_PROXY_PASSWORD",
        "HTTP_PROXY_PASSWORD_FILE",
    ] {
        for blank in ["", " \t"] {
            assert_eq!(format!("{:?}", read(&[(name, blank)]).unwrap()), plain, "{name}");
        }
    }
    // The default may be a weaker check than the intended one.
    for name in [
        "CLIENT_AUTH_METHOD",
        "GROUPS_MATCH_ALL",
        "INTROSPECT_JWT_TOKENS",
        "VALIDATE_CERTIFICATE_BINDING",
        "REQUIRED_CLAIMS",
        "ALLOWED_CLIENTS",
        "SCOPE_CLAIMS",
        "INTROSPECTION_PARAMETERS",
        "INTROSPECTION_HEADERS",
    ] {
        for blank in ["", " \t"] {
            only_problem(read_with_client(&[(name, blank)]), &format!("{name}: "), "is empty");
        }
    }
    only_problem(read(&[("TENANT_DOMAIN", "")]), "TENANT_DOMAIN: ", "is missing");
    only_problem(read(&[("AUDIENCE", " ")]), "AUDIENCE: ", "is missing");
}

#[test]
fn a_value_that_does_not_parse_is_named_with_what_is_wanted() {
    for (name, value, wanted) in [
        ("TENANT_DOMAIN", "http://tenant.example.test", "https"),
        ("TENANT_DOMAIN", "ftp://tenant.example.test", "https"),
        ("TENANT_DOMAIN", "https://tenant.example.test/?a=b", "without query"),
        ("TENANT_DOMAIN", "https://tenant.example.test/#a", "fragment"),
        ("TENANT_DOMAIN", "https://", "https"),
        ("TENANT_DOMAIN", "https://me:hunter2@tenant.example.test", "credentials"),
        ("TENANT_DOMAIN", "me:hunter2@tenant.example.test", "credentials"),
        ("TENANT_DOMAIN", "https://tenant.example.test/?key=hunter2", "without query"),
        ("TENANT_DOMAIN", "https://me:hunter2", "not a URL"),
        ("TENANT_DOMAIN", "https:me:hunter2@tenant.example.test", "credentials"),
        ("GROUPS_CLAIM", "/a~2b", "not a JSON pointer"),
        ("GROUPS_CLAIM", "/a~", "not a JSON pointer"),
        ("GROUPS_CLAIM", "roles,/a~", "not a JSON pointer"),
        ("GROUPS_CLAIM", ",", "expected names"),
        ("GROUPS_DELIMITED", "yes", "true or false"),
        ("SCOPE_CLAIMS", "/a~2b", "not a JSON pointer"),
        ("SCOPE_CLAIMS", ",", "expected names"),
        ("GROUPS_CLAIM", "/a/~0/b~~1", "not a JSON pointer"),
        ("GROUPS_MATCH_ALL", "yes", "true or false"),
        ("INTROSPECT_JWT_TOKENS", "on", "true or false"),
        ("ACCEPT_MISSING_ISSUER", "2", "true or false"),
        ("DANGEROUSLY_ACCEPT_MISSING_AUDIENCE", "maybe", "true or false"),
        ("CLOCK_SKEW", "-5", "whole number of seconds"),
        ("CLOCK_SKEW", "3601", "is 3601 s (1 h 1 s), expected whole seconds up to 3600 s (1 h)"),
        ("CLOCK_TOLERANCE", "1.5", "whole number of seconds"),
        ("CLOCK_TOLERANCE", "5s", "whole number of seconds"),
        ("CLOCK_TOLERANCE", "99999999999999999999999", "whole number of seconds"),
        ("CLOCK_TOLERANCE", "18446744073709551615", "up to 3600 s"),
        ("JWKS_CACHE_DURATION", "0", "is 0 s, expected a duration from 1 s to 86400 s (1 d)"),
        ("JWKS_CACHE_DURATION", "five", "whole number of seconds"),
        ("METADATA_CACHE_DURATION", "86401", "from 1 s to 86400 s"),
        ("METADATA_CACHE_DURATION", "0x10", "whole number of seconds"),
        ("RESPONSE_TIMEOUT", "10s", "whole number of milliseconds"),
        (
            "TENANT_DOMAIN",
            "https://tenant.example.test/.well-known/openid-configuration",
            "without `/.well-known/…`; METADATA_URL (in code `metadata_url`) takes",
        ),
        ("TENANT_DOMAIN", "https://tenant.example.test/{tid}/v2.0", "also METADATA_URL and TOKEN_ISSUERS"),
        ("METADATA_URL", "http://tenant.example.test/metadata", "an https URL"),
        ("METADATA_URL", "https://me:hunter2@tenant.example.test/metadata", "credentials"),
        ("TOKEN_ISSUERS", "https://tenant.example.test/{tid}", "exact values of `iss`"),
        ("TOKEN_ISSUERS", ",", "expected names"),
        ("AUDIENCE", "api://one,api://two", "AUDIENCES"),
        ("AUDIENCE", "api://one api://two", "AUDIENCES"),
        ("AUDIENCES", "api://one", "is set, but MONOCLOUD_BACKEND_AUDIENCE is set too"),
        ("ALGORITHMS", "RS256 HS256", "\"HS256\", which is not one of RS256"),
        ("ALGORITHMS", ",", "expected names"),
        ("ALLOWED_CLIENTS", ",", "expected names"),
        ("SCOPE_IMPLIES", "a=b b=a", "contains a cycle: \"a\" includes itself"),
        ("RESOURCE", "http://api.example.test/a", "expected an https URL"),
        ("SCOPE_IMPLIES", "a", "contains \"\", expected a scope"),
        ("INSUFFICIENT_SCOPE_FOR_GROUPS", "yes", "true or false"),
        ("REALM", "a scope=b", "clients read as another parameter"),
        ("RESOURCE_METADATA", "https://api.example.test/?error=1", "clients read as another parameter"),
        ("REQUIRED_CLAIMS", "tid=", "an empty value"),
        ("REQUIRED_CLAIMS", "=a", "an empty name"),
        ("MAX_TOKEN_AGE", "0", "at least 1 s"),
        ("MAX_TOKEN_AGE", "31536001", "up to 31536000 s (365 d)"),
        ("MAX_TOKEN_AGE", "1h", "whole number of seconds"),
        ("INTROSPECTION_ENDPOINT", "http://tenant.example.test/introspect", "an https URL"),
        ("JWKS_URI", "keys", "an https URL"),
        ("OUTAGE_GRACE", "60", "not cached in memory"),
        ("MAX_CALLS", "0", "at least 1"),
        ("MAX_STALE", "0", "from 1 s"),
        ("CACHE_BYTES", "64M", "whole number of bytes"),
        ("RESPONSE_TIMEOUT", "0", "at least 100 milliseconds"),
        ("RESPONSE_TIMEOUT", "10", "at least 100 milliseconds"),
        ("STORE_TIMEOUT", "5", "is 5, expected at least 10 milliseconds"),
        ("BLIND_FOR", "200", "is 200, expected at least 500 milliseconds"),
        ("RESPONSE_TIMEOUT", "120001", "to 120 s"),
        ("INTROSPECTION_CACHE_DURATION", "86401", "from 0 s to 86400 s"),
        ("INTROSPECTION_CACHE_DURATION", "1e3", "whole number of seconds"),
        ("VALIDATE_CERTIFICATE_BINDING", "Required", "when_present, required or dangerously_ignore"),
        ("CLIENT_ASSERTION_AUDIENCE", "both", "issuer or endpoint"),
        ("CLIENT_AUTH_METHOD", "client_secret", "client_secret_post, client_secret_basic"),
        ("CLIENT_AUTH_METHOD", "none", "spiffe_x509"),
        ("TRUST_STORE_ID", "ts1", "mutual TLS"),
        ("REALM", "caf\u{e9}", "printable ASCII"),
        ("REALM", "a\r\nSet-Cookie: b", "printable ASCII"),
    ] {
        only_problem(read_with_client(&[(name, value)]), &format!("{name}: "), wanted);
    }
    only_problem(
        read(&[("INTROSPECT_JWT_TOKENS", "true")]),
        "INTROSPECT_JWT_TOKENS: ",
        "no client credentials",
    );
    let raw = [("CLIENT_AUTH_METHOD", "client_secret_basic"), ("CLIENT_SECRET_BASIC_ENCODING", "base64")];
    only_problem(read_with_client(&raw), "CLIENT_SECRET_BASIC_ENCODING: ", "form or raw");
}

#[test]
fn an_issuer_template_needs_a_metadata_url_and_token_issuers() {
    let template = ("TENANT_DOMAIN", "https://tenant.example.test/{tid}/v2.0");
    let url = ("METADATA_URL", "https://tenant.example.test/metadata");
    let issuers = ("TOKEN_ISSUERS", "https://tenant.example.test/1/v2.0");
    assert!(read(&[template, url, issuers]).is_ok());
    for incomplete in [[template, url], [template, issuers]] {
        only_problem(read(&incomplete), "TENANT_DOMAIN: ", "also METADATA_URL and TOKEN_ISSUERS");
    }
    let no_issuer = ("ACCEPT_MISSING_ISSUER", "true");
    only_problem(read(&[template, url, issuers, no_issuer]), "ACCEPT_MISSING_ISSUER: ", "is a template");
    let endpoint = ("INTROSPECTION_ENDPOINT", "https://tenant.example.test/introspect");
    only_problem(read_with_client(&[url, endpoint]), "METADATA_URL: ", "nothing is discovered");
    let blank = ProtectApi::builder("tenant.example.test", "me").token_issuers([" "]).build();
    assert!(blank.unwrap_err().to_string().contains("token_issuers: contains an empty text"));
    for one in ["https://one.example.test bob", "https://one.example.test\u{a0}", "\tone"] {
        let spaced = ProtectApi::builder("tenant.example.test", "me").token_issuers([one]).build();
        let error = spaced.unwrap_err().to_string();
        assert!(error.contains(&format!("token_issuers: contains {one:?}")), "{error}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let seen = problems(read(&[
        ("TENANT_DOMAIN", "http://tenant.example.test"),
        ("AUDIENCE", ""),
        ("CLIENT_SECRET", SECRET),
        ("CLOCK_SKEW", "soon"),
        ("RESPONSE_TIMEOUT", "0"),
        ("GROUPS_MATCH_ALL", "perhaps"),
        ("REALM", "\u{e9}"),
    ]));
    let mut names: Vec<_> = seen.iter().filter_map(|problem| problem.split(':').next()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "AUDIENCE",
            "CLIENT_ID",
            "CLOCK_SKEW",
            "GROUPS_MATCH_ALL",
            "REALM",
            "RESPONSE_TIMEOUT",
            "TENANT_DOMAIN"
        ]
    );
    let none: [(&str, &str); 0] = [];
    let error = ProtectApi::try_from_variables(PREFIX, none).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("MONOCLOUD_BACKEND_TENANT_DOMAIN: is missing"), "{text}");
    assert!(text.contains("MONOCLOUD_BACKEND_AUDIENCE: is missing"), "{text}");
}

#[test]
fn another_prefix_is_another_set_of_variables() {
    let variables = [
        ("MY_API_TENANT_DOMAIN", "mine.example.test"),
        ("MY_API_AUDIENCE", "mine"),
        ("MONOCLOUD_BACKEND_TENANT_DOMAIN", "http://nonsense"),
        ("MONOCLOUD_BACKEND_CLOCK_SKEW", "nonsense"),
    ];
    let text = format!("{:?}", ProtectApi::try_from_variables("MY_API_", variables).unwrap());
    assert!(text.contains("mine.example.test"));
    let error = ProtectApi::try_from_variables("OTHER_", variables).unwrap_err();
    let names: Vec<_> = error.problems().iter().map(|problem| problem.name.as_str()).collect();
    assert_eq!(names, ["OTHER_TENANT_DOMAIN", "OTHER_AUDIENCE"]);
}

fn builder(variables: &[(&str, &str)]) -> ProtectApiBuilder {
    let named = variables.iter().map(|(name, value)| (format!("{PREFIX}{name}"), *value));
    ProtectApi::builder_from_variables(PREFIX, named)
}

#[test]
fn code_overrides_variables() {
    let variables = [("TENANT_DOMAIN", "tenant.example.test"), ("AUDIENCE", "my-api"), ("CLOCK_SKEW", "5")];
    let text = format!("{:?}", builder(&variables).clock_skew(Duration::from_secs(7)).realm("posts").build());
    assert!(text.contains("clock_skew: 7") && text.contains("realm: Some(\"posts\")"), "{text}");
    assert!(text.contains("tenant.example.test") && text.contains("my-api"), "{text}");
    // A required variable may be missing if code sets the same setting.
    let text = format!("{:?}", builder(&[]).issuer("code.example.test").audience("code-api").build());
    assert!(text.contains("code.example.test") && text.contains("code-api"), "{text}");
}

#[test]
fn problems_of_variables_are_kept_for_build() {
    let built = builder(&[("CLOCK_SKEW", "soon"), ("AUDIENCE", "my-api")]).max_calls(0).build();
    let error = built.unwrap_err();
    let names: Vec<_> = error.problems().iter().map(|problem| problem.name.as_str()).collect();
    let expected = ["MONOCLOUD_BACKEND_CLOCK_SKEW", "MONOCLOUD_BACKEND_TENANT_DOMAIN", "max_calls"];
    assert_eq!(names, expected);
}

#[test]
fn an_error_names_an_unknown_variable_and_the_nearest_known_one() {
    for (unknown, known) in [
        ("ISSUER", Some("TENANT_DOMAIN")),
        ("TENENT_DOMAIN", Some("TENANT_DOMAIN")),
        ("CLIENT_SECRET_PATH", Some("CLIENT_SECRET_FILE")),
        ("JWKS_URL", Some("JWKS_URI")),
        ("XYZ", None),
    ] {
        let error = builder(&[(unknown, "hunter2"), ("AUDIENCE", "my-api")]).build().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("MONOCLOUD_BACKEND_TENANT_DOMAIN: is missing"), "{text}");
        let expected = known.map_or_else(
            || format!("{PREFIX}{unknown}: is not a known variable"),
            |known| format!("{PREFIX}{unknown}: is not a known variable; is {PREFIX}{known} meant?"),
        );
        assert!(error.problems().iter().any(|problem| problem.to_string() == expected), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn an_error_names_the_variable_that_is_set() {
    let set = [("CLIENT_ID", "me"), ("CLIENT_SECRET_FILE", "/nowhere/secret")];
    only_problem(read(&set), "CLIENT_SECRET_FILE: ", "/nowhere/secret");
    only_problem(
        read(&[("INTROSPECTION_CACHE_DURATION", "60")]),
        "INTROSPECTION_CACHE_DURATION: ",
        "no client",
    );
}

#[test]
fn an_unknown_variable_is_ignored_with_a_warning() {
    logs::capture();
    assert_eq!(
        format!("{:?}", read(&[("CLOCK_SKEWW", "5"), ("audience", "lower-case")]).unwrap()),
        format!("{:?}", read(&[]).unwrap())
    );
    assert!(logs::any(
        |record| record.starts_with("WARN") && record.contains("MONOCLOUD_BACKEND_CLOCK_SKEWW")
    ));
    assert!(logs::any(|record| record.starts_with("WARN") && record.contains("MONOCLOUD_BACKEND_audience")));
}

/// Returns the warnings about the settings that these variables cause, without the prefix, which no other test has.
fn warnings(prefix: &str, changes: &[(&str, &str)]) -> Vec<String> {
    logs::capture();
    let base = [
        ("TENANT_DOMAIN", "tenant.example.test"),
        ("AUDIENCE", "my-api"),
        ("CLIENT_ID", "me"),
        ("CLIENT_SECRET", SECRET),
    ];
    let variables: Vec<_> = base
        .iter()
        .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name))
        .chain(changes)
        .map(|(name, value)| (format!("{prefix}{name}"), (*value).to_owned()))
        .collect();
    let _built = ProtectApi::try_from_variables(prefix, variables).unwrap();
    let is_it = |record: &logs::Record| {
        record.value("event") == "questionable_setting" && record.text.starts_with(prefix)
    };
    logs::records()
        .iter()
        .filter(|record| is_it(record))
        .map(|record| record.text.replace(prefix, ""))
        .collect()
}

#[test]
fn a_duration_that_is_probably_in_another_unit_is_logged() {
    let cached = ("INTROSPECTION_CACHE_DURATION", "3600");
    for (index, (changes, expected)) in [
        (&[cached, ("OUTAGE_GRACE", "3600"), ("CLOCK_TOLERANCE", "300")][..], &[][..]),
        (
            &[("INTROSPECTION_CACHE_DURATION", "60000")],
            &["INTROSPECTION_CACHE_DURATION: is 60000 s: a revoked token is accepted for 16 h 40 min"],
        ),
        (
            &[cached, ("OUTAGE_GRACE", "3601")],
            &["OUTAGE_GRACE: is 3601 s: a token that is revoked in an outage is accepted for 1 h 1 s"],
        ),
        (
            &[("CLOCK_TOLERANCE", "1000")],
            &["CLOCK_TOLERANCE: is 1000 s: an expired token is accepted for 16 min 40 s"],
        ),
        (
            &[("MAX_TOKEN_AGE", "600000")],
            &["MAX_TOKEN_AGE: is 600000 s (6 d 22 h 40 min), and the value is in seconds; is 600 meant?"],
        ),
        (
            &[("JWKS_COOLDOWN", "1000")],
            &["JWKS_COOLDOWN: is 1000 s (16 min 40 s), and the value is in seconds; is 1 meant?"],
        ),
        (&[("MAX_TOKEN_AGE", "86400"), ("MAX_STALE", "36000"), ("CLOCK_SKEW", "0")], &[]),
        (&[("RESPONSE_TIMEOUT", "3000")], &[]),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(warnings(&format!("UNIT_{index}_"), changes), expected);
    }
}

#[test]
fn a_setting_without_effect_is_logged() {
    let opaque = [
        ("INTROSPECTION_ENDPOINT", "https://tenant.example.test/introspect"),
        ("REQUIRE_AT_JWT", "true"),
        ("ALGORITHMS", "RS256"),
        ("REMEMBER_JWTS", "false"),
    ];
    let store = [("STORE_TIMEOUT", "20"), ("BLIND_FOR", "2000"), ("JWTS_WHEN_BLIND", "reject")];
    let memory = [("CACHE_ENTRIES", "5"), ("CACHE_BYTES", "5"), ("REFRESH_AHEAD", "false")];
    let folder = Folder::new();
    let path = folder.file("file", "content");
    let credentials = [
        ("CLIENT_CERTIFICATE_FILE", path.as_str()),
        ("CLIENT_KEY_FILE", &path),
        ("CLIENT_SECRET_BASIC_ENCODING", "raw"),
        ("SPIFFE_JWT_FILE", &path),
    ];
    let no_client =
        [("CLIENT_ID", ""), ("CLIENT_SECRET", ""), ("MAX_CALLS", "5"), ("ACCEPT_MISSING_ISSUER", "true")];
    for (prefix, changes, count, reason) in [
        ("STORE_", &store[..], 3, "there is no shared store"),
        ("MEMORY_", &memory, 3, "verdicts are not cached in memory"),
        ("OPAQUE_", &opaque, 3, "JWTs are introspected, and not validated with keys"),
        ("NOBODY_", &no_client, 2, "there are no client credentials to introspect with"),
        ("ASSERTION_", &[("CLIENT_ASSERTION_AUDIENCE", "endpoint")], 1, "sends no client assertion"),
        ("CREDENTIALS_", &credentials, 4, "client_secret_post does not use it"),
    ] {
        let warnings = warnings(&format!("UNUSED_{prefix}"), changes);
        assert_eq!(warnings.len(), count, "{warnings:?}");
        let names: Vec<_> = changes.iter().map(|(name, _)| *name).collect();
        for warning in warnings {
            let (name, message) = warning.split_once(": ").unwrap();
            assert!(names.contains(&name), "{warning}");
            assert!(
                message.starts_with("is set, but has no effect: ") && message.ends_with(reason),
                "{warning}"
            );
        }
    }
    // With the partner, each has an effect.
    let cached = [("INTROSPECTION_CACHE_DURATION", "60")];
    assert_eq!(warnings("USED_MEMORY_", &[&cached[..], &memory].concat()), [""; 0]);
    let keys = [("JWKS_URI", "https://tenant.example.test/keys")];
    assert_eq!(warnings("USED_KEYS_", &[&keys[..], &opaque].concat()), [""; 0]);
    assert_eq!(warnings("USED_DEFAULTS_", &[("STORE_TIMEOUT", "50"), ("REMEMBER_JWTS", "true")]), [""; 0]);
    let shared = ProtectApi::builder("tenant.example.test", "my-api")
        .shared_store(std::sync::Arc::new(MemoryStore::new()), "00".repeat(32))
        .store_timeout(Duration::from_millis(17));
    let is_it = |record: &logs::Record| record.text.starts_with("store_timeout: ");
    let _used = shared.build().unwrap();
    assert!(!logs::records().iter().any(is_it));
}

#[test]
fn a_variable_that_is_set_twice_is_a_problem() {
    only_problem(read(&[("REALM", "one"), ("REALM", "two")]), "REALM: ", "set twice");
}

#[cfg(unix)]
#[test]
fn text_that_is_not_unicode_is_a_problem_only_in_variables_of_this_crate() {
    use std::os::unix::ffi::OsStringExt as _;

    let bytes = || OsString::from_vec(b"hunter2\xff".to_vec());
    let os = |text: &str| OsString::from(text);
    let base = [
        (os("MONOCLOUD_BACKEND_TENANT_DOMAIN"), os("tenant.example.test")),
        (os("MONOCLOUD_BACKEND_AUDIENCE"), os("my-api")),
    ];
    let foreign = [
        (os("PATH"), bytes()),
        (bytes(), os("x")),
        (OsString::from_vec(b"MONOCLOUD_BACKEND_\xff".to_vec()), os("x")),
        (os("MONOCLOUD_BACKEND_UNKNOWN"), bytes()),
    ];
    assert!(ProtectApi::try_from_variables(PREFIX, base.clone().into_iter().chain(foreign)).is_ok());
    for name in ["CLIENT_SECRET", "REALM", "CLOCK_SKEW"] {
        let ours = [(os(&format!("{PREFIX}{name}")), bytes()), (os("MONOCLOUD_BACKEND_CLIENT_ID"), os("me"))];
        let problems = problems(ProtectApi::try_from_variables(PREFIX, base.clone().into_iter().chain(ours)));
        assert!(problems.contains(&format!("{name}: is not Unicode")), "{problems:?}");
    }
}

/// A method, the variables that it needs, and how it is shown.
type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], &'c str);

#[test]
fn every_client_authentication_method_says_what_it_needs_and_takes_it() {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(["me".to_owned()]).unwrap();
    let certificate = folder.file("certificate.pem", &made.cert.pem());
    let key = folder.file("key.pem", &made.signing_key.serialize_pem());
    let svid = {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let claims = json!({ "sub": "spiffe://example.test/me", "exp": 4_000_000_000_u32 });
        folder.file("svid.jwt", &format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string())))
    };
    let jwk = TestKey::generate(Algorithm::ES256, "k1").private_jwk().to_string();
    let files = [("CLIENT_CERTIFICATE_FILE", certificate.as_str()), ("CLIENT_KEY_FILE", key.as_str())];
    let cases: [Case<'_>; 9] = [
        ("client_secret_post", &[("CLIENT_SECRET", SECRET)], "SecretPost"),
        ("client_secret_basic", &[("CLIENT_SECRET", SECRET)], "SecretBasic"),
        ("client_secret_jwt", &[("CLIENT_SECRET", SECRET)], "SecretJwt"),
        ("private_key_jwt", &[("CLIENT_SECRET", &jwk)], "PrivateKeyJwt"),
        ("bearer", &[("CLIENT_SECRET", SECRET)], "Bearer"),
        ("tls_client_auth", &files, "MutualTls(\"tls_client_auth\")"),
        ("self_signed_tls_client_auth", &files, "MutualTls(\"self_signed_tls_client_auth\")"),
        ("spiffe_x509", &files, "MutualTls(\"spiffe_x509\")"),
        ("spiffe_jwt", &[("SPIFFE_JWT_FILE", &svid)], "SpiffeJwt"),
    ];
    for (method, needs, shown) in cases {
        let base = [("CLIENT_ID", "me"), ("CLIENT_AUTH_METHOD", method)];
        let text = format!("{:?}", read(&[&base, needs].concat()).unwrap());
        assert!(text.contains(&format!("ClientAuthentication({shown}, ")), "{method}: {text}");
        assert!(!text.contains("hunter2") && !text.contains(&jwk));
        // The message names each missing value.
        for (missing, _) in needs {
            let rest: Vec<_> = needs.iter().copied().filter(|(name, _)| name != missing).collect();
            only_problem(read(&[&base[..], &rest].concat()), &format!("{missing}: is missing"), method);
        }
        // Credentials without a client.
        let problems = problems(read(&[&base[1..], needs].concat()));
        assert!(
            !problems.is_empty()
                && problems.iter().all(|problem| problem.starts_with("CLIENT_ID: is missing"))
        );
    }
    // Values that are set but cannot be used.
    let missing = folder.path("nowhere");
    for (method, wrong) in [
        ("private_key_jwt", vec![("CLIENT_SECRET", SECRET)]),
        ("private_key_jwt", vec![("CLIENT_SECRET", "{\"kty\":\"oct\",\"k\":\"hunter2\"}")]),
        ("client_secret_post", vec![("CLIENT_SECRET_FILE", missing.as_str())]),
        ("bearer", vec![("CLIENT_SECRET", "hunter2 and more")]),
        (
            "tls_client_auth",
            vec![("CLIENT_CERTIFICATE_FILE", key.as_str()), ("CLIENT_KEY_FILE", key.as_str())],
        ),
        ("spiffe_jwt", vec![("SPIFFE_JWT_FILE", missing.as_str())]),
    ] {
        let base = [("CLIENT_ID", "me"), ("CLIENT_AUTH_METHOD", method)];
        let variable = match method {
            "tls_client_auth" | "self_signed_tls_client_auth" | "spiffe_x509" => "CLIENT_CERTIFICATE_FILE: ",
            "spiffe_jwt" => "SPIFFE_JWT_FILE: ",
            _ if wrong.iter().any(|(name, _)| *name == "CLIENT_SECRET_FILE") => "CLIENT_SECRET_FILE: ",
            _ => "CLIENT_SECRET: ",
        };
        only_problem(read(&[&base[..], &wrong].concat()), variable, method);
    }
    // `raw` writes the same header without encoding.
    let raw = [("CLIENT_AUTH_METHOD", "client_secret_basic"), ("CLIENT_SECRET_BASIC_ENCODING", "raw")];
    assert!(format!("{:?}", read_with_client(&raw).unwrap()).contains("SecretBasicRaw"));
}

#[actix_web::test]
async fn a_secret_may_be_in_a_file_instead() {
    let folder = Folder::new();
    let issuer = TestIssuer::start();
    let path = folder.file("secret", &format!("{}\n", issuer.client_secret()));
    let mut variables = issuer.variables();
    variables.retain(|(name, _)| name != "MONOCLOUD_BACKEND_CLIENT_SECRET");
    variables.push(("MONOCLOUD_BACKEND_CLIENT_SECRET_FILE".to_owned(), path.clone()));
    let protect = ProtectApi::try_from_variables(PREFIX, variables).unwrap();
    let app = serve!(move || App::new().wrap(protect.clone()).route("/", web::get().to(whoami)));
    app.get("/").token(&issuer.opaque(json!({ "sub": "alice" }))).send().await.is(200, "alice");
    let form = issuer.requests(Endpoint::Introspection)[0].form();
    assert_eq!(
        form.get("client_secret").map(String::as_str),
        Some(issuer.client_secret()),
        "post is the default"
    );

    only_problem(
        read_with_client(&[("CLIENT_SECRET_FILE", &path)]),
        "CLIENT_SECRET: ",
        "_CLIENT_SECRET_FILE is set too",
    );
    for (name, content) in [("empty", ""), ("blank", "\n")] {
        let path = folder.file(name, content);
        let changes = [("CLIENT_ID", "me"), ("CLIENT_SECRET_FILE", path.as_str())];
        only_problem(read(&changes), "CLIENT_SECRET_FILE: ", "client_secret_post");
    }
}

#[test]
fn the_builder_reports_by_the_names_of_its_methods() {
    let seconds = Duration::from_secs;
    let error = ProtectApi::builder("http://tenant.example.test", " ")
        .client("", ClientAuthentication::client_secret_post(""))
        .introspection_endpoint("http://tenant.example.test/i")
        .jwks_uri("jwks")
        .trust_store_id("ts1")
        .groups_claim(" ")
        .algorithms([])
        .clock_skew(Duration::from_millis(1500))
        .clock_tolerance(seconds(3601))
        .metadata_cache_duration(seconds(0))
        .jwks_cache_duration(seconds(86_401))
        .jwks_cooldown(seconds(0))
        .max_stale(seconds(0))
        .response_timeout(seconds(0))
        .introspection_cache_duration(seconds(86_401))
        .max_response_size(0)
        .max_token_length(0)
        .max_calls(0)
        .cache_entries(0)
        .realm("\n")
        .resource_metadata("\u{e9}")
        .build()
        .unwrap_err();
    let mut names: Vec<_> = error.problems().iter().map(|problem| problem.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names,
        [
            "algorithms",
            "audience",
            "cache_entries",
            "client",
            "clock_skew",
            "clock_tolerance",
            "groups_claims",
            "introspection_cache_duration",
            "introspection_endpoint",
            "issuer",
            "jwks_cache_duration",
            "jwks_cooldown",
            "jwks_uri",
            "max_calls",
            "max_response_size",
            "max_stale",
            "max_token_length",
            "metadata_cache_duration",
            "realm",
            "resource_metadata",
            "response_timeout",
            "trust_store_id",
        ]
    );
    assert!(error.to_string().starts_with("invalid configuration, "));
    for name in names {
        assert!(error.to_string().contains(&format!("\n  - {name}: ")), "{name}: {error}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let base = || ProtectApi::builder("tenant.example.test", "my-api");
    let name = |result: Result<ProtectApi, ConfigError>| result.unwrap_err().problems()[0].name.clone();
    assert_eq!(name(base().introspect_jwt_tokens(true).build()), "introspect_jwt_tokens");
    assert_eq!(name(base().required_claims(["sub", " "]).build()), "required_claims");
    assert_eq!(
        name(base().introspection_endpoint("https://tenant.example.test/i").build()),
        "introspection_endpoint"
    );
    assert_eq!(name(base().cache_store(Store::default()).build()), "cache_store");
}
