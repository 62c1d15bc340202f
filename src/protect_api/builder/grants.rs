//! The settings that decide what a token grants: scopes and groups.

use super::ProtectApiBuilder;
use crate::claims::ScopeClaim;

impl ProtectApiBuilder {
    /// Sets the claims that grant scopes: names, or JSON pointers (RFC 6901) such as `/realm_access/roles`. **All** of
    /// them are read. A string is a space-delimited list; of an array, each string is one scope. Other values grant
    /// nothing. Default: `scope`, or `scp` if there is no `scope`.
    ///
    /// If a claim is not meant for scopes, add a prefix to its values with [`ScopeClaim`].
    pub fn scope_claims(mut self, claims: impl IntoIterator<Item = impl Into<ScopeClaim>>) -> Self {
        self.scope_claims = Some(claims.into_iter().map(Into::into).collect());
        self
    }

    /// Sets a prefix that is removed from the scopes that start with it, such as `api://my-api/`. The other scopes
    /// stay as they are. A claim with another [`strip_prefix`](ScopeClaim::strip_prefix) is not affected. Default:
    /// none.
    pub fn scope_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.scope_prefix = Some(prefix.into()).filter(|prefix| !prefix.is_empty());
        self
    }

    /// Adds scopes that a scope includes: with `.scope_implies("files", ["files:read", "files:write"])`, a token with
    /// `files` is accepted where `files:read` is required. A scope may include others through others. Mounts, extractors,
    /// guards and `has_scope` use this. Challenges omit a scope that another required scope includes. A scope that
    /// includes itself is an error. Default: none, scopes are compared exactly.
    pub fn scope_implies(
        mut self,
        scope: impl Into<String>,
        included: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.scope_implications.push((scope.into(), included.into_iter().map(Into::into).collect()));
        self
    }

    /// Sets the entries `scope=included` of the variable.
    pub(crate) fn scope_implication_entries(self, entries: Vec<String>) -> Self {
        entries.into_iter().fold(self, |builder, entry| match entry.split_once('=') {
            Some((scope, included)) => builder.scope_implies(scope, [included]),
            None => builder.scope_implies(entry, [""]),
        })
    }

    /// Sets the claim that contains the subject's groups: a name, or a JSON pointer (RFC 6901) such as
    /// `/realm_access/roles`. For several claims, see [`groups_claims`](Self::groups_claims). Default: `groups`.
    pub fn groups_claim(self, claim: impl Into<String>) -> Self {
        self.groups_claims([claim])
    }

    /// Sets several claims that contain the subject's groups: names or JSON pointers. **All** of them are read.
    ///
    /// A group is a string in an array, the `id` or `name` of an object in an array, a key of an object (unless its
    /// value is `null` or `false`), or a single string. Default: `groups`.
    pub fn groups_claims(mut self, claims: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.groups_claims = claims.into_iter().map(Into::into).collect();
        self
    }

    /// Sets whether a groups claim that is a string is a space-delimited list. Default: no, it is one group.
    pub fn groups_delimited(mut self, is_delimited: bool) -> Self {
        self.groups_delimited = is_delimited;
        self
    }

    /// Sets whether a subject must be in all groups that a mount requires. Default: no, one of them is enough.
    pub fn groups_match_all(mut self, all: bool) -> Self {
        self.groups_match_all = all;
        self
    }
}
