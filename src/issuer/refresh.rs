//! A cached document of the authorization server (metadata or key set) that is fetched again regularly.
//!
//! One fetch runs at a time for all workers, detached from the request that started it. Readers take the current
//! document without a lock. A document is refreshed in the background in the last fifth of its lifetime, so that
//! requests do not wait under load. If a refresh fails, the last good document is used until its maximum age, and the
//! pause before the next fetch grows with each failure. If a fetch takes long, for example because its worker is
//! blocked, a waiting reader starts a new fetch. The same happens if the fetch ends because its worker stops.

#[cfg(test)]
mod tests;

mod fetch;
mod reader;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::watch;

use self::fetch::Fetch;
pub(crate) use self::reader::{Reader, ReaderKind};
use crate::{
    deadline::{Deadline, timed_out},
    error::{AuthError, UpstreamFault},
    telemetry::{
        Telemetry,
        log_throttle::LogThrottle,
        spans::{CallKind, CallSpan, CallSpans, CallStart},
    },
    waiting_room::WaitingRoom,
};

/// The longest wait for the fetch of another reader, and the longest total wait while there is an older document.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// The times for which a document is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    /// Above this age, a reader waits for a new document.
    pub(crate) max_age: Duration,
    /// While fetches fail, the last good document is used up to this age.
    pub(crate) stale_if_error: Duration,
    /// The shortest time between a fetch and an additional one for an unknown `kid`.
    pub(crate) min_refetch_interval: Duration,
}

impl Lifetimes {
    /// Returns the age below which no background refresh starts.
    fn without_refresh(&self) -> Duration {
        self.max_age / 5 * 4
    }
}

/// A document that is refreshed.
pub(crate) trait Document: Send + Sync + 'static {
    /// Returns the time from which the document is not used any more, if that does not depend on its age alone.
    fn good_until(&self) -> Option<Duration> {
        None
    }

    /// Returns why the document is incomplete, if the next fetch may complete it. The document is used, and fetched
    /// again after the same pause as after a failure.
    fn interruption(&self) -> Option<&AuthError> {
        None
    }
}

pub(crate) struct RefreshingCache<T> {
    name: &'static str,
    lifetimes: Lifetimes,
    telemetry: Arc<Telemetry>,
    spans: CallSpans,
    current: ArcSwapOption<Fetched<T>>,
    state: Mutex<CacheState>,
    /// Notifies waiting readers that a fetch has ended.
    ended: watch::Sender<()>,
    /// The requests that wait because there is no document, or no fresh one.
    readers: WaitingRoom,
    /// The requests that wait for a newer document. Counted separately, because anybody can send such requests.
    renewers: WaitingRoom,
    warnings: LogThrottle,
}

/// A document and its times on the monotonic clock.
#[derive(Debug)]
pub(crate) struct Fetched<T> {
    pub(crate) document: T,
    /// From this time, the document is refreshed in the background.
    refresh_at: Duration,
    /// From this time, a reader waits for a new document.
    stale_at: Duration,
    /// From this time, the document is not used any more.
    expires_at: Duration,
    /// The number of its fetch. A later fetch has a higher number.
    number: u64,
}

impl<T: Document> Fetched<T> {
    fn new(document: T, requested_at: Duration, lifetimes: Lifetimes, number: u64) -> Self {
        let good_until = document.good_until().unwrap_or(Duration::MAX);
        let after = |age| requested_at.saturating_add(age).min(good_until);
        let refresh_at =
            if document.interruption().is_some() { requested_at } else { after(lifetimes.without_refresh()) };
        Self {
            refresh_at,
            stale_at: after(lifetimes.max_age),
            expires_at: after(lifetimes.stale_if_error),
            document,
            number,
        }
    }
}

#[derive(Default)]
struct CacheState {
    /// The number of the running fetch.
    running: Option<u64>,
    /// The span of the last fetch.
    span: CallSpan,
    last_number: u64,
    failure: Option<FailedFetch>,
    /// The start of the last fetch.
    last_start: Option<Duration>,
    /// The last time that a request for a newer document than the fresh one replaced a fetch.
    last_replacement: Option<Duration>,
}

