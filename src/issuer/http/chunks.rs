//! The end of a body in chunked encoding (RFC 9112 section 7.1).
//!
//! awc decodes the body. This module only finds its end, by the same grammar, so that bytes after it are detected.

/// The position in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chunks {
    Size(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// At the beginning of a trailer, or of the empty line that ends the body.
    Line,
    Trailer,
    TrailerLf,
    EndLf,
    End,
    /// There are bytes after the end.
    Surplus,
    /// The body is malformed. awc reports the error.
    Malformed,
}

impl Chunks {
    pub(crate) const START: Self = Self::Size(0);

    /// Returns the position after these bytes.
    pub(crate) fn after(mut self, mut bytes: &[u8]) -> Self {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let Self::Data(left) = self {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                bytes = bytes.get(length..).unwrap_or_default();
                let left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
                self = if left == 0 { Self::DataCr } else { Self::Data(left) };
            } else {
                bytes = rest;
                self = self.after_byte(byte);
            }
        }
        self
    }

    fn after_byte(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Size(size) | Self::Extension(size), b'\r') => Self::SizeLf(size),
            (Self::Size(size), b' ' | b'\t' | b';') | (Self::Extension(size), _) => Self::Extension(size),
            (Self::Size(size), digit) => {
                let digit = char::from(digit).to_digit(16);
                let size = digit.and_then(|digit| size.checked_mul(16)?.checked_add(u64::from(digit)));
                size.map_or(Self::Malformed, Self::Size)
            }
            (Self::SizeLf(0) | Self::TrailerLf, b'\n') => Self::Line,
            (Self::SizeLf(size), b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::START,
            (Self::Line, b'\r') => Self::EndLf,
            (Self::Trailer, b'\r') => Self::TrailerLf,
            (Self::Line | Self::Trailer, _) => Self::Trailer,
            (Self::EndLf, b'\n') => Self::End,
            (Self::End | Self::Surplus, _) => Self::Surplus,
            _ => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_found_in_any_form_and_in_any_pieces() {
        for (bytes, expected) in [
            ("0\r\n\r\n", Chunks::End),
            ("000\r\n\r\n", Chunks::End),
            ("0;a=b\r\n\r\n", Chunks::End),
            ("0 \t\r\n\r\n", Chunks::End),
            ("2\r\nok\r\n0\r\nX-Sum: 1\r\nX-More: 0\r\n\r\n", Chunks::End),
            ("A;x=\"y\"\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", Chunks::End),
            ("5\r\n0\r\n\r\n", Chunks::DataCr),
            ("ff\r\nok", Chunks::Data(253)),
            ("0\r\n", Chunks::Line),
            ("0\r\n\r", Chunks::EndLf),
            ("0\r\nX-Sum: 1\r\n", Chunks::Line),
            ("0\r\n\r\nH", Chunks::Surplus),
            ("0\r\n\r\n0\r\n\r\n", Chunks::Surplus),
            ("0\n\n", Chunks::Malformed),
            ("2\r\nokay\r\n", Chunks::Malformed),
            ("x\r\n", Chunks::Malformed),
            ("10000000000000000\r\n", Chunks::Malformed),
        ] {
            assert_eq!(Chunks::START.after(bytes.as_bytes()), expected, "{bytes:?}");
            for size in 1..bytes.len() {
                let pieces = bytes.as_bytes().chunks(size);
                assert_eq!(pieces.fold(Chunks::START, Chunks::after), expected, "{bytes:?} {size}");
            }
        }
    }
}
