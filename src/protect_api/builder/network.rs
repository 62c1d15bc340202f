//! The settings of the connections to the authorization server.

use std::path::{Path, PathBuf};

use super::ProtectApiBuilder;
use crate::{client_auth::SecretSource, redact::UrlText};

/// The settings of the connections, as they were given.
#[derive(Debug, Default)]
pub(crate) struct NetworkSettings {
    pub(crate) root_certificates: Option<String>,
    pub(crate) root_certificates_file: Option<PathBuf>,
    pub(crate) http_proxy: Option<UrlText>,
    pub(crate) no_proxy: Option<Vec<String>>,
    pub(crate) proxy_username: Option<String>,
    pub(crate) proxy_password: Option<SecretSource>,
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

    /// Sets the HTTP proxy through which the authorization server is called: an `http` URL with host and port. The proxy opens
    /// a tunnel (`CONNECT`) and sees the host of the server, but neither tokens nor credentials. With this setting, an
    /// `awc::Client` in the app data is not used. Default: none; `HTTPS_PROXY` and similar variables are not read.
    pub fn http_proxy(mut self, url: impl Into<String>) -> Self {
        self.network.http_proxy = Some(url.into().into());
        self
    }

    /// Sets the hosts that are called without the [`http_proxy`](Self::http_proxy): host names, which include the names below
    /// them, IP addresses, blocks of addresses such as `10.0.0.0/8`, or `*`. The list replaces the default. Default:
    /// `localhost` and the loopback addresses.
    pub fn no_proxy(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.network.no_proxy = Some(hosts.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the credentials for the [`http_proxy`](Self::http_proxy), which are sent as `Basic` (RFC 7617). A new content of
    /// a [`SecretSource::file`] is used for the next connection. Default: none.
    pub fn http_proxy_credentials(
        self,
        username: impl Into<String>,
        password: impl Into<SecretSource>,
    ) -> Self {
        self.http_proxy_username(username.into()).http_proxy_password(password.into())
    }

    pub(crate) fn http_proxy_username(mut self, username: String) -> Self {
        self.network.proxy_username = Some(username);
        self
    }

    pub(crate) fn http_proxy_password(mut self, password: SecretSource) -> Self {
        self.network.proxy_password = Some(password);
        self
    }
}
