//! The store.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_protect_api::{
    StoreError,
    cache::CacheKey,
    shared_store::{Position, RecordBatch, SharedStore, StoreEntry, StoreFuture},
};
use redis::{Cmd, Value, cmd};

use crate::{
    address::{Address, AddressError},
    connection::Slot,
    driver::Driver,
    stream::{self, Over},
};

/// The longest time for one command. After it, the connection is replaced.
const COMMAND: Duration = Duration::from_millis(500);

/// The longest time that a read waits for a record.
const WAIT: Duration = Duration::from_millis(250);

/// The interval between two deletions of old records by one process.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);

/// The first byte of a stored verdict.
const VERDICT: u8 = b'v';

/// The value of a claimed key.
const CLAIM: &[u8] = b"c";

/// A [`SharedStore`] in Redis or Valkey. A clone is the same store and uses the same connections.
///
/// Connections are made when they are first needed, by a background thread. A server that cannot be reached is an error
/// of each operation, until it can be reached again. `Debug` does not print the address, which may contain a password.
#[derive(Clone)]
pub struct RedisStore {
    inner: Arc<Inner>,
    prefix: Arc<str>,
}

struct Inner {
    driver: Driver,
    address: Arc<Address>,
    commands: Arc<Slot>,
    /// Waits for records, so it is not used for anything else.
    reader: Arc<Slot>,
    trimmed: Arc<Mutex<Option<Instant>>>,
}

impl RedisStore {
    /// Uses one server: `redis://user:password@host:6379/0`, with TLS `rediss://…`, or `unix:///path`. Does not connect.
    ///
    /// # Errors
    /// The address is malformed.
    pub fn open(url: &str) -> Result<Self, AddressError> {
        Address::server(url).map(Self::new)
    }

    /// Uses a cluster. One of these servers must be reachable when the store connects; the others are found. All of
    /// them must have the same user, password and scheme.
    ///
    /// # Errors
    /// An address is malformed, or there is none.
    pub fn open_cluster<'a>(urls: impl IntoIterator<Item = &'a str>) -> Result<Self, AddressError> {
        Address::cluster(urls).map(Self::new)
    }

    /// Uses the primary server of a group, as the sentinels name it. After a failover, the new primary is used.
    ///
    /// `group` is an address with the name of the group in the place of the host, such as
    /// `rediss://user:password@mymaster/0`. Its scheme, user, password and database are used for the servers.
    ///
    /// # Errors
    /// An address is malformed, or there is none.
    pub fn open_sentinels<'a>(
        sentinels: impl IntoIterator<Item = &'a str>,
        group: &str,
    ) -> Result<Self, AddressError> {
        Address::sentinels(sentinels, group).map(Self::new)
    }

    /// Sets the start of all keys. The default is `actix-protect-api:`. APIs that must not see the revocations of each
    /// other use different prefixes.
    #[must_use]
    pub fn key_prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    fn new(address: Address) -> Self {
        let address = Arc::new(address);
        let (commands, reader) = (Slot::new(&address), Slot::new(&address));
        let inner = Inner { driver: Driver::default(), address, commands, reader, trimmed: Arc::default() };
        Self { inner: Arc::new(inner), prefix: "actix-protect-api:".into() }
    }

    fn verdict_key(&self, key: &CacheKey) -> String {
        format!("{}v:{}", self.prefix, key.to_hex())
    }

    fn stream_key(&self) -> String {
        format!("{}records", self.prefix)
    }

    /// Sends one command on the background thread.
    async fn command(&self, command: Cmd) -> Result<Value, StoreError> {
        let slot = Arc::clone(&self.inner.commands);
        self.inner.driver.run(async move { slot.command(COMMAND, &command).await }).await
    }

    /// Returns whether old records should be deleted now.
    fn is_trim_due(&self) -> bool {
        let mut trimmed = self.inner.trimmed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = trimmed.is_none_or(|at| at.elapsed() >= TRIM_INTERVAL);
        if is_due {
            *trimmed = Some(Instant::now());
        }
        is_due
    }

    /// Deletes the records that are over, except for the last of them at the start of the list: it shows later that only such
    /// records were deleted. A record that is kept for long does not keep those behind it.
    /// Ends at the first page whose last record is younger than `keep_for`.
    async fn trim_old(slot: &Slot, stream: &str, keep_for: Duration) -> Result<(), StoreError> {
        let (mut after, mut is_start) = (Position::default(), true);
        loop {
            let page = slot.pipeline(COMMAND, &stream::oldest(stream, after)).await?;
            let over = Over::read(page, is_start, keep_for).ok_or_else(stream::malformed)?;
            if let Some(last) = over.first {
                let _deleted: u64 = slot.command(COMMAND, &stream::trim(stream, last)).await?;
            }
            if !over.others.is_empty() {
                let _deleted: u64 = slot.command(COMMAND, &stream::delete(stream, &over.others)).await?;
            }
            let Some(next) = over.next else { return Ok(()) };
            (after, is_start) = (next, over.first == Some(next));
        }
    }
}

