//! Health checks: introspections of a random token.

use std::{future::Future, sync::Arc, time::Duration};

use super::{CALL, Introspection, IntrospectionTarget, circuit_breaker::CHECK_DEADLINE};
use crate::{bearer::BearerToken, deadline::Deadline, error::AuthError, issuer::http::CallLimits};

impl Introspection {
    /// Introspects a random token. Returns whether the server gave a verdict on it. One health check runs at a
    /// time, over all workers. Other requests share its result.
    ///
    /// # Errors
    /// [`UpstreamFault::Saturated`](crate::error::UpstreamFault::Saturated) if too many requests wait for it.
    pub(super) fn check_health(
        self: &Arc<Self>,
        client: &awc::Client,
        target: &IntrospectionTarget,
    ) -> impl Future<Output = Result<bool, AuthError>> + 'static {
        let (this, client, target) = (Arc::clone(self), client.clone(), target.clone());
        // Boxed, because most calls need no health check.
        Box::pin(async move {
            let check = || {
                let (this, client, target) = (Arc::clone(&this), client.clone(), target.clone());
                async move { Ok(this.send_health_check(&client, &target).await) }
            };
            let deadline = Deadline::after(CHECK_DEADLINE * 2);
            this.checks.join((), deadline, &this.check_room, check).await
        })
    }

    async fn send_health_check(&self, client: &awc::Client, target: &IntrospectionTarget) -> bool {
        let started = self.clock.monotonic();
        self.breaker.start_check(started);
        let limits = CallLimits { deadline: self.limits.deadline.min(CHECK_DEADLINE), ..self.limits };
        let call = self.telemetry.call("health_check");
        let outcome = self.call(&BearerToken::random(), client, target, limits).await;
        call.end(&outcome);
        self.report(&outcome, started);
        self.breaker.finish_check(started, &outcome, self.clock.monotonic());
        self.observe_pause();
        outcome.is_ok()
    }

    /// Introspects a random token, to show that the endpoint accepts the credentials: a verdict does. One such call
    /// runs at a time, and it does not change the circuit breaker.
    ///
    /// # Errors
    /// The failure of the call, or [`UpstreamFault::Saturated`](crate::error::UpstreamFault::Saturated) if too many
    /// requests wait for it.
    pub(crate) async fn check_credentials(
        self: &Arc<Self>,
        client: &awc::Client,
        target: &IntrospectionTarget,
        deadline: Deadline,
    ) -> Result<(), AuthError> {
        let check = || {
            let (this, client, target) = (Arc::clone(self), client.clone(), target.clone());
            async move { Ok(this.send_credentials_check(&client, &target, deadline).await) }
        };
        self.credential_checks.join((), deadline, &self.check_room, check).await?
    }

    async fn send_credentials_check(
        &self,
        client: &awc::Client,
        target: &IntrospectionTarget,
        deadline: Deadline,
    ) -> Result<(), AuthError> {
        let started = self.clock.monotonic();
        let call = self.telemetry.call("health_check");
        let outcome = self.call(&BearerToken::random(), client, target, self.limits.until(deadline)).await;
        call.end(&outcome);
        // No caller's token was sent.
        let outcome = outcome.map_err(AuthError::not_the_tokens);
        self.report(&outcome, started);
        outcome.map(drop)
    }

    fn report<T>(&self, outcome: &Result<T, AuthError>, started: Duration) {
        match outcome {
            Ok(_) => self.telemetry.succeeded(CALL, started),
            Err(error) => self.telemetry.call_failed(CALL, error),
        }
    }
}
