//! The parts of a token that are compared with revocation records, without its claims.

use super::{RecordKey, Revocations, Standing};
use crate::claims::Claims;

/// The keys of the records that can concern a token, and its time of issue. For streams: they last long and need little memory.
pub(crate) struct TokenMarks {
    /// All keys except that of every token.
    keys: Box<[[u8; 16]]>,
    /// The earliest time if the token has no `iat`: such a token counts as issued before.
    issued_at: i64,
}

impl Revocations {
    /// Returns the marks of a valid token, and its expiry if it is a JWT.
    pub(crate) fn marks(&self, token: &str, claims: &Claims) -> (TokenMarks, Option<i64>) {
        let everything = RecordKey::everything().into_bytes();
        let marks = claims.record_memo().marks_or_init(|| self.marks_of(token, claims));
        let keys = marks.keys.iter().filter(|key| **key != everything).copied().collect();
        let issued_at = marks.issued_at.unwrap_or(i64::MIN);
        (TokenMarks { keys, issued_at }, marks.jwt_expires_at)
    }

    /// Checks a token with these marks. `requested_at` is the generation at which its verdict was requested, and `now` is in
    /// seconds since 1970.
    pub(crate) fn check_marks(&self, marks: &TokenMarks, requested_at: u64, now: i64) -> Standing {
        let keys = marks.keys.iter().copied().map(RecordKey::from_bytes);
        self.index.standing(keys.chain([RecordKey::everything()]), Some(marks.issued_at), requested_at, now)
    }
}
