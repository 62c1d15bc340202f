//! A document of the authorization server that is fetched again from time to time: its metadata, its keys.
//!
//! One fetch at a time for all workers; it runs detached from the request that started it. Readers take the current
//! document without a lock. A document is refreshed in the background in the last fifth of its lifetime, so that
//! under load nobody waits; when a refresh fails, the last good document stays until its maximum age, and the next try
//! waits a little longer after each failure.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_web::rt;
use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::watch;

use crate::{
    error::{AuthError, UpstreamFault},
    observe::Observer,
};

/// The pause after the first failed fetch; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause: an authorization server that comes back is noticed within 5 s.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// How much of a server's `Retry-After` is believed: a wrong one must not close us out for a day.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// How long a document counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    /// Past this age a reader waits for a new one.
    pub(crate) fresh: Duration,
    /// While fetching fails, the last good one is used up to this age.
    pub(crate) usable: Duration,
    /// A fetch asked for out of turn (an unknown `kid`) happens at most once in this time.
    pub(crate) cooldown: Duration,
}

impl Lifetimes {
    /// Up to this age nobody thinks of a refresh.
    fn quiet(&self) -> Duration {
        self.fresh / 5 * 4
    }
}

pub(crate) struct Refreshed<T> {
    name: &'static str,
    lifetimes: Lifetimes,
    observer: Arc<Observer>,
    current: ArcSwapOption<Dated<T>>,
    state: Mutex<State>,
}

/// A document and when it was asked for, on the monotonic clock.
#[derive(Debug)]
pub(crate) struct Dated<T> {
    pub(crate) document: T,
    fetched_at: Duration,
}

impl<T> Dated<T> {
    /// A document that was never fetched.
    pub(crate) fn undated(document: T) -> Self {
        Self { document, fetched_at: Duration::ZERO }
    }
}

#[derive(Default)]
struct State {
    flight: Option<watch::Receiver<bool>>,
    failure: Option<Failure>,
    /// When the last fetch was started.
    last_start: Option<Duration>,
}

#[derive(Clone)]
struct Failure {
    error: AuthError,
    count: u32,
    resume_at: Duration,
}

