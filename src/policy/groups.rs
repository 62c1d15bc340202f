//! The groups of a subject: the claims that contain them, their shapes, and the check of required groups.

use serde_json::Value;

use super::Rules;
use crate::claims::{
    Claims,
    claim_path::{self, ClaimPath},
};

/// The claims that contain groups. All of them are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupsMapping {
    pub(crate) claims: Vec<ClaimPath>,
    /// Whether a string is a space-delimited list. Otherwise it is one group.
    pub(crate) is_delimited: bool,
}

/// Another claim and another mode for one check of groups; see
/// [`is_in_groups`](crate::AuthenticatedRequest::is_in_groups). By default those of the configuration apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupOptions {
    claim: Option<String>,
    match_all: Option<bool>,
}

impl GroupOptions {
    /// Reads the groups from this claim only: a name, or a JSON pointer with a leading `/`. A malformed pointer finds
    /// no group.
    #[must_use]
    pub fn claim(mut self, claim: impl Into<String>) -> Self {
        self.claim = Some(claim.into());
        self
    }

    /// Sets whether all groups are required. Otherwise one of them is enough.
    #[must_use]
    pub fn match_all(mut self, all: bool) -> Self {
        self.match_all = Some(all);
        self
    }
}

impl GroupsMapping {
    pub(crate) fn new(claims: &[String], is_delimited: bool) -> Self {
        Self { claims: claims.iter().map(|claim| ClaimPath::new(claim)).collect(), is_delimited }
    }

    /// Returns the names of all groups: each string of an array, the `id` and `name` of its objects, the keys of an
    /// object (unless their value is `null` or `false`), and a string.
    pub(crate) fn names<'c>(&self, claims: &'c Claims) -> Vec<&'c str> {
        let mut names = Vec::new();
        self.any(claims, &mut |name| {
            names.push(name);
            false
        });
        names
    }

    /// Returns whether one of the groups is the wanted one.
    pub(crate) fn contains(&self, claims: &Claims, group: &str) -> bool {
        self.any(claims, &mut |name| name == group)
    }

    /// Describes the shapes of the claims that are read.
    pub(crate) fn describe(&self, claims: &Claims) -> String {
        claim_path::describe(&self.claims, claims)
    }

    fn any<'c>(&self, claims: &'c Claims, is_wanted: &mut dyn FnMut(&'c str) -> bool) -> bool {
        let mut found = self.claims.iter().filter_map(|claim| claim.find(claims));
        found.any(|value| self.any_in(value, is_wanted))
    }

    fn any_in<'c>(&self, value: &'c Value, is_wanted: &mut dyn FnMut(&'c str) -> bool) -> bool {
        match value {
            Value::String(list) if self.is_delimited => list.split_ascii_whitespace().any(is_wanted),
            Value::String(name) => !name.is_empty() && is_wanted(name),
            Value::Array(groups) => groups.iter().any(|group| {
                let named = |member| group.get(member).and_then(Value::as_str);
                [group.as_str(), named("id"), named("name")].into_iter().flatten().any(&mut *is_wanted)
            }),
            Value::Object(members) => {
                let is_set = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
                members.iter().any(|(name, value)| is_set(value) && is_wanted(name))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }
}

/// Returns the groups that the subject lacks, as lists of which one is required each: those that it is not in if the rules
/// require all, or the whole list if it is in none of them. An empty list requires nothing.
pub(crate) fn missing_groups<'w, S: AsRef<str>>(
    claims: &Claims,
    rules: &Rules,
    wanted: &'w [S],
) -> Vec<&'w [S]> {
    let is_in = |group: &S| rules.groups.contains(claims, group.as_ref());
    if rules.groups_match_all {
        return wanted.iter().filter(|group| !is_in(group)).map(std::slice::from_ref).collect();
    }
    if wanted.is_empty() || wanted.iter().any(is_in) { Vec::new() } else { vec![wanted] }
}

/// Returns whether the subject is in one of these groups, or in all of them. The options replace the rules.
pub(crate) fn in_groups_with<S: AsRef<str>>(
    claims: &Claims,
    rules: &Rules,
    wanted: &[S],
    options: &GroupOptions,
) -> bool {
    let match_all = options.match_all.unwrap_or(rules.groups_match_all);
    let Some(claim) = &options.claim else { return is_member(claims, &rules.groups, match_all, wanted) };
    let paths = ClaimPath::check(claim).map(|()| ClaimPath::new(claim)).into_iter().collect();
    let groups = GroupsMapping { claims: paths, is_delimited: rules.groups.is_delimited };
    is_member(claims, &groups, match_all, wanted)
}

fn is_member<S: AsRef<str>>(claims: &Claims, groups: &GroupsMapping, all: bool, wanted: &[S]) -> bool {
    let is_in = |group: &S| groups.contains(claims, group.as_ref());
    match wanted {
        [] => true,
        wanted if all => wanted.iter().all(is_in),
        wanted => wanted.iter().any(is_in),
    }
}
