//! The builder for several issuers behind one mount.

use std::{sync::Arc, time::Duration};

use actix_web::HttpRequest;

use super::{
    Mount, ProtectApi,
    issuer_set::{IssuerSet, KnownTokens, OpaqueResolver},
    state::State,
    tenants::{TenantFuture, TenantName, TenantRequest, TenantResolver, Tenants},
};
use crate::error::{ConfigError, ConfigProblem};

/// The maximum number of issuers that are tried for one opaque token.
const MAX_TRIED: usize = 3;

/// Builds a [`ProtectApi`] that accepts the tokens of several issuers; see [`ProtectApi::any_of`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct AnyOf {
    issuers: Vec<ProtectApi>,
    prefixes: Vec<(String, ProtectApi)>,
    resolver: Option<Arc<OpaqueResolver>>,
    order: Vec<ProtectApi>,
    tenants: Option<(Arc<TenantName>, Arc<TenantResolver>)>,
    max_tenants: usize,
    tenant_refresh: Duration,
}

impl AnyOf {
    pub(super) fn new(issuers: Vec<ProtectApi>) -> Self {
        Self {
            issuers,
            prefixes: Vec::new(),
            resolver: None,
            order: Vec::new(),
            tenants: None,
            max_tenants: 1000,
            tenant_refresh: Duration::from_secs(300),
        }
    }

    /// Sends opaque tokens with this prefix to this issuer.
    pub fn opaque_prefix(mut self, prefix: impl Into<String>, issuer: &ProtectApi) -> Self {
        self.prefixes.push((prefix.into(), issuer.clone()));
        self
    }

    /// Sets a function that returns the issuer's URL for a request with an opaque token, for example by its path or
    /// host. `None` rejects the request with 401. Prefixes are compared first.
    ///
    /// **The caller chooses the request**, so take only parts that the application trusts. The issuer still has to report
    /// the token as active.
    pub fn opaque_by_request<F>(mut self, resolver: F) -> Self
    where
        F: Fn(&HttpRequest) -> Option<String> + Send + Sync + 'static,
    {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// Sets the issuers that introspect all other opaque tokens, one after the other; at most three. If an issuer
    /// reports the token as inactive, or fails, the next one is tried. An issuer that reports the token as active is
    /// cached, and introspects it from then on.
    ///
    /// **Each of these issuers receives the tokens of the issuers after it**, and a random token causes one call to
    /// each of them. Without this setting, other opaque tokens are rejected with 401.
    pub fn opaque_in_order<'p>(mut self, issuers: impl IntoIterator<Item = &'p ProtectApi>) -> Self {
        self.order = issuers.into_iter().cloned().collect();
        self
    }

