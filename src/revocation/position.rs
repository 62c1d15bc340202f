//! The position of a record.

use std::fmt;

/// The position of a record in the list of a [`SharedStore`](crate::shared_store::SharedStore). A later record has a higher
/// position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    high: u64,
    low: u64,
}

impl Position {
    /// Creates a position. `high` is compared first. In a Redis stream, these are the two numbers of an entry id.
    pub const fn new(high: u64, low: u64) -> Self {
        Self { high, low }
    }

    /// Returns the number that is compared first.
    pub const fn high(self) -> u64 {
        self.high
    }

    /// Returns the number that is compared second.
    pub const fn low(self) -> u64 {
        self.low
    }
}

/// Prints both numbers, as in the entry ids of Redis: `1800000000000-0`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.high, self.low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_is_compared_first() {
        assert!(Position::new(1, 9) < Position::new(2, 0));
        assert!(Position::new(2, 0) < Position::new(2, 1));
        assert_eq!(Position::new(2, 1).to_string(), "2-1");
    }
}
