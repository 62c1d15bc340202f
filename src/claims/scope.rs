//! Scopes (RFC 6749 section 3.3): those granted by a token, and those required by a route.

use std::fmt;

/// A required scope: `1*( %x21 / %x23-5B / %x5D-7E )`, so a challenge can contain it unescaped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope(Box<str>);

impl Scope {
    /// Parses a scope-token of RFC 6749 section 3.3. Returns `None` for an empty one, or one with a character
    /// outside the grammar (a space, a quote, a backslash, a non-ASCII character).
    pub fn new(scope: &str) -> Option<Self> {
        let fits = !scope.is_empty() && scope.bytes().all(is_scope_byte);
        fits.then(|| Self(scope.into()))
    }

    /// Returns the scope as written in tokens and challenges.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Scope {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_scope_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)
}

/// The scopes of a token. Comparison is exact: `read` equals neither `READ` nor `read:all`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes {
    text: String,
    spans: Vec<(usize, usize)>,
}

impl Scopes {
    /// Parses a space-delimited list (`"read write"`). Any ASCII white space separates.
    pub fn parse(list: &str) -> Self {
        let mut scopes = Self {
            text: String::with_capacity(list.len()),
            spans: Vec::with_capacity(list.split_ascii_whitespace().count()),
        };
        scopes.extend(list.split_ascii_whitespace());
        scopes
    }

    /// Creates the scopes from an array, as some servers send it. An element is not split: an element with a space
    /// equals no required scope.
    pub fn from_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut scopes = Self::default();
        scopes.extend(parts);
        scopes
    }

    fn extend<'a>(&mut self, parts: impl IntoIterator<Item = &'a str>) {
        parts.into_iter().for_each(|part| self.push("", part));
    }

    /// Adds a scope that consists of two parts.
    pub(super) fn push(&mut self, prefix: &str, rest: &str) {
        let start = self.text.len();
        self.text.push_str(prefix);
        self.text.push_str(rest);
        self.spans.push((start, self.text.len()));
    }

    /// Returns whether the token grants exactly this scope.
    pub fn contains(&self, scope: &str) -> bool {
        self.iter().any(|granted| granted == scope)
    }

    /// Returns the scopes in the order of the token.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.spans.iter().filter_map(|(start, end)| self.text.get(*start..*end))
    }

    /// Returns whether the token grants no scope.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope_follows_the_grammar() {
        for good in ["read", "posts:write", "https://api.example.test/read", "!", "a~"] {
            assert!(Scope::new(good).is_some(), "{good}");
        }
        for bad in ["", " ", "a b", "a\"", "a\\b", "é", "a\n", "\u{7f}"] {
            assert!(Scope::new(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn comparison_is_exact() {
        let scopes = Scopes::parse(" read\twrite  posts:read ");
        assert_eq!(scopes.iter().collect::<Vec<_>>(), ["read", "write", "posts:read"]);
        assert!(scopes.contains("read"));
        assert!(!scopes.contains("READ"));
        assert!(!scopes.contains("posts"));
        assert!(!scopes.contains("read write"));
        assert!(!scopes.contains(""));
        assert_eq!(scopes.to_string(), "read write posts:read");
    }

    #[test]
    fn an_empty_list_grants_nothing() {
        assert!(Scopes::parse("  ").is_empty());
        assert!(Scopes::default().is_empty());
        assert!(!Scopes::default().contains(""));
    }
}
