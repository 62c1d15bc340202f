//! Refreshes the cached verdict on a token in active use.

use std::sync::Arc;

use super::Validator;
use crate::{
    bearer::BearerToken,
    cache::CacheKey,
    claims::Claims,
    deadline::Deadline,
    error::{AuthError, UpstreamFault},
    introspection::{Introspection, IntrospectionTarget},
    issuer::{IssuerMetadata, refresh::Reader},
    jwt::{self, VerifiedJwt},
};

impl Validator {
    /// Introspects a token again in the background. A JWT is verified again, so that the refreshed verdict has the same limits
    /// and a withdrawn key is not accepted for longer.
    pub(super) fn refresh_ahead(
        self: &Arc<Self>,
        introspection: &Arc<Introspection>,
        key: CacheKey,
        cached: &Claims,
        token: &BearerToken,
        client: &awc::Client,
    ) {
        let deadline = Deadline::after(self.timeout);
        let prepared = || {
            let (this, token, client) = (Arc::clone(self), token.clone(), client.clone());
            async move { this.prepare_refresh(&token, &client, deadline).await }
        };
        introspection.refresh(key, cached, token, client, deadline, prepared);
    }

    async fn prepare_refresh(
        &self,
        token: &BearerToken,
        client: &awc::Client,
        deadline: Deadline,
    ) -> Result<(Option<VerifiedJwt>, IntrospectionTarget), AuthError> {
        let new_client = || client.clone();
        let has_keys = self.metadata.with_current(&new_client, deadline, IssuerMetadata::has_keys).await?;
        let jwt = self.verified_jwt(has_keys, token, &new_client, deadline).await?;
        if has_keys && jwt.is_none() && jwt::unverified_issuer(token.as_str()) != Ok(None) {
            // The keys cannot be fetched. The verdict of a request may replace this one, but no refresh.
            return Err(AuthError::upstream(UpstreamFault::NoKeys));
        }
        let metadata = self.metadata.get(client.clone(), Reader::task(deadline)).await?;
        Ok((jwt, IntrospectionTarget::from_metadata(&metadata.document)?))
    }
}
