//! Validates the settings. All problems are collected, under the names that the operator used.

mod documents;
mod durations;
mod grants;
mod introspection;
mod issuer;
mod network;
mod resources;
mod shared_store;
mod trial;
mod unused;
mod verdict_cache;

use self::durations::RuleTimes;
use crate::{
    claims::scope_mapping::ScopeMapping,
    error::{ConfigError, ConfigProblem},
    policy::{GroupsMapping, RequiredClaim, Rules},
    protect_api::{builder::ProtectApiBuilder, env::VariableSource},
    redact::UrlText,
    response::challenge::{imitated_parameter, is_quotable},
    settings::{ClientSettings, EndpointUrl, Settings, Tuning},
};

impl ProtectApiBuilder {
    /// Validates the settings. No other code validates them, and the returned settings are valid.
    pub(crate) fn validate(mut self) -> Result<Settings, ConfigError> {
        let source = self.source.take();
        let mut check = Check::new(source.as_ref());
        check.problems.append(&mut self.profile_problems);
        let issuer = self.check_issuer(&mut check);
        let mut parse_endpoint = |name, url: &Option<UrlText>| {
            url.as_ref().and_then(|url| check.parsed(name, url, EndpointUrl::parse))
        };
        let introspection_endpoint = parse_endpoint("introspection_endpoint", &self.introspection_endpoint);
        let jwks_uri = parse_endpoint("jwks_uri", &self.jwks_uri);
        let metadata_url = parse_endpoint("metadata_url", &self.metadata_url);
        self.check_token_issuers(issuer.as_ref(), &mut check);
        self.check_documents(issuer.as_ref(), &mut check);
        let introspect_jwt_tokens = self.introspects_jwts();
        self.check_client(&mut check);
        self.check_rules(&mut check);
        self.check_tuning(&mut check);
        let RuleTimes { clock_skew, clock_tolerance, max_token_age } = self.check_rule_times(&mut check);
        let resources = self.check_resources(&mut check);
        let hierarchy = self.check_hierarchy(&mut check);
        let network = self.check_network(&mut check);
        let trial = self.check_trial(&mut check);
        let request_extras = self.check_introspection_fields(&mut check);
        self.check_unused(&mut check);
        let tuning = self.tuning;
        check.finish()?;
        // Without an issuer there was a problem.
        let Some(issuer) = issuer else { return Err(ConfigError::new(Vec::new())) };
        Ok(Settings {
            rules: Rules {
                token_issuers: self.token_issuers,
                audiences: self.audiences,
                accept_missing_issuer: self.accept_missing_issuer,
                accept_missing_audience: self.accept_missing_audience,
                allowed_clients: self.allowed_clients.unwrap_or_default(),
                required_claims: self.required_claims,
                max_token_age,
                custom: self.claim_rules,
                clock_skew,
                clock_tolerance,
                scopes: ScopeMapping { claims: self.scope_claims, prefix: self.scope_prefix },
                hierarchy,
                groups: GroupsMapping::new(&self.groups_claims, self.groups_delimited),
                groups_match_all: self.groups_match_all,
                binding: self.binding,
            },
            issuer,
            trial,
            metadata_url,
            client: self.client,
            tuning: Tuning {
                introspect_jwt_tokens,
                max_stale: tuning.max_stale.max(tuning.metadata_lifetime).max(tuning.jwks_lifetime),
                ..tuning
            },
            introspection_endpoint,
            request_extras,
            jwks_uri,
            metadata_document: self.metadata_document,
            jwks_document: self.jwks_document,
            document_directory: self.document_directory,
            trust_store: self.trust_store,
            resources,
            network,
        })
    }

