//! The middleware that [`ProtectApi`] is: `Service::call` and `authenticate` read as the request's way.

use std::{
    fmt,
    future::{Ready, ready},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpMessage as _, ResponseError as _,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
    http::{
        Method,
        header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
    },
    web,
};
use futures_util::future::LocalBoxFuture;

use crate::{
    bearer::BearerToken,
    cache::Now,
    certificate::{self, CertificateThumbprint},
    error::{AuthError, AuthErrorKind, TokenFault},
    observe::Via,
    policy,
    protect_api::{Mount, ProtectApi},
    request::{Authenticated, Handle, Session},
    shared::Shared,
    upstream::WorkerClient,
    validator::Validated,
};

impl<S, B> Transform<S, ServiceRequest> for ProtectApi
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, BoxBody>>;
    type Error = Error;
    type InitError = ();
    type Transform = ProtectApiService<S>;
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(ProtectApiService(Rc::new(Inner {
            service,
            worker: Worker::of(self),
            protect: self.clone(),
        }))))
    }
}

/// The service that [`ProtectApi`] makes for each worker.
#[doc(hidden)]
pub struct ProtectApiService<S>(Rc<Inner<S>>);

struct Inner<S> {
    service: S,
    protect: ProtectApi,
    worker: Worker,
}

/// What one worker needs for the requests of a configuration.
#[derive(Debug)]
pub(crate) struct Worker {
    shared: Handle,
    client: WorkerClient,
}

impl Worker {
    pub(crate) fn of(protect: &ProtectApi) -> Self {
        let shared = &protect.shared;
        Self { client: shared.worker_client(), shared: Rc::new(Arc::clone(shared)) }
    }
}

impl<S> fmt::Debug for ProtectApiService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProtectApiService").field(&self.0.protect).finish()
    }
}

impl<S, B> Service<ServiceRequest> for ProtectApiService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, BoxBody>>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.service.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let inner = Rc::clone(&self.0);
        Box::pin(async move {
            let outcome = inner.protect.authenticate(&request, &inner.worker).await;
            inner.worker.shared.observer.decided(outcome.as_ref().map(Session::via));
            match outcome {
                Ok(session) => {
                    request.extensions_mut().insert(session);
                    inner.service.call(request).await.map(ServiceResponse::map_into_left_body)
                }
                // An answer, not an `Err`: errors skip the middleware outside of this one, such as CORS.
                Err(error) => {
                    let rejection = inner.worker.shared.answers.reject(error, request.request());
                    Ok(request.into_response(rejection.error_response()).map_into_right_body())
                }
            }
        })
    }
}

impl ProtectApi {
    /// The request's way: token, verdict, policy.
    pub(crate) async fn authenticate(
        &self,
        request: &ServiceRequest,
        worker: &Worker,
    ) -> Result<Session, AuthError> {
        let Worker { shared, client } = worker;
        if self.mount.allows_preflight && is_preflight(request) {
            return Ok(Session::anonymous(shared));
        }
        let certificate = self.certificate(request)?;
        if let Some(outer) = self.outer_verdict(request) {
            self.judge(
                &outer.validated,
                Via::OuterMount,
                certificate.as_ref(),
                self.shared.clock.unix_time(),
            )?;
            return Ok(Session::inherited(shared, outer));
        }
        let Some(token) = self.token(request).await? else {
            let missing = AuthError::new(AuthErrorKind::MissingToken);
            return if self.mount.is_optional { Ok(Session::anonymous(shared)) } else { Err(missing) };
        };
        let http = || client.choose(self.shared.uses_mtls(), request.app_data::<web::Data<awc::Client>>());
        let now = Now::of(&*self.shared.clock);
        let validated = self.shared.validator.validate(&token, now, self.mount.max_age, http).await?;
        let unix_time = if validated.waited { self.shared.clock.unix_time() } else { now.unix };
        self.judge(&validated, validated.via, certificate.as_ref(), unix_time)?;
        Ok(Session::of(shared, Authenticated { validated, token }))
    }

    /// The verdict that a mount of the same configuration further out has reached for this request.
    fn outer_verdict(&self, request: &ServiceRequest) -> Option<Rc<Authenticated>> {
        let extensions = request.extensions();
        let outer =
            extensions.get::<Session>().filter(|session| session.is_of(&self.shared))?.authenticated()?;
        let is_fresh = self.mount.max_age.is_none_or(|age| outer.validated.age <= age);
        is_fresh.then(|| Rc::clone(outer))
    }

    /// The token: from the user's resolver if there is one and it has one, else from the header.
    async fn token(&self, request: &ServiceRequest) -> Result<Option<BearerToken>, AuthError> {
        let max_length = self.shared.settings.tuning.max_token_length;
        if let Some(resolver) = &self.shared.hooks.token_resolver {
            let resolved = resolver(request.request()).await;
            if let Some(token) =
                resolved.map_err(|error| AuthError::token(TokenFault::Resolver).because(error))?
            {
                let token = BearerToken::resolved(&token, max_length);
                return token.map(Some).map_err(|_| AuthError::token(TokenFault::Malformed));
            }
        }
        BearerToken::from_headers(request.headers(), max_length)
            .map_err(|fault| AuthError::new(AuthErrorKind::InvalidRequest(fault)))
    }

    /// The caller's certificate: from the user's resolver if there is one, else from the TLS connection.
    fn certificate(&self, request: &ServiceRequest) -> Result<Option<CertificateThumbprint>, AuthError> {
        match &self.shared.hooks.certificate_resolver {
            None => Ok(certificate::of_connection(request.request())),
            Some(resolver) => resolver
                .resolve(request.request())
                .map_err(|error| AuthError::token(TokenFault::Resolver).because(error)),
        }
    }

    fn judge(
        &self,
        validated: &Validated,
        via: Via,
        certificate: Option<&CertificateThumbprint>,
        unix_time: i64,
    ) -> Result<(), AuthError> {
        let Shared { settings, validator, .. } = &*self.shared;
        let Mount { requirements, .. } = &*self.mount;
        let outcome = validator.metadata.issuer(|issuer| {
            policy::check(&validated.claims, &settings.rules, requirements, issuer, unix_time, certificate)
        });
        outcome.map_err(|error| error.with_verdict_via(via.name()))
    }
}

fn is_preflight(request: &ServiceRequest) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(ORIGIN)
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
