//! Validates the settings of scopes and groups.

use super::Check;
use crate::{
    claims::{claim_path::ClaimPath, scope_hierarchy::ScopeHierarchy},
    protect_api::builder::ProtectApiBuilder,
};

impl ProtectApiBuilder {
    pub(super) fn check_grants(&self, check: &mut Check<'_>) {
        if self.groups_claims.is_empty() {
            check.problem("groups_claims", "is an empty list, expected names of claims or JSON pointers");
        }
        if self.scope_claims.as_ref().is_some_and(Vec::is_empty) {
            check.problem("scope_claims", "is an empty list, expected names of claims or JSON pointers");
        }
        let groups = self.groups_claims.iter().map(|claim| ("groups_claims", claim));
        let scopes = self.scope_claims.iter().flatten().map(|claim| ("scope_claims", &claim.text));
        for (method, claim) in groups.chain(scopes) {
            if let Err(message) = ClaimPath::check(claim) {
                check.problem(method, message);
            }
        }
    }

    /// Closes the hierarchy of scopes.
    pub(super) fn check_hierarchy(&self, check: &mut Check<'_>) -> ScopeHierarchy {
        ScopeHierarchy::new(&self.scope_implications).unwrap_or_else(|message| {
            check.problem("scope_implies", message);
            ScopeHierarchy::default()
        })
    }
}
