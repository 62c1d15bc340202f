//! Warns of misconfigurations that are visible only as rejected tokens. Other rejections are logged at debug level.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use crate::{
    error::{AuthError, AuthErrorKind, TokenFault},
    telemetry::log_throttle::LogThrottle,
};

/// The number of tokens that are rejected for one reason, without an accepted token between them, before a warning is
/// logged.
const MANY: u32 = 10;

/// The time between two warnings for one reason.
const PERIOD: Duration = Duration::from_secs(600);

/// Counts the tokens of one configuration that were rejected since the last accepted one, by reason.
#[derive(Debug)]
pub(crate) struct Rejections {
    /// Whether a count may be above zero. For an accepted token usually only this is read.
    is_counting: AtomicBool,
    issuer: Reason,
    audience: Reason,
    client: Reason,
    claim_value: Reason,
    missing_claim: Reason,
    unknown_key: Reason,
    unsupported: Reason,
}

#[derive(Debug)]
struct Reason {
    count: AtomicU32,
    warnings: LogThrottle,
    advice: &'static str,
}

impl Reason {
    fn new(advice: &'static str) -> Self {
        Self { count: AtomicU32::new(0), warnings: LogThrottle::every(PERIOD), advice }
    }

    /// Increments the count up to the limit, so that it cannot overflow. Returns whether there are many.
    fn count(&self) -> bool {
        let before = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < MANY).then_some(count.saturating_add(1))
        });
        before.map_or(true, |before| before.saturating_add(1) == MANY)
    }
}

impl Default for Rejections {
    fn default() -> Self {
        Self {
            is_counting: AtomicBool::new(false),
            issuer: Reason::new("check TENANT_DOMAIN and the `issuer` of the metadata"),
            audience: Reason::new("check AUDIENCE and the audience that clients request"),
            client: Reason::new("check ALLOWED_CLIENTS"),
            claim_value: Reason::new("check REQUIRED_CLAIMS"),
            missing_claim: Reason::new(
                "check whether the server can add the claim to its tokens or introspection responses",
            ),
            unknown_key: Reason::new("check TENANT_DOMAIN and whether `jwks_uri` publishes the signing keys"),
            unsupported: Reason::new(
                "check CLIENT_ID and CLIENT_SECRET, and whether the server introspects such tokens",
            ),
        }
    }
}

impl Rejections {
    /// Records an accepted token and resets the counts. Writes only after a rejection.
    pub(crate) fn note_accepted(&self) {
        if !self.is_counting.load(Ordering::Relaxed) {
            return;
        }
        self.is_counting.store(false, Ordering::Relaxed);
        let Self {
            is_counting: _,
            issuer,
            audience,
            client,
            claim_value,
            missing_claim,
            unknown_key,
            unsupported,
        } = self;
        for reason in [issuer, audience, client, claim_value, missing_claim, unknown_key, unsupported] {
            reason.count.store(0, Ordering::Relaxed);
        }
    }

    /// Records a rejection, and warns if it makes a misconfiguration likely. `now` returns the time of a monotonic
    /// clock.
    pub(crate) fn note_rejected(&self, error: &AuthError, issuer: &str, now: impl FnOnce() -> Duration) {
        if let Some(advice) = self.advice(error.kind(), now) {
            let fault = error.kind().fault();
            record!(
                log::Level::Warn, event = "no_token_accepted", issuer, fault;
                "no token was accepted while at least {MANY} were rejected: {}; {advice}", error.describe(issuer)
            );
        }
    }

