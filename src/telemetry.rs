//! Reports decisions and calls to the operator: trace records, and metrics through the `metrics` facade (feature
//! `metrics`). No label contains a token, a claim or any other value that a caller can choose, except
//! the client of a valid token in reports of rules that are not enforced.
//!
//! A test compares names, labels and keys with `docs/observability.md`.

mod event_throttles;
pub(crate) mod log_throttle;
#[cfg(feature = "metrics")]
mod metrics;
mod rejections;
pub(crate) mod spans;
pub(crate) mod status;
mod would_reject;

pub use self::status::{IntrospectionState, LastError, SharedStoreState, Status};
pub(crate) use self::{event_throttles::EventSource, would_reject::ReportedRule};

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(feature = "metrics")]
use self::metrics::Metrics;
use self::{
    event_throttles::EventThrottles, rejections::Rejections, status::LastFailure,
    would_reject::ReportedClients,
};
use crate::{clock::Clock, error::AuthError};

/// The source of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerdictSource {
    /// An outer mount of the same configuration.
    OuterMount,
    /// An introspection call of this request, or one shared with other requests.
    Introspection,
    /// The verdict cache.
    Cache,
    /// A verdict that another replica has put into the shared store.
    SharedStore,
    /// An expired verdict of the cache, during an outage of the authorization server.
    Grace,
    /// A verified signature.
    Signature,
    /// A signature that was verified for an earlier request.
    RememberedSignature,
    /// Not a source: a handler or an extractor rejected a request that a mount had accepted.
    Handler,
}

impl VerdictSource {
    /// The sources of accepted requests.
    #[cfg(feature = "metrics")]
    const ALL: [Self; 7] = [
        Self::OuterMount,
        Self::Introspection,
        Self::Cache,
        Self::SharedStore,
        Self::Grace,
        Self::Signature,
        Self::RememberedSignature,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OuterMount => "outer_mount",
            Self::Introspection => "introspection",
            Self::Cache => "cache",
            Self::SharedStore => "shared_store",
            Self::Grace => "grace",
            Self::Signature => "signature",
            Self::RememberedSignature => "remembered_signature",
            Self::Handler => "handler",
        }
    }
}

/// A decision about a request: allowed with a verdict of this source, anonymous, or rejected.
pub(crate) type Decision<'d> = Result<Option<VerdictSource>, &'d Denial>;

/// Returns outcome, fault and source of a decision.
fn words(decision: Decision<'_>) -> (&'static str, &'static str, &'static str) {
    match decision {
        Ok(Some(via)) => ("allowed", "", via.name()),
        Ok(None) => ("anonymous", "", ""),
        Err(denial) => (denial.error.kind().class(), denial.error.kind().fault(), denial.via()),
    }
}

/// A decision to reject a request.
#[derive(Debug)]
pub(crate) struct Denial {
    pub(crate) error: AuthError,
    /// The source of the verdict that led to it; `None` if there was no verdict.
    pub(crate) via: Option<VerdictSource>,
}

impl Denial {
    pub(crate) fn new(error: AuthError, via: VerdictSource) -> Self {
        Self { error, via: Some(via) }
    }

    /// Returns the name of the source of the verdict; empty if there was no verdict.
    pub(crate) fn via(&self) -> &'static str {
        self.via.map_or("", VerdictSource::name)
    }
}

impl From<AuthError> for Denial {
    fn from(error: AuthError) -> Self {
        Self { error, via: None }
    }
}

/// Logs and metrics of one configuration.
#[derive(Debug)]
pub(crate) struct Telemetry {
    /// The configured issuer, which names the configuration in records and labels.
    pub(crate) issuer: Arc<str>,
    pub(crate) clock: Arc<dyn Clock>,
    failures: LastFailure,
    rejections: Rejections,
    reported_clients: ReportedClients,
    pub(crate) event_throttles: EventThrottles,
    #[cfg(feature = "metrics")]
    metrics: Metrics,
}

#[cfg_attr(
    not(feature = "metrics"),
    expect(clippy::unused_self, unused_variables, reason = "metrics use them")
)]
impl Telemetry {
    pub(crate) fn new(issuer: &str, clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::describe_metrics();
        Arc::new(Self {
            issuer: issuer.into(),
            clock,
            failures: LastFailure::default(),
            rejections: Rejections::default(),
            reported_clients: ReportedClients::default(),
            event_throttles: EventThrottles::default(),
            #[cfg(feature = "metrics")]
            metrics: Metrics::new(issuer),
        })
    }

    /// Describes the metrics to the exporter. Called when a configuration is built and when a worker starts, because the
    /// application may install the exporter in between.
    pub(crate) fn describe_metrics() {
        #[cfg(feature = "metrics")]
        metrics::describe();
    }

