//! Reads the variables of the process, or given ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
};

use serde::Deserialize;

use super::variables::VARIABLES;
use crate::{
    client_auth::{ClientAuthentication, ClientIdentity, SecretSource},
    error::ConfigProblem,
    protect_api::builder::ProtectApiBuilder,
    secret::Secret,
};

pub(crate) const PREFIX: &str = "MONOCLOUD_BACKEND_";

/// Reads the variables of the process whose names start with the prefix.
pub(crate) fn from_process(prefix: &str) -> ProtectApiBuilder {
    from_variables(prefix, std::env::vars_os())
}

/// Reads the given variables whose names start with the prefix.
pub(crate) fn from_variables(
    prefix: &str,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> ProtectApiBuilder {
    let mut reader =
        VariableReader { prefix, problems: Vec::new(), warnings: Vec::new(), unknown: Vec::new() };
    let values = reader.values(variables);
    let mut builder = ProtectApiBuilder::new();
    for variable in VARIABLES {
        let Some(value) = values.get(variable.name) else { continue };
        match variable.parse(value) {
            Ok(change) => builder = change(builder),
            Err(message) => reader.problem(variable.name, message),
        }
        if let Some(message) = variable.doubt(value) {
            reader.warn(variable.name, message);
        }
    }
    let names: BTreeSet<String> = values.keys().cloned().collect();
    // Every field is an optional string, and no name occurs twice or in two letter cases: this cannot fail.
    let client = envy::from_iter(values).unwrap_or_default();
    if let Some((id, authentication)) = reader.client(&client) {
        builder = builder.client(id, authentication);
    }
    builder.source = Some(VariableSource {
        prefix: prefix.to_owned(),
        names,
        problems: reader.problems,
        warnings: reader.warnings,
        unknown: reader.unknown,
    });
    builder
}

/// The variables from which a builder was made.
#[derive(Debug)]
pub(crate) struct VariableSource {
    prefix: String,
    /// The names of the variables that are set, without the prefix.
    names: BTreeSet<String>,
    pub(crate) problems: Vec<ConfigProblem>,
    pub(crate) warnings: Vec<ConfigProblem>,
    /// The names that no setting has, without the prefix.
    unknown: Vec<String>,
}

impl VariableSource {
    /// Returns the variable of a builder method, if the variable is set or `is_missing`.
    pub(crate) fn variable(&self, method: &str, is_missing: bool) -> Option<String> {
        let is_set = |name: &&str| is_missing || self.names.contains(*name);
        let name = match method {
            "client" => CLIENT_VARIABLES.into_iter().find(is_set),
            method => {
                let variables = VARIABLES.iter().filter(|variable| variable.method == method);
                variables.map(|variable| variable.name).find(is_set)
            }
        };
        name.map(|name| format!("{}{name}", self.prefix))
    }

    /// Returns the full name of one of these variables: the first that is set.
    pub(crate) fn first_set(&self, names: &[&str]) -> Option<String> {
        names.iter().find(|name| self.names.contains(**name)).map(|name| format!("{}{name}", self.prefix))
    }

    /// Describes each unknown variable, with the known name that resembles it most.
    pub(crate) fn unknown(&self, is_ignored: bool) -> impl Iterator<Item = ConfigProblem> + use<'_> {
        self.unknown.iter().map(move |name| {
            let effect = if is_ignored { " and is ignored" } else { "" };
            let meant = nearest(name).map(|known| format!("; is {}{known} meant?", self.prefix));
            let message = format!("is not a known variable{effect}{}", meant.unwrap_or_default());
            ConfigProblem::new(format!("{}{name}", self.prefix), message)
        })
    }
}

/// Returns the known name that resembles an unknown one most.
fn nearest(unknown: &str) -> Option<&'static str> {
    // Names of the issuer in other products, which are not similar to the name in this crate.
    if ["ISSUER", "ISSUER_URL", "ISSUER_URI", "AUTHORITY", "DOMAIN"].contains(&unknown) {
        return Some("TENANT_DOMAIN");
    }
    let known = VARIABLES.iter().map(|variable| variable.name).chain(CLIENT_VARIABLES);
    let similar = known.map(|name| (strsim::normalized_damerau_levenshtein(unknown, name), name));
    let (similarity, name) = similar.max_by(|left, right| left.0.total_cmp(&right.0))?;
    (similarity >= 0.6).then_some(name)
}

/// The variables of the client credentials, which belong together.
#[derive(Default, Deserialize)]
struct ClientVariables {
    client_id: Option<String>,
    client_secret: Option<String>,
    client_secret_file: Option<String>,
    client_auth_method: Option<String>,
    client_secret_basic_encoding: Option<String>,
    client_certificate_file: Option<String>,
    client_key_file: Option<String>,
    spiffe_jwt_file: Option<String>,
}

