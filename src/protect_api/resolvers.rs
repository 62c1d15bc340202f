//! The resolvers of one mount, in place of those of the configuration.

use std::{fmt, sync::Arc};

use actix_web::HttpRequest;
use futures_util::future::ready;

use super::ProtectApi;
use crate::{
    certificate::{CertificateResolver, ResolverError},
    settings::{TokenFuture, TokenResolver, same},
};

/// The resolvers of one mount. `None` is the resolver of the configuration. They are compared by identity.
#[derive(Clone, Default)]
pub(crate) struct Resolvers {
    token: Option<Arc<TokenResolver>>,
    certificate: Option<Arc<dyn CertificateResolver>>,
}

/// Identifies the place from which a mount reads the token, to compare the mounts of one request. It is the address of the
/// resolver, which a mount owns while it handles the request; null is the `Authorization` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenSourceId(*const ());

impl ProtectApi {
    /// Returns a handle for a mount that reads the token with this function, in place of the
    /// [resolver of the configuration](crate::ProtectApiBuilder::token_resolver). That page describes the function. Settings,
    /// keys, caches and pauses stay shared.
    ///
    /// A mount inside this mount reads the token with its own resolver. If it is made from another handle, it may therefore
    /// find another token, or none: make inner mounts from the returned handle, if they have the same source of tokens. The
    /// handlers and extractors get the caller of the innermost mount.
    ///
    /// ```
    /// # use actix_protect_api::ProtectApi;
    /// # fn mounts(protect: ProtectApi) -> (ProtectApi, ProtectApi) {
    /// let api = protect.scopes(["read"]); // the `Authorization` header
    /// let proxied = protect.token_resolver(|request| {
    ///     let value = request.headers().get("x-forwarded-access-token");
    ///     Ok(value.map(|value| value.to_str().map(str::to_owned)).transpose()?)
    /// });
    /// # (api, proxied)
    /// # }
    /// ```
    #[doc(alias("cookie", "subprotocol"))]
    pub fn token_resolver<F>(&self, resolver: F) -> Self
    where
        F: Fn(&HttpRequest) -> Result<Option<String>, ResolverError> + Send + Sync + 'static,
    {
        self.async_token_resolver(move |request| Box::pin(ready(resolver(request))))
    }

    /// Like [`token_resolver`](Self::token_resolver), with an async function: `|request| Box::pin(async move { … })`. It must
    /// not keep a clone of the request.
    pub fn async_token_resolver<F>(&self, resolver: F) -> Self
    where
        F: for<'r> Fn(&'r HttpRequest) -> TokenFuture<'r> + Send + Sync + 'static,
    {
        self.mounted(|mount| mount.resolvers.token = Some(Arc::new(resolver)))
    }

    /// Returns a handle for a mount that finds the certificate of the caller with this resolver, in place of the
    /// [resolver of the configuration](crate::ProtectApiBuilder::certificate_resolver). Each mount compares a certificate-bound
    /// token with the certificate that its own resolver finds.
    pub fn certificate_resolver(&self, resolver: impl CertificateResolver + 'static) -> Self {
        self.mounted(|mount| mount.resolvers.certificate = Some(Arc::new(resolver)))
    }

    /// Returns the token resolver of this mount; `None` is the `Authorization` header.
    pub(crate) fn mount_token_resolver(&self) -> Option<&Arc<TokenResolver>> {
        self.mount.resolvers.token.as_ref().or(self.state.hooks.token_resolver.as_ref())
    }

    /// Returns the certificate resolver of this mount; `None` is the TLS connection.
    pub(crate) fn mount_certificate_resolver(&self) -> Option<&Arc<dyn CertificateResolver>> {
        self.mount.resolvers.certificate.as_ref().or(self.state.hooks.certificate_resolver.as_ref())
    }

    /// Returns the place from which this mount reads the token.
    pub(crate) fn token_source(&self) -> TokenSourceId {
        let address = |resolver: &Arc<TokenResolver>| Arc::as_ptr(resolver).cast();
        TokenSourceId(self.mount_token_resolver().map_or(std::ptr::null(), address))
    }
}

impl PartialEq for Resolvers {
    fn eq(&self, other: &Self) -> bool {
        same(self.token.as_ref(), other.token.as_ref())
            && same(self.certificate.as_ref(), other.certificate.as_ref())
    }
}

impl Eq for Resolvers {}

impl fmt::Debug for Resolvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolvers")
            .field("token", &self.token.is_some())
            .field("certificate", &self.certificate.is_some())
            .finish()
    }
}
