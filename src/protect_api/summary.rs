//! The summary of a configuration. It is logged once, so that the instances of an application can be compared.

use std::fmt;

use crate::{
    certificate::CertificateBinding,
    duration_text::DurationText,
    policy::quoted,
    settings::{EndpointUrl, Hooks, Network, Settings},
};

/// Prints the settings that decide about tokens. It contains no secrets, and of URLs only the parts that are not
/// secret.
pub(crate) struct Summary<'s> {
    settings: &'s Settings,
    hooks: &'s Hooks,
}

impl<'s> Summary<'s> {
    pub(crate) fn new(settings: &'s Settings, hooks: &'s Hooks) -> Self {
        Self { settings, hooks }
    }

    /// Logs the configuration.
    pub(crate) fn log(&self) {
        let (issuer, audience) = (self.settings.issuer.as_str(), self.settings.rules.audiences.join(" "));
        let audience = audience.as_str();
        let (client_id, auth_method) = self.client().unwrap_or_default();
        let (jwts, opaque_tokens) = (self.jwts(), self.opaque_tokens());
        let introspection_endpoint = self.introspection_endpoint();
        let jwks_uri = self.jwks_uri();
        record!(
            log::Level::Info, event = "configured", issuer, audience, client_id, auth_method, jwts, opaque_tokens,
            introspection_endpoint = &*introspection_endpoint, jwks_uri = &*jwks_uri;
            "{self}"
        );
    }

    /// Returns the client id and the authentication method.
    fn client(&self) -> Option<(&'s str, &'static str)> {
        let client = self.settings.client.as_ref()?;
        Some((&client.id, client.authentication.method()))
    }

    /// Returns whether keys are configured or can be discovered. If only the introspection endpoint is configured,
    /// nothing is discovered.
    fn has_keys(&self) -> bool {
        self.has_configured_keys() || self.settings.introspection_endpoint.is_none()
    }

    fn has_configured_keys(&self) -> bool {
        self.settings.jwks_uri.is_some() || self.gives_keys()
    }

    /// Returns whether the application provides the keys.
    fn gives_keys(&self) -> bool {
        self.settings.jwks_document.is_some() || self.hooks.jwks_resolver.is_some()
    }

    fn jwts(&self) -> &'static str {
        match (self.settings.tuning.introspect_jwt_tokens, self.has_keys()) {
            (false, _) => "validated locally",
            (true, true) => "validated locally and introspected",
            (true, false) => "introspected",
        }
    }

    fn opaque_tokens(&self) -> &'static str {
        if self.settings.client.is_some() { "introspected" } else { "rejected" }
    }

    fn introspection_endpoint(&self) -> String {
        endpoint(self.settings.introspection_endpoint.as_ref(), self.settings.client.is_some())
    }

    fn jwks_uri(&self) -> String {
        if self.gives_keys() {
            return "replaced by keys of the application".to_owned();
        }
        endpoint(self.settings.jwks_uri.as_ref(), self.has_keys())
    }

    fn write_network(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Network { roots, proxy } = &self.settings.network;
        if !roots.0.is_empty() {
            write!(f, "; additional root certificates: {}", roots.0.len())?;
        }
        if let Some(proxy) = proxy {
            write!(f, "; calls through the proxy {}", proxy.url)?;
            for (index, exception) in proxy.exceptions.iter().enumerate() {
                write!(f, "{}{exception}", if index == 0 { ", except to " } else { ", " })?;
            }
        }
        Ok(())
    }

    /// Returns the checks that the operator has disabled.
    fn disabled_checks(&self) -> impl Iterator<Item = &'static str> {
        let rules = &self.settings.rules;
        [
            (rules.accept_missing_issuer, "a missing `iss` is accepted"),
            (rules.accept_missing_audience, "a missing `aud` is accepted"),
            (rules.binding == CertificateBinding::DangerouslyIgnore, "certificate binding is not checked"),
        ]
        .into_iter()
        .filter_map(|(is_disabled, text)| is_disabled.then_some(text))
    }
}

fn endpoint(configured: Option<&EndpointUrl>, is_discovered: bool) -> String {
    match configured {
        Some(url) => url.to_string(),
        None if is_discovered => "discovered".to_owned(),
        None => "none".to_owned(),
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { issuer, metadata_url, rules, tuning, .. } = self.settings;
        write!(f, "configured: issuer {}", issuer.as_str())?;
        if let Some(url) = metadata_url {
            write!(f, " with metadata at {url}")?;
        }
        if self.settings.metadata_document.is_some() || self.hooks.metadata_resolver.is_some() {
            f.write_str(" with metadata of the application")?;
        }
        if !rules.token_issuers.is_empty() {
            write!(f, ", `iss` is {}", quoted(&rules.token_issuers))?;
        }
        match &*rules.audiences {
            [] => f.write_str(", no audience")?,
            audiences => write!(f, ", audience {}", quoted(audiences))?,
        }
        if !rules.allowed_clients.is_empty() {
            write!(f, ", only tokens of the clients {}", quoted(&rules.allowed_clients))?;
        }
        if let Some((id, method)) = self.client() {
            write!(f, ", client {id:?} with {method}")?;
        }
        write!(f, "; JWTs are {}, opaque tokens are {}", self.jwts(), self.opaque_tokens())?;
        let (introspection_endpoint, jwks_uri) = (self.introspection_endpoint(), self.jwks_uri());
        write!(f, "; introspection_endpoint {introspection_endpoint}, jwks_uri {jwks_uri}")?;
        self.write_network(f)?;
        let [metadata, keys] = [tuning.metadata_lifetime, tuning.jwks_lifetime].map(DurationText);
        write!(f, "; metadata is cached for {metadata}, keys for {keys}, verdicts ")?;
        match tuning.introspection_cache {
            None => f.write_str("are not cached")?,
            Some(active) => {
                let [active, inactive] = [active, tuning.inactive_verdict_lifetime()].map(DurationText);
                let place = if self.hooks.cache.is_some() { "a custom store" } else { "memory" };
                write!(f, "for {active} (inactive ones for {inactive}) in {place}")?;
                if !tuning.outage_grace.is_zero() {
                    let grace = DurationText(tuning.outage_grace);
                    write!(f, ", expired ones for {grace} more in an outage")?;
                }
            }
        }
        self.disabled_checks().try_for_each(|text| write!(f, "; {text}"))
    }
}
