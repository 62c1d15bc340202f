//! The interface of custom verdict stores, and the limits around them.

#[cfg(test)]
mod tests;

use std::{error::Error as StdError, fmt, pin::Pin, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    cache::{Age, AgedVerdict, CacheKey, ClockReading, Lifetime, Requested, Ticket, Verdict, expires_at},
    claims::Claims,
    telemetry::log_throttle::LogThrottle,
};

/// The return type of a store's methods: a boxed future. It need not be `Send`, because it is awaited on the worker
/// that received the request.
pub type CacheFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, CacheError>> + 'a>>;

/// A custom store for introspection verdicts, to share them between processes.
///
/// The store gets no token, because keys are digests. It gets claims, which are personal data. A party that can write
/// to the store decides which tokens are accepted. Entries are checked again: an entry that is older than the
/// configured duration, past its `exp`, or dated in the future is a miss. (Only the wall clock is used, in whole
/// seconds, because several machines share an entry. An entry is treated as up to a second older than its date, so
/// that none is used for too long.)
///
/// An error, or no response within the deadline (250 ms by default), is a miss and a warning in the log. It never rejects
/// a request. The future is then dropped.
///
/// ```
/// use std::{collections::HashMap, sync::Mutex, time::Duration};
///
/// use actix_protect_api::cache::{CacheError, CacheFuture, CacheKey, CachedVerdict, IntrospectionCache};
///
/// /// A placeholder for the client of a store with text values, which deletes entries after their lifetime.
/// #[derive(Debug, Default)]
/// struct Shared(Mutex<HashMap<String, String>>);
///
/// impl IntrospectionCache for Shared {
///     fn get<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, Option<CachedVerdict>> {
///         Box::pin(async move {
///             let entry = self.0.lock().unwrap().get(&key.to_hex()).cloned();
///             entry.map(|json| serde_json::from_str(&json)).transpose().map_err(CacheError::new)
///         })
///     }
///
///     fn set<'a>(&'a self, key: &'a CacheKey, value: &'a CachedVerdict, _lifetime: Duration) -> CacheFuture<'a, ()> {
///         Box::pin(async move {
///             let json = serde_json::to_string(value).map_err(CacheError::new)?;
///             self.0.lock().unwrap().insert(key.to_hex(), json);
///             Ok(())
///         })
///     }
///
///     fn delete<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, ()> {
///         Box::pin(async move {
///             self.0.lock().unwrap().remove(&key.to_hex());
///             Ok(())
///         })
///     }
/// }
/// ```
pub trait IntrospectionCache: fmt::Debug + Send + Sync {
    /// Returns the entry under this key, if there is one.
    ///
    /// # Errors
    /// Any failure of the store, including an unreadable entry. It is treated as a miss.
    fn get<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, Option<CachedVerdict>>;

    /// Stores an entry under this key and replaces an existing one. The store has to drop it after `lifetime`,
    /// which ends at the token's `exp` at the latest.
    ///
    /// # Errors
    /// Any failure of the store. The request continues.
    fn set<'a>(
        &'a self,
        key: &'a CacheKey,
        value: &'a CachedVerdict,
        lifetime: Duration,
    ) -> CacheFuture<'a, ()>;

    /// Deletes the entry under this key, if there is one.
    ///
    /// # Errors
    /// Any failure of the store.
    fn delete<'a>(&'a self, key: &'a CacheKey) -> CacheFuture<'a, ()>;
}

/// A verdict as an [`IntrospectionCache`] stores it: whether the token is active, its claims if it is, and the time
/// of its introspection.
///
/// Serializes to `{"active":true,"claims":{…},"stored_at":1800000000}`, times in seconds since 1970. The verdict on
/// a JWT that was verified before also has `token_expires_at`: the JWT's `exp` by the clock of this API.
/// Deserializing needs a self-describing format such as JSON, and rejects an active entry without claims or with
/// malformed ones. A clone is cheap. `Debug` prints the names of the claims, not their values.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Entry", into = "Entry")]
pub struct CachedVerdict {
    verdict: Verdict,
    stored_at: i64,
    /// The expiry of the token itself, if it is known from another source than the claims.
    token_expires_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    active: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claims: Option<Claims>,
    stored_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_expires_at: Option<i64>,
}

/// Does not print the expiry, which is the value of a claim.
impl fmt::Debug for CachedVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedVerdict")
            .field("verdict", &self.verdict)
            .field("stored_at", &self.stored_at)
            .finish_non_exhaustive()
    }
}

impl CachedVerdict {
    pub(crate) fn new(verdict: Verdict, ticket: &Ticket) -> Self {
        Self { verdict, stored_at: ticket.sent().unix, token_expires_at: ticket.token_expires_at() }
    }

    pub(crate) fn token_expires_at(&self) -> Option<i64> {
        self.token_expires_at
    }

    /// Returns whether the issuer reported the token as active.
    pub fn is_active(&self) -> bool {
        self.claims().is_some()
    }

    /// Returns the claims of an active token.
    pub fn claims(&self) -> Option<&Claims> {
        match &self.verdict {
            Verdict::Active(claims) => Some(claims),
            Verdict::Inactive => None,
        }
    }

    /// Returns the time of the introspection, in whole seconds since 1970.
    pub fn stored_at(&self) -> i64 {
        self.stored_at
    }

