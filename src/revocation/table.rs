//! A bounded table of records with one effect.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use quick_cache::DefaultHashBuilder;

use super::RecordKey;

/// The maximum number of ended records that one new record removes, so that no call takes long.
const REMOVED_AT_ONCE: usize = 64;

/// The value of a record.
pub(super) trait RecordValue: Copy {
    /// Returns the value of two records with the same key. It is never weaker than one of them.
    fn and(self, other: Self) -> Self;

    /// Returns the time at which the record ends, in seconds since 1970.
    fn until(&self) -> i64;
}

/// The records, by their keys. Readers take no lock.
pub(super) struct Table<V> {
    records: papaya::HashMap<RecordKey, V, DefaultHashBuilder>,
    /// One bit for each kind of record that was added. Most applications use one or two kinds, and a token is compared with
    /// these only.
    kinds: AtomicU8,
    /// The time at which each record ends. It may be earlier than the actual one. Locked while the records change.
    ends: Mutex<Ends>,
}

/// The keys of the records, by the time at which the records end. The earliest is first.
type Ends = BinaryHeap<Reverse<(i64, RecordKey)>>;

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self {
            records: papaya::HashMap::with_hasher(DefaultHashBuilder::default()),
            kinds: AtomicU8::new(0),
            ends: Mutex::default(),
        }
    }
}

impl<V: RecordValue> Table<V> {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    #[cfg(test)]
    pub(super) fn number_of_ends(&self) -> usize {
        self.lock().len()
    }

    /// Returns the value of a record.
    pub(super) fn get(&self, key: RecordKey) -> Option<V> {
        self.records.pin().get(&key).copied()
    }

    /// Returns whether a value of one of these keys fulfils the condition.
    pub(super) fn any(
        &self,
        keys: impl IntoIterator<Item = RecordKey>,
        condition: impl Fn(&V) -> bool,
    ) -> bool {
        let kinds = self.kinds.load(Ordering::Acquire);
        if kinds == 0 {
            return false;
        }
        let records = self.records.pin();
        let mut keys = keys.into_iter().filter(|key| key.kind_bit() & kinds != 0);
        keys.any(|key| records.get(&key).is_some_and(&condition))
    }

    /// Adds a record. Removes records that ended before `now`.
    pub(super) fn insert(&self, key: RecordKey, value: V, now: i64) {
        let mut ends = self.lock();
        self.remove_ended(&mut ends, now);
        let records = self.records.pin();
        if records.get(&key).is_none() {
            ends.push(Reverse((value.until(), key)));
        }
        records.update_or_insert(key, |known| known.and(value), value);
        self.kinds.fetch_or(key.kind_bit(), Ordering::Release);
    }

    /// Changes the value of a record, if it exists.
    pub(super) fn update(&self, key: RecordKey, change: impl Fn(&V) -> V) {
        let _changing = self.lock();
        let _updated = self.records.pin().update(key, change);
    }

    fn remove_ended(&self, ends: &mut Ends, now: i64) {
        let records = self.records.pin();
        for _ in 0..REMOVED_AT_ONCE {
            let has_ended = |Reverse((until, _)): &Reverse<(i64, RecordKey)>| *until <= now;
            if !ends.peek().is_some_and(has_ended) {
                break;
            }
            let Some(Reverse((_, key))) = ends.pop() else { break };
            match records.get(&key).map(RecordValue::until) {
                // A later record with the same key has extended it.
                Some(until) if until > now => ends.push(Reverse((until, key))),
                Some(_) => drop(records.remove(&key)),
                None => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ends> {
        // No code panics while it holds the lock. Even after a panic the value would be consistent.
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints only the number.
impl<V> fmt::Debug for Table<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("records", &self.records.len()).finish_non_exhaustive()
    }
}
