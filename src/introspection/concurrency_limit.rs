//! The limit of concurrent calls to the authorization server.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    deadline::Deadline,
    error::{AuthError, UpstreamFault},
    waiting_room::WaitingRoom,
};

/// The settings of a [`ConcurrencyLimit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConcurrencyLimits {
    /// The maximum number of concurrent calls, over all workers. At least 1.
    pub(crate) calls: usize,
    /// The maximum number of requests that wait for a permit, or for the call of another request with the same
    /// token.
    pub(crate) waiting: usize,
    /// The longest time that a request waits for a permit.
    pub(crate) queue_timeout: Duration,
}

/// Limits the number of concurrent calls and of waiting requests. Permits are granted in the order of arrival.
/// Further requests are rejected at once. Shared by all workers.
///
/// A permit or a place is released however the call or the wait ends: with a response, an error, or a dropped
/// future.
#[derive(Debug)]
pub(crate) struct ConcurrencyLimit {
    limits: ConcurrencyLimits,
    permits: Semaphore,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
    /// The requests that wait for a permit or for the call of another request.
    pub(crate) room: WaitingRoom,
}

/// A permit for one call. It is released when dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    // Fields are dropped in this order, so that the counter never exceeds the limit.
    _counted: Counted<'a>,
    _permit: SemaphorePermit<'a>,
}

/// An increment of a counter, undone when dropped.
#[derive(Debug)]
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConcurrencyLimit {
    pub(crate) fn new(limits: ConcurrencyLimits) -> Self {
        let calls = limits.calls.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            limits: ConcurrencyLimits { calls, ..limits },
            permits: Semaphore::new(calls),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            room: WaitingRoom::new(limits.waiting),
        }
    }

    /// Waits for a permit, at most for half of the time until the deadline, because the call needs time too.
    ///
    /// # Errors
    /// [`UpstreamFault::Saturated`] if the queue is full, or if no permit was released in time.
    pub(crate) async fn enter(&self, deadline: Deadline) -> Result<Permit<'_>, AuthError> {
        // `try_acquire` fails while requests are queued: a released permit goes to the first of them.
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(self.counted(permit));
        }
        let _queued = self.room.enter()?;
        match deadline.half().at_most(self.limits.queue_timeout).wait(self.permits.acquire()).await {
            Some(Ok(permit)) => Ok(self.counted(permit)),
            // The semaphore is never closed.
            Some(Err(_)) | None => Err(AuthError::upstream(UpstreamFault::Saturated)),
        }
    }

    /// Returns a permit for a call for which no request waits: only while fewer than half of the calls are in flight and no
    /// request is queued. With a limit of one call, there is none.
    pub(crate) fn enter_below_half(&self) -> Option<Permit<'_>> {
        if !self.is_below_half() {
            return None;
        }
        self.permits.try_acquire().ok().map(|permit| self.counted(permit))
    }

    /// Returns whether [`enter_below_half`](Self::enter_below_half) would return a permit.
    pub(crate) fn is_below_half(&self) -> bool {
        self.in_flight() < self.limits.calls / 2
    }

    /// Returns the number of calls in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns the highest number of calls that were in flight at the same time.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.most_in_flight.load(Ordering::Relaxed)
    }

    fn counted<'a>(&'a self, permit: SemaphorePermit<'a>) -> Permit<'a> {
        let count = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_in_flight.fetch_max(count, Ordering::Relaxed);
        Permit { _counted: Counted(&self.in_flight), _permit: permit }
    }
}

