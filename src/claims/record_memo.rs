//! The result of the last check of a token against the revocation records, so that a token is checked again only after a
//! new record.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// The parts of a token that are compared with records.
#[derive(Clone, Debug)]
pub(crate) struct RecordMarks {
    /// The keys of the records that can concern the token.
    pub(crate) keys: Box<[[u8; 16]]>,
    /// The time of issue.
    pub(crate) issued_at: Option<i64>,
    /// The `exp` of a JWT. The response to its introspection may have none, or a later one.
    pub(crate) jwt_expires_at: Option<i64>,
}

/// The generations count the records.
#[derive(Debug, Default)]
pub(crate) struct RecordMemo {
    /// The generation at which the verdict was requested. With 0, every record is later.
    requested_at: AtomicU64,
    /// No record concerned the token at this generation.
    clear_at: AtomicU64,
    /// Computed when the token is first checked against a record.
    marks: OnceLock<Box<RecordMarks>>,
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

    pub(crate) fn marks_or_init(&self, marks: impl FnOnce() -> RecordMarks) -> &RecordMarks {
        self.marks.get_or_init(|| Box::new(marks()))
    }
}
