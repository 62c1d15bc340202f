//! The head of a response: its end, the delimitation of the body, and the form in which awc reads it.
//!
//! awc treats every head as the final one, and a body whose length it cannot determine as empty. Therefore awc never
//! reads the framing of the server. This module determines the framing by RFC 9112 section 6.3, and writes it in a
//! form with only one meaning.

use std::io::Write as _;

use actix_web::web::{BufMut as _, BytesMut};

/// The maximum number of headers, as in awc.
const MAX_HEADERS: usize = 96;

/// A complete head at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Status 100 and 102 to 199: the final response follows.
    Interim {
        length: usize,
    },
    /// Status 101: the connection no longer speaks HTTP.
    Upgrade,
    Final {
        length: usize,
        body: Body,
        closes: bool,
        rewritten: BytesMut,
    },
}

/// The delimitation of the body of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// Reads a head. Returns `Ok(None)` if it is not complete yet.
    pub(crate) fn read(bytes: &[u8], answers_head_request: bool) -> Result<Option<Self>, &'static str> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match httparse::ParserConfig::default()
            .allow_spaces_after_header_name_in_responses(true)
            .parse_response(&mut response, bytes)
        {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("the head of the response is not HTTP"),
        };
        let status = response.code.unwrap_or_default();
        match status {
            101 => return Ok(Some(Self::Upgrade)),
            100..=199 => return Ok(Some(Self::Interim { length })),
            200..=599 => {}
            _ => return Err("the status of the response is not between 100 and 599"),
        }
        let is_http10 = response.version == Some(0);
        let fields = HeaderFields::read(response.headers)?;
        let asks_to_close = fields.close || (is_http10 && !fields.keep_alive);
        let has_no_body = answers_head_request || matches!(status, 204 | 304);
        let body = match fields {
            _ if has_no_body => Body::Length(0),
            HeaderFields { chunked: true, .. } if is_http10 => {
                return Err("chunked encoding in an HTTP/1.0 response");
            }
            HeaderFields { chunked: true, .. } => Body::Chunked,
            HeaderFields { content_length: Some(length), .. } => Body::Length(length),
            // Not read until the connection closes, unless the server announces that it will close it.
            _ if asks_to_close => Body::UntilClose,
            _ => return Err("the response has neither Content-Length nor chunked encoding"),
        };
        // The connection is closed after a response without a body, because some servers send a body nevertheless,
        // and after a response with two lengths.
        let closes =
            asks_to_close || body == Body::Length(0) || (fields.chunked && fields.content_length.is_some());

        let mut rewritten = BytesMut::with_capacity(length + 64);
        let version = if body == Body::UntilClose { "1.0" } else { "1.1" };
        // Writing to memory does not fail.
        let _ = write!(
            (&mut rewritten).writer(),
            "HTTP/{version} {status:03} {}\r\n",
            response.reason.unwrap_or_default()
        );
        let own = response.headers.iter().filter(|header| !is_framing(header.name));
        for header in own {
            rewritten.extend_from_slice(header.name.as_bytes());
            rewritten.extend_from_slice(b": ");
            rewritten.extend_from_slice(header.value);
            rewritten.extend_from_slice(b"\r\n");
        }
        // The length in a response to HEAD is information for the caller.
        let stated = if answers_head_request { fields.content_length } else { None };
        let _ = match (body, stated) {
            (Body::Length(length), None) | (_, Some(length)) if !matches!(status, 204 | 304) => {
                write!((&mut rewritten).writer(), "content-length: {length}\r\n")
            }
            (Body::Chunked, _) => (&mut rewritten).writer().write_all(b"transfer-encoding: chunked\r\n"),
            _ => Ok(()),
        };
        if closes {
            rewritten.extend_from_slice(b"connection: close\r\n");
        }
        rewritten.extend_from_slice(b"\r\n");
        Ok(Some(Self::Final { length, body, closes, rewritten }))
    }
}

/// Returns whether a header describes the connection. Such headers are rewritten. awc interprets `Upgrade`
/// differently.
fn is_framing(name: &str) -> bool {
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "content-length", "upgrade"]
        .iter()
        .any(|framing| name.eq_ignore_ascii_case(framing))
}

