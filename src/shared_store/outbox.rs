//! The records of this process, and their way into the shared store.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::{Position, Replica, StoreError, seal::Place};
use crate::revocation::{Effect, Record};

/// The longest time for which one append may take.
const APPEND: Duration = Duration::from_secs(2);

/// The number of records that are kept to be sent again.
const MAX_RECORDS: usize = 10_000;

/// The time for which a record is sent again after the connection was lost: a failover may have lost it.
const RECENT: Duration = Duration::from_secs(60);

/// The result of sending a record. The record is sent also if this is dropped.
pub(crate) type Sending = oneshot::Receiver<Result<(), StoreError>>;

/// Records of this process.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Records that could not be sent. The oldest is first.
    unsent: VecDeque<Unsent>,
    /// Records that were sent, with the time on the monotonic clock.
    sent: VecDeque<(Record, Duration)>,
    /// Whether a task sends the unsent records.
    is_sending: bool,
    /// The position of the last record that this process has appended.
    pub(super) last_appended: Option<Position>,
}

/// A record that could not be sent.
#[derive(Clone, Copy)]
struct Unsent {
    record: Record,
    /// Whether the record in the index of this process has a position, because it was sent before.
    has_position: bool,
}

impl Outbox {
    /// `issued_until` is the time until which tokens of a widened record were issued.
    fn push_unsent(&mut self, unsent: Unsent, issued_until: i64) {
        if self.unsent.len() >= MAX_RECORDS {
            self.widen(issued_until);
        }
        self.unsent.push_back(unsent);
    }

    /// Replaces the unsent records by one for each issuer and effect, which has at least the same effect.
    fn widen(&mut self, issued_until: i64) {
        let mut widened = BTreeMap::new();
        for Unsent { record, .. } in self.unsent.drain(..) {
            let all = record.widened(issued_until);
            let kept = widened.entry((record.issuer, record.effect == Effect::Reject)).or_insert(all);
            kept.until = kept.until.max(all.until);
            kept.issued_before = kept.issued_before.max(all.issued_before);
        }
        // Their positions are not those of the records that they replace.
        self.unsent.extend(widened.into_values().map(|record| Unsent { record, has_position: true }));
    }

    fn push_sent(&mut self, record: Record, at: Duration) {
        if self.sent.len() >= MAX_RECORDS {
            self.sent.pop_front();
        }
        self.sent.push_back((record, at));
    }

    /// Sends all records of this process that are in effect again.
    pub(super) fn send_all_again(&mut self, now: i64, issued_until: i64) {
        self.last_appended = None;
        let sent: Vec<_> = self.sent.drain(..).map(|(record, _)| record).collect();
        for record in sent.into_iter().filter(|record| record.until > now) {
            self.push_unsent(Unsent { record, has_position: true }, issued_until);
        }
    }

    /// Sends the records again that were sent in the last minute before this time on the monotonic clock.
    pub(super) fn send_recent_again(&mut self, failed: Duration, now: i64, issued_until: i64) {
        let recent = |at: &Duration| *at >= failed.saturating_sub(RECENT);
        let again: Vec<_> =
            self.sent.iter().filter(|(_, at)| recent(at)).map(|(record, _)| *record).collect();
        self.sent.retain(|(_, at)| !recent(at));
        for record in again.into_iter().filter(|record| record.until > now) {
            self.push_unsent(Unsent { record, has_position: true }, issued_until);
        }
    }
}

impl Replica {
    /// Sends a record, which this process has applied, to the other replicas. If the store fails, the record is sent later.
    pub(crate) fn send(self: &Arc<Self>, record: Record) -> Sending {
        let (done, outcome) = oneshot::channel();
        let this = Arc::clone(self);
        self.spawn(async move {
            let unsent = Unsent { record, has_position: false };
            let sent = this.append(&unsent).await;
            if sent.is_err() {
                this.lock_outbox().push_unsent(unsent, this.issued_until());
            }
            // The caller may not wait for it.
            let _ = done.send(sent);
        });
        outcome
    }

    async fn append(&self, Unsent { record, has_position }: &Unsent) -> Result<(), StoreError> {
        let position = self.append_bytes(record).await.inspect_err(|problem| self.warn_unsent(problem))?;
        if !has_position {
            self.index.set_position(record, position);
        }
        let mut outbox = self.lock_outbox();
        outbox.last_appended = outbox.last_appended.max(Some(position));
        outbox.push_sent(*record, self.clock.monotonic());
        Ok(())
    }

    pub(super) async fn append_bytes(&self, record: &Record) -> Result<Position, StoreError> {
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
            let Some(unsent) = self.lock_outbox().unsent.pop_front() else { return };
            if unsent.record.until > self.clock.unix_time() && self.append(&unsent).await.is_err() {
                self.lock_outbox().unsent.push_front(unsent);
                return;
            }
        }
    }
}
