//! Issuers that are found at run time.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use actix_web::{HttpRequest, http::header::HOST};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use super::{Mount, ProtectApi, state::State};
use crate::{
    certificate::ResolverError,
    deadline::{Deadline, timed_out},
    error::{AuthError, SetupFault, UpstreamFault},
    introspection::single_flight::SingleFlight,
    waiting_room::WaitingRoom,
};

/// The maximum number of calls of the resolver at the same time.
const MAX_CALLS: usize = 64;
/// The maximum length of a name in bytes. A longer one, which the caller has chosen, is unknown.
const MAX_NAME: usize = 256;
/// The number of names without a tenant that are cached, and the time.
const MAX_UNKNOWN: usize = 10_000;
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(10);

/// The parts of a request that can name a tenant. The caller chooses all of them, and nothing is verified yet.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TenantRequest<'r> {
    /// The `iss` of a JWT; `None` for an opaque token.
    pub issuer: Option<&'r str>,
    /// The host of the request without its port, from the `Host` header or the HTTP/2 `:authority`, never from a header of a
    /// proxy; `None` if there is no HTTP request.
    pub host: Option<&'r str>,
    /// The path of the request.
    pub path: Option<&'r str>,
}

pub(crate) type TenantName = dyn Fn(TenantRequest<'_>) -> Option<String> + Send + Sync;
pub(crate) type TenantFuture = Pin<Box<dyn Future<Output = Result<Option<ProtectApi>, ResolverError>>>>;
pub(crate) type TenantResolver = dyn Fn(String) -> TenantFuture + Send + Sync;

/// The tenants of a mount. The number of cached tenants is limited; a tenant that is evicted loses its keys, verdicts and
/// connections as a whole.
pub(crate) struct Tenants {
    name: Arc<TenantName>,
    resolver: Arc<TenantResolver>,
    refresh: Duration,
    cache: Arc<Cache<String, Tenant>>,
    /// Names without a tenant, and the time on the monotonic clock until which this is cached.
    unknown: Arc<Cache<String, Duration>>,
    single_flight: Arc<SingleFlight<String, Option<Tenant>>>,
    calls: Arc<Semaphore>,
    /// The requests that wait for a resolver call of another request.
    resolving: WaitingRoom,
    /// The requests that wait for anything, over all tenants.
    waiting: WaitingRoom,
}

#[derive(Clone)]
struct Tenant {
    state: Arc<State>,
    /// The time on the monotonic clock at which the resolver returned the configuration.
    resolved: Duration,
}

impl Tenants {
    pub(super) fn new(
        name: Arc<TenantName>,
        resolver: Arc<TenantResolver>,
        max_tenants: usize,
        refresh: Duration,
        max_waiting: usize,
    ) -> Self {
        Self {
            name,
            resolver,
            refresh,
            cache: Arc::new(Cache::new(max_tenants)),
            unknown: Arc::new(Cache::new(MAX_UNKNOWN)),
            single_flight: Arc::default(),
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            resolving: WaitingRoom::new(max_waiting),
            waiting: WaitingRoom::new(max_waiting),
        }
    }

    /// Waits for a validation. A request that has to wait takes a place, so that the number of waiting requests does not
    /// grow with the tenants. A request with a cached verdict needs no place: an attack on one tenant costs it nothing.
    ///
    /// # Errors
    /// [`UpstreamFault::Saturated`] if too many requests wait.
    pub(super) async fn wait<T>(&self, validation: impl Future<Output = T>) -> Result<T, AuthError> {
        let mut validation = pin!(validation);
        let first = poll_fn(|context| Poll::Ready(validation.as_mut().poll(context))).await;
        if let Poll::Ready(outcome) = first {
            return Ok(outcome);
        }
        let _place = self.waiting.enter()?;
        Ok(validation.await)
    }

    /// Returns the states of the cached tenants.
    pub(super) fn states(&self) -> Vec<Arc<State>> {
        self.cache.iter().map(|(_, tenant)| tenant.state).collect()
    }

    /// Returns the state of the tenant that the request names; `None` if it names no tenant, or an unknown one.
    ///
    /// # Errors
    /// If the resolver fails and no configuration is known that is not older than `max_stale` of the first issuer.
    pub(super) async fn state(
        &self,
        first: &State,
        issuer: Option<&str>,
        request: Option<&HttpRequest>,
    ) -> Result<Option<Arc<State>>, AuthError> {
        let named =
            TenantRequest { issuer, host: request.and_then(host), path: request.map(HttpRequest::path) };
        let Some(name) = (self.name)(named).filter(|name| name.len() <= MAX_NAME) else { return Ok(None) };
        let now = first.clock.monotonic();
        let cached = self.cache.get(&name);
        if let Some(tenant) = &cached
            && now.saturating_sub(tenant.resolved) < self.refresh
        {
            return Ok(Some(Arc::clone(&tenant.state)));
        }
        if cached.is_none() && self.unknown.get(&name).is_some_and(|until| now < until) {
            return Ok(None);
        }
        let deadline = Deadline::after(first.settings.tuning.response_timeout);
        let resolve = || self.resolve(name.clone(), first, deadline);
        let call = self.single_flight.join(name.clone(), deadline, &self.resolving, resolve);
        let resolved = deadline.bound(call).await;
        match (resolved, cached) {
            (Ok(tenant), _) => Ok(tenant.map(|tenant| tenant.state)),
            (Err(_), Some(tenant))
                if now.saturating_sub(tenant.resolved) < first.settings.tuning.max_stale =>
            {
                Ok(Some(tenant.state))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Calls the resolver and caches its result. A call that has not ended at the deadline is dropped.
    fn resolve(
        &self,
        name: String,
        first: &State,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Option<Tenant>, AuthError>> + use<> {
        let (cache, unknown, calls) =
            (Arc::clone(&self.cache), Arc::clone(&self.unknown), Arc::clone(&self.calls));
        let (resolver, clock) = (Arc::clone(&self.resolver), Arc::clone(&first.clock));
        async move {
            let call = async {
                let _permit = calls.acquire().await;
                resolver(name.clone()).await
            };
            let outcome = deadline.wait(call).await.ok_or_else(timed_out)?;
            let now = clock.monotonic();
            let failed = |error: ResolverError| {
                AuthError::upstream(UpstreamFault::Unreachable)
                    .with_source(format!("the resolver of the tenants failed: {error}"))
            };
            let Some(protect) = outcome.map_err(failed)? else {
                cache.remove(&name);
                unknown.insert(name, now.saturating_add(UNKNOWN_LIFETIME));
                return Ok(None);
            };
            if protect.issuers.is_some() || *protect.mount != Mount::default() {
                let cause = "the resolver of the tenants returned a handle with requirements or resolvers of a mount, or \
                             with several issuers";
                return Err(AuthError::setup(SetupFault::Endpoint).with_source(cause));
            }
            let tenant = Tenant { state: protect.state, resolved: now };
            cache.insert(name, tenant.clone());
            Ok(Some(tenant))
        }
    }
}

impl ProtectApi {
    /// Returns the state of the tenant that this `iss` and this request name; `None` if it is unknown, or if there are no tenants.
    ///
    /// # Errors
    /// As for a request with an access token of the tenant.
    pub(crate) async fn tenant(
        &self,
        issuer: &str,
        request: &HttpRequest,
    ) -> Result<Option<Arc<State>>, AuthError> {
        let tenants = self.issuers.as_ref().and_then(|issuers| issuers.tenants.as_ref());
        let Some(tenants) = tenants else { return Ok(None) };
        tenants.wait(tenants.state(&self.state, Some(issuer), Some(request))).await?
    }
}

/// Returns the host of a request without its port.
fn host(request: &HttpRequest) -> Option<&str> {
    let authority = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(HOST)?.to_str().ok()?,
    };
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(host),
        _ => Some(authority),
    }
}

impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants").field("cached", &self.cache.len()).finish_non_exhaustive()
    }
}
