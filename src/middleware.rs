//! The actix middleware. It authenticates each request, and calls the next service or rejects the request.

pub(crate) mod authenticate;
mod event_boundary;
mod leased_body;

use std::{
    fmt,
    future::{Ready, ready},
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    Error, HttpMessage as _, ResponseError as _,
    body::{BoxBody, EitherBody, MessageBody},
    dev::{Service, ServiceRequest, ServiceResponse, Transform},
};
use futures_util::future::LocalBoxFuture;

use self::authenticate::{Rejected, WorkerContext};
use crate::{
    protect_api::{ProtectApi, state::State},
    telemetry::spans::AuthenticationSpan,
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
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.service.poll_ready(context)
    }

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let inner = Rc::clone(&self.0);
        Box::pin(async move { inner.call(request).await })
    }
}

impl<S, B> ServiceInner<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    async fn call(&self, request: ServiceRequest) -> Result<ServiceResponse<EitherBody<B>>, Error> {
        let span = AuthenticationSpan::open();
        let outcome = {
            // Pinned here, because a future that is moved into the span is copied.
            let authenticating = pin!(self.protect.authenticate(&request, &self.worker));
            span.around(authenticating).await
        };
        match outcome {
            Ok(context) => {
                span.decided(&context.state().telemetry, Ok(context.via()));
                let context = context.with_mounts(self.protect.mounts(&request, &self.worker));
                let ending = self.protect.ends_streams().then(|| context.clone());
                request.extensions_mut().insert(context);
                let response = self.service.call(request).await?;
                Ok(self.protect.end_stream(response, ending))
            }
            // Returns a response and not an `Err`, because an error skips the outer middleware, such as CORS.
            Err(rejected) => {
                let Rejected { state, denial } = self.protect.complete(rejected, &request, &self.worker);
                let State { telemetry, rejections, .. } = &**state;
                span.decided(telemetry, Err(&denial));
                let rejection = rejections.reject(denial, request.request());
                Ok(request.into_response(rejection.error_response()).map_into_right_body())
            }
        }
    }
}
