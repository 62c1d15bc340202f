//! The effects of records on tokens.

use super::{Position, table::RecordValue};

/// The tokens are rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reject {
    /// `None` is any time.
    pub(super) issued_before: Option<i64>,
    pub(super) until: i64,
}

/// Verdicts that were requested before the record are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Discard {
    /// The generation of the record. Verdicts that were requested at an earlier generation are stale.
    pub(super) generation: u64,
    /// The time of the record, in seconds since 1970.
    pub(super) at: i64,
    /// The position in the shared store.
    pub(super) position: Position,
    /// The number of records of this process that have no position yet. They are later than every stored verdict.
    pub(super) unplaced: u32,
    pub(super) until: i64,
}

impl Reject {
    pub(super) fn applies(&self, issued_at: Option<i64>, now: i64) -> bool {
        let is_before = |issued_before| issued_at.is_none_or(|issued_at| issued_at <= issued_before);
        self.until > now && self.issued_before.is_none_or(is_before)
    }

    /// Returns whether another record with the same key changes nothing.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.and(*other) == *self
    }
}

impl RecordValue for Reject {
    /// If both ends and both times of issue differ, the later ones are combined. More tokens than necessary are then rejected.
    fn and(self, other: Self) -> Self {
        Self {
            issued_before: self.issued_before.zip(other.issued_before).map(|(one, other)| one.max(other)),
            until: self.until.max(other.until),
        }
    }

    fn until(&self) -> i64 {
        self.until
    }
}

impl Discard {
    pub(super) fn applies(&self, requested_at: u64, now: i64) -> bool {
        self.until > now && self.generation > requested_at
    }

    /// Returns whether a verdict of the shared store is stale, whose replica had read the records until this position.
    pub(super) fn applies_to_stored(&self, read_until: Option<Position>, now: i64) -> bool {
        self.until > now && (self.unplaced > 0 || Some(self.position) > read_until)
    }

    /// Returns whether a record of the shared store at this position changes nothing.
    pub(super) fn covers(&self, position: Option<Position>, until: i64) -> bool {
        self.unplaced == 0 && Some(self.position) >= position && self.until >= until
    }
}

impl RecordValue for Discard {
    fn and(self, other: Self) -> Self {
        Self {
            generation: self.generation.max(other.generation),
            at: self.at.max(other.at),
            position: self.position.max(other.position),
            unplaced: self.unplaced.saturating_add(other.unplaced),
            until: self.until.max(other.until),
        }
    }

    fn until(&self) -> i64 {
        self.until
    }
}
