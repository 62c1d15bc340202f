//! Finds out whether server-sent events end with a complete event.

/// The end of the events so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum EventBoundary {
    /// Nothing, or the end of an empty line: the next line starts an event.
    #[default]
    BetweenEvents,
    /// The end of a line that is not empty.
    LineEnd,
    /// The same, with a carriage return.
    LineReturn,
    /// In a line.
    InLine,
}

impl EventBoundary {
    /// Notes the next bytes of the stream. Lines end with a carriage return, a line feed, or both.
    pub(super) fn note(&mut self, bytes: &[u8]) {
        // The state depends on at most four bytes, after any byte of a line.
        let tail = bytes.len().saturating_sub(8);
        let tail = bytes.get(tail..).unwrap_or_default();
        *self = tail.iter().fold(*self, |state, byte| state.after(*byte));
    }

    pub(super) fn is_between_events(self) -> bool {
        self == Self::BetweenEvents
    }

    fn after(self, byte: u8) -> Self {
        let is_empty_line = self != Self::InLine;
        match (self, byte) {
            // The second half of one line end.
            (Self::LineReturn, b'\n') => Self::LineEnd,
            (_, b'\n' | b'\r') if is_empty_line => Self::BetweenEvents,
            (_, b'\n') => Self::LineEnd,
            (_, b'\r') => Self::LineReturn,
            _ => Self::InLine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_with_an_empty_line() {
        let is_between = |parts: &[&str]| {
            let mut boundary = EventBoundary::default();
            for part in parts {
                boundary.note(part.as_bytes());
            }
            boundary.is_between_events()
        };
        for complete in [
            &[][..],
            &["data: one\n\n"],
            &["data: one\r\n\r\n"],
            &["data: one\r\r"],
            &["data: a long text\n", "\n"],
            &["data: one\r", "\n\r", "\n"],
            &["data: one\n\n", ": comment\n\n"],
            &["\n"],
            &["data: one\n\r\n"],
        ] {
            assert!(is_between(complete), "{complete:?}");
        }
        for partial in [
            &["data: one"][..],
            &["data: one\n"],
            &["data: one\r\n"],
            &["data: one\r", "\n"],
            &["data: one\n\n", "d"],
            &["data: one\n\nevent: two\n"],
            &["\u{feff}"],
        ] {
            assert!(!is_between(partial), "{partial:?}");
        }
    }
}
