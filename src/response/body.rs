//! The body of a rejection.

use actix_web::{http::header::HeaderValue, web::Bytes};
use serde_json::json;

/// The body of a rejection and its content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    pub(super) content_type: HeaderValue,
    pub(super) bytes: Bytes,
}

impl ErrorBody {
    /// Creates a body with any bytes and content type.
    ///
    /// # Panics
    /// If the content type is not a valid header value.
    pub fn new(content_type: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { content_type: HeaderValue::from_static(content_type), bytes: bytes.into().into() }
    }

    /// Creates an `application/json` body.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::new("application/json", value.to_string())
    }

    /// Creates a `text/plain` body in UTF-8.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new("text/plain; charset=utf-8", text.into())
    }

    /// Creates an empty body.
    pub fn empty() -> Self {
        Self::new("text/plain; charset=utf-8", "")
    }

    pub(super) fn of_message(message: &'static str, reference: Option<&str>) -> Self {
        Self::json(&match reference {
            Some(reference) => json!({ "message": message, "reference": reference }),
            None => json!({ "message": message }),
        })
    }
}
