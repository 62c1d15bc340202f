//! The settings for one transmitter of security events.

use std::{sync::Arc, time::Duration};

use url::Url;

use crate::{
    client_auth::SecretSource,
    error::ConfigError,
    protect_api::{ProtectApi, state::State},
    settings::{Hooks, Tuning},
};

/// A transmitter of security events (Shared Signals Framework 1.0), and the settings for its events; for
/// [`ProtectApi::ssf_push`] and [`ProtectApi::ssf_poll`].
///
/// ```
/// use actix_protect_api::{SecretSource, Ssf};
///
/// let ssf = Ssf::transmitter("https://idp.example")
///     .audience("https://api.example")
///     .authorization_header(SecretSource::file("/run/secrets/ssf"));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it has no effect until it is passed to `ssf_push` or `ssf_poll`"]
pub struct Ssf {
    pub(super) transmitter: String,
    pub(super) audiences: Vec<String>,
    pub(super) issuer: Option<String>,
    pub(super) authorization: Option<SecretSource>,
    pub(super) max_age: Duration,
    pub(super) poll_interval: Duration,
    configuration_url: Option<String>,
    jwks_uri: Option<String>,
    jwks_document: Option<String>,
}

impl Ssf {
    /// Sets the transmitter: the `iss` of its security event tokens, an https URL (`http` is for loopback hosts).
    ///
    /// Its keys are found through `/.well-known/ssf-configuration`, which is inserted between host and path (Shared Signals
    /// Framework 1.0 section 7.2). They are cached, refreshed and limited as the keys of the protected issuer.
    pub fn transmitter(issuer: impl Into<String>) -> Self {
        Self {
            transmitter: issuer.into(),
            audiences: Vec::new(),
            issuer: None,
            authorization: None,
            max_age: Duration::from_secs(7 * 86_400),
            poll_interval: Duration::from_secs(1),
            configuration_url: None,
            jwks_uri: None,
            jwks_document: None,
        }
    }

    /// Adds a value that `aud` of security event tokens may contain. It is the audience of the stream, and differs from that
    /// of access tokens at many servers. One is required.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Sets the issuer whose tokens the events concern. Events never revoke the tokens of another issuer. Default: the
    /// transmitter, if it is an issuer of the handle, or the only issuer of the handle. Required with several issuers if none
    /// of them is the transmitter, and for the issuer of a [tenant](crate::AnyOf::tenants).
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Sets the complete value of the `Authorization` header, for example `Bearer …`. For `ssf_push`, the transmitter must
    /// send it (`authorization_header` of the stream); it is compared in constant time. For `ssf_poll`, it is sent to the
    /// transmitter. Default: none.
    pub fn authorization_header(mut self, value: impl Into<SecretSource>) -> Self {
        self.authorization = Some(value.into());
        self
    }

    /// Sets the longest time since `iat` of a security event token. An older one is rejected. Default: 7 days.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Sets the pause between two polls, for a transmitter that responds at once although it has no events. A transmitter
    /// that supports long polling is polled without a pause. Default: 1 s.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Sets the URL of the transmitter's configuration, in place of the well-known one.
    pub fn configuration_url(mut self, url: impl Into<String>) -> Self {
        self.configuration_url = Some(url.into());
        self
    }

    /// Sets the URL of the transmitter's key set (RFC 7517). Then its configuration is not fetched.
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.jwks_uri = Some(url.into());
        self
    }

    /// Sets the transmitter's key set as JSON. Then nothing is fetched.
    pub fn jwks_document(mut self, json: impl Into<String>) -> Self {
        self.jwks_document = Some(json.into());
        self
    }

    /// Returns a configuration whose keys are those of the transmitter. It has the same limits and connections as the
    /// protected API.
    pub(super) fn keys(&self, protect: &ProtectApi) -> Result<Arc<State>, ConfigError> {
        let of_api = &protect.state;
        let audience = self.audiences.first().cloned().unwrap_or_default();
        let mut builder = ProtectApi::builder(&self.transmitter, audience);
        let tuning = &of_api.settings.tuning;
        builder.tuning = Tuning {
            algorithms: tuning.algorithms.clone(),
            metadata_lifetime: tuning.metadata_lifetime,
            jwks_lifetime: tuning.jwks_lifetime,
            jwks_cooldown: tuning.jwks_cooldown,
            max_stale: tuning.max_stale,
            response_timeout: tuning.response_timeout,
            max_response_size: tuning.max_response_size,
            max_waiting: tuning.max_waiting,
            ..Tuning::default()
        };
        builder.hooks = Hooks { clock: of_api.hooks.clock.clone(), ..Hooks::default() };
        match (&self.jwks_document, &self.jwks_uri) {
            (Some(document), _) => builder.jwks_document(document),
            (None, Some(url)) => builder.jwks_uri(url),
            (None, None) => builder.metadata_url(self.configuration()),
        }
        .state_with(&of_api.settings.network)
    }

    fn configuration(&self) -> String {
        if let Some(url) = &self.configuration_url {
            return url.clone();
        }
        // The builder reports a transmitter that is not a URL.
        let Ok(url) = Url::parse(&self.transmitter) else { return self.transmitter.clone() };
        let (origin, path) = (url.origin().ascii_serialization(), url.path().trim_end_matches('/'));
        format!("{origin}/.well-known/ssf-configuration{path}")
    }
}
