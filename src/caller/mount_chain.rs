//! The mounts around a handler, for the challenge of a rejection: it names everything that the operation requires.

use std::{rc::Rc, sync::Arc};

use crate::{
    claims::scope::Scopes,
    error::{AuthError, AuthErrorKind},
    policy::{Rules, ScopeUnion, StepUp},
    protect_api::ProtectApi,
    settings::PlacedResource,
};

/// A mount, and the mounts of the same configuration around it. A worker creates it once and shares it between requests.
#[derive(Debug)]
pub(crate) struct MountChain {
    protect: Rc<ProtectApi>,
    outer: Option<Rc<Self>>,
}

/// The place that rejected a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RejectedBy {
    /// The innermost mount of the chain.
    Mount,
    /// A handler or an extractor inside all mounts of the chain.
    Handler,
}

impl MountChain {
    pub(crate) fn new(protect: Rc<ProtectApi>, outer: Option<Rc<Self>>) -> Self {
        Self { protect, outer }
    }

    /// Returns whether these are the mounts around the innermost mount.
    pub(crate) fn is_inside(&self, outer: Option<&Rc<Self>>) -> bool {
        match (&self.outer, outer) {
            (None, None) => true,
            (Some(own), Some(outer)) => Rc::ptr_eq(own, outer),
            _ => false,
        }
    }

    /// Completes an error with status 401 or 403: its challenge names the scopes and the authentication that all mounts
    /// require, in addition to those that the error names, and the metadata of the resource with this path. `granted` are
    /// the scopes of the token, if there is one.
    pub(crate) fn complete(
        &self,
        error: AuthError,
        by: RejectedBy,
        granted: Option<&Scopes>,
        rules: &Rules,
        path: &str,
    ) -> AuthError {
        let resource = PlacedResource::select(&self.protect.state.settings.resources, path);
        let error = match resource {
            Some(resource) if error.is_client_fault() => {
                error.with_resource_metadata(Arc::clone(&resource.metadata_url))
            }
            _ => error,
        };
        match error.kind() {
            AuthErrorKind::MissingToken
            | AuthErrorKind::InvalidToken(_)
            | AuthErrorKind::InsufficientScope
            | AuthErrorKind::InsufficientGroups
            | AuthErrorKind::ClaimRule => self.complete_scopes(error, by, granted, rules),
            AuthErrorKind::InsufficientAuthentication => {
                let error = self.complete_scopes(error, by, granted, rules);
                self.complete_step_up(error)
            }
            AuthErrorKind::InvalidRequest(_)
            | AuthErrorKind::Upstream(_)
            | AuthErrorKind::Misconfigured(_) => error,
        }
    }

    fn complete_scopes(
        &self,
        error: AuthError,
        by: RejectedBy,
        granted: Option<&Scopes>,
        rules: &Rules,
    ) -> AuthError {
        let named = error.required_scopes().to_owned();
        let mut union = ScopeUnion::new(&rules.hierarchy);
        for mount in self.outermost_first() {
            // The error already names the scopes of the mount that rejected, chosen by the scopes of the token.
            let is_named = by == RejectedBy::Mount && std::ptr::eq(mount, self) && !named.is_empty();
            if !is_named {
                union.add_requirements(&mount.protect.mount.requirements, granted);
            }
        }
        union.add(named.split(' '));
        if by == RejectedBy::Mount || error.kind() != AuthErrorKind::InsufficientScope {
            let hinted = &self.protect.mount.requirements.hinted_scopes;
            union.add(hinted.iter().map(crate::claims::Scope::as_str));
        }
        let scopes = union.to_string();
        error.with_required_scopes(scopes)
    }

    fn complete_step_up(&self, error: AuthError) -> AuthError {
        let named = error.acr_values().split(' ').filter(|value| !value.is_empty()).map(Into::into).collect();
        let own = StepUp::new(vec![named], error.max_authentication_age());
        let mounts =
            self.outermost_first().into_iter().map(|mount| &mount.protect.mount.requirements.step_up);
        let merged = StepUp::merged(mounts.chain([&own]));
        error.with_step_up(merged.acr_values(), merged.within)
    }

    fn outermost_first(&self) -> Vec<&Self> {
        let mut mounts: Vec<&Self> =
            std::iter::successors(Some(self), |mount| mount.outer.as_deref()).collect();
        mounts.reverse();
        mounts
    }
}
