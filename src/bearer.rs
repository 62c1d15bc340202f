//! The bearer token of a request, extracted and checked as RFC 6750 section 2.1 requires.

use std::{fmt, sync::Arc};

use actix_web::http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::error::{AuthError, AuthErrorKind, RequestFault};

/// A token as the caller sent it. `Debug` shows its length, never the token.
#[derive(Clone)]
pub(crate) struct BearerToken(TokenSource);

#[derive(Clone)]
enum TokenSource {
    /// The header's value (shared, not copied) and the offset of the token in it.
    Header(HeaderValue, usize),
    /// The token returned by a token resolver.
    Resolved(Arc<str>),
}

impl BearerToken {
    /// Extracts the token of the `Authorization` header: the scheme `Bearer` in any letter case, one or more
    /// spaces, and a `b64token` of at most `max_length` bytes. Returns `None` if there is no such header, or if it
    /// has another scheme.
    pub(crate) fn from_headers(headers: &HeaderMap, max_length: usize) -> Result<Option<Self>, RequestFault> {
        let mut values = headers.get_all(AUTHORIZATION);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(RequestFault::MultipleTokens);
        }
        let Some(start) = credentials_start(value.as_bytes())? else { return Ok(None) };
        let token = value.as_bytes().get(start..).unwrap_or_default();
        if token.len() > max_length {
            return Err(RequestFault::TooLarge);
        }
        if !is_b64token(token) {
            return Err(RequestFault::Malformed);
        }
        Ok(Some(Self(TokenSource::Header(value.clone(), start))))
    }

    /// Creates the error for headers without a bearer token. Its source names the reason, and a scheme only if it is a usual
    /// one: another text may be a token.
    pub(crate) fn missing(headers: &HeaderMap) -> AuthError {
        let reason = match headers.get(AUTHORIZATION).map(HeaderValue::as_bytes) {
            None => "there is no Authorization header".to_owned(),
            Some(value) => {
                let (scheme, has_space) = match value.iter().position(|byte| *byte == b' ') {
                    Some(end) => (value.get(..end).unwrap_or_default(), true),
                    None => (value, false),
                };
                let known = OTHER_SCHEMES.iter().find(|known| scheme.eq_ignore_ascii_case(known.as_bytes()));
                let found = match (known, has_space) {
                    (Some(known), _) => format!("has the scheme {known}"),
                    (None, true) => "has another scheme".to_owned(),
                    (None, false) => "has no scheme".to_owned(),
                };
                format!("the Authorization header {found}, expected \"Bearer \" before the token")
            }
        };
        AuthError::new(AuthErrorKind::MissingToken).with_source(reason)
    }

    /// Creates the error for headers from which no token can be extracted. Its source says if the token is empty.
    pub(crate) fn unusable(headers: &HeaderMap, fault: RequestFault) -> AuthError {
        let error = AuthError::new(AuthErrorKind::InvalidRequest(fault));
        let value = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
        let credentials = value.get(SCHEME.len()..).unwrap_or_default();
        if fault == RequestFault::Malformed && credentials.iter().all(u8::is_ascii_whitespace) {
            return error.with_source("there is no token after \"Bearer\"");
        }
        error
    }

    /// Creates a token from another source (a cookie, a WebSocket subprotocol). White space is trimmed; the other
    /// checks are the same.
    pub(crate) fn resolved(token: &str, max_length: usize) -> Result<Self, RequestFault> {
        let token = token.trim();
        if token.len() > max_length {
            return Err(RequestFault::TooLarge);
        }
        if !is_b64token(token.as_bytes()) {
            return Err(RequestFault::Malformed);
        }
        Ok(Self(TokenSource::Resolved(token.into())))
    }

    /// Returns a random opaque token of 256 bits in base64url. No server has issued it.
    pub(crate) fn random() -> Self {
        let mut bytes = [0; 32];
        // Without random numbers the token consists of zeros. No server has issued it either.
        let _filled = rand::fill(&mut bytes);
        Self(TokenSource::Resolved(URL_SAFE_NO_PAD.encode(bytes).into()))
    }

    /// Returns a copy that does not keep the head of the request in memory, for a long time.
    pub(crate) fn detached(&self) -> Self {
        Self(TokenSource::Resolved(self.as_str().into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        match &self.0 {
            // A b64token is ASCII, so this cannot fail.
            TokenSource::Header(value, start) => value
                .as_bytes()
                .get(*start..)
                .and_then(|token| str::from_utf8(token).ok())
                .unwrap_or_default(),
            TokenSource::Resolved(token) => token,
        }
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BearerToken([{} bytes, redacted])", self.as_str().len())
    }
}

const SCHEME: &[u8] = b"bearer";

/// The schemes that a log record may name.
const OTHER_SCHEMES: [&str; 6] = ["Basic", "Digest", "DPoP", "JWT", "Negotiate", "Token"];

/// Returns the offset of the credentials; `None` for another scheme.
fn credentials_start(value: &[u8]) -> Result<Option<usize>, RequestFault> {
    let (Some(scheme), rest) = (value.get(..SCHEME.len()), value.get(SCHEME.len()..).unwrap_or_default())
    else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Ok(None);
    }
    match rest.first() {
        Some(b' ') => {
            let spaces = rest.iter().take_while(|byte| **byte == b' ').count();
            Ok(Some(SCHEME.len() + spaces))
        }
        // `Bearerish abc` has another scheme. `Bearer` alone, or followed by a tab, is malformed.
        Some(byte) if is_token_byte(*byte) => Ok(None),
        _ => Err(RequestFault::Malformed),
    }
}

