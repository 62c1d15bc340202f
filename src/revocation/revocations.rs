//! The records of this process, as one configuration uses them.

use std::sync::Arc;

use super::{
    IssuerKey, Position, Record, RecordKey, RevocationIndex, Standing,
    key::{JwtText, keys_of},
};
use crate::claims::{Claims, record_memo::RecordMarks};

/// Checks the tokens of one configuration against the records.
#[derive(Clone, Debug)]
pub(crate) struct Revocations {
    pub(super) index: Arc<RevocationIndex>,
    /// The configured issuer, for tokens whose claims have no `iss`.
    issuer: IssuerKey,
    /// The maximum number of records of each effect.
    capacity: usize,
}

impl Revocations {
    pub(crate) fn new(index: Arc<RevocationIndex>, issuer: &str, capacity: usize) -> Self {
        Self { index, issuer: IssuerKey::new(issuer), capacity }
    }

    /// Returns whether another configuration has the same records.
    pub(crate) fn shares_index(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.index, &other.index)
    }

    /// Returns the latest `iat` of tokens that were issued until now.
    #[cfg(test)]
    pub(crate) fn issued_until(&self, now: i64) -> i64 {
        self.index.issued_until(now)
    }

    /// Returns the number of records so far.
    pub(crate) fn generation(&self) -> u64 {
        self.index.generation()
    }

    /// Adds a record.
    pub(crate) fn add(&self, record: &Record, now: i64) {
        self.index.add(record, None, self.capacity, now);
    }

    /// Checks the claims of a valid token. `now` is in seconds since 1970, by the local clock, and is read only if there are new
    /// records. The text of the token is read only once.
    pub(crate) fn check<'t>(
        &self,
        token: impl FnOnce() -> &'t str,
        claims: &Claims,
        now: impl FnOnce() -> i64,
    ) -> Standing {
        let generation = self.generation();
        let memo = claims.record_memo();
        if memo.is_clear_at(generation) {
            return Standing::Clear;
        }
        let marks = memo.marks_or_init(|| self.marks_of(token(), claims));
        let keys = marks.keys.iter().copied().map(RecordKey::from_bytes);
        let standing = self.index.standing(keys, marks.issued_at, memo.requested_at(), now());
        if standing == Standing::Clear {
            memo.set_clear_at(generation);
        }
        standing
    }

    /// Returns whether an inactive verdict on a token is stale. It was requested at this generation.
    pub(crate) fn discards_inactive(&self, token: &str, requested_at: u64, now: i64) -> bool {
        self.generation() != requested_at
            && self.index.discards(self.keys(token, None).into_iter(), requested_at, now)
    }

    /// Returns whether a verdict of the shared store is stale. Its replica had read the records until `read_until` before it
    /// requested the verdict.
    pub(crate) fn discards_stored(
        &self,
        token: &str,
        claims: Option<&Claims>,
        read_until: Option<Position>,
        now: i64,
    ) -> bool {
        self.generation() > 0
            && self.index.discards_stored(self.keys(token, claims).into_iter(), read_until, now)
    }

    /// Returns whether a verdict is stale that was requested at this time, in seconds since 1970, by any process.
    pub(crate) fn discards_since(
        &self,
        token: &str,
        claims: Option<&Claims>,
        requested: i64,
        now: i64,
    ) -> bool {
        self.generation() > 0
            && self.index.discards_since(self.keys(token, claims).into_iter(), requested, now)
    }

    fn keys(&self, token: &str, claims: Option<&Claims>) -> Vec<RecordKey> {
        self.keys_with(token, claims, jwt_claims(token).as_ref())
    }

    fn keys_with(&self, token: &str, claims: Option<&Claims>, jwt: Option<&Claims>) -> Vec<RecordKey> {
        keys_of(token, self.issuer, &claims.into_iter().chain(jwt).collect::<Vec<_>>())
    }

    /// Computes the marks of a token. If it is a JWT, its claims are used too: an introspection response may not contain them.
    /// They may be unverified, but they can only cause a rejection.
    pub(super) fn marks_of(&self, token: &str, claims: &Claims) -> RecordMarks {
        let jwt = jwt_claims(token);
        let keys = self.keys_with(token, Some(claims), jwt.as_ref());
        RecordMarks {
            keys: keys.into_iter().map(RecordKey::into_bytes).collect(),
            issued_at: claims.issued_at().or_else(|| jwt.as_ref()?.issued_at()),
            jwt_expires_at: jwt.as_ref().and_then(Claims::expires_at),
        }
    }
}

/// Returns the claims of a JWT, which are not verified.
fn jwt_claims(token: &str) -> Option<Claims> {
    JwtText::of(token).and_then(JwtText::claims)
}
