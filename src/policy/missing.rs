//! The scopes or groups that a token lacks, as a text for the log.

/// The longest text in a log record, in characters.
const LONGEST: usize = 200;

/// Returns the names that are expected: one of each list. They are names of the configuration or of a handler, and never
/// claims of the caller.
pub(crate) fn expected<S: AsRef<str>>(lists: &[&[S]]) -> String {
    let parts: Vec<String> = lists
        .iter()
        .map(|names| match (quoted(names), lists.len() > 1 && names.len() > 1) {
            (names, true) => format!("({names})"),
            (names, false) => names,
        })
        .collect();
    let text = parts.join(" and ");
    match text.char_indices().nth(LONGEST) {
        None => format!("expected {text}"),
        Some((end, _)) => format!("expected {}…", text.split_at(end).0),
    }
}

/// Returns the texts in quotes, separated by `or`.
pub(crate) fn quoted<S: AsRef<str>>(texts: &[S]) -> String {
    texts.iter().map(|text| format!("{:?}", text.as_ref())).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_one_of_each_list_and_is_limited() {
        for (lists, text) in [
            (&[&["a"][..]][..], r#"expected "a""#),
            (&[&["a", "b"]], r#"expected "a" or "b""#),
            (&[&["a"], &["b"]], r#"expected "a" and "b""#),
            (&[&["a"], &["b", "c\n"]], r#"expected "a" and ("b" or "c\n")"#),
        ] {
            assert_eq!(expected(lists), text);
        }
        let long = "ä".repeat(10_000);
        let text = expected(&[&[&long, &long][..]]);
        assert_eq!(text, format!("expected \"{}…", "ä".repeat(LONGEST - 1)));
    }
}
