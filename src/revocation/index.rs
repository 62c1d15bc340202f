//! The records of one issuer in this process.

mod marks;
#[cfg(test)]
mod tests;

pub(crate) use self::marks::TokenMarks;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{CLOCK_ALLOWANCE, IssuerKey, Position, Record, RecordKey, effects::Effects};
use crate::claims::Claims;

/// The maximum number of expired records that one new record removes, so that no call takes long.
const REMOVED_AT_ONCE: usize = 64;

/// The records of an issuer. All configurations of the issuer in this process share them, and they outlive a tenant that
/// is evicted.
///
/// Requests read without a lock. The number of records is limited. If the limit is reached, all tokens that were issued before
/// the new record are rejected: no record that is in effect is dropped.
pub(crate) struct RevocationIndex {
    issuer: IssuerKey,
    records: papaya::HashMap<RecordKey, Effects>,
    /// The number of records so far. A token that no record concerned at one generation is not checked again until the
    /// generation changes.
    generation: AtomicU64,
    capacity: AtomicUsize,
    /// The time at which each record ends. It may be earlier than the actual one. Locked while the records change.
    expiries: Mutex<Expiries>,
}

/// The keys of the records, by the time at which the records end. The earliest is first.
type Expiries = BinaryHeap<Reverse<(i64, RecordKey)>>;

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

impl RevocationIndex {
    pub(super) fn new(issuer: IssuerKey, capacity: usize) -> Self {
        Self {
            issuer,
            records: papaya::HashMap::new(),
            generation: AtomicU64::new(0),
            capacity: AtomicUsize::new(capacity),
            expiries: Mutex::default(),
        }
    }

    /// Raises the number of records that it may contain.
    pub(super) fn allow(&self, capacity: usize) {
        self.capacity.fetch_max(capacity, Ordering::Relaxed);
    }

    pub(crate) fn issuer(&self) -> &IssuerKey {
        &self.issuer
    }

    /// Returns the number of records so far. A verdict is marked with the number that was current before its introspection
    /// request was sent.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns the number of records.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Adds a record. From now on, every request is checked against it. `now` is in seconds since 1970.
    pub(crate) fn add(&self, record: &Record, now: i64) {
        self.apply(record, None, now);
    }

    /// Adds a record that has this position in the shared store. A record that changes nothing, because it was read before,
    /// is ignored: verdicts that were requested since then stay valid.
    pub(crate) fn apply(&self, record: &Record, position: Option<Position>, now: i64) {
        let mut expiries = lock(&self.expiries);
        self.remove_expired(&mut expiries, now);
        let is_full = self.records.len() >= self.capacity.load(Ordering::Relaxed);
        if position.is_some() && (record.until <= now || self.contains(record, position)) {
            return;
        }
        if is_full && self.records.pin().get(&record.key).is_none() {
            self.widen(&mut expiries, record, position, now);
        } else {
            self.insert(&mut expiries, record, position, now);
        }
    }

    /// Discards verdicts of this process only: those of the shared store are not affected.
    pub(crate) fn discard_here(&self, record: &Record, now: i64) {
        self.insert(&mut lock(&self.expiries), record, Some(Position::default()), now);
    }

    /// Sets the position of a record that was added before it had one.
    pub(crate) fn set_position(&self, record: &Record, position: Position) {
        let _changing = lock(&self.expiries);
        let records = self.records.pin();
        let _updated = records.update(record.key, |effects| effects.at(record.effect, position));
    }

    fn contains(&self, record: &Record, position: Option<Position>) -> bool {
        let records = self.records.pin();
        records.get(&record.key).is_some_and(|effects| effects.cover(record, position))
    }

    /// Inserts a record for all tokens in place of one for which there is no place.
    fn widen(&self, expiries: &mut Expiries, record: &Record, position: Option<Position>, now: i64) {
        log::error!(
            target: crate::LOG, event = "revocations_full", records = self.len();
            "there are too many revocation records ({}): all tokens that were issued until now are revoked", self.len()
        );
        let until_now = now.saturating_add(CLOCK_ALLOWANCE);
        let issued_before = record.issued_before.unwrap_or(until_now).max(until_now);
        let all = Record { key: self.issuer.all_tokens(), issued_before: Some(issued_before), ..*record };
        self.insert(expiries, &all, position, now);
    }

    fn insert(&self, expiries: &mut Expiries, record: &Record, position: Option<Position>, now: i64) {
        // The generation changes after the record is visible. A request that read the old generation is checked again later.
        let generation = self.generation().saturating_add(1);
        let new = Effects::new(record, generation, position, now);
        let records = self.records.pin();
        if records.get(&record.key).is_none() {
            expiries.push(Reverse((record.until, record.key)));
        }
        records.update_or_insert(record.key, |known| known.and(new), new);
        self.generation.store(generation, Ordering::Release);
    }

