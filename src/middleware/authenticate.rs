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
    policy,
    protect_api::{ProtectApi, state::State},
    telemetry::{Denial, VerdictSource},
    validator::ValidToken,
};

/// The state of one worker for one configuration.
#[derive(Debug)]
pub(crate) struct WorkerContext {
    pub(crate) state: LocalState,
    client: WorkerClient,
}

impl WorkerContext {
    pub(crate) fn new(protect: &ProtectApi) -> Self {
        let state = &protect.state;
        Self { client: state.worker_client(), state: Rc::new(Arc::clone(state)) }
    }
}

impl ProtectApi {
    /// Authenticates a request.
    pub(crate) async fn authenticate(
        &self,
        request: &ServiceRequest,
        worker: &WorkerContext,
    ) -> Result<AuthContext, Denial> {
        if self.mount.allows_preflight && is_preflight(request) {
            return Ok(AuthContext::anonymous(&worker.state));
        }
        let certificate = self.certificate(request)?;
        if let Some(outer) = self.outer_caller(request) {
            self.authorize(&outer.valid, VerdictSource::OuterMount, certificate.as_ref())?;
            return Ok(AuthContext::inherited(&worker.state, outer));
        }
        let Some(token) = self.token(request).await? else { return Ok(self.without_token(worker)?) };
        let client =
            || worker.client.choose(self.state.uses_mtls(), request.app_data::<web::Data<awc::Client>>());
        let valid = self.state.validator.validate(&token, self.mount.max_age, client).await?;
        self.authorize(&valid, valid.via, certificate.as_ref())?;
        Ok(AuthContext::new(&worker.state, Caller { valid, token }))
    }

    fn without_token(&self, worker: &WorkerContext) -> Result<AuthContext, AuthError> {
        if self.mount.is_optional {
            Ok(AuthContext::anonymous(&worker.state))
        } else {
            Err(AuthError::new(AuthErrorKind::MissingToken))
        }
    }

    /// Returns the caller that an outer mount of the same configuration authenticated, if its verdict is fresh enough
    /// for this mount.
    fn outer_caller(&self, request: &ServiceRequest) -> Option<Rc<Caller>> {
        let extensions = request.extensions();
        let outer =
            extensions.get::<AuthContext>().filter(|context| context.is_of(&self.state))?.authenticated()?;
        let is_fresh = match (self.mount.max_age, outer.valid.age) {
            (Some(max_age), Some(age)) => age.at(self.state.clock.monotonic()) <= max_age,
            _ => true,
        };
        is_fresh.then(|| Rc::clone(outer))
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

    /// Applies the policy of this mount to a valid token.
    fn authorize(
        &self,
        valid: &ValidToken,
        via: VerdictSource,
        certificate: Option<&CertificateThumbprint>,
    ) -> Result<(), Denial> {
        let State { settings, validator, clock, .. } = &*self.state;
        let metadata = validator.metadata.load();
        let issuer = validator.metadata.issuer(metadata.as_deref());
        let now = clock.unix_time();
        policy::check(&valid.claims, &settings.rules, &self.mount.requirements, issuer, now, certificate)
            .map_err(|error| Denial::new(error, via))
    }
}

fn is_preflight(request: &ServiceRequest) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
