//! Strict parsers for PEM (RFC 7468) and percent-encoding (RFC 3986 section 2.1).

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;

pub(super) const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The dashes of every encapsulation boundary.
const DASHES: &str = "-----";

/// The characters with which values of a header are joined.
const SEPARATORS: [char; 2] = [',', ';'];

/// Returns the content of the first `CERTIFICATE` block. Text is allowed before the first block and after the last
/// one (RFC 7468 section 5.2), white space between blocks and inside the base64, because some proxies write spaces
/// instead of line breaks.
///
/// Further blocks must be well-formed too, no other boundary may occur, and only white space is allowed between two
/// blocks.
///
/// A proxy that does not replace the header of the client may join both values with a comma or a semicolon. Such text
/// is rejected: after the last block, if it contains one of these characters; before the first block, if it contains
/// another value (see [`is_joined`]).
pub(super) fn first_certificate(pem: &str) -> Option<Vec<u8>> {
    let mut first = None;
    let mut rest = pem;
    while let Some((before, block)) = rest.split_once(BEGIN) {
        let is_allowed = if first.is_none() {
            !before.contains(DASHES) && !is_joined(before)
        } else {
            is_white_space(before)
        };
        let (content, after) = block.split_once(END).filter(|_| is_allowed)?;
        let content = base64(content)?;
        first.get_or_insert(content);
        rest = after;
    }
    first.filter(|_| !rest.contains(DASHES) && !rest.contains(SEPARATORS))
}

/// Returns whether this text before a block contains another value of a certificate header. A name such as
/// `CN=me, O=all` is allowed.
fn is_joined(before: &str) -> bool {
    before.contains(SEPARATORS) && before.split(SEPARATORS).any(is_value)
}

/// Returns whether this is a value that proxies write instead of PEM: nothing, `(null)`, a byte sequence of RFC 9440,
/// or the base64 of a DER `SEQUENCE`.
fn is_value(text: &str) -> bool {
    let decoded = percent_decode(text);
    let text = decoded.as_deref().unwrap_or(text);
    let text =
        text.trim_matches(|character: char| character.is_ascii_whitespace() || "\"'".contains(character));
    text.is_empty()
        || text == "(null)"
        || text.starts_with(':')
        || base64(text).is_some_and(|der| der.first() == Some(&0x30))
}

/// Decodes standard base64 with padding. White space is ignored.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let compact: String = text.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    STANDARD.decode(compact).ok()
}

fn is_white_space(text: &str) -> bool {
    text.chars().all(|character| character.is_ascii_whitespace())
}

/// Decodes `%xx`. A `+` stays a plus sign, because some proxies do not encode the plus signs of base64.
pub(super) fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    // The library leaves a percent sign as it is if no two digits follow.
    let has_digits =
        |after: &str| matches!(after.as_bytes(), [high, low, ..] if hex_byte(*high, *low).is_some());
    if !text.split('%').skip(1).all(has_digits) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok()
}

/// Decodes two hexadecimal digits.
pub(super) fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((digit(high)? << 4) | digit(low)?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Encodes everything but the unreserved characters, as nginx does.
    pub(in crate::certificate) fn percent_encode(text: &str) -> String {
        text.bytes()
            .map(|byte| match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    char::from(byte).to_string()
                }
                _ => format!("%{byte:02X}"),
            })
            .collect()
    }

    fn pem(content: &str) -> String {
        format!("{BEGIN}\n{content}\n{END}\n")
    }

    #[test]
    fn reads_the_first_block() {
        for (text, content) in [
            (pem("MAA="), vec![0x30, 0]),
            (pem("MAA=").replace('\n', "\r\n"), vec![0x30, 0]),
            (pem("MAA=").trim_end().to_owned(), vec![0x30, 0]),
            (pem("MAIF\nAA=="), vec![0x30, 2, 5, 0]),
            (format!("\n\n{}\n{}", pem("MAIFAA=="), pem("MAA=")), vec![0x30, 2, 5, 0]),
            // Apache, and others that cannot write line breaks into a header.
            (pem("MAIF\nAA==").replace('\n', " "), vec![0x30, 2, 5, 0]),
            (pem("MAIF\nAA==").replace('\n', ""), vec![0x30, 2, 5, 0]),
            (pem("MAIF\nAA==").replace('\n', "\n\t"), vec![0x30, 2, 5, 0]),
            (pem("M A\nA\r= "), vec![0x30, 0]),
            (format!("subject=CN = me\n{}\n- a tail -", pem("MAA=")), vec![0x30, 0]),
            (format!("subject=CN = me, O = all; C = de\n{}", pem("MAA=")), vec![0x30, 0]),
        ] {
            assert_eq!(first_certificate(&text), Some(content), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "\n",
            "MAA=",
            BEGIN,
            END,
            &format!("{BEGIN}\nMAA="),
            &format!("{BEGIN}\nMAA=\n{END}{END}"),
            &format!("{END}{}", pem("MAA=")),
            &format!("MAA=\n{END}"),
            &pem("MAA"),        // no padding
            &pem("MAB="),       // bits beyond the last byte
            &pem("MAA=\nMAA="), // padding within
            &pem("MA\u{a0}A="), // white space that is not ASCII
            &pem("Comment: x\n\nMAA="),
            &pem("-_-_"), // base64url
            &pem("MA%20A="),
            &format!("{}{}", pem("MAA="), pem("!")),
            &format!("{}{}", pem("!"), pem("MAA=")),
            &format!("{},{}", pem("MAA="), pem("MAA=")),
            &format!("{}a second leaf\n{}", pem("MAA="), pem("MAA=")),
            &format!("{}, (null)", pem("MAA=")),
            &format!("{};", pem("MAA=")),
            &format!("{} a tail, MAIFAA==", pem("MAA=")),
            &format!("(null), {}", pem("MAA=")),
            &format!("MAIFAA==; more, {}", pem("MAA=")),
            &format!("subject=CN=me, :MAIFAA==: , more {}", pem("MAA=")),
            &format!("{BEGIN}\n{}", pem("MAA=")),
            &format!("{}{BEGIN}\n", pem("MAA=")),
            &pem("MAA=").replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
            &pem("MAA=").replace("CERTIFICATE", "PUBLIC KEY"),
            &format!("{}{}", pem("MAA=").replace("CERTIFICATE", "PUBLIC KEY"), pem("MAA=")),
            &format!("{}{}", pem("MAA="), pem("MAA=").replace("CERTIFICATE", "PUBLIC KEY")),
            &pem("MAA=").replace("BEGIN", "begin"),
            &pem("MAA=").replace("BEGIN CERTIFICATE", "BEGIN+CERTIFICATE"),
        ] {
            assert_eq!(first_certificate(text), None, "{text}");
        }
    }

    #[test]
    fn percent_decoding_is_strict() {
        for (text, decoded) in [
            ("", Some("")),
            ("a%20b%0a%0A", Some("a b\n\n")),
            ("a+b/c=", Some("a+b/c=")),
            ("%2B%25", Some("+%")),
            ("%", None),
            ("%2", None),
            ("a%", None),
            ("%zz", None),
            ("%+1", None),
            ("% 1", None),
            ("%ff", None),
            ("%C3%A9", Some("é")),
        ] {
            assert_eq!(percent_decode(text).as_deref(), decoded, "{text}");
        }
    }
}
