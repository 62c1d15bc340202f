//! The spans of the feature `tracing`: `authenticate`, `introspect` and `fetch`. Their fields contain no tokens, claims or
//! other values that a caller can choose. Without the feature, everything here is empty.
//!
//! A span is opened only if the thread has a subscriber: otherwise `tracing` would write it to `log`.

use std::future::Future;
#[cfg(feature = "tracing")]
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(feature = "tracing")]
use tracing::{Instrument as _, Span, field::Empty, level_filters::LevelFilter};

use super::{Decision, Telemetry};
use crate::error::AuthError;
#[cfg(feature = "tracing")]
use crate::record::has_subscriber;

/// Returns whether a subscriber of this thread may be interested in this level.
#[cfg(feature = "tracing")]
fn is_active(level: LevelFilter) -> bool {
    LevelFilter::current() >= level && has_subscriber()
}

/// The span of the authentication of one request.
#[derive(Debug)]
pub(crate) struct AuthenticationSpan {
    #[cfg(feature = "tracing")]
    span: Span,
}

impl AuthenticationSpan {
    pub(crate) fn open() -> Self {
        Self {
            #[cfg(feature = "tracing")]
            span: if is_active(LevelFilter::DEBUG) {
                tracing::debug_span!(
                    target: crate::LOG,
                    "authenticate",
                    issuer = Empty,
                    outcome = Empty,
                    fault = Empty,
                    via = Empty
                )
            } else {
                Span::none()
            },
        }
    }

    /// Runs a future in the span.
    #[cfg_attr(not(feature = "tracing"), expect(clippy::unused_self, reason = "spans use it"))]
    pub(crate) fn around<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        #[cfg(feature = "tracing")]
        let future = future.instrument(self.span.clone());
        future
    }

    /// Reports the decision, records it, and closes the span.
    #[cfg_attr(not(feature = "tracing"), expect(clippy::unused_self, reason = "spans use it"))]
    pub(crate) fn decided(self, telemetry: &Telemetry, decision: Decision<'_>) {
        telemetry.decided(decision);
        #[cfg(feature = "tracing")]
        record_words(&self.span, &telemetry.issuer, decision, ["issuer", "outcome", "fault", "via"]);
    }
}

/// Records a decision in the current span, usually that of the application for the request. It must have declared these
/// fields, otherwise this does nothing. A mount below the mount that obtained the verdict does not replace its record.
#[cfg(feature = "tracing")]
pub(super) fn record_decision(issuer: &str, decision: Decision<'_>) {
    let is_inherited = matches!(decision, Ok(Some(super::VerdictSource::OuterMount)));
    if is_active(LevelFilter::ERROR) && !is_inherited {
        let names = ["protect.issuer", "protect.outcome", "protect.fault", "protect.via"];
        record_words(&Span::current(), issuer, decision, names);
    }
}

#[cfg(feature = "tracing")]
fn record_words(span: &Span, issuer: &str, decision: Decision<'_>, names: [&'static str; 4]) {
    if span.is_disabled() {
        return;
    }
    let (outcome, fault, via) = super::words(decision);
    for (name, word) in names.into_iter().zip([issuer, outcome, fault, via]) {
        if !word.is_empty() {
            span.record(name, word);
        }
    }
}

/// The way in which a call starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallStart {
    /// The current request waits for it: its span is a child of the current one.
    Awaited,
    /// No request waits for it: its span is the root of another trace, and follows from the current one.
    Detached,
}

/// The kinds of calls with a span.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CallKind {
    Introspect,
    Fetch,
}

/// Opens the spans of the calls of one kind. The default opens none.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallSpans {
    /// The issuer, the kind, and the name of the calls in records and metrics.
    #[cfg(feature = "tracing")]
    calls: Option<(Arc<str>, CallKind, &'static str)>,
}

#[cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, clippy::unused_self, reason = "spans use them")
)]
impl CallSpans {
    /// `call` is the name of the calls in records and metrics.
    pub(crate) fn new(telemetry: &Telemetry, kind: CallKind, call: &'static str) -> Self {
        Self {
            #[cfg(feature = "tracing")]
            calls: Some((Arc::clone(&telemetry.issuer), kind, call)),
        }
    }

