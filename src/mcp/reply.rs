//! The responses to requests that are rejected because of the protocol. Their bodies are JSON-RPC errors, and contain
//! nothing of the request except its id.

use std::borrow::Cow;

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, ORIGIN},
};
use serde_json::{Value, json};

use super::{headers::Mismatch, message::Id, payload::PayloadFault};

/// The characters of an origin that a log record shows.
const MAX_LOGGED_ORIGIN: usize = 100;

/// A reason to reject a request that does not concern its token.
#[derive(Debug)]
pub(super) enum ProtocolFault {
    Origin,
    Body(PayloadFault),
    NotJson,
    /// A header does not match the body of the request with this id.
    Mismatch(Mismatch, Option<Value>),
}

impl ProtocolFault {
    /// Returns the name of the reason in log records.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Body(PayloadFault::TooLarge) => "body_too_large",
            Self::Body(PayloadFault::Broken) => "body_broken",
            Self::NotJson => "not_json",
            Self::Mismatch(..) => "header_mismatch",
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::Origin => "the Origin is not allowed",
            Self::Body(PayloadFault::TooLarge) => "the body is too large",
            Self::Body(PayloadFault::Broken) => "the body is incomplete",
            Self::NotJson => "the body is not JSON",
            Self::Mismatch(mismatch, _) => mismatch.describe(),
        }
    }

    /// Returns the reason for the log. It names the origin of a request that is rejected because of it.
    pub(super) fn log_text(&self, headers: &HeaderMap) -> Cow<'static, str> {
        match (self, headers.get(ORIGIN)) {
            (Self::Origin, Some(origin)) => {
                let origin = String::from_utf8_lossy(origin.as_bytes());
                let shown: String = origin.chars().take(MAX_LOGGED_ORIGIN).collect();
                format!("the Origin {shown:?} is not one of `origins`").into()
            }
            _ => self.text().into(),
        }
    }

    pub(super) fn response(self) -> HttpResponse {
        let text = self.text();
        match self {
            Self::Origin => error(HttpResponse::Forbidden(), None, -32600, text),
            Self::Body(fault) => {
                let mut response = match fault {
                    PayloadFault::TooLarge => HttpResponse::PayloadTooLarge(),
                    PayloadFault::Broken => HttpResponse::BadRequest(),
                };
                // The rest of the body is not read.
                response.force_close();
                error(response, None, -32600, text)
            }
            Self::NotJson => error(HttpResponse::BadRequest(), None, -32700, text),
            Self::Mismatch(_, id) => {
                error(HttpResponse::BadRequest(), id, -32020, &format!("Header mismatch: {text}"))
            }
        }
    }
}

/// Returns the id for a response; `None` if it is neither a string nor an integer.
pub(super) fn id(id: Option<&Id<'_>>) -> Option<Value> {
    match id? {
        Id::Text(text) => Some(Value::from(&*text.0)),
        Id::Number(number) => Some(Value::from(*number)),
        Id::Other => None,
    }
}

fn error(mut response: HttpResponseBuilder, id: Option<Value>, code: i32, message: &str) -> HttpResponse {
    let mut body = json!({ "jsonrpc": "2.0", "error": { "code": code, "message": message } });
    if let (Some(id), Some(members)) = (id, body.as_object_mut()) {
        members.insert("id".to_owned(), id);
    }
    response
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")))
        .insert_header((CONTENT_TYPE, HeaderValue::from_static("application/json")))
        .body(body.to_string())
}
