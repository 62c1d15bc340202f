//! A document of the authorization server that is fetched again from time to time: its metadata, its keys.
//!
//! One fetch at a time for all workers; it runs detached from the request that started it. Readers take the current
//! document without a lock. A document is refreshed in the background in the last fifth of its lifetime, so that
//! under load nobody waits; when a refresh fails, the last good document stays until its maximum age, and the next try
//! waits a little longer after each failure. A fetch that takes long, because its worker is blocked for example, is
//! replaced by a reader that waits for it; one that is lost with its worker is started again by such a reader.

mod fetch;

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::{ArcSwapOption, Guard};
use tokio::sync::watch;

use self::fetch::Fetch;
use crate::{
    deadline::{Deadline, timed_out},
    error::{AuthError, UpstreamFault},
    telemetry::{Telemetry, log_throttle::LogThrottle},
    waiting_room::WaitingRoom,
};

/// The longest time that a reader waits for the fetch of another one before it starts its own, and that it waits at all
/// while there is an older document.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a document counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    /// Past this age a reader waits for a new one.
    pub(crate) max_age: Duration,
    /// While fetching fails, the last good one is used up to this age.
    pub(crate) stale_if_error: Duration,
    /// After a successful fetch, none is started out of turn (for an unknown `kid`) within this time.
    pub(crate) min_refetch_interval: Duration,
}

impl Lifetimes {
    /// Up to this age nobody thinks of a refresh.
    fn without_refresh(&self) -> Duration {
        self.max_age / 5 * 4
    }
}

/// A document that is kept fresh.
pub(crate) trait Document: Send + Sync + 'static {
    /// Returns the time on the monotonic clock from which the document is not used any more, if that is not only a
    /// question of its age.
    fn good_until(&self) -> Option<Duration> {
        None
    }

    /// Returns why the document is not complete, if the next fetch may complete it. It is used, and fetched again as
    /// soon as after a failure.
    fn interruption(&self) -> Option<&AuthError> {
        None
    }
}

pub(crate) struct RefreshingCache<T> {
    name: &'static str,
    lifetimes: Lifetimes,
    observer: Arc<Telemetry>,
    current: ArcSwapOption<Fetched<T>>,
    state: Mutex<CacheState>,
    /// Tells those who wait that a fetch has ended.
    ended: watch::Sender<()>,
    /// Requests that wait because there is no document, or none that is fresh.
    readers: WaitingRoom,
    /// Requests that wait for a newer document than the fresh one. Apart, since anybody can send such requests.
    renewers: WaitingRoom,
    warnings: LogThrottle,
}

/// A document and its times on the monotonic clock.
#[derive(Debug)]
pub(crate) struct Fetched<T> {
    pub(crate) document: T,
    /// From then on it is refreshed in the background.
    refresh_at: Duration,
    /// From then on a reader waits for a new one.
    stale_at: Duration,
    /// From then on it is not used any more.
    expires_at: Duration,
    /// That of its fetch; a later fetch has a higher one.
    number: u64,
}

impl<T: Document> Fetched<T> {
    fn new(document: T, asked_at: Duration, lifetimes: Lifetimes, number: u64) -> Self {
        let good_until = document.good_until().unwrap_or(Duration::MAX);
        let after = |age| asked_at.saturating_add(age).min(good_until);
        let refresh_at =
            if document.interruption().is_some() { asked_at } else { after(lifetimes.without_refresh()) };
        Self {
            refresh_at,
            stale_at: after(lifetimes.max_age),
            expires_at: after(lifetimes.stale_if_error),
            document,
            number,
        }
    }
}

/// A reader of a document, and its deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    deadline: Deadline,
    kind: ReaderKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReaderKind {
    Request,
    Renewer,
    Task,
}

impl Reader {
    /// A request, which takes a place among those that wait, unless the fetch is its own.
    pub(crate) fn request(deadline: Deadline) -> Self {
        Self { deadline, kind: ReaderKind::Request }
    }

    /// A call or a fetch that needs the document. The requests that wait for it are counted already.
    pub(crate) fn task(deadline: Deadline) -> Self {
        Self { deadline, kind: ReaderKind::Task }
    }
}

