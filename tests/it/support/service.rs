//! A protected API in the thread of the test. Requests to the API do not use a socket, calls to the authorization server
//! do.

use std::rc::Rc;

use actix_http::Request;
use actix_protect_api::{
    AuthError, AuthErrorKind, AuthenticatedRequest, ClientAuthentication, ProtectApi, ProtectApiBuilder,
    SetupFault, TokenFault, UpstreamFault,
    test::{TestClock, TestIssuer},
};
use actix_web::{
    App, HttpResponse, body,
    dev::{Service, ServiceResponse},
    http::header,
    test::{self, TestRequest},
    web,
};
use futures_util::future::LocalBoxFuture;
use serde_json::Value;

/// The outcome of a request: accepted, or the kind of the error.
pub(crate) type Outcome = Result<(), AuthErrorKind>;

pub(crate) const OK: Outcome = Ok(());
pub(crate) const NO_SCOPE: Outcome = Err(AuthErrorKind::InsufficientScope);

pub(crate) const fn token(fault: TokenFault) -> Outcome {
    Err(AuthErrorKind::InvalidToken(fault))
}

pub(crate) const fn upstream(fault: UpstreamFault) -> Outcome {
    Err(AuthErrorKind::Upstream(fault))
}

pub(crate) const fn setup(fault: SetupFault) -> Outcome {
    Err(AuthErrorKind::Misconfigured(fault))
}

/// The settings of an API of this issuer with its default client; no verdict is cached.
pub(crate) fn introspecting(issuer: &TestIssuer) -> ProtectApiBuilder {
    ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(issuer.client_secret()))
}

/// The settings of an API without credentials: it accepts JWTs only.
pub(crate) fn jwts_only(issuer: &TestIssuer) -> ProtectApiBuilder {
    ProtectApi::builder(issuer.issuer(), issuer.audience())
}

/// An issuer with a clock that the test moves.
pub(crate) fn timed_issuer() -> (TestIssuer, TestClock) {
    let clock = TestClock::new();
    (TestIssuer::builder().clock(clock.clone()).start(), clock)
}

/// Starts the API with these settings.
pub(crate) async fn api(builder: ProtectApiBuilder) -> Api {
    Api::of(&builder.build().unwrap(), None).await
}

/// Starts the API with an HTTP client of the application.
pub(crate) async fn api_with(builder: ProtectApiBuilder, client: awc::Client) -> Api {
    Api::of(&builder.build().unwrap(), Some(client)).await
}

/// The API, with a route for each requirement: `/`, `/read`, `/write`, `/any` (of both scopes), `/team`, and `/fresh`,
/// which uses no cached verdict.
pub(crate) struct Api {
    call: Box<dyn Fn(TestRequest) -> LocalBoxFuture<'static, Answer>>,
}

impl Api {
    pub(crate) async fn of(protect: &ProtectApi, client: Option<awc::Client>) -> Self {
        let route =
            |path: &str, protect: ProtectApi| web::resource(path).wrap(protect).route(web::get().to(claims));
        let mut app = App::new();
        if let Some(client) = client {
            app = app.app_data(web::Data::new(client));
        }
        let app = app
            .service(route("/", protect.clone()))
            .service(route("/read", protect.clone().scopes(["read"])))
            .service(route("/write", protect.clone().scopes(["write"])))
            .service(route("/any", protect.clone().any_scope(["read", "write"])))
            .service(route("/team", protect.clone().groups(["engineering"])))
            .service(route("/fresh", protect.clone().max_age(std::time::Duration::ZERO)));
        let service = Rc::new(test::init_service(app).await);
        let call = move |request: TestRequest| -> LocalBoxFuture<'static, Answer> {
            let service = Rc::clone(&service);
            Box::pin(async move {
                let response = service.call(request.to_request()).await.expect("never an `Err`");
                Answer::of(response.into_parts().1.map_into_boxed_body()).await
            })
        };
        Self { call: Box::new(call) }
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        let authorization = (header::AUTHORIZATION, format!("Bearer {token}"));
        let request = TestRequest::get().uri(path).insert_header(authorization);
        (self.call)(request).await
    }

    /// Returns the outcome of a request to `/` with this token.
    pub(crate) async fn outcome(&self, token: &str) -> Outcome {
        self.outcome_at("/", token).await
    }

    pub(crate) async fn outcome_at(&self, path: &str, token: &str) -> Outcome {
        self.get(path, token).await.outcome()
    }
}

/// Returns the status of a request to an application in the thread of the test. An empty token is no header.
pub(crate) async fn status_of<S, B>(app: &S, path: &str, token: &str) -> u16
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
{
    let mut request = TestRequest::get().uri(path);
    if !token.is_empty() {
        request = request.insert_header((header::AUTHORIZATION, format!("Bearer {token}")));
    }
    test::call_service(app, request.to_request()).await.status().as_u16()
}

async fn claims(caller: AuthenticatedRequest) -> web::Json<actix_protect_api::Claims> {
    web::Json(caller.into_claims())
}

/// The response, and the kind of its error.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: Option<AuthErrorKind>,
    /// In seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) challenge: Option<String>,
    /// The reference of the rejection in the log.
    pub(crate) reference: Option<String>,
    /// The claims, if the request was accepted.
    pub(crate) body: Value,
}

/// The reference is random, and there is none while no record is logged.
impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        let parts = |answer: &Self| {
            let Self { status, kind, retry_after, challenge, reference: _, body } = answer.clone();
            (status, kind, retry_after, challenge, body)
        };
        parts(self) == parts(other)
    }
}

impl Answer {
    async fn of(response: HttpResponse) -> Self {
        let error = response.extensions().get::<AuthError>().cloned();
        let reference = error.as_ref().and_then(AuthError::reference).map(str::to_owned);
        let kind = error.map(|error| error.kind());
        let text = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (retry_after, challenge) = (text(header::RETRY_AFTER), text(header::WWW_AUTHENTICATE));
        let status = response.status().as_u16();
        let body = body::to_bytes(response.into_body()).await.unwrap();
        Self {
            status,
            kind,
            retry_after: retry_after.map(|seconds| seconds.parse().unwrap()),
            challenge,
            reference,
            body: serde_json::from_slice(&body).unwrap(),
        }
    }

    /// Returns the outcome. Status and challenge must be those of the kind.
    #[track_caller]
    pub(crate) fn outcome(&self) -> Outcome {
        let status = match self.kind {
            None => 200,
            Some(AuthErrorKind::InvalidRequest(_)) => 400,
            Some(
                AuthErrorKind::MissingToken
                | AuthErrorKind::InvalidToken(_)
                | AuthErrorKind::InsufficientAuthentication,
            ) => 401,
            Some(
                AuthErrorKind::InsufficientScope
                | AuthErrorKind::InsufficientGroups
                | AuthErrorKind::ClaimRule,
            ) => 403,
            Some(AuthErrorKind::Misconfigured(_)) => 500,
            Some(AuthErrorKind::Upstream(_)) => 503,
            Some(other) => panic!("{other:?}"),
        };
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.challenge.is_some(), (400..500).contains(&status), "{self:?}");
        self.kind.map_or(Ok(()), Err)
    }
}
