//! The part of this process in a shared store: its records, and the time at which it last read them.

use std::{
    fmt,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::runtime::Handle;

use super::{SharedStore, StoreError, outbox::Outbox, reader, seal::Sealer};
use crate::{
    client_auth::SecretSource,
    clock::{Clock, SystemClock},
    revocation::{CLOCK_ALLOWANCE, Position, RevocationIndex},
    telemetry::{self, log_throttle::LogThrottle},
};

/// The store and its keys, as the application has configured them. Compared by identity.
#[derive(Clone)]
pub(crate) struct StoreHook {
    pub(crate) store: Arc<dyn SharedStore>,
    pub(crate) keys: SecretSource,
}

impl StoreHook {
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.store, &other.store) && self.keys == other.keys
    }
}

/// The settings of a replica.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ReplicaSettings {
    /// The longest time that a request waits for one operation of the store.
    pub(crate) timeout: Duration,
    /// The longest time for which cached verdicts are used while the records are not read.
    pub(crate) blind_for: Duration,
    /// The time for which records are kept in the store.
    pub(crate) keep_for: Duration,
    /// The maximum number of records of one issuer.
    pub(crate) max_records: usize,
}

/// All configurations with the same store share one. Its thread ends when it is dropped.
pub(crate) struct Replica {
    hook: StoreHook,
    custom_clock: Option<Arc<dyn Clock>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: ReplicaSettings,
    pub(super) sealer: Sealer,
    pub(crate) index: Arc<RevocationIndex>,
    pub(super) outbox: Mutex<Outbox>,
    /// The position until which all records were applied.
    read_until: Mutex<Option<Position>>,
    /// The time on the monotonic clock at which the last complete read returned, in milliseconds plus one. 0 if there was none.
    last_read: AtomicU64,
    /// The seconds by which the clock of the store is ahead of that of this process.
    store_ahead: AtomicI64,
    is_clock_reported: AtomicBool,
    /// The time at which records were lost, in seconds since 1970.
    lost_at: AtomicI64,
    /// The time on the monotonic clock until which requests skip the store, in milliseconds.
    skipped_until: AtomicU64,
    /// The time for which the next failure lets requests skip the store, in milliseconds.
    next_skip: AtomicU64,
    /// The time on the monotonic clock of the last response to a request for a verdict, in milliseconds.
    last_response: AtomicU64,
    is_reported_blind: AtomicBool,
    pub(super) warnings: LogThrottle,
    append_warnings: LogThrottle,
    loss_warnings: LogThrottle,
    runtime: OnceLock<Handle>,
}

static REPLICAS: Mutex<Vec<Weak<Replica>>> = Mutex::new(Vec::new());

/// The time in milliseconds for which requests skip the store after it has failed or has not responded in time. It is doubled with
/// each failure until the store responds.
const SKIP: RangeInclusive<u64> = 100..=1000;

impl Replica {
    /// Returns the replica of this store, or starts one.
    pub(crate) fn obtain(
        hook: &StoreHook,
        clock: Option<&Arc<dyn Clock>>,
        settings: ReplicaSettings,
    ) -> Arc<Self> {
        let mut alive = REPLICAS.lock().unwrap_or_else(PoisonError::into_inner);
        alive.retain(|replica| replica.strong_count() > 0);
        let has_clock = |replica: &Self| match (&replica.custom_clock, clock) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let equal = |replica: &Arc<Self>| {
            replica.hook.same(hook) && replica.settings == settings && has_clock(replica)
        };
        if let Some(replica) = alive.iter().filter_map(Weak::upgrade).find(equal) {
            return replica;
        }
        let replica = Arc::new(Self {
            custom_clock: clock.cloned(),
            clock: clock.cloned().unwrap_or_else(|| Arc::new(SystemClock::new())),
            settings,
            sealer: Sealer::new(hook.keys.clone()),
            hook: hook.clone(),
            index: Arc::default(),
            outbox: Mutex::default(),
            read_until: Mutex::default(),
            last_read: AtomicU64::new(0),
            store_ahead: AtomicI64::new(0),
            is_clock_reported: AtomicBool::new(false),
            lost_at: AtomicI64::new(i64::MIN),
            skipped_until: AtomicU64::new(0),
            next_skip: AtomicU64::new(*SKIP.start()),
            last_response: AtomicU64::new(0),
            is_reported_blind: AtomicBool::new(false),
            warnings: LogThrottle::default(),
            append_warnings: LogThrottle::default(),
            loss_warnings: LogThrottle::default(),
            runtime: OnceLock::new(),
        });
        match reader::start(&replica) {
            Ok(runtime) => drop(replica.runtime.set(runtime)),
            // It is blind, and stays so.
            Err(error) => {
                record!(
                    log::Level::Error, event = "store_thread_failed";
                    "the thread of the shared store cannot be started, so its records are not read: {error}"
                );
            }
        }
        alive.push(Arc::downgrade(&replica));
        replica
    }