const _: fn() = || {
    fn is_shared_by_workers<T: Send + Sync + 'static>() {}
    is_shared_by_workers::<ConcurrencyLimit>();
};

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use actix_web::rt::{self, task::yield_now};
    use futures_util::future::join_all;

    use super::*;
    use crate::error::AuthErrorKind;

    fn limit(calls: usize, waiting: usize, queue_timeout: u64) -> ConcurrencyLimit {
        ConcurrencyLimit::new(ConcurrencyLimits {
            calls,
            waiting,
            queue_timeout: Duration::from_millis(queue_timeout),
        })
    }

    const LONG: u64 = 60_000;

    fn long() -> Deadline {
        Deadline::after(Duration::from_millis(2 * LONG))
    }

    #[actix_web::test]
    async fn a_place_is_given_back_when_the_pass_is_dropped() {
        let limit = limit(2, 0, LONG);
        let (first, second) = (limit.enter(long()).await.unwrap(), limit.enter(long()).await.unwrap());
        assert_eq!((limit.in_flight(), limit.room.waiting()), (2, 0));
        drop(first);
        assert_eq!(limit.in_flight(), 1);
        let third = limit.enter(long()).await.unwrap();
        drop((second, third));
        assert_eq!((limit.in_flight(), limit.most_in_flight()), (0, 2));
    }

    #[actix_web::test]
    async fn past_the_queue_the_answer_is_saturated_at_once() {
        let limit = Arc::new(limit(1, 1, LONG));
        let permit = limit.enter(long()).await.unwrap();
        let waiter = rt::spawn({
            let limit = limit.clone();
            async move { limit.enter(long()).await.map(drop) }
        });
        while limit.room.waiting() == 0 {
            yield_now().await;
        }
        let error = limit.enter(long()).await.unwrap_err();
        assert_eq!(error.kind(), AuthErrorKind::Upstream(UpstreamFault::Saturated));
        assert!(error.is_retryable());
        drop(permit);
        assert!(waiter.await.unwrap().is_ok());
        assert_eq!((limit.in_flight(), limit.room.waiting()), (0, 0));
    }

    #[actix_web::test]
    async fn past_the_patience_the_answer_is_saturated() {
        let limit = limit(1, 8, 5);
        let permit = limit.enter(long()).await.unwrap();
        let error = limit.enter(long()).await.unwrap_err();
        assert_eq!(error.kind(), AuthErrorKind::Upstream(UpstreamFault::Saturated));
        assert_eq!((limit.in_flight(), limit.room.waiting()), (1, 0));
        drop(permit);
        assert!(limit.enter(long()).await.is_ok());
    }

    #[actix_web::test]
    async fn past_half_of_the_time_until_the_deadline_the_answer_is_saturated() {
        let limit = limit(1, 8, LONG);
        let _pass = limit.enter(long()).await.unwrap();
        let deadline = Deadline::after(Duration::from_millis(400));
        let error = limit.enter(deadline).await.unwrap_err();
        assert_eq!(error.kind(), AuthErrorKind::Upstream(UpstreamFault::Saturated));
        assert_eq!(limit.room.waiting(), 0);
    }

    #[actix_web::test]
    async fn a_dropped_waiter_leaves_no_trace() {
        let limit = Arc::new(limit(1, 1, LONG));
        let permit = limit.enter(long()).await.unwrap();
        let waiter = rt::spawn({
            let limit = limit.clone();
            async move { limit.enter(long()).await.map(drop) }
        });
        while limit.room.waiting() == 0 {
            yield_now().await;
        }
        waiter.abort();
        assert!(waiter.await.unwrap_err().is_cancelled());
        assert_eq!(limit.room.waiting(), 0);
        drop(permit);
        assert!(limit.enter(long()).await.is_ok());
        assert_eq!(limit.in_flight(), 0);
    }

    #[actix_web::test]
    async fn a_gate_for_no_calls_still_lets_one_through() {
        assert!(limit(0, 0, LONG).enter(long()).await.is_ok());
        assert!(limit(usize::MAX, usize::MAX, LONG).enter(long()).await.is_ok());
    }

    #[test]
    fn workers_together_keep_the_bound() {
        const CALLS: usize = 4;
        let limit = limit(CALLS, 1024, LONG);
        let inside = AtomicUsize::new(0);
        let served = AtomicUsize::new(0);
        let one_call = || async {
            let _pass = limit.enter(long()).await.unwrap();
            assert!(inside.fetch_add(1, Ordering::SeqCst) < CALLS);
            yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
            served.fetch_add(1, Ordering::SeqCst);
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    rt::System::new().block_on(async {
                        for _ in 0..50 {
                            join_all((0..20).map(|_| one_call())).await;
                        }
                    });
                });
            }
        });
        assert_eq!(served.into_inner(), 4 * 50 * 20);
        assert_eq!(
            (limit.in_flight(), limit.room.waiting(), limit.permits.available_permits()),
            (0, 0, CALLS)
        );
        assert_eq!(limit.most_in_flight(), CALLS);
    }
}
