//! Events that the transmitter pushes (RFC 8935).

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, Resource, http::header::AUTHORIZATION, web};

use super::{
    body, panic_with,
    receiver::{Receiver, not_a_set},
    reply,
    ssf::Ssf,
    worker_client,
};
use crate::{
    client_auth::SecretSource,
    deadline::Deadline,
    error::{AuthError, AuthErrorKind, SetupFault},
    protect_api::ProtectApi,
    secret::constant_time_eq,
    telemetry::EventSource,
};

impl ProtectApi {
    /// Returns a service that receives security event tokens at this path by push (RFC 8935), and revokes the tokens that they
    /// concern. The [guide](crate::guide::revocation) lists the events and their effects.
    ///
    /// Register it outside of the mounts of this handle, because the transmitter has no access token. Anybody can call it: the
    /// body is limited to 64 KiB, and tokens with an unknown key cause no more fetches of keys than
    /// [`jwks_cooldown`](crate::ProtectApiBuilder::jwks_cooldown) allows. The response to an accepted event is 202. It is sent
    /// after the revocation is in effect, and after the [shared store](Self::revoke) has it.
    ///
    /// ```no_run
    /// # use actix_protect_api::{ProtectApi, Ssf};
    /// # use actix_web::App;
    /// # fn app(protect: ProtectApi) {
    /// let ssf = Ssf::transmitter("https://idp.example").audience("https://api.example");
    /// let app = App::new().service(protect.ssf_push("/ssf/events", ssf));
    /// # }
    /// ```
    ///
    /// # Panics
    /// If a setting of the transmitter is invalid, or if it does not state which of several issuers the events concern.
    #[track_caller]
    pub fn ssf_push(&self, path: &str, ssf: Ssf) -> Resource {
        let receiver = match Receiver::new(self, ssf, EventSource::SsfPush) {
            Ok(receiver) => Arc::new(receiver),
            Err(problem) => panic_with(&problem),
        };
        web::resource(path.to_owned()).route(web::post().to(
            move |request: HttpRequest, payload: web::Payload| {
                let receiver = Arc::clone(&receiver);
                async move { receive(&receiver, &request, payload).await }
            },
        ))
    }
}

async fn receive(receiver: &Receiver, request: &HttpRequest, payload: web::Payload) -> HttpResponse {
    if let Some(expected) = &receiver.authorization
        && let Err(error) = authorize(request, expected)
    {
        receiver.report.refused(&error);
        return reply::set_refused(&error);
    }
    let deadline = Deadline::after(receiver.transmitter.settings.tuning.response_timeout);
    let body = match body::read(request, payload, deadline).await {
        Ok(body) => body,
        Err(fault) => {
            receiver.report.refused(&fault.error());
            return reply::unread(fault);
        }
    };
    let outcome = match str::from_utf8(&body) {
        Ok(set) if body::has_type(request, "application/secevent+jwt") => {
            // Some transmitters end the body with a line break.
            receiver.receive(set.trim(), || worker_client(request, &receiver.transmitter)).await
        }
        _ => {
            let error = not_a_set();
            receiver.report.refused(&error);
            Err(error)
        }
    };
    match outcome {
        Ok(_) => reply::accepted(),
        Err(error) => reply::set_refused(&error),
    }
}

/// Compares the `Authorization` header with the expected value.
///
/// # Errors
/// [`AuthErrorKind::MissingToken`] if it differs, and a setup fault if the expected value cannot be read.
pub(super) fn authorize(request: &HttpRequest, expected: &SecretSource) -> Result<(), AuthError> {
    authorize_with(request, expected, "")
}

/// Like [`authorize`], with a prefix before the expected value.
pub(super) fn authorize_with(
    request: &HttpRequest,
    expected: &SecretSource,
    prefix: &str,
) -> Result<(), AuthError> {
    let expected = expected
        .current()
        .map_err(|problem| AuthError::setup(SetupFault::Credentials).with_source(problem))?;
    if expected.expose().is_empty() {
        return Err(AuthError::setup(SetupFault::Credentials).with_source("the expected secret is empty"));
    }
    let mut values = request.headers().get_all(AUTHORIZATION);
    let first = values.next();
    let cause = match first {
        Some(_) => "the Authorization header is not the expected one",
        None => "there is no Authorization header",
    };
    let given = first.filter(|_| values.next().is_none());
    let given = given.and_then(|value| value.as_bytes().strip_prefix(prefix.as_bytes()));
    match given {
        Some(given) if constant_time_eq(given, expected.expose().as_bytes()) => Ok(()),
        _ => Err(AuthError::new(AuthErrorKind::MissingToken).with_source(cause)),
    }
}
