//! The scopes that one challenge names: all that the operation requires.

use std::fmt;

use super::Requirements;
use crate::claims::{
    scope::{Scope, Scopes},
    scope_hierarchy::ScopeHierarchy,
};

/// Collects the scopes of several mounts and of a handler. A scope that another one includes is omitted.
pub(crate) struct ScopeUnion<'r> {
    hierarchy: &'r ScopeHierarchy,
    names: Vec<&'r str>,
}

impl<'r> ScopeUnion<'r> {
    pub(crate) fn new(hierarchy: &'r ScopeHierarchy) -> Self {
        Self { hierarchy, names: Vec::new() }
    }

    /// Adds the scopes that a mount requires. `granted` are the scopes of the token, if there is one.
    pub(crate) fn add_requirements(&mut self, requirements: &'r Requirements, granted: Option<&Scopes>) {
        self.add(requirements.all_scopes.iter().map(Scope::as_str));
        for any in &requirements.any_scopes {
            let names: Vec<&str> = any.iter().map(Scope::as_str).collect();
            let met = granted
                .and_then(|granted| names.iter().find(|name| self.hierarchy.grants(granted, name)).copied());
            match met {
                Some(name) => self.add([name]),
                None => self.add_alternatives(&names),
            }
        }
    }

    /// Adds scopes of which one is required. An alternative that includes another one is omitted, because it grants
    /// more than is required.
    pub(crate) fn add_alternatives(&mut self, names: &[&'r str]) {
        let includes_another = |name: &str| names.iter().any(|other| self.hierarchy.includes(name, other));
        let least: Vec<&'r str> = names.iter().copied().filter(|name| !includes_another(name)).collect();
        self.add(least);
    }

    /// Adds scopes that are all required. Names that are not scopes are skipped, since no token can grant them.
    pub(crate) fn add(&mut self, names: impl IntoIterator<Item = &'r str>) {
        for name in names {
            if Scope::new(name).is_some() && !self.names.contains(&name) {
                self.names.push(name);
            }
        }
    }
}

/// Prints the space-delimited list of a challenge.
impl fmt::Display for ScopeUnion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_included = |name: &str| self.names.iter().any(|other| self.hierarchy.includes(other, name));
        let mut separator = "";
        for name in self.names.iter().filter(|name| !is_included(name)) {
            write!(f, "{separator}{name}")?;
            separator = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirements(all: &[&str], any: &[&[&str]]) -> Requirements {
        let scopes = |names: &[&str]| names.iter().map(|name| Scope::new(name).unwrap()).collect();
        Requirements {
            all_scopes: scopes(all),
            any_scopes: any.iter().map(|any| scopes(any)).collect(),
            ..Requirements::default()
        }
    }

    #[test]
    fn a_challenge_names_each_scope_of_the_operation_once() {
        let implications = [("files".to_owned(), vec!["files:read".to_owned(), "files:write".to_owned()])];
        let hierarchy = ScopeHierarchy::new(&implications).unwrap();
        let (outer, inner) = (requirements(&["a", "b"], &[]), requirements(&["b", "c"], &[&["d", "e"]]));
        let levels = requirements(&["files:read"], &[&["files", "files:write"]]);
        let both = requirements(&["files:read", "files"], &[]);
        for (mounts, granted, own, expected) in [
            (&[&outer, &inner][..], None, &["f", "a", "g h", ""][..], "a b c d e f"),
            // The alternative that is granted is named, and no other.
            (&[&inner], Some("e"), &[], "b c e"),
            // Of two alternatives, the one that grants less. Of two required scopes, the one that includes the other.
            (&[&levels], None, &[], "files:read files:write"),
            (&[&both], None, &["files:write"], "files"),
            (&[], None, &[], ""),
        ] {
            let granted = granted.map(Scopes::parse);
            let mut union = ScopeUnion::new(&hierarchy);
            for mount in mounts {
                union.add_requirements(mount, granted.as_ref());
            }
            union.add(own.iter().copied());
            assert_eq!(union.to_string(), expected);
        }
    }
}
