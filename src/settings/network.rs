//! The way to the authorization server.

use std::{fmt, sync::Arc};

use super::Proxy;

/// The settings of the connections to the authorization server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) roots: RootCertificates,
    pub(crate) proxy: Option<Arc<Proxy>>,
}

impl Network {
    /// Returns whether only a client of this crate can use these settings.
    pub(crate) fn needs_own_client(&self) -> bool {
        *self != Self::default()
    }
}

/// The certificates of authorities that are trusted in addition to those of the platform, in DER.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct RootCertificates(pub(crate) Vec<Vec<u8>>);

impl fmt::Debug for RootCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} certificates]", self.0.len())
    }
}
