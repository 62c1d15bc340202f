//! Estimates the memory of claims, to limit caches by bytes.

use serde_json::Value;

use crate::claims::{
    Audience,
    object::{JsonObject, JsonValue},
    scope::Scopes,
};

/// Estimates the memory of these members as a map, in bytes.
pub(super) fn of_map(members: &JsonObject<'_>) -> usize {
    NODE + members.iter().map(|(name, member)| size_of_member(name, member)).sum::<usize>()
}

/// The memory of the smallest map that is not empty: one node with room for eleven members.
const NODE: usize = 11 * (size_of::<String>() + size_of::<Value>());

/// Estimates the memory beside the map: each string, and its place in a list.
pub(super) fn of_strings(audience: &Audience, scopes: &Scopes, others: [Option<&str>; 3]) -> usize {
    let strings = audience.iter().chain(scopes.iter()).chain(others.into_iter().flatten());
    strings.map(|string| 2 * ALLOCATION + string.len()).sum()
}

fn size_of_member(name: &str, member: &JsonValue<'_>) -> usize {
    let content = match member {
        JsonValue::Text(text) => ALLOCATION + text.len(),
        JsonValue::Other(value) => size_of_content(value),
    };
    slots(name) + content
}

/// Estimates the slots of a member. The nodes of a map have room for eleven members and are at least half full
/// (except the first), so a member uses about two slots.
fn slots(name: &str) -> usize {
    2 * (size_of::<String>() + size_of::<Value>()) + ALLOCATION + name.len()
}

/// The overhead of the allocator for each allocation.
const ALLOCATION: usize = 16;

/// Estimates the memory of a value beside its slot. The JSON parser limits the depth.
fn size_of_content(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => ALLOCATION + text.len(),
        Value::Array(items) => {
            // A list has a capacity of four at first and doubles it.
            let contents = items.iter().map(size_of_content).sum::<usize>();
            ALLOCATION + 2 * items.len().max(2) * size_of::<Value>() + contents
        }
        Value::Object(members) => {
            let sizes = members.iter().map(|(name, value)| slots(name) + size_of_content(value));
            ALLOCATION + NODE + sizes.sum::<usize>()
        }
    }
}
