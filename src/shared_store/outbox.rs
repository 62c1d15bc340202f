//! The records of this process, and their way into the shared store.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{Position, Replica, StoreError, seal::Place};
use crate::revocation::{Record, RecordId};

/// The longest time for which one append may take.
const APPEND: Duration = Duration::from_secs(2);

/// The number of records that are kept to be sent again.
const MAX_RECORDS: usize = 10_000;

/// The time for which a record is sent again after the connection was lost: a failover may have lost it.
const RECENT: Duration = Duration::from_secs(60);

/// The result of sending a record. The record is sent also if this is dropped.
pub(crate) type Sending = oneshot::Receiver<Result<(), StoreError>>;

/// Records of this process. Equal ones are combined, so that repeated revocations need one place.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Records that could not be sent, or must be sent again.
    unsent: BTreeMap<RecordId, Unsent>,
    /// Records that were sent.
    sent: BTreeMap<RecordId, Sent>,
    /// Whether a task sends the unsent records.
    is_sending: bool,
    /// The position of the last record that this process has appended.
    pub(super) last_appended: Option<Position>,
    /// The positions of appended records that this process has not read yet. A read that passes one shows that it was lost.
    unread: BTreeSet<Position>,
    /// The number of appends that run.
    appending: usize,
    /// The positions that were read while an append ran. Its record may be read before its position is known.
    read_meanwhile: BTreeSet<Position>,
}

/// A record that could not be sent, or must be sent again.
#[derive(Clone, Copy)]
struct Unsent {
    record: Record,
    /// The number of its additions to the index of this process without a position.
    additions: u32,
    /// The time at which it was sent first, if it is sent again.
    first_sent: Option<Duration>,
}

/// A record that was sent.
#[derive(Clone, Copy)]
struct Sent {
    record: Record,
    /// The time at which it was sent first, on the monotonic clock.
    at: Duration,
    position: Position,
}

impl Unsent {
    fn and(self, other: Self) -> Self {
        Self {
            record: self.record.and(&other.record),
            additions: self.additions.saturating_add(other.additions),
            first_sent: self.first_sent.zip(other.first_sent).map(|(one, other)| one.max(other)),
        }
    }
}

impl Outbox {
    /// `issued_until` is the time until which tokens of a widened record were issued.
    fn push_unsent(&mut self, unsent: Unsent, issued_until: i64) {
        let id = unsent.record.id();
        let known = self.unsent.remove(&id);
        if self.unsent.len() >= MAX_RECORDS {
            self.widen(issued_until);
        }
        self.unsent.insert(id, known.map_or(unsent, |known| known.and(unsent)));
    }

    /// Replaces the unsent records by one for each issuer and effect, which has at least the same effect.
    fn widen(&mut self, issued_until: i64) {
        let mut widened = BTreeMap::<RecordId, Unsent>::new();
        for unsent in mem::take(&mut self.unsent).into_values() {
            let record = unsent.record.widened(issued_until);
            // Its position is not that of the records that it replaces.
            let all = Unsent { record, additions: 0, first_sent: None };
            widened.entry(record.id()).and_modify(|known| *known = known.and(all)).or_insert(all);
        }
        self.unsent = widened;
    }

    fn push_sent(&mut self, new: Sent) {
        let id = new.record.id();
        let combined = self.sent.get(&id).map_or(new, |known| Sent {
            record: known.record.and(&new.record),
            at: known.at.max(new.at),
            position: known.position.max(new.position),
        });
        self.sent.insert(id, combined);
        if self.sent.len() > MAX_RECORDS {
            let oldest = self.sent.iter().min_by_key(|(_, sent)| sent.at).map(|(id, _)| *id);
            oldest.and_then(|id| self.sent.remove(&id));
        }
    }

    /// Keeps this record, which revokes all tokens, in the place of those that it covers, and of those before it: they are deleted.
    pub(super) fn replace_covered(&mut self, all: &Record, position: Position, at: Duration) {
        let is_replaced = |sent: &Sent| {
            all.covers(&sent.record) || (sent.position < position && sent.record.until <= all.until)
        };
        self.unsent.retain(|_, unsent| !all.covers(&unsent.record));
        self.sent.retain(|id, sent| *id == all.id() || !is_replaced(sent));
        let at = self.sent.get(&all.id()).map_or(at, |known| known.at);
        self.push_sent(Sent { record: *all, at, position });
    }

    /// Sends all records of this process that are in effect again.
    pub(super) fn send_all_again(&mut self, now: i64, issued_until: i64) {
        self.last_appended = None;
        self.unread.clear();
        self.read_meanwhile.clear();
        self.send_again(|_| true, now, issued_until);
    }

    /// Sends the records again that were first sent in the last minute before this time on the monotonic clock.
    pub(super) fn send_recent_again(&mut self, failed: Duration, now: i64, issued_until: i64) {
        self.send_again(|at| at >= failed.saturating_sub(RECENT), now, issued_until);
    }

