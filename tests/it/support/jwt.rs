//! The segments of JWTs.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

/// Returns the header and the payload of a JWT.
pub(crate) fn decoded(token: &str) -> (Value, Value) {
    let part = |index| {
        let part = token.split('.').nth(index).unwrap();
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    (part(0), part(1))
}
