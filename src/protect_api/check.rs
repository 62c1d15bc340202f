//! The check of the configuration, for readiness probes and for the start of an application, and the documents in use.

use std::sync::Arc;

use serde_json::Value;

use super::ProtectApi;
use crate::{error::CheckError, jwt::PublishedKey};

impl ProtectApi {
    /// Checks the configuration with calls to the authorization server, without a caller's token:
    ///
    /// - The metadata and the keys are fetched, as far as the configuration needs them. A cached document that is not
    ///   too old is not fetched again.
    /// - A random token is introspected, if there is a [`client`](crate::ProtectApiBuilder::client). The verdict
    ///   "inactive" shows that the endpoint accepts the credentials.
    ///
    /// The calls do not change the circuit breaker, and are no decisions in metrics. At most one introspection of a
    /// random token runs at a time. The check uses the HTTP client of this crate, not one in the app data. Some
    /// servers respond with a failure to every unknown token: for them, the check fails although they work.
    ///
    /// With several issuers, all of them are checked, one after the other.
    ///
    /// Must run in an actix runtime (`#[actix_web::main]`, a handler), because calls are tasks of a
    /// `tokio::task::LocalSet`. The future is not `Send`.
    ///
    /// # Errors
    /// The first failure. Its text names the reason and the URL, for the operator.
    #[doc(alias("health", "readiness"))]
    pub async fn check(&self) -> Result<(), CheckError> {
        for state in self.states() {
            let outcome = Box::pin(state.validator.check(|| state.thread_client())).await;
            outcome.map_err(|error| CheckError::new(&error, state.settings.issuer.as_str()))?;
        }
        Ok(())
    }

    /// Returns the last good metadata document, whatever its age. Makes no call. `None` if none was fetched yet, or if
    /// nothing is discovered. If several documents were fetched, the first one. With several issuers: that of the first
    /// one.
    pub fn metadata(&self) -> Option<Arc<Value>> {
        self.state.validator.metadata.load().as_ref()?.document.metadata.documents.first().cloned()
    }

    /// Returns the usable keys of the last good key set, whatever its age. Makes no call. Empty if none was fetched yet.
    /// With several issuers: those of the first one.
    pub fn published_keys(&self) -> Vec<PublishedKey> {
        self.state.validator.local.published_keys()
    }
}
