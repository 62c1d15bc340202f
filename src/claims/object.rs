//! A strict parser for JSON objects. It rejects objects in which a name occurs twice. The map of `serde_json` would
//! use the last one, so that two programs could read one document differently.

use std::{borrow::Cow, cmp::Ordering, fmt};

use serde::de::{
    Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor,
    value::{MapAccessDeserializer, SeqAccessDeserializer},
};
use serde_json::{Map, Value};

/// Returns a document of the server without one leading byte order mark, which a parser may ignore (RFC 8259 section
/// 8.1). Tokens are not such documents: a mark in a JWT is an error.
pub(crate) fn without_byte_order_mark(document: &[u8]) -> &[u8] {
    document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document)
}

/// Parses a JSON object with distinct member names into a map.
pub(crate) fn strict_object(bytes: &[u8]) -> Result<Map<String, Value>, NotAnObject> {
    let members = JsonObject::read(bytes)?;
    Ok(members.0.into_iter().map(|(name, member)| (name.into_owned(), member.into_value())).collect())
}

/// The members of a JSON object with distinct names, sorted by [`by_name`]. Cheaper than a map, because names and
/// strings are borrowed from the document. Nested values are parsed by `serde_json`, which limits the depth to 128
/// levels.
pub(crate) struct JsonObject<'a>(Vec<(Cow<'a, str>, JsonValue<'a>)>);

/// The value of a member.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum JsonValue<'a> {
    Text(Cow<'a, str>),
    /// Every value except a string.
    Other(Value),
}

impl<'a> JsonObject<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, NotAnObject> {
        let text = str::from_utf8(bytes).map_err(|_| NotAnObject { is_json: false, line: 0, column: 0 })?;
        let mut members: Self = serde_json::from_str(text).map_err(|error| NotAnObject {
            is_json: error.is_data(),
            line: error.line(),
            column: error.column(),
        })?;
        // Sorted, so that duplicate names are neighbours and lookups are fast.
        members.0.sort_unstable_by(|(one, _), (other, _)| by_name(one, other));
        let occurs_twice =
            members.0.windows(2).any(|pair| matches!(pair, [(one, _), (other, _)] if one == other));
        if occurs_twice { Err(NotAnObject { is_json: true, line: 0, column: 0 }) } else { Ok(members) }
    }

    /// Creates the members from a parsed map.
    pub(crate) fn from_map(map: &'a Map<String, Value>) -> Self {
        let mut members: Vec<_> =
            map.iter().map(|(name, value)| (Cow::from(name), JsonValue::from_value(value))).collect();
        members.sort_unstable_by(|(one, _), (other, _)| by_name(one, other));
        Self(members)
    }

    /// Returns a member by name. A member that is `null` is treated as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&JsonValue<'a>> {
        self.find(name).filter(|member| !matches!(member, JsonValue::Other(Value::Null)))
    }

    /// Returns whether there is a member with this name, even if it is `null`.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &str) -> Option<&JsonValue<'a>> {
        let index = self.0.binary_search_by(|(known, _)| by_name(known, name)).ok()?;
        self.0.get(index).map(|(_, member)| member)
    }

    /// Returns a string member by name.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            JsonValue::Text(text) => Some(text),
            JsonValue::Other(_) => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &JsonValue<'a>)> {
        self.0.iter().map(|(name, member)| (&**name, member))
    }
}

/// Orders names by length first, which is cheaper to compare. Any total order is sufficient.
fn by_name(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

impl<'a> JsonValue<'a> {
    fn from_value(value: &'a Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text.into()),
            other => Self::Other(other.clone()),
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.into_owned()),
            Self::Other(value) => value,
        }
    }
}

/// The position at which parsing failed. The text of `serde_json`'s error is not kept, because it may quote the
/// document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnObject {
    is_json: bool,
    line: usize,
    column: usize,
}

impl fmt::Display for NotAnObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_json { "not an object with distinct members" } else { "not JSON" })?;
        match self.line {
            0 => Ok(()),
            line => write!(f, " at line {line} column {}", self.column),
        }
    }
}

impl std::error::Error for NotAnObject {}

impl<'de> Deserialize<'de> for JsonObject<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = JsonObject<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<JsonObject<'de>, A::Error> {
                // This capacity is enough for most tokens, so that there is one allocation.
                let mut members = Vec::with_capacity(16);
                while let Some((Name(name), member)) = access.next_entry()? {
                    members.push((name, member));
                }
                Ok(JsonObject(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A member name, borrowed from the document if it contains no escape.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match JsonValue::deserialize(deserializer)? {
            JsonValue::Text(name) => Ok(Self(name)),
            JsonValue::Other(_) => Err(D::Error::custom("a name that is no string")),
        }
    }
}