    fn remove_expired(&self, expiries: &mut Expiries, now: i64) {
        let records = self.records.pin();
        for _ in 0..REMOVED_AT_ONCE {
            let is_over = |Reverse((until, _)): &Reverse<(i64, RecordKey)>| *until <= now;
            if !expiries.peek().is_some_and(is_over) {
                break;
            }
            let Some(Reverse((_, key))) = expiries.pop() else { break };
            match records.get(&key).map(Effects::until) {
                // A later record with the same key has extended it.
                Some(until) if until > now => expiries.push(Reverse((until, key))),
                Some(_) => drop(records.remove(&key)),
                None => {}
            }
        }
    }

    /// Prepares the claims of an introspection response. Its request was sent at this generation. If the token is a JWT,
    /// records for the claims of the JWT apply too: the response may not contain them.
    pub(crate) fn prepare(&self, token: &str, response: &Claims, generation: u64, jwt: Option<&Claims>) {
        let memo = response.record_memo();
        memo.set_requested_at(generation);
        if let Some(jwt) = jwt {
            let _keys = memo.keys_or_init(|| self.keys_of(token, [response, jwt]));
            if let Some(issued_at) = jwt.issued_at() {
                memo.set_issued_at(issued_at);
            }
        }
    }

    fn keys_of<'c>(&self, token: &str, claims: impl IntoIterator<Item = &'c Claims>) -> Box<[[u8; 16]]> {
        self.issuer.keys_of(token, claims).into_iter().map(RecordKey::into_bytes).collect()
    }

    /// Checks the claims of a valid token. `now` is in seconds since 1970, by the local clock, and is read only if there are new
    /// records.
    pub(crate) fn check(&self, token: &str, claims: &Claims, now: impl FnOnce() -> i64) -> Standing {
        let generation = self.generation();
        let memo = claims.record_memo();
        if memo.is_clear_at(generation) {
            return Standing::Clear;
        }
        let keys = memo.keys_or_init(|| self.keys_of(token, [claims]));
        let keys = keys.iter().copied().map(RecordKey::from_bytes);
        let issued_at = claims.issued_at().or_else(|| memo.issued_at());
        let standing = self.standing(keys, issued_at, memo.requested_at(), now());
        if standing == Standing::Clear {
            memo.set_clear_at(generation);
        }
        standing
    }

    /// Checks a token to which records with these keys can apply.
    fn standing(
        &self,
        keys: impl IntoIterator<Item = RecordKey>,
        issued_at: Option<i64>,
        requested_at: u64,
        now: i64,
    ) -> Standing {
        let records = self.records.pin();
        let mut standing = Standing::Clear;
        for effects in keys.into_iter().filter_map(|key| records.get(&key)) {
            if effects.rejects(issued_at, now) {
                return Standing::Revoked;
            }
            if effects.discards(requested_at, now) {
                standing = Standing::Stale;
            }
        }
        standing
    }

    /// Returns whether an inactive verdict on a token is stale. It was requested at this generation.
    pub(crate) fn discards_inactive(&self, token: &str, requested_at: u64, now: i64) -> bool {
        if self.generation() == requested_at {
            return false;
        }
        let records = self.records.pin();
        [self.issuer.all_tokens(), self.issuer.token(token)]
            .iter()
            .filter_map(|key| records.get(key))
            .any(|effects| effects.discards(requested_at, now))
    }

    /// Returns whether a verdict of the shared store is stale. Its replica had read the records until `read_until` before it
    /// requested the verdict. `jwt` is the token itself, if it is a JWT.
    pub(crate) fn discards_stored<'c>(
        &self,
        token: &str,
        claims: impl IntoIterator<Item = &'c Claims>,
        read_until: Option<Position>,
        now: i64,
    ) -> bool {
        if self.generation() == 0 {
            return false;
        }
        let records = self.records.pin();
        self.issuer.keys_of(token, claims).iter().any(|key| {
            let discard = records.get(key).and_then(|effects| effects.discard);
            discard.is_some_and(|discard| {
                discard.until > now && discard.position.is_none_or(|position| Some(position) > read_until)
            })
        })
    }

    /// Returns whether a verdict is stale that was requested at this time, in seconds since 1970, by any process.
    pub(crate) fn discards_since(
        &self,
        token: &str,
        claims: Option<&Claims>,
        requested: i64,
        now: i64,
    ) -> bool {
        if self.generation() == 0 {
            return false;
        }
        let records = self.records.pin();
        let is_later = |key: &RecordKey| {
            let discard = records.get(key).and_then(|effects| effects.discard);
            discard.is_some_and(|discard| discard.until > now && discard.at >= requested)
        };
        match claims {
            Some(claims) => self.issuer.keys_of(token, [claims]).iter().any(is_later),
            None => [self.issuer.all_tokens(), self.issuer.token(token)].iter().any(is_later),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds the lock. Even after a panic the value would be consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints only numbers.
impl fmt::Debug for RevocationIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationIndex")
            .field("records", &self.len())
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}
