//! Protected applications on a port, for tests that do not need routes of another form.

use actix_protect_api::{AuthError, AuthenticatedRequest, ProtectApi};
use actix_web::{
    App,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web,
};
use serde::Deserialize;

use super::{
    app::{Answer, TestApp, serve, show_kind, whoami},
    logs::{self, Record},
};

/// One protected route, `/`. The header `x-kind` of a response contains the kind of its error.
pub(crate) fn protected(protect: ProtectApi) -> TestApp {
    serve!(move || {
        App::new().wrap(protect.clone()).wrap(from_fn(show_kind)).route("/", web::get().to(whoami))
    })
}

/// Claims with a department.
#[derive(Deserialize)]
struct Employee {
    department: String,
}

async fn department(caller: AuthenticatedRequest<Employee>) -> String {
    caller.claims().department.clone()
}

/// Several routes: `/`, `/read` for the scope, `/team` for the group, `/department` for a type of claims, and
/// `/outside` without a mount. The header `x-reference` of a response names its log record.
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

/// For `middleware::from_fn`, outermost: the header `x-reference` names the log record of this response.
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

/// Returns the log record that a response refers to.
#[track_caller]
pub(crate) fn record_of(answer: &Answer) -> Record {
    let reference = answer.header("x-reference").unwrap_or_else(|| panic!("no reference: {answer:?}"));
    logs::last(|record| record.value("reference") == reference)
        .unwrap_or_else(|| panic!("nothing was logged: {answer:?}"))
}