    fn check_client(&self, check: &mut Check<'_>) {
        check.client(self.client.as_ref());
        let cannot_introspect = "there are no client credentials to introspect with";
        if self.client.is_none() && self.tuning.introspect_jwt_tokens {
            check.problem("introspect_jwt_tokens", format!("is true, but {cannot_introspect}"));
        }
        if self.client.is_none() && self.tuning.introspection_cache.is_some() {
            check.problem("introspection_cache_duration", format!("is set, but {cannot_introspect}"));
        }
        if self.client.is_none() && self.introspection_endpoint.is_some() {
            check.problem("introspection_endpoint", format!("is set, but {cannot_introspect}"));
        }
        let uses_mtls = self.client.as_ref().is_some_and(|client| client.authentication.uses_mtls());
        if self.trust_store.is_some() && !uses_mtls {
            let message = "is set, but the client authentication method does not use mutual TLS";
            check.problem("trust_store_id", message);
        }
        if uses_mtls && !cfg!(feature = "rustls") {
            check.problem("client", "uses mutual TLS, which needs the crate's feature `rustls`");
        }
    }

    fn check_rules(&self, check: &mut Check<'_>) {
        let is_for_clients = self.audiences.is_empty() && self.allowed_clients.is_some();
        if !is_for_clients && self.audiences.iter().all(|audience| audience.trim().is_empty()) {
            check.missing("audience", "the identifier of this API, as in `aud`");
        }
        // In code an identifier may have a space. In a variable it is usually meant as a list.
        let is_list = |audience: &&String| audience.contains([',', ' ', '\t', '\n']);
        if check.is_variable("audience")
            && let Some(list) = self.audiences.iter().find(is_list)
        {
            let several = check.expected_name("audiences");
            let message =
                format!("is {list:?}, expected one identifier; the variable {several} takes several");
            check.problem("audience", message);
        }
        if check.is_variable("audience") && check.is_variable("audiences") {
            let message = format!("is set, but {} is set too, expected one of them", check.name("audience"));
            check.problem("audiences", message);
        }
        if let Some(clients) = &self.allowed_clients
            && (clients.is_empty() || clients.iter().any(|client| client.trim().is_empty()))
        {
            check.problem("allowed_clients", "is an empty list or contains an empty id, expected client ids");
        }
        self.check_required_claims(check);
        self.check_grants(check);
    }

    fn check_required_claims(&self, check: &mut Check<'_>) {
        if self.required_claims.iter().any(|claim| claim.name.trim().is_empty()) {
            let message = "contains an empty name, expected are names of claims";
            check.problem("required_claims", message);
        }
        let has_no_value = |claim: &&RequiredClaim| claim.values.as_ref().is_some_and(Vec::is_empty);
        if let Some(claim) = self.required_claims.iter().find(has_no_value) {
            let message = format!("has no value for {:?}, expected at least one", claim.name);
            check.problem("require_claim", message);
        }
        let has_empty_value = |claim: &RequiredClaim| claim.values.iter().flatten().any(String::is_empty);
        if check.is_variable("required_claims") && self.required_claims.iter().any(has_empty_value) {
            check.problem("required_claims", "contains an empty value, expected `name` or `name=value`");
        }
    }

    fn check_tuning(&self, check: &mut Check<'_>) {
        let tuning = &self.tuning;
        self.check_durations(check);
        for (method, value) in [
            ("max_response_size", tuning.max_response_size),
            ("max_token_length", tuning.max_token_length),
            ("max_calls", tuning.max_calls),
            ("cache_entries", tuning.cache_entries),
            ("max_revocations", tuning.max_revocations),
        ] {
            if value == 0 {
                check.problem(method, "is 0, expected at least 1");
            }
        }
        if tuning.algorithms.is_empty() {
            check.problem("algorithms", "is an empty list: no JWT could pass");
        }
        self.check_verdict_cache(check);
        self.check_shared_store(check);
        let (realm, metadata) = (tuning.realm.as_deref(), tuning.resource_metadata.as_ref());
        if metadata.is_some_and(UrlText::may_hold_credentials) {
            let message = "may hold credentials, expected a URL without: every caller can read it";
            check.problem("resource_metadata", message);
        }
        for (method, value) in [("realm", realm), ("resource_metadata", metadata.map(UrlText::as_str))] {
            if value.is_some_and(|value| !is_quotable(value)) {
                check.problem(method, "has characters outside printable ASCII, which a header cannot carry");
            }
            if let Some(parameter) = value.and_then(imitated_parameter) {
                let message = format!(
                    "contains {parameter:?}, expected no text that clients read as another parameter"
                );
                check.problem(method, message);
            }
        }
    }
}

