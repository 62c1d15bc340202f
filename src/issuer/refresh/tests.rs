use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use actix_web::rt;
use futures_util::future::join_all;

use super::*;
use crate::clock::Clock;

/// A test clock; both clocks return these seconds.
#[derive(Debug, Default)]
struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn unix_time(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

/// A source whose document is the number of its fetch. Fetches fail while `fails` is set.
struct TestSource {
    manual_clock: Arc<ManualClock>,
    cache: Arc<RefreshingCache<usize>>,
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
        let manual_clock = Arc::new(ManualClock::default());
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&manual_clock);
        let lifetimes = Lifetimes {
            max_age: Duration::from_secs(100),
            stale_if_error: Duration::from_secs(1000),
            min_refetch_interval: Duration::from_secs(30),
        };
        let telemetry = Telemetry::new("issuer", clock);
        let cache = Arc::new(RefreshingCache::new("number", lifetimes, 1000, telemetry));
        Self { manual_clock, cache, fetched: Arc::default(), fails: false }
    }

    fn advance(&self, seconds: i64) {
        self.manual_clock.0.fetch_add(seconds, Ordering::SeqCst);
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
        self.cache.get(|| self.fetch(), reader()).await.map(|fetched| fetched.document)
    }

    /// Waits until background tasks have ended.
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
    let telemetry = Arc::clone(&source.cache.telemetry);
    let cache = Arc::new(RefreshingCache::new("until", source.cache.lifetimes, 1000, telemetry));
    let good_until = |second: u64| move || std::future::ready(Ok(Until(second)));
    assert!(cache.get(good_until(50), reader()).await.is_ok());
    source.advance(49);
    assert!(cache.get(good_until(50), reader()).await.is_ok());
    // A fetch that started in time ends too late.
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let ended = Mutex::new(Some(ended));
    let late = || {
        let ended = ended.lock().unwrap().take().unwrap();
        async move {
            ended.await.unwrap();
            Ok(Until(50))
        }
    };
    let seen = cache.load_full().unwrap();
    let renewing = cache.refetch_if_same(&seen, late, soon());
    let reading = async {
        tokio::task::yield_now().await;
        source.advance(1);
        end.send(()).unwrap();
        cache.get(good_until(500), reader()).await.map(|fetched| fetched.document.0)
    };
    let (_, read) = futures_util::future::join(renewing, reading).await;
    assert_eq!(read.unwrap(), 500);
}

