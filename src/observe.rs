//! What an operator sees of decisions and calls: metrics through the `metrics` facade (feature `metrics`; without it these
//! functions do nothing). No label holds a token, a claim or anything else that a stranger chooses.
//!
//! | name | kind | labels |
//! | --- | --- | --- |
//! | `protect_api_decisions_total` | counter | `issuer`, `outcome`, `fault`, `via` |
//! | `protect_api_upstream_seconds` | histogram | `issuer`, `call`, `outcome` |
//! | `protect_api_introspections_in_flight` | gauge | `issuer` |
//! | `protect_api_introspection_paused` | gauge: 1 while the circuit breaker is not closed | `issuer` |
//! | `protect_api_fetched_timestamp_seconds` | gauge: when the document was fetched last, in seconds since 1970 | `issuer`, `call` |
//!
//! `issuer` is the issuer as configured; `outcome` is `allowed`, `anonymous` or the class of the refusal ([`AuthErrorKind::class`]); `fault` is its reason
//! ([`AuthErrorKind::fault`]), empty where it was let through; `via` tells how the verdict came about, empty where there
//! was none; `call` is `introspection`, `metadata` or `key_set`.

use std::{sync::Arc, time::Instant};

use crate::{
    clock::Clock,
    error::{AuthError, AuthErrorKind},
};

/// How a verdict came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// A mount further out had it already.
    OuterMount,
    /// A call of this request, or one that it shared.
    Introspection,
    /// The verdict cache.
    Cache,
    /// The signature was verified.
    Signature,
    /// The signature had been verified before.
    RememberedSignature,
}

impl Via {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OuterMount => "outer_mount",
            Self::Introspection => "introspection",
            Self::Cache => "cache",
            Self::Signature => "signature",
            Self::RememberedSignature => "remembered_signature",
        }
    }
}

/// One decision: let through with a verdict, as anonymous, or refused.
#[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only metrics tell issuers apart"))]
pub(crate) fn decided(issuer: &Arc<str>, decision: Result<Option<Via>, AuthErrorKind>) {
    let (outcome, fault, via) = match decision {
        Ok(Some(via)) => ("allowed", "", via.name()),
        Ok(None) => ("anonymous", "", ""),
        Err(kind) => (kind.class(), kind.fault(), ""),
    };
    log::trace!(target: crate::LOG, outcome, fault, via; "decided");
    #[cfg(feature = "metrics")]
    metrics::counter!(
        "protect_api_decisions_total",
        "issuer" => Arc::clone(issuer), "outcome" => outcome, "fault" => fault, "via" => via
    )
    .increment(1);
}

/// A call to the authorization server that is under way.
#[derive(Debug)]
pub(crate) struct Call {
    name: &'static str,
    #[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "only metrics tell issuers apart"))]
    issuer: Arc<str>,
    started: Instant,
}

impl Call {
    pub(crate) fn start(name: &'static str, issuer: &Arc<str>) -> Self {
        Self { name, issuer: Arc::clone(issuer), started: Instant::now() }
    }

    pub(crate) fn end<T>(self, outcome: &Result<T, AuthError>) {
        let elapsed = self.started.elapsed();
        let (call, outcome) =
            (self.name, outcome.as_ref().map_or_else(|error| error.kind().fault(), |_| "answered"));
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        log::trace!(target: crate::LOG, call, outcome, millis; "called the authorization server");
        #[cfg(feature = "metrics")]
        metrics::histogram!(
            "protect_api_upstream_seconds",
            "issuer" => self.issuer, "call" => call, "outcome" => outcome
        )
        .record(elapsed.as_secs_f64());
    }
}

/// How many introspections are under way.
#[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only metrics want to know"))]
pub(crate) fn in_flight(issuer: &Arc<str>, count: usize) {
    #[cfg(feature = "metrics")]
    metrics::gauge!("protect_api_introspections_in_flight", "issuer" => Arc::clone(issuer))
        .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
}

/// Whether the circuit breaker holds calls back.
#[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only metrics want to know"))]
pub(crate) fn paused(issuer: &Arc<str>, paused: bool) {
    #[cfg(feature = "metrics")]
    metrics::gauge!("protect_api_introspection_paused", "issuer" => Arc::clone(issuer))
        .set(f64::from(u8::from(paused)));
}

/// A document being fetched.
pub(crate) async fn fetch<T>(
    name: &'static str,
    issuer: Arc<str>,
    clock: Arc<dyn Clock>,
    fetching: impl Future<Output = Result<T, AuthError>>,
) -> Result<T, AuthError> {
    let call = Call::start(name, &issuer);
    let outcome = fetching.await;
    call.end(&outcome);
    if outcome.is_ok() {
        fetched(name, &issuer, clock.unix_time());
    }
    outcome
}

#[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "only metrics want to know"))]
fn fetched(call: &'static str, issuer: &Arc<str>, unix_time: i64) {
    #[cfg(feature = "metrics")]
    metrics::gauge!("protect_api_fetched_timestamp_seconds", "issuer" => Arc::clone(issuer), "call" => call)
        .set(f64::from(u32::try_from(unix_time).unwrap_or(u32::MAX)));
}
