//! Checks and headers of every request: which pages in a browser may call which endpoint.

use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName,
            HeaderValue, ORIGIN, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware::Next,
    web,
};
use url::Url;

use crate::{client::is_loopback, issuer::Issuer};

/// The paths that a page of another loopback origin may call. The forms of this server are not among them.
const CROSS_ORIGIN: [&str; 7] = [
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
    "/.well-known/ssf-configuration",
    "/jwks",
    "/register",
    "/token",
    "/revoke",
];

pub(crate) async fn enforce<B: MessageBody + 'static>(
    issuer: web::Data<Issuer>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let origin = header(request.headers(), &ORIGIN);
    let host = header(request.headers(), &HOST).unwrap_or_default();
    let is_own_page = origin.as_deref() == Some(&format!("http://{host}"));
    let cross_origin = origin
        .filter(|origin| CROSS_ORIGIN.contains(&request.path()) && is_loopback_origin(origin))
        .and_then(|origin| HeaderValue::from_str(&origin).ok());
    let is_refused = request.headers().contains_key(ORIGIN)
        && !matches!(*request.method(), Method::GET | Method::HEAD)
        && !is_own_page
        && cross_origin.is_none();

    // A host name of an attacker that resolves to 127.0.0.1 (DNS rebinding).
    let mut response = if !is_known_host(&host, issuer.url()) {
        reject(request, &format!("the host is unknown, expected {}", issuer.url()))
    } else if is_refused {
        reject(request, "pages of this origin may not send this request")
    } else if cross_origin.is_some() && request.method() == Method::OPTIONS {
        let preflight = HttpResponse::NoContent()
            .insert_header((ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"))
            .insert_header((
                ACCESS_CONTROL_ALLOW_HEADERS,
                "Authorization, Content-Type, MCP-Protocol-Version",
            ))
            .insert_header((ACCESS_CONTROL_MAX_AGE, "600"))
            .finish();
        request.into_response(preflight).map_into_right_body()
    } else {
        next.call(request).await?.map_into_left_body()
    };

    let headers = response.headers_mut();
    if let Some(origin) = cross_origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // `no-referrer` would set `Origin: null` in the forms of this server.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if !headers.contains_key(CONTENT_SECURITY_POLICY) {
        let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}

fn reject<B>(request: ServiceRequest, problem: &str) -> ServiceResponse<EitherBody<B>> {
    request.into_response(HttpResponse::Forbidden().body(problem.to_owned())).map_into_right_body()
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Returns whether the host is a loopback address or `localhost`, with the port of the issuer.
fn is_known_host(host: &str, issuer: &str) -> bool {
    let parse = |text: &str| Url::parse(text).ok().filter(is_loopback);
    let (Some(given), Some(own)) = (parse(&format!("http://{host}/")), parse(issuer)) else { return false };
    given.port_or_known_default() == own.port_or_known_default()
}

fn is_loopback_origin(origin: &str) -> bool {
    Url::parse(origin).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && is_loopback(&url))
}
