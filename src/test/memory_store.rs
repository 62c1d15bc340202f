//! A shared store in memory, for several configurations in one test.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use crate::{
    Clock,
    cache::CacheKey,
    shared_store::{Position, RecordBatch, SharedStore, StoreEntry, StoreError, StoreFuture},
};

/// The longest time that a read waits for a record.
const WAIT: Duration = Duration::from_millis(250);

/// A [`SharedStore`] in memory, with faults. A clone is the same store. Feature `test-util`; not for production.
///
/// ```
/// use actix_protect_api::test::MemoryStore;
///
/// let store = MemoryStore::new();
/// store.set_available(false); // every operation fails
/// store.set_available(true);
/// store.lose_everything(); // as after the failover to an empty replica
/// ```
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Shared>);

#[derive(Default)]
struct Shared {
    content: Mutex<Content>,
    appended: Notify,
}

#[derive(Default)]
struct Content {
    entries: HashMap<CacheKey, Entry>,
    records: Vec<Appended>,
    total_appended: u64,
    /// The position of the last record. It survives the loss of the records.
    last: u64,
    is_unavailable: bool,
    is_list_unavailable: bool,
    is_read_only: bool,
    delay: Duration,
    clock: Option<Arc<dyn Clock>>,
}

struct Entry {
    /// `None` for a claim.
    verdict: Option<Vec<u8>>,
    expires: Instant,
}

#[derive(Clone, Copy)]
enum Access {
    ReadVerdict,
    WriteVerdict,
    ReadRecords,
    WriteRecords,
}

struct Appended {
    number: u64,
    at: Instant,
    record: Vec<u8>,
}

impl MemoryStore {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets every operation fail (`false`) or succeed again (`true`).
    pub fn set_available(&self, is_available: bool) {
        self.content().is_unavailable = !is_available;
    }

    /// Lets only the operations on records fail (`false`) or succeed again (`true`).
    pub fn set_records_available(&self, are_available: bool) {
        self.content().is_list_unavailable = !are_available;
    }

    /// Lets every operation fail that writes (`true`), as Redis does when its memory is full, or succeed again (`false`).
    pub fn set_read_only(&self, is_read_only: bool) {
        self.content().is_read_only = is_read_only;
    }

    /// Delays every operation by this time.
    pub fn set_delay(&self, delay: Duration) {
        self.content().delay = delay;
    }

    /// Sets the clock of the store, as Redis has one. Default: none.
    pub fn set_clock(&self, clock: impl Clock + 'static) {
        self.content().clock = Some(Arc::new(clock));
    }

    /// Deletes all verdicts, claims and records, and the number of records, as `FLUSHALL` does in Redis.
    pub fn lose_everything(&self) {
        let mut content = self.content();
        content.entries.clear();
        content.records.clear();
        content.total_appended = 0;
    }

    /// Deletes the newest records, as a failover to a replica that lags behind does. The next record gets a later
    /// position.
    pub fn lose_last_records(&self, count: usize) {
        let mut content = self.content();
        let kept = content.records.len().saturating_sub(count);
        let lost = content.records.split_off(kept).len();
        content.total_appended =
            content.total_appended.saturating_sub(u64::try_from(lost).unwrap_or(u64::MAX));
    }

    /// Returns the verdicts in the store: their keys as hexadecimal digits, and the stored bytes.
    pub fn verdicts(&self) -> Vec<(String, Vec<u8>)> {
        let now = Instant::now();
        let content = self.content();
        let live = content.entries.iter().filter(|(_, entry)| entry.expires > now);
        live.filter_map(|(key, entry)| Some((key.to_hex(), entry.verdict.clone()?))).collect()
    }

    /// Replaces the bytes of every verdict in the store: the argument is the key as hexadecimal digits and the bytes.
    pub fn replace_verdicts(&self, replace: impl Fn(&str, &[u8]) -> Vec<u8>) {
        for (key, entry) in &mut self.content().entries {
            if let Some(verdict) = &mut entry.verdict {
                *verdict = replace(&key.to_hex(), verdict);
            }
        }
    }

    /// Returns the records in the store, as they were stored.
    pub fn records(&self) -> Vec<Vec<u8>> {
        self.content().records.iter().map(|appended| appended.record.clone()).collect()
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the configured delay. Fails if the store is unavailable, or if it is read-only and the access writes.
    async fn reach(&self, access: Access) -> Result<(), StoreError> {
        let delay = self.content().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let content = self.content();
        let needs_list = matches!(access, Access::ReadRecords | Access::WriteRecords);
        if content.is_unavailable || (needs_list && content.is_list_unavailable) {
            return Err(StoreError::new("the store is unavailable"));
        }
        if content.is_read_only && matches!(access, Access::WriteVerdict | Access::WriteRecords) {
            return Err(StoreError::new("the store is read-only"));
        }
        Ok(())
    }

    fn batch(&self, after: Option<Position>) -> RecordBatch {
        let content = self.content();
        let after = after.map_or(0, Position::high);
        let position = |number| Position::new(number, 0);
        let records = content.records.iter().filter(|appended| appended.number > after);
        RecordBatch {
            records: records.map(|entry| (position(entry.number), entry.record.clone())).collect(),
            end: (content.total_appended > 0)
                .then(|| position(content.records.last().map_or(0, |last| last.number))),
            total_appended: content.total_appended,
            length: u64::try_from(content.records.len()).unwrap_or(u64::MAX),
            oldest_age: content.records.first().map(|first| first.at.elapsed()),
            unix_time: content.clock.as_ref().map(|clock| clock.unix_time()),
            is_read_only: content.is_read_only,
        }
    }
}

impl Content {
    fn live(&self, key: &CacheKey) -> Option<StoreEntry> {
        let entry = self.entries.get(key).filter(|entry| entry.expires > Instant::now())?;
        Some(entry.verdict.clone().map_or(StoreEntry::Busy, StoreEntry::Found))
    }
}

impl SharedStore for MemoryStore {
    fn get_or_claim<'a>(&'a self, key: &'a CacheKey, lifetime: Duration) -> StoreFuture<'a, StoreEntry> {
        Box::pin(async move {
            self.reach(Access::WriteVerdict).await?;
            let mut content = self.content();
            if let Some(entry) = content.live(key) {
                return Ok(entry);
            }
            content.entries.insert(*key, Entry { verdict: None, expires: Instant::now() + lifetime });
            Ok(StoreEntry::Claimed)
        })
    }

