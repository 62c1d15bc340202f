//! The thread that reads the records of the shared store.

use std::{
    io,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    time::{sleep, timeout},
};

use super::{
    Position, RecordBatch, Replica, StoreError,
    seal::{CurrentKeys, Place, Sealer},
};
use crate::revocation::{Effect, IssuerKey, Record, RecordKey};

/// The longest time for one read.
const READ: Duration = Duration::from_secs(2);

/// The time between two attempts to read after a failure.
const RETRY: Duration = Duration::from_millis(100);

/// Starts the thread. It ends when the replica is dropped.
pub(super) fn start(replica: &Arc<Replica>) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let replica = Arc::downgrade(replica);
    thread::Builder::new()
        .name("protect-api-store".into())
        .spawn(move || runtime.block_on(Reader::default().run(&replica)))?;
    Ok(handle)
}

/// Reads the records of the store in their order.
#[derive(Default)]
struct Reader {
    place: ReadPlace,
    /// The place before the first record that could not be decrypted, and the keys at that time.
    unreadable: Option<(ReadPlace, CurrentKeys)>,
    /// The start of the current failure on the monotonic clock.
    failing: Option<Duration>,
}

/// The place in the list of records until which this process has read.
#[derive(Clone, Copy, Default)]
struct ReadPlace {
    position: Option<Position>,
    /// The number of records that were ever appended, until that place; `None` before the first complete read.
    total: Option<u64>,
    /// The number of records of an incomplete read.
    pending: u64,
}

impl Reader {
    async fn run(mut self, replica: &Weak<Replica>) {
        loop {
            // The replica is not held while the thread waits, so that it can be dropped.
            let Some((store, started, appended)) = replica.upgrade().map(|replica| {
                self.return_to_unreadable(&replica.sealer);
                let appended = replica.lock_outbox().last_appended;
                (Arc::clone(replica.store()), replica.clock.monotonic(), appended)
            }) else {
                return;
            };
            let outcome = match timeout(READ, store.read(self.place.position)).await {
                Ok(outcome) => outcome,
                Err(elapsed) => Err(StoreError::new(elapsed)),
            };
            let Some(replica) = replica.upgrade() else { return };
            let returned = replica.clock.monotonic();
            let failed = match outcome {
                Ok(batch) => {
                    if let Some(failed) = self.failing.take() {
                        let (now, issued_until) = (replica.clock.unix_time(), replica.issued_until());
                        replica.lock_outbox().send_recent_again(failed, now, issued_until);
                    }
                    replica.compare_clocks(batch.unix_time);
                    let is_complete = self.take(&replica, &batch, appended);
                    if batch.is_read_only {
                        replica.warn(&StoreError::new("it accepts no new records (its memory may be full)"));
                    } else if is_complete {
                        replica.set_read(started, returned);
                    }
                    replica.send_unsent();
                    if usize::try_from(batch.length).is_ok_and(|length| length > replica.settings.max_records)
                    {
                        replica.widen().await;
                    }
                    false
                }
                Err(problem) => {
                    self.failing.get_or_insert(started);
                    replica.warn(&problem);
                    true
                }
            };
            replica.report();
            drop(replica);
            if failed {
                sleep(RETRY).await;
            }
        }
    }

    /// Applies the records, and checks that none is missing. `appended` is the position of a record that this process had appended
    /// before the read. Returns whether all records were read.
    fn take(&mut self, replica: &Replica, batch: &RecordBatch, appended: Option<Position>) -> bool {
        let now = replica.latest_time();
        let mut is_unreadable = false;
        for (position, sealed) in &batch.records {
            if let Some(record) = replica.open_record(sealed) {
                replica.index.add(&record, Some(*position), replica.settings.max_records, now);
            } else {
                is_unreadable = true;
                self.unreadable =
                    self.unreadable.take().or_else(|| Some((self.place, replica.sealer.keys()?)));
            }
            self.place.pending = self.place.pending.saturating_add(1);
            if self.place.position.is_some_and(|last| last >= *position) {
                self.lose(replica);
                return false;
            }
            self.place.position = Some(*position);
        }
        if is_unreadable {
            // It may concern any token.
            replica.discard_all(now);
        }
        if !batch.records.is_empty() && self.place.position < batch.end {
            return false;
        }
        if batch.end < appended || !self.is_complete(replica, batch) {
            self.lose(replica);
            return false;
        }
        self.place.total = Some(batch.total_appended);
        self.place.pending = 0;
        replica.set_read_until(self.place.position);
        true
    }

    /// Continues at the first record that could not be decrypted, if the keys have changed since.
    fn return_to_unreadable(&mut self, sealer: &Sealer) {
        if let Some((place, _)) = self.unreadable.take_if(|(_, keys)| sealer.have_changed(keys)) {
            self.place = place;
        }
    }

    /// Returns whether all records were read since the last complete read.
    fn is_complete(&self, replica: &Replica, batch: &RecordBatch) -> bool {
        let ReadPlace { position, total, pending } = self.place;
        let Some(total) = total else {
            let is_trimmed = batch.total_appended > batch.length
                && batch.oldest_age.is_some_and(|age| age < replica.settings.keep_for);
            if is_trimmed && replica.warnings.is_due() {
                record!(
                    log::Level::Warn, event = "store_records_incomplete";
                    "the shared store has records of a shorter time than revocation_lifetime: older revocations are not known \
                     to this process"
                );
            }
            return true;
        };
        position <= batch.end && total.checked_add(pending) == Some(batch.total_appended)
    }

    /// Starts again at the first record.
    fn lose(&mut self, replica: &Replica) {
        let failing = self.failing;
        *self = Self { failing, ..Self::default() };
        replica.lose();
    }
}

impl Replica {
    fn open_record(&self, sealed: &[u8]) -> Option<Record> {
        let plain = self.sealer.open(Place::Record, sealed, self.clock.monotonic())?;
        Record::from_bytes(&plain)
    }

    /// Revokes all tokens that were issued until now, and deletes the records before.
    async fn widen(&self) {
        let now = self.clock.unix_time();
        let until = now.saturating_add(i64::try_from(self.settings.keep_for.as_secs()).unwrap_or(i64::MAX));
        let record = Record {
            issuer: IssuerKey::NONE,
            key: RecordKey::everything(),
            effect: Effect::Reject,
            issued_before: Some(self.issued_until()),
            until,
        };
        let first = match self.append_bytes(&record).await {
            Ok(position) => position,
            Err(problem) => return self.warn(&problem),
        };
        record!(
            log::Level::Error, event = "store_records_full";
            "there are too many records in the shared store: all tokens that were issued until now are revoked"
        );
        if let Ok(Err(problem)) = timeout(READ, self.store().trim(first)).await {
            self.warn(&problem);
        }
    }
}
