//! The variables of the plain settings: for each, its name, the builder method with the same effect, and its form.

use std::{str::FromStr, time::Duration};

use super::builder::ProtectApiBuilder as Builder;
use crate::{
    algorithm::Algorithm,
    certificate::CertificateBinding,
    client_auth::{ClientAssertionAudience, SecretSource},
    duration_text::DurationText,
    settings::JwtsWhenBlind,
};

/// The variable of one setting.
pub(super) struct Variable {
    /// The name, without the prefix.
    pub(super) name: &'static str,
    /// The builder method with the same effect.
    pub(super) method: &'static str,
    form: Form,
}

/// The form of a value, and the builder method that takes it.
enum Form {
    Text(fn(Builder, String) -> Builder),
    Secret(fn(Builder, SecretSource) -> Builder),
    /// The path of a file with a secret.
    SecretFile(fn(Builder, SecretSource) -> Builder),
    /// A list, separated by commas or white space.
    List(fn(Builder, Vec<String>) -> Builder),
    /// Like `List`, but an empty value means that the variable is not set.
    OptionalList(fn(Builder, Vec<String>) -> Builder),
    Boolean(fn(Builder, bool) -> Builder),
    /// Like `Boolean`, but an empty value is an error, because the default may be a weaker check than the intended one.
    Check(fn(Builder, bool) -> Builder),
    Seconds(fn(Builder, Duration) -> Builder),
    /// With the least value: a smaller one was probably meant in seconds.
    Milliseconds(fn(Builder, Duration) -> Builder, u64),
    Number(fn(Builder, usize) -> Builder),
    Bytes(fn(Builder, u64) -> Builder),
    Algorithms(fn(Builder, Vec<Algorithm>) -> Builder),
    Binding(fn(Builder, CertificateBinding) -> Builder),
    AssertionAudience(fn(Builder, ClientAssertionAudience) -> Builder),
    WhenBlind(fn(Builder, JwtsWhenBlind) -> Builder),
}

