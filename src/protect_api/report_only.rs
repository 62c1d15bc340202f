//! Rules that are reported and not enforced: those of a mount with `report_only`, and those of a trial.

use super::{ProtectApi, state::State};
use crate::{
    bearer::BearerToken,
    certificate::CertificateThumbprint,
    error::AuthError,
    jwt::is_jwt_of_another_type,
    policy::{self, Requirements, TrialPhase},
    telemetry::{Denial, ReportedRule, VerdictSource},
    validator::ValidToken,
};

/// A mount whose requirements are reported enforces these.
pub(super) static NO_REQUIREMENTS: Requirements = Requirements::none();

impl ProtectApi {
    /// Reports the requirements of this mount and does not enforce them: scopes, groups, `acr` and the time of the sign-in. A
    /// request that does not meet them is forwarded, counted and logged with its client, and the handler sees it with
    /// [`would_be_rejected`](crate::AuthenticatedRequest::would_be_rejected). A warning is logged when the mount is built.
    ///
    /// The token must be valid as without this setting, and all rules of the configuration are enforced, such as the audience
    /// and [claim rules](crate::ProtectApiBuilder::claim_rule). Extractors ([`Scoped`](crate::Scoped)), handlers
    /// (`require_scopes`), [tools](Self::per_tool) and other mounts around the route enforce their requirements. Challenges and the metadata of the resource do
    /// not name the scopes of this mount.
    pub fn report_only(&self) -> Self {
        self.mounted(|mount| mount.is_report_only = true)
    }

    /// Checks the rules that are not enforced, for a token that meets all others. Returns the error that they would cause.
    ///
    /// # Errors
    /// After the trial, its rules are enforced.
    #[cold]
    pub(super) fn check_reported_rules(
        &self,
        state: &State,
        token: &BearerToken,
        valid: &ValidToken,
        via: VerdictSource,
        certificate: Option<&CertificateThumbprint>,
    ) -> Result<Option<AuthError>, Denial> {
        let (rules, now, claims) = (&state.settings.rules, state.clock.unix_time(), &valid.claims);
        let mut report = None;
        if let Some(trial) = &state.settings.trial
            && trial.phase(now) != TrialPhase::Ended
            && let Err(error) =
                trial.check(claims, rules, now, certificate, || is_jwt_of_another_type(token.as_str()))
        {
            if trial.phase(now) == TrialPhase::Enforced {
                return Err(Denial::new(error, via));
            }
            // The outermost mount has reported it.
            if via != VerdictSource::OuterMount {
                state.telemetry.would_reject(ReportedRule::Trial, &error, claims.client_id());
            }
            report = Some(error);
        }
        if self.mount.is_report_only {
            let requirements = &self.mount.requirements;
            if let Err(error) = policy::check_requirements(claims, valid.scopes(), rules, requirements, now) {
                state.telemetry.would_reject(ReportedRule::Mount, &error, claims.client_id());
                report.get_or_insert(error);
            }
        }
        Ok(report)
    }
}
