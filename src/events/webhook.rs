//! Events in a format of the application.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, Resource, web};
use serde_json::Value;

use super::{
    body,
    event_report::{EventReport, Outcome},
    push::authorize_with,
    reply, revoke,
};
use crate::{
    client_auth::SecretSource,
    deadline::Deadline,
    error::{AuthError, AuthErrorKind, RequestFault},
    protect_api::ProtectApi,
    revocation::Revocation,
    telemetry::EventSource,
};

/// The kind in logs and metrics.
const KIND: &str = "webhook";

impl ProtectApi {
    /// Returns a service that receives JSON at this path, for a server with another event format. The function returns the
    /// revocations that the event demands; an empty list has no effect.
    ///
    /// The request must be `POST` with `Authorization: Bearer` and the secret, which is compared in constant time; otherwise
    /// the response is 401. A body of more than 64 KiB, or one that is not JSON, is rejected with 4xx. The response to an
    /// accepted event is 204. It is sent after the revocations are in effect. A revocation that [has
    /// ended](Revocation::until) has no effect and is accepted. If one of several revocations fails, the others are in effect,
    /// and the response is 400 for a malformed token or an empty value, 500 for an issuer that is not configured, and 503 if
    /// the shared store fails.
    ///
    /// ```no_run
    /// # use actix_protect_api::ProtectApi;
    /// # use actix_web::App;
    /// # fn app(protect: ProtectApi) {
    /// use actix_protect_api::{Revocation, SecretSource};
    ///
    /// let secret = SecretSource::file("/run/secrets/webhook");
    /// let app = App::new().service(protect.revocation_webhook("/revoked", secret, |body| {
    ///     let user = body["user"].as_str();
    ///     user.map(Revocation::subject).into_iter().collect()
    /// }));
    /// # }
    /// ```
    pub fn revocation_webhook<F>(
        &self,
        path: &str,
        secret: impl Into<SecretSource>,
        revocations: F,
    ) -> Resource
    where
        F: Fn(&Value) -> Vec<Revocation> + Send + Sync + 'static,
    {
        let webhook = Arc::new(Webhook {
            report: EventReport::new(EventSource::Webhook, &self.state, &self.state),
            protect: self.clone(),
            secret: secret.into(),
            revocations,
        });
        web::resource(path.to_owned()).route(web::post().to(
            move |request: HttpRequest, payload: web::Payload| {
                let webhook = Arc::clone(&webhook);
                async move { webhook.respond(&request, payload).await }
            },
        ))
    }
}

struct Webhook<F> {
    protect: ProtectApi,
    secret: SecretSource,
    revocations: F,
    report: EventReport,
}

impl<F: Fn(&Value) -> Vec<Revocation>> Webhook<F> {
    async fn respond(&self, request: &HttpRequest, payload: web::Payload) -> HttpResponse {
        if let Err(error) = authorize_with(request, &self.secret, "Bearer ") {
            self.report.refused(&error);
            return reply::webhook_refused(&error);
        }
        let deadline = Deadline::after(self.protect.state.settings.tuning.response_timeout);
        let body = match body::read(request, payload, deadline).await {
            Ok(body) => body,
            Err(fault) => {
                self.report.refused(&fault.error());
                return reply::unread(fault);
            }
        };
        match self.apply(&body).await {
            Ok(outcome) => {
                self.report.accepted(KIND, outcome);
                reply::no_content()
            }
            Err(error) => {
                self.report.refused(&error);
                reply::webhook_refused(&error)
            }
        }
    }

    async fn apply(&self, body: &[u8]) -> Result<Outcome, AuthError> {
        let kind = AuthErrorKind::InvalidRequest(RequestFault::Body);
        let malformed = |_| AuthError::new(kind).with_source("expected JSON");
        let revocations = (self.revocations)(&serde_json::from_slice(body).map_err(malformed)?);
        let mut outcome = Ok(Outcome::Ignored);
        for revocation in revocations {
            // A failed one does not prevent the others.
            outcome = combine(outcome, revoke(&self.protect, revocation).await);
        }
        outcome
    }
}

/// Returns the outcome of two revocations of one event. A failure after which the event must be delivered again counts most.
fn combine(one: Result<Outcome, AuthError>, other: Result<Outcome, AuthError>) -> Result<Outcome, AuthError> {
    match (one, other) {
        (Err(one), Err(other)) if one.is_client_fault() => Err(other),
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        (Ok(Outcome::Ignored), Ok(other)) => Ok(other),
        (Ok(one), Ok(_)) => Ok(one),
    }
}