impl SharedStore for RedisStore {
    fn get_or_claim<'a>(&'a self, key: &'a CacheKey, lifetime: Duration) -> StoreFuture<'a, StoreEntry> {
        let mut command = cmd("SET");
        command
            .arg(self.verdict_key(key))
            .arg(CLAIM)
            .arg("NX")
            .arg("GET")
            .arg("PX")
            .arg(milliseconds(lifetime));
        Box::pin(async move {
            let value = self.command(command).await?;
            Ok(entry(value)?.unwrap_or(StoreEntry::Claimed))
        })
    }

    fn get<'a>(&'a self, key: &'a CacheKey) -> StoreFuture<'a, Option<StoreEntry>> {
        let mut command = cmd("GET");
        command.arg(self.verdict_key(key));
        Box::pin(async move { entry(self.command(command).await?) })
    }

    fn put<'a>(&'a self, key: &'a CacheKey, verdict: &'a [u8], lifetime: Duration) -> StoreFuture<'a, ()> {
        let mut command = cmd("SET");
        let value = [&[VERDICT], verdict].concat();
        command.arg(self.verdict_key(key)).arg(value).arg("PX").arg(milliseconds(lifetime));
        Box::pin(async move { self.command(command).await.map(drop) })
    }

    fn remove<'a>(&'a self, key: &'a CacheKey) -> StoreFuture<'a, ()> {
        let mut command = cmd("DEL");
        command.arg(self.verdict_key(key));
        Box::pin(async move { self.command(command).await.map(drop) })
    }

    fn append<'a>(&'a self, record: &'a [u8], keep_for: Duration) -> StoreFuture<'a, Position> {
        let stream = self.stream_key();
        let command = stream::append(&stream, record, keep_for);
        Box::pin(async move {
            let (slot, trims) = (Arc::clone(&self.inner.commands), self.is_trim_due());
            let append = async move {
                let id: Result<String, _> = slot.command(COMMAND, &command).await;
                // Also after a failure: a server whose memory is full accepts no record before old ones are deleted.
                if trims {
                    tokio::spawn(async move {
                        if let Err(error) = Self::trim_old(&slot, &stream, keep_for).await {
                            // The main crate writes its records with the same target and key.
                            log::debug!(
                                target: "actix_protect_api", event = "store_trim_failed";
                                "old records of the shared store were not deleted: {error}"
                            );
                        }
                    });
                }
                stream::position(&id?).ok_or_else(stream::malformed)
            };
            self.inner.driver.run(append).await
        })
    }

    fn read(&self, after: Option<Position>) -> StoreFuture<'_, RecordBatch> {
        let stream = self.stream_key();
        let after = after.unwrap_or_default();
        Box::pin(async move {
            let slot = Arc::clone(&self.inner.reader);
            let read = async move {
                let read = stream::read(&stream, after, WAIT);
                stream::batch(slot.checked(WAIT + COMMAND, &read, stream::from_primary).await?)
            };
            self.inner.driver.run(read).await
        })
    }

    fn trim(&self, before: Position) -> StoreFuture<'_, ()> {
        let command = stream::trim(&self.stream_key(), before);
        Box::pin(async move { self.command(command).await.map(drop) })
    }
}

/// Does not print the address.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("address", &self.inner.address.kind())
            .field("key_prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Returns the lifetime as Redis accepts it: at least 1, and not so long that it overflows.
fn milliseconds(lifetime: Duration) -> u64 {
    const YEAR: u64 = 366 * 24 * 60 * 60 * 1000;
    u64::try_from(lifetime.as_millis()).unwrap_or(YEAR).clamp(1, YEAR)
}

/// Reads a stored value. A value of another program is treated as a verdict that cannot be decrypted.
fn entry(value: Value) -> Result<Option<StoreEntry>, StoreError> {
    let Some(mut bytes) = redis::from_redis_value::<Option<Vec<u8>>>(value).map_err(StoreError::new)? else {
        return Ok(None);
    };
    if bytes == CLAIM {
        return Ok(Some(StoreEntry::Busy));
    }
    if bytes.first() == Some(&VERDICT) {
        bytes.remove(0);
    }
    Ok(Some(StoreEntry::Found(bytes)))
}
