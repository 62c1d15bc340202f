//! Validates a token and applies the policy of a mount.

use std::sync::Arc;

use crate::{
    bearer::BearerToken,
    certificate::CertificateThumbprint,
    error::{AuthError, TokenFault},
    policy,
    protect_api::{ProtectApi, report_only::NO_REQUIREMENTS, state::State},
    revocation::Standing,
    telemetry::{Denial, VerdictSource},
    validator::ValidToken,
};

/// The issuer that was selected for a token.
#[derive(Clone, Debug)]
pub(crate) enum Selected {
    /// The configured issuer with this index. The index of a single issuer is 0.
    Configured(usize),
    Tenant(Arc<State>),
}

impl Selected {
    pub(crate) const FIRST: Self = Self::Configured(0);
}

/// A value, and the issuer to which it belongs.
pub(crate) type OfIssuer<T> = (Selected, T);

/// A request to validate a token.
pub(crate) struct Validation<'r, C> {
    pub(crate) token: &'r BearerToken,
    pub(crate) certificate: Option<&'r CertificateThumbprint>,
    /// The HTTP request with the token, if there is one.
    pub(crate) request: Option<&'r actix_web::HttpRequest>,
    /// Returns the HTTP client of this worker for this issuer.
    pub(crate) client: C,
}

impl ProtectApi {
    /// Validates a token with the issuer to which it belongs, and applies the policy of this mount.
    pub(crate) async fn validate_token<C: Fn(&Selected) -> awc::Client>(
        &self,
        validation: Validation<'_, C>,
    ) -> Result<OfIssuer<ValidToken>, OfIssuer<Denial>> {
        match &self.issuers {
            None => self.validate_with(&self.state, Selected::FIRST, &validation).await,
            Some(issuers) => Box::pin(issuers.validate(self, &validation)).await,
        }
    }

    /// Returns the state of a selected issuer.
    pub(crate) fn selected<'s>(&'s self, selected: &'s Selected) -> &'s Arc<State> {
        match selected {
            Selected::Configured(index) => self.states().get(*index).unwrap_or(&self.state),
            Selected::Tenant(state) => state,
        }
    }

    /// Validates a token with this issuer, whose state is `state`.
    pub(super) async fn validate_with<C: Fn(&Selected) -> awc::Client>(
        &self,
        state: &State,
        selected: Selected,
        Validation { token, certificate, client, .. }: &Validation<'_, C>,
    ) -> Result<OfIssuer<ValidToken>, OfIssuer<Denial>> {
        let outcome = state.validator.validate(token, self.mount.max_age, || client(&selected)).await;
        let mut valid = match outcome {
            Ok(valid) => valid,
            Err(denial) => return Err((selected, denial)),
        };
        match self.authorize(state, token, &valid, valid.via, *certificate) {
            Ok(report) => {
                valid.would_be_rejected = report;
                Ok((selected, valid))
            }
            Err(denial) => Err((selected, denial)),
        }
    }

    /// Applies the revocation records, and the policy of this mount, to a valid token of this issuer. Returns the error that
    /// rules would cause that are not enforced.
    pub(crate) fn authorize(
        &self,
        state: &State,
        token: &BearerToken,
        valid: &ValidToken,
        via: VerdictSource,
        certificate: Option<&CertificateThumbprint>,
    ) -> Result<Option<AuthError>, Denial> {
        let State { settings, validator, clock, .. } = state;
        let metadata = validator.metadata.load();
        let issuer = validator.metadata.issuer(metadata.as_deref());
        let now = clock.unix_time();
        if validator.revocations.check(|| token.as_str(), &valid.claims, || now) == Standing::Revoked {
            return Err(Denial::new(AuthError::token(TokenFault::Revoked), via));
        }
        let is_report_only = self.mount.is_report_only;
        let requirements = if is_report_only { &NO_REQUIREMENTS } else { &self.mount.requirements };
        policy::check(&valid.claims, valid.scopes(), &settings.rules, requirements, issuer, now, certificate)
            .map_err(|error| Denial::new(error, via))?;
        if is_report_only || settings.trial.is_some() {
            return self.check_reported_rules(state, token, valid, via, certificate);
        }
        Ok(None)
    }
}
