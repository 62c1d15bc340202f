//! Misconfigurations that show only as rejected tokens: one warning each, where the other records are at debug level.

use std::{
    error::Error as _,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use crate::error::{AuthError, AuthErrorKind, TokenFault};

/// So many tokens are rejected for one reason before that is worth a warning.
const MANY: u32 = 20;

/// Counts the rejected tokens of one configuration, by reason, until a token is accepted. Strangers can cause each warning
/// once, and only before that.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    is_any_accepted: AtomicBool,
    issuer: AtomicU32,
    audience: AtomicU32,
    missing_claim: AtomicU32,
    unknown_key: AtomicU32,
    unsupported: AtomicU32,
}

impl Rejections {
    /// Notes a token that was accepted: the configuration can work.
    pub(super) fn note_accepted(&self) {
        if !self.is_any_accepted.load(Ordering::Relaxed) {
            self.is_any_accepted.store(true, Ordering::Relaxed);
        }
    }

    /// Notes a rejection, and warns if it makes a misconfiguration likely.
    pub(super) fn note_rejected(&self, error: &AuthError, issuer: &str) {
        if let Some(advice) = self.advice(error.kind()) {
            let fault = error.kind().fault();
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            log::warn!(
                target: crate::LOG, event = "no_token_accepted", issuer, fault;
                "no token was accepted so far, and {MANY} were rejected: {error}{cause}; {advice}"
            );
        }
    }

    /// The settings to look at, for the rejection that makes them many.
    fn advice(&self, kind: AuthErrorKind) -> Option<&'static str> {
        let fault = match kind {
            AuthErrorKind::InvalidToken(fault) => fault,
            // All that is wrong with such a token are its permissions.
            AuthErrorKind::InsufficientScope | AuthErrorKind::InsufficientGroups => {
                self.note_accepted();
                return None;
            }
            _ => return None,
        };
        if self.is_any_accepted.load(Ordering::Relaxed) {
            return None;
        }
        let (count, advice) = match fault {
            TokenFault::Issuer => (&self.issuer, "check TENANT_DOMAIN and the `issuer` of the metadata"),
            TokenFault::Audience => (&self.audience, "check AUDIENCE and the audience that clients request"),
            TokenFault::MissingClaim => (
                &self.missing_claim,
                "check whether the server can add the claim to its tokens or introspection responses",
            ),
            TokenFault::UnknownKey => {
                (&self.unknown_key, "check TENANT_DOMAIN and whether `jwks_uri` publishes the signing keys")
            }
            TokenFault::Unsupported => (
                &self.unsupported,
                "check CLIENT_ID and CLIENT_SECRET, and whether the server introspects such tokens",
            ),
            _ => return None,
        };
        // Counts no further than to the limit: it cannot overflow and start again.
        let before = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < MANY).then_some(count.saturating_add(1))
        });
        (before.ok()?.saturating_add(1) == MANY).then_some(advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULTS: [TokenFault; 5] = [
        TokenFault::Issuer,
        TokenFault::Audience,
        TokenFault::MissingClaim,
        TokenFault::UnknownKey,
        TokenFault::Unsupported,
    ];

    fn warnings(rejections: &Rejections, kind: AuthErrorKind, times: usize) -> usize {
        (0..times).filter(|_| rejections.advice(kind).is_some()).count()
    }

    #[test]
    fn each_reason_is_worth_one_warning_while_no_token_is_accepted() {
        let rejections = Rejections::default();
        for fault in FAULTS {
            let kind = AuthErrorKind::InvalidToken(fault);
            assert_eq!(warnings(&rejections, kind, 19), 0, "{fault:?}");
            assert_eq!(warnings(&rejections, kind, 1), 1, "{fault:?}");
            assert_eq!(warnings(&rejections, kind, 1000), 0, "{fault:?}");
        }
    }

    #[test]
    fn an_accepted_token_and_one_without_permission_end_the_count() {
        for accept in [
            Rejections::note_accepted as fn(&Rejections),
            |rejections| assert_eq!(rejections.advice(AuthErrorKind::InsufficientScope), None),
            |rejections| assert_eq!(rejections.advice(AuthErrorKind::InsufficientGroups), None),
        ] {
            let rejections = Rejections::default();
            let kind = AuthErrorKind::InvalidToken(TokenFault::Audience);
            assert_eq!(warnings(&rejections, kind, 19), 0);
            accept(&rejections);
            assert_eq!(warnings(&rejections, kind, 1000), 0);
        }
    }

    #[test]
    fn what_strangers_send_anyway_is_no_misconfiguration() {
        let rejections = Rejections::default();
        for kind in [
            AuthErrorKind::MissingToken,
            AuthErrorKind::InvalidToken(TokenFault::Inactive),
            AuthErrorKind::InvalidToken(TokenFault::Expired),
            AuthErrorKind::InvalidToken(TokenFault::Malformed),
            AuthErrorKind::InvalidToken(TokenFault::Signature),
        ] {
            assert_eq!(warnings(&rejections, kind, 1000), 0, "{kind:?}");
        }
    }
}
