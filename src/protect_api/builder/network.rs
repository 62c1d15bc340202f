//! The settings of the connections to the authorization server.

use std::path::{Path, PathBuf};

use super::ProtectApiBuilder;

/// The settings of the connections, as they were given.
#[derive(Debug, Default)]
pub(crate) struct NetworkSettings {
    pub(crate) root_certificates: Option<String>,
    pub(crate) root_certificates_file: Option<PathBuf>,
}

impl ProtectApiBuilder {
    /// Sets the certificates of authorities that are trusted in addition to those of the platform, as PEM. They are used for
    /// every call to the authorization server, also with mutual TLS. With this setting, an `awc::Client` in the app data is
    /// not used. Default: none.
    pub fn root_certificates(mut self, pem: impl Into<String>) -> Self {
        self.network.root_certificates = Some(pem.into());
        self
    }

    /// Sets a file with the certificates of [`root_certificates`](Self::root_certificates). Both are used if both are set.
    /// [`build`](Self::build) reads the file, and a later change needs a restart. Default: none.
    pub fn root_certificates_file(mut self, path: impl AsRef<Path>) -> Self {
        self.network.root_certificates_file = Some(path.as_ref().to_owned());
        self
    }
}
