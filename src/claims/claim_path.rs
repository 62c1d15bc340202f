//! The location of a claim: a top-level claim by name, or any claim by JSON pointer (RFC 6901).

use std::fmt;

use serde_json::Value;

use crate::claims::Claims;

/// The location of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClaimPath {
    Name(String),
    /// The first reference token, unescaped, and the rest of the pointer.
    Pointer(String, String),
}

impl ClaimPath {
    /// Parses a setting. A leading `/` makes it a pointer: `/realm_access/roles`.
    pub(crate) fn new(claim: &str) -> Self {
        let Some(pointer) = claim.strip_prefix('/') else { return Self::Name(claim.to_owned()) };
        let (first, rest) = pointer.find('/').map_or((pointer, ""), |slash| pointer.split_at(slash));
        Self::Pointer(first.replace("~1", "/").replace("~0", "~"), rest.to_owned())
    }

    /// Checks the text of a setting (RFC 6901 section 3). Every name that is not empty is well-formed.
    ///
    /// # Errors
    /// Says what is wrong.
    pub(crate) fn check(claim: &str) -> Result<(), &'static str> {
        let mut escapes = claim.split('~').skip(1);
        if claim.trim().is_empty() {
            return Err("is empty, expected a claim's name or a JSON pointer");
        }
        if claim.starts_with('/') && !escapes.all(|escape| escape.starts_with(['0', '1'])) {
            return Err(
                "starts with `/` and is not a JSON pointer: each `~` in it must be followed by `0` or `1` (RFC 6901)",
            );
        }
        Ok(())
    }

    pub(crate) fn find<'c>(&self, claims: &'c Claims) -> Option<&'c Value> {
        match self {
            Self::Name(name) => claims.get(name),
            Self::Pointer(first, rest) => claims.get(first)?.pointer(rest),
        }
    }

    /// Describes the shape of the claim for the log: that it is absent, its number of entries, or its type. The text
    /// does not contain its value.
    pub(crate) fn describe(&self, claims: &Claims) -> String {
        let shape = match self.find(claims) {
            None | Some(Value::Null) => "is absent".to_owned(),
            Some(Value::Bool(_)) => "is a boolean".to_owned(),
            Some(Value::Number(_)) => "is a number".to_owned(),
            Some(Value::String(text)) => format!("is a string with {}", words(text)),
            Some(Value::Array(entries)) => format!("is an array with {}", entries_of(entries.len())),
            Some(Value::Object(members)) => format!("is an object with {}", entries_of(members.len())),
        };
        format!("{self} {shape}")
    }
}

fn words(text: &str) -> String {
    match text.split_ascii_whitespace().count() {
        1 => "1 word".to_owned(),
        count => format!("{count} words"),
    }
}

fn entries_of(count: usize) -> String {
    match count {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    }
}

/// Writes the name in quotes, and a pointer as it is configured.
impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Pointer(first, rest) => {
                write!(f, "`/{}{rest}`", first.replace('~', "~0").replace('/', "~1"))
            }
        }
    }
}

/// Describes the shapes of these claims.
pub(crate) fn describe<'p>(paths: impl IntoIterator<Item = &'p ClaimPath>, claims: &Claims) -> String {
    paths.into_iter().map(|path| path.describe(claims)).collect::<Vec<_>>().join(", ")
}