    /// Opens the span of a call that starts now.
    pub(crate) fn open(&self, start: CallStart) -> CallSpan {
        CallSpan {
            #[cfg(feature = "tracing")]
            span: self
                .calls
                .as_ref()
                .filter(|_| is_active(LevelFilter::INFO))
                .and_then(|(issuer, kind, call)| shared(open(*kind, issuer, call, start))),
        }
    }
}

#[cfg(feature = "tracing")]
fn open(kind: CallKind, issuer: &str, call: &'static str, start: CallStart) -> Span {
    let current = Span::current();
    let parent = current.id().filter(|_| start == CallStart::Awaited);
    let span = match kind {
        CallKind::Introspect => tracing::info_span!(
            target: crate::LOG, parent: parent, "introspect",
            otel.kind = "client", otel.status_code = Empty, issuer, call, outcome = Empty, status = Empty
        ),
        CallKind::Fetch => tracing::info_span!(
            target: crate::LOG, parent: parent, "fetch",
            otel.kind = "client", otel.status_code = Empty, issuer, call, outcome = Empty, status = Empty
        ),
    };
    if start == CallStart::Detached {
        span.follows_from(&current);
    }
    span
}

#[cfg(feature = "tracing")]
type SharedSpan = Arc<Mutex<Span>>;

#[cfg(feature = "tracing")]
fn shared(span: Span) -> Option<SharedSpan> {
    (!span.is_disabled()).then(|| Arc::new(Mutex::new(span)))
}

/// The span of a call for which several requests may wait. All clones are the same span.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallSpan {
    #[cfg(feature = "tracing")]
    span: Option<SharedSpan>,
}

#[cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, clippy::unused_self, reason = "spans use them")
)]
impl CallSpan {
    /// Runs a future in the span.
    pub(crate) fn around<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        #[cfg(feature = "tracing")]
        let future = future.instrument(self.span.as_ref().map_or_else(Span::none, |span| lock(span).clone()));
        future
    }

    /// Notes that the current span waits for the call of another request, and follows from it.
    pub(crate) fn join(&self) {
        #[cfg(feature = "tracing")]
        if let Some(span) = &self.span {
            let span = lock(span).clone();
            Span::current().follows_from(&span);
        }
    }

    /// Closes the span, even if requests still refer to it. `error` is the reason for which there is no result.
    pub(crate) fn close(&self, error: Option<&AuthError>) {
        #[cfg(feature = "tracing")]
        if let Some(span) = &self.span {
            let span = std::mem::replace(&mut *lock(span), Span::none());
            if let Some(error) = error {
                record_failed(&span, error.kind().fault());
            }
        }
    }
}

#[cfg(feature = "tracing")]
fn lock(span: &SharedSpan) -> MutexGuard<'_, Span> {
    // No code panics while it holds the lock, except a subscriber.
    span.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records that a call failed, also as the status of the span in OpenTelemetry.
#[cfg(feature = "tracing")]
fn record_failed(span: &Span, fault: &'static str) {
    span.record("outcome", fault).record("otel.status_code", "ERROR");
}

/// Records the outcome of a call in its span, which is the current one.
#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "spans use it"))]
pub(crate) fn record_outcome(outcome: &'static str) {
    #[cfg(feature = "tracing")]
    if is_active(LevelFilter::INFO) {
        Span::current().record("outcome", outcome);
    }
}

/// Records in its span, which is the current one, that a call failed.
#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "spans use it"))]
pub(crate) fn record_failure(fault: &'static str) {
    #[cfg(feature = "tracing")]
    if is_active(LevelFilter::INFO) {
        record_failed(&Span::current(), fault);
    }
}

/// Records the status of a response of the authorization server in the span of its call, which is the current one.
#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "spans use it"))]
pub(crate) fn record_status(status: u16) {
    #[cfg(feature = "tracing")]
    if is_active(LevelFilter::INFO) {
        // Signed, because `tracing-opentelemetry` exports an unsigned number as text.
        Span::current().record("status", i64::from(status));
    }
}
