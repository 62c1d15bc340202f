//! The records of this process.

#[cfg(test)]
mod tests;

use std::sync::{
    Arc, LazyLock, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use super::{
    CLOCK_ALLOWANCE, Effect, Position, Record, RecordKey,
    effects::{Discard, Reject},
    table::Table,
};
use crate::clock::{Clock as _, SystemClock};

/// The records of this process, or of one shared store, for all issuers. They outlive a configuration and a tenant.
///
/// Requests read without a lock. The number of records is limited, for each effect. If the limit is reached, a record for
/// one token or user becomes one for all tokens of its issuer: no record that is in effect is dropped.
#[derive(Debug, Default)]
pub(crate) struct RevocationIndex {
    rejects: Table<Reject>,
    discards: Table<Discard>,
    /// The number of records so far. A token that no record concerned at one generation is not checked again until the
    /// generation changes.
    generation: AtomicU64,
    /// Whether the limit of revocations was reached, so that only the first record without a place is logged.
    is_full_of_rejects: AtomicBool,
    /// The same for evictions.
    is_full_of_discards: AtomicBool,
    /// The longest time by which the clock of an issuer is ahead, in seconds.
    skew: AtomicI64,
    /// The latest end of any record so far, in seconds since 1970.
    latest_end: AtomicI64,
    /// Locked while a record is added.
    adding: Mutex<()>,
}

/// The result of checking a token against the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No record concerns the token.
    Clear,
    /// The verdict was requested before a record that concerns the token. It must not be used.
    Stale,
    /// The token is revoked.
    Revoked,
}

/// The records of all configurations without a shared store.
static OF_PROCESS: LazyLock<Arc<RevocationIndex>> = LazyLock::new(Arc::default);

impl RevocationIndex {
    /// Returns the index that all configurations of this process share, unless they have a shared store.
    pub(crate) fn of_process() -> Arc<Self> {
        Arc::clone(&OF_PROCESS)
    }

    /// Takes into account that the clock of an issuer is ahead by these seconds.
    pub(crate) fn allow_skew(&self, seconds: i64) {
        self.skew.fetch_max(seconds, Ordering::Relaxed);
    }

    /// Returns the latest `iat` of tokens that were issued until now, by the clocks of all issuers.
    pub(crate) fn issued_until(&self, now: i64) -> i64 {
        now.saturating_add(self.skew.load(Ordering::Relaxed)).saturating_add(CLOCK_ALLOWANCE)
    }

    /// Returns the latest end of any record so far, in seconds since 1970.
    pub(crate) fn latest_end(&self) -> i64 {
        self.latest_end.load(Ordering::Relaxed)
    }