impl<T> fmt::Debug for Refreshed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refreshed")
            .field("name", &self.name)
            .field("known", &self.current.load().is_some())
            .finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Refreshed<T> {
    /// `name` is a word of the log and of metrics.
    pub(crate) fn new(name: &'static str, lifetimes: Lifetimes, observer: Arc<Observer>) -> Self {
        Self { name, lifetimes, observer, current: ArcSwapOption::empty(), state: Mutex::default() }
    }

    /// A document that needs no fetching.
    pub(crate) fn fixed(name: &'static str, document: T, observer: Arc<Observer>) -> Self {
        let forever = Lifetimes { fresh: Duration::MAX, usable: Duration::MAX, cooldown: Duration::MAX };
        let this = Self::new(name, forever, observer);
        this.current.store(Some(Arc::new(Dated::undated(document))));
        this
    }

    /// The last good document, however old, for a moment: it costs less than to hold on to it.
    pub(crate) fn peek(&self) -> Guard<Option<Arc<Dated<T>>>> {
        self.current.load()
    }

    /// The last good document, however old.
    pub(crate) fn last_known(&self) -> Option<Arc<Dated<T>>> {
        self.current.load_full()
    }

    /// A look at the document, if it needs no refresh at this time.
    pub(crate) fn if_fresh<R>(&self, now: Duration, look: impl FnOnce(&T) -> R) -> Option<R> {
        let current = self.current.load();
        let current = current.as_deref()?;
        let is_fresh = now.saturating_sub(current.fetched_at) < self.lifetimes.quiet();
        is_fresh.then(|| look(&current.document))
    }

    /// The document: the current one while it is fresh, else a new one. `fetch` runs on the calling worker.
    pub(crate) async fn get<F>(
        self: &Arc<Self>,
        fetch: impl FnOnce() -> F,
    ) -> Result<Arc<Dated<T>>, AuthError>
    where
        F: Future<Output = Result<T, AuthError>> + 'static,
    {
        if let Some(current) = self.current.load_full() {
            let age = self.age(&current);
            if age < self.lifetimes.quiet() {
                return Ok(current);
            }
            let failing = self.state().failure.is_some();
            if age < self.lifetimes.fresh || (failing && age < self.lifetimes.usable) {
                let _runs_by_itself = self.start(fetch);
                return Ok(current);
            }
        }
        self.renew(fetch).await
    }

    /// A newer document than the given one, for a reader that missed something in it; `None` where the cooldown forbids a
    /// fetch, and an error while fetching fails: what was missed may be in the document that cannot be had.
    pub(crate) async fn newer_than<F>(
        self: &Arc<Self>,
        seen: &Arc<Dated<T>>,
        fetch: impl FnOnce() -> F,
    ) -> Result<Option<Arc<Dated<T>>>, AuthError>
    where
        F: Future<Output = Result<T, AuthError>> + 'static,
    {
        let is_newer = |current: &Arc<Dated<T>>| !Arc::ptr_eq(current, seen);
        if let Some(current) = self.current.load_full().filter(is_newer) {
            return Ok(Some(current));
        }
        let cooling = {
            let (state, now) = (self.state(), self.now());
            let recent = |start: Duration| now.saturating_sub(start) < self.lifetimes.cooldown;
            state.flight.is_none() && state.last_start.is_some_and(recent)
        };
        if !cooling {
            let _ = self.renew(fetch).await;
        }
        if let Some(current) = self.current.load_full().filter(is_newer) {
            return Ok(Some(current));
        }
        self.state().failure.clone().map_or(Ok(None), |failure| Err(self.refusal(failure)))
    }

    /// The error of a failed fetch, with the time of the next try.
    fn refusal(&self, failure: Failure) -> AuthError {
        let pause = failure.resume_at.saturating_sub(self.now());
        failure.error.retry_after(Some(pause))
    }

    /// Waits for the fetch in flight, or for a new one.
    async fn renew<F>(self: &Arc<Self>, fetch: impl FnOnce() -> F) -> Result<Arc<Dated<T>>, AuthError>
    where
        F: Future<Output = Result<T, AuthError>> + 'static,
    {
        let before = self.current.load_full();
        if let Some(mut flight) = self.start(fetch) {
            // An error means that the fetching worker went away with its task; the state below tells what to do.
            let _ = flight.wait_for(|done| *done).await;
        }
        let failure = self.state().failure.clone();
        let current = self.current.load_full();
        let changed = match (&before, &current) {
            (Some(before), Some(current)) => !Arc::ptr_eq(before, current),
            (None, Some(_)) => true,
            (_, None) => false,
        };
        match (current, failure) {
            (Some(current), _) if changed => Ok(current),
            (Some(current), Some(_)) if self.age(&current) < self.lifetimes.usable => Ok(current),
            (_, Some(failure)) => Err(self.refusal(failure)),
            (_, None) => {
                Err(AuthError::upstream(UpstreamFault::Unreachable).because("the fetch was abandoned"))
            }
        }
    }

    /// Starts a fetch unless one is in flight (which is returned then) or the pause after a failure is not over.
    fn start<F>(self: &Arc<Self>, fetch: impl FnOnce() -> F) -> Option<watch::Receiver<bool>>
    where
        F: Future<Output = Result<T, AuthError>> + 'static,
    {
        let now = self.now();
        let done = {
            let mut state = self.state();
            // A flight whose sender is gone was dropped with its worker: it does not count.
            if let Some(flight) = state.flight.as_ref().filter(|flight| flight.has_changed().is_ok()) {
                return Some(flight.clone());
            }
            if state.failure.as_ref().is_some_and(|failure| now < failure.resume_at) {
                return None;
            }
            let (done, flight) = watch::channel(false);
            state.flight = Some(flight);
            state.last_start = Some(now);
            done
        };
        let flight = done.subscribe();
        let (this, fetching) = (Arc::clone(self), fetch());
        rt::spawn(async move {
            let outcome = fetching.await;
            this.settle(outcome, now);
            let _ = done.send(true);
        });
        Some(flight)
    }

    fn now(&self) -> Duration {
        self.observer.clock.monotonic()
    }

    fn age(&self, dated: &Dated<T>) -> Duration {
        self.now().saturating_sub(dated.fetched_at)
    }

    /// `started_at` is the document's date: what the server withdrew while it answered is not in a newer one.
    fn settle(&self, outcome: Result<T, AuthError>, started_at: Duration) {
        let mut state = self.state();
        state.flight = None;
        match outcome {
            Ok(document) => {
                state.failure = None;
                self.current.store(Some(Arc::new(Dated { document, fetched_at: started_at })));
            }
            Err(error) => {
                self.observer.failed(&error);
                let count = state.failure.as_ref().map_or(0, |failure| failure.count);
                let own = (FIRST_PAUSE * 2_u32.saturating_pow(count.min(5))).min(LONGEST_PAUSE);
                let asked = error.retry_after_hint().unwrap_or_default().min(LONGEST_RETRY_AFTER);
                let pause = own.max(asked);
                let (issuer, call, fault) = (&*self.observer.issuer, self.name, error.kind().fault());
                log::warn!(
                    target: crate::LOG, event = "fetch_failed", issuer, call, fault;
                    "fetching the {} failed, next try in {pause:?}: {error}{}", call.replace('_', " "), cause(&error)
                );
                let resume_at = self.now().saturating_add(pause);
                state.failure = Some(Failure { error, count: count.saturating_add(1), resume_at });
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing in here panics while it holds the lock; should it ever, the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cause(error: &AuthError) -> String {
    std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;
    use crate::clock::Clock;

    /// Seconds on both clocks.
    #[derive(Debug, Default)]
    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn unix_time(&self) -> i64 {
            self.0.load(Ordering::SeqCst)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::SeqCst).unsigned_abs())
        }
    }

    /// A document that is the number of its fetch; fetches fail while told so.
    struct Source {
        hand: Arc<Hand>,
        refreshed: Arc<Refreshed<usize>>,
        fetched: Arc<AtomicUsize>,
        fails: bool,
    }

    impl Source {
        fn new() -> Self {
            let hand = Arc::new(Hand::default());
            let clock: Arc<dyn Clock> = Arc::<Hand>::clone(&hand);
            let lifetimes = Lifetimes {
                fresh: Duration::from_secs(100),
                usable: Duration::from_secs(1000),
                cooldown: Duration::from_secs(30),
            };
            let observer = Observer::new("issuer", clock);
            let refreshed = Arc::new(Refreshed::new("number", lifetimes, observer));
            Self { hand, refreshed, fetched: Arc::default(), fails: false }
        }

        fn advance(&self, seconds: i64) {
            self.hand.0.fetch_add(seconds, Ordering::SeqCst);
        }

        fn fetch(&self) -> impl Future<Output = Result<usize, AuthError>> + use<> {
            let (fetched, fails) = (Arc::clone(&self.fetched), self.fails);
            async move {
                let number = fetched.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::task::yield_now().await;
                if fails { Err(AuthError::upstream(UpstreamFault::Unreachable)) } else { Ok(number) }
            }
        }

        async fn get(&self) -> Result<usize, AuthError> {
            self.refreshed.get(|| self.fetch()).await.map(|dated| dated.document)
        }

        /// Lets what runs in the background end.
        async fn settle(&self) {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }

        fn fetched(&self) -> usize {
            self.fetched.load(Ordering::SeqCst)
        }
    }

    #[actix_web::test]
    async fn a_pause_that_the_server_asks_for_lasts_a_minute_at_most() {
        for (asked, granted) in [(7, 7), (60, 60), (86_400, 60), (u64::MAX, 60)] {
            let source = Source::new();
            let busy =
                AuthError::upstream(UpstreamFault::Failing).retry_after(Some(Duration::from_secs(asked)));
            let error = source.refreshed.get(|| async { Err(busy) }).await.unwrap_err();
            assert_eq!(error.retry_after_hint(), Some(Duration::from_secs(granted)));
            source.advance(i64::try_from(granted).unwrap() - 1);
            assert!(source.get().await.is_err());
            source.advance(1);
            assert_eq!(source.get().await.unwrap(), 1);
        }
    }

    #[actix_web::test]
    async fn many_readers_share_one_fetch_and_its_document() {
        let source = Source::new();
        let seen = join_all((0..50).map(|_| source.get())).await;
        assert!(seen.into_iter().all(|document| document.unwrap() == 1));
        source.advance(79);
        assert_eq!(source.get().await.unwrap(), 1);
        source.settle().await;
        assert_eq!(source.fetched(), 1);
    }

    #[actix_web::test]
    async fn the_last_fifth_of_its_lifetime_refreshes_in_the_background() {
        let source = Source::new();
        source.get().await.unwrap();
        source.advance(80);
        assert_eq!(source.get().await.unwrap(), 1, "nobody waits");
        source.settle().await;
        assert_eq!(source.get().await.unwrap(), 2);
    }

    #[actix_web::test]
    async fn past_its_lifetime_a_reader_waits_for_a_new_one() {
        let source = Source::new();
        source.get().await.unwrap();
        source.advance(100);
        assert_eq!(source.get().await.unwrap(), 2);
    }

    #[actix_web::test]
    async fn while_fetching_fails_the_last_good_one_stays_until_its_maximum_age() {
        let mut source = Source::new();
        source.get().await.unwrap();
        source.fails = true;
        source.advance(100);
        assert_eq!(source.get().await.unwrap(), 1);
        source.advance(800);
        assert_eq!(source.get().await.unwrap(), 1, "nobody waits for a fetch that will fail");
        source.settle().await;
        source.advance(100);
        let error = source.get().await.unwrap_err();
        assert!(error.is_retryable());
        source.fails = false;
        source.advance(30);
        assert_eq!(source.get().await.unwrap(), source.fetched());
    }

    #[actix_web::test]
    async fn after_a_failure_there_is_a_pause_that_doubles() {
        let mut source = Source::new();
        source.fails = true;
        for (failure, pause) in [1, 2, 4, 4, 4].into_iter().enumerate() {
            let error = source.get().await.unwrap_err();
            assert_eq!(error.retry_after_hint(), Some(Duration::from_secs(pause)));
            for _ in 0..100 {
                source.get().await.unwrap_err();
            }
            assert_eq!(source.fetched(), failure + 1);
            source.advance(i64::try_from(pause).unwrap());
        }
        source.fails = false;
        source.get().await.unwrap();
    }

    #[actix_web::test]
    async fn out_of_turn_there_is_one_fetch_in_each_cooldown() {
        let source = Source::new();
        let first = source.refreshed.get(|| source.fetch()).await.unwrap();
        let newer = || source.refreshed.newer_than(&first, || source.fetch());
        for _ in 0..100 {
            assert!(newer().await.unwrap().is_none(), "it was fetched a moment ago");
        }
        source.advance(30);
        let seen = join_all((0..100).map(|_| newer())).await;
        assert!(seen.into_iter().all(|newer| newer.unwrap().unwrap().document == 2));
        assert_eq!(source.fetched(), 2);
    }

    #[actix_web::test]
    async fn a_fetch_out_of_turn_that_fails_keeps_the_document() {
        let mut source = Source::new();
        let first = source.refreshed.get(|| source.fetch()).await.unwrap();
        source.fails = true;
        source.advance(30);
        let error = source.refreshed.newer_than(&first, || source.fetch()).await.map(|_| ()).unwrap_err();
        assert!(error.is_retryable(), "what was missed may be in the one that cannot be had");
        assert_eq!(source.get().await.unwrap(), 1);
    }

    #[test]
    fn a_worker_that_stops_with_its_fetch_does_not_block_the_others() {
        let source = Source::new();
        let refreshed = Arc::clone(&source.refreshed);
        let gone = std::thread::spawn(move || {
            rt::System::new().block_on(async move {
                let never = || async {
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                    Ok(0)
                };
                let _ = tokio::time::timeout(Duration::from_millis(1), refreshed.get(never)).await;
            });
        });
        gone.join().unwrap();
        assert_eq!(rt::System::new().block_on(source.get()).unwrap(), 1);
    }
}
