//! The text of a duration in the units of an operator.

use std::{fmt, time::Duration};

/// Up to this duration, the text has seconds only.
const LONGEST_IN_SECONDS: u64 = 120;

const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];

/// Prints `0 s`, `50 ms`, `90 s` and `16 h 40 min`. The alternate form prints the seconds too: `60000 s (16 h 40 min)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DurationText(pub(crate) Duration);

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(duration) = self;
        let seconds = duration.as_secs();
        if duration.subsec_nanos() % 1_000_000 > 0 {
            return write!(f, "{duration:?}");
        }
        if duration.subsec_millis() > 0 {
            return write!(f, "{} ms", duration.as_millis());
        }
        if seconds <= LONGEST_IN_SECONDS {
            return write!(f, "{seconds} s");
        }
        if !f.alternate() {
            return write_units(seconds, f);
        }
        write!(f, "{seconds} s (")?;
        write_units(seconds, f)?;
        f.write_str(")")
    }
}

fn write_units(seconds: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (mut rest, mut separator) = (seconds, "");
    for (unit, name) in UNITS {
        let count = rest / unit;
        rest %= unit;
        if count > 0 {
            write!(f, "{separator}{count} {name}")?;
            separator = " ";
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_the_units_of_an_operator() {
        for (duration, text, with_seconds) in [
            (Duration::ZERO, "0 s", "0 s"),
            (Duration::from_nanos(1500), "1.5µs", "1.5µs"),
            (Duration::from_millis(50), "50 ms", "50 ms"),
            (Duration::from_millis(1500), "1500 ms", "1500 ms"),
            (Duration::from_secs(120), "120 s", "120 s"),
            (Duration::from_secs(300), "5 min", "300 s (5 min)"),
            (Duration::from_secs(60_000), "16 h 40 min", "60000 s (16 h 40 min)"),
            (Duration::from_secs(7 * 86_400), "7 d", "604800 s (7 d)"),
            (Duration::from_secs(90_061), "1 d 1 h 1 min 1 s", "90061 s (1 d 1 h 1 min 1 s)"),
        ] {
            assert_eq!(DurationText(duration).to_string(), text);
            assert_eq!(format!("{:#}", DurationText(duration)), with_seconds);
        }
    }
}
