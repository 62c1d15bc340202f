//! The middleware that requires the scopes of the called tool.

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
    http::{Method, header::CONTENT_ENCODING},
};
use futures_util::future::LocalBoxFuture;

use super::{
    headers::{self, Mismatch},
    message::{self, Form, Message, Text, Value},
    origins::Origins,
    payload,
    reply::{self, ProtocolFault},
    tools::{Required, Tools},
};
use crate::{
    bearer::BearerToken,
    caller::AuthContext,
    claims::scope::Scope,
    error::AuthErrorKind,
    middleware::authenticate::{Rejected, WorkerContext},
    policy::{self, ScopeUnion},
    protect_api::{ProtectApi, state::State},
    telemetry::{Denial, VerdictSource, spans::AuthenticationSpan},
};

/// The longest body by default: that of rmcp and of the TypeScript SDK. A lower limit would reject requests that the server
/// accepts.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// A mount that requires scopes per tool. See [`ProtectApi::per_tool`].
#[derive(Clone, Debug)]
#[must_use = "it protects nothing until it is wrapped around the endpoint of an MCP server"]
pub struct ToolScopes {
    protect: ProtectApi,
    tools: Arc<Tools>,
    origins: Origins,
    max_body: usize,
}

impl ToolScopes {
    pub(super) fn new(protect: ProtectApi, tools: Tools) -> Self {
        Self { protect, tools: Arc::new(tools), origins: Origins::default(), max_body: MAX_BODY }
    }

    /// Accepts requests from web pages of these origins, such as `https://app.example`. By default, every request with an
    /// `Origin` header is rejected with 403. Requests without this header are always accepted: clients that are not web
    /// pages do not send it.
    ///
    /// The host of the request is not compared with the origin, because both are the attacker's host in a DNS rebinding
    /// attack.
    ///
    /// # Panics
    /// If a value is not an origin (scheme, host, and the port if it is not the default one).
    #[track_caller]
    #[expect(clippy::panic, reason = "documented: a programmer's mistake that shows at start-up")]
    pub fn origins<S: AsRef<str>>(mut self, origins: impl IntoIterator<Item = S>) -> Self {
        for origin in origins {
            let origin = origin.as_ref();
            match self.origins.add(origin) {
                Ok(()) => {}
                Err(()) => panic!("{origin:?} is not an origin, expected one such as https://app.example"),
            }
        }
        self
    }

    /// Sets the longest body, in bytes. A longer body is rejected with 413. Default: 4 MiB.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }
}

impl<S, B> Transform<S, ServiceRequest> for ToolScopes
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<EitherBody<B, BoxBody>>;
    type Error = Error;
    type InitError = ();
    type Transform = ToolScopesService<S>;
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, service: S) -> Self::Future {
        let worker = WorkerContext::new(&self.protect);
        ready(Ok(ToolScopesService(Rc::new(ServiceInner { service, worker, mount: self.clone() }))))
    }
}

/// The service that [`ToolScopes`] makes for each worker.
#[doc(hidden)]
pub struct ToolScopesService<S>(Rc<ServiceInner<S>>);

struct ServiceInner<S> {
    service: S,
    mount: ToolScopes,
    worker: WorkerContext,
}

impl<S> fmt::Debug for ToolScopesService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ToolScopesService").field(&self.0.mount).finish()
    }
}

impl<S, B> Service<ServiceRequest> for ToolScopesService<S>
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
    async fn call(&self, mut request: ServiceRequest) -> Result<ServiceResponse<EitherBody<B>>, Error> {
        let span = AuthenticationSpan::open();
        let decision = span.around(self.mount.decide(&mut request, &self.worker)).await;
        match decision {
            Ok(context) => {
                span.decided(&context.state().telemetry, Ok(context.via()));
                let context = context.with_mounts(self.mount.protect.mounts(&request, &self.worker));
                let ending = self.mount.protect.ends_streams().then(|| context.clone());
                request.extensions_mut().insert(context);
                let response = self.service.call(request).await?;
                Ok(self.mount.protect.end_stream(response, ending))
            }
            Err(Refusal::Token(rejected)) => {
                let protect = &self.mount.protect;
                let Rejected { state, denial } = protect.complete(rejected, &request, &self.worker);
                let State { telemetry, rejections, .. } = &**state;
                span.decided(telemetry, Err(&denial));
                let rejection = rejections.reject(denial, request.request());
                Ok(request.into_response(rejection.error_response()).map_into_right_body())
            }
            Err(Refusal::Protocol(fault)) => {
                let (issuer, fault_name) = (&*self.worker.first.state.telemetry.issuer, fault.name());
                let text = fault.log_text(request.headers());
                record!(
                    log::Level::Debug, event = "mcp_refused", issuer, fault = fault_name;
                    "request to the MCP server rejected: {text} ({fault_name})"
                );
                Ok(request.into_response(fault.response()).map_into_right_body())
            }
        }
    }
}

