//! The interface of a store that all replicas of an API share: verdicts of introspection, and records of
//! revocations and evictions.
//!
//! A [`SharedStore`] is only transport. It gets and returns opaque bytes, which this crate encrypts and
//! authenticates. It gets no token, no claim and no key. The crate `actix-protect-api-redis` implements it for Redis
//! and Valkey.

mod key_ring;
mod outbox;
mod reader;
mod replica;
pub(crate) mod seal;
mod stored_verdict;

use std::{error::Error as StdError, fmt, future::Future, pin::Pin, time::Duration};

pub(crate) use self::{
    outbox::Sending,
    replica::{Replica, ReplicaSettings, StoreHook},
    stored_verdict::{StoredEntry, StoredVerdict},
};
use crate::cache::CacheKey;
pub use crate::revocation::Position;

/// The return type of a store's methods: a boxed future that can be polled on any thread.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A store that all replicas of an API share.
///
/// It has two parts: **verdicts** under keys, each with a lifetime, and one ordered list of **records**. Both are
/// opaque bytes. An implementation must keep these rules:
///
/// - A method never blocks the thread. It connects in the background, and returns an error if the store cannot be
///   reached. Every future is dropped after a deadline, and a call that is dropped must not block later calls.
/// - [`get_or_claim`](Self::get_or_claim) is atomic: of several callers, one gets [`StoreEntry::Claimed`].
/// - [`append`](Self::append) adds the record behind all others. Each record gets a higher [`Position`] than all
///   records before it, also after a restart of the store.
/// - [`read`](Self::read) skips no record. The fields of [`RecordBatch`] describe the list at one moment, so that a
///   list that lost records is detected.
pub trait SharedStore: fmt::Debug + Send + Sync {
    /// Returns the verdict under this key. If there is none, the key is claimed for `lifetime`, in one step.
    ///
    /// # Errors
    /// Any failure of the store.
    fn get_or_claim<'a>(&'a self, key: &'a CacheKey, lifetime: Duration) -> StoreFuture<'a, StoreEntry>;

    /// Returns the verdict under this key, or [`StoreEntry::Busy`] if the key is claimed. Returns `None` if there is
    /// neither. Does not claim the key.
    ///
    /// # Errors
    /// Any failure of the store.
    fn get<'a>(&'a self, key: &'a CacheKey) -> StoreFuture<'a, Option<StoreEntry>>;

    /// Stores a verdict under this key and replaces a claim or an older verdict. The store deletes it after
    /// `lifetime`.
    ///
    /// # Errors
    /// Any failure of the store.
    fn put<'a>(&'a self, key: &'a CacheKey, verdict: &'a [u8], lifetime: Duration) -> StoreFuture<'a, ()>;

    /// Deletes the verdict or the claim under this key, if there is one.
    ///
    /// # Errors
    /// Any failure of the store.
    fn remove<'a>(&'a self, key: &'a CacheKey) -> StoreFuture<'a, ()>;

    /// Appends a record and returns the position at which [`read`](Self::read) returns it. The record may be deleted once it is
    /// older than `keep_for`. The last record that could be deleted must stay: if records were deleted, the first of the
    /// remaining ones is therefore older than its own `keep_for`.
    ///
    /// # Errors
    /// Any failure of the store. The record may have been appended.
    fn append<'a>(&'a self, record: &'a [u8], keep_for: Duration) -> StoreFuture<'a, Position>;

    /// Returns the records after this position, or from the beginning of the list, in order. If there are none, waits
    /// for the first of them, for at most 250 ms. May return a part of the records. A read that takes longer than
    /// [`blind_for`](crate::ProtectApiBuilder::blind_for) does not show that the records are known: the store may have responded
    /// long before.
    ///
    /// # Errors
    /// Any failure of the store.
    fn read(&self, after: Option<Position>) -> StoreFuture<'_, RecordBatch>;

    /// Deletes all records before this position.
    ///
    /// # Errors
    /// Any failure of the store.
    fn trim(&self, before: Position) -> StoreFuture<'_, ()>;
}

/// The entry of a [`SharedStore`] under one key.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreEntry {
    /// A verdict, as it was stored.
    Found(Vec<u8>),
    /// There was no verdict. The key is now claimed by this caller, who makes the call to the authorization server.
    Claimed,
    /// Another caller has claimed the key.
    Busy,
}

/// Does not print the bytes.
impl fmt::Debug for StoreEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(bytes) => write!(f, "Found({} bytes)", bytes.len()),
            Self::Claimed => f.write_str("Claimed"),
            Self::Busy => f.write_str("Busy"),
        }
    }
}

/// Records of a [`SharedStore`], and the state of the list at the moment at which they were read.
///
/// ```
/// use actix_protect_api::shared_store::{Position, RecordBatch};
///
/// let mut batch = RecordBatch::default();
/// batch.records.push((Position::new(7, 0), b"record".to_vec()));
/// batch.end = Some(Position::new(7, 0));
/// batch.total_appended = 1;
/// batch.length = 1;
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordBatch {
    /// The records, each with its position, in ascending order.
    pub records: Vec<(Position, Vec<u8>)>,
    /// The position of the record that was appended last, also if it was deleted since. `None` if the list does not
    /// exist.
    pub end: Option<Position>,
    /// The number of records that were ever appended to this list, including deleted ones.
    pub total_appended: u64,
    /// The number of records that are in the list.
    pub length: u64,
    /// The age of the first record in the list, by the clock of the store. `None` if the list is empty.
    pub oldest_age: Option<Duration>,
    /// The time of the store in seconds since 1970, if it has a clock. A revocation of all tokens that were issued until now uses
    /// the later one of this time and that of the process.
    pub unix_time: Option<i64>,
    /// Whether the store accepts no new record at the moment, for example because its memory is full. A revocation of another
    /// replica can then not be in the list, so this process is blind as if it could not read.
    pub is_read_only: bool,
}

/// Does not print the records.
impl fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBatch")
            .field("records", &self.records.len())
            .field("end", &self.end)
            .field("total_appended", &self.total_appended)
            .field("length", &self.length)
            .field("oldest_age", &self.oldest_age)
            .field("unix_time", &self.unix_time)
            .field("is_read_only", &self.is_read_only)
            .finish()
    }
}

/// The failure of a [`SharedStore`]. It is logged, so it must not contain credentials.
#[derive(Debug)]
pub struct StoreError(Box<dyn StdError + Send + Sync>);

impl StoreError {
    /// Creates the error from an error of the store's client, or from a text.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shared store failed")
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.0.as_ref())
    }
}
