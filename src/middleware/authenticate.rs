//! Authenticates a request: extracts the token, validates it, and applies the policy of the mount.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use actix_web::{
    HttpMessage as _, HttpRequest,
    dev::ServiceRequest,
    http::{
        Method,
        header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
    },
    web,
};

use crate::{
    bearer::BearerToken,
    caller::{
        AuthContext, Caller, LocalState,
        mount_chain::{MountChain, RejectedBy},
    },
    certificate::{self, CertificateThumbprint},
    error::{AuthError, TokenFault},
    issuer::http::WorkerClient,
    protect_api::{
        ProtectApi,
        resolvers::TokenSourceId,
        state::State,
        validation::{Selected, Validation},
    },
    telemetry::{Denial, Telemetry, VerdictSource},
};

/// The state of one worker for one mount.
#[derive(Debug)]
pub(crate) struct WorkerContext {
    mount: Rc<ProtectApi>,
    /// The issuer; the first one if there are several.
    pub(crate) first: IssuerContext,
    others: Vec<IssuerContext>,
    /// This mount with the mounts around it, as in the last request.
    mounts: RefCell<Rc<MountChain>>,
}

/// The state of one worker for one issuer.
#[derive(Debug)]
pub(crate) struct IssuerContext {
    pub(crate) state: LocalState,
    client: WorkerClient,
}

impl WorkerContext {
    pub(crate) fn new(protect: &ProtectApi) -> Self {
        let others = protect.states().iter().skip(1);
        let mount = Rc::new(protect.clone());
        protect.state.add_mount(&protect.mount);
        Telemetry::describe_metrics();
        Self {
            mounts: RefCell::new(Rc::new(MountChain::new(Rc::clone(&mount), None))),
            mount,
            first: IssuerContext::new(&protect.state),
            others: others.map(IssuerContext::new).collect(),
        }
    }

    /// Returns this mount with these mounts around it. They are the same for all requests, unless a test authenticated
    /// some of them.
    fn mounts(&self, outer: Option<&Rc<MountChain>>) -> Rc<MountChain> {
        let mut mounts = self.mounts.borrow_mut();
        if !mounts.is_inside(outer) {
            *mounts = Rc::new(MountChain::new(Rc::clone(&self.mount), outer.cloned()));
        }
        Rc::clone(&mounts)
    }

    /// Returns the context of a configured issuer.
    fn configured(&self, index: usize) -> &IssuerContext {
        index.checked_sub(1).and_then(|index| self.others.get(index)).unwrap_or(&self.first)
    }

    /// Returns the state of a selected issuer.
    fn state(&self, selected: Selected) -> LocalState {
        match selected {
            Selected::Configured(index) => Rc::clone(&self.configured(index).state),
            Selected::Tenant(state) => Rc::new(state),
        }
    }

    /// Returns the client for a selected issuer. Tenants share the client of the first issuer, unless their connections
    /// differ: by a client certificate, trusted certificates or a proxy.
    fn client(&self, selected: &Selected, request: &ServiceRequest) -> awc::Client {
        match selected {
            Selected::Configured(index) => self.configured(*index).client(request),
            Selected::Tenant(state) if !state.shares_client(&self.first.state) => state.thread_client(),
            Selected::Tenant(_) => self.first.client(request),
        }
    }
}

impl IssuerContext {
    fn new(state: &Arc<State>) -> Self {
        Self { client: state.worker_client(), state: Rc::new(Arc::clone(state)) }
    }

    fn client(&self, request: &ServiceRequest) -> awc::Client {
        self.client.choose(self.state.needs_own_client(), request.app_data::<web::Data<awc::Client>>())
    }
}

/// A rejected request, and the state of the issuer whose configuration decided.
pub(crate) struct Rejected {
    pub(crate) state: LocalState,
    pub(crate) denial: Denial,
}