    /// Reports one decision of a mount (allowed, anonymous, or rejected), or a rejection by a handler.
    pub(crate) fn decided(&self, decision: Decision<'_>) {
        let (outcome, fault, via) = words(decision);
        record!(log::Level::Trace, event = "decided", issuer = &*self.issuer, outcome, fault, via; "decided: {outcome}, fault {fault:?}, via {via:?}");
        match decision {
            Ok(Some(_)) => self.rejections.note_accepted(),
            Ok(None) => {}
            Err(denial) => {
                self.rejections.note_rejected(&denial.error, &self.issuer, || self.clock.monotonic());
            }
        }
        #[cfg(feature = "metrics")]
        match decision {
            Ok(Some(via)) => self.metrics.allowed(via),
            Ok(None) | Err(_) => self.metrics.decision(outcome, fault, via),
        }
        #[cfg(feature = "tracing")]
        spans::record_decision(&self.issuer, decision);
    }

    /// Reports a request that would be rejected with this error, and the client of its valid token.
    pub(crate) fn would_reject(&self, rule: ReportedRule, error: &AuthError, client: Option<&str>) {
        let (client, level) = self.reported_clients.label(client, self.clock.monotonic());
        let (issuer, rule, fault) = (&*self.issuer, rule.name(), error.kind().fault());
        record!(
            level, event = "would_reject", issuer, rule, fault, client = &*client;
            "a request would be rejected by a rule of the {rule} that is not enforced: {} ({fault}, client {client:?}, \
             {issuer})", error.text()
        );
        #[cfg(feature = "metrics")]
        self.metrics.would_reject(rule, fault, client);
    }

    /// Reports the failure of a request; see [`LastFailure::note`].
    pub(crate) fn failed(&self, error: &AuthError) {
        self.failures.note(None, error, &*self.clock);
    }

    /// Reports the failure of a call or a fetch. The next success of the same kind ends it.
    pub(crate) fn call_failed(&self, call: &'static str, error: &AuthError) {
        self.failures.note(Some(call), error, &*self.clock);
    }

    /// Reports the success of a call or a fetch that started at this time on the monotonic clock.
    pub(crate) fn succeeded(&self, call: &'static str, started: Duration) {
        self.failures.end(call, started);
    }

    pub(crate) fn last_error(&self) -> Option<LastError> {
        self.failures.last(&*self.clock)
    }

    /// Reports the start of a call to the authorization server.
    pub(crate) fn call(self: &Arc<Self>, name: &'static str) -> CallTimer {
        CallTimer { name, telemetry: Arc::clone(self), started: Instant::now() }
    }

    /// Reports the number of introspection calls in flight.
    pub(crate) fn in_flight(&self, count: usize) {
        #[cfg(feature = "metrics")]
        self.metrics.in_flight(count);
    }

    /// Reports an event from a source of revocations.
    pub(crate) fn revocation_event(&self, source: &'static str, kind: &'static str, outcome: &'static str) {
        #[cfg(feature = "metrics")]
        self.metrics.revocation_event(source, kind, outcome);
    }

    /// Reports that a stream has got a lease.
    pub(crate) fn lease_opened(&self) {
        #[cfg(feature = "metrics")]
        self.metrics.leases(1.0);
    }

    /// Reports that a stream with a lease was closed.
    pub(crate) fn lease_closed(&self) {
        #[cfg(feature = "metrics")]
        self.metrics.leases(-1.0);
    }

    /// Reports that a lease has ended before its stream was closed.
    pub(crate) fn lease_ended(&self, end: &'static str) {
        let issuer = &*self.issuer;
        record!(log::Level::Debug, event = "lease_ended", issuer, end; "the lease of a stream has ended: {end} ({issuer})");
        #[cfg(feature = "metrics")]
        self.metrics.lease_ended(end);
    }

    /// Reports whether the circuit breaker is open.
    pub(crate) fn paused(&self, paused: bool) {
        #[cfg(feature = "metrics")]
        self.metrics.paused(paused);
    }

    /// Reports the fetch of a document.
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
        self.metrics.fetched(call, unix_time);
    }
}

/// Reports whether the records of the shared store are not read.
#[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "metrics use it"))]
pub(crate) fn blind(is_blind: bool) {
    #[cfg(feature = "metrics")]
    metrics::blind(is_blind);
}

/// Measures a call to the authorization server.
#[derive(Debug)]
pub(crate) struct CallTimer {
    name: &'static str,
    telemetry: Arc<Telemetry>,
    started: Instant,
}

impl CallTimer {
    pub(crate) fn end<T>(self, outcome: &Result<T, AuthError>) {
        let (elapsed, is_failure) = (self.started.elapsed(), outcome.is_err());
        let (call, outcome) =
            (self.name, outcome.as_ref().map_or_else(|error| error.kind().fault(), |_| "answered"));
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        record!(
            log::Level::Trace, event = "called", issuer = &*self.telemetry.issuer, call, outcome, millis;
            "called the authorization server: {call}, {outcome}, {millis} ms"
        );
        #[cfg(feature = "metrics")]
        self.telemetry.metrics.call(call, outcome, elapsed);
        if is_failure { spans::record_failure(outcome) } else { spans::record_outcome(outcome) }
    }
}
