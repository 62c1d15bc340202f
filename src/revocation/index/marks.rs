//! The parts of a token that are compared with revocation records, without its claims.

use super::{RecordKey, RevocationIndex, Standing};
use crate::claims::Claims;

/// The keys of the records that can concern a token, and its time of issue. For streams: they last long and need little memory.
pub(crate) struct TokenMarks {
    /// All keys except that of all tokens, which is the same for each token.
    keys: Box<[[u8; 16]]>,
    /// The earliest time if the token has no `iat`: such a token counts as issued before.
    issued_at: i64,
}

impl RevocationIndex {
    /// Returns the marks of a valid token.
    pub(crate) fn marks(&self, token: &str, claims: &Claims) -> TokenMarks {
        let memo = claims.record_memo();
        let keys = memo.keys_or_init(|| self.keys_of(token, [claims]));
        let all_tokens = self.issuer.all_tokens().into_bytes();
        let issued_at = claims.issued_at().or_else(|| memo.issued_at());
        let mut keys: Vec<_> = keys.iter().filter(|key| **key != all_tokens).copied().collect();
        // An introspected JWT has the same claims twice.
        keys.sort_unstable();
        keys.dedup();
        TokenMarks { keys: keys.into(), issued_at: issued_at.unwrap_or(i64::MIN) }
    }

    /// Returns the key of the record that concerns all tokens.
    pub(crate) fn key_of_all_tokens(&self) -> RecordKey {
        self.issuer.all_tokens()
    }

    /// Checks a token with these marks. `all_tokens` is [`key_of_all_tokens`](Self::key_of_all_tokens), `requested_at` the
    /// generation at which its verdict was requested, and `now` is in seconds since 1970.
    pub(crate) fn check_marks(
        &self,
        marks: &TokenMarks,
        all_tokens: RecordKey,
        requested_at: u64,
        now: i64,
    ) -> Standing {
        let keys = marks.keys.iter().copied().map(RecordKey::from_bytes);
        self.standing(keys.chain([all_tokens]), Some(marks.issued_at), requested_at, now)
    }
}
