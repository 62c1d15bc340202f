//! One call per token in flight, across all workers.
//!
//! The first request for a token starts the call. The call runs in a separate task, detached from the request and its
//! connection. Later requests for the same token wait for the result. A verdict is shared. An error is not shared:
//! each waiting request then retries once, and these requests share one new call. If a call takes more than half of
//! the time of a waiting request, for example because its worker is blocked, a new call replaces it.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use actix_web::rt;
use quick_cache::DefaultHashBuilder;
use tokio::sync::Notify;

use crate::{
    deadline::Deadline,
    error::{AuthError, UpstreamFault},
    telemetry::{
        Telemetry,
        spans::{CallKind, CallSpan, CallSpans, CallStart},
    },
    waiting_room::WaitingRoom,
};

pub(crate) struct SingleFlight<K, V> {
    calls: Mutex<HashMap<K, Arc<InFlight<V>>, DefaultHashBuilder>>,
    spans: CallSpans,
}

/// One call, and the requests that wait for it.
struct InFlight<V> {
    outcome: OnceLock<Outcome<V>>,
    completed: Notify,
    /// Set after the call has entered the map, because a subscriber may be slow.
    span: OnceLock<CallSpan>,
}

/// The result of a call; `None` if its worker stopped or its task panicked.
type Outcome<V> = Option<Result<V, AuthError>>;

impl<V> InFlight<V> {
    async fn outcome(&self) -> &Outcome<V> {
        // Created before the outcome is read, so that a completion right after the read is not missed.
        let completed = self.completed.notified();
        if let Some(outcome) = self.outcome.get() {
            return outcome;
        }
        completed.await;
        self.outcome.get().unwrap_or(&None)
    }

    /// Sets the outcome. Later outcomes are ignored.
    fn complete(&self, outcome: Outcome<V>) {
        if let Some(span) = self.span.get() {
            span.close(outcome.as_ref().and_then(|outcome| outcome.as_ref().err()));
        }
        let _is_first = self.outcome.set(outcome);
        self.completed.notify_waiters();
    }
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self { calls: Mutex::default(), spans: CallSpans::default() }
    }
}

impl<K, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").field("calls", &lock(&self.calls).len()).finish_non_exhaustive()
    }
}

impl<K: Eq + Hash, V> SingleFlight<K, V> {
    /// Creates one for introspections. `call` is their name in records and metrics.
    pub(crate) fn for_introspections(telemetry: &Telemetry, call: &'static str) -> Arc<Self> {
        let spans = CallSpans::new(telemetry, CallKind::Introspect, call);
        Arc::new(Self { spans, ..Self::default() })
    }

