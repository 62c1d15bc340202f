//! The scopes that include other scopes.

use std::collections::{BTreeMap, BTreeSet};

use super::scope::{Scope, Scopes};

/// For each scope, the scopes that include it, directly or through others. Empty if no hierarchy is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScopeHierarchy(BTreeMap<Box<str>, Vec<Box<str>>>);

impl ScopeHierarchy {
    /// Closes the configured implications: a scope, and the scopes that it includes.
    ///
    /// # Errors
    /// The text names the first scope that is not a scope, or that includes itself.
    pub(crate) fn new(implications: &[(String, Vec<String>)]) -> Result<Self, String> {
        let mut direct: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (scope, included) in implications {
            for name in [scope].into_iter().chain(included) {
                if Scope::new(name).is_none() {
                    return Err(format!("contains {name:?}, expected a scope (RFC 6749 section 3.3)"));
                }
            }
            direct.entry(scope).or_default().extend(included.iter().map(String::as_str));
        }
        let mut hierarchy = Self::default();
        for scope in direct.keys() {
            for included in reachable(scope, &direct) {
                if included == *scope {
                    return Err(format!("contains a cycle: {scope:?} includes itself"));
                }
                hierarchy.0.entry(included.into()).or_default().push((*scope).into());
            }
        }
        Ok(hierarchy)
    }

    /// Returns whether the granted scopes contain this scope, or one that includes it.
    pub(crate) fn grants(&self, granted: &Scopes, scope: &str) -> bool {
        granted.contains(scope) || self.including(scope).iter().any(|including| granted.contains(including))
    }

    /// Returns whether a scope includes another one.
    pub(crate) fn includes(&self, scope: &str, other: &str) -> bool {
        self.including(other).iter().any(|including| **including == *scope)
    }

    fn including(&self, scope: &str) -> &[Box<str>] {
        if self.0.is_empty() {
            return &[];
        }
        self.0.get(scope).map_or(&[], Vec::as_slice)
    }
}

/// Returns the scopes that a scope includes, directly or through others.
fn reachable<'s>(scope: &'s str, direct: &BTreeMap<&'s str, BTreeSet<&'s str>>) -> BTreeSet<&'s str> {
    let mut found = BTreeSet::new();
    let mut open = vec![scope];
    while let Some(next) = open.pop() {
        open.extend(direct.get(next).into_iter().flatten().filter(|included| found.insert(**included)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(implications: &[(&str, &[&str])]) -> Result<ScopeHierarchy, String> {
        let owned = |(scope, included): &(&str, &[&str])| {
            ((*scope).to_owned(), included.iter().map(|&name| name.to_owned()).collect())
        };
        ScopeHierarchy::new(&implications.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_scope_includes_others_through_others_and_not_the_reverse() {
        let hierarchy = hierarchy(&[("all", &["files", "mail"]), ("files", &["files:read", "files:write"])]);
        let hierarchy = hierarchy.unwrap();
        for (granted, scope, is_granted) in [
            ("files", "files:read", true),
            ("files", "files", true),
            ("all", "files:write", true),
            ("x all", "mail", true),
            ("files:read", "files", false),
            ("files:read files:write", "files", false),
            ("files", "mail", false),
            ("", "files:read", false),
            ("files", "unknown", false),
        ] {
            assert_eq!(hierarchy.grants(&Scopes::parse(granted), scope), is_granted, "{granted}: {scope}");
        }
        assert!(hierarchy.includes("all", "files:read") && !hierarchy.includes("files:read", "all"));
        assert!(!hierarchy.includes("files", "files"));
    }

    #[test]
    fn a_diamond_is_no_cycle() {
        let diamond = hierarchy(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"])]).unwrap();
        assert!(diamond.grants(&Scopes::parse("a"), "d"));
    }

    #[test]
    fn cycles_and_bad_names_are_rejected() {
        for (implications, expected) in [
            (&[("a", &["a"][..])][..], "contains a cycle: \"a\" includes itself"),
            (&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])], "contains a cycle: \"a\" includes itself"),
            (&[("x", &["b"]), ("b", &["c"]), ("c", &["b"])], "contains a cycle: \"b\" includes itself"),
            (&[("a", &["b c"])], "contains \"b c\", expected a scope (RFC 6749 section 3.3)"),
            (&[("", &["b"])], "contains \"\", expected a scope (RFC 6749 section 3.3)"),
        ] {
            assert_eq!(hierarchy(implications), Err(expected.to_owned()));
        }
    }
}
