//! Compares the defaults in the documentation with those in the code.

use super::*;

const BUILDER: &str = concat!(
    include_str!("../builder.rs"),
    include_str!("grants.rs"),
    include_str!("hooks.rs"),
    include_str!("introspection.rs"),
    include_str!("limits.rs"),
    include_str!("metadata.rs"),
    include_str!("network.rs"),
    include_str!("parties.rs"),
    include_str!("shared_store.rs"),
    include_str!("trial.rs")
);
const CONFIGURATION: &str = include_str!("../../../docs/configuration.md");

/// Rows of `docs/configuration.md` that are not methods of the builder.
const OTHER_ROWS: [&str; 7] = [
    "CLIENT_SECRET",
    "CLIENT_SECRET_FILE",
    "CLIENT_AUTH_METHOD",
    "CLIENT_SECRET_BASIC_ENCODING",
    "CLIENT_CERTIFICATE_FILE",
    "DANGEROUSLY_ACCEPT_MISSING_AUDIENCE",
    "SPIFFE_JWT_FILE",
];

/// A setting: the method, and its default as the page and the method's documentation write it.
struct Documented {
    method: &'static str,
    on_page: String,
    at_method: String,
}

fn documented(method: &'static str, on_page: impl Into<String>, at_method: impl Into<String>) -> Documented {
    Documented { method, on_page: on_page.into(), at_method: at_method.into() }
}

fn duration(method: &'static str, duration: Duration) -> Documented {
    let seconds = duration.as_secs();
    let text = match seconds / 3600 {
        hours if hours > 0 && seconds.is_multiple_of(3600) => format!("{hours} h"),
        _ => format!("{seconds} s"),
    };
    documented(method, text.clone(), text)
}

fn bytes(method: &'static str, bytes: u64) -> Documented {
    let text = match bytes / 1024 {
        kib if kib % 1024 == 0 => format!("{} MiB", kib / 1024),
        kib => format!("{kib} KiB"),
    };
    documented(method, text.clone(), text)
}

fn number(method: &'static str, number: usize) -> Documented {
    let text = thousands(number);
    documented(method, text.clone(), text)
}

/// Formats a number, with a space between the digits from 10 000.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    if number < 10_000 {
        return digits;
    }
    let groups: Vec<_> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(" ")
}

fn switch(method: &'static str, is_on: bool) -> Documented {
    documented(method, format!("`{is_on}`"), if is_on { "yes" } else { "no" })
}

