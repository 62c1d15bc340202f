//! Validates the settings. All problems are collected, under the names that the operator used.

use std::time::Duration;

use crate::{
    error::{ConfigError, ConfigProblem},
    policy::{GroupsClaim, Rules},
    protect_api::builder::ProtectApiBuilder,
    redact::UrlText,
    response::challenge::is_quotable,
    settings::{ClientSettings, EndpointUrl, IssuerUrl, Settings, Tuning},
};

impl ProtectApiBuilder {
    /// Validates the settings. No other code validates them, and the returned settings are valid.
    pub(crate) fn validate(self, problems: Vec<ConfigProblem>) -> Result<Settings, ConfigError> {
        let mut check = Check { problems, names: self.names.clone() };
        let issuer = check.parsed("issuer", "TENANT_DOMAIN", &self.issuer, IssuerUrl::parse);
        let mut parse_endpoint = |name, url: &Option<UrlText>| {
            url.as_ref().and_then(|url| check.parsed(name, "", url, EndpointUrl::parse))
        };
        let introspection_endpoint = parse_endpoint("introspection_endpoint", &self.introspection_endpoint);
        let jwks_uri = parse_endpoint("jwks_uri", &self.jwks_uri);
        self.check_client(&mut check);
        self.check_rules(&mut check);
        self.check_tuning(&mut check);
        let most = Duration::from_secs(3600);
        let clock_skew = check.seconds("clock_skew", "CLOCK_SKEW", self.clock_skew, most);
        let clock_tolerance = check.seconds("clock_tolerance", "CLOCK_TOLERANCE", self.clock_tolerance, most);
        let tuning = self.tuning;
        let issuer = match issuer {
            Some(issuer) if check.problems.is_empty() => issuer,
            _ => return Err(ConfigError::new(check.problems)),
        };
        Ok(Settings {
            rules: Rules {
                audience: self.audience,
                accept_missing_issuer: self.accept_missing_issuer,
                accept_missing_audience: self.accept_missing_audience,
                required_claims: self.required_claims,
                clock_skew,
                clock_tolerance,
                groups: GroupsClaim::new(&self.groups_claim),
                groups_match_all: self.groups_match_all,
                binding: self.binding,
            },
            issuer,
            client: self.client,
            tuning: Tuning {
                introspect_jwt_tokens: tuning.introspect_jwt_tokens
                    || (introspection_endpoint.is_some() && jwks_uri.is_none()),
                max_stale: tuning.max_stale.max(tuning.metadata_lifetime).max(tuning.jwks_lifetime),
                ..tuning
            },
            introspection_endpoint,
            jwks_uri,
            trust_store: self.trust_store,
        })
    }

    fn check_client(&self, check: &mut Check) {
        check.client(self.client.as_ref());
        let cannot_introspect = "there are no client credentials to introspect with";
        if self.client.is_none() && self.tuning.introspect_jwt_tokens {
            check.problem(
                "introspect_jwt_tokens",
                "INTROSPECT_JWT_TOKENS",
                format!("is true, but {cannot_introspect}"),
            );
        }
        if self.client.is_none() && self.introspection_endpoint.is_some() {
            check.problem("introspection_endpoint", "", format!("is set, but {cannot_introspect}"));
        }
        let uses_mtls = self.client.as_ref().is_some_and(|client| client.authentication.uses_mtls());
        if self.trust_store.is_some() && !uses_mtls {
            let message = "is set, but the client authentication method does not use mutual TLS";
            check.problem("trust_store_id", "TRUST_STORE_ID", message);
        }
        if uses_mtls && !cfg!(feature = "rustls") {
            check.problem(
                "client",
                "CLIENT_AUTH_METHOD",
                "uses mutual TLS, which needs the crate's feature `rustls`",
            );
        }
    }

    fn check_rules(&self, check: &mut Check) {
        if self.audience.trim().is_empty() {
            let message = "is missing or empty, expected the identifier of this API, as in `aud`";
            check.problem("audience", "AUDIENCE", message);
        }
        if self.required_claims.iter().any(|name| name.trim().is_empty()) {
            let message = "contains an empty name, expected are names of claims";
            check.problem("required_claims", "REQUIRED_CLAIMS", message);
        }
        if self.groups_claim.trim().is_empty() {
            check.problem(
                "groups_claim",
                "GROUPS_CLAIM",
                "is empty, expected a claim's name or a JSON pointer",
            );
        }
        if !GroupsClaim::is_well_formed(&self.groups_claim) {
            check.problem(
                "groups_claim",
                "GROUPS_CLAIM",
                "starts with `/` and is not a JSON pointer: each `~` in it must be followed by `0` or `1` (RFC 6901)",
            );
        }
    }

    fn check_verdict_durations(&self, check: &mut Check) {
        let tuning = &self.tuning;
        let (active, inactive) = (tuning.introspection_cache.unwrap_or_default(), tuning.inactive_cache);
        if inactive.is_some_and(|inactive| inactive > active) {
            let seen = inactive.unwrap_or_default();
            check.problem(
                "inactive_cache_duration",
                "INACTIVE_CACHE_DURATION",
                format!("is {seen:?}, expected at most the duration of the introspection cache, which is {active:?}"),
            );
        }
        if self.hooks.cache.is_none() {
            return;
        }
        for (method, duration) in [
            ("introspection_cache_duration", active),
            ("inactive_cache_duration", inactive.unwrap_or_default()),
        ] {
            if !duration.is_zero() && duration < Duration::from_secs(1) {
                let message =
                    format!("is {duration:?}, expected at least 1s: the store keeps ages in whole seconds");
                check.problem(method, "", message);
            }
        }
    }

