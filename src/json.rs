//! JSON objects from outside, read strictly: a member that occurs twice is refused, where `serde_json`'s own map would
//! silently let the last one win (two parties then see two different documents).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Parses a JSON object whose members all have different names. Deeper levels are `serde_json`'s own maps; nesting is
/// bounded by its limit of 128 levels.
pub(crate) fn strict_object(bytes: &[u8]) -> Result<Map<String, Value>, NotAnObject> {
    match serde_json::from_slice::<StrictObject>(bytes) {
        Ok(object) => Ok(object.0),
        Err(error) => {
            Err(NotAnObject { is_json: error.is_data(), line: error.line(), column: error.column() })
        }
    }
}

/// Where bytes stop being what they should be. `serde_json`'s own text may quote the document, claims and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnObject {
    is_json: bool,
    line: usize,
    column: usize,
}

impl fmt::Display for NotAnObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_json { "not an object with distinct members" } else { "not JSON" };
        write!(f, "{what} at line {} column {}", self.line, self.column)
    }
}

impl std::error::Error for NotAnObject {}

struct StrictObject(Map<String, Value>);

impl<'de> Deserialize<'de> for StrictObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = StrictObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<StrictObject, A::Error> {
                let mut members = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    // The name is not in the message: it is a stranger's text.
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a member occurs twice"));
                    }
                }
                Ok(StrictObject(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_object() {
        let object = strict_object(br#"{"active":true,"n":[1,{"a":null}]}"#).unwrap();
        assert_eq!(object.get("active"), Some(&Value::Bool(true)));
        assert_eq!(object.len(), 2);
    }

    #[test]
    fn the_error_quotes_nothing() {
        let error = strict_object(br#""{\"active\":true,\"sub\":\"alice\"}""#).unwrap_err();
        assert_eq!(error.to_string(), "not an object with distinct members at line 1 column 37");
        assert_eq!(strict_object(b"<alice>").unwrap_err().to_string(), "not JSON at line 1 column 1");
    }

    #[test]
    fn refuses_everything_else() {
        for bad in
            ["", "[]", "true", "null", "\"a\"", "{", "{}x", r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":1}"#]
        {
            assert!(strict_object(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(strict_object("[".repeat(100_000).as_bytes()).is_err());
        assert!(strict_object(format!("{{\"a\":{}", "[".repeat(100_000)).as_bytes()).is_err());
        assert!(strict_object(b"{\"a\":\"\xff\"}").is_err());
    }
}
