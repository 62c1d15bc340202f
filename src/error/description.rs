//! The text of an error in a log record.

use std::fmt;

use super::AuthError;

/// Shows an error with its cause, its fault and the server: `… is unreachable: … (unreachable, https://as.example/introspect)`.
/// Many logging backends omit the keys of a record, so the text must be sufficient.
pub(crate) struct Description<'e> {
    error: &'e AuthError,
    /// A URL; empty if no server is concerned.
    server: &'e str,
}

impl<'e> Description<'e> {
    pub(super) fn new(error: &'e AuthError, server: &'e str) -> Self {
        Self { error, server }
    }
}

impl fmt::Display for Description<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, server } = self;
        let separator = if server.is_empty() { "" } else { ", " };
        write!(f, "{} ({}{separator}{server})", error.text(), error.kind().fault())
    }
}

#[cfg(test)]
mod tests {
    use crate::error::{AuthError, SetupFault, UpstreamFault};

    #[test]
    fn the_text_names_cause_fault_and_server() {
        let error = AuthError::upstream(UpstreamFault::Unreachable).with_source("connection refused");
        let text = "the authorization server is unreachable: connection refused (unreachable, ";
        assert_eq!(error.describe("https://as.example").to_string(), format!("{text}https://as.example)"));
        let error = error.with_url("https://as.example/introspect");
        assert_eq!(
            error.describe("https://as.example").to_string(),
            format!("{text}https://as.example/introspect)")
        );
        let error = AuthError::setup(SetupFault::NotMounted);
        assert!(error.describe("").to_string().ends_with(" is wrapped around (not_mounted)"));
    }
}
