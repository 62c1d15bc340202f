//! The JOSE header of a signed JWT (RFC 7515 section 4), read without trusting it.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{algorithm::Algorithm, claims::token_type::without_prefix};

/// The longest encoded header, in bytes: room for a chain of certificates in `x5c` (which is ignored).
const MAX_ENCODED: usize = 16 * 1024;

/// Headers up to this many bytes are decoded on the stack. Without certificates they have 60 to 200.
const ON_STACK: usize = 512;

/// The most members that are not known here. Names must be compared to find duplicates, so the number is bounded.
const MAX_OTHER_MEMBERS: usize = 32;

/// The header of a token.
pub(crate) struct JwtHeader {
    /// `alg`, where it is an asymmetric signature algorithm that is supported.
    pub(crate) algorithm: Option<Algorithm>,
    /// `kid`.
    pub(crate) kid: Option<Box<str>>,
    /// `typ`.
    pub(crate) typ: Typ,
    /// A member occurs twice, `kid` or `typ` is no string, or there is one of [`UNSUPPORTED_HEADER_PARAMS`] or a compression.
    pub(crate) is_malformed: bool,
}

/// The type of a token according to its header (RFC 7519 section 5.1, RFC 9068 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Typ {
    /// Absent, `JWT` or `application/jwt`: any kind of JWT.
    Jwt,
    /// `at+jwt` or `application/at+jwt`.
    AccessToken,
    /// Anything else.
    Other,
}

/// Members that change what the rest means, none of which is supported: critical extensions (RFC 7515 section 4.1.11,
/// RFC 8725 section 3.10), unencoded payloads (RFC 7797), and encryption (RFC 7516). `zip` is one too, except for
/// `"NONE"`, by which `ForgeRock` says that nothing is compressed.
const UNSUPPORTED_HEADER_PARAMS: [&str; 3] = ["crit", "b64", "enc"];

impl JwtHeader {
    /// Decodes the first segment of a token; `None` where it is not a JSON object with a string `alg`.
    pub(crate) fn decode(segment: &str) -> Option<Self> {
        if segment.len() > MAX_ENCODED {
            return None;
        }
        let (mut stack, heap);
        let json = if base64::decoded_len_estimate(segment.len()) <= ON_STACK {
            stack = [0; ON_STACK];
            let length = URL_SAFE_NO_PAD.decode_slice(segment, &mut stack).ok()?;
            stack.get(..length)?
        } else {
            heap = URL_SAFE_NO_PAD.decode(segment).ok()?;
            heap.as_slice()
        };
        // The whole must be UTF-8: serde_json would not look into the strings that it skips.
        Self::read(serde_json::from_str(str::from_utf8(json).ok()?).ok()?)
    }

    fn read(members: Members<'_>) -> Option<Self> {
        let Some(Text::String(alg)) = members.alg else {
            return None;
        };
        let (kid, kid_is_malformed) = match members.kid {
            None => (None, false),
            Some(Text::String(kid)) => (Some(kid.into()), false),
            Some(Text::Other) => (None, true),
        };
        let is_compressed = match members.zip {
            None => false,
            Some(Text::String(zip)) => zip != "NONE",
            Some(Text::Other) => true,
        };
        Some(Self {
            algorithm: alg.parse().ok(),
            kid,
            typ: members.typ.as_ref().map_or(Typ::Jwt, Typ::from_text),
            is_malformed: members.is_malformed
                || kid_is_malformed
                || is_compressed
                || matches!(members.typ, Some(Text::Other)),
        })
    }
}

impl Typ {
    fn from_text(text: &Text<'_>) -> Self {
        let Text::String(typ) = text else { return Self::Other };
        // The prefix of a media type is usually omitted (RFC 7515 section 4.1.9).
        match without_prefix(typ, "application/") {
            typ if typ.eq_ignore_ascii_case("JWT") => Self::Jwt,
            typ if typ.eq_ignore_ascii_case("at+jwt") => Self::AccessToken,
            _ => Self::Other,
        }
    }
}

/// The members of the header, borrowed from it. Those that would name or carry a key (`jku`, `x5u`, `jwk`, `x5c`, `x5t`)
/// are ignored like every unknown one: keys come from the issuer's set only (RFC 8725 section 3.10).
#[derive(Default)]
struct Members<'a> {
    alg: Option<Text<'a>>,
    kid: Option<Text<'a>>,
    typ: Option<Text<'a>>,
    zip: Option<Text<'a>>,
    is_malformed: bool,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                // Stays without memory for the usual header, which has the three known members only.
                let mut others: Vec<Cow<'de, str>> = Vec::new();
                while let Some(Name(name)) = access.next_key()? {
                    let slot = match &*name {
                        "alg" => &mut members.alg,
                        "kid" => &mut members.kid,
                        "typ" => &mut members.typ,
                        "zip" => &mut members.zip,
                        other => {
                            access.next_value::<IgnoredAny>()?;
                            members.is_malformed |= UNSUPPORTED_HEADER_PARAMS.contains(&other)
                                || others.len() == MAX_OTHER_MEMBERS
                                || others.contains(&name);
                            if !members.is_malformed {
                                others.push(name);
                            }
                            continue;
                        }
                    };
                    members.is_malformed |= slot.replace(access.next_value()?).is_some();
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A member's name.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A member's value, where only a string matters.
enum Text<'a> {
    String(Cow<'a, str>),
    Other,
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text::String(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text::String(Cow::Owned(text.to_owned())))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Text::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Text::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Text::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Text::Other)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Text::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                while access.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Text::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
                while access.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text::Other)
            }
        }

        deserializer.deserialize_any(Any)
    }
}