/// The caller that an outer mount authenticated.
struct OuterCaller {
    /// The state of the issuer.
    state: LocalState,
    caller: Rc<Caller>,
    /// The place from which the outer mount read the token; `None` if a test authenticated the request.
    source: Option<TokenSourceId>,
    /// The error that rules of the outer mounts would cause that are not enforced.
    would_be_rejected: Option<AuthError>,
}

impl OuterCaller {
    /// Returns whether the token came from this place. A request that a test authenticated has no token to compare.
    fn has_source(&self, source: TokenSourceId) -> bool {
        self.source.is_none_or(|outer| outer == source)
    }

    fn has_token(&self, token: &BearerToken) -> bool {
        self.caller.token.as_str() == token.as_str()
    }
}

impl ProtectApi {
    /// Authenticates a request.
    pub(crate) async fn authenticate(
        &self,
        request: &ServiceRequest,
        worker: &WorkerContext,
    ) -> Result<AuthContext, Rejected> {
        let first = &worker.first.state;
        let rejected = |error: AuthError| Rejected { state: Rc::clone(first), denial: error.into() };
        if self.mount.allows_preflight && is_preflight(request) {
            return Ok(AuthContext::anonymous(first, &worker.mount));
        }
        let certificate = self.certificate(request).map_err(rejected)?;
        let certificate = certificate.as_ref();
        let outer = self.outer_caller(request);
        if let Some(outer) = outer.as_ref().filter(|outer| outer.has_source(self.token_source())) {
            return self.inherit(worker, outer, certificate);
        }
        let Some(token) = self.token(request).await.map_err(rejected)? else {
            return self.without_token(request, worker).map_err(rejected);
        };
        if let Some(outer) = outer.as_ref().filter(|outer| outer.has_token(&token)) {
            return self.inherit(worker, outer, certificate);
        }
        let validation = Validation {
            token: &token,
            certificate,
            request: Some(request.request()),
            client: |selected: &Selected| worker.client(selected, request),
        };
        match self.validate_token(validation).await {
            Ok((selected, valid)) => {
                let (via, report) = (valid.via, valid.would_be_rejected.clone());
                let caller = Rc::new(Caller { valid, token, is_simulated: false });
                let source = Some(self.token_source());
                let state = worker.state(selected);
                let context =
                    AuthContext::new(&state, &worker.mount, source, caller, certificate.copied(), via);
                Ok(context.would_be_rejected_by(report))
            }
            Err((selected, denial)) => Err(Rejected { state: worker.state(selected), denial }),
        }
    }

    /// Reuses the verdict of an outer mount, and applies the policy of this mount with its certificate.
    fn inherit(
        &self,
        worker: &WorkerContext,
        outer: &OuterCaller,
        certificate: Option<&CertificateThumbprint>,
    ) -> Result<AuthContext, Rejected> {
        let OuterCaller { state, caller, source, .. } = outer;
        let via = VerdictSource::OuterMount;
        let report = match self.authorize(state, &caller.token, &caller.valid, via, certificate) {
            Ok(report) => outer.would_be_rejected.clone().or(report),
            Err(denial) => return Err(Rejected { state: Rc::clone(state), denial }),
        };
        // A request that a test authenticated has no source in the mounts below either.
        let source = source.map(|_| self.token_source());
        let certificate = certificate.copied();
        let context = AuthContext::new(state, &worker.mount, source, Rc::clone(caller), certificate, via);
        Ok(context.would_be_rejected_by(report))
    }

    fn without_token(
        &self,
        request: &ServiceRequest,
        worker: &WorkerContext,
    ) -> Result<AuthContext, AuthError> {
        if self.mount.is_optional {
            return Ok(AuthContext::anonymous(&worker.first.state, &worker.mount));
        }
        let error = BearerToken::missing(request.headers());
        if self.mount_token_resolver().is_none() {
            return Err(error);
        }
        let cause = format!("the token resolver returned none, and {}", error.cause());
        Err(error.with_source(cause))
    }

