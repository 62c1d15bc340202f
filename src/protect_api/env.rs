//! Reads the environment variables. No other module reads them.

use std::{collections::BTreeSet, ffi::OsString, str::FromStr, time::Duration};

use serde::Deserialize;

use crate::{
    client_auth::{ClientAuthentication, ClientIdentity, SecretSource},
    error::{ConfigError, ConfigProblem},
    protect_api::{ProtectApi, builder::ProtectApiBuilder, validate::SettingNames},
    secret::Secret,
};

pub(crate) const PREFIX: &str = "MONOCLOUD_BACKEND_";

/// Reads the variables of the process.
pub(crate) fn from_process(prefix: &str) -> Result<ProtectApi, ConfigError> {
    from_variables(prefix, std::env::vars_os())
}

/// Reads the given variables. Those without the prefix are ignored.
pub(crate) fn from_variables(
    prefix: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<ProtectApi, ConfigError> {
    let mut reader = VariableReader { prefix, problems: Vec::new() };
    let values = reader.values(variables);
    let builder = reader.builder(values);
    builder.reported_as(SettingNames::variables(prefix)).build_with(reader.problems)
}

/// Every variable, without its prefix and in lower case.
#[derive(Default, Deserialize)]
struct Values {
    tenant_domain: Option<String>,
    audience: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    client_secret_file: Option<String>,
    client_auth_method: Option<String>,
    client_secret_basic_encoding: Option<String>,
    client_assertion_audience: Option<String>,
    client_certificate_file: Option<String>,
    client_key_file: Option<String>,
    spiffe_jwt_file: Option<String>,
    trust_store_id: Option<String>,
    groups_claim: Option<String>,
    groups_match_all: Option<String>,
    clock_skew: Option<String>,
    clock_tolerance: Option<String>,
    jwks_cache_duration: Option<String>,
    metadata_cache_duration: Option<String>,
    introspect_jwt_tokens: Option<String>,
    validate_certificate_binding: Option<String>,
    response_timeout: Option<String>,
    introspection_cache_duration: Option<String>,
    inactive_cache_duration: Option<String>,
    accept_missing_issuer: Option<String>,
    dangerously_accept_missing_audience: Option<String>,
    required_claims: Option<String>,
    realm: Option<String>,
}

/// The names of all variables. Another name with the prefix is reported as unknown.
const KNOWN: [&str; 27] = [
    "TENANT_DOMAIN",
    "AUDIENCE",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "CLIENT_SECRET_FILE",
    "CLIENT_AUTH_METHOD",
    "CLIENT_SECRET_BASIC_ENCODING",
    "CLIENT_ASSERTION_AUDIENCE",
    "CLIENT_CERTIFICATE_FILE",
    "CLIENT_KEY_FILE",
    "SPIFFE_JWT_FILE",
    "TRUST_STORE_ID",
    "GROUPS_CLAIM",
    "GROUPS_MATCH_ALL",
    "CLOCK_SKEW",
    "CLOCK_TOLERANCE",
    "JWKS_CACHE_DURATION",
    "METADATA_CACHE_DURATION",
    "INTROSPECT_JWT_TOKENS",
    "VALIDATE_CERTIFICATE_BINDING",
    "RESPONSE_TIMEOUT",
    "INTROSPECTION_CACHE_DURATION",
    "INACTIVE_CACHE_DURATION",
    "ACCEPT_MISSING_ISSUER",
    "DANGEROUSLY_ACCEPT_MISSING_AUDIENCE",
    "REQUIRED_CLAIMS",
    "REALM",
];

/// Variables for which an empty value is an error. Their default may be a weaker check than intended, or (for the
/// method) may send a private key as if it were a secret. Every other variable is treated as unset if it is empty.
const NEVER_EMPTY: [&str; 5] = [
    "CLIENT_AUTH_METHOD",
    "GROUPS_MATCH_ALL",
    "INTROSPECT_JWT_TOKENS",
    "VALIDATE_CERTIFICATE_BINDING",
    "REQUIRED_CLAIMS",
];

struct VariableReader<'p> {
    prefix: &'p str,
    problems: Vec<ConfigProblem>,
}

