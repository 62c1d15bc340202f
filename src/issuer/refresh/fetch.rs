//! One fetch of a document: its start, the effect of its outcome, and the cleanup if its worker stops.

use std::{future::Future, sync::Arc, time::Duration};

use actix_web::rt;

use crate::{
    error::AuthError,
    issuer::refresh::{Document, FailedFetch, Fetched, ReaderKind, RefreshingCache},
    telemetry::spans::CallStart,
};

/// The pause after the first failed fetch. It doubles after each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, so that an authorization server that works again is used within 5 s.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// The longest `Retry-After` that is used. A wrong value must not stop fetches for a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A running fetch, and whether the calling reader started it.
pub(crate) struct Fetch {
    pub(crate) number: u64,
    pub(crate) is_own: bool,
}

/// Marks a fetch as ended when dropped: at the end of its task, after a panic, or with its worker.
struct RunningFetch<T: Document> {
    cache: Arc<RefreshingCache<T>>,
    number: u64,
}

impl<T: Document> Drop for RunningFetch<T> {
    fn drop(&mut self) {
        self.cache.clear(self.number);
        self.cache.ended.send_replace(());
    }
}

impl<T: Document> RefreshingCache<T> {
    /// Starts a fetch, or returns the running one. Returns `None` during the pause after a failure. `start` is whether the
    /// reader waits for the fetch.
    pub(crate) fn start<F>(self: &Arc<Self>, fetch: impl Fn() -> F, start: CallStart) -> Option<Fetch>
    where
        F: Future<Output = Result<T, AuthError>> + 'static,
    {
        let started_at = self.now();
        let number = {
            let mut state = self.state();
            if let Some(number) = state.running {
                let span = state.span.clone();
                drop(state);
                if start == CallStart::Awaited {
                    span.join();
                }
                return Some(Fetch { number, is_own: false });
            }
            if state.failure.as_ref().is_some_and(|failure| started_at < failure.resume_at) {
                return None;
            }
            state.last_number += 1;
            state.running = Some(state.last_number);
            state.last_start = Some(started_at);
            state.last_number
        };
        let running = RunningFetch { cache: Arc::clone(self), number };
        // Opened without the lock, because a subscriber may be slow.
        let span = self.spans.open(start);
        self.state().span = span.clone();
        let fetching = span.around(fetch());
        rt::spawn(async move {
            let outcome = fetching.await;
            span.close(outcome.as_ref().err());
            running.cache.store_result(outcome, started_at, number);
            drop(running);
        });
        Some(Fetch { number, is_own: true })
    }

    /// Lets a reader start a fetch beside the running one. Readers that want a newer document than the fresh one
    /// may do so once per `min_refetch_interval`, because anybody can send such requests.
    pub(crate) fn replace(&self, number: u64, kind: ReaderKind) {
        if kind == ReaderKind::Renewer {
            let mut state = self.state();
            if self.is_recent(state.last_replacement) {
                return;
            }
            state.last_replacement = Some(self.now());
        }
        self.clear(number);
    }

    /// Returns whether something happened within the last `min_refetch_interval`.
    pub(crate) fn is_recent(&self, at: Option<Duration>) -> bool {
        at.is_some_and(|at| self.now().saturating_sub(at) < self.lifetimes.min_refetch_interval)
    }

    /// Marks this fetch as ended, if it is the running one.
    fn clear(&self, number: u64) {
        let mut state = self.state();
        if state.running == Some(number) {
            state.running = None;
        }
    }

    /// Stores the outcome of a fetch. The age of the document is measured from `started_at`, because the server may
    /// have changed it while it responded. The outcome of a replaced fetch is used too, unless a later fetch has
    /// returned a document.
    fn store_result(&self, outcome: Result<T, AuthError>, started_at: Duration, number: u64) {
        let mut state = self.state();
        if self.current.load().as_ref().is_some_and(|current| current.number > number) {
            return;
        }
        let failures = state.failure.take().map_or(0, |failure| failure.count);
        match outcome {
            Ok(document) => {
                if document.interruption().is_none() {
                    self.telemetry.succeeded(self.name, started_at);
                }
                state.failure = document.interruption().map(|error| self.fail(error.clone(), failures));
                let fetched = Fetched::new(document, started_at, self.lifetimes, number);
                self.current.store(Some(Arc::new(fetched)));
            }
            Err(error) => state.failure = Some(self.fail(error, failures)),
        }
    }

    /// Reports a failure. Returns it with the time of the next fetch.
    fn fail(&self, error: AuthError, failures: u32) -> FailedFetch {
        self.telemetry.call_failed(self.name, &error);
        let own = (FIRST_PAUSE * 2_u32.saturating_pow(failures.min(5))).min(LONGEST_PAUSE);
        let requested = error.retry_after().unwrap_or_default().min(LONGEST_RETRY_AFTER);
        let pause = own.max(requested);
        let (issuer, call, fault) = (&*self.telemetry.issuer, self.name, error.kind().fault());
        let level = self.warnings.level_at(self.now(), log::Level::Warn);
        record!(
            level, event = "fetch_failed", issuer, call, fault;
            "fetching the {} failed, next try in {pause:?}: {}", call.replace('_', " "), error.describe(issuer)
        );
        let resume_at = self.now().saturating_add(pause);
        FailedFetch { error, count: failures.saturating_add(1), resume_at }
    }
}
