//! A key set of the authorization server or of the application, and its reading.

use std::{cell::OnceCell, future::Future, rc::Rc, sync::Arc, time::Duration};

use aws_lc_rs::digest;

use super::{
    key::Unusable,
    key_set::{KeySet, SkippedKey},
    verified_tokens::KeySetId,
};
use crate::{
    deadline::Deadline,
    error::AuthError,
    issuer::{
        IssuerMetadata,
        http::{self, CallLimits, bad_answer},
        refresh::{Document, Fetched},
        saved_document::{Restored, SavedDocument},
    },
    settings::EndpointUrl,
};

/// A key set, and the digest that identifies it.
#[derive(Debug)]
pub(super) struct FetchedKeySet {
    pub(super) set: KeySet,
    pub(super) id: KeySetId,
    /// The error of the fetch in place of which a saved key set is used, and the end of its use.
    restored: Option<(AuthError, Duration)>,
}

impl Document for FetchedKeySet {
    fn good_until(&self) -> Option<Duration> {
        self.restored.as_ref().map(|(_, until)| *until)
    }

    fn interruption(&self) -> Option<&AuthError> {
        self.restored.as_ref().map(|(error, _)| error)
    }
}

/// The key set before this one.
type LastKeySet<'l> = Option<&'l Fetched<FetchedKeySet>>;

impl FetchedKeySet {
    /// Reads a key set. `origin` is its URL, or the issuer if the application provides it, for log records.
    pub(super) fn read(body: &[u8], origin: &str, last: LastKeySet<'_>) -> Result<Self, AuthError> {
        let set = KeySet::parse(body).map_err(|error| bad_answer(error.to_string()))?;
        // Any caller can cause a fetch, so a key is reported only once while it stays in the set.
        let reported = last.map_or(&[][..], |last| last.document.set.reported());
        for skipped in set.reported().iter().filter(|skipped| !reported.contains(skipped)) {
            log_skipped(skipped, origin);
        }
        let (keys, skipped) = (set.len(), set.skipped());
        record!(
            log::Level::Debug, event = "keys_fetched", keys, skipped;
            "key set: {keys} usable, {skipped} skipped ({origin})"
        );
        let mut id = [0; 32];
        id.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
        Ok(Self { set, id, restored: None })
    }

    /// Returns the saved key set of this URL after the first fetch failed with this error, or the error. It is fetched again
    /// after the pause of a failed fetch.
    pub(super) async fn restore(
        saved: &SavedDocument,
        endpoint: &EndpointUrl,
        error: AuthError,
    ) -> Result<Self, AuthError> {
        let read = |documents: &[String]| match documents {
            [document] => Self::read(document.as_bytes(), &endpoint.to_string(), None),
            _ => Err(bad_answer("no key set")),
        };
        match saved.restore(&error, &endpoint.text, read).await {
            Some(Restored { content, good_until, .. }) => {
                Ok(Self { restored: Some((error, good_until)), ..content })
            }
            None => Err(error),
        }
    }
}

/// The `jwks_uri` of a fetch, and the file in which its key set is saved.
#[derive(Clone, Default)]
pub(super) struct KeySetFile {
    pub(super) saved: Option<Arc<SavedDocument>>,
    pub(super) endpoint: Rc<OnceCell<EndpointUrl>>,
}

/// Fetches the key set from the `jwks_uri` of the current metadata. The future is detached from the request that
/// starts it.
pub(super) async fn fetch(
    metadata: impl Future<Output = Result<Arc<Fetched<IssuerMetadata>>, AuthError>>,
    client: &awc::Client,
    limits: CallLimits,
    deadline: Deadline,
    last: LastKeySet<'_>,
    file: KeySetFile,
    unix_time: i64,
) -> Result<FetchedKeySet, AuthError> {
    let endpoint = metadata.await?.document.metadata.jwks_uri.require("jwks_uri")?.clone();
    let endpoint = file.endpoint.get_or_init(|| endpoint);
    let reply = http::get(client, &endpoint.uri, limits.until(deadline)).await;
    let reply = reply.map_err(|error| error.with_url(endpoint))?;
    // The content type is ignored, because static hosting may serve `text/plain`. The content is validated instead.
    if !reply.is_ok() {
        return Err(bad_answer(format!("no key set at {endpoint} (status {})", reply.status)));
    }
    let read = FetchedKeySet::read(&reply.body, &endpoint.to_string(), last);
    let read = read.map_err(|error| error.with_url(endpoint))?;
    if let Some(saved) = &file.saved
        && let Ok(text) = str::from_utf8(&reply.body)
    {
        saved.save(&endpoint.text, vec![text.to_owned()], unix_time);
    }
    Ok(read)
}

/// Logs a key that is not used. Keys for encryption and keys of new types are usual. A malformed key was meant to
/// be used, and its tokens are rejected.
fn log_skipped(SkippedKey { kid, reason }: &SkippedKey, origin: &str) {
    let level = if *reason == Unusable::Malformed { log::Level::Warn } else { log::Level::Debug };
    let kid = kid.as_str();
    record!(
        level, event = "key_skipped", kid;
        "a key of the key set cannot be used: {reason} (kid {kid:?}, {origin})"
    );
}
