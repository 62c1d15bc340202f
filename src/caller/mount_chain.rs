//! The mounts around a handler: the challenge of a rejection names everything that the operation requires, and a long stream is
//! validated again with all requirements.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_web::web;

use crate::{
    bearer::BearerToken,
    certificate::CertificateThumbprint,
    claims::scope::Scopes,
    error::{AuthError, AuthErrorKind},
    policy::{Rules, ScopeUnion, StepUp},
    protect_api::{ProtectApi, state::State},
    settings::PlacedResource,
    telemetry::{Denial, VerdictSource},
    validator::ValidToken,
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

    /// Validates a later token of a caller, or the same token again, with the issuer of the first one and for all mounts. `client`
    /// is the HTTP client of the application.
    pub(super) async fn validate_again(
        &self,
        state: &Arc<State>,
        token: &BearerToken,
        certificate: Option<&CertificateThumbprint>,
        client: Option<&web::Data<awc::Client>>,
    ) -> Result<ValidToken, Denial> {
        let mounts = self.outermost_first();
        let max_age = mounts.iter().filter_map(|mount| mount.protect.mount.max_age).min();
        let valid = state.validator.validate(token, max_age, || state.thread_client_or(client)).await?;
        let mut via = valid.via;
        for mount in mounts {
            mount.protect.authorize(state, token, &valid, via, certificate)?;
            // The outermost mount reports a trial.
            via = VerdictSource::OuterMount;
        }
        Ok(valid)
    }

    /// Returns the shortest time between validations of a long stream that one of the mounts sets.
    pub(super) fn recheck(&self) -> Option<Duration> {
        self.outermost_first().iter().filter_map(|mount| mount.protect.mount.recheck).min()
    }

    pub(super) fn max_token_length(&self) -> usize {
        self.protect.state.settings.tuning.max_token_length
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
            if !is_named && !mount.protect.mount.is_report_only {
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
        let mounts = self.outermost_first().into_iter().map(|mount| &mount.protect.mount);
        let mounts = mounts.filter(|mount| !mount.is_report_only).map(|mount| &mount.requirements.step_up);
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
