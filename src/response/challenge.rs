//! The `WWW-Authenticate` header: RFC 9110 section 11.6.1, RFC 6750 section 3, RFC 9728 section 5.1.

use actix_web::http::header::HeaderValue;

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

    /// Returns the challenge for a request without credentials: no error code (RFC 6750 section 3.1).
    pub(crate) fn missing_token(&self) -> HeaderValue {
        self.write("", "", "")
    }

    /// Returns a challenge with an error code. `error` and `description` are constants of `response.rs`; `scope`
    /// lists the required scopes.
    pub(crate) fn error(&self, error: &'static str, description: &'static str, scope: &str) -> HeaderValue {
        self.write(error, description, scope)
    }

    fn write(&self, error: &str, description: &str, scope: &str) -> HeaderValue {
        let mut parameters = self.prefix.clone();
        for (name, value) in [("error", error), ("error_description", description), ("scope", scope)] {
            if !value.is_empty() {
                parameter(&mut parameters, name, value);
            }
        }
        let header = if parameters.is_empty() { "Bearer".to_owned() } else { format!("Bearer {parameters}") };
        // Only printable ASCII was written, so this cannot fail. The scheme alone would still be a valid challenge.
        HeaderValue::try_from(header).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    }
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

    #[test]
    fn without_parameters_only_the_scheme_stands() {
        assert_eq!(Challenge::default().missing_token(), "Bearer");
    }

    #[test]
    fn parameters_are_a_comma_list() {
        let challenge = Challenge::new(
            Some("api"),
            Some("https://api.example.test/.well-known/oauth-protected-resource"),
        );
        assert_eq!(
            challenge.error("insufficient_scope", "more is needed", "a b"),
            "Bearer realm=\"api\", resource_metadata=\"https://api.example.test/.well-known/oauth-protected-resource\", \
             error=\"insufficient_scope\", error_description=\"more is needed\", scope=\"a b\""
        );
    }

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        assert_eq!(Challenge::new(Some(r#"a"b\c"#), None).missing_token(), r#"Bearer realm="a\"b\\c""#);
    }

    #[test]
    fn what_cannot_be_quoted_is_left_out() {
        assert_eq!(Challenge::new(Some("a\r\nSet-Cookie: b"), None).missing_token(), "Bearer");
        assert_eq!(
            Challenge::default().error("insufficient_scope", "", "é"),
            "Bearer error=\"insufficient_scope\""
        );
    }

    proptest! {
        #[test]
        fn no_value_breaks_out_of_its_quotes(realm in ".*", scope in ".*") {
            let header = Challenge::new(Some(&realm), None).error("e", "d", &scope);
            let text = header.to_str().unwrap();
            // The number of quotes outside escapes is even, and there are no control characters.
            let unescaped = text.replace("\\\\", "").replace("\\\"", "");
            prop_assert_eq!(unescaped.matches('"').count() % 2, 0);
            prop_assert!(text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
        }
    }
}
