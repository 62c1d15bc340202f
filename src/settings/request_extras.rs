//! Additional parameters and headers of introspection requests.

use std::fmt;

use actix_web::http::header::{HeaderName, HeaderValue};
use form_urlencoded::Serializer;

use crate::{
    client_auth::SecretSource,
    error::{AuthError, SetupFault},
    secret::Secret,
};

/// The value of an additional parameter or header of introspection requests: plain text, or a secret.
///
/// `"…".into()` and a `String` are plain text. A [`Secret`] and a [`SecretSource`] are secrets, and a file is read again when it
/// changes. No value is printed.
///
/// Plain text is part of the key of a cached verdict, because it may change the verdict. A secret is not, and must not change
/// the verdict.
#[derive(Clone, PartialEq, Eq)]
pub struct IntrospectionValue(ValueKind);

#[derive(Clone, PartialEq, Eq)]
enum ValueKind {
    Plain(String),
    Secret(SecretSource),
}

impl IntrospectionValue {
    fn use_with<T>(&self, read: impl FnOnce(&str) -> T) -> Result<T, String> {
        match &self.0 {
            ValueKind::Plain(text) => Ok(read(text)),
            ValueKind::Secret(source) => Ok(read(source.current()?.expose())),
        }
    }

    /// Returns the value of a header.
    pub(crate) fn header(&self) -> Result<HeaderValue, String> {
        let parsed = self.use_with(HeaderValue::from_str)?;
        let mut value = parsed.map_err(|_| "the value does not fit into a header")?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Checks whether the value can be read.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.use_with(|_| ())
    }
}

impl From<&str> for IntrospectionValue {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for IntrospectionValue {
    fn from(text: String) -> Self {
        Self(ValueKind::Plain(text))
    }
}

impl From<Secret> for IntrospectionValue {
    fn from(secret: Secret) -> Self {
        SecretSource::from(secret).into()
    }
}

impl From<SecretSource> for IntrospectionValue {
    fn from(source: SecretSource) -> Self {
        Self(ValueKind::Secret(source))
    }
}

impl fmt::Debug for IntrospectionValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            ValueKind::Plain(_) => f.write_str("IntrospectionValue([not shown])"),
            ValueKind::Secret(source) => write!(f, "IntrospectionValue({source:?})"),
        }
    }
}

/// The additional parameters and headers of introspection requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestExtras {
    pub(crate) parameters: Vec<(String, IntrospectionValue)>,
    pub(crate) headers: Vec<(HeaderName, IntrospectionValue)>,
}

impl RequestExtras {
    /// Adds the parameters to a form.
    pub(crate) fn write_to(&self, form: &mut Serializer<'_, String>) -> Result<(), AuthError> {
        for (name, value) in &self.parameters {
            let written = value.use_with(|value| {
                form.append_pair(name, value);
            });
            written.map_err(|problem| unusable(name, &problem))?;
        }
        Ok(())
    }

    /// Returns the headers with their current values.
    pub(crate) fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, AuthError> {
        let header = |(name, value): &(HeaderName, IntrospectionValue)| match value.header() {
            Ok(value) => Ok((name.clone(), value)),
            Err(problem) => Err(unusable(name.as_str(), &problem)),
        };
        self.headers.iter().map(header).collect()
    }

    /// Returns everything that may change a verdict, for the key of a cached one: kind, name and value of each field. A secret
    /// has no value here.
    pub(crate) fn parts(&self) -> Vec<&str> {
        let headers = self.headers.iter().map(|(name, value)| ("header", name.as_str(), value));
        let parameters = self.parameters.iter().map(|(name, value)| ("parameter", name.as_str(), value));
        let parts =
            parameters.chain(headers).flat_map(|(kind, name, IntrospectionValue(value))| match value {
                ValueKind::Plain(text) => [kind, name, "plain", text],
                ValueKind::Secret(_) => [kind, name, "secret", ""],
            });
        parts.collect()
    }
}

fn unusable(name: &str, problem: &str) -> AuthError {
    let cause = format!("the value of {name:?} for introspection: {problem}");
    AuthError::setup(SetupFault::Credentials).with_source(cause)
}
