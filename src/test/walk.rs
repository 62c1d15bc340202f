//! Finds routes that are not protected.

use actix_http::Request;
use actix_web::{
    Error,
    dev::{Service, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{HeaderName, WWW_AUTHENTICATE},
    },
    test::TestRequest,
};

/// Calls each of these routes without a token, and panics unless it responds with 401 and a `Bearer` challenge. A
/// route with another response is open to everybody, or does not exist.
///
/// `public` lists the routes that must respond without a token; each must exist, and none may respond with 401. A
/// route is a method and a path: `"GET /api/posts/7"`. actix does not expose the routes of an app, so the test must
/// list them. An API description is a good source.
///
/// ```
/// use actix_protect_api::{ProtectApi, test::assert_protected};
/// use actix_web::{App, HttpResponse, test, web};
///
/// # #[actix_web::main] async fn main() {
/// let protect = ProtectApi::builder("https://issuer.example.test", "my-api").build().unwrap();
/// let app = test::init_service(
///     App::new()
///         .route("/health", web::get().to(HttpResponse::Ok))
///         .service(web::scope("/api").wrap(protect).route("/posts", web::get().to(HttpResponse::Ok))),
/// )
/// .await;
/// assert_protected(&app, &["GET /api/posts", "GET /api/not-there"], &["GET /health"]).await;
/// # }
/// ```
///
/// # Panics
/// With the list of all routes that respond in an unexpected way.
#[track_caller]
pub fn assert_protected<S, B>(app: &S, protected: &[&str], public: &[&str]) -> impl Future<Output = ()>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
{
    let caller = std::panic::Location::caller();
    async move {
        let mut complaints = Vec::new();
        for route in protected {
            let (status, is_challenged) = call(app, route).await;
            if status != StatusCode::UNAUTHORIZED || !is_challenged {
                complaints.push(format!("{route} answers {status} without a token, it should be protected"));
            }
        }
        for route in public {
            let (status, _) = call(app, route).await;
            if matches!(
                status,
                StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
            ) {
                complaints.push(format!("{route} answers {status} without a token, it should be public"));
            }
        }
        assert!(complaints.is_empty(), "at {caller}:\n  {}", complaints.join("\n  "));
    }
}

async fn call<S, B>(app: &S, route: &str) -> (StatusCode, bool)
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
{
    let (method, path) =
        super::expect_ok(route.split_once(' ').ok_or(route), "read a route like `GET /path`");
    let method = super::expect_ok(Method::from_bytes(method.as_bytes()), "read a method");
    let request = TestRequest::with_uri(path).method(method).to_request();
    let is_bearer = |value: &actix_web::http::header::HeaderValue| value.as_bytes().starts_with(b"Bearer");
    match app.call(request).await {
        Ok(response) => {
            let name: HeaderName = WWW_AUTHENTICATE;
            (response.status(), response.headers().get(name).is_some_and(is_bearer))
        }
        Err(error) => (error.as_response_error().status_code(), false),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{App, HttpResponse, test, web};
    use futures_util::FutureExt as _;

    use super::*;
    use crate::ProtectApi;

    #[actix_web::test]
    async fn a_forgotten_route_is_named() {
        let protect = ProtectApi::builder("https://issuer.example.test", "my-api").build().unwrap();
        let app = test::init_service(
            App::new()
                .route("/health", web::get().to(HttpResponse::Ok))
                .route("/forgotten", web::get().to(HttpResponse::Ok))
                .service(web::scope("/api").wrap(protect).route("/posts", web::get().to(HttpResponse::Ok))),
        )
        .await;
        assert_protected(&app, &["GET /api/posts", "POST /api/posts"], &["GET /health"]).await;

        for (protected, public, named) in [
            (&["GET /forgotten", "GET /api/posts"][..], &[][..], "GET /forgotten"),
            (&["GET /missing"], &[], "GET /missing"),
            (&[], &["GET /api/posts"], "GET /api/posts"),
            (&[], &["GET /missing"], "GET /missing"),
        ] {
            let walk = std::panic::AssertUnwindSafe(assert_protected(&app, protected, public));
            let panic = walk.catch_unwind().await.unwrap_err();
            let message = panic.downcast_ref::<String>().unwrap();
            assert!(message.contains(named), "{message}");
            assert_eq!(message.matches("without a token").count(), 1, "{message}");
        }
    }
}