/// Returns whether a byte may be part of a scheme's name (RFC 9110 section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Returns whether the bytes are a `b64token` (RFC 6750 section 2.1): `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" /
/// "+" / "/" ) *"="`.
fn is_b64token(token: &[u8]) -> bool {
    let unpadded = token.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let (body, _padding) = token.split_at(unpadded);
    // Sixteen bytes at once, without an early exit: tokens can be kilobytes long.
    let (chunks, rest) = body.as_chunks::<16>();
    let mut misfits = [false; 16];
    for chunk in chunks {
        for (misfit, byte) in misfits.iter_mut().zip(chunk) {
            *misfit |= !is_b64token_byte(*byte);
        }
    }
    !body.is_empty() && !misfits.contains(&true) && rest.iter().all(|byte| is_b64token_byte(*byte))
}

/// Returns whether a byte may be part of a `b64token`. Uses ranges without branches or a table, because tokens can
/// be kilobytes long.
#[expect(clippy::needless_bitwise_bool, reason = "`||` branches")]
fn is_b64token_byte(byte: u8) -> bool {
    let is_letter = byte.is_ascii_alphabetic();
    // `+`, `-`, `.`, `/` and the digits follow each other, with a comma among them.
    let is_digit_or_sign = matches!(byte, b'+'..=b'9') & (byte != b',');
    is_letter | is_digit_or_sign | (byte == b'_') | (byte == b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(values: &[&[u8]]) -> Result<Option<String>, RequestFault> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        BearerToken::from_headers(&headers, 64).map(|found| found.map(|token| token.as_str().to_owned()))
    }

    #[test]
    fn finds_the_token_whatever_the_letter_case_of_the_scheme() {
        for value in ["Bearer abc", "bearer abc", "BEARER abc", "bEaReR   abc"] {
            assert_eq!(find(&[value.as_bytes()]), Ok(Some("abc".to_owned())), "{value}");
        }
        assert_eq!(find(&[b"Bearer aZ09-._~+/=="]), Ok(Some("aZ09-._~+/==".to_owned())));
    }

    #[test]
    fn no_header_or_another_scheme_is_no_token() {
        assert_eq!(find(&[]), Ok(None));
        for value in ["", "Basic YTpi", "Bear", "Bearerabc", "Bearer-x abc", "DPoP abc", "abc"] {
            assert_eq!(find(&[value.as_bytes()]), Ok(None), "{value}");
        }
        assert_eq!(find(&[b"\xff\xfe"]), Ok(None));
    }

    #[test]
    fn the_reason_of_a_missing_token_shows_no_text_of_the_caller() {
        let reason = |value: Option<&[u8]>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            }
            BearerToken::missing(&headers).text()
        };
        assert_eq!(reason(None), "no bearer token: there is no Authorization header");
        for (value, found) in [
            (&b""[..], "has no scheme"),
            (b"s3cr3t-token", "has no scheme"),
            (b"\xff\xfe", "has no scheme"),
            (b"Basic czNjcjN0", "has the scheme Basic"),
            (b"basic", "has the scheme Basic"),
            (b"dpop s3cr3t", "has the scheme DPoP"),
            (b"s3cr3t s3cr3t", "has another scheme"),
        ] {
            let text = format!(
                "no bearer token: the Authorization header {found}, expected \"Bearer \" before the token"
            );
            assert_eq!(reason(Some(value)), text);
        }
    }

    #[test]
    fn refuses_what_is_no_b64token() {
        for value in [
            &b"Bearer"[..],
            b"Bearer ",
            b"Bearer    ",
            b"Bearer\tabc",
            b"Bearer \tabc",
            b"Bearer abc def",
            b"Bearer abc,Bearer def",
            b"Bearer abc, Bearer def",
            b"Bearer =",
            b"Bearer a=b",
            b"Bearer \"abc\"",
            b"Bearer a\xc2\xa0b",
            b"Bearer\xa0abc",
            b"Bearer t\xc3\xb6ken",
            b"Bearer abc;",
        ] {
            assert_eq!(find(&[value]), Err(RequestFault::Malformed), "{}", String::from_utf8_lossy(value));
        }
    }

    #[test]
    fn the_alphabet_is_that_of_the_rfc() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";
        for byte in 0..=u8::MAX {
            assert_eq!(is_b64token_byte(byte), alphabet.contains(&byte), "{byte:#x}");
        }
    }

    #[test]
    fn a_misfit_is_found_wherever_it_is() {
        for length in 1..=64 {
            let token = vec![b'a'; length];
            assert!(is_b64token(&token), "{length}");
            for place in 0..length {
                for misfit in [b' ', b',', b'"', b'\\', b'[', b'{', 0, 0x7f, 0x80, 0xff] {
                    let mut token = token.clone();
                    token[place] = misfit;
                    assert!(!is_b64token(&token), "{length} bytes, {misfit:#x} at {place}");
                }
            }
        }
    }

    #[test]
    fn refuses_two_authorization_headers() {
        for pair in [
            [&b"Bearer a"[..], b"Bearer a"],
            [b"Bearer a", b"Bearer b"],
            [b"Bearer a", b""],
            [b"Basic a", b"Bearer b"],
        ] {
            assert_eq!(find(&pair), Err(RequestFault::MultipleTokens));
        }
    }

    #[test]
    fn refuses_a_token_past_the_maximum_length() {
        assert!(find(&[format!("Bearer {}", "a".repeat(64)).as_bytes()]).unwrap().is_some());
        assert_eq!(find(&[format!("Bearer {}", "a".repeat(65)).as_bytes()]), Err(RequestFault::TooLarge));
        assert_eq!(find(&[format!("Bearer {}", ".".repeat(65_536)).as_bytes()]), Err(RequestFault::TooLarge));
    }

    #[test]
    fn a_resolved_token_is_trimmed_and_checked() {
        assert_eq!(BearerToken::resolved(" abc\n", 64).unwrap().as_str(), "abc");
        assert_eq!(BearerToken::resolved("", 64).unwrap_err(), RequestFault::Malformed);
        assert_eq!(BearerToken::resolved("Bearer abc", 64).unwrap_err(), RequestFault::Malformed);
        assert_eq!(BearerToken::resolved(&"a".repeat(65), 64).unwrap_err(), RequestFault::TooLarge);
    }

    #[test]
    fn debug_does_not_show_the_token() {
        let token = BearerToken::resolved("s3cr3t-token", 64).unwrap();
        assert_eq!(format!("{token:?}"), "BearerToken([12 bytes, redacted])");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30_000))]

        #[test]
        fn any_header_gives_a_b64token_or_a_refusal(value in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(header) = HeaderValue::from_bytes(&value) {
                let mut headers = HeaderMap::new();
                headers.append(AUTHORIZATION, header);
                if let Ok(Some(token)) = BearerToken::from_headers(&headers, 64) {
                    prop_assert!(is_b64token(token.as_str().as_bytes()));
                    prop_assert!(value.ends_with(token.as_str().as_bytes()));
                }
            }
        }

        #[test]
        fn every_b64token_is_found(token in "[A-Za-z0-9._~+/-]{1,60}={0,3}", spaces in 1_usize..4) {
            let value = format!("Bearer{}{token}", " ".repeat(spaces));
            prop_assert_eq!(find(&[value.as_bytes()]), Ok(Some(token)));
        }
    }
}