#[derive(Default)]
struct CacheState {
    /// The number of the fetch under way.
    under_way: Option<u64>,
    last_number: u64,
    failure: Option<FailedFetch>,
    /// When the last fetch was started.
    last_start: Option<Duration>,
    /// When a fetch was last replaced by a request that waits for a newer document than the fresh one.
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
    /// `name` is a word of the log and of metrics; of each kind of requests so many may wait.
    pub(crate) fn new(
        name: &'static str,
        lifetimes: Lifetimes,
        max_waiting: usize,
        observer: Arc<Telemetry>,
    ) -> Self {
        Self {
            name,
            lifetimes,
            observer,
            current: ArcSwapOption::empty(),
            state: Mutex::default(),
            ended: watch::Sender::new(()),
            readers: WaitingRoom::new(max_waiting),
            renewers: WaitingRoom::new(max_waiting),
            warnings: LogThrottle::default(),
        }
    }

    /// A document that needs no fetching.
    pub(crate) fn fixed(name: &'static str, document: T, observer: Arc<Telemetry>) -> Self {
        let forever = Lifetimes {
            max_age: Duration::MAX,
            stale_if_error: Duration::MAX,
            min_refetch_interval: Duration::MAX,
        };
        let this = Self::new(name, forever, 0, observer);
        this.current.store(Some(Arc::new(Fetched::new(document, Duration::ZERO, forever, 0))));
        this
    }

    /// How many requests wait for a fetch that another one has started.
    pub(crate) fn waiting(&self) -> usize {
        self.readers.waiting() + self.renewers.waiting()
    }

    /// The last good document, however old, for a moment: it costs less than to hold on to it.
    pub(crate) fn load(&self) -> Guard<Option<Arc<Fetched<T>>>> {
        self.current.load()
    }

    /// The last good document, however old.
    pub(crate) fn load_full(&self) -> Option<Arc<Fetched<T>>> {
        self.current.load_full()
    }

    /// A look at the document, if it needs no refresh at this time.
    pub(crate) fn with_fresh<R>(&self, now: Duration, look: impl FnOnce(&T) -> R) -> Option<R> {
        let current = self.current.load();
        let current = current.as_deref()?;
        (now < current.refresh_at).then(|| look(&current.document))
    }

