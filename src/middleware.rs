//! The middleware that [`ProtectApi`] is. What it decides, it decides in [`authenticate`](ProtectApi::authenticate).

pub(crate) mod authenticate;

use std::{
    fmt,
    future::{Ready, ready},
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpMessage as _, ResponseError as _,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
};
use futures_util::{
    TryFutureExt as _,
    future::{Either, LocalBoxFuture, MapOk},
};

use self::authenticate::{Halt, WorkerContext};
use crate::{
    caller::AuthContext,
    error::AuthError,
    protect_api::{ProtectApi, state::State},
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
        ready(Ok(ProtectApiService(Rc::new(ServiceInner {
            service,
            worker: WorkerContext::new(self),
            protect: self.clone(),
        }))))
    }
}

/// The service that [`ProtectApi`] makes for each worker.
#[doc(hidden)]
pub struct ProtectApiService<S>(Rc<ServiceInner<S>>);

struct ServiceInner<S> {
    service: S,
    protect: ProtectApi,
    worker: WorkerContext,
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
    type Future = Either<Finished<S, B>, LocalBoxFuture<'static, Result<Self::Response, Self::Error>>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.service.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let ServiceInner { protect, worker, .. } = &*self.0;
        match protect.authenticate(&request, worker) {
            Ok(session) => Either::Left(self.0.finish(request, Ok(session))),
            Err(Halt::Refused(error)) => Either::Left(self.0.finish(request, Err(error))),
            Err(Halt::Waits(errand)) => {
                let inner = Rc::clone(&self.0);
                Either::Right(Box::pin(async move {
                    let outcome = inner.protect.run(*errand, &request, &inner.worker).await;
                    inner.finish(request, outcome).await
                }))
            }
        }
    }
}

/// The future of a decided request: the handler's, or a ready rejection.
type Finished<S, B> = Either<
    MapOk<<S as Service<ServiceRequest>>::Future, fn(ServiceResponse<B>) -> ServiceResponse<EitherBody<B>>>,
    Ready<Result<ServiceResponse<EitherBody<B>>, Error>>,
>;

impl<S, B> ServiceInner<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
{
    fn finish(&self, request: ServiceRequest, outcome: Result<AuthContext, AuthError>) -> Finished<S, B> {
        let State { observer, answers, .. } = &**self.worker.shared;
        observer.decided(outcome.as_ref().map(AuthContext::via));
        match outcome {
            Ok(session) => {
                request.extensions_mut().insert(session);
                Either::Left(self.service.call(request).map_ok(ServiceResponse::map_into_left_body))
            }
            // An answer, not an `Err`: errors skip the middleware outside of this one, such as CORS.
            Err(error) => {
                let rejection = answers.reject(error, request.request());
                let response = request.into_response(rejection.error_response());
                Either::Right(ready(Ok(response.map_into_right_body())))
            }
        }
    }
}
