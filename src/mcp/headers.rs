//! Compares the headers `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name` with the body (MCP 2026-07-28, Streamable HTTP,
//! section "Server Validation").

use std::borrow::Cow;

use actix_web::http::header::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::message::{Call, Text, Value};

const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";

/// The first version that requires servers to compare the headers with the body. Versions are dates.
const FIRST: &str = "2026-07-28";

/// A header that does not match the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    Version,
    Method,
    Name,
    /// The body is a batch, or cannot be compared.
    Body,
}

impl Mismatch {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Version => "MCP-Protocol-Version does not match the body",
            Self::Method => "Mcp-Method does not match the body",
            Self::Name => "Mcp-Name does not match the body",
            Self::Body => "the body is not one message that can be compared with the headers",
        }
    }
}

/// Returns whether one of the `MCP-Protocol-Version` headers names a version that requires the comparison.
pub(super) fn require_comparison(headers: &HeaderMap) -> bool {
    headers.get_all(VERSION).any(|version| version.to_str().is_ok_and(requires_comparison))
}

/// Returns whether this version requires the comparison. A version that is no date is unknown to this crate; the server
/// decides about it.
pub(super) fn requires_comparison(version: &str) -> bool {
    let is_date = version.len() == FIRST.len()
        && version.bytes().zip(FIRST.bytes()).all(|(byte, model)| match model {
            b'-' => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    is_date && version >= FIRST
}

/// Compares the headers with a request. Both its body and its headers have a version that requires it.
///
/// The headers may be absent in a notification, for which the specification defines no headers, and in `initialize`, which
/// older versions define.
pub(super) fn compare(headers: &HeaderMap, call: &Call<'_>) -> Result<(), Mismatch> {
    if let Value::Text(Text(version)) = &call.version
        && only(headers, VERSION) != Ok(Some(Cow::from(&**version)))
    {
        return Err(Mismatch::Version);
    }
    let may_be_absent = call.id.is_none() || call.method.0 == "initialize";
    let is_equal = |header: Result<Option<Cow<'_, str>>, Malformed>, body: &str| match header {
        Ok(None) => may_be_absent,
        Ok(Some(value)) => value == body,
        Err(Malformed) => false,
    };
    if !is_equal(only(headers, METHOD), &call.method.0) {
        return Err(Mismatch::Method);
    }
    let body = match &*call.method.0 {
        "tools/call" | "prompts/get" => &call.name,
        "resources/read" => &call.uri,
        _ => return Ok(()),
    };
    match body {
        Value::Text(Text(body)) if is_equal(only(headers, NAME).and_then(decode), body) => Ok(()),
        _ => Err(Mismatch::Name),
    }
}

/// The header occurs twice, or is not text.
#[derive(Debug, PartialEq)]
struct Malformed;

fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<Cow<'h, str>>, Malformed> {
    let mut values = headers.get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Malformed);
    }
    value.to_str().map(|text| Some(text.into())).map_err(|_| Malformed)
}

