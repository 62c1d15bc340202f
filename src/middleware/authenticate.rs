//! Authenticates a request: extracts the token, validates it, and applies the policy of the mount.

use std::{rc::Rc, sync::Arc};

use actix_web::{
    HttpMessage as _,
    dev::ServiceRequest,
    http::{
        Method,
        header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
    },
    web,
};

use crate::{
    bearer::BearerToken,
    caller::{AuthContext, Caller, LocalState},
    certificate::{self, CertificateThumbprint},
    error::{AuthError, AuthErrorKind, TokenFault},
    issuer::http::WorkerClient,
    protect_api::{
        ProtectApi,
        state::State,
        validation::{Selected, Validation},
    },
    telemetry::{Denial, VerdictSource},
};

/// The state of one worker for one mount.
#[derive(Debug)]
pub(crate) struct WorkerContext {
    /// The issuer; the first one if there are several.
    pub(crate) first: IssuerContext,
    others: Vec<IssuerContext>,
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
        Self { first: IssuerContext::new(&protect.state), others: others.map(IssuerContext::new).collect() }
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

    /// Returns the client for a selected issuer. Tenants share the client of the first issuer, unless one presents a
    /// certificate.
    fn client(&self, selected: &Selected, request: &ServiceRequest) -> awc::Client {
        match selected {
            Selected::Configured(index) => self.configured(*index).client(request),
            Selected::Tenant(state) if state.uses_mtls() || self.first.state.uses_mtls() => {
                state.thread_client()
            }
            Selected::Tenant(_) => self.first.client(request),
        }
    }
}

impl IssuerContext {
    fn new(state: &Arc<State>) -> Self {
        Self { client: state.worker_client(), state: Rc::new(Arc::clone(state)) }
    }

    fn client(&self, request: &ServiceRequest) -> awc::Client {
        self.client.choose(self.state.uses_mtls(), request.app_data::<web::Data<awc::Client>>())
    }
}

/// A rejected request, and the state of the issuer whose configuration decided.
pub(crate) struct Rejected {
    pub(crate) state: LocalState,
    pub(crate) denial: Denial,
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
            return Ok(AuthContext::anonymous(first));
        }
        let certificate = self.certificate(request).map_err(rejected)?;
        let certificate = certificate.as_ref();
        if let Some((state, outer)) = self.outer_caller(request) {
            return match self.authorize(&state, &outer.valid, VerdictSource::OuterMount, certificate) {
                Ok(()) => Ok(AuthContext::inherited(&state, self.issuers.as_ref(), outer)),
                Err(denial) => Err(Rejected { state, denial }),
            };
        }
        let Some(token) = self.token(request).await.map_err(rejected)? else {
            return self.without_token(worker).map_err(rejected);
        };
        let validation = Validation {
            token: &token,
            certificate,
            request: Some(request.request()),
            client: |selected: &Selected| worker.client(selected, request),
        };
        match self.validate_token(validation).await {
            Ok((selected, valid)) => {
                let caller = Caller { valid, token };
                Ok(AuthContext::new(&worker.state(selected), self.issuers.as_ref(), caller))
            }
            Err((selected, denial)) => Err(Rejected { state: worker.state(selected), denial }),
        }
    }

    fn without_token(&self, worker: &WorkerContext) -> Result<AuthContext, AuthError> {
        if self.mount.is_optional {
            Ok(AuthContext::anonymous(&worker.first.state))
        } else {
            Err(AuthError::new(AuthErrorKind::MissingToken))
        }
    }

    /// Returns the caller that an outer mount of the same configuration authenticated, and the state of its issuer, if
    /// the verdict is fresh enough for this mount.
    fn outer_caller(&self, request: &ServiceRequest) -> Option<(LocalState, Rc<Caller>)> {
        let extensions = request.extensions();
        let context = extensions.get::<AuthContext>()?;
        let is_same = match &self.issuers {
            Some(issuers) if context.is_of_set(issuers) => true,
            _ => self.states().iter().any(|state| context.is_of(state)),
        };
        let outer = context.authenticated().filter(|_| is_same)?;
        let is_fresh = match (self.mount.max_age, outer.valid.age) {
            (Some(max_age), Some(age)) => age.at(self.state.clock.monotonic()) <= max_age,
            _ => true,
        };
        is_fresh.then(|| (Rc::clone(context.local_state()), Rc::clone(outer)))
    }

    /// Extracts the token: from the token resolver if it returns one, otherwise from the `Authorization` header.
    async fn token(&self, request: &ServiceRequest) -> Result<Option<BearerToken>, AuthError> {
        let State { settings, hooks, .. } = &*self.state;
        let max_length = settings.tuning.max_token_length;
        if let Some(resolver) = &hooks.token_resolver {
            let resolved = resolver(request.request()).await;
            if let Some(token) =
                resolved.map_err(|error| AuthError::token(TokenFault::Resolver).with_source(error))?
            {
                let token = BearerToken::resolved(&token, max_length);
                return token.map(Some).map_err(|_| AuthError::token(TokenFault::Malformed));
            }
        }
        BearerToken::from_headers(request.headers(), max_length)
            .map_err(|fault| AuthError::new(AuthErrorKind::InvalidRequest(fault)))
    }

    /// Returns the caller's certificate: from the certificate resolver if there is one, otherwise from the TLS
    /// connection.
    fn certificate(&self, request: &ServiceRequest) -> Result<Option<CertificateThumbprint>, AuthError> {
        match &self.state.hooks.certificate_resolver {
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
