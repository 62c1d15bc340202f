//! The settings that are code of the application.

use std::sync::Arc;

use actix_web::HttpRequest;
use futures_util::future::ready;

use super::ProtectApiBuilder;
use crate::{
    cache::IntrospectionCache,
    certificate::{CertificateResolver, ResolverError},
    claims::Claims,
    clock::Clock,
    policy::ClaimRule,
    response::ErrorRenderer,
    settings::TokenFuture,
};

impl ProtectApiBuilder {
    /// Sets a custom store for verdicts, for example one shared by several processes. Requires
    /// [`introspection_cache_duration`](Self::introspection_cache_duration) of at least 1 s: entries of a store have
    /// their age in whole seconds, and an entry that may be too old is not used. Default: in memory.
    pub fn cache_store(mut self, store: impl IntrospectionCache + 'static) -> Self {
        self.hooks.cache = Some(Arc::new(store));
        self
    }

    /// Sets the renderer of rejection bodies. Default: `{"message":"unauthorized"}` and similar.
    pub fn renderer(mut self, renderer: impl ErrorRenderer + 'static) -> Self {
        self.hooks.renderer = Some(Arc::new(renderer));
        self
    }

    /// Sets a function that reads the token from another place than the `Authorization` header, such as a cookie or
    /// a WebSocket subprotocol.
    ///
    /// `Ok(None)` falls back to the header. `Ok(Some(token))` is the token, with white space trimmed, even if it is
    /// empty. An error is logged, and the request is rejected with 401. Browsers send cookies automatically:
    /// protect against cross-site request forgery. Default: the `Authorization` header.
    #[doc(alias("cookie"))]
    pub fn token_resolver<F>(self, resolver: F) -> Self
    where
        F: Fn(&HttpRequest) -> Result<Option<String>, ResolverError> + Send + Sync + 'static,
    {
        self.async_token_resolver(move |request| Box::pin(ready(resolver(request))))
    }

    /// Sets an async [`token_resolver`](Self::token_resolver): `|request| Box::pin(async move { … })`. It must not
    /// keep a clone of the request.
    pub fn async_token_resolver<F>(mut self, resolver: F) -> Self
    where
        F: for<'r> Fn(&'r HttpRequest) -> TokenFuture<'r> + Send + Sync + 'static,
    {
        self.hooks.token_resolver = Some(Arc::new(resolver));
        self
    }

    /// Sets the source of the caller's certificate if a proxy terminates TLS. Default: the TLS connection, if
    /// [`certificate::on_connect`](crate::certificate::on_connect) is installed.
    pub fn certificate_resolver(mut self, resolver: impl CertificateResolver + 'static) -> Self {
        self.hooks.certificate_resolver = Some(Arc::new(resolver));
        self
    }

    /// Adds a rule for the claims of every token, in addition to the other rules: `.claim_rule("own tenant", |claims|
    /// claims.string("tid") == Some("…"))`. If the function returns `false`, the request is rejected with 403, and the
    /// log contains the name. It runs on each request after the scopes and groups were checked. It must be fast, and
    /// depend only on the claims. Default: none.
    pub fn claim_rule(
        mut self,
        name: impl Into<String>,
        is_met: impl Fn(&Claims) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.claim_rules.push(ClaimRule::new(name.into(), is_met));
        self
    }

    /// Sets a function that returns the trace context of the calling task: the value of `traceparent` (W3C Trace Context,
    /// version 00). The header is sent with introspection requests, and with fetches of metadata and keys. The function runs
    /// inside the span `introspect` or `fetch`, so `tracing::Span::current()` is that span. `None` and a malformed value are
    /// not sent. It must be fast. Default: no trace context is sent, because the authorization server may belong to another
    /// organization.
    #[cfg(feature = "tracing")]
    pub fn traceparent(mut self, current: fn() -> Option<String>) -> Self {
        self.hooks.traceparent.current = Some(current);
        self
    }

    /// Sets the clock. Default: [`SystemClock`](crate::SystemClock).
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.hooks.clock = Some(Arc::new(clock));
        self
    }
}
