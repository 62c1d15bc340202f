//! The `params` of a request.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{
    VERSION,
    member::{self, Member, Once, Text, Value},
};

/// The `params` of a request, if they are not `null`.
pub(super) enum Params<'a> {
    Object(Fields<'a>),
    Ambiguous,
}

/// The members of `params` that are read. A member that is absent is `null`.
pub(super) struct Fields<'a> {
    pub(super) name: Value<'a>,
    pub(super) uri: Value<'a>,
    pub(super) version: Value<'a>,
}

impl<'de> Deserialize<'de> for Params<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyParams;

        impl<'de> Visitor<'de> for AnyParams {
            type Value = Params<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the parameters of a request")
            }

            fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Params<'de>, A::Error> {
                read_params(access)
            }

            // A parser of structs accepts their members in an array.
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Params<'de>, A::Error> {
                while access.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Params::Ambiguous)
            }

            member::visit_scalars!(Params<'de>, |_: Self| Params::Ambiguous);
        }

        deserializer.deserialize_any(AnyParams)
    }
}

fn read_params<'de, A: MapAccess<'de>>(mut access: A) -> Result<Params<'de>, A::Error> {
    let (mut name, mut uri, mut meta) = (Once::Absent, Once::Absent, Once::Absent);
    let mut is_ambiguous = false;
    while let Some(Text(member)) = access.next_key()? {
        match Member::new(&member, &["name", "uri", "_meta"]) {
            Member::Known("name") => name.set(access.next_value()?),
            Member::Known("uri") => uri.set(access.next_value()?),
            Member::Known(_) => meta.set(access.next_value()?),
            Member::Other => drop(access.next_value::<IgnoredAny>()?),
            Member::Confusable => {
                is_ambiguous = true;
                access.next_value::<IgnoredAny>()?;
            }
        }
    }
    let is_repeated = name.is_repeated() || uri.is_repeated() || meta.is_repeated();
    let version = meta.into_option().map_or(Value::Null, |Meta(version)| version);
    if is_ambiguous || is_repeated || version == Value::Other {
        return Ok(Params::Ambiguous);
    }
    let [name, uri] = [name, uri].map(|value| value.into_option().unwrap_or(Value::Null));
    Ok(Params::Object(Fields { name, uri, version }))
}

/// The protocol version in `_meta`.
struct Meta<'a>(Value<'a>);

impl<'de> Deserialize<'de> for Meta<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyMeta;

        impl<'de> Visitor<'de> for AnyMeta {
            type Value = Meta<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the metadata of a request")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Meta<'de>, A::Error> {
                let (mut version, mut is_ambiguous) = (Once::Absent, false);
                while let Some(Text(member)) = access.next_key()? {
                    match Member::new(&member, &[VERSION]) {
                        Member::Known(_) => version.set(access.next_value()?),
                        Member::Other => drop(access.next_value::<IgnoredAny>()?),
                        Member::Confusable => {
                            is_ambiguous = true;
                            access.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                let is_ambiguous = is_ambiguous || version.is_repeated();
                let version = version.into_option().unwrap_or(Value::Null);
                Ok(Meta(if is_ambiguous { Value::Other } else { version }))
            }

            // A value that is no object has no version. The server rejects it.
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Meta<'de>, A::Error> {
                while access.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Meta(Value::Other))
            }

            member::visit_scalars!(Meta<'de>, |_: Self| Meta(Value::Null));
        }

        deserializer.deserialize_any(AnyMeta)
    }
}
