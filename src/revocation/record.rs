//! One revocation record.

use super::{IssuerKey, RecordKey};

/// The effect of a record on the tokens to which it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// The tokens are rejected.
    Reject,
    /// Verdicts that were requested before the record are not used.
    Discard,
}

/// A revocation of the tokens with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) issuer: IssuerKey,
    pub(crate) key: RecordKey,
    pub(crate) effect: Effect,
    /// Only tokens whose `iat` is not later are rejected, and tokens without `iat`; `None` for any time.
    pub(crate) issued_before: Option<i64>,
    /// The time at which the record ends, in seconds since 1970.
    pub(crate) until: i64,
}

/// The tokens and the effect of a record. Records with the same id can be combined.
pub(crate) type RecordId = (IssuerKey, RecordKey, Effect);

/// The version of the form in which replicas send records to each other.
const VERSION: u8 = 1;

impl Record {
    pub(crate) fn id(&self) -> RecordId {
        (self.issuer, self.key, self.effect)
    }

    /// Returns a record with the effect of this one and of another one with the same id.
    pub(crate) fn and(self, other: &Self) -> Self {
        let issued_before = self.issued_before.zip(other.issued_before).map(|(one, other)| one.max(other));
        Self { issued_before, until: self.until.max(other.until), ..self }
    }

    /// Returns whether this record revokes tokens of all issuers.
    pub(crate) fn is_for_everything(&self) -> bool {
        self.effect == Effect::Reject && self.key == RecordKey::everything()
    }

    /// Returns whether this record revokes all tokens to which another revocation can apply.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let is_later = match (self.issued_before, other.issued_before) {
            (None, _) => true,
            (Some(own), Some(other)) => own >= other,
            // It applies to tokens that are issued later, or to their verdicts.
            (Some(_), None) => false,
        };
        self.is_for_everything() && self.until >= other.until && is_later
    }

    /// Returns a record for all tokens of the issuer that were issued until this time; an eviction has no such time.
    pub(crate) fn widened(&self, issued_until: i64) -> Self {
        let issued_before = self.issued_before.unwrap_or(issued_until).max(issued_until);
        let issued_before = (self.effect == Effect::Reject).then_some(issued_before);
        Self { key: self.issuer.all_tokens(), issued_before, ..*self }
    }

    /// Returns the form in which replicas send records to each other: the version, the effect, the issuer, the key, the
    /// end, and the time of issue if there is one.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let effect = match self.effect {
            Effect::Reject => 0,
            Effect::Discard => 1,
        };
        let mut bytes = vec![VERSION, effect];
        bytes.extend_from_slice(&self.issuer.into_bytes());
        bytes.extend_from_slice(&self.key.into_bytes());
        bytes.extend_from_slice(&self.until.to_be_bytes());
        bytes.extend(self.issued_before.into_iter().flat_map(i64::to_be_bytes));
        bytes
    }

    /// Reads this form. Returns `None` for any other bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[version, effect], rest) = bytes.split_first_chunk::<2>()?;
        let (issuer, rest) = rest.split_first_chunk::<16>()?;
        let (key, rest) = rest.split_first_chunk::<16>()?;
        let (until, rest) = rest.split_first_chunk::<8>()?;
        let issued_before = match rest {
            [] => None,
            rest => Some(i64::from_be_bytes(rest.try_into().ok()?)),
        };
        let effect = match effect {
            0 => Effect::Reject,
            1 => Effect::Discard,
            _ => return None,
        };
        (version == VERSION).then(|| Self {
            issuer: IssuerKey::from_bytes(*issuer),
            key: RecordKey::from_bytes(*key),
            effect,
            issued_before,
            until: i64::from_be_bytes(*until),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            issuer: [u8; 16], key: [u8; 16], until: i64, issued_before: Option<i64>, rejects: bool,
        ) {
            let record = Record {
                issuer: IssuerKey::from_bytes(issuer),
                key: RecordKey::from_bytes(key),
                effect: if rejects { Effect::Reject } else { Effect::Discard },
                issued_before,
                until,
            };
            let bytes = record.to_bytes();
            prop_assert_eq!(Record::from_bytes(&bytes), Some(record));
            prop_assert_eq!(Record::from_bytes(&bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let record = Record::from_bytes(&bytes);
            prop_assert!(record.is_none_or(|record| record.to_bytes() == bytes));
        }
    }
}
