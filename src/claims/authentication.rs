//! The claims about the authentication of the user (RFC 9470 section 6, OpenID Connect Core section 2).

use serde_json::Value;

use super::{Claims, whole_seconds};

impl Claims {
    /// Returns the authentication context of the user (`acr`); `None` if it is missing or no string.
    pub fn acr(&self) -> Option<&str> {
        self.string("acr")
    }

    /// Returns the time at which the user signed in (`auth_time`), in seconds since 1970; `None` if it is missing or no
    /// such time. A fraction is omitted.
    pub fn auth_time(&self) -> Option<i64> {
        let Some(Value::Number(number)) = self.get("auth_time") else { return None };
        let seconds =
            number.as_i64().or_else(|| number.as_f64().and_then(|float| whole_seconds(float.floor())));
        seconds.filter(|seconds| (0..=super::MAX_NUMERIC_DATE).contains(seconds))
    }

    /// Returns the methods with which the user signed in (`amr`): the strings of the array.
    pub fn amr(&self) -> Vec<&str> {
        let methods = self.get("amr").and_then(Value::as_array);
        methods.into_iter().flatten().filter_map(Value::as_str).collect()
    }
}
