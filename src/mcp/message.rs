//! Reads the JSON-RPC messages in the body of a request, as far as they decide which scopes are required. A message with a
//! part that two programs may read differently is [`Message::Ambiguous`].

mod member;
mod params;

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

pub(super) use self::member::{Id, Text, Value};
use self::{
    member::{Member, Once},
    params::{Fields, Params},
};

/// The member of `params._meta` that states the protocol version.
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// Whether a body is one message, or an array of messages (JSON-RPC 2.0 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Single,
    Batch,
}

/// A JSON-RPC message.
#[derive(Debug, PartialEq)]
pub(super) enum Message<'a> {
    Call(Call<'a>),
    /// The response of the client to a request of the server (before MCP 2026-07-28).
    Response,
    /// It cannot be determined which method or tool it calls.
    Ambiguous,
}

/// A request or a notification.
#[derive(Debug, PartialEq)]
pub(super) struct Call<'a> {
    /// `None` for a notification.
    pub(super) id: Option<Id<'a>>,
    pub(super) method: Text<'a>,
    /// `params.name`; `null` if it is absent.
    pub(super) name: Value<'a>,
    /// `params.uri`; `null` if it is absent.
    pub(super) uri: Value<'a>,
    /// The protocol version in `params._meta`; `null` if it is absent.
    pub(super) version: Value<'a>,
}

/// Reads a body, and calls `each` with each of its messages. They are not collected, because a batch may have many.
///
/// # Errors
/// If the body is not JSON. The error is not kept, because its text may quote the body.
pub(super) fn read<'a>(body: &'a [u8], each: &mut dyn FnMut(Message<'a>)) -> Result<Form, NotJson> {
    let text = str::from_utf8(body).map_err(|_| NotJson)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let form = BodySeed(each).deserialize(&mut deserializer).map_err(|_| NotJson)?;
    deserializer.end().map_err(|_| NotJson)?;
    Ok(form)
}

/// The body is not JSON.
#[derive(Debug)]
pub(super) struct NotJson;

struct BodySeed<'e, 'a>(&'e mut dyn FnMut(Message<'a>));

impl<'de> DeserializeSeed<'de> for BodySeed<'_, 'de> {
    type Value = Form;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Form, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BodySeed<'_, 'de> {
    type Value = Form;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message or batch")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Form, A::Error> {
        while let Some(message) = access.next_element::<Message<'de>>()? {
            (self.0)(message);
        }
        Ok(Form::Batch)
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Form, A::Error> {
        (self.0)(read_message(access)?);
        Ok(Form::Single)
    }

    member::visit_scalars!(Form, |visitor: Self| {
        (visitor.0)(Message::Ambiguous);
        Form::Single
    });
}

impl<'de> Deserialize<'de> for Message<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Element;

        impl<'de> Visitor<'de> for Element {
            type Value = Message<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON-RPC message")
            }

            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Message<'de>, A::Error> {
                read_message(access)
            }

            // A parser of structs accepts their members in an array.
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Message<'de>, A::Error> {
                while access.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Message::Ambiguous)
            }

            member::visit_scalars!(Message<'de>, |_: Self| Message::Ambiguous);
        }

        deserializer.deserialize_any(Element)
    }
}

fn read_message<'de, A: MapAccess<'de>>(mut access: A) -> Result<Message<'de>, A::Error> {
    let mut is_ambiguous = false;
    let (mut id, mut method, mut params) = (Once::Absent, Once::Absent, Once::Absent);
    let (mut result, mut error) = (Once::Absent, Once::Absent);
    while let Some(Text(name)) = access.next_key()? {
        match Member::new(&name, &["id", "method", "params", "result", "error"]) {
            Member::Known("id") => id.set(access.next_value()?),
            Member::Known("method") => method.set(access.next_value()?),
            Member::Known("params") => params.set(access.next_value::<Option<Params<'_>>>()?),
            Member::Known("result") => result.set(access.next_value::<IgnoredAny>()?),
            Member::Known(_) => error.set(access.next_value::<IgnoredAny>()?),
            Member::Other => drop(access.next_value::<IgnoredAny>()?),
            Member::Confusable => {
                is_ambiguous = true;
                access.next_value::<IgnoredAny>()?;
            }
        }
    }
    let is_repeated = id.is_repeated() || method.is_repeated() || params.is_repeated();
    if is_ambiguous || is_repeated || result.is_repeated() || error.is_repeated() {
        return Ok(Message::Ambiguous);
    }
    let params = match params.into_option().flatten() {
        None => Fields { name: Value::Null, uri: Value::Null, version: Value::Null },
        Some(Params::Object(fields)) => fields,
        Some(Params::Ambiguous) => return Ok(Message::Ambiguous),
    };
    Ok(match method.into_option() {
        Some(Value::Text(method)) => {
            let Fields { name, uri, version } = params;
            Message::Call(Call { id: id.into_option(), method, name, uri, version })
        }
        None if !result.is_absent() || !error.is_absent() => Message::Response,
        _ => Message::Ambiguous,
    })
}

#[cfg(test)]
mod tests;
