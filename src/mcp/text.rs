//! Names that two programs may read differently.

/// Returns whether two names are different, but a lenient reader may take one for the other: they differ in case, white space
/// or control characters only. Go's JSON decoder, for example, ignores the case of member names, and takes `ſ` for `s`
/// and the Kelvin sign for `k`.
pub(super) fn resembles(one: &str, other: &str) -> bool {
    one != other && folded(one).eq(folded(other))
}

fn folded(text: &str) -> impl Iterator<Item = char> {
    let visible = text.chars().filter(|character| !character.is_whitespace() && !character.is_control());
    visible.map(|character| match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    })
}

/// Returns whether a member name is one of those by which serde's libraries pass a value that is not an object. A reader
/// may replace the whole object by the member's value.
pub(super) fn is_private_to_serde(name: &str) -> bool {
    name.starts_with('$') && name.contains("serde")
}

/// Returns whether a name has only characters that MCP recommends for the names of tools, so that no reader normalises it.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_lenient_reader_may_confuse_resemble_each_other() {
        for (one, other) in [
            ("method", "Method"),
            ("params", "param\u{17f}"),
            ("tools/call", "TOOLS/CALL"),
            ("tools/call", " tools/call\0"),
            ("ask", "as\u{212a}"),
        ] {
            assert!(resembles(one, other) && resembles(other, one), "{one:?} {other:?}");
        }
        for (one, other) in [("method", "method"), ("method", "methods"), ("a", ""), ("a.b", "ab")] {
            assert!(!resembles(one, other), "{one:?} {other:?}");
        }
    }
}
