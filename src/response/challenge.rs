//! The `WWW-Authenticate` header: RFC 9110 section 11.6.1, RFC 6750 section 3, RFC 9728 section 5.1.

use actix_web::http::header::HeaderValue;

use crate::error::AuthError;

/// The parameters of every challenge of one API, checked once when the configuration is built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    prefix: String,
}

impl Challenge {
    /// Creates the challenge. Values that are not printable ASCII (see [`is_quotable`]) are omitted.
    pub(crate) fn new(realm: Option<&str>, resource_metadata: Option<&str>) -> Self {
        let mut prefix = String::new();
        for (name, value) in [("realm", realm), ("resource_metadata", resource_metadata)] {
            if let Some(value) = value {
                parameter(&mut prefix, name, value);
            }
        }
        Self { prefix }
    }

    /// Returns the challenge of a rejection. `code` and `description` are constants of `response.rs`; an empty text is
    /// omitted. The other parameters are those of the error.
    ///
    /// The scheme `Bearer` is the first one of the response, because deployed clients read only the first scheme.
    pub(crate) fn write(
        &self,
        code: &'static str,
        description: &'static str,
        error: &AuthError,
    ) -> HeaderValue {
        let mut parameters = self.prefix.clone();
        let max_age = error.max_authentication_age().map(|seconds| seconds.to_string()).unwrap_or_default();
        for (name, value) in [
            ("resource_metadata", error.resource_metadata().unwrap_or_default()),
            ("error", code),
            ("error_description", description),
            ("scope", error.required_scopes()),
            ("acr_values", error.acr_values()),
            ("max_age", &max_age),
        ] {
            if !value.is_empty() {
                parameter(&mut parameters, name, value);
            }
        }
        let header = if parameters.is_empty() { "Bearer".to_owned() } else { format!("Bearer {parameters}") };
        // Only printable ASCII was written, so this cannot fail. The scheme alone would still be a valid challenge.
        HeaderValue::try_from(header).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    }
}

/// Returns the parameter that a value seems to contain. Deployed clients search the whole header for the names of
/// parameters, also inside quoted values.
pub(crate) fn imitated_parameter(value: &str) -> Option<&'static str> {
    ["error=", "scope=", "resource_metadata="].into_iter().find(|name| value.contains(name))
}

/// Returns whether a value can be part of a quoted string: printable ASCII.
pub(crate) fn is_quotable(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, 0x20..=0x7E))
}

/// Appends `name="value"`, comma-separated (RFC 9110 section 11.2), with quotes and backslashes escaped.
fn parameter(out: &mut String, name: &str, value: &str) {
    if !is_quotable(value) {
        return;
    }
    if !out.is_empty() {
        out.push_str(", ");
    }
    out.push_str(name);
    out.push_str("=\"");
    for character in value.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::AuthErrorKind;

    fn missing_token(challenge: &Challenge) -> HeaderValue {
        challenge.write("", "", &AuthError::new(AuthErrorKind::MissingToken))
    }

    fn insufficient_scope(scope: &str) -> AuthError {
        AuthError::new(AuthErrorKind::InsufficientScope).with_required_scopes(scope)
    }

    #[test]
    fn without_parameters_only_the_scheme_stands() {
        assert_eq!(missing_token(&Challenge::default()), "Bearer");
    }

    #[test]
    fn parameters_are_a_comma_list() {
        let challenge = Challenge::new(
            Some("api"),
            Some("https://api.example.test/.well-known/oauth-protected-resource"),
        );
        assert_eq!(
            challenge.write("insufficient_scope", "more is needed", &insufficient_scope("a b")),
            "Bearer realm=\"api\", resource_metadata=\"https://api.example.test/.well-known/oauth-protected-resource\", \
             error=\"insufficient_scope\", error_description=\"more is needed\", scope=\"a b\""
        );
    }

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        assert_eq!(missing_token(&Challenge::new(Some(r#"a"b\c"#), None)), r#"Bearer realm="a\"b\\c""#);
    }

    #[test]
    fn what_cannot_be_quoted_is_left_out() {
        assert_eq!(missing_token(&Challenge::new(Some("a\r\nSet-Cookie: b"), None)), "Bearer");
        assert_eq!(
            Challenge::default().write("insufficient_scope", "", &insufficient_scope("é")),
            "Bearer error=\"insufficient_scope\""
        );
    }

    proptest! {
        #[test]
        fn no_value_breaks_out_of_its_quotes(realm in ".*", scope in ".*") {
            let header = Challenge::new(Some(&realm), None).write("e", "d", &insufficient_scope(&scope));
            let text = header.to_str().unwrap();
            // The number of quotes outside escapes is even, and there are no control characters.
            let unescaped = text.replace("\\\\", "").replace("\\\"", "");
            prop_assert_eq!(unescaped.matches('"').count() % 2, 0);
            prop_assert!(text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
        }
    }
}
