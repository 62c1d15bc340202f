//! The APIs that are walked through, and what they wrote.

use actix_protect_api::{AuthError, AuthenticatedRequest, ProtectApi, ProtectApiBuilder, test::TestIssuer};
use actix_web::{
    App,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web,
};
use serde::Deserialize;

use crate::support::{
    app::{Answer, Call, TestApp, serve, whoami},
    logs::{self, Record},
};

/// Fits tokens with a department.
#[derive(Deserialize)]
pub(crate) struct Employee {
    department: String,
}

async fn department(caller: AuthenticatedRequest<Employee>) -> String {
    caller.claims().department.clone()
}

/// An API of these settings on a port: `/`, `/read` for the scope, `/team` for the group, `/department` for a type of claims,
/// and `/outside` of the mount.
pub(crate) fn api(builder: ProtectApiBuilder) -> TestApp {
    api_of(builder.build().unwrap())
}

pub(crate) fn api_of(protect: ProtectApi) -> TestApp {
    serve!(move || {
        let route = |path, protect| web::resource(path).wrap(protect);
        App::new()
            .wrap(from_fn(show_reference))
            .service(route("/", protect.clone()).route(web::get().to(whoami)))
            .service(route("/read", protect.clone().scopes(["read"])).route(web::get().to(whoami)))
            .service(route("/team", protect.clone().groups(["engineering"])).route(web::get().to(whoami)))
            .service(route("/department", protect.clone()).route(web::get().to(department)))
            .service(web::resource("/outside").route(web::get().to(whoami)))
    })
}

/// For `middleware::from_fn`, outermost: which record belongs to this answer, whatever other tests write meanwhile.
pub(crate) async fn show_reference(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
    let mut response = next.call(request).await?;
    let reference = response
        .response()
        .extensions()
        .get::<AuthError>()
        .and_then(|error| error.reference().map(|reference| reference.parse().unwrap()));
    if let Some(reference) = reference {
        response.headers_mut().insert("x-reference".parse().unwrap(), reference);
    }
    Ok(response)
}

/// A `GET /` with this value of the header.
pub(crate) fn authorized(app: &TestApp, value: &str) -> Call {
    app.get("/").header("Authorization", value)
}

/// The record of a call that is refused with this status.
pub(crate) async fn refused(call: Call, status: u16) -> Record {
    let answer = call.send().await;
    assert_eq!(answer.status, status, "{answer:?}");
    record_of(&answer)
}

/// The record of the first refusal while introspection pauses, after other tokens failed. Bounded.
pub(crate) async fn paused_line(app: &TestApp, issuer: &TestIssuer) -> Record {
    for _ in 0..500 {
        let line = refused(app.get("/").token(&issuer.opaque(serde_json::json!({}))), 503).await;
        if line.text.contains("are paused") {
            return line;
        }
    }
    panic!("introspection does not pause");
}

/// The record that an answer refers to.
#[track_caller]
pub(crate) fn record_of(answer: &Answer) -> Record {
    let reference = answer.header("x-reference").unwrap_or_else(|| panic!("no reference: {answer:?}"));
    logs::last(|record| record.value("reference") == reference)
        .unwrap_or_else(|| panic!("nothing was logged: {answer:?}"))
}

/// A call that must be let through; what to say of it.
pub(crate) async fn works(call: Call) -> String {
    let answer = call.send().await;
    assert_eq!(answer.status, 200, "the fix does not mend it: {answer:?}");
    "200".to_owned()
}

/// The record of this event that is about this issuer and says so.
#[track_caller]
pub(crate) fn told(issuer: &TestIssuer, event: &str, says: &str) -> Record {
    let of = |record: &Record| record.value("event") == event && record.value("issuer") == issuer.issuer();
    logs::last(|record| of(record) && record.text.contains(says))
        .unwrap_or_else(|| panic!("no record of {event} says {says:?}"))
}

/// Waits until this holds, for what has no clock that could be moved: files are looked at once a second. Bounded.
pub(crate) async fn until(holds: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        actix_web::rt::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it does not come to hold");
}