    fn get<'a>(&'a self, key: &'a CacheKey) -> StoreFuture<'a, Option<StoreEntry>> {
        Box::pin(async move {
            self.reach(Access::ReadVerdict).await?;
            Ok(self.content().live(key))
        })
    }

    fn put<'a>(&'a self, key: &'a CacheKey, verdict: &'a [u8], lifetime: Duration) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.reach(Access::WriteVerdict).await?;
            let entry = Entry { verdict: Some(verdict.to_vec()), expires: Instant::now() + lifetime };
            self.content().entries.insert(*key, entry);
            Ok(())
        })
    }

    fn remove<'a>(&'a self, key: &'a CacheKey) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            self.reach(Access::WriteVerdict).await?;
            self.content().entries.remove(key);
            Ok(())
        })
    }

    fn append<'a>(&'a self, record: &'a [u8], _keep_for: Duration) -> StoreFuture<'a, Position> {
        Box::pin(async move {
            self.reach(Access::WriteRecords).await?;
            let mut content = self.content();
            content.last += 1;
            content.total_appended += 1;
            let number = content.last;
            content.records.push(Appended { number, at: Instant::now(), record: record.to_vec() });
            drop(content);
            self.0.appended.notify_waiters();
            Ok(Position::new(number, 0))
        })
    }

    fn read(&self, after: Option<Position>) -> StoreFuture<'_, RecordBatch> {
        Box::pin(async move {
            let appended = self.0.appended.notified();
            tokio::pin!(appended);
            // Registered before the records are read, so that no record is missed.
            appended.as_mut().enable();
            self.reach(Access::ReadRecords).await?;
            if self.batch(after).records.is_empty() {
                let _is_appended = tokio::time::timeout(WAIT, appended).await;
                self.reach(Access::ReadRecords).await?;
            }
            Ok(self.batch(after))
        })
    }

    fn trim(&self, before: Position) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.reach(Access::WriteRecords).await?;
            self.content().records.retain(|appended| appended.number >= before.high());
            Ok(())
        })
    }
}

/// Does not print the content.
impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn one_of_several_callers_gets_the_claim_and_the_others_get_the_verdict() {
        let (store, key, minute) = (MemoryStore::new(), CacheKey::numbered(1), Duration::from_secs(60));
        assert_eq!(store.get(&key).await.unwrap(), None);
        assert_eq!(store.get_or_claim(&key, minute).await.unwrap(), StoreEntry::Claimed);
        assert_eq!(store.get_or_claim(&key, minute).await.unwrap(), StoreEntry::Busy);
        assert_eq!(store.get(&key).await.unwrap(), Some(StoreEntry::Busy));
        store.put(&key, b"v", minute).await.unwrap();
        assert_eq!(store.get_or_claim(&key, minute).await.unwrap(), StoreEntry::Found(b"v".into()));
        store.remove(&key).await.unwrap();
        assert_eq!(store.get_or_claim(&key, Duration::ZERO).await.unwrap(), StoreEntry::Claimed);
        assert_eq!(store.get_or_claim(&key, minute).await.unwrap(), StoreEntry::Claimed);
    }

    #[actix_web::test]
    async fn records_are_read_in_order_and_a_loss_is_visible() {
        let store = MemoryStore::new();
        assert_eq!(store.read(None).await.unwrap().end, None);
        for record in [b"1", b"2", b"3"] {
            store.append(record, Duration::MAX).await.unwrap();
        }
        let batch = store.read(Some(Position::new(1, 0))).await.unwrap();
        assert_eq!(
            batch.records.iter().map(|(_, record)| record.as_slice()).collect::<Vec<_>>(),
            [b"2", b"3"]
        );
        assert_eq!((batch.total_appended, batch.length, batch.end), (3, 3, Some(Position::new(3, 0))));
        store.lose_last_records(1);
        let batch = store.read(batch.end).await.unwrap();
        assert_eq!((batch.total_appended, batch.end), (2, Some(Position::new(2, 0))));
        store.trim(Position::new(2, 0)).await.unwrap();
        assert_eq!(store.records(), [b"2"]);
        store.lose_everything();
        assert_eq!(store.read(None).await.unwrap(), RecordBatch::default());
    }

    #[actix_web::test]
    async fn an_unavailable_store_fails() {
        let store = MemoryStore::new();
        store.set_records_available(false);
        store.get(&CacheKey::numbered(1)).await.unwrap();
        store.append(b"1", Duration::MAX).await.unwrap_err();
        store.set_available(false);
        store.get(&CacheKey::numbered(1)).await.unwrap_err();
    }
}
