//! The requirements for the authentication of the user (RFC 9470).

use super::{Rules, expected};
use crate::{
    claims::Claims,
    error::{AuthError, AuthErrorKind},
};

/// The least tolerance for `auth_time`, in seconds. Without one, `max_age=0` could never be met: a sign-in takes time.
const LEAST_TOLERANCE: i64 = 5;

/// The required authentication contexts, and the longest time since the user signed in. Empty requires nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepUp {
    /// `acr` must be one value of each list.
    pub(crate) contexts: Vec<Vec<Box<str>>>,
    /// The longest time since `auth_time`, in seconds.
    pub(crate) within: Option<i64>,
}

impl StepUp {
    pub(crate) fn new(contexts: Vec<Vec<Box<str>>>, within: Option<i64>) -> Self {
        Self { contexts, within }
    }

    /// Adds a maximum time since the user signed in. The shortest one applies.
    pub(crate) fn limit(&mut self, within: i64) {
        self.within = Some(self.within.map_or(within, |before| before.min(within)));
    }

    /// Checks `acr` and `auth_time`. A claim that is missing or has another type does not meet a requirement.
    pub(crate) fn check(&self, claims: &Claims, rules: &Rules, now: i64) -> Result<(), AuthError> {
        let lacks_context = |wanted: &&Vec<Box<str>>| {
            let acr = claims.acr();
            !wanted.is_empty() && !wanted.iter().any(|one| acr == Some(one))
        };
        if let Some(wanted) = self.contexts.iter().find(lacks_context) {
            return Err(self.insufficient(claims.acr().is_some(), "acr", &expected(&[wanted.as_slice()])));
        }
        let Some(within) = self.within else { return Ok(()) };
        let now = now.saturating_add(rules.clock_skew);
        let tolerance = rules.clock_tolerance.max(LEAST_TOLERANCE);
        let is_recent = |time: i64| {
            time <= now.saturating_add(tolerance)
                && now.saturating_sub(within).saturating_sub(tolerance) <= time
        };
        if claims.auth_time().is_some_and(is_recent) {
            Ok(())
        } else {
            let expected = format!("expected a sign-in within {within} s");
            Err(self.insufficient(claims.auth_time().is_some(), "auth_time", &expected))
        }
    }

    /// Creates the error. Its source names the claim, without its value, and the expected one.
    fn insufficient(&self, is_present: bool, name: &str, expected: &str) -> AuthError {
        let state = if is_present { "does not meet the requirement" } else { "is missing" };
        AuthError::new(AuthErrorKind::InsufficientAuthentication)
            .with_step_up(self.acr_values(), self.within)
            .with_source(format!("`{name}` {state}, {expected}"))
    }

    /// Returns the values that a challenge names: those that meet all lists, or those of the last list if there are
    /// none.
    pub(crate) fn acr_values(&self) -> String {
        let Some((last, others)) = self.contexts.split_last() else { return String::new() };
        let is_in =
            |value: &str, list: &Vec<Box<str>>| list.is_empty() || list.iter().any(|one| **one == *value);
        let is_in_all = |value: &&str| others.iter().all(|list| is_in(value, list));
        let common: Vec<&str> = last.iter().map(|value| &**value).filter(is_in_all).collect();
        if common.is_empty() { last.join(" ") } else { common.join(" ") }
    }

    /// Returns the requirements of several mounts, from the outermost to the innermost, as one.
    pub(crate) fn merged<'s>(all: impl IntoIterator<Item = &'s Self>) -> Self {
        let mut merged = Self::default();
        for one in all {
            merged.contexts.extend(one.contexts.iter().filter(|list| !list.is_empty()).cloned());
            if let Some(within) = one.within {
                merged.limit(within);
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step_up(contexts: &[&[&str]], within: Option<i64>) -> StepUp {
        let list = |list: &&[&str]| list.iter().map(|&value| value.into()).collect();
        StepUp::new(contexts.iter().map(list).collect(), within)
    }

    #[test]
    fn a_challenge_names_the_contexts_that_meet_all_mounts_and_the_shortest_time() {
        for (mounts, acr_values, within) in [
            (&[step_up(&[], None)][..], "", None),
            (&[step_up(&[&["a", "b"]], Some(60))], "a b", Some(60)),
            (&[step_up(&[&["a", "b", "c"]], Some(60)), step_up(&[&["c", "b"]], Some(90))], "c b", Some(60)),
            (&[step_up(&[&["a"]], None), step_up(&[&["b"]], Some(0))], "b", Some(0)),
            (&[step_up(&[&["a"]], None), step_up(&[&[]], None)], "a", None),
        ] {
            let merged = StepUp::merged(mounts);
            assert_eq!((merged.acr_values(), merged.within), (acr_values.to_owned(), within));
        }
    }
}
