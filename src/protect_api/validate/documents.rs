//! Validates the sources of metadata and keys, and the documents of the application.

use super::Check;
use crate::{
    issuer::discovery::{self, PublishedEndpoint, RequiredEndpoints},
    jwt::key_set::KeySet,
    protect_api::builder::ProtectApiBuilder,
    settings::IssuerUrl,
};

/// The names of settings, and whether they are set.
type Sources = [(&'static str, bool); 3];

impl ProtectApiBuilder {
    /// Returns the settings that replace the well-known URLs.
    pub(super) fn metadata_sources(&self) -> Sources {
        [
            ("metadata_url", self.metadata_url.is_some()),
            ("metadata_document", self.metadata_document.is_some()),
            ("metadata_resolver", self.hooks.metadata_resolver.is_some()),
        ]
    }

    fn key_sources(&self) -> Sources {
        [
            ("jwks_uri", self.jwks_uri.is_some()),
            ("jwks_document", self.jwks_document.is_some()),
            ("jwks_resolver", self.hooks.jwks_resolver.is_some()),
        ]
    }

    /// Returns whether keys, or their URL, are configured.
    pub(super) fn has_keys(&self) -> bool {
        self.key_sources().iter().any(|(_, is_set)| *is_set)
    }

    /// Returns whether JWTs are introspected: by the setting, or because no keys are known.
    pub(super) fn introspects_jwts(&self) -> bool {
        self.tuning.introspect_jwt_tokens || (self.introspection_endpoint.is_some() && !self.has_keys())
    }

    pub(super) fn check_documents(&self, issuer: Option<&IssuerUrl>, check: &mut Check<'_>) {
        for sources in [self.metadata_sources(), self.key_sources()] {
            let mut set = sources.iter().filter(|(_, is_set)| *is_set);
            if let (Some((first, _)), Some((second, _))) = (set.next(), set.next()) {
                let first = check.name(first);
                check.problem(second, format!("is set, but {first} is set too, expected one of them"));
            }
        }
        for (name, is_set) in self.metadata_sources() {
            if is_set && self.introspection_endpoint.is_some() {
                let other = check.name("introspection_endpoint");
                check.problem(name, format!("is set, but nothing is discovered because {other} is set too"));
            }
        }
        if let Some(path) = self.document_directory.as_ref().filter(|path| !path.is_dir()) {
            check.problem(
                "document_directory",
                format!("is {}, expected an existing directory", path.display()),
            );
        }
        if let Some(issuer) = issuer {
            self.check_metadata_document(issuer, check);
        }
        match self.jwks_document.as_ref().map(|document| KeySet::parse(document.as_bytes())) {
            Some(Err(fault)) => check.problem("jwks_document", format!("is not a key set: {fault}")),
            Some(Ok(keys)) if keys.is_empty() => {
                check.problem("jwks_document", "has no key that can be used, expected at least one");
            }
            _ => {}
        }
    }

    fn check_metadata_document(&self, issuer: &IssuerUrl, check: &mut Check<'_>) {
        let Some(document) = &self.metadata_document else { return };
        let needs = RequiredEndpoints::new(
            self.client.as_ref(),
            self.trust_store.as_deref(),
            self.introspects_jwts(),
            self.introspection_endpoint.is_some(),
            self.has_keys(),
        );
        let mut errors = Vec::new();
        let found =
            match discovery::read(&[document.as_bytes()], issuer, issuer.is_loopback, &needs, &mut errors) {
                Ok(found) => found,
                Err(error) => {
                    check.problem("metadata_document", format!("cannot be used: {}", error.text()));
                    return;
                }
            };
        for error in errors {
            check.problem("metadata_document", format!("cannot be used: {}", error.text()));
        }
        let is_absent = |endpoint: &PublishedEndpoint| matches!(endpoint, PublishedEndpoint::Absent);
        if needs.introspection && is_absent(&found.introspection_endpoint) {
            check.problem(
                "metadata_document",
                "has no introspection_endpoint that this configuration can use",
            );
        }
        if needs.jwks && self.client.is_none() && is_absent(&found.jwks_uri) {
            check.problem("metadata_document", "has no jwks_uri");
        }
    }
}
