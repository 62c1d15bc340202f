//! The names and values of members.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::mcp::text::{is_private_to_serde, resembles};

/// Implements the methods of a visitor for every JSON value except objects and arrays.
macro_rules! visit_scalars {
    ($value:ty, $make:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<$value, E> {
            Ok(($make)(self))
        }

        fn visit_i64<E>(self, _: i64) -> Result<$value, E> {
            Ok(($make)(self))
        }

        fn visit_u64<E>(self, _: u64) -> Result<$value, E> {
            Ok(($make)(self))
        }

        fn visit_f64<E>(self, _: f64) -> Result<$value, E> {
            Ok(($make)(self))
        }

        fn visit_str<E>(self, _: &str) -> Result<$value, E> {
            Ok(($make)(self))
        }

        fn visit_unit<E>(self) -> Result<$value, E> {
            Ok(($make)(self))
        }
    };
}
pub(super) use visit_scalars;

/// The name of a member.
pub(super) enum Member {
    Known(&'static str),
    /// A reader may take it for a known name, or may replace the object by its value.
    Confusable,
    Other,
}

impl Member {
    pub(super) fn new(name: &str, known: &[&'static str]) -> Self {
        if let Some(known) = known.iter().find(|known| **known == name) {
            return Self::Known(known);
        }
        let is_confusable = is_private_to_serde(name) || known.iter().any(|known| resembles(known, name));
        if is_confusable { Self::Confusable } else { Self::Other }
    }
}

/// A member that may occur once.
pub(super) enum Once<T> {
    Absent,
    Present(T),
    Repeated,
}

impl<T> Once<T> {
    pub(super) fn set(&mut self, value: T) {
        *self = match self {
            Self::Absent => Self::Present(value),
            Self::Present(_) | Self::Repeated => Self::Repeated,
        };
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(super) fn is_repeated(&self) -> bool {
        matches!(self, Self::Repeated)
    }

    pub(super) fn into_option(self) -> Option<T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Repeated => None,
        }
    }
}

/// A string, borrowed from the body if it contains no escape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mcp) struct Text<'a>(pub(in crate::mcp) Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl<'de> Visitor<'de> for Name {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(text.to_owned().into()))
            }
        }

        deserializer.deserialize_str(Name)
    }
}

/// A value that should be a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mcp) enum Value<'a> {
    Text(Text<'a>),
    Null,
    Other,
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue).map(|(value, _)| value)
    }
}

/// The `id` of a request, for the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mcp) enum Id<'a> {
    Text(Text<'a>),
    Number(i64),
    Other,
}

impl<'de> Deserialize<'de> for Id<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match deserializer.deserialize_any(AnyValue)? {
            (Value::Text(text), _) => Self::Text(text),
            (_, Some(number)) => Self::Number(number),
            _ => Self::Other,
        })
    }
}

/// Reads any value, and the number if it is an integer.
struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = (Value<'de>, Option<i64>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok((Value::Text(Text(text.into())), None))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok((Value::Text(Text(text.to_owned().into())), None))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok((Value::Null, None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok((Value::Other, None))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok((Value::Other, Some(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok((Value::Other, number.try_into().ok()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok((Value::Other, None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        while access.next_element::<IgnoredAny>()?.is_some() {}
        Ok((Value::Other, None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok((Value::Other, None))
    }
}