/// Every plain setting.
pub(super) const VARIABLES: &[Variable] = &[
    variable("TENANT_DOMAIN", "issuer", Form::Text(Builder::issuer)),
    variable("METADATA_URL", "metadata_url", Form::Text(Builder::metadata_url)),
    variable("METADATA_DOCUMENT", "metadata_document", Form::Text(Builder::metadata_document)),
    variable("JWKS_DOCUMENT", "jwks_document", Form::Text(Builder::jwks_document)),
    variable("DOCUMENT_DIRECTORY", "document_directory", Form::Text(Builder::document_directory)),
    variable("TOKEN_ISSUERS", "token_issuers", Form::List(Builder::token_issuers)),
    variable("AUDIENCE", "audience", Form::Text(Builder::audience)),
    variable("AUDIENCES", "audiences", Form::List(Builder::audiences)),
    variable("TRUST_STORE_ID", "trust_store_id", Form::Text(Builder::trust_store_id)),
    variable("INTROSPECTION_ENDPOINT", "introspection_endpoint", Form::Text(Builder::introspection_endpoint)),
    variable(
        "INTROSPECTION_PARAMETERS",
        "introspection_parameter",
        Form::List(Builder::introspection_parameter_entries),
    ),
    variable(
        "INTROSPECTION_HEADERS",
        "introspection_header",
        Form::List(Builder::introspection_header_entries),
    ),
    variable("JWKS_URI", "jwks_uri", Form::Text(Builder::jwks_uri)),
    variable("ROOT_CERTIFICATES", "root_certificates", Form::Text(Builder::root_certificates)),
    variable("ROOT_CERTIFICATES_FILE", "root_certificates_file", Form::Text(Builder::root_certificates_file)),
    variable("HTTP_PROXY", "http_proxy", Form::Text(Builder::http_proxy)),
    variable("NO_PROXY", "no_proxy", Form::OptionalList(Builder::no_proxy)),
    variable("HTTP_PROXY_USERNAME", "http_proxy_credentials", Form::Text(Builder::http_proxy_username)),
    variable("HTTP_PROXY_PASSWORD", "http_proxy_credentials", Form::Secret(Builder::http_proxy_password)),
    variable(
        "HTTP_PROXY_PASSWORD_FILE",
        "http_proxy_credentials",
        Form::SecretFile(Builder::http_proxy_password),
    ),
    variable(
        "CLIENT_ASSERTION_AUDIENCE",
        "client_assertion_audience",
        Form::AssertionAudience(Builder::client_assertion_audience),
    ),
    variable("SCOPE_CLAIMS", "scope_claims", Form::List(Builder::scope_claims)),
    variable("SCOPE_PREFIX", "scope_prefix", Form::Text(Builder::scope_prefix)),
    variable("SCOPE_IMPLIES", "scope_implies", Form::List(Builder::scope_implication_entries)),
    variable("GROUPS_CLAIM", "groups_claims", Form::OptionalList(Builder::groups_claims)),
    variable("GROUPS_DELIMITED", "groups_delimited", Form::Boolean(Builder::groups_delimited)),
    variable("GROUPS_MATCH_ALL", "groups_match_all", Form::Check(Builder::groups_match_all)),
    variable("ALLOWED_CLIENTS", "allowed_clients", Form::List(Builder::allowed_clients)),
    variable("REQUIRED_CLAIMS", "required_claims", Form::List(Builder::required_claim_entries)),
    variable("MAX_TOKEN_AGE", "max_token_age", Form::Seconds(Builder::max_token_age)),
    variable("CLOCK_SKEW", "clock_skew", Form::Seconds(Builder::clock_skew)),
    variable("CLOCK_TOLERANCE", "clock_tolerance", Form::Seconds(Builder::clock_tolerance)),
    variable("ACCEPT_MISSING_ISSUER", "accept_missing_issuer", Form::Boolean(Builder::accept_missing_issuer)),
    variable(
        "DANGEROUSLY_ACCEPT_MISSING_AUDIENCE",
        "dangerous().accept_missing_audience",
        Form::Boolean(accept_missing_audience),
    ),
    variable(
        "VALIDATE_CERTIFICATE_BINDING",
        "certificate_binding",
        Form::Binding(Builder::certificate_binding),
    ),
    variable("INTROSPECT_JWT_TOKENS", "introspect_jwt_tokens", Form::Check(Builder::introspect_jwt_tokens)),
    variable("ALGORITHMS", "algorithms", Form::Algorithms(Builder::algorithms)),
    variable("REQUIRE_AT_JWT", "require_at_jwt", Form::Check(Builder::require_at_jwt)),
    variable("TRIAL_UNTIL", "trial", Form::Text(Builder::trial_until)),
    variable("TRIAL_AUDIENCES", "trial", Form::List(Builder::trial_audiences)),
    variable("TRIAL_REQUIRE_AT_JWT", "trial", Form::Check(Builder::trial_require_at_jwt)),
    variable(
        "TRIAL_REQUIRE_CERTIFICATE_BINDING",
        "trial",
        Form::Check(Builder::trial_require_certificate_binding),
    ),
    variable("TRIAL_ACR", "trial", Form::List(Builder::trial_acr)),
    variable("TRIAL_THEN_END", "trial", Form::Check(Builder::trial_then_end)),
    variable("REMEMBER_JWTS", "remember_jwts", Form::Boolean(Builder::remember_jwts)),
    variable(
        "METADATA_CACHE_DURATION",
        "metadata_cache_duration",
        Form::Seconds(Builder::metadata_cache_duration),
    ),
    variable("JWKS_CACHE_DURATION", "jwks_cache_duration", Form::Seconds(Builder::jwks_cache_duration)),
    variable("JWKS_COOLDOWN", "jwks_cooldown", Form::Seconds(Builder::jwks_cooldown)),
    variable("MAX_STALE", "max_stale", Form::Seconds(Builder::max_stale)),
    variable("RESPONSE_TIMEOUT", "response_timeout", Form::Milliseconds(Builder::response_timeout, 100)),
    variable("MAX_RESPONSE_SIZE", "max_response_size", Form::Number(Builder::max_response_size)),
    variable("MAX_TOKEN_LENGTH", "max_token_length", Form::Number(Builder::max_token_length)),
    variable(
        "INTROSPECTION_CACHE_DURATION",
        "introspection_cache_duration",
        Form::Seconds(Builder::introspection_cache_duration),
    ),
    variable(
        "INACTIVE_CACHE_DURATION",
        "inactive_cache_duration",
        Form::Seconds(Builder::inactive_cache_duration),
    ),
    variable("CACHE_ENTRIES", "cache_entries", Form::Number(Builder::cache_entries)),
    variable("CACHE_BYTES", "cache_bytes", Form::Bytes(Builder::cache_bytes)),
    variable("REFRESH_AHEAD", "refresh_ahead", Form::Boolean(Builder::refresh_ahead)),
    variable("OUTAGE_GRACE", "outage_grace", Form::Seconds(Builder::outage_grace)),
    variable("MAX_CALLS", "max_calls", Form::Number(Builder::max_calls)),
    variable("MAX_WAITING", "max_waiting", Form::Number(Builder::max_waiting)),
    variable("REVOCATION_LIFETIME", "revocation_lifetime", Form::Seconds(Builder::revocation_lifetime)),
    variable("MAX_REVOCATIONS", "max_revocations", Form::Number(Builder::max_revocations)),
    variable("STORE_TIMEOUT", "store_timeout", Form::Milliseconds(Builder::store_timeout, 10)),
    variable("BLIND_FOR", "blind_for", Form::Milliseconds(Builder::blind_for, 500)),
    variable("JWTS_WHEN_BLIND", "jwts_when_blind", Form::WhenBlind(Builder::jwts_when_blind)),
    variable("REALM", "realm", Form::Text(Builder::realm)),
    variable("RESOURCE", "resource", Form::Text(Builder::resource)),
    variable("RESOURCE_METADATA", "resource_metadata", Form::Text(Builder::resource_metadata)),
    variable(
        "INSUFFICIENT_SCOPE_FOR_GROUPS",
        "insufficient_scope_for_groups",
        Form::Boolean(Builder::insufficient_scope_for_groups),
    ),
    variable("ERROR_REFERENCE", "error_reference", Form::Boolean(Builder::error_reference)),
];

