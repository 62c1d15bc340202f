//! Distinguishes a malformed JWT from an opaque token, so that a JWT that the strict parser rejects is not sent to
//! the server.

/// The number of bytes of a segment that are examined. The strict parser rejects a longer header.
const MAX_LOOKED_AT: usize = 16 * 1024;

/// Returns whether a token is meant as a signed JWT, even if it is malformed. It has three segments. Either the
/// first one contains the name of the member `alg` or `kid` in base64, or it starts as a JSON object and the second
/// one is a JSON object with members.
///
/// The alphabet, padding, line breaks, left-over bits, zero bytes (UTF-16), a byte order mark, invalid UTF-8 and
/// letter case do not matter here. Random bytes are taken for a JWT with a probability of less than 2⁻²⁰ (a segment
/// of 8 KiB; less than 2⁻³⁰ for usual lengths). An opaque token of base64 JSON and a signature (`itsdangerous`) is
/// not taken for one, because its second segment is a time.
pub(crate) fn resembles_jwt(token: &str) -> bool {
    let mut segments = token.split('.');
    let (Some(header), Some(payload), Some(_), None) =
        (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return false;
    };
    let text = decode(header, 0);
    // A character that was inserted or removed shifts all later ones. Therefore all four start positions are tried.
    names_jose_member(&text)
        || (starts_with(&text, b"\"}") && (is_payload(payload) || (ends_as_object(&text) && has_typ(&text))))
        || (1..4).any(|start| names_jose_member(&decode(header, start)))
}

fn names_jose_member(text: &[u8]) -> bool {
    contains(text, b"\"alg\"") || contains(text, b"\"kid\"")
}

fn has_typ(text: &[u8]) -> bool {
    contains(text, b"\"typ\"")
}

fn contains(text: &[u8], name: &[u8]) -> bool {
    text.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name))
}

fn is_payload(segment: &str) -> bool {
    let text = decode(segment, 0);
    starts_with(&text, b"\"") && (segment.len() > MAX_LOOKED_AT || ends_as_object(&text))
}

/// Returns whether the text starts with `{`, followed by one of these bytes.
fn starts_with(text: &[u8], next: &[u8]) -> bool {
    let mut bytes = text.iter().filter(|byte| !is_ignored(**byte));
    bytes.next() == Some(&b'{') && bytes.next().is_some_and(|byte| next.contains(byte))
}

fn ends_as_object(text: &[u8]) -> bool {
    text.iter().rfind(|byte| !is_ignored(**byte)) == Some(&b'}')
}

/// Returns whether a byte is white space or part of a byte order mark.
fn is_ignored(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf | 0xfe | 0xff)
}

/// Decodes base64 of either alphabet from this character on. Other characters, left-over bits and zero bytes are
/// skipped.
fn decode(segment: &str, start: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(segment.len().min(MAX_LOOKED_AT));
    let (mut bits, mut count) = (0_u32, 0_u32);
    for value in segment.bytes().take(MAX_LOOKED_AT).filter_map(value_of).skip(start) {
        bits = (bits << 6) | value;
        count += 6;
        if count >= 8 {
            count -= 8;
            text.extend(u8::try_from((bits >> count) & 0xff).ok().filter(|byte| *byte != 0));
            bits &= (1 << count) - 1;
        }
    }
    text
}

fn value_of(character: u8) -> Option<u32> {
    let value = match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = r#"{"alg":"ES256","kid":"k??>","typ":"at+jwt"}"#;
    const PAYLOAD: &str = r#"{"iss":"https://as.example.test","sub":"alice","exp":1900000000}"#;

    fn with_header(header: impl AsRef<[u8]>) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(PAYLOAD))
    }

    #[test]
    fn a_jwt_is_one_in_every_encoding() {
        let utf16 = |bytes: fn(u16) -> [u8; 2]| HEADER.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
        let headers: [Vec<u8>; 20] = [
            HEADER.into(),
            format!("\u{feff}{HEADER}").into(),
            format!("  \r\n\t{HEADER} \n").into(),
            HEADER.replace('{', "{ ").into(),
            HEADER.to_uppercase().into(),
            HEADER.replace("alg", "Alg").into(),
            HEADER.replace("\"alg\"", "\"\\u0061lg\"").into(),
            format!("{HEADER}x").into(),
            format!("{HEADER}{HEADER}").into(),
            HEADER.replace('}', "").into(),
            HEADER.replace('}', ",}").into(),
            HEADER.replace("ES256", "none").into(),
            HEADER.replace("\"ES256\"", "256").into(),
            "{}".into(),
            "{\"typ\":\"JWT\"}".into(),
            "{\"alg\"".into(),
            "{\"x\":".into(),
            [HEADER.as_bytes(), b"\xff"].concat(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
        ];
        for header in headers {
            let token = with_header(&header);
            assert!(resembles_jwt(&token), "{}", String::from_utf8_lossy(&header));
        }
        for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE] {
            assert!(resembles_jwt(&format!("{}.{}.c2ln", engine.encode(HEADER), engine.encode(PAYLOAD))));
            assert!(resembles_jwt(&format!("{}..", engine.encode(HEADER))), "neither payload nor signature");
        }
        let long = format!(r#"{{"x5c":["{}"],"alg":"ES256"}}"#, "A".repeat(100_000));
        assert!(resembles_jwt(&with_header(long)));
        assert!(resembles_jwt(&format!("{}.x.", URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT"}"#))));
    }

    #[test]
    fn an_opaque_token_stays_one() {
        let (header, payload) = (URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(PAYLOAD));
        for token in [
            "",
            ".",
            "..",
            "a.b.c",
            "e30.e30.e30",
            "ory_at_x.y",
            "v2.local.x",
            "2YotnFZFEjr1zCsicMWpAA.x.y",
            // itsdangerous and Django: JSON, a time, a signature.
            "eyJ1c2VyX2lkIjo1LCJzY29wZSI6ImEifQ.ZoyR2A.H6LI9vYqNc5e",
            "e30.ZoyR2A.H6LI9vYqNc5e",
            "eyJ1c2VyX2lkIjo1fQ:1sXyz.x.y",
        ] {
            assert!(!resembles_jwt(token), "{token}");
        }
        for token in [
            format!("{header}.{payload}"),
            format!("{header}.{payload}.c2ln."),
            format!("{header}.a.b.c.d"),
            format!("v1.{payload}.c2ln"),
            with_header("[]"),
            with_header("\"alg"),
            with_header("ES256"),
        ] {
            assert!(!resembles_jwt(&token), "{token}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn random_tokens_are_opaque(token in "[A-Za-z0-9_~+/-]{0,60}\\.[A-Za-z0-9_~+/-]{0,60}\\.[A-Za-z0-9_~+/-]{0,60}") {
            prop_assert!(!resembles_jwt(&token));
        }

        #[test]
        fn a_jwt_with_a_changed_character_is_one(
            position in any::<prop::sample::Index>(), length in 0..4_usize, piece in "[A-Za-z0-9_~+/=-]{0,4}",
        ) {
            let mut token = with_header(HEADER);
            let start = position.index(token.len());
            let end = (start + length).min(token.len());
            prop_assume!(!token.get(start..end).unwrap().contains('.'));
            token.replace_range(start..end, &piece);
            prop_assert!(resembles_jwt(&token), "{}", token);
        }
    }
}
