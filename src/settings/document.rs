//! Documents of the application: the metadata or the key set, in place of a document of the authorization server.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use serde_json::Value;

use crate::{
    certificate::ResolverError,
    deadline::{Deadline, timed_out},
    error::{AuthError, UpstreamFault},
};

/// A JSON document as text. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct JsonText(Arc<str>);

impl JsonText {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl From<String> for JsonText {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

/// The future of a document resolver.
pub(crate) type DocumentFuture = Pin<Box<dyn Future<Output = Result<Value, ResolverError>>>>;

pub(crate) type DocumentResolver = dyn Fn() -> DocumentFuture + Send + Sync;

/// The source of a document of the application.
#[derive(Clone)]
pub(crate) enum DocumentSource {
    /// The document itself. It never expires.
    Given(JsonText),
    /// A function that returns the document. It is called as often as the document would be fetched.
    Resolver(Arc<DocumentResolver>),
}

impl DocumentSource {
    pub(crate) fn new(given: Option<&JsonText>, resolver: Option<&Arc<DocumentResolver>>) -> Option<Self> {
        let given = given.cloned().map(Self::Given);
        given.or_else(|| resolver.cloned().map(Self::Resolver))
    }

    /// Returns the document that never expires.
    pub(crate) fn given(&self) -> Option<&[u8]> {
        if let Self::Given(text) = self { Some(text.as_bytes()) } else { None }
    }

    /// Returns the document.
    ///
    /// # Errors
    /// The failure of the resolver is one of the authorization server: the request is rejected with 503.
    pub(crate) async fn document(&self, deadline: Deadline) -> Result<Vec<u8>, AuthError> {
        let resolver = match self {
            Self::Given(text) => return Ok(text.as_bytes().to_vec()),
            Self::Resolver(resolver) => resolver,
        };
        let value = deadline.wait(resolver()).await.ok_or_else(timed_out)?.map_err(|error| {
            let cause = format!("the resolver of the application failed: {error}");
            AuthError::upstream(UpstreamFault::Unreachable).with_source(cause)
        })?;
        Ok(value.to_string().into())
    }
}

impl fmt::Debug for DocumentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.given().is_some() { "Given" } else { "Resolver" })
    }
}
