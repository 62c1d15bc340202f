//! PEM (RFC 7468) and percent-encoding (RFC 3986 section 2.1), both read strictly.

use base64::{Engine as _, engine::general_purpose::STANDARD};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The content of the first `CERTIFICATE` block. Every further block must be well-formed as well, and only line breaks
/// may stand around them: a text that two readers could understand differently is refused.
pub(super) fn first_certificate(pem: &str) -> Option<Vec<u8>> {
    let mut first = None;
    let mut lines = pem.lines();
    while let Some(line) = lines.next() {
        match line {
            "" => {}
            BEGIN => {
                let content = block(&mut lines)?;
                first.get_or_insert(content);
            }
            _ => return None,
        }
    }
    first
}

fn block<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Option<Vec<u8>> {
    let mut content = String::new();
    loop {
        match lines.next()? {
            END => return STANDARD.decode(content).ok(),
            "" => return None,
            line => content.push_str(line),
        }
    }
}

/// Decodes `%xx`. A `+` stays a plus sign: this is no form, and some proxies leave the plus signs of base64 as they are.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                decoded.push(hex_byte(*high, *low)?);
                after
            }
            (b'%', _) => return None,
            _ => {
                decoded.push(*byte);
                after
            }
        };
    }
    String::from_utf8(decoded).ok()
}

/// The byte of two hexadecimal digits.
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
            &format!("{BEGIN}\nMAA="),
            &format!("{BEGIN}\nMAA=\n{END}{END}"),
            &format!("{BEGIN}MAA={END}"),
            &format!("MAA=\n{END}"),
            &pem("MAA"),          // no padding
            &pem("MAB="),         // bits beyond the last byte
            &pem("MA A="),        // white space within
            &pem("\tMAA="),       // nginx's older, folded variable
            &pem("MAA=\n\nMAA="), // an empty line
            &pem("MAA=\nMAA="),   // padding within
            &pem("MAA=\rMAA="),   // a lone carriage return
            &pem("Comment: x\n\nMAA="),
            &pem("-_-_"), // base64url
            &format!("a leaf\n{}", pem("MAA=")),
            &format!("{}a tail", pem("MAA=")),
            &format!("{}{}", pem("MAA="), pem("!")),
            &format!("{BEGIN}\n{}", pem("MAA=")),
            &pem("MAA=").replace("CERTIFICATE", "TRUSTED CERTIFICATE"),
            &pem("MAA=").replace("CERTIFICATE", "PUBLIC KEY"),
            &pem("MAA=").replace("BEGIN", "begin"),
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