fn absent<T>(method: &'static str, value: Option<&T>, on_page: &str, at_method: &str) -> Documented
where
    T: ?Sized,
{
    assert!(value.is_none(), "{method}");
    documented(method, on_page, at_method)
}

/// Each setting with the default of the code. The patterns name all fields, so that a new setting cannot be omitted.
fn defaults() -> Vec<Documented> {
    let ProtectApiBuilder {
        issuer,
        metadata_url,
        token_issuers,
        profile_problems,
        metadata_document,
        jwks_document,
        document_directory,
        audiences,
        client,
        introspection_endpoint,
        introspection_fields,
        jwks_uri,
        trust_store,
        scope_claims,
        scope_prefix,
        scope_implications,
        groups_claims,
        groups_delimited,
        groups_match_all,
        clock_skew,
        clock_tolerance,
        accept_missing_issuer,
        accept_missing_audience,
        allowed_clients,
        required_claims,
        max_token_age,
        claim_rules,
        binding,
        trial,
        tuning,
        hooks,
        resources,
        network,
        source: _,
    } = ProtectApiBuilder::new();
    assert!(audiences.is_empty());
    assert!(token_issuers.is_empty() && scope_implications.is_empty());
    assert!(required_claims.is_empty() && profile_problems.is_empty() && resources.is_empty());
    assert!(claim_rules.is_empty());
    let IntrospectionFields { parameters, headers } = introspection_fields;
    assert!(parameters.is_empty() && headers.is_empty());
    assert!(!accept_missing_audience);
    let mut defaults = vec![
        absent("issuer", issuer.as_ref(), "required", "none, it is required"),
        absent(
            "metadata_url",
            metadata_url.as_ref(),
            "the well-known URLs of the issuer",
            "the well-known URLs of the issuer (OpenID Connect Discovery section 4, RFC 8414 section 3)",
        ),
        absent("metadata_document", metadata_document.as_ref(), "none", "none, the metadata is fetched"),
        absent("jwks_document", jwks_document.as_ref(), "none", "none, the keys are fetched"),
        absent("document_directory", document_directory.as_ref(), "none", "none, nothing is saved"),
        documented("token_issuers", "the issuer of the metadata", "the `issuer` of the metadata"),
        documented("audience", "required", "none, it is required unless"),
        documented("audiences", "`AUDIENCE`", "none, one audience is required"),
        absent("client", client.as_ref(), "none", "none"),
        absent("introspection_endpoint", introspection_endpoint.as_ref(), "discovered", "discovered"),
        documented("introspection_parameter", "none", "none"),
        documented("introspection_header", "none", "none"),
        absent("jwks_uri", jwks_uri.as_ref(), "discovered", "discovered"),
        absent("trust_store_id", trust_store.as_ref(), "none", "`mtls_endpoint_aliases`"),
        absent(
            "scope_claims",
            scope_claims.as_ref(),
            "`scope`, or `scp` if there is no `scope`",
            "`scope`, or `scp` if there is no `scope`",
        ),
        absent("scope_prefix", scope_prefix.as_ref(), "none", "none"),
        documented("resource", "none", "none"),
        documented("scope_implies", "none", "none, scopes are compared exactly"),
        documented("groups_claim", format!("`{}`", groups_claims[0]), format!("`{}`", groups_claims[0])),
        documented("groups_claims", format!("`{}`", groups_claims[0]), format!("`{}`", groups_claims[0])),
        switch("groups_delimited", groups_delimited),
        switch("groups_match_all", groups_match_all),
        duration("clock_skew", clock_skew),
        duration("clock_tolerance", clock_tolerance),
        switch("accept_missing_issuer", accept_missing_issuer),
        absent("allowed_clients", allowed_clients.as_ref(), "all clients", "all clients"),
        documented("required_claims", "none", "none"),
        documented("require_claim", "none", "none"),
        absent("max_token_age", max_token_age.as_ref(), "no limit", "no limit"),
        documented("claim_rule", "none", "none"),
        absent("trial", trial.as_ref(), "none", "none"),
        documented(
            "certificate_binding",
            format!("`{binding}`"),
            format!("[`CertificateBinding::{binding:?}`]"),
        ),
    ];
    defaults.extend(defaults_of_network(&network));
    defaults.extend(defaults_of_tuning(&tuning));
    defaults.extend(defaults_of_hooks(&hooks));
    defaults
}

fn defaults_of_network(network: &NetworkSettings) -> Vec<Documented> {
    let NetworkSettings {
        root_certificates,
        root_certificates_file,
        http_proxy,
        no_proxy,
        proxy_username,
        proxy_password,
    } = network;
    assert!(proxy_username.is_none());
    let loopback = "`localhost` and the loopback addresses";
    vec![
        absent("http_proxy", http_proxy.as_ref(), "none", "none"),
        absent("no_proxy", no_proxy.as_ref(), loopback, loopback),
        absent("http_proxy_credentials", proxy_password.as_ref(), "none", "none"),
        absent("root_certificates", root_certificates.as_ref(), "none", "none"),
        absent("root_certificates_file", root_certificates_file.as_ref(), "none", "none"),
    ]
}

fn defaults_of_tuning(tuning: &Tuning) -> Vec<Documented> {
    let Tuning {
        client_assertion_audience,
        introspect_jwt_tokens,
        algorithms,
        require_at_jwt,
        remember_jwts,
        metadata_lifetime,
        jwks_lifetime,
        jwks_cooldown,
        max_stale,
        response_timeout,
        max_response_size,
        max_token_length,
        introspection_cache,
        inactive_cache: _,
        cache_entries,
        cache_bytes,
        refresh_ahead,
        outage_grace,
        max_calls,
        max_waiting,
        max_revocations,
        revocation_lifetime,
        store_timeout,
        blind_for,
        jwts_when_blind,
        realm,
        resource_metadata,
        insufficient_scope_for_groups,
        error_reference,
    } = tuning;
    assert_eq!(store_timeout.as_millis(), 50);
    assert_eq!((&**algorithms, algorithms.len()), (Algorithm::ALL, 10));
    let inactive = Tuning { introspection_cache: Some(Duration::MAX), ..tuning.clone() };
    let millis = thousands(usize::try_from(response_timeout.as_millis()).unwrap());
    vec![
        documented(
            "client_assertion_audience",
            format!("`{client_assertion_audience}`"),
            format!("[`ClientAssertionAudience::{client_assertion_audience:?}`]"),
        ),
        switch("introspect_jwt_tokens", *introspect_jwt_tokens),
        documented("algorithms", "all ten", "all of [`Algorithm::ALL`]"),
        switch("require_at_jwt", *require_at_jwt),
        switch("remember_jwts", *remember_jwts),
        duration("metadata_cache_duration", *metadata_lifetime),
        duration("jwks_cache_duration", *jwks_lifetime),
        duration("jwks_cooldown", *jwks_cooldown),
        duration("max_stale", *max_stale),
        Documented { on_page: format!("{millis} ms"), ..duration("response_timeout", *response_timeout) },
        bytes("max_response_size", (*max_response_size).try_into().unwrap()),
        bytes("max_token_length", (*max_token_length).try_into().unwrap()),
        duration("introspection_cache_duration", introspection_cache.unwrap_or_default()),
        duration("inactive_cache_duration", inactive.inactive_verdict_lifetime()),
        number("cache_entries", *cache_entries),
        bytes("cache_bytes", *cache_bytes),
        switch("refresh_ahead", *refresh_ahead),
        duration("outage_grace", *outage_grace),
        number("max_calls", *max_calls),
        number("max_waiting", *max_waiting),
        number("max_revocations", *max_revocations),
        duration("revocation_lifetime", *revocation_lifetime),
        documented("store_timeout", "50 ms", "50 ms"),
        duration("blind_for", *blind_for),
        documented(
            "jwts_when_blind",
            format!("`{}`", format!("{jwts_when_blind:?}").to_lowercase()),
            format!("[`JwtsWhenBlind::{jwts_when_blind:?}`]"),
        ),
        absent("realm", realm.as_ref(), "none", "none"),
        absent("resource_metadata", resource_metadata.as_ref(), "none", "none"),
        switch("insufficient_scope_for_groups", *insufficient_scope_for_groups),
        switch("error_reference", *error_reference),
    ]
}

fn defaults_of_hooks(hooks: &Hooks) -> Vec<Documented> {
    let Hooks {
        clock,
        renderer,
        token_resolver,
        certificate_resolver,
        cache,
        metadata_resolver,
        jwks_resolver,
        shared_store,
        traceparent,
    } = hooks;
    assert_eq!(*traceparent, crate::settings::Traceparent::NONE);
    assert!(metadata_resolver.is_none() && jwks_resolver.is_none() && shared_store.is_none());
    let header = "the `Authorization` header";
    vec![
        documented("metadata_resolver", "none", "none, the metadata is fetched"),
        documented("jwks_resolver", "none", "none, the keys are fetched"),
        documented("shared_store", "none", "none"),
        documented("traceparent", "none", "no trace context is sent"),
        absent("cache_store", cache.as_deref(), "in memory", "in memory"),
        absent("renderer", renderer.as_deref(), "`{\"message\":", "`{\"message\":"),
        absent("token_resolver", token_resolver.as_deref(), header, header),
        absent(
            "certificate_resolver",
            certificate_resolver.as_deref(),
            "the TLS connection",
            "the TLS connection",
        ),
        absent("clock", clock.as_deref(), "the system clock", "[`SystemClock`]"),
    ]
}

/// Returns the first cell and the default of each row of the tables of settings.
fn rows() -> Vec<(&'static str, &'static str)> {
    let (settings, _) = CONFIGURATION.split_once("## Fixed values").unwrap();
    let rows = settings.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split(" | ").collect();
        (cells[0].trim_start_matches("| "), cells[2])
    })
    .collect()
}