impl<'de> Deserialize<'de> for JsonValue<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = JsonValue<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<JsonValue<'de>, E> {
                Ok(JsonValue::Text(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<JsonValue<'de>, E> {
                Ok(JsonValue::Text(text.to_owned().into()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<JsonValue<'de>, E> {
                Ok(JsonValue::Other(value.into()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<JsonValue<'de>, E> {
                Ok(JsonValue::Other(value.into()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<JsonValue<'de>, E> {
                Ok(JsonValue::Other(value.into()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<JsonValue<'de>, E> {
                Ok(JsonValue::Other(value.into()))
            }

            fn visit_unit<E>(self) -> Result<JsonValue<'de>, E> {
                Ok(JsonValue::Other(Value::Null))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<JsonValue<'de>, A::Error> {
                Value::deserialize(SeqAccessDeserializer::new(access)).map(JsonValue::Other)
            }

            // Numbers and strings also arrive here if the application enables `serde_json`'s `arbitrary_precision`
            // or `raw_value`.
            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<JsonValue<'de>, A::Error> {
                match Value::deserialize(MapAccessDeserializer::new(access))? {
                    Value::String(text) => Ok(JsonValue::Text(text.into())),
                    value => Ok(JsonValue::Other(value)),
                }
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_an_object() {
        let object =
            strict_object(br#"{"active":true,"n":[1,{"a":null}],"f":-0.5,"big":18446744073709551615}"#)
                .unwrap();
        assert_eq!(
            Value::Object(object),
            json!({"active": true, "n": [1, {"a": null}], "f": -0.5, "big": u64::MAX})
        );
    }

    #[test]
    fn finds_members_and_borrows_their_texts() {
        let document = br#"{"b":"text","a":7,"c":null,"\u0064":"esc\u0061ped"}"#;
        let members = JsonObject::read(document).unwrap();
        assert!(matches!(members.get("b"), Some(JsonValue::Text(Cow::Borrowed("text")))));
        assert_eq!(members.get("a"), Some(&JsonValue::Other(json!(7))));
        assert_eq!((members.text("a"), members.get("c"), members.get("e")), (None, None, None));
        assert_eq!(members.text("d"), Some("escaped"));
    }

    #[test]
    fn the_error_quotes_nothing() {
        let error = strict_object(br#""{\"active\":true,\"sub\":\"alice\"}""#).unwrap_err();
        assert_eq!(error.to_string(), "not an object with distinct members at line 1 column 37");
        assert_eq!(strict_object(b"<alice>").unwrap_err().to_string(), "not JSON at line 1 column 1");
        let twice = strict_object(br#"{"alice":1,"alice":1}"#).unwrap_err();
        assert_eq!(twice.to_string(), "not an object with distinct members");
    }

    #[test]
    fn one_byte_order_mark_is_removed_and_a_parser_accepts_none() {
        let document = "{\"a\":1}";
        for (marks, is_accepted) in [("", true), ("\u{feff}", true), ("\u{feff}\u{feff}", false)] {
            let marked = format!("{marks}{document}");
            let read = strict_object(without_byte_order_mark(marked.as_bytes()));
            assert_eq!(read.is_ok(), is_accepted, "{marks:?}");
            assert_eq!(strict_object(marked.as_bytes()).is_ok(), marks.is_empty(), "{marks:?}");
        }
        for cut in [&b"\xef\xbb{}"[..], b"\xef{}", b" \xef\xbb\xbf{}", b"\xff\xfe{}"] {
            assert!(strict_object(without_byte_order_mark(cut)).is_err(), "{cut:?}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for bad in
            ["", "[]", "true", "null", "\"a\"", "{", "{}x", r#"{"a":1,"a":2}"#, r#"{"a":1,"b":3,"\u0061":1}"#]
        {
            assert!(strict_object(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(strict_object("[".repeat(100_000).as_bytes()).is_err());
        assert!(strict_object(format!("{{\"a\":{}", "[".repeat(100_000)).as_bytes()).is_err());
        assert!(strict_object(b"{\"a\":\"\xff\"}").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Accepted input is what `serde_json` accepts, with the same content, so parsing the same bytes into a map
        /// cannot fail.
        #[test]
        fn agrees_with_serde_json(text in r#"\{("[ab]":(0|-1|1e4|1e400|0\.5|null|true|"x"|"\\u00e9"|"\\ud800"|\[1,\[\]\]|\{"c":1,"c":2\}|tru|"\t"),?){0,3}\}"#) {
            let whole: Option<Map<String, Value>> = serde_json::from_str(&text).ok();
            match strict_object(text.as_bytes()) {
                Ok(strict) => prop_assert_eq!(Some(strict), whole),
                Err(error) => prop_assert!(whole.is_none() || error.is_json, "{}", text),
            }
        }
    }
}