    /// Removes this call, but not a later one with the same key.
    fn remove(&self, key: &K, in_flight: &Arc<InFlight<V>>) {
        let mut calls = lock(&self.calls);
        if calls.get(key).is_some_and(|known| Arc::ptr_eq(known, in_flight)) {
            calls.remove(key);
        }
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the call for this key, or starts one. A request that joins takes a place in the room. `call` runs at most
    /// once: at the start, or after the joined call has failed, was lost, or takes too long. The caller must not wait
    /// past the deadline.
    ///
    /// # Errors
    /// The error of a call; [`UpstreamFault::Saturated`] if the room is full.
    pub(crate) async fn join<F>(
        self: &Arc<Self>,
        key: K,
        deadline: Deadline,
        room: &WaitingRoom,
        call: impl Fn() -> F,
    ) -> Result<V, AuthError>
    where
        F: Future<Output = Result<V, AuthError>> + 'static,
    {
        let (mut failure, mut has_replaced, mut place) = (None, false, None);
        loop {
            let (in_flight, leads) = self.join_or_start(&key, &call, CallStart::Awaited);
            if let Some(span) = in_flight.span.get().filter(|_| !leads) {
                span.join();
            }
            if leads {
                drop(place.take());
            } else if place.is_none() {
                place = Some(room.enter()?);
            }
            let outcome = if leads || has_replaced {
                Some(in_flight.outcome().await)
            } else {
                deadline.half().wait(in_flight.outcome()).await
            };
            match outcome {
                Some(Some(Ok(value))) => return Ok(value.clone()),
                Some(Some(Err(error))) if leads || failure.is_some() => return Err(error.clone()),
                Some(Some(Err(error))) => failure = Some(error.clone()),
                Some(None) if leads => return Err(failure.unwrap_or_else(abandoned)),
                // The call was lost. The next request that waits starts a new one.
                Some(None) => {}
                None => {
                    self.remove(&key, &in_flight);
                    has_replaced = true;
                }
            }
        }
    }

    /// Starts a call for this key, unless one is in flight. No request waits for it, but later ones may join it.
    pub(crate) fn start<F>(self: &Arc<Self>, key: &K, call: impl Fn() -> F)
    where
        F: Future<Output = Result<V, AuthError>> + 'static,
    {
        drop(self.join_or_start(key, call, CallStart::Detached));
    }

    /// Ensures that no further request joins the call for this key. Requests that already wait get its outcome.
    pub(crate) fn detach(&self, key: &K) {
        lock(&self.calls).remove(key);
    }

    /// The same for all keys.
    pub(crate) fn detach_all(&self) {
        lock(&self.calls).clear();
    }

    /// Returns the call for this key, and whether this request started it.
    fn join_or_start<F>(
        self: &Arc<Self>,
        key: &K,
        call: impl Fn() -> F,
        start: CallStart,
    ) -> (Arc<InFlight<V>>, bool)
    where
        F: Future<Output = Result<V, AuthError>> + 'static,
    {
        let in_flight = {
            let mut calls = lock(&self.calls);
            if let Some(in_flight) = calls.get(key) {
                return (Arc::clone(in_flight), false);
            }
            let in_flight = Arc::new(InFlight {
                outcome: OnceLock::new(),
                completed: Notify::new(),
                span: OnceLock::new(),
            });
            calls.insert(key.clone(), Arc::clone(&in_flight));
            in_flight
        };
        let guard = InFlightGuard {
            single_flight: Arc::clone(self),
            key: key.clone(),
            in_flight: Arc::clone(&in_flight),
        };
        // Boxed: the future has kilobytes, which would otherwise be moved into the closure, into the task, and into
        // memory aligned for tasks.
        let span = in_flight.span.get_or_init(|| self.spans.open(start));
        let future = Box::pin(span.around(call()));
        // Not part of the future of the request that starts the call: actix does not poll that future while the client
        // of this request reads responses slowly, and all other requests would wait.
        rt::spawn(async move {
            let outcome = future.await;
            guard.complete(outcome);
        });
        (in_flight, true)
    }
}

fn abandoned() -> AuthError {
    AuthError::upstream(UpstreamFault::Unreachable).with_source("the call was abandoned")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds the lock. Even after a panic the map would be consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The entry of a call in the map. It is dropped with the task of the call, also after a panic. Then the entry is
/// removed and the waiting requests are woken.
struct InFlightGuard<K: Eq + Hash, V> {
    single_flight: Arc<SingleFlight<K, V>>,
    key: K,
    in_flight: Arc<InFlight<V>>,
}

impl<K: Eq + Hash, V> InFlightGuard<K, V> {
    /// Removes the entry before waking the waiters, so that later requests start a new call.
    fn complete(&self, outcome: Result<V, AuthError>) {
        self.single_flight.remove(&self.key, &self.in_flight);
        self.in_flight.complete(Some(outcome));
    }
}

impl<K: Eq + Hash, V> Drop for InFlightGuard<K, V> {
    fn drop(&mut self) {
        if self.in_flight.outcome.get().is_none() {
            self.single_flight.remove(&self.key, &self.in_flight);
            self.in_flight.complete(None);
        }
    }
}
