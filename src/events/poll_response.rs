//! The response to a poll (RFC 8936 section 2.3). It is read without a map of its members, so that it needs no more memory than
//! its text, whatever the transmitter sends.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The maximum number of events that are read. If the transmitter sends more, the others are not acknowledged, and it sends them
/// again.
pub(super) const MAX_EVENTS: usize = 100;

/// Security event tokens by their `jti`, as the transmitter states it; `None` in place of a value that is not a string.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PolledEvents(pub(super) Vec<(String, Option<String>)>);

impl PolledEvents {
    /// Reads a response.
    pub(super) fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body).map(|PollResponse(events)| events)
    }
}

struct PollResponse(PolledEvents);

impl<'de> Deserialize<'de> for PollResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = PollResponse;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<PollResponse, A::Error> {
                let mut sets = None;
                while let Some(name) = members.next_key::<String>()? {
                    if name != "sets" {
                        members.next_value::<IgnoredAny>()?;
                    } else if sets.replace(members.next_value()?).is_some() {
                        return Err(A::Error::duplicate_field("sets"));
                    }
                }
                Ok(PollResponse(sets.unwrap_or_default()))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for PolledEvents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Events;

        impl<'de> Visitor<'de> for Events {
            type Value = PolledEvents;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object in `sets`")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut events: A) -> Result<PolledEvents, A::Error> {
                let mut read = Vec::new();
                while read.len() < MAX_EVENTS
                    && let Some((id, TextOrOther(set))) = events.next_entry()?
                {
                    read.push((id, set));
                }
                while events.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(PolledEvents(read))
            }
        }

        deserializer.deserialize_map(Events)
    }
}

/// A string; `None` for every other value.
struct TextOrOther(Option<String>);

impl<'de> Deserialize<'de> for TextOrOther {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = TextOrOther;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E>(self, text: &str) -> Result<TextOrOther, E> {
                Ok(TextOrOther(Some(text.to_owned())))
            }

            fn visit_bool<E>(self, _: bool) -> Result<TextOrOther, E> {
                Ok(TextOrOther(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<TextOrOther, E> {
                Ok(TextOrOther(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<TextOrOther, E> {
                Ok(TextOrOther(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<TextOrOther, E> {
                Ok(TextOrOther(None))
            }

            fn visit_unit<E>(self) -> Result<TextOrOther, E> {
                Ok(TextOrOther(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<TextOrOther, A::Error> {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                Ok(TextOrOther(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<TextOrOther, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(TextOrOther(None))
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<Vec<(String, Option<String>)>> {
        PolledEvents::read(body.as_bytes()).ok().map(|events| events.0)
    }

    #[test]
    fn events_are_read_in_their_order_and_other_members_are_ignored() {
        let text = |text: &str| Some(text.to_owned());
        for (body, events) in [
            ("{}", Some(vec![])),
            (r#"{"moreAvailable":true,"sets":{}}"#, Some(vec![])),
            (
                r#"{"sets":{"b":"1","a":"\u0032"},"x":[{"sets":[]}]}"#,
                Some(vec![("b".to_owned(), text("1")), ("a".to_owned(), text("2"))]),
            ),
            ("[]", None),
            ("{", None),
            (r#"{"sets":[]}"#, None),
            (r#"{"sets":null}"#, None),
            (r#"{"sets":{}} {}"#, None),
            (r#"{"sets":{},"sets":{}}"#, None),
            ("\u{0}", None),
        ] {
            assert_eq!(read(body), events, "{body}");
        }
        assert!(PolledEvents::read(b"{\"sets\":{\"a\":\"\xff\"}}").is_err());
    }

    #[test]
    fn a_value_that_is_no_string_is_no_event() {
        for value in ["1", "-1", "1.5", "true", "null", "[[1],{}]", "{\"a\":[\"b\"]}"] {
            let events = read(&format!("{{\"sets\":{{\"a\":{value},\"b\":\"c\"}}}}")).unwrap();
            let expected = [("a".to_owned(), None), ("b".to_owned(), Some("c".to_owned()))];
            assert_eq!(events, expected, "{value}");
        }
    }

    #[test]
    fn no_more_events_are_read_than_were_requested() {
        let sets: Vec<_> = (0..5000).map(|number| format!("\"{number:04}\":\"e\"")).collect();
        let events = read(&format!("{{\"sets\":{{{}}},\"moreAvailable\":true}}", sets.join(","))).unwrap();
        assert_eq!(events.len(), MAX_EVENTS);
        assert_eq!(events.last().unwrap().0, "0099");
        assert!(read(&format!("{{\"sets\":{{{}}}", sets.join(","))).is_none(), "the rest is parsed too");
    }
}
