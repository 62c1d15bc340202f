//! The call of the introspection endpoint (RFC 7662 section 2.1).

use std::borrow::Cow;

use actix_web::http::header::AUTHORIZATION;

use super::{Introspection, IntrospectionTarget, response::read};
use crate::{
    bearer::BearerToken,
    cache::Verdict,
    client_auth::ClientAssertionAudience,
    error::AuthError,
    issuer::http::{self, CallDeadline, CallFailure, CallLimits, Reply, Reuse},
    settings::ClientSettings,
};

impl Introspection {
    /// Sends one introspection request. Introspection is idempotent, so the request is sent again if a kept-alive
    /// connection was closed. The second form is built anew, because a client assertion must not be used twice.
    pub(super) async fn call(
        &self,
        token: &BearerToken,
        client: &awc::Client,
        target: &IntrospectionTarget,
        limits: CallLimits,
    ) -> Result<Verdict, AuthError> {
        let bounds = limits.starting_now();
        let reply = match self.send(token, client, target, bounds, Reuse::Allowed).await {
            Err(CallFailure::ClosedEarly(_)) => self.send(token, client, target, bounds, Reuse::No).await,
            outcome => outcome,
        };
        let verdict = reply.map_err(AuthError::from).and_then(|reply| read(&reply));
        verdict.map_err(|error| error.with_url(&target.endpoint))
    }

    async fn send(
        &self,
        token: &BearerToken,
        client: &awc::Client,
        target: &IntrospectionTarget,
        bounds: CallDeadline,
        reuse: Reuse,
    ) -> Result<Reply, CallFailure> {
        let ClientSettings { id, authentication } = &self.client;
        // Capacity for the token, the hint, and a client's id and secret.
        let mut form = String::with_capacity(token.as_str().len() + 256);
        form.push_str("token_type_hint=access_token");
        let mut form = form_urlencoded::Serializer::new(form);
        form.append_pair("token", token.as_str());
        let audience = match self.assertion_audience {
            ClientAssertionAudience::Endpoint => Cow::from(&*target.endpoint.text),
            ClientAssertionAudience::Issuer => Cow::from(&*target.issuer),
        };
        let authorization = authentication
            .apply(id, &audience, self.clock.unix_time().saturating_add(self.clock_skew), &mut form)
            .map_err(CallFailure::Other)?;
        let mut headers = self.extras.headers().map_err(CallFailure::Other)?;
        self.extras.write_to(&mut form).map_err(CallFailure::Other)?;
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        http::post_form(client, &target.endpoint.uri, headers, form.finish().into(), bounds, reuse).await
    }
}