#[actix_web::test]
async fn a_pause_that_the_server_asks_for_lasts_a_minute_at_most() {
    for (requested, granted) in [(7, 7), (60, 60), (86_400, 60), (u64::MAX, 60)] {
        let source = TestSource::new();
        let busy = AuthError::upstream(UpstreamFault::Failing)
            .with_retry_after(Some(Duration::from_secs(requested)));
        let error = source.cache.get(|| std::future::ready(Err(busy.clone())), reader()).await.unwrap_err();
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
    let first = source.cache.get(|| source.fetch(), reader()).await.unwrap();
    let newer = || source.cache.refetch_if_same(&first, || source.fetch(), soon());
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
    let first = source.cache.get(|| source.fetch(), reader()).await.unwrap();
    source.fails = true;
    source.advance(30);
    let error =
        source.cache.refetch_if_same(&first, || source.fetch(), soon()).await.map(|_| ()).unwrap_err();
    assert!(error.is_retryable(), "what was missed may be in the one that cannot be had");
    assert_eq!(source.get().await.unwrap(), 1);
}

#[actix_web::test]
async fn after_a_fetch_out_of_turn_that_fails_the_pause_counts_and_not_the_cooldown() {
    let mut source = TestSource::new();
    let first = source.cache.get(|| source.fetch(), reader()).await.unwrap();
    source.advance(30);
    for (failure, pause) in [1, 2, 4, 4].into_iter().enumerate() {
        source.fails = true;
        for _ in 0..20 {
            let newer = source.cache.refetch_if_same(&first, || source.fetch(), soon()).await;
            assert_eq!(newer.unwrap_err().retry_after(), Some(Duration::from_secs(pause)));
        }
        assert_eq!(source.fetched(), failure + 2);
        source.advance(i64::try_from(pause).unwrap());
    }
    source.fails = false;
    let newer = source.cache.refetch_if_same(&first, || source.fetch(), soon()).await.unwrap().unwrap();
    assert_eq!(newer.document, 6);
    let newest = source.cache.refetch_if_same(&newer, || source.fetch(), soon()).await.unwrap();
    assert!(newest.is_none(), "the cooldown counts again");
}

#[test]
fn a_worker_that_stops_with_its_fetch_does_not_block_the_others() {
    let source = TestSource::new();
    let cache = Arc::clone(&source.cache);
    let gone = std::thread::spawn(move || {
        rt::System::new().block_on(async move {
            let never = || async {
                tokio::time::sleep(Duration::from_secs(3600)).await;
                Ok(0)
            };
            let _ = tokio::time::timeout(Duration::from_millis(1), cache.get(never, reader())).await;
        });
    });
    gone.join().unwrap();
    assert_eq!(rt::System::new().block_on(source.get()).unwrap(), 1);
}

/// Runs a fetch on a worker that stops before the fetch has ended.
fn lose_a_fetch(source: &TestSource) -> std::thread::JoinHandle<()> {
    let cache = Arc::clone(&source.cache);
    let (starts, started) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        rt::System::new().block_on(async move {
            let never = || std::future::pending::<Result<usize, AuthError>>();
            let get = cache.get(never, reader());
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
    assert!(source.cache.get(panics, reader()).await.is_err());
    assert_eq!(source.get().await.unwrap(), 1);
}

#[test]
fn a_fetch_whose_worker_is_blocked_is_replaced_and_its_late_document_dropped() {
    let source = TestSource::new();
    let cache = Arc::clone(&source.cache);
    let (starts, started) = std::sync::mpsc::channel();
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let worker = std::thread::spawn(move || {
        rt::System::new().block_on(async move {
            let fetch = || async {
                tokio::task::yield_now().await;
                Ok(77)
            };
            let get = cache.get(fetch, reader());
            let blocking = async {
                starts.send(()).unwrap();
                blocked.recv_timeout(Duration::from_secs(60)).unwrap();
            };
            futures_util::future::join(get, blocking).await.0.map(|fetched| fetched.document)
        })
    });
    started.recv().unwrap();
    rt::System::new().block_on(async {
        let reader = Reader::request(Deadline::after(Duration::from_millis(400)));
        let seen = join_all((0..20).map(|_| source.cache.get(|| source.fetch(), reader))).await;
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
    let leader = source.cache.get(failing, short());
    let replacing = async {
        tokio::task::yield_now().await;
        source.cache.get(|| source.fetch(), short()).await
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
    assert_eq!(source.cache.get(never, hasty()).await.unwrap().document, 1);
    source.advance(900);
    let error = source.cache.get(never, hasty()).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind().fault(), "timed_out", "it is too old");
}

#[actix_web::test]
async fn a_bounded_number_of_requests_waits_and_each_kind_apart() {
    let mut source = TestSource::new();
    let telemetry = Arc::clone(&source.cache.telemetry);
    source.cache = Arc::new(RefreshingCache::new("number", source.cache.lifetimes, 10, telemetry));
    let first = source.cache.get(|| source.fetch(), reader()).await.unwrap();
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
        let outcome = source.cache.refetch_if_same(&first, held, soon()).await;
        ended.fetch_add(1, Ordering::SeqCst);
        outcome.map(|newer| newer.unwrap().document).map_err(|error| error.kind().fault())
    };
    let read = || async {
        let outcome = source.cache.get(held, reader()).await;
        ended.fetch_add(1, Ordering::SeqCst);
        outcome.map(|fetched| fetched.document).map_err(|error| error.kind().fault())
    };
    let renewing = join_all((0..100).map(|_| renew()));
    let meanwhile = async {
        let until = async |count| {
            while ended.load(Ordering::SeqCst) < count {
                tokio::task::yield_now().await;
            }
        };
        until(100 - 11).await;
        assert_eq!(source.cache.waiting(), 10);
        assert_eq!(read().await, Ok(1), "who has a fresh document does not wait");
        // Now no document is usable, and all other readers wait too.
        source.advance(970);
        let reading = join_all((0..100).map(|_| read()));
        let release = async {
            until(100 - 11 + 1 + 100 - 10).await;
            assert_eq!(source.cache.waiting(), 20);
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
    assert_eq!(source.cache.waiting(), 0);
}

#[actix_web::test]
async fn renewers_replace_a_fetch_that_hangs_once_in_a_cooldown() {
    let source = TestSource::new();
    let first = source.cache.get(|| source.fetch(), reader()).await.unwrap();
    source.advance(30);
    let never = || {
        source.fetched.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<Result<usize, AuthError>>()
    };
    for _ in 0..10 {
        let deadline = Deadline::after(Duration::from_millis(20));
        let seen = join_all((0..20).map(|_| source.cache.refetch_if_same(&first, never, deadline))).await;
        assert!(seen.into_iter().all(|newer| newer.map(|_| ()).unwrap_err().is_retryable()));
    }
    assert_eq!(source.fetched(), 3);
}
