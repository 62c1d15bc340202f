//! Uses saved metadata if the first fetch fails.

use std::time::Duration;

use super::{
    Discovery, IssuerMetadata,
    discovery::{self, Metadata},
    saved_document::Restored,
};
use crate::{error::AuthError, settings::EndpointUrl};

impl Discovery {
    /// Saves fetched metadata. `fetched_at` is in seconds since 1970.
    pub(super) fn save(&self, found: &Metadata, fetched_at: i64) {
        if let Some(saved) = &self.saved
            && self.source.is_none()
            && found.interruption.is_none()
        {
            saved.save("", found.documents.iter().map(ToString::to_string).collect(), fetched_at);
        }
    }

    /// Returns the saved metadata after the first fetch failed with this error, or the error. It is fetched again after the
    /// pause of a failed fetch.
    pub(super) async fn restore(&self, error: AuthError) -> Result<IssuerMetadata, AuthError> {
        let Some(saved) = self.saved.as_ref().filter(|_| self.source.is_none()) else { return Err(error) };
        let is_local = self.url.as_ref().map_or(self.issuer.is_loopback, EndpointUrl::is_loopback);
        let read = |documents: &[String]| {
            discovery::read(documents, &self.issuer, is_local, &self.needs, &mut Vec::new())
        };
        let restored = saved.restore(&error, "", read).await;
        let Some(Restored { content: mut found, good_until, .. }) = restored else { return Err(error) };
        found.interruption = Some(error);
        let metadata = self.complete(found, Duration::ZERO).used_until(good_until);
        // The last good endpoints are those of fetched metadata.
        self.forget_last_good();
        Ok(metadata)
    }
}