const fn variable(name: &'static str, method: &'static str, form: Form) -> Variable {
    Variable { name, method, form }
}

fn accept_missing_audience(builder: Builder, accept: bool) -> Builder {
    if accept { builder.dangerous().accept_missing_audience() } else { builder }
}

impl Variable {
    /// Returns whether an empty value is an error. For the other variables it means that the variable is not set.
    pub(super) fn must_not_be_empty(&self) -> bool {
        matches!(
            self.form,
            Form::Check(_) | Form::Binding(_) | Form::List(_) | Form::Algorithms(_) | Form::WhenBlind(_)
        )
    }

    /// Returns why the unit of a value that can be parsed is probably wrong, for a warning.
    pub(super) fn doubt(&self, value: &str) -> Option<String> {
        let seconds = match self.form {
            Form::Seconds(_) => value.parse().ok().filter(|seconds| looks_like_milliseconds(*seconds))?,
            _ => return None,
        };
        let (duration, meant) = (DurationText(Duration::from_secs(seconds)), seconds / 1000);
        Some(format!("is {duration:#}, and the value is in seconds; is {meant} meant?"))
    }

    /// Parses a value and returns the change of the builder.
    ///
    /// # Errors
    /// The text states the value and the expected form.
    pub(super) fn parse(&self, value: &str) -> Result<Change, String> {
        let whole = |unit: &str| parsed::<u64>(value, &format!("a whole number of {unit}"));
        Ok(match self.form {
            Form::Text(set) => change(set, value.to_owned()),
            Form::Secret(set) => change(set, SecretSource::from(value)),
            Form::SecretFile(set) => change(set, SecretSource::file(value)),
            Form::List(set) | Form::OptionalList(set) => change(set, names(value)?),
            Form::Boolean(set) | Form::Check(set) => change(set, boolean(value)?),
            Form::Seconds(set) => change(set, Duration::from_secs(whole("seconds")?)),
            Form::Milliseconds(set, least) => change(set, milliseconds(whole("milliseconds")?, least)?),
            Form::WhenBlind(set) => change(set, parsed(value, "accept, introspect or reject")?),
            Form::Number(set) => change(set, parsed(value, "a whole number")?),
            Form::Bytes(set) => change(set, whole("bytes")?),
            Form::Algorithms(set) => {
                change(set, names(value)?.iter().map(|name| algorithm(name)).collect::<Result<_, _>>()?)
            }
            Form::Binding(set) => change(set, parsed(value, "when_present, required or dangerously_ignore")?),
            Form::AssertionAudience(set) => change(set, parsed(value, "issuer or endpoint")?),
        })
    }
}

