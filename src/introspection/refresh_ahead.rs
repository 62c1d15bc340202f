//! Refreshes the verdicts on tokens in active use before they expire, so that no request waits for the call.

use std::{future::Future, sync::Arc};

use super::{CallPurpose, Introspection, IntrospectionCall, IntrospectionTarget, concurrency_limit::Permit};
use crate::{
    bearer::BearerToken,
    cache::{AgedVerdict, CacheKey, ClockReading, Verdict},
    claims::Claims,
    deadline::Deadline,
    error::{AuthError, UpstreamFault},
    jwt::VerifiedJwt,
};

impl Introspection {
    /// Notes the use of a cached verdict. Returns its claims if it must be introspected again now.
    pub(crate) fn due_refresh<'v>(&self, cached: &'v AgedVerdict, now: ClockReading) -> Option<&'v Claims> {
        let Verdict::Active(claims) = &cached.verdict else { return None };
        let is_due = claims.refresh_times().is_due(now.monotonic) && self.concurrency_limit.is_below_half();
        is_due.then_some(claims)
    }

    /// Introspects a token again in a separate task, unless a call for it is in flight. `prepared` returns the verified JWT, if
    /// the token is one, and the endpoint.
    pub(crate) fn refresh<F>(
        self: &Arc<Self>,
        key: CacheKey,
        cached: &Claims,
        token: &BearerToken,
        client: &awc::Client,
        deadline: Deadline,
        prepared: impl Fn() -> F,
    ) where
        F: Future<Output = Result<(Option<VerifiedJwt>, IntrospectionTarget), AuthError>> + 'static,
    {
        self.single_flight.start(&key, || {
            let (this, cached, prepared) = (Arc::clone(self), cached.clone(), prepared());
            let (token, client) = (token.clone(), client.clone());
            async move {
                // Checked before the verification of a JWT, and again when the call is made.
                drop(this.enter_for_refresh()?);
                if !cached.refresh_times().take() {
                    return Err(not_refreshed());
                }
                let (jwt, target) = prepared.await?;
                let purpose = CallPurpose::RefreshAhead;
                let call = IntrospectionCall { key, token, jwt, client, deadline, purpose };
                this.share_or_introspect(call, this.refreshed_age(), async { Ok(target) }).await
            }
        });
    }

    /// Returns a permit for a refresh, while the server works and most calls are free.
    pub(super) fn enter_for_refresh(&self) -> Result<Permit<'_>, AuthError> {
        let permit = (!self.breaker.has_failed()).then(|| self.concurrency_limit.enter_below_half());
        permit.flatten().ok_or_else(not_refreshed)
    }
}

/// A request that has joined the refresh makes the call itself.
fn not_refreshed() -> AuthError {
    AuthError::upstream(UpstreamFault::Saturated).with_source("the verdict was not refreshed")
}
