//! One call per token in flight, across all workers.
//!
//! The first request for a token leads: its call runs as a task of its own, detached from the request and its
//! connection. Requests for the same token that come meanwhile wait for the outcome. What is shared is a verdict; an
//! error is the leader's alone, and each waiter then tries once more by itself (together with the others).

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

use crate::error::{AuthError, UpstreamFault};

pub(crate) struct Flights<K, V> {
    under_way: Mutex<HashMap<K, Arc<Flight<V>>, DefaultHashBuilder>>,
}

/// One call and those who wait for it.
struct Flight<V> {
    outcome: OnceLock<Outcome<V>>,
    landed: Notify,
}

/// What a flight brings home; `None` if it was lost, because its worker stopped or its task panicked.
type Outcome<V> = Option<Result<V, AuthError>>;

impl<V> Flight<V> {
    async fn outcome(&self) -> &Outcome<V> {
        // Made before the look, so that a landing right after the look is not missed.
        let landed = self.landed.notified();
        if let Some(outcome) = self.outcome.get() {
            return outcome;
        }
        landed.await;
        self.outcome.get().unwrap_or(&None)
    }

    /// Only the first outcome counts.
    fn land(&self, outcome: Outcome<V>) {
        let _is_first = self.outcome.set(outcome);
        self.landed.notify_waiters();
    }
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { under_way: Mutex::default() }
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("under_way", &lock(&self.under_way).len()).finish()
    }
}

/// A waiter's tries: the flight that it joined, and one of its own if that failed.
const TRIES: usize = 2;

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the call for this key, or starts one. `call` may be asked for a future twice: after a failure that was not
    /// its own, a waiter may find itself leading.
    pub(crate) async fn join<F>(self: &Arc<Self>, key: K, call: impl Fn() -> F) -> Result<V, AuthError>
    where
        F: Future<Output = Result<V, AuthError>> + 'static,
    {
        let mut last = None;
        for _ in 0..TRIES {
            let (flight, leads) = self.board(&key, &call);
            match flight.outcome().await {
                Some(Ok(value)) => return Ok(value.clone()),
                Some(Err(error)) if leads => return Err(error.clone()),
                Some(Err(error)) => last = Some(error.clone()),
                None => last = None,
            }
        }
        Err(last.unwrap_or_else(|| {
            AuthError::upstream(UpstreamFault::Unreachable).because("the call was abandoned")
        }))
    }

    /// Lets nobody else join the call for this key. Who waits for it already gets its outcome.
    pub(crate) fn forget(&self, key: &K) {
        lock(&self.under_way).remove(key);
    }

    /// The same for all keys.
    pub(crate) fn forget_all(&self) {
        lock(&self.under_way).clear();
    }

    /// The flight for this key, and whether this caller started it.
    fn board<F>(self: &Arc<Self>, key: &K, call: impl Fn() -> F) -> (Arc<Flight<V>>, bool)
    where
        F: Future<Output = Result<V, AuthError>> + 'static,
    {
        let flight = {
            let mut under_way = lock(&self.under_way);
            if let Some(flight) = under_way.get(key) {
                return (Arc::clone(flight), false);
            }
            let flight = Arc::new(Flight { outcome: OnceLock::new(), landed: Notify::new() });
            under_way.insert(key.clone(), Arc::clone(&flight));
            flight
        };
        let place = Place { flights: Arc::clone(self), key: key.clone(), flight: Arc::clone(&flight) };
        // Kilobytes, which would otherwise be moved into the closure, into the task, and into memory aligned for tasks.
        let calling = Box::pin(call());
        // Not a part of the leader's own future: a client that reads its answers slowly keeps actix from polling that, and
        // would hold up all the others.
        rt::spawn(async move {
            let outcome = calling.await;
            place.land(outcome);
        });
        (flight, true)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics while it holds the lock; should it ever, the map is still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A flight's place among those under way. Dropped with its task, also by a panic, it leaves neither an entry nor a
/// waiter behind.
struct Place<K: Eq + Hash, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
    flight: Arc<Flight<V>>,
}

impl<K: Eq + Hash, V> Place<K, V> {
    /// First out of the map, then announced: whoever comes later makes a call of their own.
    fn land(&self, outcome: Result<V, AuthError>) {
        self.leave();
        self.flight.land(Some(outcome));
    }

    /// Not for a later flight with the same key.
    fn leave(&self) {
        let mut under_way = lock(&self.flights.under_way);
        if under_way.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            under_way.remove(&self.key);
        }
    }
}