    /// Returns the caller that an outer mount of the same configuration authenticated, if the verdict is fresh enough for this
    /// mount.
    fn outer_caller(&self, request: &ServiceRequest) -> Option<OuterCaller> {
        let extensions = request.extensions();
        let context = extensions.get::<AuthContext>().filter(|context| self.shares(context))?;
        let outer = context.authenticated()?;
        let is_fresh = match (self.mount.max_age, outer.valid.age) {
            (Some(_), _) if outer.valid.is_expired_verdict() => false,
            (Some(max_age), Some(age)) => age.at(self.state.clock.monotonic()) <= max_age,
            _ => true,
        };
        is_fresh.then(|| OuterCaller {
            state: Rc::clone(context.local_state()),
            caller: Rc::clone(outer),
            source: context.source(),
            would_be_rejected: context.would_be_rejected().cloned(),
        })
    }

    /// Returns the context of the innermost mount that authenticated the same caller: its stream has to fulfil the requirements of
    /// all mounts. `context` is that of this mount.
    pub(super) fn innermost(&self, context: &AuthContext, request: &HttpRequest) -> AuthContext {
        let extensions = request.extensions();
        let inner = extensions.get::<AuthContext>().filter(|inner| {
            let callers = context.authenticated().zip(inner.authenticated());
            let has_same_token =
                callers.is_some_and(|(own, inner)| own.token.as_str() == inner.token.as_str());
            has_same_token && self.shares(inner)
        });
        inner.unwrap_or(context).clone()
    }

    /// Returns whether a mount of the same configuration created this context.
    fn shares(&self, context: &AuthContext) -> bool {
        match &self.issuers {
            Some(issuers) if context.is_of_set(issuers) => true,
            _ => self.states().iter().any(|state| context.is_of(state)),
        }
    }

    /// Returns this mount with the mounts of the same configuration around it.
    pub(crate) fn mounts(&self, request: &ServiceRequest, worker: &WorkerContext) -> Rc<MountChain> {
        let extensions = request.extensions();
        let outer = extensions.get::<AuthContext>().filter(|context| self.shares(context));
        worker.mounts(outer.and_then(AuthContext::mounts))
    }

    /// Adds to a rejection everything that the operation requires.
    pub(crate) fn complete(
        &self,
        Rejected { state, mut denial }: Rejected,
        request: &ServiceRequest,
        worker: &WorkerContext,
    ) -> Rejected {
        let mounts = self.mounts(request, worker);
        let extensions = request.extensions();
        let outer = extensions.get::<AuthContext>().filter(|context| self.shares(context));
        let granted = outer.and_then(AuthContext::authenticated).map(|caller| caller.valid.scopes());
        denial.error =
            mounts.complete(denial.error, RejectedBy::Mount, granted, &state.settings.rules, request.path());
        Rejected { state, denial }
    }

    /// Extracts the token: from the token resolver if it returns one, otherwise from the `Authorization` header.
    async fn token(&self, request: &ServiceRequest) -> Result<Option<BearerToken>, AuthError> {
        let max_length = self.state.settings.tuning.max_token_length;
        if let Some(resolver) = self.mount_token_resolver() {
            let resolved = resolver(request.request()).await;
            if let Some(token) =
                resolved.map_err(|error| AuthError::token(TokenFault::Resolver).with_source(error))?
            {
                let token = BearerToken::resolved(&token, max_length);
                return token.map(Some).map_err(|_| AuthError::token(TokenFault::Malformed));
            }
        }
        BearerToken::from_headers(request.headers(), max_length)
            .map_err(|fault| BearerToken::unusable(request.headers(), fault))
    }

    /// Returns the caller's certificate: from the certificate resolver if there is one, otherwise from the TLS
    /// connection.
    fn certificate(&self, request: &ServiceRequest) -> Result<Option<CertificateThumbprint>, AuthError> {
        match self.mount_certificate_resolver() {
            None => Ok(certificate::of_connection(request.request())),
            Some(resolver) => resolver
                .resolve(request.request())
                .map_err(|error| AuthError::token(TokenFault::Resolver).with_source(error)),
        }
    }
}

fn is_preflight(request: &ServiceRequest) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