/// Collects the problems of a configuration.
struct Check<'s> {
    problems: Vec<ConfigProblem>,
    warnings: Vec<ConfigProblem>,
    source: Option<&'s VariableSource>,
}

impl<'s> Check<'s> {
    /// Starts with the problems of the variables.
    fn new(source: Option<&'s VariableSource>) -> Self {
        let problems = source.map(|source| source.problems.clone()).unwrap_or_default();
        Self { problems, warnings: Vec::new(), source }
    }

    /// Returns the name of a setting for its operator: of the variable, if one is set, otherwise of the builder method.
    fn name(&self, method: &str) -> String {
        self.source.and_then(|source| source.variable(method, false)).unwrap_or_else(|| method.to_owned())
    }

    /// Returns the name of a setting that is expected: of the variable if variables were read, otherwise of the builder method.
    fn expected_name(&self, method: &str) -> String {
        self.source.and_then(|source| source.variable(method, true)).unwrap_or_else(|| method.to_owned())
    }

    /// Returns whether the variable of this method is set.
    fn is_variable(&self, method: &str) -> bool {
        self.source.is_some_and(|source| source.variable(method, false).is_some())
    }

    /// Returns whether all of these variables are set.
    fn are_set<const N: usize>(&self, names: [&str; N]) -> bool {
        self.source.is_some_and(|source| names.into_iter().all(|name| source.first_set(&[name]).is_some()))
    }

    fn problem(&mut self, method: &str, message: impl Into<String>) {
        self.problems.push(ConfigProblem::new(self.name(method), message));
    }

    /// Adds a warning, which is logged if there are no problems.
    fn warn(&mut self, method: &str, message: impl Into<String>) {
        self.warnings.push(ConfigProblem::new(self.name(method), message));
    }

    /// Reports a required setting that is missing.
    fn missing(&mut self, method: &str, expected: &str) {
        let name = self.expected_name(method);
        self.problems.push(ConfigProblem::new(name, format!("is missing, expected {expected}")));
    }

    /// Ends with an error if there are problems. It names the unknown variables too, because one of them may be the
    /// misspelt name of a missing one. Without problems, unknown variables and warnings are logged.
    fn finish(mut self) -> Result<(), ConfigError> {
        let source = self.source;
        let unknown = |is_ignored| source.into_iter().flat_map(move |source| source.unknown(is_ignored));
        if !self.problems.is_empty() {
            self.problems.extend(unknown(false));
            return Err(ConfigError::new(self.problems));
        }
        for problem in unknown(true) {
            record!(log::Level::Warn, event = "unknown_variable"; "{problem}");
        }
        let is_new = |warning: &&ConfigProblem| self.warnings.iter().all(|known| known.name != warning.name);
        let of_variables = self.source.into_iter().flat_map(|source| &source.warnings).filter(is_new);
        for warning in self.warnings.iter().chain(of_variables) {
            record!(log::Level::Warn, event = "questionable_setting"; "{warning}");
        }
        Ok(())
    }

    fn parsed<T>(
        &mut self,
        method: &str,
        url: &UrlText,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        match parse(url.as_str()) {
            Ok(value) => Some(value),
            Err(expected) => {
                self.problem(method, format!("is {url:?}, expected {expected}"));
                None
            }
        }
    }

    fn client(&mut self, client: Option<&ClientSettings>) {
        let Some(client) = client else { return };
        if client.id.is_empty() {
            self.problem("client", "has an empty id");
        }
        if let Err(message) = client.authentication.check(&client.id) {
            let method = client.authentication.method();
            let variables = match method {
                "spiffe_jwt" => ["SPIFFE_JWT_FILE"].as_slice(),
                _ if client.authentication.uses_mtls() => &["CLIENT_CERTIFICATE_FILE"],
                _ => &["CLIENT_SECRET", "CLIENT_SECRET_FILE"],
            };
            let name = self.source.and_then(|source| source.first_set(variables));
            self.problems.push(ConfigProblem::new(
                name.unwrap_or_else(|| "client".to_owned()),
                format!("does not fit {method}: {message}"),
            ));
        }
    }
}