    pub(super) fn store(&self) -> &Arc<dyn SharedStore> {
        &self.hook.store
    }

    /// Returns whether the records are being read: they were read completely not longer ago than `blind_for`. Otherwise this
    /// process is blind. `now` is on the monotonic clock.
    pub(crate) fn reads_records(&self, now: Duration) -> bool {
        let last_read = self.last_read.load(Ordering::Acquire);
        last_read > 0 && millis(now).saturating_sub(last_read - 1) <= millis(self.settings.blind_for)
    }

    /// Returns whether a cached verdict of this age may be used.
    pub(crate) fn allows_age(&self, age: Duration, now: Duration) -> bool {
        age <= self.settings.blind_for || self.reads_records(now)
    }

    /// Returns the position until which all records were applied.
    pub(crate) fn read_until(&self) -> Option<Position> {
        *self.read_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_read_until(&self, position: Option<Position>) {
        *self.read_until.lock().unwrap_or_else(PoisonError::into_inner) = position;
    }

    /// Records that all records were read, by a read that started and returned at these times on the monotonic clock. The store
    /// may have responded at any time in between, so a read that took longer than `blind_for` is no evidence. If each read takes
    /// the same time, this process is therefore blind either always or never.
    pub(super) fn set_read(&self, started: Duration, returned: Duration) {
        if returned.saturating_sub(started) <= self.settings.blind_for {
            self.last_read.store(millis(returned).saturating_add(1), Ordering::Release);
        }
    }

    /// Returns the later one of the time of this process and that of the store, in seconds since 1970. Tokens of a revocation
    /// that have been issued until now were not issued later, also if the clock of this process is behind.
    pub(crate) fn latest_time(&self) -> i64 {
        self.clock.unix_time().saturating_add(self.store_ahead.load(Ordering::Relaxed).max(0))
    }

    /// Returns the latest `iat` of tokens that were issued until now.
    pub(super) fn issued_until(&self) -> i64 {
        self.index.issued_until(self.latest_time())
    }

    /// Compares the clock of this process with the time of the store, in seconds since 1970.
    pub(super) fn compare_clocks(&self, store_time: Option<i64>) {
        let Some(store_time) = store_time else { return };
        let ahead = store_time.saturating_sub(self.clock.unix_time());
        self.store_ahead.store(ahead, Ordering::Relaxed);
        let differs = ahead.saturating_abs() > CLOCK_ALLOWANCE;
        if differs && !self.is_clock_reported.swap(true, Ordering::Relaxed) {
            record!(
                log::Level::Warn, event = "store_clock_differs";
                "the clock of the shared store differs from that of this process by {ahead} s: revocations use the later time"
            );
        }
    }

    /// Returns whether a verdict was requested before records were lost. Times are in seconds since 1970.
    pub(super) fn was_lost_since(&self, requested: i64) -> bool {
        requested <= self.lost_at.load(Ordering::Acquire).saturating_add(CLOCK_ALLOWANCE)
    }

    /// Handles the loss of records: every cached verdict is discarded, and this process is blind until it has read all
    /// records again.
    pub(super) fn lose(&self) {
        let now = self.clock.unix_time();
        self.last_read.store(0, Ordering::Release);
        self.lost_at.store(now, Ordering::Release);
        self.set_read_until(None);
        self.discard_all(Position::default(), now);
        if self.loss_warnings.is_due() {
            record!(
                log::Level::Warn, event = "store_records_lost";
                "records of the shared store were lost (deleted, or not copied before a failover): cached verdicts are not used \
                 any more, and the records of this process are sent again"
            );
        }
        self.lock_outbox().send_all_again(now, self.issued_until());
    }

    /// Discards the verdicts in the caches of this process, and those of the store whose replica had not read the records until
    /// this position.
    pub(super) fn discard_all(&self, position: Position, now: i64) {
        self.index.discard_all(position, now.saturating_add(self.keep_for_seconds()), now);
    }

    pub(super) fn keep_for_seconds(&self) -> i64 {
        i64::try_from(self.settings.keep_for.as_secs()).unwrap_or(i64::MAX)
    }

    /// Returns whether requests skip the store, because it has just failed.
    pub(super) fn is_skipped(&self, now: Duration) -> bool {
        millis(now) < self.skipped_until.load(Ordering::Relaxed)
    }

    /// Records that the store has responded to a request for a verdict.
    pub(super) fn responded(&self) {
        self.last_response.fetch_max(millis(self.clock.monotonic()), Ordering::Relaxed);
        self.next_skip.store(*SKIP.start(), Ordering::Relaxed);
    }

    /// Lets requests skip the store for a while after it did not respond to a request that was sent at this time on the monotonic
    /// clock, unless it has responded to another request since. The process was then only busy.
    pub(super) fn skip_unless_responding(&self, sent: Duration, problem: &StoreError) {
        if self.last_response.load(Ordering::Relaxed) <= millis(sent) {
            self.skip(problem);
        }
    }

    /// Lets requests skip the store for a while.
    pub(super) fn skip(&self, problem: &StoreError) {
        let now = self.clock.monotonic();
        // Several requests may fail at the same time.
        if !self.is_skipped(now) {
            let length = self.next_skip.load(Ordering::Relaxed);
            self.next_skip.store(length.saturating_mul(2).min(*SKIP.end()), Ordering::Relaxed);
            self.skipped_until.store(millis(now).saturating_add(length), Ordering::Relaxed);
        }
        self.warn(problem);
    }

    pub(super) fn warn(&self, problem: &StoreError) {
        if self.warnings.is_due() {
            let cause = std::error::Error::source(problem).map(ToString::to_string).unwrap_or_default();
            record!(
                log::Level::Warn, event = "store_failed";
                "the shared store failed: {cause}"
            );
        }
    }

    /// Reports a record that could not be appended.
    pub(super) fn warn_unsent(&self, problem: &StoreError) {
        if self.append_warnings.is_due() {
            let cause = std::error::Error::source(problem).map(ToString::to_string).unwrap_or_default();
            record!(
                log::Level::Warn, event = "store_append_failed";
                "a revocation or eviction was not written to the shared store, so the other replicas do not have it. It is sent \
                 again until it is written: {cause}"
            );
        }
    }

    /// Reports the start and the end of blindness.
    pub(super) fn report(&self) {
        let is_blind = !self.reads_records(self.clock.monotonic());
        telemetry::blind(is_blind);
        if self.is_reported_blind.swap(is_blind, Ordering::Relaxed) == is_blind {
            return;
        }
        if is_blind {
            let blind_for = self.settings.blind_for;
            record!(
                log::Level::Warn, event = "store_blind";
                "the records of the shared store are not read, or it accepts no new ones: cached verdicts are used for at most \
                 {blind_for:?}"
            );
        } else {
            record!(
                log::Level::Info, event = "store_read"; "the records of the shared store are read again"
            );
        }
    }

    /// Runs a task on the thread of the store.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = self.runtime.get() {
            drop(runtime.spawn(task));
        }
    }

    pub(super) fn lock_outbox(&self) -> std::sync::MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("store", &self.hook.store)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