/// The reason why a request is rejected.
enum Refusal {
    Token(Rejected),
    Protocol(ProtocolFault),
}

impl From<ProtocolFault> for Refusal {
    fn from(fault: ProtocolFault) -> Self {
        Self::Protocol(fault)
    }
}

impl ToolScopes {
    async fn decide(
        &self,
        request: &mut ServiceRequest,
        worker: &WorkerContext,
    ) -> Result<AuthContext, Refusal> {
        if !self.origins.accept(request.headers()) {
            return Err(ProtocolFault::Origin.into());
        }
        let context = match self.protect.authenticate(request, worker).await {
            Ok(context) => context,
            Err(rejected) => return Err(Refusal::Token(self.complete(rejected, request).await)),
        };
        if !has_message(request.method()) {
            return Ok(context);
        }
        let required = self.required(request).await?;
        match self.check(request, &context, &required) {
            Ok(()) => Ok(context),
            Err(denial) => Err(Refusal::Token(Rejected { state: Rc::clone(context.local_state()), denial })),
        }
    }

    /// Adds the scopes of the called tool to the rejection of a token that lacks a scope of the mount, so that one challenge
    /// names all scopes. Other rejections do not read the body.
    async fn complete(&self, mut rejected: Rejected, request: &mut ServiceRequest) -> Rejected {
        let error = &rejected.denial.error;
        if error.kind() == AuthErrorKind::InsufficientScope
            && has_message(request.method())
            && let Ok(required) = self.required(request).await
        {
            let scopes = required.joined_to(error.required_scopes());
            rejected.denial.error = rejected.denial.error.with_required_scopes(scopes);
        }
        rejected
    }

    /// Reads the body, and returns the scopes that it requires in addition to the mount.
    async fn required(&self, request: &mut ServiceRequest) -> Result<Required<'_>, ProtocolFault> {
        let body = payload::read(request, self.max_body).await.map_err(ProtocolFault::Body)?;
        let mut required = Required::default();
        let mut compares = headers::require_comparison(request.headers());
        let mut last = None;
        let form = message::read(&body, &mut |message| {
            self.tools.add_required(&message, &mut required);
            compares |= states_version_to_compare(&message);
            last = Some(message);
        })
        .map_err(|_| ProtocolFault::NotJson)?;
        if request.headers().contains_key(CONTENT_ENCODING) {
            required.add(self.tools.strictest());
        }
        if compares {
            compare(request, form, last.as_ref())?;
        }
        Ok(required)
    }

    /// Requires the scopes of the token.
    fn check(
        &self,
        request: &ServiceRequest,
        context: &AuthContext,
        required: &Required<'_>,
    ) -> Result<(), Denial> {
        if required.0.is_empty() {
            return Ok(());
        }
        // Under an optional mount.
        let Some(caller) = context.authenticated() else {
            return Err(BearerToken::missing(request.headers()).into());
        };
        let granted = caller.valid.scopes();
        let rules = &context.state().settings.rules;
        let is_missing = |scope: &&Scope| !rules.hierarchy.grants(granted, scope.as_str());
        let missing: Vec<&[Scope]> =
            required.0.iter().copied().filter(is_missing).map(std::slice::from_ref).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut union = ScopeUnion::new(&rules.hierarchy);
        if !self.protect.mount.is_report_only {
            union.add_requirements(&self.protect.mount.requirements, Some(granted));
        }
        union.add(required.0.iter().map(|scope| scope.as_str()));
        let error = policy::insufficient_scope(&caller.valid.claims, rules, &union, &missing);
        Err(Denial::new(error, context.via().unwrap_or(VerdictSource::OuterMount)))
    }
}

/// Returns whether a request with this method may contain a message. Only `POST` should, but the server decides.
fn has_message(method: &Method) -> bool {
    ![Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS].contains(method)
}

fn states_version_to_compare(message: &Message<'_>) -> bool {
    match message {
        Message::Call(call) => match &call.version {
            Value::Text(Text(version)) => headers::requires_comparison(version),
            Value::Null | Value::Other => false,
        },
        Message::Response | Message::Ambiguous => false,
    }
}

fn compare(request: &ServiceRequest, form: Form, last: Option<&Message<'_>>) -> Result<(), ProtocolFault> {
    match (form, last) {
        (Form::Single, Some(Message::Call(call))) => headers::compare(request.headers(), call)
            .map_err(|mismatch| ProtocolFault::Mismatch(mismatch, reply::id(call.id.as_ref()))),
        // Since this version there are neither batches nor responses of the client.
        _ => Err(ProtocolFault::Mismatch(Mismatch::Body, None)),
    }
}
