//! About how many bytes claims take: what bounds the memory of a cache of them.

use serde_json::Value;

use super::Audience;
use crate::{
    json::{Member, Members},
    scope::Scopes,
};

/// About how many bytes these members take as a map.
pub(super) fn of_map(members: &Members<'_>) -> usize {
    NODE + members.iter().map(|(name, member)| size_of_member(name, member)).sum::<usize>()
}

/// The least that a map with anything in it takes: one node, with room for eleven members.
const NODE: usize = 11 * (size_of::<String>() + size_of::<Value>());

/// And what stands beside the map: each string, and its place in a list.
pub(super) fn of_strings(audience: &Audience, scopes: &Scopes, others: [Option<&str>; 3]) -> usize {
    let strings = audience.iter().chain(scopes.iter()).chain(others.into_iter().flatten());
    strings.map(|string| 2 * ALLOCATION + string.len()).sum()
}

fn size_of_member(name: &str, member: &Member<'_>) -> usize {
    let content = match member {
        Member::Text(text) => ALLOCATION + text.len(),
        Member::Other(value) => size_of_content(value),
    };
    slots(name) + content
}

/// A map's nodes have room for eleven members and are at least half full (but for the first), hence about two slots each.
fn slots(name: &str) -> usize {
    2 * (size_of::<String>() + size_of::<Value>()) + ALLOCATION + name.len()
}

/// What the allocator adds to and rounds up for each block.
const ALLOCATION: usize = 16;

/// The nesting is bounded where the JSON was read.
fn size_of_content(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => ALLOCATION + text.len(),
        Value::Array(items) => {
            // A list grows from four on, to twice its length at most.
            let contents = items.iter().map(size_of_content).sum::<usize>();
            ALLOCATION + 2 * items.len().max(2) * size_of::<Value>() + contents
        }
        Value::Object(members) => {
            let sizes = members.iter().map(|(name, value)| slots(name) + size_of_content(value));
            ALLOCATION + NODE + sizes.sum::<usize>()
        }
    }
}