    /// The document: the current one while it is fresh, else a new one. `fetch` runs on the calling worker.
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
                let _runs_by_itself = self.start(&fetch);
                return Ok(Arc::clone(current));
            }
        }
        let last_good = known.clone().filter(|current| self.now() < current.expires_at);
        let deadline = match last_good {
            Some(_) => reader.deadline.at_most(PATIENCE),
            None => reader.deadline,
        };
        let outcome = self.next(known.as_ref(), fetch, Reader { deadline, ..reader }).await;
        match (outcome, last_good) {
            (Ok(Some(newer)), _) => Ok(newer),
            (_, Some(last_good)) => Ok(last_good),
            (Ok(None), None) => Err(self.refusal()),
            (Err(error), None) => Err(error),
        }
    }

    /// A newer document than the given one, for a request that missed something in it; `None` where the cooldown forbids
    /// a fetch, and an error while fetching fails: what was missed may be in the document that cannot be had.
    pub(crate) async fn refetch_if_same<F>(
        self: &Arc<Self>,
        seen: &Arc<Fetched<T>>,
        fetch: impl Fn() -> F,
        deadline: Deadline,
    ) -> Result<Option<Arc<Fetched<T>>>, AuthError>
    where
        F: Future<Output = Result<T, AuthError>> + 'static,
    {
        let cooling = {
            let state = self.state();
            // After a failure the pause bounds the fetches instead.
            state.under_way.is_none() && state.failure.is_none() && self.is_recent(state.last_start)
        };
        let newer = if cooling {
            self.newer(Some(seen))
        } else {
            self.next(Some(seen), fetch, Reader { deadline, kind: ReaderKind::Renewer }).await?
        };
        let failing = newer.is_none() && self.state().failure.is_some();
        if failing { Err(self.refusal()) } else { Ok(newer) }
    }

    /// The error of the last fetch, with the time of the next try.
    fn refusal(&self) -> AuthError {
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
        // It may have ceased to be good while it was fetched.
        let is_good = current.document.good_until().is_none_or(|until| now < until);
        (is_newer && is_good).then_some(current)
    }

    /// Waits for a newer document than the one seen, from the fetch under way or from a new one; `None` if fetching
    /// failed. A fetch of another reader that takes too long is replaced once.
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
            let Some(Fetch { number, is_own }) = self.start(&fetch) else { return Ok(None) };
            if is_own {
                drop(place.take());
            } else if place.is_none() {
                place = self.room(kind).map(WaitingRoom::enter).transpose()?;
            }
            let patience = if is_own || has_replaced { deadline } else { deadline.half().at_most(PATIENCE) };
            let end = async {
                while self.newer(seen).is_none() && self.state().under_way == Some(number) {
                    // It fails without a sender only, and that is in here.
                    let _ = ended.changed().await;
                }
            };
            let has_ended = patience.wait(end).await.is_some();
            match (has_ended, is_own) {
                (true, true) if self.newer(seen).is_some() || self.state().failure.is_some() => {
                    return Ok(self.newer(seen));
                }
                (true, true) => return Err(abandoned()),
                // It failed, and `start` says so, or it was lost.
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
        self.observer.clock.monotonic()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, CacheState> {
        // Nothing in here panics while it holds the lock; should it ever, the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn abandoned() -> AuthError {
    AuthError::upstream(UpstreamFault::Unreachable).with_source("the fetch was abandoned")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    use actix_web::rt;
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
    struct TestSource {
        hand: Arc<Hand>,
        refreshed: Arc<RefreshingCache<usize>>,
        fetched: Arc<AtomicUsize>,
        fails: bool,
    }

    impl Document for usize {}

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    fn reader() -> Reader {
        Reader::request(soon())
    }

    impl TestSource {
        fn new() -> Self {
            let hand = Arc::new(Hand::default());
            let clock: Arc<dyn Clock> = Arc::<Hand>::clone(&hand);
            let lifetimes = Lifetimes {
                max_age: Duration::from_secs(100),
                stale_if_error: Duration::from_secs(1000),
                min_refetch_interval: Duration::from_secs(30),
            };
            let observer = Telemetry::new("issuer", clock);
            let refreshed = Arc::new(RefreshingCache::new("number", lifetimes, 1000, observer));
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
            self.refreshed.get(|| self.fetch(), reader()).await.map(|dated| dated.document)
        }

        /// Lets what runs in the background end.
        async fn store_result(&self) {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }

        fn fetched(&self) -> usize {
            self.fetched.load(Ordering::SeqCst)
        }
    }

    #[actix_web::test]
    async fn a_document_that_ceased_to_be_good_during_its_fetch_is_not_used() {
        /// A document that is good until this second.
        struct Until(u64);

        impl Document for Until {
            fn good_until(&self) -> Option<Duration> {
                Some(Duration::from_secs(self.0))
            }
        }

        let source = TestSource::new();
        let observer = Arc::clone(&source.refreshed.observer);
        let refreshed = Arc::new(RefreshingCache::new("until", source.refreshed.lifetimes, 1000, observer));
        let good_until = |second: u64| move || std::future::ready(Ok(Until(second)));
        assert!(refreshed.get(good_until(50), reader()).await.is_ok());
        source.advance(49);
        assert!(refreshed.get(good_until(50), reader()).await.is_ok());
        // A fetch that began in time ends too late.
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let ended = Mutex::new(Some(ended));
        let late = || {
            let ended = ended.lock().unwrap().take().unwrap();
            async move {
                ended.await.unwrap();
                Ok(Until(50))
            }
        };
        let seen = refreshed.load_full().unwrap();
        let renewing = refreshed.refetch_if_same(&seen, late, soon());
        let reading = async {
            tokio::task::yield_now().await;
            source.advance(1);
            end.send(()).unwrap();
            refreshed.get(good_until(500), reader()).await.map(|dated| dated.document.0)
        };
        let (_, read) = futures_util::future::join(renewing, reading).await;
        assert_eq!(read.unwrap(), 500);
    }

    #[actix_web::test]
    async fn a_pause_that_the_server_asks_for_lasts_a_minute_at_most() {
        for (asked, granted) in [(7, 7), (60, 60), (86_400, 60), (u64::MAX, 60)] {
            let source = TestSource::new();
            let busy = AuthError::upstream(UpstreamFault::Failing)
                .with_retry_after(Some(Duration::from_secs(asked)));
            let error =
                source.refreshed.get(|| std::future::ready(Err(busy.clone())), reader()).await.unwrap_err();
            assert_eq!(error.retry_after(), Some(Duration::from_secs(granted)));
            source.advance(i64::try_from(granted).unwrap() - 1);
            assert!(source.get().await.is_err());
            source.advance(1);
            assert_eq!(source.get().await.unwrap(), 1);
        }
    }

    #[actix_web::test]
    async fn many_readers_share_one_fetch_and_its_document() {
        let source = TestSource::new();
        let seen = join_all((0..50).map(|_| source.get())).await;
        assert!(seen.into_iter().all(|document| document.unwrap() == 1));
        source.advance(79);
        assert_eq!(source.get().await.unwrap(), 1);
        source.store_result().await;
        assert_eq!(source.fetched(), 1);
    }

    #[actix_web::test]
    async fn the_last_fifth_of_its_lifetime_refreshes_in_the_background() {
        let source = TestSource::new();
        source.get().await.unwrap();
        source.advance(80);
        assert_eq!(source.get().await.unwrap(), 1, "nobody waits");
        source.store_result().await;
        assert_eq!(source.get().await.unwrap(), 2);
    }

    #[actix_web::test]
    async fn past_its_lifetime_a_reader_waits_for_a_new_one() {
        let source = TestSource::new();
        source.get().await.unwrap();
        source.advance(100);
        assert_eq!(source.get().await.unwrap(), 2);
    }

    #[actix_web::test]
    async fn while_fetching_fails_the_last_good_one_stays_until_its_maximum_age() {
        let mut source = TestSource::new();
        source.get().await.unwrap();
        source.fails = true;
        source.advance(100);
        assert_eq!(source.get().await.unwrap(), 1);
        source.advance(800);
        assert_eq!(source.get().await.unwrap(), 1, "nobody waits for a fetch that will fail");
        source.store_result().await;
        source.advance(100);
        let error = source.get().await.unwrap_err();
        assert!(error.is_retryable());
        source.fails = false;
        source.advance(30);
        assert_eq!(source.get().await.unwrap(), source.fetched());
    }

    #[actix_web::test]
    async fn after_a_failure_there_is_a_pause_that_doubles() {
        let mut source = TestSource::new();
        source.fails = true;
        for (failure, pause) in [1, 2, 4, 4, 4].into_iter().enumerate() {
            let error = source.get().await.unwrap_err();
            assert_eq!(error.retry_after(), Some(Duration::from_secs(pause)));
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
        let source = TestSource::new();
        let first = source.refreshed.get(|| source.fetch(), reader()).await.unwrap();
        let newer = || source.refreshed.refetch_if_same(&first, || source.fetch(), soon());
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
        let mut source = TestSource::new();
        let first = source.refreshed.get(|| source.fetch(), reader()).await.unwrap();
        source.fails = true;
        source.advance(30);
        let error = source
            .refreshed
            .refetch_if_same(&first, || source.fetch(), soon())
            .await
            .map(|_| ())
            .unwrap_err();
        assert!(error.is_retryable(), "what was missed may be in the one that cannot be had");
        assert_eq!(source.get().await.unwrap(), 1);
    }

    #[actix_web::test]
    async fn after_a_fetch_out_of_turn_that_fails_the_pause_counts_and_not_the_cooldown() {
        let mut source = TestSource::new();
        let first = source.refreshed.get(|| source.fetch(), reader()).await.unwrap();
        source.advance(30);
        for (failure, pause) in [1, 2, 4, 4].into_iter().enumerate() {
            source.fails = true;
            for _ in 0..20 {
                let newer = source.refreshed.refetch_if_same(&first, || source.fetch(), soon()).await;
                assert_eq!(newer.unwrap_err().retry_after(), Some(Duration::from_secs(pause)));
            }
            assert_eq!(source.fetched(), failure + 2);
            source.advance(i64::try_from(pause).unwrap());
        }
        source.fails = false;
        let newer =
            source.refreshed.refetch_if_same(&first, || source.fetch(), soon()).await.unwrap().unwrap();
        assert_eq!(newer.document, 6);
        let newest = source.refreshed.refetch_if_same(&newer, || source.fetch(), soon()).await.unwrap();
        assert!(newest.is_none(), "the cooldown counts again");
    }

    #[test]
    fn a_worker_that_stops_with_its_fetch_does_not_block_the_others() {
        let source = TestSource::new();
        let refreshed = Arc::clone(&source.refreshed);
        let gone = std::thread::spawn(move || {
            rt::System::new().block_on(async move {
                let never = || async {
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                    Ok(0)
                };
                let _ = tokio::time::timeout(Duration::from_millis(1), refreshed.get(never, reader())).await;
            });
        });
        gone.join().unwrap();
        assert_eq!(rt::System::new().block_on(source.get()).unwrap(), 1);
    }

    /// Runs a fetch on a worker that stops while the fetch is under way.
    fn lose_a_fetch(source: &TestSource) -> std::thread::JoinHandle<()> {
        let refreshed = Arc::clone(&source.refreshed);
        let (starts, started) = std::sync::mpsc::channel();
        let worker = std::thread::spawn(move || {
            rt::System::new().block_on(async move {
                let never = || std::future::pending::<Result<usize, AuthError>>();
                let get = refreshed.get(never, reader());
                let _ = tokio::time::timeout(Duration::from_millis(1), get).await;
                starts.send(()).unwrap();
                tokio::time::sleep(Duration::from_millis(200)).await;
            });
        });
        started.recv().unwrap();
        worker
    }

    #[test]
    fn a_fetch_that_is_lost_with_its_worker_is_started_again_by_a_reader_who_waits() {
        let source = TestSource::new();
        let worker = lose_a_fetch(&source);
        let seen = rt::System::new().block_on(join_all((0..20).map(|_| source.get())));
        assert!(seen.into_iter().all(|document| document.unwrap() == 1));
        assert_eq!(source.fetched(), 1);
        worker.join().unwrap();
    }

    #[actix_web::test]
    async fn a_fetch_that_panics_fails_for_its_reader_and_stays_nowhere() {
        let source = TestSource::new();
        let panics = || async {
            assert!(std::hint::black_box(false), "on purpose");
            Ok(0)
        };
        assert!(source.refreshed.get(panics, reader()).await.is_err());
        assert_eq!(source.get().await.unwrap(), 1);
    }

    #[test]
    fn a_fetch_whose_worker_is_blocked_is_replaced_and_its_late_document_dropped() {
        let source = TestSource::new();
        let refreshed = Arc::clone(&source.refreshed);
        let (starts, started) = std::sync::mpsc::channel();
        let (unblock, blocked) = std::sync::mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            rt::System::new().block_on(async move {
                let fetch = || async {
                    tokio::task::yield_now().await;
                    Ok(77)
                };
                let get = refreshed.get(fetch, reader());
                let blocking = async {
                    starts.send(()).unwrap();
                    blocked.recv_timeout(Duration::from_secs(60)).unwrap();
                };
                futures_util::future::join(get, blocking).await.0.map(|dated| dated.document)
            })
        });
        started.recv().unwrap();
        rt::System::new().block_on(async {
            let reader = Reader::request(Deadline::after(Duration::from_millis(400)));
            let seen = join_all((0..20).map(|_| source.refreshed.get(|| source.fetch(), reader))).await;
            assert!(seen.into_iter().all(|document| document.unwrap().document == 1));
            assert_eq!(source.fetched(), 1);
            unblock.send(()).unwrap();
            assert_eq!(worker.join().unwrap().unwrap(), 1, "the newer one");
            assert_eq!(source.get().await.unwrap(), 1);
        });
    }

    #[actix_web::test]
    async fn a_late_failure_of_a_replaced_fetch_does_not_hide_a_newer_document() {
        let source = TestSource::new();
        let (fail, failed) = tokio::sync::oneshot::channel::<()>();
        let failed = Mutex::new(Some(failed));
        let failing = || {
            let failed = failed.lock().unwrap().take().unwrap();
            async move {
                failed.await.unwrap();
                Err(AuthError::upstream(UpstreamFault::Unreachable))
            }
        };
        let short = || Reader::request(Deadline::after(Duration::from_millis(100)));
        let leader = source.refreshed.get(failing, short());
        let replacing = async {
            tokio::task::yield_now().await;
            source.refreshed.get(|| source.fetch(), short()).await
        };
        let (_, replacing) = futures_util::future::join(leader, replacing).await;
        assert_eq!(replacing.unwrap().document, 1);
        fail.send(()).unwrap();
        source.store_result().await;
        source.advance(80);
        assert_eq!(source.get().await.unwrap(), 1);
        source.store_result().await;
        assert_eq!(source.get().await.unwrap(), 2, "no pause holds the refresh up");
    }

    #[actix_web::test]
    async fn while_a_refresh_hangs_the_last_good_document_is_used() {
        let source = TestSource::new();
        source.get().await.unwrap();
        source.advance(100);
        let never = || std::future::pending::<Result<usize, AuthError>>();
        let hasty = || Reader::request(Deadline::after(Duration::from_millis(50)));
        assert_eq!(source.refreshed.get(never, hasty()).await.unwrap().document, 1);
        source.advance(900);
        let error = source.refreshed.get(never, hasty()).await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind().fault(), "timed_out", "it is too old");
    }

    #[actix_web::test]
    async fn a_bounded_number_of_requests_waits_and_each_kind_apart() {
        let mut source = TestSource::new();
        let observer = Arc::clone(&source.refreshed.observer);
        source.refreshed = Arc::new(RefreshingCache::new("number", source.refreshed.lifetimes, 10, observer));
        let first = source.refreshed.get(|| source.fetch(), reader()).await.unwrap();
        source.advance(30);
        let (release, released) = watch::channel(false);
        let held = || {
            let mut released = released.clone();
            async move {
                released.wait_for(|released| *released).await.unwrap();
                Ok(9)
            }
        };
        let ended = AtomicUsize::new(0);
        let renew = || async {
            let outcome = source.refreshed.refetch_if_same(&first, held, soon()).await;
            ended.fetch_add(1, Ordering::SeqCst);
            outcome.map(|newer| newer.unwrap().document).map_err(|error| error.kind().fault())
        };
        let read = || async {
            let outcome = source.refreshed.get(held, reader()).await;
            ended.fetch_add(1, Ordering::SeqCst);
            outcome.map(|dated| dated.document).map_err(|error| error.kind().fault())
        };
        let renewing = join_all((0..100).map(|_| renew()));
        let meanwhile = async {
            let until = async |count| {
                while ended.load(Ordering::SeqCst) < count {
                    tokio::task::yield_now().await;
                }
            };
            until(100 - 11).await;
            assert_eq!(source.refreshed.waiting(), 10);
            assert_eq!(read().await, Ok(1), "who has a fresh document does not wait");
            // Now nothing is usable, and all others wait too.
            source.advance(970);
            let reading = join_all((0..100).map(|_| read()));
            let release = async {
                until(100 - 11 + 1 + 100 - 10).await;
                assert_eq!(source.refreshed.waiting(), 20);
                release.send(true).unwrap();
            };
            futures_util::future::join(reading, release).await.0
        };
        let (renewed, read) = futures_util::future::join(renewing, meanwhile).await;
        let count = |outcomes: &[Result<usize, &str>], wanted| {
            outcomes.iter().filter(|outcome| **outcome == wanted).count()
        };
        assert_eq!((count(&renewed, Ok(9)), count(&renewed, Err("saturated"))), (11, 89));
        assert_eq!((count(&read, Ok(9)), count(&read, Err("saturated"))), (10, 90));
        assert_eq!(source.refreshed.waiting(), 0);
    }

    #[actix_web::test]
    async fn renewers_replace_a_fetch_that_hangs_once_in_a_cooldown() {
        let source = TestSource::new();
        let first = source.refreshed.get(|| source.fetch(), reader()).await.unwrap();
        source.advance(30);
        let never = || {
            source.fetched.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<usize, AuthError>>()
        };
        for _ in 0..10 {
            let deadline = Deadline::after(Duration::from_millis(20));
            let seen =
                join_all((0..20).map(|_| source.refreshed.refetch_if_same(&first, never, deadline))).await;
            assert!(seen.into_iter().all(|newer| newer.map(|_| ()).unwrap_err().is_retryable()));
        }
        assert_eq!(source.fetched(), 3);
    }
}