    /// Adds issuers that are found at run time, one for each tenant. They validate JWTs with another `iss` than those of the
    /// configured issuers, and opaque tokens for which no other way is set.
    ///
    /// - `name` returns the name of the tenant from the request; `None` rejects the request with 401. **The caller chooses the
    ///   request**: return only names that can exist, such as the first label of a host of the application. A
    ///   name of more than 256 bytes is unknown.
    /// - `resolver` returns the configuration of the tenant with this name, for example from a database; `None` rejects the
    ///   request with 401, also during the next 10 s. If it fails, the last configuration is used for
    ///   [`max_stale`](crate::ProtectApiBuilder::max_stale) of the first issuer; without one, the request is rejected with 503.
    ///
    /// Each tenant has its own rules, credentials, keys, caches and pauses. At most 64 calls of the resolver run at the same
    /// time, one for each name, each for at most [`response_timeout`](crate::ProtectApiBuilder::response_timeout), and at most
    /// [`max_waiting`](crate::ProtectApiBuilder::max_waiting) requests wait for all tenants together.
    ///
    /// ```
    /// # use actix_protect_api::{ConfigError, ProtectApi};
    /// # fn build(platform: ProtectApi) -> Result<ProtectApi, ConfigError> {
    /// ProtectApi::any_of([platform])
    ///     .tenants(
    ///         |request| Some(request.host?.strip_suffix(".example.com")?.to_owned()),
    ///         |tenant| {
    ///             Box::pin(async move {
    ///                 let issuer = format!("https://login.example.com/{tenant}");
    ///                 Ok(Some(ProtectApi::builder(issuer, "my-api").build()?))
    ///             })
    ///         },
    ///     )
    ///     .build()
    /// # }
    /// ```
    pub fn tenants<N, R>(mut self, name: N, resolver: R) -> Self
    where
        N: Fn(TenantRequest<'_>) -> Option<String> + Send + Sync + 'static,
        R: Fn(String) -> TenantFuture + Send + Sync + 'static,
    {
        self.tenants = Some((Arc::new(name), Arc::new(resolver)));
        self
    }

    /// Sets the maximum number of tenants whose state is cached. A tenant that is evicted is resolved again. Default: 1000.
    pub fn max_tenants(mut self, tenants: usize) -> Self {
        self.max_tenants = tenants;
        self
    }

    /// Sets the time after which the configuration of a tenant is resolved again. Default: 300 s.
    pub fn tenant_refresh(mut self, refresh: Duration) -> Self {
        self.tenant_refresh = refresh;
        self
    }

    /// Creates the handle. Renderer, resolvers and limits for requests are those of the first issuer. A mount can
    /// [replace](ProtectApi::token_resolver) the resolvers.
    ///
    /// # Errors
    /// Lists every problem: no issuer, two configurations of one issuer, an issuer with the requirements of a mount, a
    /// route to an issuer that is not in the list, or more than three issuers in order.
    pub fn build(self) -> Result<ProtectApi, ConfigError> {
        let mut problems = Vec::new();
        let mut problem = |message: String| problems.push(ConfigProblem::new("any_of", message));
        let mut states: Vec<Arc<State>> = Vec::new();
        for issuer in &self.issuers {
            let name = issuer.state.settings.issuer.as_str();
            if *issuer.mount != Mount::default() {
                problem(format!(
                    "{name} has requirements or resolvers of a mount, expected them on the result of `any_of`"
                ));
            }
            if issuer.issuers.is_some() {
                problem(format!("{name} is itself a handle for several issuers"));
            }
            if states.iter().any(|other| other.settings.shares_issuer(&issuer.state.settings)) {
                problem(format!("{name} is configured twice"));
            }
            states.push(Arc::clone(&issuer.state));
        }
        if self.tenants.is_some() && !self.order.is_empty() {
            problem("has opaque_in_order and tenants, expected one of them".to_owned());
        }
        if self.max_tenants == 0 {
            problem("has max_tenants 0, expected at least 1".to_owned());
        }
        if self.order.len() > MAX_TRIED {
            problem(format!(
                "opaque_in_order has {} issuers, expected at most {MAX_TRIED}",
                self.order.len()
            ));
        }
        let mut index = |issuer: &ProtectApi| {
            let found = states.iter().position(|state| Arc::ptr_eq(state, &issuer.state));
            if found.is_none() {
                let name = issuer.state.settings.issuer.as_str();
                problem(format!("{name} is not in the list of issuers, but opaque tokens are sent to it"));
            }
            found
        };
        let prefixes =
            self.prefixes.iter().filter_map(|(prefix, issuer)| Some((prefix.clone(), index(issuer)?)));
        let prefixes = prefixes.collect();
        let order = self.order.iter().filter_map(&mut index).collect();
        let Some(first) = states.first().cloned() else {
            return Err(ConfigError::new(vec![ConfigProblem::new("any_of", "has no issuer")]));
        };
        if !problems.is_empty() {
            return Err(ConfigError::new(problems));
        }
        let max_waiting = first.settings.tuning.max_waiting;
        let tenants = self.tenants.map(|(name, resolver)| {
            Tenants::new(name, resolver, self.max_tenants, self.tenant_refresh, max_waiting)
        });
        let resolver = self.resolver;
        let issuers = IssuerSet { states, prefixes, resolver, order, tenants, known: KnownTokens::new() };
        Ok(ProtectApi { state: first, issuers: Some(Arc::new(issuers)), mount: Arc::default() })
    }
}

impl std::fmt::Debug for AnyOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnyOf").field("issuers", &self.issuers).finish_non_exhaustive()
    }
}
