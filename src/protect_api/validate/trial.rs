//! Validates the rules of a trial.

use super::Check;
use crate::{
    claims::scope::Scope,
    policy::{TrialRules, start_of_day},
    protect_api::builder::ProtectApiBuilder,
};

impl ProtectApiBuilder {
    pub(super) fn check_trial(&self, check: &mut Check<'_>) -> Option<TrialRules> {
        let trial = self.trial.as_ref()?;
        let until = start_of_day(&trial.until);
        if trial.until.is_empty() && check.is_variable("trial") {
            check.missing("trial", "YYYY-MM-DD");
        } else if until.is_none() {
            let message = format!(
                "has the date {:?}, expected YYYY-MM-DD (TRIAL_UNTIL, in code `Trial::until`)",
                trial.until
            );
            check.problem("trial", message);
        }
        let rules = &trial.rules;
        if rules.is_empty() {
            check.problem("trial", "has no rule, expected an audience, at+jwt, a certificate binding or acr");
        }
        if rules.audiences.iter().any(|audience| audience.trim().is_empty()) {
            check.problem("trial", "has an empty audience, expected an identifier of this API");
        }
        let mut contexts = rules.step_up.contexts.iter().flatten();
        if !contexts.all(|context| Scope::new(context).is_some()) {
            check.problem("trial", "has an acr that is empty or has a space, a quote or a backslash");
        }
        Some(TrialRules { until: until?, date: trial.until.clone(), ..rules.clone() })
    }
}
