//! The settings of the metadata, the keys and the accepted issuers.

use std::{future::Future, path::Path, sync::Arc};

use serde_json::Value;

use super::ProtectApiBuilder;
use crate::{
    certificate::ResolverError,
    settings::{DocumentFuture, DocumentResolver},
};

fn boxed<F, R>(resolver: F) -> Arc<DocumentResolver>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<Value, ResolverError>> + 'static,
{
    Arc::new(move || -> DocumentFuture { Box::pin(resolver()) })
}

impl ProtectApiBuilder {
    /// Sets the URL of the metadata document, for a server that does not publish it at a well-known URL of its issuer.
    /// An https URL, or http on a loopback host. Only this URL is fetched. The `issuer` of the document must be the
    /// configured [`issuer`](Self::issuer). Default: the well-known URLs of the issuer (OpenID Connect Discovery
    /// section 4, RFC 8414 section 3).
    pub fn metadata_url(mut self, url: impl Into<String>) -> Self {
        self.metadata_url = Some(url.into().into());
        self
    }

    /// Sets the accepted values of the claim `iss`, for a server whose tokens have another `iss` than the `issuer` of
    /// its metadata. They are compared byte by byte and are not fetched, so they may be http. White space is an error.
    /// Default: the `issuer` of the metadata.
    ///
    /// A token is accepted if its `iss` is **one** of them. They replace the issuer of the metadata, so list it too if
    /// tokens have it. A `sub` is unique only within its issuer: identify a user by
    /// [`issuer`](crate::AuthenticatedRequest::issuer) and `sub` together.
    ///
    /// The configured [`issuer`](Self::issuer) may then be a template such as
    /// `https://login.microsoftonline.com/{tenantid}/v2.0`, if [`metadata_url`](Self::metadata_url) is set too.
    pub fn token_issuers(mut self, issuers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.token_issuers = issuers.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the text of the metadata document (RFC 8414), for an API that cannot fetch it. It is validated by
    /// [`build`](Self::build) like a fetched one, and never expires. Its endpoints are used, so they must be reachable
    /// unless the keys are given too. Default: none, the metadata is fetched.
    pub fn metadata_document(mut self, json: impl Into<String>) -> Self {
        self.metadata_document = Some(json.into().into());
        self
    }

    /// Sets the text of the key set (RFC 7517 section 5), for an API that cannot fetch it. It is validated by
    /// [`build`](Self::build), must have a usable key, and never expires: a key is withdrawn only by a new
    /// configuration. Keys that cannot be used are skipped. Without a [`client`](Self::client), nothing is fetched.
    /// Default: none, the keys are fetched.
    pub fn jwks_document(mut self, json: impl Into<String>) -> Self {
        self.jwks_document = Some(json.into().into());
        self
    }

    /// Sets an existing directory in which fetched metadata and keys are saved. If the first fetch of a process fails because
    /// the server cannot be reached, the saved ones are used, up to [`max_stale`](Self::max_stale) after they were fetched, and
    /// only for the same issuer. Only this application may be able to write to the directory: with another key set in it,
    /// forged tokens would be accepted. Default: none, nothing is saved.
    pub fn document_directory(mut self, path: impl AsRef<Path>) -> Self {
        self.document_directory = Some(path.as_ref().to_owned());
        self
    }

    /// Sets an async function that returns the metadata document, in place of the well-known URLs. It runs when the
    /// document would be fetched: one call at a time, with the same cache duration, deadline and validation, and with the
    /// last good document while it fails, up to [`max_stale`](Self::max_stale). Without such a document, its failure
    /// rejects requests with 503. Its error text is logged. Default: none, the metadata is fetched.
    pub fn metadata_resolver<F, R>(mut self, resolver: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, ResolverError>> + 'static,
    {
        self.hooks.metadata_resolver = Some(boxed(resolver));
        self
    }

    /// Sets an async function that returns the key set, in place of `jwks_uri`, with the same rules as
    /// [`metadata_resolver`](Self::metadata_resolver). An unknown `kid` or a wrong signature causes a call at most once
    /// per [`jwks_cooldown`](Self::jwks_cooldown). Default: none, the keys are fetched.
    pub fn jwks_resolver<F, R>(mut self, resolver: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, ResolverError>> + 'static,
    {
        self.hooks.jwks_resolver = Some(boxed(resolver));
        self
    }
}