    /// Returns the number of records so far. A verdict is marked with the number that was current before its introspection
    /// request was sent.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns the number of records.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rejects.len() + self.discards.len()
    }

    /// Adds a record. From now on, every request is checked against it. `position` is that in the shared store. `capacity` is
    /// the number of records with this effect that the index may contain. `now` is in seconds since 1970, by the latest of the
    /// clocks that are known: if the index is full, tokens that were issued until then are revoked.
    ///
    /// A record of the shared store that changes nothing, because it was read before, is ignored: verdicts that were requested
    /// since then stay valid.
    pub(crate) fn add(&self, record: &Record, position: Option<Position>, capacity: usize, now: i64) {
        let _adding = self.lock();
        if position.is_some() && (record.until <= ended_before(now) || self.contains(record, position)) {
            return;
        }
        let (len, is_known, is_logged) = match record.effect {
            Effect::Reject => {
                (self.rejects.len(), self.rejects.get(record.key).is_some(), &self.is_full_of_rejects)
            }
            Effect::Discard => {
                (self.discards.len(), self.discards.get(record.key).is_some(), &self.is_full_of_discards)
            }
        };
        if len < capacity {
            is_logged.store(false, Ordering::Relaxed);
        }
        if len < capacity || is_known || record.key == RecordKey::everything() {
            return self.insert(record, position, now);
        }
        if !is_logged.swap(true, Ordering::Relaxed) {
            log_full(len, record.effect);
        }
        self.insert(&record.widened(self.issued_until(now)), position, now);
    }

    /// Discards all verdicts of this process, and those of the shared store whose replica had not read the records until this
    /// position. `until` is in seconds since 1970.
    pub(crate) fn discard_all(&self, position: Position, until: i64, now: i64) {
        let _adding = self.lock();
        self.insert_discard(RecordKey::everything(), Some(position), until, now);
    }

    /// Sets the position of a record that was added this number of times before it had one.
    pub(crate) fn set_position(&self, record: &Record, additions: u32, position: Position) {
        if record.effect == Effect::Discard {
            // Another record with this key may have no position yet.
            let later = |known: &Discard| Discard {
                position: known.position.max(position),
                unplaced: known.unplaced.saturating_sub(additions),
                ..*known
            };
            self.discards.update(record.key, later);
        }
    }

    fn contains(&self, record: &Record, position: Option<Position>) -> bool {
        match record.effect {
            Effect::Reject => {
                self.rejects.get(record.key).is_some_and(|known| known.covers(&record.reject()))
            }
            Effect::Discard => {
                self.discards.get(record.key).is_some_and(|known| known.covers(position, record.until))
            }
        }
    }

    fn insert(&self, record: &Record, position: Option<Position>, now: i64) {
        self.latest_end.fetch_max(record.until, Ordering::Relaxed);
        match record.effect {
            Effect::Reject => {
                self.rejects.insert(record.key, record.reject(), ended_before(now));
                self.advance();
            }
            Effect::Discard => self.insert_discard(record.key, position, record.until, now),
        }
    }

    fn insert_discard(&self, key: RecordKey, position: Option<Position>, until: i64, now: i64) {
        let generation = self.generation().saturating_add(1);
        let unplaced = u32::from(position.is_none());
        let discard =
            Discard { generation, at: now, position: position.unwrap_or_default(), unplaced, until };
        self.discards.insert(key, discard, ended_before(now));
        self.advance();
    }

    /// Changes the generation after a record is visible. A request that read the old generation is checked again later.
    fn advance(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Checks a token to which records with these keys can apply. Its verdict was requested at the generation `requested_at`.
    /// `now` is in seconds since 1970.
    pub(super) fn standing(
        &self,
        keys: impl Iterator<Item = RecordKey> + Clone,
        issued_at: Option<i64>,
        requested_at: u64,
        now: i64,
    ) -> Standing {
        if self.rejects.any(keys.clone(), |reject| reject.applies(issued_at, now)) {
            Standing::Revoked
        } else if self.discards(keys, requested_at, now) {
            Standing::Stale
        } else {
            Standing::Clear
        }
    }

    /// Returns whether a verdict is stale that was requested at this generation.
    pub(super) fn discards(
        &self,
        keys: impl Iterator<Item = RecordKey>,
        requested_at: u64,
        now: i64,
    ) -> bool {
        self.discards.any(keys, |discard| discard.applies(requested_at, now))
    }

    /// Returns whether a verdict of the shared store is stale. Its replica had read the records until `read_until` before it
    /// requested the verdict.
    pub(super) fn discards_stored(
        &self,
        keys: impl Iterator<Item = RecordKey>,
        read_until: Option<Position>,
        now: i64,
    ) -> bool {
        self.discards.any(keys, |discard| discard.applies_to_stored(read_until, now))
    }

    /// Returns whether a verdict is stale that was requested at this time, in seconds since 1970, by any process.
    pub(super) fn discards_since(
        &self,
        keys: impl Iterator<Item = RecordKey>,
        requested: i64,
        now: i64,
    ) -> bool {
        self.discards.any(keys, |discard| discard.until > now && discard.at >= requested)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        // The lock protects no data.
        self.adding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn reject(&self) -> Reject {
        Reject { issued_before: self.issued_before, until: self.until }
    }
}

/// Returns the time before which a record must have ended to be removed. A clock of the application may be ahead of that of
/// another configuration.
fn ended_before(now: i64) -> i64 {
    now.min(SystemClock::new().unix_time())
}

fn log_full(records: usize, effect: Effect) {
    let consequence = match effect {
        Effect::Reject => "revokes all tokens that were issued until then",
        Effect::Discard => "evicts all verdicts",
    };
    record!(
        log::Level::Error, event = "revocations_full", records;
        "there are too many revocation records ({records}): each further one {consequence} of its issuer"
    );
}