#[derive(Clone)]
struct FailedFetch {
    error: AuthError,
    count: u32,
    resume_at: Duration,
}

impl<T> fmt::Debug for RefreshingCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshingCache")
            .field("name", &self.name)
            .field("known", &self.current.load().is_some())
            .finish_non_exhaustive()
    }
}

impl<T: Document> RefreshingCache<T> {
    /// Returns an empty cache. `name` is for logs and metrics. At most `max_waiting` requests of each kind may wait.
    pub(crate) fn new(
        name: &'static str,
        lifetimes: Lifetimes,
        max_waiting: usize,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self {
            name,
            lifetimes,
            spans: CallSpans::new(&telemetry, CallKind::Fetch, name),
            telemetry,
            current: ArcSwapOption::empty(),
            state: Mutex::default(),
            ended: watch::Sender::new(()),
            readers: WaitingRoom::new(max_waiting),
            renewers: WaitingRoom::new(max_waiting),
            warnings: LogThrottle::default(),
        }
    }

    /// Returns a cache with a document that is never fetched.
    pub(crate) fn fixed(name: &'static str, document: T, telemetry: Arc<Telemetry>) -> Self {
        let forever = Lifetimes {
            max_age: Duration::MAX,
            stale_if_error: Duration::MAX,
            min_refetch_interval: Duration::MAX,
        };
        let this = Self::new(name, forever, 0, telemetry);
        this.current.store(Some(Arc::new(Fetched::new(document, Duration::ZERO, forever, 0))));
        this
    }

    /// Returns the number of requests that wait for a fetch that another one has started.
    pub(crate) fn waiting(&self) -> usize {
        self.readers.waiting() + self.renewers.waiting()
    }

    /// Borrows the last good document of any age. Cheaper than cloning the `Arc`.
    pub(crate) fn load(&self) -> Guard<Option<Arc<Fetched<T>>>> {
        self.current.load()
    }

    /// Returns the last good document of any age.
    pub(crate) fn load_full(&self) -> Option<Arc<Fetched<T>>> {
        self.current.load_full()
    }

    /// Applies a function to the document, if it needs no refresh at this time.
    pub(crate) fn with_fresh<R>(&self, now: Duration, read: impl FnOnce(&T) -> R) -> Option<R> {
        let current = self.current.load();
        let current = current.as_deref()?;
        (now < current.refresh_at).then(|| read(&current.document))
    }

    /// Returns the current document while it is fresh, otherwise a new one. `fetch` runs on the calling worker.
    pub(crate) async fn get<F>(
        self: &Arc<Self>,
        fetch: impl Fn() -> F,
        reader: Reader,
    ) -> Result<Arc<Fetched<T>>, AuthError>
    where
        F: Future<Output = Result<T, AuthError>> + 'static,
    {
        let known = self.current.load_full();
        if let Some(current) = &known {
            let now = self.now();
            if now < current.refresh_at {
                return Ok(Arc::clone(current));
            }
            let failing = self.state().failure.is_some();
            if now < current.stale_at || (failing && now < current.expires_at) {
                let _runs_by_itself = self.start(&fetch, CallStart::Detached);
                return Ok(Arc::clone(current));
            }
        }
        let last_good = known.clone().filter(|current| self.now() < current.expires_at);
        let deadline = match last_good {
            Some(_) => reader.deadline.at_most(MAX_WAIT),
            None => reader.deadline,
        };
        let outcome = self.next(known.as_ref(), fetch, Reader { deadline, ..reader }).await;
        match (outcome, last_good) {
            (Ok(Some(newer)), _) => Ok(newer),
            (_, Some(last_good)) => Ok(last_good),
            (Ok(None), None) => Err(self.last_error()),
            (Err(error), None) => Err(error),
        }
    }

