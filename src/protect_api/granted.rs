//! Scopes and groups of claims that are not those of a request.

use std::sync::Arc;

use super::{ProtectApi, state::State};
use crate::{
    claims::{Claims, Scopes},
    policy::{self, GroupOptions, Rules},
};

impl ProtectApi {
    /// Returns the scopes that these claims grant, from the configured
    /// [claims](crate::ProtectApiBuilder::scope_claims). The claims are not validated.
    pub fn scopes_of(&self, claims: &Claims) -> Scopes {
        self.rules_for(claims).scopes.map(claims).unwrap_or_else(|| claims.scopes().clone())
    }

    /// Returns the names of the groups in these claims, from the configured
    /// [claims](crate::ProtectApiBuilder::groups_claims). The claims are not validated.
    pub fn groups_of(&self, claims: &Claims) -> Vec<String> {
        self.rules_for(claims).groups.names(claims).into_iter().map(str::to_owned).collect()
    }

    /// Returns whether these claims contain one of the groups, or all of them if `groups_match_all` or the options
    /// require it. An empty list requires nothing. The claims are not validated.
    pub fn is_in_groups<S: AsRef<str>>(
        &self,
        claims: &Claims,
        groups: impl IntoIterator<Item = S>,
        options: &GroupOptions,
    ) -> bool {
        let groups: Vec<S> = groups.into_iter().collect();
        policy::in_groups_with(claims, self.rules_for(claims), &groups, options)
    }

    /// Returns the rules of the issuer that the claims name, or of the first issuer.
    fn rules_for(&self, claims: &Claims) -> &Rules {
        let is_issuer = |state: &&Arc<State>| {
            let metadata = &state.validator.metadata;
            let known = metadata.load();
            let issuer = metadata.issuer(known.as_deref());
            claims.issuer().is_some_and(|stated| state.settings.rules.accepts_issuer(stated, issuer))
        };
        let state = self.states().iter().find(is_issuer).unwrap_or(&self.state);
        &state.settings.rules
    }
}
