//! The readers of a document.

use crate::deadline::Deadline;

/// A reader of a document, and its deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(super) deadline: Deadline,
    pub(super) kind: ReaderKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReaderKind {
    Request,
    Renewer,
    Task,
}

impl Reader {
    /// Returns the reader of a request. It takes a place among the waiting requests, unless it starts the fetch.
    pub(crate) fn request(deadline: Deadline) -> Self {
        Self { deadline, kind: ReaderKind::Request }
    }

    /// Returns the reader of a call or a fetch. The requests that wait for it are already counted.
    pub(crate) fn task(deadline: Deadline) -> Self {
        Self { deadline, kind: ReaderKind::Task }
    }
}