/// Returns whether a number of seconds looks like a number of milliseconds: whole seconds in milliseconds, and no whole hours.
fn looks_like_milliseconds(seconds: u64) -> bool {
    seconds > 0 && seconds.is_multiple_of(1000) && !seconds.is_multiple_of(3600)
}

/// A change of the builder.
pub(super) type Change = Box<dyn FnOnce(Builder) -> Builder>;

fn change<T: 'static>(set: fn(Builder, T) -> Builder, value: T) -> Change {
    Box::new(move |builder| set(builder, value))
}

fn parsed<T: FromStr>(value: &str, expected: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("is {value:?}, expected {expected}"))
}

fn boolean(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("is {value:?}, expected true or false")),
    }
}

fn milliseconds(value: u64, least: u64) -> Result<Duration, String> {
    if value < least {
        return Err(format!("is {value}, expected at least {least} milliseconds (3 s are 3000)"));
    }
    Ok(Duration::from_millis(value))
}

fn names(value: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = value
        .split([',', ' ', '\t', '\n', '\r'])
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        return Err(format!("is {value:?}, expected names, separated by commas or spaces"));
    }
    Ok(names)
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    name.parse().map_err(|unknown| format!("contains {name:?}, which is {unknown}"))
}

#[cfg(test)]
mod tests {
    use super::VARIABLES;

    /// Methods that take code or credentials, and single forms of settings that take a list. The
    /// credentials have variables that belong together.
    const WITHOUT_VARIABLE: [&str; 16] = [
        "async_token_resolver",
        "build",
        "cache_store",
        "certificate_resolver",
        "claim_rule",
        "client",
        "clock",
        "dangerous",
        "groups_claim",
        "jwks_resolver",
        "metadata_resolver",
        "renderer",
        "require_claim",
        "shared_store",
        "token_resolver",
        "traceparent",
    ];

    #[test]
    fn every_plain_setting_has_a_method_and_a_variable() {
        let (builder, _) = include_str!("builder.rs").split_once("\npub struct Dangerous").unwrap();
        let parts = [
            builder,
            include_str!("builder/grants.rs"),
            include_str!("builder/hooks.rs"),
            include_str!("builder/introspection.rs"),
            include_str!("builder/limits.rs"),
            include_str!("builder/metadata.rs"),
            include_str!("builder/network.rs"),
            include_str!("builder/parties.rs"),
            include_str!("builder/shared_store.rs"),
            include_str!("builder/trial.rs"),
        ];
        let methods = parts.into_iter().flat_map(|part| part.split("\n    pub fn ").skip(1));
        let mut methods: Vec<_> = methods.filter_map(|text| text.split(['(', '<']).next()).collect();
        methods.push("dangerous().accept_missing_audience");
        methods.sort_unstable();
        let mut known: Vec<_> = VARIABLES.iter().map(|variable| variable.method).collect();
        known.extend(WITHOUT_VARIABLE);
        known.sort_unstable();
        // The variables of credentials belong together.
        known.dedup();
        assert_eq!(methods, known);
    }
}
