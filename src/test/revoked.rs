//! Waits until several apps reject a token.

use std::time::{Duration, Instant};

use actix_http::Request;
use actix_web::{
    Error,
    dev::{Service, ServiceResponse},
    http::StatusCode,
    rt::time::sleep,
    test::TestRequest,
};

use super::bearer;

/// The time within which all replicas must reject a revoked token.
const LIMIT: Duration = Duration::from_secs(1);

/// Calls this path of each app with the token until all of them respond with 401, and panics if one of them does not within a
/// second of real time. The apps are the replicas of one API, for example with one [`MemoryStore`](super::MemoryStore).
///
/// ```
/// use std::sync::Arc;
///
/// use actix_protect_api::{
///     ProtectApi, Revocation,
///     test::{MemoryStore, TestIssuer, assert_revoked_everywhere},
/// };
/// use actix_web::{App, HttpResponse, test, web};
/// use serde_json::json;
///
/// # #[actix_web::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let issuer = TestIssuer::start();
/// let store = MemoryStore::new();
/// let key = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
/// // Each `Arc` of the store is one replica.
/// let replica = || {
///     ProtectApi::builder(issuer.issuer(), issuer.audience())
///         .shared_store(Arc::new(store.clone()), key)
///         .build()
/// };
/// let replicas = [replica()?, replica()?];
/// let mut apps = Vec::new();
/// for protect in &replicas {
///     let app = App::new().wrap(protect.clone()).route("/", web::get().to(HttpResponse::Ok));
///     apps.push(test::init_service(app).await);
/// }
///
/// let token = issuer.jwt(json!({ "sub": "alice" }));
/// replicas[0].revoke(Revocation::subject("alice")).await?;
/// assert_revoked_everywhere(&apps, "/", &token).await;
/// # Ok(()) }
/// ```
///
/// # Panics
/// With the number of each app that still responds in another way, and its status.
#[track_caller]
pub fn assert_revoked_everywhere<S, B>(apps: &[S], path: &str, token: &str) -> impl Future<Output = ()>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
{
    let caller = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        loop {
            let mut others = Vec::new();
            for (number, app) in apps.iter().enumerate() {
                let status = status(app, path, token).await;
                if status != StatusCode::UNAUTHORIZED {
                    others.push(format!("app {number} responds with {status}"));
                }
            }
            if others.is_empty() {
                return;
            }
            let is_late = start.elapsed() >= LIMIT;
            assert!(!is_late, "at {caller}: expected 401 from each app, but {}", others.join(", "));
            sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn status<S, B>(app: &S, path: &str, token: &str) -> StatusCode
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
{
    let request = TestRequest::get().uri(path).insert_header(bearer(token)).to_request();
    match app.call(request).await {
        Ok(response) => response.status(),
        Err(error) => error.as_response_error().status_code(),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{App, HttpResponse, test, web};
    use futures_util::FutureExt as _;
    use serde_json::json;

    use super::*;
    use crate::{ProtectApi, Revocation, test::TestIssuer};

    #[actix_web::test]
    async fn an_app_that_accepts_the_token_is_named() {
        let (one, two) = (TestIssuer::start(), TestIssuer::start());
        let build =
            |issuer: &TestIssuer| ProtectApi::builder(issuer.issuer(), one.audience()).build().unwrap();
        let (revoking, token) = (build(&one), one.jwt(json!({ "sub": "alice" })));
        let mut apps = Vec::new();
        for protect in [build(&two), revoking.clone()] {
            let app = App::new().wrap(protect).route("/", web::get().to(HttpResponse::Ok));
            apps.push(test::init_service(app).await);
        }
        let waiting = std::panic::AssertUnwindSafe(assert_revoked_everywhere(&apps, "/", &token));
        let panic = waiting.catch_unwind().await.unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("app 1 responds with 200") && !message.contains("app 0"), "{message}");
        revoking.revoke(Revocation::subject("alice")).await.unwrap();
        assert_revoked_everywhere(&apps, "/", &token).await;
    }
}
