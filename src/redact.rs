//! URLs in logs, errors and `Debug` output, without credentials, query and fragment, which may be secret.

use std::fmt;

use url::Url;

/// A URL as the operator or a document wrote it. `Debug` and `Display` print only the parts that are not secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UrlText(String);

impl UrlText {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the text has credentials, or text in a place where credentials could be.
    pub(crate) fn may_hold_credentials(&self) -> bool {
        let text = &self.0;
        hides_credentials(text) || Url::parse(text).is_ok_and(|url| has_credentials(&url))
    }
}

impl From<String> for UrlText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for UrlText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&redacted(&self.0), f)
    }
}

/// Returns the scheme, host, port and path of a URL, up to 200 characters. A text with credentials and a text that
/// is not a URL are not printed, because any part of them may be a password.
pub(crate) fn redacted(text: &str) -> String {
    // A bare host means https, as for the issuer.
    let parsed = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("https://{text}")) };
    match parsed {
        Err(_) => "[not shown: it is not a URL]".to_owned(),
        Ok(url) if has_credentials(&url) || hides_credentials(text) => {
            "[not shown: it may hold credentials]".to_owned()
        }
        Ok(_) => {
            let end = text.find(['?', '#']).unwrap_or(text.len());
            let (plain, rest) = text.split_at(end);
            let shown: String = plain.chars().take(200).collect();
            if rest.is_empty() { shown } else { format!("{shown}?…") }
        }
    }
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Returns whether an `@` is in a position where credentials could be: anywhere, unless a scheme determines the end
/// of the host.
fn hides_credentials(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return text.contains('@') };
    rest.trim_start_matches(['/', '\\'])
        .split(['/', '\\', '?', '#'])
        .next()
        .is_some_and(|authority| authority.contains('@'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_url_is_shown_up_to_its_query() {
        for (text, shown) in [
            ("https://as.example.test:8443/a/b", "https://as.example.test:8443/a/b"),
            ("as.example.test/a", "as.example.test/a"),
            ("https://as.example.test/users/@me", "https://as.example.test/users/@me"),
            ("https://as.example.test/j?key=hunter2", "https://as.example.test/j?…"),
            ("https://as.example.test/j?key=a@hunter2", "https://as.example.test/j?…"),
            ("https://as.example.test/j#hunter2", "https://as.example.test/j?…"),
            ("https://as.example.test?hunter2", "https://as.example.test?…"),
        ] {
            assert_eq!(redacted(text), shown);
            assert_eq!(format!("{:?}", UrlText::from(text.to_owned())), format!("{shown:?}"));
        }
        assert_eq!(redacted(&format!("https://as.example.test/{}", "x".repeat(1000))).len(), 200);
    }

    #[test]
    fn credentials_are_never_shown() {
        for text in [
            "https://me:hunter2@as.example.test",
            "https://hunter2@as.example.test",
            "https://:hunter2@as.example.test",
            "me:hunter2@as.example.test",
            "hunter2@as.example.test",
            "ftp://me:hunter2@as.example.test",
            "foo://me:hunter2@as.example.test",
            "https:me:hunter2@as.example.test",
            "https:/me:hunter2@as.example.test",
            "https:\\\\me:hunter2@as.example.test",
            "https://me:hunter2@",
            "https://me:hunter2",
            "https://me:hun/ter2@as.example.test",
            "https://me:hun?ter2@as.example.test",
            "https://me:hun#ter2@as.example.test",
            "https://me:hunter2 @as.example.test",
            "https://me:hunter2@as.example.test:99999",
            "https:// hunter2",
            " https://me:hunter2@as.example.test",
            "https://me:hunter2%40as.example.test",
            "//me:hunter2@as.example.test",
        ] {
            let shown = redacted(text);
            assert!(!shown.contains("hun") && !shown.contains("ter2"), "{text}: {shown}");
        }
    }

    proptest! {
        #[test]
        fn neither_credentials_nor_query_are_shown_of_any_url(
            user in "[a-z]{0,3}", password in "[a-zA-Z0-9:%!$&'()*+,;=._~-]{1,12}", query in "[ -~]{0,12}", any in "\\PC{0,40}",
        ) {
            redacted(&any);
            let url = format!("https://as.example.test/{user}?Q{query}");
            prop_assert_eq!(redacted(&url), format!("https://as.example.test/{user}?…"));
            let with_credentials = format!("https://{user}:Q{password}@as.example.test/?{query}");
            prop_assert!(!redacted(&with_credentials).contains('Q'));
        }
    }
}
