//! Authenticates a request: extract the token, validate it, apply the policy. Tokens with a cached verdict are
//! decided synchronously; only a cache miss allocates a future.

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
    cache::{AgedVerdict, ClockReading},
    caller::{AuthContext, Caller, LocalState},
    certificate::{self, CertificateThumbprint},
    error::{AuthError, AuthErrorKind, TokenFault},
    issuer::http::WorkerClient,
    policy,
    protect_api::{Mount, ProtectApi, state::State},
    telemetry::VerdictSource,
    validator::{LookupKeys, ValidToken},
};

/// The state that one worker keeps for the requests of a configuration.
#[derive(Debug)]
pub(crate) struct WorkerContext {
    pub(crate) shared: LocalState,
    client: WorkerClient,
}

impl WorkerContext {
    pub(crate) fn new(protect: &ProtectApi) -> Self {
        let shared = &protect.shared;
        Self { client: shared.worker_client(), shared: Rc::new(Arc::clone(shared)) }
    }
}

/// Why a request does not go on at once.
pub(crate) enum Halt {
    Refused(AuthError),
    Waits(Box<Errand>),
}

impl From<AuthError> for Halt {
    fn from(error: AuthError) -> Self {
        Self::Refused(error)
    }
}

/// A token that still has to be validated.
pub(crate) struct Errand {
    certificate: Option<CertificateThumbprint>,
    /// The token, and the names by which nobody knew it; `None` if the user's resolver is to find it.
    token: Option<(BearerToken, LookupKeys)>,
}

impl ProtectApi {
    /// The request's way as far as it goes without waiting.
    pub(crate) fn authenticate(
        &self,
        request: &ServiceRequest,
        worker: &WorkerContext,
    ) -> Result<AuthContext, Halt> {
        let State { settings, hooks, clock, validator, .. } = &*self.shared;
        if self.mount.allows_preflight && is_preflight(request) {
            return Ok(AuthContext::anonymous(&worker.shared));
        }
        let certificate = self.certificate(request)?;
        if let Some(outer) = self.outer_verdict(request) {
            self.authorize(
                &outer.validated,
                VerdictSource::OuterMount,
                certificate.as_ref(),
                clock.unix_time(),
            )?;
            return Ok(AuthContext::inherited(&worker.shared, outer));
        }
        if hooks.token_resolver.is_some() {
            return Err(Halt::Waits(Box::new(Errand { certificate, token: None })));
        }
        let Some(token) = token_of_header(request, settings.tuning.max_token_length)? else {
            return Ok(self.without_token(worker)?);
        };
        let now = ClockReading::now(&**clock);
        match validator.lookup(&token, now, self.mount.max_age) {
            Ok(found) => Ok(self.accept(worker, token, found, certificate.as_ref(), now.unix)?),
            Err(names) => Err(Halt::Waits(Box::new(Errand { certificate, token: Some((token, names)) }))),
        }
    }

    /// The rest of the way, where there is something to wait for.
    pub(crate) async fn run(
        &self,
        errand: Errand,
        request: &ServiceRequest,
        worker: &WorkerContext,
    ) -> Result<AuthContext, AuthError> {
        let State { clock, validator, .. } = &*self.shared;
        let (token, names) = match errand.token {
            Some(known) => known,
            None => match self.resolve(request).await? {
                Some(token) => (token, LookupKeys::default()),
                None => return self.without_token(worker),
            },
        };
        let client =
            || worker.client.choose(self.shared.uses_mtls(), request.app_data::<web::Data<awc::Client>>());
        let found = validator.ask(&token, names, self.mount.max_age, client).await?;
        self.accept(worker, token, found, errand.certificate.as_ref(), clock.unix_time())
    }

    /// The verdict before the policy of this mount.
    fn accept(
        &self,
        worker: &WorkerContext,
        token: BearerToken,
        (hit, via): (AgedVerdict, VerdictSource),
        certificate: Option<&CertificateThumbprint>,
        unix_time: i64,
    ) -> Result<AuthContext, AuthError> {
        let validated = self.shared.validator.validated(hit, via)?;
        self.authorize(&validated, via, certificate, unix_time)?;
        Ok(AuthContext::new(&worker.shared, Caller { validated, token }))
    }

    fn without_token(&self, worker: &WorkerContext) -> Result<AuthContext, AuthError> {
        if self.mount.is_optional {
            Ok(AuthContext::anonymous(&worker.shared))
        } else {
            Err(AuthError::new(AuthErrorKind::MissingToken))
        }
    }

    /// The verdict that a mount of the same configuration further out has reached for this request.
    fn outer_verdict(&self, request: &ServiceRequest) -> Option<Rc<Caller>> {
        let extensions = request.extensions();
        let outer =
            extensions.get::<AuthContext>().filter(|session| session.is_of(&self.shared))?.authenticated()?;
        let is_fresh = match (self.mount.max_age, outer.validated.age) {
            (Some(max_age), Some(age)) => age.at(self.shared.clock.monotonic()) <= max_age,
            _ => true,
        };
        is_fresh.then(|| Rc::clone(outer))
    }

    /// The token that the user's resolver has, else that of the header.
    async fn resolve(&self, request: &ServiceRequest) -> Result<Option<BearerToken>, AuthError> {
        let State { settings, hooks, .. } = &*self.shared;
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
        token_of_header(request, max_length)
    }

    /// The caller's certificate: from the user's resolver if there is one, else from the TLS connection.
    fn certificate(&self, request: &ServiceRequest) -> Result<Option<CertificateThumbprint>, AuthError> {
        match &self.shared.hooks.certificate_resolver {
            None => Ok(certificate::of_connection(request.request())),
            Some(resolver) => resolver
                .resolve(request.request())
                .map_err(|error| AuthError::token(TokenFault::Resolver).with_source(error)),
        }
    }

    fn authorize(
        &self,
        validated: &ValidToken,
        via: VerdictSource,
        certificate: Option<&CertificateThumbprint>,
        unix_time: i64,
    ) -> Result<(), AuthError> {
        let State { settings, validator, .. } = &*self.shared;
        let Mount { requirements, .. } = &*self.mount;
        let outcome = validator.metadata.issuer(|issuer| {
            policy::check(&validated.claims, &settings.rules, requirements, issuer, unix_time, certificate)
        });
        outcome.map_err(|error| error.with_verdict_via(via.name()))
    }
}

fn token_of_header(request: &ServiceRequest, max_length: usize) -> Result<Option<BearerToken>, AuthError> {
    BearerToken::from_headers(request.headers(), max_length)
        .map_err(|fault| AuthError::new(AuthErrorKind::InvalidRequest(fault)))
}

fn is_preflight(request: &ServiceRequest) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
