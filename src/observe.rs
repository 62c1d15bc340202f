//! What an operator sees of decisions and calls: metrics through the `metrics` facade (feature `metrics`; without it these
//! functions do nothing). No label holds a token, a claim or anything else that a stranger chooses.
//!
//! Names, labels and keys are those of `docs/observability.md`; a test compares them.

#[cfg(feature = "metrics")]
mod series;

use std::{sync::Arc, time::Instant};

#[cfg(feature = "metrics")]
use self::series::Series;
use crate::{
    clock::Clock,
    error::AuthError,
    status::{Failures, LastError},
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
    #[cfg(feature = "metrics")]
    const ALL: [Self; 5] =
        [Self::OuterMount, Self::Introspection, Self::Cache, Self::Signature, Self::RememberedSignature];

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

/// What is told of one configuration.
#[derive(Debug)]
pub(crate) struct Observer {
    /// As configured: the name of the configuration in records and labels.
    pub(crate) issuer: Arc<str>,
    pub(crate) clock: Arc<dyn Clock>,
    failures: Failures,
    #[cfg(feature = "metrics")]
    series: Series,
}

#[cfg_attr(
    not(feature = "metrics"),
    expect(clippy::unused_self, unused_variables, reason = "metrics use them")
)]
impl Observer {
    pub(crate) fn new(issuer: &str, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            issuer: issuer.into(),
            clock,
            failures: Failures::default(),
            #[cfg(feature = "metrics")]
            series: Series::new(issuer),
        })
    }

    /// One decision: let through with a verdict, as anonymous, or refused.
    pub(crate) fn decided(&self, decision: Result<Option<Via>, &AuthError>) {
        let (outcome, fault, via) = match decision {
            Ok(Some(via)) => ("allowed", "", via.name()),
            Ok(None) => ("anonymous", "", ""),
            Err(error) => (error.kind().class(), error.kind().fault(), error.verdict_via()),
        };
        log::trace!(target: crate::LOG, event = "decided", issuer = &*self.issuer, outcome, fault, via; "decided");
        #[cfg(feature = "metrics")]
        match decision {
            Ok(Some(via)) => self.series.allowed(via),
            Ok(None) | Err(_) => self.series.decision(outcome, fault, via),
        }
    }

    /// Something failed on the way to a verdict; see [`Failures::note`].
    pub(crate) fn failed(&self, error: &AuthError) {
        self.failures.note(error, &*self.clock);
    }

    pub(crate) fn last_error(&self) -> Option<LastError> {
        self.failures.last(&*self.clock)
    }

    /// A call to the authorization server starts.
    pub(crate) fn call(self: &Arc<Self>, name: &'static str) -> Call {
        Call { name, observer: Arc::clone(self), started: Instant::now() }
    }

    /// How many introspections are under way.
    pub(crate) fn in_flight(&self, count: usize) {
        #[cfg(feature = "metrics")]
        self.series.in_flight(count);
    }

    /// Whether the circuit breaker holds calls back.
    pub(crate) fn paused(&self, paused: bool) {
        #[cfg(feature = "metrics")]
        self.series.paused(paused);
    }

    /// A document is fetched.
    pub(crate) async fn fetch<T>(
        self: Arc<Self>,
        name: &'static str,
        fetching: impl Future<Output = Result<T, AuthError>>,
    ) -> Result<T, AuthError> {
        let call = self.call(name);
        let outcome = fetching.await;
        call.end(&outcome);
        if outcome.is_ok() {
            self.fetched(name, self.clock.unix_time());
        }
        outcome
    }

    fn fetched(&self, call: &'static str, unix_time: i64) {
        #[cfg(feature = "metrics")]
        self.series.fetched(call, unix_time);
    }
}

/// A call to the authorization server that is under way.
#[derive(Debug)]
pub(crate) struct Call {
    name: &'static str,
    observer: Arc<Observer>,
    started: Instant,
}

impl Call {
    pub(crate) fn end<T>(self, outcome: &Result<T, AuthError>) {
        let elapsed = self.started.elapsed();
        let (call, outcome) =
            (self.name, outcome.as_ref().map_or_else(|error| error.kind().fault(), |_| "answered"));
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        log::trace!(
            target: crate::LOG, event = "called", issuer = &*self.observer.issuer, call, outcome, millis;
            "called the authorization server"
        );
        #[cfg(feature = "metrics")]
        self.observer.series.call(call, outcome, elapsed);
    }
}
