//! A protected API in the test's own thread, without a socket in front of it: only what is behind it, the way to the
//! authorization server, goes over the network.

use std::rc::Rc;

use actix_protect_api::{
    AuthError, AuthErrorKind, AuthenticatedRequest, ClientAuthentication, ProtectApi, ProtectApiBuilder,
    SetupFault, TokenFault, UpstreamFault,
    test::{TestClock, TestIssuer},
};
use actix_web::{
    App, HttpResponse, body,
    dev::Service as _,
    http::header,
    test::{self, TestRequest},
    web,
};
use futures_util::future::LocalBoxFuture;
use serde_json::Value;

/// How a request ended: let through, or why not.
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

/// An API of this issuer as its usual client; no verdict is kept.
pub(crate) fn introspecting(issuer: &TestIssuer) -> ProtectApiBuilder {
    ProtectApi::builder(issuer.issuer(), issuer.audience())
        .client(issuer.client_id(), ClientAuthentication::client_secret_basic(issuer.client_secret()))
}

/// An API without credentials: it knows JWTs only.
pub(crate) fn jwts_only(issuer: &TestIssuer) -> ProtectApiBuilder {
    ProtectApi::builder(issuer.issuer(), issuer.audience())
}

/// An issuer whose time is that of the clock.
pub(crate) fn timed_issuer() -> (TestIssuer, TestClock) {
    let clock = TestClock::new();
    (TestIssuer::builder().clock(clock.clone()).start(), clock)
}

/// The API of these settings, to be asked.
pub(crate) async fn api(builder: ProtectApiBuilder) -> Api {
    Api::of(&builder.build().unwrap(), None).await
}

/// The same with an HTTP client of the user's own.
pub(crate) async fn api_with(builder: ProtectApiBuilder, client: awc::Client) -> Api {
    Api::of(&builder.build().unwrap(), Some(client)).await
}

/// The API, with a route for each requirement: `/`, `/read`, `/write`, `/any` (of both scopes), `/team`, and `/fresh`,
/// which takes no verdict from before.
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

    /// How a request to `/` with this token ends.
    pub(crate) async fn outcome(&self, token: &str) -> Outcome {
        self.outcome_at("/", token).await
    }

    pub(crate) async fn outcome_at(&self, path: &str, token: &str) -> Outcome {
        self.get(path, token).await.outcome()
    }
}

async fn claims(caller: AuthenticatedRequest) -> web::Json<actix_protect_api::Claims> {
    web::Json(caller.into_claims())
}

/// What came back, and why.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: Option<AuthErrorKind>,
    /// In seconds.
    pub(crate) retry_after: Option<u64>,
    pub(crate) challenge: Option<String>,
    /// The claims where the request was let through.
    pub(crate) body: Value,
}

impl Answer {
    async fn of(response: HttpResponse) -> Self {
        let kind = response.extensions().get::<AuthError>().map(AuthError::kind);
        let text = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (retry_after, challenge) = (text(header::RETRY_AFTER), text(header::WWW_AUTHENTICATE));
        let status = response.status().as_u16();
        let body = body::to_bytes(response.into_body()).await.unwrap();
        Self {
            status,
            kind,
            retry_after: retry_after.map(|seconds| seconds.parse().unwrap()),
            challenge,
            body: serde_json::from_slice(&body).unwrap(),
        }
    }

    /// Status and challenge must be those of the kind, whatever a test asks about.
    #[track_caller]
    pub(crate) fn outcome(&self) -> Outcome {
        let status = match self.kind {
            None => 200,
            Some(AuthErrorKind::InvalidRequest(_)) => 400,
            Some(AuthErrorKind::MissingToken | AuthErrorKind::InvalidToken(_)) => 401,
            Some(AuthErrorKind::InsufficientScope | AuthErrorKind::InsufficientGroups) => 403,
            Some(AuthErrorKind::Misconfigured(_)) => 500,
            Some(AuthErrorKind::Upstream(_)) => 503,
            Some(other) => panic!("{other:?}"),
        };
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.challenge.is_some(), (400..500).contains(&status), "{self:?}");
        self.kind.map_or(Ok(()), Err)
    }
}
