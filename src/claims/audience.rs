//! The audiences of a token.

/// The audiences of a token (`aud`, RFC 7519 section 4.1.3): none, one, or several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience(pub(super) Box<[Box<str>]>);

impl Audience {
    /// Returns whether this audience is included, compared byte by byte.
    pub fn contains(&self, audience: &str) -> bool {
        self.iter().any(|one| one == audience)
    }

    /// Returns the audiences in the order of the token.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|one| &**one)
    }

    /// Returns whether the token has no audience.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
