//! Validates a token and applies the policy of a mount.

use crate::{
    bearer::BearerToken,
    certificate::CertificateThumbprint,
    policy,
    protect_api::{ProtectApi, state::State},
    telemetry::{Denial, VerdictSource},
    validator::ValidToken,
};

/// A value, and the index of the issuer that it belongs to. The index of a single issuer is 0.
pub(crate) type OfIssuer<T> = (usize, T);

/// A request to validate a token.
pub(crate) struct Validation<'r, C> {
    pub(crate) token: &'r BearerToken,
    pub(crate) certificate: Option<&'r CertificateThumbprint>,
    /// The HTTP request with the token, if there is one.
    pub(crate) request: Option<&'r actix_web::HttpRequest>,
    /// Returns the HTTP client of this worker for the issuer with this index.
    pub(crate) client: C,
}

impl ProtectApi {
    /// Validates a token with the issuer to which it belongs, and applies the policy of this mount.
    pub(crate) async fn validate_token<C: Fn(usize) -> awc::Client>(
        &self,
        validation: Validation<'_, C>,
    ) -> Result<OfIssuer<ValidToken>, OfIssuer<Denial>> {
        match &self.others {
            None => match self.validate_with(&self.state, 0, &validation).await {
                Ok(valid) => Ok((0, valid)),
                Err(denial) => Err((0, denial)),
            },
            Some(others) => Box::pin(others.validate(self, &validation)).await,
        }
    }

    /// Validates a token with this issuer.
    pub(super) async fn validate_with<C: Fn(usize) -> awc::Client>(
        &self,
        state: &State,
        index: usize,
        Validation { token, certificate, client, .. }: &Validation<'_, C>,
    ) -> Result<ValidToken, Denial> {
        let valid = state.validator.validate(token, self.mount.max_age, || client(index)).await?;
        self.authorize(state, &valid, valid.via, *certificate)?;
        Ok(valid)
    }

    /// Applies the policy of this mount to a valid token of this issuer.
    pub(crate) fn authorize(
        &self,
        state: &State,
        valid: &ValidToken,
        via: VerdictSource,
        certificate: Option<&CertificateThumbprint>,
    ) -> Result<(), Denial> {
        let State { settings, validator, clock, .. } = state;
        let metadata = validator.metadata.load();
        let issuer = validator.metadata.issuer(metadata.as_deref());
        let now = clock.unix_time();
        let requirements = &self.mount.requirements;
        policy::check(&valid.claims, valid.scopes(), &settings.rules, requirements, issuer, now, certificate)
            .map_err(|error| Denial::new(error, via))
    }
}
