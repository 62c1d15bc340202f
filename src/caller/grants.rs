//! The scopes, groups and names in a valid token, with and without a request.

use std::any::Any;

use serde::de::DeserializeOwned;

use super::Principal;
use crate::{
    claims::Claims,
    error::{AuthError, TokenFault},
    policy::{self, GroupOptions, Rules, ScopeUnion, StepUp},
    validator::ValidToken,
};

/// A valid token, and the rules of its issuer.
#[derive(Clone, Copy)]
pub(super) struct Grants<'t> {
    pub(super) valid: &'t ValidToken,
    pub(super) rules: &'t Rules,
}

impl<'t> Grants<'t> {
    pub(super) fn groups(self) -> Vec<&'t str> {
        self.rules.groups.names(&self.valid.claims)
    }

    pub(super) fn principal(self) -> Option<Principal> {
        let subject = self.valid.claims.subject()?.into();
        Some(Principal { issuer: self.valid.issuer().into(), subject })
    }

    pub(super) fn has_scope(self, scope: &str) -> bool {
        self.rules.hierarchy.grants(self.valid.scopes(), scope)
    }

    pub(super) fn has_group(self, group: &str) -> bool {
        self.rules.groups.contains(&self.valid.claims, group)
    }

    pub(super) fn is_in_groups<S: AsRef<str>>(
        self,
        groups: impl IntoIterator<Item = S>,
        options: &GroupOptions,
    ) -> bool {
        let groups: Vec<S> = groups.into_iter().collect();
        policy::in_groups_with(&self.valid.claims, self.rules, &groups, options)
    }

    pub(super) fn require_scopes<S: AsRef<str>>(
        self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<(), AuthError> {
        let scopes: Vec<S> = scopes.into_iter().collect();
        let missing: Vec<&[S]> =
            scopes.iter().filter(|scope| !self.has_scope(scope.as_ref())).map(std::slice::from_ref).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut union = ScopeUnion::new(&self.rules.hierarchy);
        union.add(scopes.iter().map(AsRef::as_ref));
        Err(policy::insufficient_scope(&self.valid.claims, self.rules, &union, &missing))
    }

    pub(super) fn require_any_scope<S: AsRef<str>>(
        self,
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<(), AuthError> {
        let scopes: Vec<S> = scopes.into_iter().collect();
        let is_met = scopes.is_empty() || scopes.iter().any(|scope| self.has_scope(scope.as_ref()));
        if is_met {
            return Ok(());
        }
        let names: Vec<&str> = scopes.iter().map(AsRef::as_ref).collect();
        let mut union = ScopeUnion::new(&self.rules.hierarchy);
        union.add_alternatives(&names);
        Err(policy::insufficient_scope(&self.valid.claims, self.rules, &union, &[names.as_slice()]))
    }

    pub(super) fn require_groups<S: AsRef<str>>(
        self,
        groups: impl IntoIterator<Item = S>,
    ) -> Result<(), AuthError> {
        let groups: Vec<S> = groups.into_iter().collect();
        let claims = &self.valid.claims;
        let missing = policy::missing_groups(claims, self.rules, &groups);
        if missing.is_empty() {
            return Ok(());
        }
        Err(policy::insufficient_groups(claims, self.rules, &missing))
    }

    pub(super) fn require_step_up(
        self,
        contexts: Vec<Vec<Box<str>>>,
        within: Option<i64>,
        now: i64,
    ) -> Result<(), AuthError> {
        StepUp::new(contexts, within).check(&self.valid.claims, self.rules, now)
    }

    /// Converts the claims into a type of the application.
    ///
    /// # Errors
    /// If they do not deserialize into this type.
    pub(super) fn claims_as<C: DeserializeOwned + 'static>(self) -> Result<C, AuthError> {
        let claims = &self.valid.claims;
        // For `Claims`: one reference count instead of a copy of every claim.
        let mut same: Option<C> = None;
        let untyped: &mut dyn Any = &mut same;
        if let Some(slot) = untyped.downcast_mut::<Option<Claims>>() {
            *slot = Some(claims.clone());
        }
        match same {
            Some(claims) => Ok(claims),
            None => C::deserialize(claims.members())
                // The error text may quote a claim's value, so it is not logged.
                .map_err(|_| AuthError::token(TokenFault::Claims).with_source(std::any::type_name::<C>())),
        }
    }
}