/// Decodes `=?base64?…?=`.
fn decode(value: Option<Cow<'_, str>>) -> Result<Option<Cow<'_, str>>, Malformed> {
    let encoded = value.as_deref().and_then(|value| value.strip_prefix("=?base64?")?.strip_suffix("?="));
    match encoded {
        None => Ok(value),
        Some(encoded) => {
            let bytes = STANDARD.decode(encoded).map_err(|_| Malformed)?;
            String::from_utf8(bytes).map(|text| Some(text.into())).map_err(|_| Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;
    use crate::mcp::message::{Message, read};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn compared(body: &str, pairs: &[(&'static str, &'static str)]) -> Result<(), Mismatch> {
        let mut outcome = None;
        read(body.as_bytes(), &mut |message| {
            let Message::Call(call) = message else { panic!("{message:?}") };
            outcome = Some(compare(&headers(pairs), &call));
        })
        .unwrap();
        outcome.unwrap()
    }

    #[test]
    fn versions_from_the_first_that_requires_it_are_compared() {
        for (version, is_required) in [
            ("2026-07-28", true),
            ("2026-07-29", true),
            ("2027-01-01", true),
            ("2026-07-27", false),
            ("2025-11-25", false),
            ("DRAFT-2026", false),
            ("2026-07-28 ", false),
            ("", false),
        ] {
            assert_eq!(requires_comparison(version), is_required, "{version:?}");
        }
        let both = headers(&[(VERSION, "2025-11-25"), (VERSION, "2026-07-28")]);
        assert!(require_comparison(&both));
        assert!(!require_comparison(&HeaderMap::new()));
    }

    #[test]
    fn each_header_must_match_exactly_once() {
        let body = r#"{"id":1,"method":"tools/call","params":{"name":"a"}}"#;
        assert_eq!(compared(body, &[(METHOD, "tools/call"), (NAME, "a")]), Ok(()));
        for (pairs, mismatch) in [
            (&[][..], Mismatch::Method),
            (&[(NAME, "a")], Mismatch::Method),
            (&[(METHOD, "tools/list"), (NAME, "a")], Mismatch::Method),
            (&[(METHOD, "Tools/call"), (NAME, "a")], Mismatch::Method),
            (&[(METHOD, "tools/call"), (METHOD, "tools/call"), (NAME, "a")], Mismatch::Method),
            (&[(METHOD, "tools/call")], Mismatch::Name),
            (&[(METHOD, "tools/call"), (NAME, "")], Mismatch::Name),
            (&[(METHOD, "tools/call"), (NAME, "a"), (NAME, "a")], Mismatch::Name),
            (&[(METHOD, "tools/call"), (NAME, "é")], Mismatch::Name),
            (&[(METHOD, "tools/call"), (NAME, "=?base64?YQ?=")], Mismatch::Name),
        ] {
            assert_eq!(compared(body, pairs), Err(mismatch), "{pairs:?}");
        }
        assert_eq!(compared(body, &[(METHOD, "tools/call"), (NAME, "=?base64?YQ==?=")]), Ok(()));
    }

    #[test]
    fn a_resource_is_named_by_its_uri_and_a_name_is_decoded() {
        let read = r#"{"id":1,"method":"resources/read","params":{"uri":"file:///\u00e9"}}"#;
        let encoded = "=?base64?ZmlsZTovLy/DqQ==?=";
        assert_eq!(compared(read, &[(METHOD, "resources/read"), (NAME, encoded)]), Ok(()));
        let sentinel = r#"{"id":1,"method":"prompts/get","params":{"name":"=?base64?literal?="}}"#;
        let encoded = "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=";
        assert_eq!(compared(sentinel, &[(METHOD, "prompts/get"), (NAME, encoded)]), Ok(()));
        let plain = "=?base64?literal?=";
        assert_eq!(compared(sentinel, &[(METHOD, "prompts/get"), (NAME, plain)]), Err(Mismatch::Name));
        for unreadable in [r#"{"name":1}"#, "{}", "null"] {
            let body = format!(r#"{{"id":1,"method":"prompts/get","params":{unreadable}}}"#);
            assert_eq!(compared(&body, &[(METHOD, "prompts/get"), (NAME, "1")]), Err(Mismatch::Name));
        }
    }

    /// The ways in which a client may write a name into the header, and others that it must not use.
    fn written(name: &str, way: usize) -> Vec<u8> {
        use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE};
        let encoded = STANDARD.encode(name);
        match way {
            0 => name.to_owned(),
            1 => format!("=?base64?{encoded}?="),
            2 => format!("=?BASE64?{encoded}?="),
            3 => format!("=?base64?{}?=", STANDARD_NO_PAD.encode(name)),
            4 => format!("=?base64?{}?=", URL_SAFE.encode(name)),
            5 => format!("=?base64?{}?=", STANDARD.encode(format!("=?base64?{encoded}?="))),
            6 => format!("=?base64? {encoded}?="),
            7 => format!("=?base64?{encoded}"),
            8 => format!("=?utf-8?B?{encoded}?="),
            9 => encoded,
            10 => name.to_uppercase(),
            11 => format!("{name}, {name}"),
            12 => format!("\"{name}\""),
            _ => form_urlencoded::byte_serialize(format!("{name}?").as_bytes()).collect(),
        }
        .into_bytes()
    }

    proptest::proptest! {
        /// A name is accepted in the plain form, if it does not look like the encoded one, and in the encoded form.
        #[test]
        fn a_name_is_accepted_only_as_itself_or_in_base64(
            name in proptest::prop_oneof!["[a-c]{1,3}", ".{0,8}", "=\\?base64\\?[a-zA-Z]{0,8}={0,2}\\?="],
            other in proptest::prop_oneof!["[a-c]{1,3}", ".{0,8}"],
            way in 0_usize..14,
        ) {
            let body = serde_json::json!({ "id": 1, "method": "tools/call", "params": { "name": name } }).to_string();
            for sent in [&name, &other] {
                let value = written(sent, way);
                let Ok(header) = HeaderValue::from_bytes(&value) else { continue };
                let mut headers = headers(&[(METHOD, "tools/call")]);
                headers.append(HeaderName::from_static(NAME), header);
                let mut outcome = None;
                read(body.as_bytes(), &mut |message| {
                    let Message::Call(call) = message else { panic!("{message:?}") };
                    outcome = Some(compare(&headers, &call));
                })
                .unwrap();
                let encoded = format!("=?base64?{}?=", STANDARD.encode(&name)).into_bytes();
                let looks_encoded = value.starts_with(b"=?base64?") && value.ends_with(b"?=") && value.len() >= 11;
                let is_printable = value.iter().all(|byte| matches!(byte, 0x20..=0x7e | b'\t'));
                let is_plain = value == name.as_bytes() && !looks_encoded && is_printable;
                let expected = if value == encoded || is_plain { Ok(()) } else { Err(Mismatch::Name) };
                proptest::prop_assert_eq!(outcome, Some(expected), "{:?} for {:?}", value, name);
            }
        }
    }

    #[test]
    fn a_notification_and_initialize_need_no_headers_but_those_present_must_match() {
        for body in [r#"{"method":"notifications/cancelled"}"#, r#"{"id":1,"method":"initialize"}"#] {
            assert_eq!(compared(body, &[]), Ok(()));
            assert_eq!(compared(body, &[(METHOD, "tools/list")]), Err(Mismatch::Method));
        }
        assert_eq!(compared(r#"{"id":null,"method":"ping"}"#, &[]), Err(Mismatch::Method));
    }

    #[test]
    fn the_version_in_the_body_must_be_that_of_the_header() {
        let body = r#"{"id":1,"method":"ping","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        assert_eq!(compared(body, &[(VERSION, "2026-07-28"), (METHOD, "ping")]), Ok(()));
        for version in ["2025-11-25", "2026-07-29"] {
            let mut pairs = vec![(METHOD, "ping")];
            pairs.push((VERSION, version));
            assert_eq!(compared(body, &pairs), Err(Mismatch::Version));
        }
        assert_eq!(compared(body, &[(METHOD, "ping")]), Err(Mismatch::Version));
    }
}