impl VariableReader<'_> {
    fn problem(&mut self, variable: &str, message: impl Into<String>) {
        self.problems.push(ConfigProblem::new(format!("{}{variable}", self.prefix), message));
    }

    /// Returns the values of known variables with the prefix that are Unicode and not blank. Other variables of the
    /// process may have any value.
    fn values(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) -> Values {
        let mut ours = Vec::new();
        let mut seen = BTreeSet::new();
        for (name, value) in variables {
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(self.prefix)).map(str::to_owned)
            else {
                continue;
            };
            if !seen.insert(name.clone()) {
                self.problem(&name, "is set twice");
                continue;
            }
            if !KNOWN.contains(&name.as_str()) {
                log::warn!(target: crate::LOG, event = "unknown_variable"; "{}{name} is not a known variable and is ignored", self.prefix);
                continue;
            }
            match value.into_string() {
                Ok(value) if value.trim().is_empty() && NEVER_EMPTY.contains(&name.as_str()) => {
                    self.problem(&name, "is empty: it decides which check is made, so set it or remove it");
                }
                Ok(value) if value.trim().is_empty() => {}
                Ok(value) => ours.push((name, value.trim().to_owned())),
                Err(_) => self.problem(&name, "is not Unicode"),
            }
        }
        // Every field is an optional string, and no name occurs twice or in two letter cases, so this cannot fail.
        envy::from_iter(ours).unwrap_or_default()
    }

    fn builder(&mut self, values: Values) -> ProtectApiBuilder {
        for (variable, value) in [("TENANT_DOMAIN", &values.tenant_domain), ("AUDIENCE", &values.audience)] {
            if value.is_none() {
                self.problem(variable, "is missing");
            }
        }
        let client = self.client(&values);
        // A placeholder keeps the builder from reporting a missing value a second time.
        let issuer = values.tenant_domain.unwrap_or_else(|| "missing.invalid".to_owned());
        let audience = values.audience.unwrap_or_else(|| "missing".to_owned());
        let mut builder = ProtectApiBuilder::new(issuer, audience);
        if let Some((id, authentication)) = client {
            builder = builder.client(id, authentication);
        }
        if let Some(id) = values.trust_store_id {
            builder = builder.trust_store_id(id);
        }
        if let Some(claim) = values.groups_claim {
            builder = builder.groups_claim(claim);
        }
        if let Some(names) = values.required_claims {
            let names = names.split([',', ' ', '\t', '\n', '\r']).filter(|name| !name.is_empty());
            let names: Vec<_> = names.collect();
            if names.is_empty() {
                self.problem("REQUIRED_CLAIMS", "names no claim");
            }
            builder = builder.required_claims(names);
        }
        if let Some(realm) = values.realm {
            builder = builder.realm(realm);
        }
        if let Some(all) = self.boolean("GROUPS_MATCH_ALL", values.groups_match_all) {
            builder = builder.groups_match_all(all);
        }
        if let Some(introspect) = self.boolean("INTROSPECT_JWT_TOKENS", values.introspect_jwt_tokens) {
            builder = builder.introspect_jwt_tokens(introspect);
        }
        if let Some(accept) = self.boolean("ACCEPT_MISSING_ISSUER", values.accept_missing_issuer) {
            builder = builder.accept_missing_issuer(accept);
        }
        if self.boolean("DANGEROUSLY_ACCEPT_MISSING_AUDIENCE", values.dangerously_accept_missing_audience)
            == Some(true)
        {
            builder = builder.dangerous().accept_missing_audience();
        }
        if let Some(skew) = self.seconds("CLOCK_SKEW", values.clock_skew) {
            builder = builder.clock_skew(skew);
        }
        if let Some(tolerance) = self.seconds("CLOCK_TOLERANCE", values.clock_tolerance) {
            builder = builder.clock_tolerance(tolerance);
        }
        if let Some(lifetime) = self.seconds("JWKS_CACHE_DURATION", values.jwks_cache_duration) {
            builder = builder.jwks_cache_duration(lifetime);
        }
        if let Some(lifetime) = self.seconds("METADATA_CACHE_DURATION", values.metadata_cache_duration) {
            builder = builder.metadata_cache_duration(lifetime);
        }
        if let Some(duration) =
            self.seconds("INTROSPECTION_CACHE_DURATION", values.introspection_cache_duration)
        {
            builder = builder.introspection_cache_duration(duration);
        }
        if let Some(audience) =
            self.parsed("CLIENT_ASSERTION_AUDIENCE", values.client_assertion_audience, "issuer or endpoint")
        {
            builder = builder.client_assertion_audience(audience);
        }
        if let Some(duration) = self.seconds("INACTIVE_CACHE_DURATION", values.inactive_cache_duration) {
            builder = builder.inactive_cache_duration(duration);
        }
        if let Some(milliseconds) =
            self.parsed("RESPONSE_TIMEOUT", values.response_timeout, "a whole number of milliseconds")
        {
            builder = builder.response_timeout(Duration::from_millis(milliseconds));
        }
        let wanted = "when_present, required or dangerously_ignore";
        if let Some(binding) =
            self.parsed("VALIDATE_CERTIFICATE_BINDING", values.validate_certificate_binding, wanted)
        {
            builder = builder.certificate_binding(binding);
        }
        builder
    }

    fn boolean(&mut self, variable: &str, value: Option<String>) -> Option<bool> {
        let value = value?;
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => {
                self.problem(variable, format!("is {value:?}, expected true or false"));
                None
            }
        }
    }

    fn seconds(&mut self, variable: &str, value: Option<String>) -> Option<Duration> {
        self.parsed(variable, value, "a whole number of seconds").map(Duration::from_secs)
    }

    fn parsed<T: FromStr>(&mut self, variable: &str, value: Option<String>, wanted: &str) -> Option<T> {
        let value = value?;
        let parsed = value.parse().ok();
        if parsed.is_none() {
            self.problem(variable, format!("is {value:?}, expected {wanted}"));
        }
        parsed
    }

    /// Returns the id and the credentials of the client, for its authentication method.
    fn client(&mut self, values: &Values) -> Option<(String, ClientAuthentication)> {
        let method = values.client_auth_method.as_deref().unwrap_or("client_secret_post");
        let Some(id) = values.client_id.clone() else {
            for (variable, value) in [
                ("CLIENT_SECRET", &values.client_secret),
                ("CLIENT_SECRET_FILE", &values.client_secret_file),
                ("CLIENT_CERTIFICATE_FILE", &values.client_certificate_file),
                ("CLIENT_KEY_FILE", &values.client_key_file),
                ("SPIFFE_JWT_FILE", &values.spiffe_jwt_file),
                ("CLIENT_AUTH_METHOD", &values.client_auth_method),
            ] {
                if value.is_some() {
                    self.problem("CLIENT_ID", format!("is missing, but {}{variable} is set", self.prefix));
                }
            }
            return None;
        };
        let authentication = match method {
            "client_secret_post" => ClientAuthentication::client_secret_post(self.secret(values, method)?),
            "client_secret_basic" => {
                let secret = self.secret(values, method);
                match values.client_secret_basic_encoding.as_deref() {
                    None | Some("form") => ClientAuthentication::client_secret_basic(secret?),
                    Some("raw") => ClientAuthentication::client_secret_basic_raw(secret?),
                    Some(other) => {
                        self.problem(
                            "CLIENT_SECRET_BASIC_ENCODING",
                            format!("is {other:?}, expected form or raw"),
                        );
                        return None;
                    }
                }
            }
            "client_secret_jwt" => ClientAuthentication::client_secret_jwt(self.secret(values, method)?),
            "private_key_jwt" => ClientAuthentication::private_key_jwt(self.secret(values, method)?),
            "tls_client_auth" => ClientAuthentication::tls_client_auth(self.identity(values, method)?),
            "self_signed_tls_client_auth" => {
                ClientAuthentication::self_signed_tls_client_auth(self.identity(values, method)?)
            }
            "spiffe_x509" => ClientAuthentication::spiffe_x509(self.identity(values, method)?),
            "spiffe_jwt" => {
                if values.spiffe_jwt_file.is_none() {
                    self.problem(
                        "SPIFFE_JWT_FILE",
                        format!("is missing, {method} needs the path of a JWT-SVID"),
                    );
                }
                ClientAuthentication::spiffe_jwt(values.spiffe_jwt_file.as_ref()?)
            }
            other => {
                self.problem(
                    "CLIENT_AUTH_METHOD",
                    format!(
                        "is {other:?}, expected one of client_secret_post, client_secret_basic, client_secret_jwt, \
                         private_key_jwt, tls_client_auth, self_signed_tls_client_auth, spiffe_jwt, spiffe_x509"
                    ),
                );
                return None;
            }
        };
        Some((id, authentication))
    }

    fn secret(&mut self, values: &Values, method: &str) -> Option<SecretSource> {
        match (&values.client_secret, &values.client_secret_file) {
            (Some(secret), None) => Some(Secret::from(secret.as_str()).into()),
            (None, Some(path)) => Some(SecretSource::file(path)),
            (Some(_), Some(_)) => {
                self.problem(
                    "CLIENT_SECRET",
                    format!("and {}CLIENT_SECRET_FILE are both set, expected one of them", self.prefix),
                );
                None
            }
            (None, None) => {
                let what =
                    if method == "private_key_jwt" { "a private key as JWK" } else { "the client's secret" };
                self.problem(
                    "CLIENT_SECRET",
                    format!(
                        "is missing, {method} needs {what} there or in {}CLIENT_SECRET_FILE",
                        self.prefix
                    ),
                );
                None
            }
        }
    }

    fn identity(&mut self, values: &Values, method: &str) -> Option<ClientIdentity> {
        let files = [
            ("CLIENT_CERTIFICATE_FILE", &values.client_certificate_file),
            ("CLIENT_KEY_FILE", &values.client_key_file),
        ];
        for (variable, value) in files {
            if value.is_none() {
                self.problem(variable, format!("is missing, {method} needs the path of a PEM file"));
            }
        }
        match (&values.client_certificate_file, &values.client_key_file) {
            (Some(certificate), Some(key)) => Some(ClientIdentity::from_pem_files(certificate, key)),
            _ => None,
        }
    }
}
