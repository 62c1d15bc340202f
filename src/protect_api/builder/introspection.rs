//! The settings of introspection requests.

use super::ProtectApiBuilder;
use crate::settings::IntrospectionValue;

/// Additional fields of introspection requests, as they were given.
#[derive(Debug, Default)]
pub(crate) struct IntrospectionFields {
    pub(crate) parameters: Vec<(String, IntrospectionValue)>,
    pub(crate) headers: Vec<(String, IntrospectionValue)>,
}

impl ProtectApiBuilder {
    /// Adds a parameter to the form of each introspection request, as RFC 7662 section 2.1 allows. The names of the parameters
    /// that this crate sends are an error, as is a name that occurs twice. Default: none.
    pub fn introspection_parameter(
        mut self,
        name: impl Into<String>,
        value: impl Into<IntrospectionValue>,
    ) -> Self {
        self.introspection_fields.parameters.push((name.into(), value.into()));
        self
    }

    /// Adds a header to each introspection request, for example a key that a gateway requires. The headers that this crate
    /// sends are an error, such as `Authorization`, `Host` and `Content-Length`, as is a name that occurs twice. Default: none.
    pub fn introspection_header(
        mut self,
        name: impl Into<String>,
        value: impl Into<IntrospectionValue>,
    ) -> Self {
        self.introspection_fields.headers.push((name.into(), value.into()));
        self
    }

    /// Adds the entries `name=value` of the variable.
    pub(crate) fn introspection_parameter_entries(self, entries: Vec<String>) -> Self {
        entries.into_iter().fold(self, |builder, entry| {
            let (name, value) = entry.split_once('=').unwrap_or(("", &entry));
            builder.introspection_parameter(name, value)
        })
    }

    /// Adds the entries `name=value` of the variable.
    pub(crate) fn introspection_header_entries(self, entries: Vec<String>) -> Self {
        entries.into_iter().fold(self, |builder, entry| {
            let (name, value) = entry.split_once('=').unwrap_or(("", &entry));
            builder.introspection_header(name, value)
        })
    }
}
