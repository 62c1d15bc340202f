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
};

/// The kind in logs and metrics.
const KIND: &str = "webhook";

impl ProtectApi {
    /// Returns a service that receives JSON at this path, for a server with another event format. The function returns the
    /// revocations that the event demands; an empty list has no effect.
    ///
    /// The request must be `POST` with `Authorization: Bearer` and the secret, which is compared in constant time; otherwise
    /// the response is 401. A body of more than 64 KiB, or one that is not JSON, is rejected with 4xx. The response to an
    /// accepted event is 204. It is sent after the revocations are in effect.
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
            report: EventReport::new("webhook", &self.state.telemetry),
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
        let malformed = |_| AuthError::new(AuthErrorKind::InvalidRequest(RequestFault::Malformed));
        let revocations = (self.revocations)(&serde_json::from_slice(body).map_err(malformed)?);
        let outcome = if revocations.is_empty() { Outcome::Ignored } else { Outcome::Applied };
        for revocation in revocations {
            revoke(&self.protect, revocation).await?;
        }
        Ok(outcome)
    }
}
