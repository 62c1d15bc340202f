//! The effects of the records with one key.

use super::{Effect, Position, Record};

/// The effects of all records with one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    pub(super) reject: Option<Reject>,
    pub(super) discard: Option<Discard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reject {
    pub(super) issued_before: Option<i64>,
    pub(super) until: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Discard {
    /// The generation of the record. Verdicts that were requested at an earlier generation are stale.
    pub(super) generation: u64,
    /// The time of the record, in seconds since 1970.
    pub(super) at: i64,
    /// The position in the shared store. Without one, the record is treated as later than every stored verdict.
    pub(super) position: Option<Position>,
    pub(super) until: i64,
}

impl Effects {
    pub(super) fn new(record: &Record, generation: u64, position: Option<Position>, now: i64) -> Self {
        let Record { effect, issued_before, until, .. } = *record;
        match effect {
            Effect::Reject => Self { reject: Some(Reject { issued_before, until }), discard: None },
            Effect::Discard => {
                Self { reject: None, discard: Some(Discard { generation, at: now, position, until }) }
            }
        }
    }

    /// Returns the effects of two records with the same key. The result is never weaker than one of them.
    pub(super) fn and(self, other: Self) -> Self {
        let reject = match (self.reject, other.reject) {
            (Some(one), Some(other)) => Some(Reject {
                // `None` is any time.
                issued_before: one.issued_before.zip(other.issued_before).map(|(one, other)| one.max(other)),
                until: one.until.max(other.until),
            }),
            (one, other) => one.or(other),
        };
        let discard = match (self.discard, other.discard) {
            (Some(one), Some(other)) => Some(Discard {
                generation: one.generation.max(other.generation),
                at: one.at.max(other.at),
                // Without a position of one of them, both are later than every stored verdict.
                position: one.position.zip(other.position).map(|(one, other)| one.max(other)),
                until: one.until.max(other.until),
            }),
            (one, other) => one.or(other),
        };
        Self { reject, discard }
    }

    /// Returns whether the record changes nothing.
    pub(super) fn cover(&self, record: &Record, position: Option<Position>) -> bool {
        match record.effect {
            Effect::Reject => self.reject.is_some_and(|reject| {
                reject.until >= record.until
                    && reject
                        .issued_before
                        .is_none_or(|before| record.issued_before.is_some_and(|other| before >= other))
            }),
            Effect::Discard => self
                .discard
                .is_some_and(|discard| discard.position >= position && discard.until >= record.until),
        }
    }

    pub(super) fn at(mut self, effect: Effect, position: Position) -> Self {
        if let (Effect::Discard, Some(discard)) = (effect, &mut self.discard) {
            discard.position = discard.position.max(Some(position));
        }
        self
    }

    pub(super) fn rejects(&self, issued_at: Option<i64>, now: i64) -> bool {
        self.reject.is_some_and(|Reject { issued_before, until }| {
            let is_before = |issued_before| issued_at.is_none_or(|issued_at| issued_at <= issued_before);
            until > now && issued_before.is_none_or(is_before)
        })
    }

    pub(super) fn discards(&self, requested_at: u64, now: i64) -> bool {
        self.discard.is_some_and(|discard| discard.until > now && discard.generation > requested_at)
    }

    pub(super) fn until(&self) -> i64 {
        let reject = self.reject.map_or(i64::MIN, |reject| reject.until);
        reject.max(self.discard.map_or(i64::MIN, |discard| discard.until))
    }
}
