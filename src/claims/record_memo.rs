//! The result of the last check of a token against the revocation records, so that a token is checked again only after a
//! new record.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// The generations count the records of the issuer.
#[derive(Debug, Default)]
pub(crate) struct RecordMemo {
    /// The generation at which the verdict was requested. With 0, every record is later.
    requested_at: AtomicU64,
    /// No record concerned the token at this generation.
    clear_at: AtomicU64,
    /// The keys of the records that can concern the token. They are computed when it is first checked against a record.
    keys: OnceLock<Box<[[u8; 16]]>>,
    /// The `iat` of the JWT, if the introspection response has none.
    issued_at: OnceLock<i64>,
}

impl RecordMemo {
    pub(crate) fn requested_at(&self) -> u64 {
        self.requested_at.load(Ordering::Relaxed)
    }

    /// Sets the generation at which the verdict was requested. Called before the claims are shared with other requests.
    pub(crate) fn set_requested_at(&self, generation: u64) {
        self.requested_at.store(generation, Ordering::Relaxed);
    }

    /// Marks claims that no verdict can replace: those of a JWT whose signature was verified.
    pub(crate) fn set_verified(&self) {
        self.set_requested_at(u64::MAX);
    }

    pub(crate) fn is_clear_at(&self, generation: u64) -> bool {
        self.clear_at.load(Ordering::Relaxed) == generation
    }

    pub(crate) fn set_clear_at(&self, generation: u64) {
        self.clear_at.store(generation, Ordering::Relaxed);
    }

    pub(crate) fn keys_or_init(&self, keys: impl FnOnce() -> Box<[[u8; 16]]>) -> &[[u8; 16]] {
        self.keys.get_or_init(keys)
    }

    pub(crate) fn issued_at(&self) -> Option<i64> {
        self.issued_at.get().copied()
    }

    /// Sets the `iat` of the JWT, for an introspection response without `iat`.
    pub(crate) fn set_issued_at(&self, issued_at: i64) {
        let _is_first = self.issued_at.set(issued_at);
    }
}
