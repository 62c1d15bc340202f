//! Compares the configured client authentication method with the published ones.

use std::sync::atomic::Ordering;

use super::{Discovery, discovery::Metadata};

impl Discovery {
    /// Returns the configured authentication method and the published ones, if it is not among them.
    pub(super) fn unpublished_auth_method(&self, found: &Metadata) -> Option<(&'static str, String)> {
        let (method, published) = self.auth_method.zip(found.introspection_auth_methods.as_ref())?;
        // RFC 8414 section 2: `bearer` is the token type `Bearer`.
        let is_published = published.iter().any(|one| one.eq_ignore_ascii_case(method));
        (!is_published).then(|| (method, published.join(", ").chars().take(200).collect()))
    }

    /// Warns once if the server publishes authentication methods and the configured one is not among them. The
    /// method may still work, because metadata can be incomplete.
    pub(super) fn compare_auth_method(&self, found: &Metadata) {
        let Some((method, published)) = self.unpublished_auth_method(found) else { return };
        if !self.warned_of_auth_method.swap(true, Ordering::Relaxed) {
            let issuer = self.issuer.as_str();
            record!(
                log::Level::Warn, event = "auth_method_not_published", issuer, method;
                "the authorization server may reject introspection requests: it does not publish the client \
                 authentication method {method:?}, only {published:?} ({issuer})"
            );
        }
    }
}