fn names(cell: &str, method: &str) -> bool {
    cell.contains(&format!("`{method}`")) || cell.contains(&format!("`{method}(id"))
}

/// Returns whether a text starts with this value, and not with a longer one.
fn states(text: &str, value: &str) -> bool {
    text.strip_prefix(value).is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric()))
}

/// Returns the documentation of a builder method in one line.
fn documentation(method: &str) -> String {
    let lines: Vec<_> = BUILDER.lines().map(str::trim).collect();
    let start = format!("pub fn {method}");
    let at = lines
        .iter()
        .position(|line| line.strip_prefix(&*start).is_some_and(|rest| rest.starts_with(['(', '<'])));
    let before = &lines[..at.unwrap_or_else(|| panic!("there is no method {method}"))];
    let before: Vec<_> = before.iter().filter(|line| !line.starts_with("#[")).collect();
    let first = before.iter().rposition(|line| !line.starts_with("///")).unwrap() + 1;
    before[first..].iter().map(|line| line.trim_start_matches('/').trim()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_states_the_defaults_of_the_code() {
    let (defaults, rows) = (defaults(), rows());
    for Documented { method, on_page, .. } in &defaults {
        let found: Vec<_> = rows.iter().filter(|(cell, _)| names(cell, method)).collect();
        let [(_, default)] = *found else { panic!("expected one row for {method}, got {found:?}") };
        assert!(states(default, on_page), "{method}: the page says {default}, expected {on_page}");
    }
    for (cell, _) in rows {
        let is_setting = defaults.iter().any(|setting| names(cell, setting.method));
        let is_other = OTHER_ROWS.iter().any(|name| names(cell, name));
        assert!(is_setting || is_other, "no setting is named {cell}");
    }
}

#[test]
fn the_methods_state_the_defaults_of_the_code() {
    let defaults = defaults();
    for Documented { method, at_method, .. } in &defaults {
        let text = documentation(method);
        let stated = text.split("Default: ").nth(1).unwrap_or_default();
        assert!(
            states(stated, at_method),
            "{method}: the documentation says {stated:?}, expected {at_method}"
        );
    }
    let setters =
        BUILDER.lines().filter_map(|line| line.strip_prefix("    pub fn ")?.split(['(', '<']).next());
    let not_settings = ["async_token_resolver", "dangerous", "build", "accept_missing_audience"];
    let unknown: Vec<_> = setters
        .filter(|setter| {
            !not_settings.contains(setter) && defaults.iter().all(|known| known.method != *setter)
        })
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