const CLIENT_VARIABLES: [&str; 8] = [
    "CLIENT_ID",
    "CLIENT_SECRET",
    "CLIENT_SECRET_FILE",
    "CLIENT_AUTH_METHOD",
    "CLIENT_SECRET_BASIC_ENCODING",
    "CLIENT_CERTIFICATE_FILE",
    "CLIENT_KEY_FILE",
    "SPIFFE_JWT_FILE",
];

struct VariableReader<'p> {
    prefix: &'p str,
    problems: Vec<ConfigProblem>,
    warnings: Vec<ConfigProblem>,
    unknown: Vec<String>,
}

impl VariableReader<'_> {
    fn problem(&mut self, variable: &str, message: impl Into<String>) {
        self.problems.push(ConfigProblem::new(format!("{}{variable}", self.prefix), message));
    }

    fn warn(&mut self, variable: &str, message: impl Into<String>) {
        self.warnings.push(ConfigProblem::new(format!("{}{variable}", self.prefix), message));
    }

    /// Returns the values of the known variables with the prefix that are not blank. Other variables of the process may
    /// have any bytes.
    fn values(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
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
            let setting = VARIABLES.iter().find(|variable| variable.name == name);
            if setting.is_none() && !CLIENT_VARIABLES.contains(&name.as_str()) {
                self.unknown.push(name);
                continue;
            }
            // With an empty method, a private key could be sent as if it were a secret.
            let must_not_be_empty =
                setting.map_or(name == "CLIENT_AUTH_METHOD", super::variables::Variable::must_not_be_empty);
            match value.into_string() {
                Ok(value) if value.trim().is_empty() && must_not_be_empty => {
                    self.problem(&name, "is empty: it decides which check is made, so set it or remove it");
                }
                Ok(value) if value.trim().is_empty() => {}
                Ok(value) => {
                    values.insert(name, value.trim().to_owned());
                }
                Err(_) => self.problem(&name, "is not Unicode"),
            }
        }
        values
    }

    /// Returns the client's id and credentials, as its authentication method needs them.
    fn client(&mut self, values: &ClientVariables) -> Option<(String, ClientAuthentication)> {
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
        self.warn_of_unused(values, method);
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
            "bearer" => ClientAuthentication::bearer(self.secret(values, method)?),
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
                         private_key_jwt, tls_client_auth, self_signed_tls_client_auth, spiffe_jwt, spiffe_x509, bearer"
                    ),
                );
                return None;
            }
        };
        Some((id, authentication))
    }

    /// Warns of credentials that the method does not use.
    fn warn_of_unused(&mut self, values: &ClientVariables, method: &str) {
        let needs_certificate =
            ["tls_client_auth", "self_signed_tls_client_auth", "spiffe_x509"].contains(&method);
        let needs_secret = !needs_certificate && method != "spiffe_jwt";
        for (variable, value, is_used) in [
            ("CLIENT_SECRET", &values.client_secret, needs_secret),
            ("CLIENT_SECRET_FILE", &values.client_secret_file, needs_secret),
            (
                "CLIENT_SECRET_BASIC_ENCODING",
                &values.client_secret_basic_encoding,
                method == "client_secret_basic",
            ),
            ("CLIENT_CERTIFICATE_FILE", &values.client_certificate_file, needs_certificate),
            ("CLIENT_KEY_FILE", &values.client_key_file, needs_certificate),
            ("SPIFFE_JWT_FILE", &values.spiffe_jwt_file, method == "spiffe_jwt"),
        ] {
            if value.is_some() && !is_used {
                self.warn(variable, format!("is set, but has no effect: {method} does not use it"));
            }
        }
    }

    fn secret(&mut self, values: &ClientVariables, method: &str) -> Option<SecretSource> {
        match (&values.client_secret, &values.client_secret_file) {
            (Some(secret), None) => Some(Secret::from(secret.as_str()).into()),
            (None, Some(path)) => Some(SecretSource::file(path)),
            (Some(_), Some(_)) => {
                self.problem(
                    "CLIENT_SECRET",
                    format!("is set, but {}CLIENT_SECRET_FILE is set too, expected one of them", self.prefix),
                );
                None
            }
            (None, None) => {
                let what = match method {
                    "private_key_jwt" => "a private key as JWK",
                    "bearer" => "an access token",
                    _ => "the client's secret",
                };
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

    fn identity(&mut self, values: &ClientVariables, method: &str) -> Option<ClientIdentity> {
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