    /// Returns the verdict unless it is dated in the future, too old, or past its `exp`. `max_age` is that of the
    /// request.
    pub(crate) fn check(
        self,
        lifetime: &Lifetime,
        max_age: Option<Duration>,
        now: ClockReading,
    ) -> Option<AgedVerdict> {
        let seconds = u64::try_from(now.unix.checked_sub(self.stored_at)?).ok()?;
        // Both times are whole seconds, so an entry may be up to one second older than their difference.
        let age = Duration::from_secs(seconds.checked_add(1)?);
        let allowed = lifetime.configured(&self.verdict).min(max_age.unwrap_or(Duration::MAX));
        let expired = expires_at(&self.verdict, self.token_expires_at).is_some_and(|exp| now.unix >= exp);
        let requested = Requested::Somewhere(self.stored_at);
        let age_now = Some(Age::new(age, now.monotonic));
        let hit = AgedVerdict { verdict: self.verdict, requested, age: age_now };
        (age <= allowed && !expired).then_some(hit)
    }
}

impl TryFrom<Entry> for CachedVerdict {
    type Error = &'static str;

    fn try_from(entry: Entry) -> Result<Self, Self::Error> {
        let verdict = match entry {
            Entry { active: true, claims: Some(claims), .. } => Verdict::Active(claims),
            Entry { active: true, claims: None, .. } => return Err("an active entry without claims"),
            Entry { active: false, .. } => Verdict::Inactive,
        };
        Ok(Self { verdict, stored_at: entry.stored_at, token_expires_at: entry.token_expires_at })
    }
}

impl From<CachedVerdict> for Entry {
    fn from(cached: CachedVerdict) -> Self {
        Self {
            active: cached.is_active(),
            claims: cached.claims().cloned(),
            stored_at: cached.stored_at,
            token_expires_at: cached.token_expires_at,
        }
    }
}

/// The failure of a store. It is logged as a warning, so it must not contain credentials.
#[derive(Debug)]
pub struct CacheError(Box<dyn StdError + Send + Sync>);

impl CacheError {
    /// Creates the error from an error of the store's client, or from a text.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the store of introspection verdicts failed")
    }
}

impl StdError for CacheError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.0.as_ref())
    }
}

/// A custom store with a deadline. A slow, failing or wrong store never causes a rejection.
#[derive(Debug)]
pub(crate) struct CustomStore {
    store: Arc<dyn IntrospectionCache>,
    lifetime: Lifetime,
    deadline: Duration,
    warnings: LogThrottle,
}

impl CustomStore {
    /// The longest time for one operation of the store.
    pub(crate) const DEADLINE: Duration = Duration::from_millis(250);

    /// Creates the store. `lifetime` applies to active verdicts, `inactive_lifetime` to inactive ones.
    pub(crate) fn new(
        store: Arc<dyn IntrospectionCache>,
        lifetime: Duration,
        inactive_lifetime: Duration,
        deadline: Duration,
    ) -> Self {
        let lifetime = Lifetime::new(lifetime, inactive_lifetime);
        Self { store, lifetime, deadline, warnings: LogThrottle::default() }
    }

    /// Returns the verdict of the store. The clock is read after the store has responded.
    pub(crate) async fn get(
        &self,
        key: &CacheKey,
        now: impl FnOnce() -> ClockReading,
        max_age: Option<Duration>,
    ) -> Option<AgedVerdict> {
        let entry = self.within_deadline(self.store.get(key)).await;
        let now = now();
        self.or_warn(entry, now)??.check(&self.lifetime, max_age, now)
    }

    /// Inserts a verdict. If the verdict cannot be cached, an older entry is deleted instead, because the newest
    /// verdict is decisive.
    pub(crate) async fn insert(
        &self,
        ticket: &Ticket,
        verdict: &Verdict,
        now: ClockReading,
        is_stale: impl Fn() -> bool,
    ) {
        if is_stale() {
            return;
        }
        let key = ticket.key();
        let lifetime = self.lifetime.remaining(ticket, verdict, now);
        if lifetime.is_zero() {
            self.or_warn(self.within_deadline(self.store.delete(key)).await, now);
            return;
        }
        let value = CachedVerdict::new(verdict.clone(), ticket);
        self.or_warn(self.within_deadline(self.store.set(key, &value, lifetime)).await, now);
        // A record may have been added while the entry was being stored.
        if is_stale() {
            self.or_warn(self.within_deadline(self.store.delete(key)).await, now);
        }
    }

    /// Deletes the entries under these keys, within one deadline. A failed lookup is only a miss, but a failed
    /// eviction is returned as an error, because the entry may still be in the store. All keys are tried.
    pub(crate) async fn evict(&self, keys: &[CacheKey]) -> Result<(), CacheError> {
        let delete_all = async {
            let mut outcome = Ok(());
            for key in keys {
                outcome = outcome.and(self.store.delete(key).await);
            }
            outcome
        };
        self.within_deadline(delete_all).await
    }

    async fn within_deadline<T>(
        &self,
        call: impl Future<Output = Result<T, CacheError>>,
    ) -> Result<T, CacheError> {
        match tokio::time::timeout(self.deadline, call).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CacheError::new("no response within the deadline")),
        }
    }

    fn or_warn<T>(&self, outcome: Result<T, CacheError>, now: ClockReading) -> Option<T> {
        outcome.inspect_err(|error| self.warn(&error.0, now)).ok()
    }

    fn warn(&self, cause: &dyn fmt::Display, now: ClockReading) {
        if self.warnings.is_due_at(now.monotonic) {
            record!(
                log::Level::Warn, event = "cache_store_failed";
                "the store of introspection verdicts failed, which counts as a miss: {cause}"
            );
        }
    }
}
