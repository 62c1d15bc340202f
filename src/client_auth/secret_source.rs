//! The source of a secret: a value, or a file that is loaded again when it changes.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use crate::{
    client_auth::watched_files::{Content, RECHECK, WatchedFiles},
    secret::Secret,
};

/// The source of a client secret, key or assertion.
///
/// Two sources are equal if they hold the same secret or name the same file. A clone is cheap.
#[derive(Clone)]
pub struct SecretSource(SecretOrigin);

#[derive(Clone)]
enum SecretOrigin {
    Inline(Arc<Secret>),
    File(Arc<WatchedFiles<Secret>>),
}

impl SecretSource {
    /// Reads the secret from a file, as orchestrators mount them.
    ///
    /// The file is UTF-8; line breaks at its end are not part of the secret. While the secret is needed, the file
    /// is checked once a second, so a new content is used without a restart. If it cannot be read then, the last
    /// good content is used and a warning is logged.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::watching(path, RECHECK)
    }

    pub(crate) fn watching(path: impl AsRef<Path>, every: Duration) -> Self {
        let watched = WatchedFiles::new([path.as_ref().to_owned()], every, text);
        Self(SecretOrigin::File(Arc::new(watched)))
    }

    /// Returns the current secret: the same `Arc` while the secret stays the same.
    pub(crate) fn current(&self) -> Result<Arc<Secret>, String> {
        match &self.0 {
            SecretOrigin::Inline(secret) => Ok(Arc::clone(secret)),
            SecretOrigin::File(file) => file.get(),
        }
    }
}

fn text(contents: &[Content]) -> Result<Secret, String> {
    let content = contents.first().map_or(&[][..], |content| content.as_slice());
    match str::from_utf8(content).map(|text| text.trim_end_matches(['\r', '\n'])) {
        Ok("") => Err("the file is empty".into()),
        Ok(text) => Ok(Secret::from(text)),
        Err(_) => Err("the file is not UTF-8".into()),
    }
}

impl From<Secret> for SecretSource {
    fn from(secret: Secret) -> Self {
        Self(SecretOrigin::Inline(Arc::new(secret)))
    }
}

impl From<&str> for SecretSource {
    fn from(secret: &str) -> Self {
        Secret::from(secret).into()
    }
}

impl From<String> for SecretSource {
    fn from(secret: String) -> Self {
        Secret::from(secret).into()
    }
}

impl PartialEq for SecretSource {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (SecretOrigin::Inline(left), SecretOrigin::Inline(right)) => left == right,
            (SecretOrigin::File(left), SecretOrigin::File(right)) => left.paths() == right.paths(),
            _ => false,
        }
    }
}

impl Eq for SecretSource {}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            SecretOrigin::Inline(_) => f.write_str("SecretSource([redacted])"),
            SecretOrigin::File(file) => write!(f, "SecretSource({file:?})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_auth::testing::Folder;

    #[test]
    fn line_breaks_at_the_end_of_a_file_are_not_part_of_the_secret() {
        let folder = Folder::new();
        for (content, secret) in
            [("a\n", "a"), ("a\r\n", "a"), ("a b\n\n", "a b"), (" a ", " a "), ("a\nb", "a\nb")]
        {
            let source = SecretSource::file(folder.write("secret", content));
            assert_eq!(source.current().unwrap().expose(), secret);
        }
    }

    #[test]
    fn an_empty_file_and_one_that_is_not_text_are_errors() {
        let folder = Folder::new();
        for (content, problem) in
            [(&b"\n"[..], "is empty"), (b"", "is empty"), (b"hunter2\xff", "is not UTF-8")]
        {
            let error = SecretSource::file(folder.write("secret", content)).current().unwrap_err();
            assert!(error.ends_with(problem) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn sources_are_equal_by_secret_or_by_path() {
        assert_eq!(SecretSource::from("a"), SecretSource::from("a".to_owned()));
        assert_ne!(SecretSource::from("a"), SecretSource::from("b"));
        assert_eq!(SecretSource::file("/a"), SecretSource::file("/a"));
        assert_ne!(SecretSource::file("/a"), SecretSource::file("/b"));
        assert_ne!(SecretSource::file("/a"), SecretSource::from("/a"));
    }

    #[test]
    fn debug_shows_the_path_and_never_the_secret() {
        let folder = Folder::new();
        let source = SecretSource::file(folder.write("secret", "hunter2"));
        source.current().unwrap();
        assert!(format!("{source:?}").ends_with("secret)"));
        assert_eq!(format!("{:?}", SecretSource::from("hunter2")), "SecretSource([redacted])");
    }
}
