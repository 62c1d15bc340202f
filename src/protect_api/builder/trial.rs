//! The setting of rules that are tried before they are enforced.

use super::ProtectApiBuilder;
use crate::policy::Trial;

impl ProtectApiBuilder {
    /// Sets stricter rules that are reported until a date, and enforced from then on: an audience, the type `at+jwt`, the
    /// binding to a certificate, or `acr`. See [`Trial`]. A warning is logged at the start. Default: none.
    pub fn trial(mut self, trial: Trial) -> Self {
        self.trial = Some(trial);
        self
    }

    /// Changes the trial of the variables. Without its date, `build` fails.
    fn with_trial(self, change: impl FnOnce(Trial) -> Trial) -> Self {
        let trial = self.trial.clone().unwrap_or_else(|| Trial::until(""));
        self.trial(change(trial))
    }

    pub(crate) fn trial_until(self, date: String) -> Self {
        self.with_trial(|trial| Trial { until: date, ..trial })
    }

    pub(crate) fn trial_audiences(self, audiences: Vec<String>) -> Self {
        self.with_trial(|trial| audiences.into_iter().fold(trial, Trial::audience))
    }

    pub(crate) fn trial_require_at_jwt(self, require: bool) -> Self {
        self.with_trial(|trial| if require { trial.require_at_jwt() } else { trial })
    }

    pub(crate) fn trial_require_certificate_binding(self, require: bool) -> Self {
        self.with_trial(|trial| if require { trial.require_certificate_binding() } else { trial })
    }

    pub(crate) fn trial_acr(self, contexts: Vec<String>) -> Self {
        self.with_trial(|trial| trial.acr(contexts))
    }

    pub(crate) fn trial_then_end(self, ends: bool) -> Self {
        self.with_trial(|trial| if ends { trial.then_end() } else { trial })
    }
}
