//! A claim that each token must have, with any value or with one of several values.

use serde_json::Value;

use super::quoted;
use crate::{
    claims::Claims,
    error::{AuthError, TokenFault},
};

/// A required claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequiredClaim {
    pub(crate) name: String,
    /// The accepted values; `None` accepts any value.
    pub(crate) values: Option<Vec<String>>,
}

impl RequiredClaim {
    /// Requires a claim with any value.
    pub(crate) fn with_any_value(name: String) -> Self {
        Self { name, values: None }
    }

    /// Checks the claim. A claim that is `null` is treated as absent.
    pub(super) fn check(&self, claims: &Claims) -> Result<(), AuthError> {
        let Self { name, values } = self;
        let Some(value) = claims.get(name).filter(|value| !value.is_null()) else {
            return Err(AuthError::token(TokenFault::MissingClaim).with_source(format!("`{name}`")));
        };
        let Some(expected) = values else { return Ok(()) };
        if expected.iter().any(|expected| has(value, expected)) {
            return Ok(());
        }
        let cause = format!("`{name}`, expected {}", quoted(expected));
        Err(AuthError::token(TokenFault::ClaimValue).with_source(cause))
    }
}

/// Returns whether a value, or one element of an array, is this text. The text of a number or boolean is its JSON.
fn has(value: &Value, expected: &str) -> bool {
    match value {
        Value::Array(elements) => elements.iter().any(|element| is(element, expected)),
        value => is(value, expected),
    }
}

fn is(value: &Value, expected: &str) -> bool {
    match value {
        Value::String(text) => text == expected,
        Value::Bool(flag) => expected == if *flag { "true" } else { "false" },
        Value::Number(number) => number.to_string() == expected,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}