    /// Moves sent records to the unsent ones: the newest of them, so that they cause no widening.
    fn send_again(&mut self, condition: impl Fn(Duration) -> bool, now: i64, issued_until: i64) {
        let (again, kept): (BTreeMap<_, _>, _) =
            mem::take(&mut self.sent).into_iter().partition(|(_, sent)| condition(sent.at));
        self.sent = kept;
        let mut again: Vec<_> = again.into_values().filter(|sent| sent.record.until > now).collect();
        again.sort_unstable_by_key(|sent| Reverse(sent.at));
        again.truncate(MAX_RECORDS.saturating_sub(self.unsent.len()));
        for Sent { record, at, .. } in again {
            self.push_unsent(Unsent { record, additions: 0, first_sent: Some(at) }, issued_until);
        }
    }

    fn begin_append(&mut self) {
        self.appending = self.appending.saturating_add(1);
    }

    /// Records that an append has ended, with the position of its record.
    fn end_append(&mut self, position: Option<Position>) {
        self.appending = self.appending.saturating_sub(1);
        if let Some(position) = position {
            self.last_appended = self.last_appended.max(Some(position));
            if !self.read_meanwhile.remove(&position) {
                self.unread.insert(position);
            }
        }
        if self.appending == 0 {
            self.read_meanwhile.clear();
        }
        drop_oldest(&mut self.unread);
    }

    /// Records that a record was read.
    pub(super) fn mark_read(&mut self, position: Position) {
        if !self.unread.remove(&position) && self.appending > 0 {
            self.read_meanwhile.insert(position);
            drop_oldest(&mut self.read_meanwhile);
        }
    }

    /// Returns whether a record of this process is missing in the list, which was read until this position.
    pub(super) fn misses_record(&self, read_until: Option<Position>) -> bool {
        self.unread.first().is_some_and(|first| Some(*first) <= read_until)
    }
}

fn drop_oldest(positions: &mut BTreeSet<Position>) {
    if positions.len() > MAX_RECORDS {
        positions.pop_first();
    }
}

impl Replica {
    /// Sends a record, which this process has applied, to the other replicas. If the store fails, the record is sent later.
    pub(crate) fn send(self: &Arc<Self>, record: Record) -> Sending {
        let (done, outcome) = oneshot::channel();
        let this = Arc::clone(self);
        self.spawn(async move {
            let unsent = Unsent { record, additions: 1, first_sent: None };
            let sent = this.append(&unsent).await;
            if sent.is_err() {
                this.lock_outbox().push_unsent(unsent, this.issued_until());
            }
            // The caller may not wait for it.
            let _ = done.send(sent);
        });
        outcome
    }

    async fn append(&self, unsent: &Unsent) -> Result<(), StoreError> {
        let Unsent { record, additions, first_sent } = unsent;
        self.lock_outbox().begin_append();
        let outcome = self.append_bytes(record).await;
        let mut outbox = self.lock_outbox();
        outbox.end_append(outcome.as_ref().ok().copied());
        match outcome {
            Ok(position) => {
                let at = first_sent.unwrap_or_else(|| self.clock.monotonic());
                outbox.push_sent(Sent { record: *record, at, position });
                drop(outbox);
                self.index.set_position(record, *additions, position);
                Ok(())
            }
            Err(problem) => {
                drop(outbox);
                self.warn_unsent(&problem);
                Err(problem)
            }
        }
    }

    /// Appends a record that has no additions to the index of this process yet.
    pub(super) async fn append_new(&self, record: Record) -> Result<(), StoreError> {
        self.append(&Unsent { record, additions: 0, first_sent: None }).await
    }

    async fn append_bytes(&self, record: &Record) -> Result<Position, StoreError> {
        let sealed = self.sealer.seal(Place::Record, &record.to_bytes())?;
        let left = u64::try_from(record.until.saturating_sub(self.clock.unix_time())).unwrap_or(0);
        let keep_for = self.settings.keep_for.max(Duration::from_secs(left));
        match timeout(APPEND, self.store().append(&sealed, keep_for)).await {
            Ok(outcome) => outcome,
            Err(elapsed) => Err(StoreError::new(elapsed)),
        }
    }

    /// Sends the records that could not be sent before, in the background, so that a slow store does not delay the next read.
    pub(super) fn send_unsent(self: &Arc<Self>) {
        let mut outbox = self.lock_outbox();
        if outbox.unsent.is_empty() || mem::replace(&mut outbox.is_sending, true) {
            return;
        }
        drop(outbox);
        let this = Arc::clone(self);
        self.spawn(async move {
            this.send_each().await;
            this.lock_outbox().is_sending = false;
        });
    }

    /// Sends unsent records until one fails.
    async fn send_each(&self) {
        loop {
            let Some((_, unsent)) = self.lock_outbox().unsent.pop_first() else { return };
            if unsent.record.until > self.clock.unix_time() && self.append(&unsent).await.is_err() {
                let issued_until = self.issued_until();
                return self.lock_outbox().push_unsent(unsent, issued_until);
            }
        }
    }
}