impl<K: Eq + Hash, V> Drop for Place<K, V> {
    fn drop(&mut self) {
        if self.flight.outcome.get().is_none() {
            self.leave();
            self.flight.land(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures_util::future::join_all;

    use super::*;

    type Numbers = Arc<Flights<u8, usize>>;

    /// A call that does not end.
    async fn never() -> Result<usize, AuthError> {
        std::future::pending().await
    }

    #[actix_web::test]
    async fn many_wait_for_one_call() {
        let (flights, calls) = (Numbers::default(), Arc::new(AtomicUsize::new(0)));
        let call = || {
            let calls = Arc::clone(&calls);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(calls.fetch_add(1, Ordering::SeqCst))
            }
        };
        let outcomes = join_all((0..200).map(|_| flights.join(1, call))).await;
        assert!(outcomes.into_iter().all(|outcome| outcome.unwrap() == 0));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert!(lock(&flights.under_way).is_empty());
        assert_eq!(flights.join(1, call).await.unwrap(), 1, "a later request makes a call of its own");
    }

    #[actix_web::test]
    async fn a_failure_gives_each_waiter_one_try_of_its_own_together() {
        let (flights, calls) = (Numbers::default(), Arc::new(AtomicUsize::new(0)));
        let failing = || {
            let calls = Arc::clone(&calls);
            async move {
                calls.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err::<usize, _>(AuthError::upstream(UpstreamFault::TimedOut))
            }
        };
        let outcomes = join_all((0..50).map(|_| flights.join(1, failing))).await;
        assert!(outcomes.into_iter().all(|outcome| outcome.is_err()));
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[actix_web::test]
    async fn a_dropped_leader_leaves_its_call_running() {
        let (flights, calls) = (Numbers::default(), Arc::new(AtomicUsize::new(0)));
        let call = || {
            let calls = Arc::clone(&calls);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(calls.fetch_add(1, Ordering::SeqCst) + 7)
            }
        };
        let leader = tokio::time::timeout(Duration::from_millis(1), flights.join(1, call));
        assert!(leader.await.is_err(), "its client went away");
        assert_eq!(flights.join(1, call).await.unwrap(), 7);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[actix_web::test]
    async fn a_forgotten_call_is_joined_by_nobody_and_takes_no_later_ones_place() {
        let (flights, calls) = (Numbers::default(), Arc::new(AtomicUsize::new(0)));
        let call = |millis| {
            let calls = Arc::clone(&calls);
            move || {
                let calls = Arc::clone(&calls);
                async move {
                    let number = calls.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                    Ok(number)
                }
            }
        };
        let early = rt::spawn({
            let (flights, call) = (Arc::clone(&flights), call(20));
            async move { flights.join(1, call).await }
        });
        tokio::task::yield_now().await;
        flights.forget(&1);
        let late = rt::spawn({
            let (flights, call) = (Arc::clone(&flights), call(60));
            async move { flights.join(1, call).await }
        });
        assert_eq!(early.await.unwrap().unwrap(), 0);
        assert_eq!(lock(&flights.under_way).len(), 1, "the later call is still there");
        assert_eq!(flights.join(1, call(0)).await.unwrap(), 1, "and is joined");
        assert_eq!(late.await.unwrap().unwrap(), 1);
    }

    #[actix_web::test]
    async fn a_panicking_call_leaves_no_stuck_place() {
        let flights = Numbers::default();
        let panics = || async {
            assert!(std::hint::black_box(false), "on purpose");
            Ok(0)
        };
        assert!(flights.join(1, panics).await.is_err());
        assert!(lock(&flights.under_way).is_empty());
        assert_eq!(flights.join(1, || async { Ok(3) }).await.unwrap(), 3);
    }

    #[test]
    fn waiters_on_other_threads_are_served() {
        let (flights, calls) = (Numbers::default(), Arc::new(AtomicUsize::new(0)));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let (flights, calls) = (Arc::clone(&flights), Arc::clone(&calls));
                std::thread::spawn(move || {
                    rt::System::new().block_on(async move {
                        let call = || {
                            let calls = Arc::clone(&calls);
                            async move {
                                tokio::time::sleep(Duration::from_millis(200)).await;
                                Ok(calls.fetch_add(1, Ordering::SeqCst))
                            }
                        };
                        join_all((0..10).map(|_| flights.join(1, call))).await
                    })
                })
            })
            .collect();
        for worker in workers {
            assert!(worker.join().unwrap().into_iter().all(|outcome| outcome.is_ok()));
        }
        assert!(calls.load(Ordering::SeqCst) <= 2, "the threads start within one call's time");
    }

    #[test]
    fn a_worker_that_stops_with_its_call_does_not_hang_the_others() {
        let flights = Numbers::default();
        let leaders = Arc::clone(&flights);
        let gone = std::thread::spawn(move || {
            rt::System::new().block_on(async move {
                let _ = tokio::time::timeout(Duration::from_millis(1), leaders.join(1, never)).await;
            });
        });
        gone.join().unwrap();
        let value = rt::System::new().block_on(flights.join(1, || async { Ok(5) }));
        assert_eq!(value.unwrap(), 5);
    }

    #[test]
    fn a_waiter_is_told_when_the_leaders_worker_stops() {
        let flights = Numbers::default();
        let (leaders, (aboard, departed)) = (Arc::clone(&flights), std::sync::mpsc::channel());
        let leader = std::thread::spawn(move || {
            rt::System::new().block_on(async move {
                let _ = tokio::time::timeout(Duration::from_millis(1), leaders.join(1, never)).await;
                aboard.send(()).unwrap();
                tokio::time::sleep(Duration::from_millis(200)).await;
            });
        });
        departed.recv().unwrap();
        let outcome = rt::System::new().block_on(async {
            let own = || async { Ok(5) };
            tokio::time::timeout(Duration::from_secs(30), flights.join(1, own)).await
        });
        assert_eq!(outcome.unwrap().unwrap(), 5);
        leader.join().unwrap();
    }
}