    fn check_tuning(&self, check: &mut Check) {
        let tuning = &self.tuning;
        let (second, hour, day) =
            (Duration::from_secs(1), Duration::from_secs(3600), Duration::from_secs(86_400));
        let (instant, two_minutes) = (Duration::from_millis(1), Duration::from_secs(120));
        let verdicts = tuning.introspection_cache.unwrap_or_default();
        for (method, variable, value, least, most) in [
            ("metadata_cache_duration", "METADATA_CACHE_DURATION", tuning.metadata_lifetime, second, day),
            ("jwks_cache_duration", "JWKS_CACHE_DURATION", tuning.jwks_lifetime, second, day),
            ("jwks_cooldown", "", tuning.jwks_cooldown, second, hour),
            ("max_stale", "", tuning.max_stale, second, 7 * day),
            ("response_timeout", "RESPONSE_TIMEOUT", tuning.response_timeout, instant, two_minutes),
            ("introspection_cache_duration", "INTROSPECTION_CACHE_DURATION", verdicts, Duration::ZERO, day),
        ] {
            check.range(method, variable, value, least, most);
        }
        for (method, value) in [
            ("max_response_size", tuning.max_response_size),
            ("max_token_length", tuning.max_token_length),
            ("max_calls", tuning.max_calls),
            ("cache_entries", tuning.cache_entries),
        ] {
            if value == 0 {
                check.problem(method, "", "is 0, expected at least 1");
            }
        }
        if tuning.algorithms.is_empty() {
            check.problem("algorithms", "", "is an empty list: no JWT could pass");
        }
        if self.hooks.cache.is_some() && tuning.introspection_cache.is_none() {
            check.problem(
                "cache_store",
                "",
                "is set without introspection_cache_duration: no verdict would be cached",
            );
        }
        self.check_verdict_durations(check);
        let (realm, metadata) = (tuning.realm.as_deref(), tuning.resource_metadata.as_ref());
        if metadata.is_some_and(UrlText::may_hold_credentials) {
            let message = "may hold credentials, expected a URL without: every caller can read it";
            check.problem("resource_metadata", "", message);
        }
        for (method, variable, value) in
            [("realm", "REALM", realm), ("resource_metadata", "", metadata.map(UrlText::as_str))]
        {
            if value.is_some_and(|value| !is_quotable(value)) {
                check.problem(
                    method,
                    variable,
                    "has characters outside printable ASCII, which a header cannot carry",
                );
            }
        }
    }
}

/// The name of each setting: the builder method or the variable.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingNames {
    /// The prefix of the variables; `None` for builder methods.
    prefix: Option<String>,
}

impl SettingNames {
    pub(crate) fn variables(prefix: &str) -> Self {
        Self { prefix: Some(prefix.to_owned()) }
    }

    fn name(&self, method: &str, variable: &str) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix}{variable}"),
            None => method.to_owned(),
        }
    }
}

/// Collects the problems of a configuration.
struct Check {
    problems: Vec<ConfigProblem>,
    names: SettingNames,
}

impl Check {
    fn problem(&mut self, method: &str, variable: &str, message: impl Into<String>) {
        self.problems.push(ConfigProblem::new(self.names.name(method, variable), message));
    }

    fn parsed<T>(
        &mut self,
        method: &str,
        variable: &str,
        url: &UrlText,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        match parse(url.as_str()) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.problem(method, variable, format!("is {url:?}, expected {expected}"));
                None
            }
        }
    }

    fn seconds(&mut self, method: &str, variable: &str, value: Duration, most: Duration) -> i64 {
        if value > most || value.subsec_nanos() > 0 {
            self.problem(
                method,
                variable,
                format!("is {value:?}, expected whole seconds up to {}", most.as_secs()),
            );
        }
        i64::try_from(value.as_secs()).unwrap_or(i64::MAX)
    }

    fn range(&mut self, method: &str, variable: &str, value: Duration, least: Duration, most: Duration) {
        if !(least..=most).contains(&value) {
            // `Duration` prints zero as "0ns", which no operator writes.
            let seen = if value.is_zero() { "0s".to_owned() } else { format!("{value:?}") };
            self.problem(
                method,
                variable,
                format!("is {seen}, expected a duration from {least:?} to {most:?}"),
            );
        }
    }

    fn client(&mut self, client: Option<&ClientSettings>) {
        let Some(client) = client else { return };
        if client.id.is_empty() {
            self.problem("client", "CLIENT_ID", "is empty");
        }
        if let Err(message) = client.authentication.check(&client.id) {
            let method = client.authentication.method();
            let variable = match method {
                "spiffe_jwt" => "SPIFFE_JWT_FILE",
                _ if client.authentication.uses_mtls() => "CLIENT_CERTIFICATE_FILE",
                _ => "CLIENT_SECRET",
            };
            self.problem("client", variable, format!("does not fit {method}: {message}"));
        }
    }
}
