//! One revocation record.

use super::{IssuerKey, RecordKey};

/// The effect of a record on the tokens to which it applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
