//! The check of a configuration against its authorization server, without a caller's token.

use super::Validator;
use crate::{
    deadline::Deadline,
    error::{AuthError, SetupFault},
    introspection::IntrospectionTarget,
    issuer::refresh::Reader,
};

impl Validator {
    /// Checks that tokens can be validated: the metadata and the keys are known or can be fetched, as far as the
    /// configuration needs them, and the introspection endpoint accepts the credentials.
    pub(crate) async fn check(&self, client: impl Fn() -> awc::Client) -> Result<(), AuthError> {
        let deadline = Deadline::after(self.timeout);
        deadline.bound(self.check_until(deadline, client)).await
    }

    async fn check_until(
        &self,
        deadline: Deadline,
        client: impl Fn() -> awc::Client,
    ) -> Result<(), AuthError> {
        let fetched = self.metadata.get(client(), Reader::request(deadline)).await?;
        let metadata = &fetched.document;
        if metadata.has_keys() && !self.local.introspects() {
            self.local.check_keys(&self.metadata, &client, deadline).await?;
        }
        let Some(introspection) = &self.introspection else {
            if metadata.has_keys() {
                return Ok(());
            }
            return Err(AuthError::setup(SetupFault::Endpoint).with_source("the metadata has no jwks_uri"));
        };
        let target = IntrospectionTarget::from_metadata(metadata)?;
        let outcome = introspection.check_credentials(&client(), &target, deadline).await;
        outcome.map_err(|error| self.metadata.with_unpublished_auth_method(error, metadata))
    }
}
