//! The trace context that calls to the authorization server carry (W3C Trace Context, `traceparent`).

use actix_web::http::header::HeaderMap;
#[cfg(feature = "tracing")]
use actix_web::http::header::{HeaderName, HeaderValue};

/// The function that returns the trace context, if the application has set one.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traceparent {
    #[cfg(feature = "tracing")]
    pub(crate) current: Option<fn() -> Option<String>>,
}

impl Traceparent {
    /// No trace context is sent.
    pub(crate) const NONE: Self = Self {
        #[cfg(feature = "tracing")]
        current: None,
    };

    /// Inserts the header, if there is a trace context. A malformed one is not sent.
    #[cfg_attr(
        not(feature = "tracing"),
        expect(clippy::unused_self, unused_variables, reason = "the feature uses them")
    )]
    pub(crate) fn insert_into(self, headers: &mut HeaderMap) {
        #[cfg(feature = "tracing")]
        if let Some(text) = self.current.and_then(|current| current()).filter(|text| is_well_formed(text))
            && let Ok(value) = HeaderValue::try_from(text)
        {
            headers.insert(HeaderName::from_static("traceparent"), value);
        }
    }
}

/// Returns whether this is version, trace id, parent id and flags of version 00 (W3C Trace Context section 3.2).
#[cfg(feature = "tracing")]
fn is_well_formed(text: &str) -> bool {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let mut parts = text.split('-');
    let (Some("00"), Some(trace), Some(parent), Some(flags), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    (trace.len(), parent.len(), flags.len()) == (32, 16, 2)
        && [trace, parent, flags].iter().all(|part| part.bytes().all(is_hex))
        && !is_zero(trace)
        && !is_zero(parent)
}

/// Two functions are equal if their addresses are.
impl PartialEq for Traceparent {
    #[cfg(feature = "tracing")]
    fn eq(&self, other: &Self) -> bool {
        match (self.current, other.current) {
            (Some(one), Some(other)) => std::ptr::fn_addr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    #[cfg(not(feature = "tracing"))]
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Traceparent {}

impl std::fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Traceparent")
    }
}

#[cfg(all(test, feature = "tracing"))]
mod tests {
    use super::*;

    #[test]
    fn only_a_well_formed_trace_context_is_sent() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_well_formed(good));
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let long = format!("{good}-00");
        for bad in [
            "",
            "00",
            zeros,
            &good.to_uppercase(),
            &good.replace("00-4", "ff-4"),
            &long,
            good.trim_end_matches('1'),
        ] {
            assert!(!is_well_formed(bad), "{bad}");
        }
        assert!(!is_well_formed(&good.replace('b', "\n")));
    }
}