    /// Returns a newer document than the given one, for a request that did not find a value in it. Returns `None`
    /// if the last fetch is too recent, and an error while fetches fail, because the missing value may be in the
    /// document that could not be fetched.
    pub(crate) async fn refetch_if_same<F>(
        self: &Arc<Self>,
        seen: &Arc<Fetched<T>>,
        fetch: impl Fn() -> F,
        deadline: Deadline,
    ) -> Result<Option<Arc<Fetched<T>>>, AuthError>
    where
        F: Future<Output = Result<T, AuthError>> + 'static,
    {
        let is_recent = {
            let state = self.state();
            // After a failure, the pause limits the fetches instead.
            state.running.is_none() && state.failure.is_none() && self.is_recent(state.last_start)
        };
        let newer = if is_recent {
            self.newer(Some(seen))
        } else {
            self.next(Some(seen), fetch, Reader { deadline, kind: ReaderKind::Renewer }).await?
        };
        let failing = newer.is_none() && self.state().failure.is_some();
        if failing { Err(self.last_error()) } else { Ok(newer) }
    }

    /// Returns the error of the last fetch, with the time until the next one.
    fn last_error(&self) -> AuthError {
        match self.state().failure.clone() {
            Some(failure) => {
                let pause = failure.resume_at.saturating_sub(self.now());
                failure.error.with_retry_after(Some(pause))
            }
            None => abandoned(),
        }
    }

    fn newer(&self, seen: Option<&Arc<Fetched<T>>>) -> Option<Arc<Fetched<T>>> {
        let (seen, now) = (seen.map(|seen| seen.number), self.now());
        let current = self.current.load_full()?;
        let is_newer = seen.is_none_or(|seen| current.number > seen);
        // The document may have become too old during its fetch.
        let is_good = current.document.good_until().is_none_or(|until| now < until);
        (is_newer && is_good).then_some(current)
    }

    /// Waits for a newer document than the one seen, from the running fetch or from a new one. Returns `None` if
    /// the fetch failed. A fetch of another reader that takes too long is replaced once.
    async fn next<F>(
        self: &Arc<Self>,
        seen: Option<&Arc<Fetched<T>>>,
        fetch: impl Fn() -> F,
        Reader { deadline, kind }: Reader,
    ) -> Result<Option<Arc<Fetched<T>>>, AuthError>
    where
        F: Future<Output = Result<T, AuthError>> + 'static,
    {
        let (mut has_replaced, mut place) = (false, None);
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(newer) = self.newer(seen) {
                return Ok(Some(newer));
            }
            let Some(Fetch { number, is_own }) = self.start(&fetch, CallStart::Awaited) else {
                return Ok(None);
            };
            if is_own {
                drop(place.take());
            } else if place.is_none() {
                place = self.room(kind).map(WaitingRoom::enter).transpose()?;
            }
            let wait_until =
                if is_own || has_replaced { deadline } else { deadline.half().at_most(MAX_WAIT) };
            let end = async {
                while self.newer(seen).is_none() && self.state().running == Some(number) {
                    // This fails only without a sender, and `self` contains the sender.
                    let _ = ended.changed().await;
                }
            };
            let has_ended = wait_until.wait(end).await.is_some();
            match (has_ended, is_own) {
                (true, true) if self.newer(seen).is_some() || self.state().failure.is_some() => {
                    return Ok(self.newer(seen));
                }
                (true, true) => return Err(abandoned()),
                // The fetch failed, and `start` returns `None`; or it was lost, and `start` starts a new one.
                (true, false) => {}
                (false, _) if is_own || has_replaced => return Err(timed_out()),
                (false, _) => {
                    self.replace(number, kind);
                    has_replaced = true;
                }
            }
        }
    }

    fn room(&self, kind: ReaderKind) -> Option<&WaitingRoom> {
        match kind {
            ReaderKind::Request => Some(&self.readers),
            ReaderKind::Renewer => Some(&self.renewers),
            ReaderKind::Task => None,
        }
    }

    fn now(&self) -> Duration {
        self.telemetry.clock.monotonic()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, CacheState> {
        // No code panics while it holds the lock. Even after a panic the state would be consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn abandoned() -> AuthError {
    AuthError::upstream(UpstreamFault::Unreachable).with_source("the fetch was abandoned")
}