    /// Returns the settings to check, if a warning is due.
    fn advice(&self, kind: AuthErrorKind, now: impl FnOnce() -> Duration) -> Option<&'static str> {
        let fault = match kind {
            AuthErrorKind::InvalidToken(fault) => fault,
            // Such a token is accepted; only its permissions are insufficient.
            AuthErrorKind::InsufficientScope
            | AuthErrorKind::InsufficientGroups
            | AuthErrorKind::ClaimRule
            | AuthErrorKind::InsufficientAuthentication => {
                self.note_accepted();
                return None;
            }
            _ => return None,
        };
        let reason = match fault {
            TokenFault::Issuer => &self.issuer,
            TokenFault::Audience => &self.audience,
            TokenFault::Client => &self.client,
            TokenFault::ClaimValue => &self.claim_value,
            TokenFault::MissingClaim => &self.missing_claim,
            TokenFault::UnknownKey => &self.unknown_key,
            TokenFault::Unsupported => &self.unsupported,
            _ => return None,
        };
        let are_many = reason.count();
        // Set after the count, so that the next accepted token resets the count in any case.
        self.is_counting.store(true, Ordering::Relaxed);
        (are_many && reason.warnings.is_due_at(now())).then_some(reason.advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULTS: [TokenFault; 7] = [
        TokenFault::Issuer,
        TokenFault::Audience,
        TokenFault::Client,
        TokenFault::ClaimValue,
        TokenFault::MissingClaim,
        TokenFault::UnknownKey,
        TokenFault::Unsupported,
    ];

    /// Returns the number of warnings that this many rejections cause, all at this second.
    fn warnings(rejections: &Rejections, kind: AuthErrorKind, second: u64, times: usize) -> usize {
        let now = || Duration::from_secs(second);
        (0..times).filter(|_| rejections.advice(kind, now).is_some()).count()
    }

    #[test]
    fn each_reason_is_worth_one_warning_in_ten_minutes() {
        let rejections = Rejections::default();
        for fault in FAULTS {
            let kind = AuthErrorKind::InvalidToken(fault);
            assert_eq!(warnings(&rejections, kind, 7, 9), 0, "{fault:?}");
            assert_eq!(warnings(&rejections, kind, 7, 1), 1, "{fault:?}");
            assert_eq!(warnings(&rejections, kind, 606, 1000), 0, "{fault:?}");
            assert_eq!(warnings(&rejections, kind, 607, 1000), 1, "{fault:?}");
        }
    }

    #[test]
    fn an_accepted_token_and_one_without_permission_start_the_count_again() {
        let accepts: [fn(&Rejections); 3] = [
            Rejections::note_accepted,
            |rejections| {
                assert_eq!(rejections.advice(AuthErrorKind::InsufficientScope, Duration::default), None);
            },
            |rejections| {
                assert_eq!(rejections.advice(AuthErrorKind::InsufficientGroups, Duration::default), None);
            },
        ];
        for accept in accepts {
            let rejections = Rejections::default();
            accept(&rejections);
            for fault in FAULTS {
                let kind = AuthErrorKind::InvalidToken(fault);
                for _ in 0..100 {
                    assert_eq!(warnings(&rejections, kind, 0, 9), 0, "{fault:?}");
                    accept(&rejections);
                }
                // A configuration that worked may be wrong after a change of the server.
                assert_eq!(warnings(&rejections, kind, 0, 10), 1, "{fault:?}");
                accept(&rejections);
                assert_eq!(warnings(&rejections, kind, 1, 100), 0, "{fault:?}");
                assert_eq!(warnings(&rejections, kind, 600, 1), 1, "{fault:?}");
            }
        }
    }

    #[test]
    fn the_reasons_are_counted_separately() {
        let rejections = Rejections::default();
        for fault in FAULTS {
            assert_eq!(warnings(&rejections, AuthErrorKind::InvalidToken(fault), 0, 9), 0, "{fault:?}");
        }
        for fault in FAULTS {
            assert_eq!(warnings(&rejections, AuthErrorKind::InvalidToken(fault), 0, 1), 1, "{fault:?}");
        }
    }

    #[test]
    fn usual_faults_of_callers_are_no_misconfiguration() {
        let rejections = Rejections::default();
        for kind in [
            AuthErrorKind::MissingToken,
            AuthErrorKind::InvalidToken(TokenFault::Inactive),
            AuthErrorKind::InvalidToken(TokenFault::Expired),
            AuthErrorKind::InvalidToken(TokenFault::Malformed),
            AuthErrorKind::InvalidToken(TokenFault::Signature),
        ] {
            assert_eq!(warnings(&rejections, kind, 0, 1000), 0, "{kind:?}");
        }
    }
}
