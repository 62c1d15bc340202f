//! The thread that reads the records of the shared store.

use std::{
    collections::BTreeSet,
    io, mem,
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

/// The longest time between two reads, if each read shows that records are missing.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
    /// The place before which records must be deleted: there were too many, and all tokens that were issued until then are revoked.
    trim_before: Option<Position>,
    /// The places of records that revoke all tokens. Each replica may have added one.
    all_revoked: BTreeSet<Position>,
    /// The number of losses that followed each other.
    losses: u32,
    /// Whether there was no complete read since the last loss.
    was_just_lost: bool,
}

/// The result of a read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// All records were read.
    Complete,
    /// There are further records.
    Partial,
    /// Records are missing.
    Lost,
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
            let progress = match outcome {
                Ok(batch) => {
                    if let Some(failed) = self.failing.take() {
                        let (now, issued_until) = (replica.clock.unix_time(), replica.issued_until());
                        replica.lock_outbox().send_recent_again(failed, now, issued_until);
                    }
                    replica.compare_clocks(batch.unix_time);
                    let progress = self.take(&replica, &batch, appended);
                    if batch.is_read_only {
                        replica.warn(&StoreError::new(
                            "it accepts no new records: its memory may be full, or a permission is missing",
                        ));
                    } else if progress == Progress::Complete {
                        replica.set_read(started, returned);
                    }
                    if progress == Progress::Complete {
                        replica.send_unsent();
                        self.limit_records(&replica, &batch).await;
                    }
                    Some(progress)
                }
                Err(problem) => {
                    self.failing.get_or_insert(started);
                    replica.warn(&problem);
                    None
                }
            };
            replica.report();
            drop(replica);
            let pause = self.pause(progress);
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }

    /// Applies the records, and checks that none is missing. `appended` is the position of a record that this process had appended
    /// before the read.
    fn take(&mut self, replica: &Replica, batch: &RecordBatch, appended: Option<Position>) -> Progress {
        let now = replica.latest_time();
        let mut unreadable = None;
        for (position, sealed) in &batch.records {
            replica.lock_outbox().mark_read(*position);
            if let Some(record) = replica.open_record(sealed) {
                replica.index.add(&record, Some(*position), replica.settings.max_records, now);
                if record.is_for_everything() {
                    self.all_revoked.insert(*position);
                    replica.lock_outbox().replace_covered(&record, *position, replica.clock.monotonic());
                }
            } else {
                unreadable = Some(*position);
                self.unreadable =
                    self.unreadable.take().or_else(|| Some((self.place, replica.sealer.keys()?)));
            }
            self.place.pending = self.place.pending.saturating_add(1);
            if self.place.position.is_some_and(|last| last >= *position) {
                return self.lose(replica);
            }
            self.place.position = Some(*position);
        }
        if let Some(position) = unreadable {
            // It may concern any token.
            replica.discard_all(position, now);
        }
        if !batch.records.is_empty() && self.place.position < batch.end {
            return Progress::Partial;
        }
        let is_missing = batch.end < appended || replica.lock_outbox().misses_record(self.place.position);
        if is_missing || !self.is_complete(replica, batch) {
            return self.lose(replica);
        }
        self.place.total = Some(batch.total_appended);
        self.place.pending = 0;
        replica.set_read_until(self.place.position);
        Progress::Complete
    }

    /// Continues at the first record that could not be decrypted, if the keys have changed since.
    fn return_to_unreadable(&mut self, sealer: &Sealer) {
        if let Some((place, _)) = self.unreadable.take_if(|(_, keys)| sealer.have_changed(keys)) {
            // Records may have been deleted since, so the number of records is not compared.
            self.place = ReadPlace { total: None, ..place };
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
    fn lose(&mut self, replica: &Replica) -> Progress {
        let Self { failing, losses, .. } = *self;
        let losses = losses.saturating_add(1);
        *self = Self { failing, losses, was_just_lost: true, ..Self::default() };
        replica.lose();
        Progress::Lost
    }

    /// If there are too many records, revokes all tokens that were issued until now, and deletes the records before, which were
    /// read.
    async fn limit_records(&mut self, replica: &Replica, batch: &RecordBatch) {
        let length = usize::try_from(batch.length).unwrap_or(usize::MAX);
        if length.saturating_sub(self.all_revoked.len()) <= replica.settings.max_records {
            self.trim_before = None;
            return;
        }
        if self.trim_before.is_none() {
            let read = self.place.position;
            if replica.revoke_all().await.is_err() {
                return;
            }
            self.trim_before = read;
        }
        let Some(position) = self.trim_before else { return };
        match timeout(READ, replica.store().trim(position)).await {
            Ok(Ok(())) => {
                self.trim_before = None;
                self.all_revoked = self.all_revoked.split_off(&position);
            }
            Ok(Err(problem)) => replica.warn(&problem),
            Err(elapsed) => replica.warn(&StoreError::new(elapsed)),
        }
    }

    /// Returns the pause after a read.
    fn pause(&mut self, progress: Option<Progress>) -> Duration {
        match progress {
            Some(Progress::Complete) => {
                // The first complete read after a loss proves nothing: the next one may show another loss.
                if !mem::take(&mut self.was_just_lost) {
                    self.losses = 0;
                }
                Duration::ZERO
            }
            Some(Progress::Partial) => Duration::ZERO,
            Some(Progress::Lost) => {
                RETRY.saturating_mul(2_u32.saturating_pow(self.losses)).min(LONGEST_PAUSE)
            }
            None => RETRY,
        }
    }
}

impl Replica {
    fn open_record(&self, sealed: &[u8]) -> Option<Record> {
        let plain = self.sealer.open(Place::Record, sealed, self.clock.monotonic())?;
        Record::from_bytes(&plain)
    }

    /// Revokes all tokens that were issued until now, for as long as any record is in effect.
    async fn revoke_all(&self) -> Result<(), StoreError> {
        let until = self.clock.unix_time().saturating_add(self.keep_for_seconds());
        let record = Record {
            issuer: IssuerKey::NONE,
            key: RecordKey::everything(),
            effect: Effect::Reject,
            issued_before: Some(self.issued_until()),
            until: until.max(self.index.latest_end()),
        };
        self.append_new(record).await?;
        record!(
            log::Level::Error, event = "store_records_full";
            "there are too many records in the shared store: all tokens that were issued until now are revoked"
        );
        Ok(())
    }
}
