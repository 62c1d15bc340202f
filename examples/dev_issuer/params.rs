//! Parameters of a query or a form.

use actix_web::{HttpMessage as _, HttpRequest};
use url::form_urlencoded;

/// The names that may occur several times: RFC 8707, and the checkboxes of the page.
const REPEATABLE: [&str; 2] = ["resource", "granted"];

/// Parameters. Empty ones are omitted (RFC 6749 section 3.1).
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Parses the parameters. RFC 6749 section 3.1 forbids duplicates.
    pub(crate) fn parse(encoded: &[u8]) -> Result<Self, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(encoded).into_owned() {
            if !REPEATABLE.contains(&name.as_str()) && pairs.iter().any(|(other, _)| *other == name) {
                return Err(format!("the parameter {name:?} occurs twice"));
            }
            pairs.push((name, value));
        }
        pairs.retain(|(_, value)| !value.is_empty());
        Ok(Self(pairs))
    }

    /// Parses the body of a form.
    pub(crate) fn from_form(request: &HttpRequest, body: &[u8]) -> Result<Self, String> {
        if !request.content_type().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err("expected the content type application/x-www-form-urlencoded".to_owned());
        }
        Self::parse(body)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// Returns the parameters with these names, in their order.
    pub(crate) fn only(&self, names: &[&str]) -> Vec<(String, String)> {
        self.0.iter().filter(|(name, _)| names.contains(&name.as_str())).cloned().collect()
    }
}
