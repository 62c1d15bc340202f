//! Validates the settings of the issuer and its metadata.

use super::Check;
use crate::{
    protect_api::builder::ProtectApiBuilder,
    settings::{IssuerUrl, has_placeholder},
};

impl ProtectApiBuilder {
    pub(super) fn check_issuer(&self, check: &mut Check<'_>) -> Option<IssuerUrl> {
        let Some(url) = &self.issuer else {
            check.missing("issuer", "the URL of the authorization server");
            return None;
        };
        if url.as_str().contains("/.well-known/") {
            let message = format!(
                "is {url:?}, expected the issuer, without `/.well-known/…`; METADATA_URL (in code `metadata_url`) takes \
                 the URL of a metadata document"
            );
            check.problem("issuer", message);
            return None;
        }
        let issuer = check.parsed("issuer", url, IssuerUrl::parse)?;
        let has_metadata = self.metadata_sources().iter().any(|(_, is_set)| *is_set);
        if issuer.is_template() && (!has_metadata || self.token_issuers.is_empty()) {
            let message = format!(
                "is {url:?}, expected an issuer without placeholder, or also METADATA_URL and TOKEN_ISSUERS (in code \
                 `metadata_url` and `token_issuers`)"
            );
            check.problem("issuer", message);
        }
        Some(issuer)
    }

    /// Checks the values of `iss`. They are texts and need not be URLs.
    pub(super) fn check_token_issuers(&self, issuer: Option<&IssuerUrl>, check: &mut Check<'_>) {
        if self.token_issuers.iter().any(|one| one.trim().is_empty()) {
            check.problem("token_issuers", "contains an empty text, expected values of `iss`");
        }
        // `Principal` separates issuer and subject by a space.
        let has_space = |one: &&String| !one.trim().is_empty() && one.contains(char::is_whitespace);
        if let Some(one) = self.token_issuers.iter().find(has_space) {
            let message = format!("contains {one:?}, expected values of `iss` without white space");
            check.problem("token_issuers", message);
        }
        if let Some(one) = self.token_issuers.iter().find(|one| has_placeholder(one)) {
            let message = format!("contains {one:?}, expected exact values of `iss`, without placeholders");
            check.problem("token_issuers", message);
        }
        if issuer.is_some_and(IssuerUrl::is_template) && self.accept_missing_issuer {
            let message = "is true, but the issuer is a template: a token without `iss` would have no issuer";
            check.problem("accept_missing_issuer", message);
        }
    }
}
