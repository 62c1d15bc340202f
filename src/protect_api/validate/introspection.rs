//! Validates the additional fields of introspection requests.

use actix_web::http::header::HeaderName;

use super::Check;
use crate::{
    protect_api::builder::ProtectApiBuilder,
    settings::{IntrospectionValue, RequestExtras},
};

/// The parameters that this crate sends.
const OWN_PARAMETERS: [&str; 6] =
    ["token", "token_type_hint", "client_id", "client_secret", "client_assertion", "client_assertion_type"];

/// The headers that this crate or the HTTP client sends, and those that describe the connection.
const OWN_HEADERS: [&str; 15] = [
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl ProtectApiBuilder {
    pub(super) fn check_introspection_fields(&self, check: &mut Check<'_>) -> RequestExtras {
        let fields = &self.introspection_fields;
        let mut extras = RequestExtras::default();
        for (name, value) in &fields.parameters {
            let is_known = extras.parameters.iter().any(|(known, _)| known == name);
            if let Err(problem) = parameter(name, value, is_known) {
                check.problem("introspection_parameter", problem);
            }
            extras.parameters.push((name.clone(), value.clone()));
        }
        for (name, value) in &fields.headers {
            match header(name, value, &extras) {
                Ok(name) => extras.headers.push((name, value.clone())),
                Err(problem) => check.problem("introspection_header", problem),
            }
        }
        if self.client.is_none() {
            for (method, is_set) in [
                ("introspection_parameter", !fields.parameters.is_empty()),
                ("introspection_header", !fields.headers.is_empty()),
            ] {
                if is_set {
                    check.problem(method, "is set, but there are no client credentials to introspect with");
                }
            }
        }
        extras
    }
}

fn parameter(name: &str, value: &IntrospectionValue, is_known: bool) -> Result<(), String> {
    if name.is_empty() {
        return Err("has an entry without a name, expected name and value".to_owned());
    }
    if OWN_PARAMETERS.contains(&name) {
        return Err(format!("names {name:?}, which this crate sends, expected another parameter"));
    }
    if is_known {
        return Err(format!("names {name:?} twice, expected each parameter once"));
    }
    value.check().map_err(|problem| format!("{name:?} has a value that cannot be used: {problem}"))
}

fn header(name: &str, value: &IntrospectionValue, known: &RequestExtras) -> Result<HeaderName, String> {
    if name.is_empty() {
        return Err("has an entry without a name, expected name and value".to_owned());
    }
    let parsed = HeaderName::from_bytes(name.as_bytes());
    let parsed = parsed.map_err(|_| format!("names {name:?}, expected the name of a header"))?;
    if OWN_HEADERS.contains(&parsed.as_str()) {
        return Err(format!("names {name:?}, which this crate sends, expected another header"));
    }
    if known.headers.iter().any(|(known, _)| *known == parsed) {
        return Err(format!("names {name:?} twice, expected each header once"));
    }
    match value.header() {
        Ok(_) => Ok(parsed),
        Err(problem) => Err(format!("{name:?} has a value that cannot be used: {problem}")),
    }
}
