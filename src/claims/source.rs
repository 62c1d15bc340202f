//! The JSON text of claims, from which the map of all members is built when it is needed.

use serde_json::{Map, Value};

/// The source of the map of all members.
pub(super) enum ClaimsSource {
    /// The claims were created from a map.
    Map,
    /// The payload of a JWT.
    Payload(Box<[u8]>),
    /// An introspection response; its `active` is not a claim of the token.
    Answer(Box<[u8]>),
}

impl ClaimsSource {
    pub(super) fn members(&self) -> Map<String, Value> {
        let (Self::Payload(json) | Self::Answer(json)) = self else { return Map::new() };
        // These bytes were parsed as an object before, by the same parser.
        let mut members: Map<String, Value> = serde_json::from_slice(json).unwrap_or_default();
        if matches!(self, Self::Answer(_)) {
            members.remove("active");
        }
        members
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Map => 0,
            Self::Payload(json) | Self::Answer(json) => json.len(),
        }
    }
}