#[derive(Default)]
struct HeaderFields {
    content_length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl HeaderFields {
    fn read(headers: &[httparse::Header<'_>]) -> Result<Self, &'static str> {
        let mut fields = Self::default();
        for header in headers {
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = content_length(header.value).ok_or("the Content-Length is not a number")?;
                if fields.content_length.is_some_and(|other| other != length) {
                    return Err("two Content-Length headers differ");
                }
                fields.content_length = Some(length);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                for coding in tokens(header.value) {
                    match coding {
                        // RFC 2616 had "identity" for no coding.
                        coding if coding.eq_ignore_ascii_case(b"identity") && !fields.chunked => {}
                        coding if coding.eq_ignore_ascii_case(b"chunked") && !fields.chunked => {
                            fields.chunked = true;
                        }
                        _ => return Err("an unknown Transfer-Encoding"),
                    }
                }
            } else if header.name.eq_ignore_ascii_case("connection") {
                for option in tokens(header.value) {
                    fields.close |= option.eq_ignore_ascii_case(b"close");
                    fields.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
        }
        Ok(fields)
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Parses a length that consists only of digits; `parse` would accept a sign.
fn content_length(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(head: &str) -> Result<Option<Head>, &'static str> {
        Head::read(head.as_bytes(), false)
    }

    fn body(head: &str) -> Result<(Body, bool), &'static str> {
        match read(head) {
            Ok(Some(Head::Final { body, closes, length, .. })) => {
                assert_eq!(length, head.len(), "{head}");
                Ok((body, closes))
            }
            Ok(other) => panic!("{head}: {other:?}"),
            Err(error) => Err(error),
        }
    }

    #[test]
    fn the_body_is_delimited_as_rfc_9112_says() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", (Body::Length(5), false)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", (Body::Length(5), false)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nUpgrade: websocket\r\n\r\n", (Body::Length(5), false)),
            ("HTTP/1.1 200 OK\nContent-Length: 5\n\n", (Body::Length(5), false)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", (Body::Chunked, false)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n",
                (Body::Length(5), false),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                (Body::Chunked, true),
            ),
            ("HTTP/1.1 200 OK\r\nConnection: foo, Close\r\n\r\n", (Body::UntilClose, true)),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: identity\r\n\r\n",
                (Body::UntilClose, true),
            ),
            ("HTTP/1.0 200 OK\r\n\r\n", (Body::UntilClose, true)),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
                (Body::Length(5), false),
            ),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", (Body::Length(0), true)),
            ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", (Body::Length(0), true)),
            ("HTTP/1.1 599 Odd\r\nContent-Length: 5\r\n\r\n", (Body::Length(5), false)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (Body::Length(0), true)),
        ] {
            assert_eq!(body(head), Ok(expected), "{head}");
        }
    }

    #[test]
    fn a_head_with_no_single_meaning_is_an_error() {
        for head in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
            "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 099 Odd\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 600 Odd\r\nContent-Length: 5\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "{\"active\":true}",
        ] {
            assert!(read(head).is_err(), "{head}");
        }
    }

    #[test]
    fn interim_and_incomplete_heads_are_no_responses() {
        for head in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n"]
        {
            assert_eq!(read(head), Ok(Some(Head::Interim { length: head.len() })));
            for cut in 0..head.len() {
                assert_eq!(Head::read(&head.as_bytes()[..cut], false), Ok(None), "{cut} bytes of {head}");
            }
        }
        assert_eq!(read("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), Ok(Some(Head::Upgrade)));
    }

    #[test]
    fn what_is_rewritten_states_one_framing_and_keeps_the_rest() {
        let head = "HTTP/1.1 200 Fine\r\nUpgrade: websocket\r\nX-One: a\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n{}";
        let Ok(Some(Head::Final { rewritten, .. })) = read(head) else { panic!("{head}") };
        assert_eq!(rewritten, "HTTP/1.1 200 Fine\r\nX-One: a\r\ncontent-length: 5\r\n\r\n");
        let Ok(Some(Head::Final { rewritten, .. })) =
            Head::read(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true)
        else {
            panic!("refused")
        };
        assert_eq!(rewritten, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), tail in "[ -~\r\n]{0,200}") {
            let _ = Head::read(&bytes, false);
            let _ = Head::read(format!("HTTP/1.1 200 OK\r\n{tail}\r\n\r\n").as_bytes(), true);
        }
    }
}
