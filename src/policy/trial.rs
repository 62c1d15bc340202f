//! Stricter rules that are only reported until a date.

use std::fmt;

use super::{Rules, StepUp, quoted};
use crate::{
    certificate::{self, CertificateBinding, CertificateThumbprint},
    claims::Claims,
    error::{AuthError, TokenFault},
};

/// Stricter rules that are tried until a date: a request that does not meet them is accepted and reported. For
/// [`ProtectApiBuilder::trial`](crate::ProtectApiBuilder::trial).
///
/// From the date on, the rules are **enforced**, unless [`then_end`](Self::then_end) is set. The rules apply in addition to those
/// of the configuration. Signature, issuer and times are always enforced.
///
/// ```
/// use actix_protect_api::Trial;
///
/// let trial = Trial::until("2027-04-01").audience("https://api.example/v2").require_at_jwt();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it has no effect until it is passed to `trial`"]
pub struct Trial {
    pub(crate) until: String,
    pub(crate) rules: TrialRules,
}

/// The rules of a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrialRules {
    /// The time from which the rules are enforced, or have no effect, in seconds since 1970.
    pub(crate) until: i64,
    /// The date of this time, as it was set.
    pub(crate) date: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) at_jwt: bool,
    pub(crate) binding: bool,
    pub(crate) step_up: StepUp,
    /// Whether the rules have no effect after the trial.
    pub(crate) ends: bool,
}

/// The effect of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrialPhase {
    Reported,
    Enforced,
    Ended,
}

impl Trial {
    /// Creates a trial until 00:00 UTC of this date, as `YYYY-MM-DD`. It needs at least one rule.
    pub fn until(date: impl Into<String>) -> Self {
        Self { until: date.into(), rules: TrialRules::default() }
    }

    /// Tries a further audience: `aud` must contain it, or another audience of the trial.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.rules.audiences.push(audience.into());
        self
    }

    /// Tries that the header of a JWT has the type `at+jwt` (RFC 9068 section 4). An opaque token meets the rule.
    pub fn require_at_jwt(mut self) -> Self {
        self.rules.at_jwt = true;
        self
    }

    /// Tries that each token is bound to the client certificate (RFC 8705), as
    /// [`CertificateBinding::Required`] requires.
    pub fn require_certificate_binding(mut self) -> Self {
        self.rules.binding = true;
        self
    }

    /// Tries that the user signed in with one of these authentication contexts (`acr`). Each further call adds a list.
    pub fn acr<S: Into<String>>(mut self, contexts: impl IntoIterator<Item = S>) -> Self {
        let contexts = contexts.into_iter().map(|context| context.into().into_boxed_str()).collect();
        self.rules.step_up.contexts.push(contexts);
        self
    }

    /// Sets that the rules have no effect from the date on. Default: they are enforced.
    pub fn then_end(mut self) -> Self {
        self.rules.ends = true;
        self
    }
}

impl TrialRules {
    /// Returns whether there is a rule.
    pub(crate) fn is_empty(&self) -> bool {
        self.audiences.is_empty() && !self.at_jwt && !self.binding && self.step_up == StepUp::default()
    }

    pub(crate) fn phase(&self, now: i64) -> TrialPhase {
        match (now < self.until, self.ends) {
            (true, _) => TrialPhase::Reported,
            (false, false) => TrialPhase::Enforced,
            (false, true) => TrialPhase::Ended,
        }
    }

    /// Checks the rules for a token that meets all others. `is_other_jwt` returns whether the token is a JWT of another type
    /// than `at+jwt`.
    pub(crate) fn check(
        &self,
        claims: &Claims,
        rules: &Rules,
        now: i64,
        certificate: Option<&CertificateThumbprint>,
        is_other_jwt: impl FnOnce() -> bool,
    ) -> Result<(), AuthError> {
        let is_named = |audience: &String| claims.audience().contains(audience);
        if !self.audiences.is_empty() && !self.audiences.iter().any(is_named) {
            let expected = format!("expected {}", quoted(&self.audiences));
            return Err(AuthError::token(TokenFault::Audience).with_source(expected));
        }
        if self.at_jwt && is_other_jwt() {
            return Err(AuthError::token(TokenFault::Type).with_source("expected the type at+jwt"));
        }
        if self.binding {
            certificate::check(claims, CertificateBinding::Required, certificate)
                .map_err(|fault| AuthError::token(TokenFault::Binding).with_source(fault))?;
        }
        self.step_up.check(claims, rules, now)
    }
}

/// The rules, for a log record.
impl fmt::Display for TrialRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audience = (!self.audiences.is_empty()).then(|| format!("audience {}", quoted(&self.audiences)));
        let at_jwt = self.at_jwt.then(|| "type at+jwt".to_owned());
        let binding = self.binding.then(|| "binding to the client certificate".to_owned());
        let contexts = self.step_up.contexts.iter().map(|contexts| format!("acr {}", quoted(contexts)));
        let rules: Vec<String> = audience.into_iter().chain(at_jwt).chain(binding).chain(contexts).collect();
        f.write_str(&rules.join(", "))
    }
}

/// Returns the seconds since 1970 at 00:00 UTC of a date, as `YYYY-MM-DD`, from 1970 to 9999.
pub(crate) fn start_of_day(date: &str) -> Option<i64> {
    let is_form = date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let mut parts = date.split('-').filter(|_| is_form);
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || (year.len(), month.len()) != (4, 2) {
        return None;
    }
    let (year, month, day): (i64, i64, i64) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || !(1..=days).contains(&day) {
        return None;
    }
    // A year starts in March here, so that the leap day is its last one.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - 719_468) * 86_400)
}

#[cfg(test)]
mod tests {
    use super::start_of_day;

    #[test]
    fn a_date_is_its_first_second_in_utc() {
        for (date, seconds) in [
            ("1970-01-01", 0),
            ("1970-03-01", 5_097_600),
            ("2000-02-29", 951_782_400),
            ("2000-03-01", 951_868_800),
            ("2026-11-28", 1_795_824_000),
            ("2100-02-28", 4_107_456_000),
            ("2100-03-01", 4_107_542_400),
            ("9999-12-31", 253_402_214_400),
        ] {
            assert_eq!(start_of_day(date), Some(seconds), "{date}");
        }
    }

    #[test]
    fn other_texts_are_no_date() {
        for text in [
            "",
            "2027",
            "2027-4-1",
            "27-04-01",
            "2027-04-31",
            "2027-02-29",
            "2100-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-01-00",
            "1969-12-31",
            "2027-04-01T00:00:00Z",
            "2027/04/01",
            "+027-04-01",
            "2027-0401-",
            "20270401--",
            "tomorrow!!",
        ] {
            assert_eq!(start_of_day(text), None, "{text}");
        }
    }
}
