//! The builder: every setting, its default and its effect.

mod grants;
mod hooks;
mod introspection;
mod limits;
mod metadata;
mod network;
mod parties;
mod shared_store;
#[cfg(test)]
mod tests;
mod trial;

use std::{path::PathBuf, sync::Arc, time::Duration};

pub(crate) use self::{introspection::IntrospectionFields, network::NetworkSettings};
use crate::{
    algorithm::Algorithm,
    certificate::CertificateBinding,
    claims::ScopeClaim,
    client_auth::{ClientAssertionAudience, ClientAuthentication},
    error::{ConfigError, ConfigProblem},
    policy::{ClaimRule, RequiredClaim, Trial},
    protect_api::{ProtectApi, env::VariableSource, state::State},
    redact::UrlText,
    settings::{ClientSettings, Hooks, JsonText, Network, Resource, Settings, Tuning},
};

/// Builds a [`ProtectApi`] in code, or from variables and code together: [`ProtectApi::builder_from_env`].
///
/// The issuer is required. The audience is required, or the [allowed clients](Self::allowed_clients). Every other
/// setting has a safe default. [`build`](Self::build) validates everything and reports all problems at once.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate setting")]
pub struct ProtectApiBuilder {
    pub(crate) issuer: Option<UrlText>,
    pub(crate) metadata_url: Option<UrlText>,
    pub(crate) token_issuers: Vec<String>,
    /// The problems of the arguments of a profile.
    pub(crate) profile_problems: Vec<ConfigProblem>,
    pub(crate) metadata_document: Option<JsonText>,
    pub(crate) jwks_document: Option<JsonText>,
    pub(crate) document_directory: Option<PathBuf>,
    pub(crate) audiences: Vec<String>,
    pub(crate) client: Option<ClientSettings>,
    pub(crate) introspection_endpoint: Option<UrlText>,
    pub(crate) introspection_fields: IntrospectionFields,
    pub(crate) jwks_uri: Option<UrlText>,
    pub(crate) trust_store: Option<String>,
    pub(crate) scope_claims: Option<Vec<ScopeClaim>>,
    pub(crate) scope_prefix: Option<String>,
    /// Scopes, and the scopes that they include.
    pub(crate) scope_implications: Vec<(String, Vec<String>)>,
    pub(crate) groups_claims: Vec<String>,
    pub(crate) groups_delimited: bool,
    pub(crate) groups_match_all: bool,
    pub(crate) clock_skew: Duration,
    pub(crate) clock_tolerance: Duration,
    pub(crate) accept_missing_issuer: bool,
    pub(crate) accept_missing_audience: bool,
    pub(crate) allowed_clients: Option<Vec<String>>,
    pub(crate) required_claims: Vec<RequiredClaim>,
    pub(crate) max_token_age: Option<Duration>,
    pub(crate) claim_rules: Vec<ClaimRule>,
    pub(crate) binding: CertificateBinding,
    pub(crate) trial: Option<Trial>,
    pub(crate) tuning: Tuning,
    pub(crate) hooks: Hooks,
    pub(crate) resources: Vec<Resource>,
    pub(crate) network: NetworkSettings,
    /// The variables that were read, if the builder was made from variables.
    pub(crate) source: Option<VariableSource>,
}

impl ProtectApiBuilder {
    pub(crate) fn new() -> Self {
        Self {
            issuer: None,
            metadata_url: None,
            token_issuers: Vec::new(),
            profile_problems: Vec::new(),
            metadata_document: None,
            jwks_document: None,
            document_directory: None,
            audiences: Vec::new(),
            client: None,
            introspection_endpoint: None,
            introspection_fields: IntrospectionFields::default(),
            jwks_uri: None,
            trust_store: None,
            scope_claims: None,
            scope_prefix: None,
            scope_implications: Vec::new(),
            groups_claims: vec!["groups".to_owned()],
            groups_delimited: false,
            groups_match_all: false,
            clock_skew: Duration::ZERO,
            clock_tolerance: Duration::from_secs(60),
            accept_missing_issuer: false,
            accept_missing_audience: false,
            allowed_clients: None,
            required_claims: Vec::new(),
            max_token_age: None,
            claim_rules: Vec::new(),
            binding: CertificateBinding::default(),
            trial: None,
            tuning: Tuning::default(),
            hooks: Hooks::default(),
            resources: Vec::new(),
            network: NetworkSettings::default(),
            source: None,
        }
    }

    /// Sets the identifier of the authorization server: an https URL (`http` is for loopback hosts), or a bare host.
    /// Default: none, it is required.
    pub fn issuer(mut self, url: impl Into<String>) -> Self {
        self.issuer = Some(url.into().into());
        self
    }

    /// Sets the client id and credentials with which this API introspects tokens (RFC 7662 section 2.1).
    ///
    /// Default: none. JWTs are validated locally, and opaque tokens are rejected.
    pub fn client(mut self, id: impl Into<String>, authentication: ClientAuthentication) -> Self {
        self.client = Some(ClientSettings { id: id.into(), authentication });
        self
    }

    /// Sets the `aud` claim of client assertions (`client_secret_jwt`, `private_key_jwt`). Other methods do not use it. Default:
    /// [`ClientAssertionAudience::Issuer`].
    pub fn client_assertion_audience(mut self, audience: ClientAssertionAudience) -> Self {
        self.tuning.client_assertion_audience = audience;
        self
    }

    /// Sets the introspection endpoint: an https URL, or http on a loopback host. Default: discovered.
    ///
    /// Without [`jwks_uri`](Self::jwks_uri), nothing is discovered, and JWTs are introspected too.
    pub fn introspection_endpoint(mut self, url: impl Into<String>) -> Self {
        self.introspection_endpoint = Some(url.into().into());
        self
    }

    /// Sets the URL of the key set (RFC 7517): an https URL, or http on a loopback host. Default: discovered.
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.jwks_uri = Some(url.into().into());
        self
    }

    /// Selects one of the published `mtls_additional_endpoint_aliases` for mutual TLS. Default:
    /// `mtls_endpoint_aliases` (RFC 8705 section 5).
    pub fn trust_store_id(mut self, id: impl Into<String>) -> Self {
        self.trust_store = Some(id.into());
        self
    }

    /// Sets the time by which the local clock is behind the issuer's clock. It is added to the current time before
    /// `exp` and `nbf` are compared, and to the times of client assertions. Whole seconds, at most an hour. Default: 0 s.
    pub fn clock_skew(mut self, skew: Duration) -> Self {
        self.clock_skew = skew;
        self
    }

    /// Sets the tolerance for `exp` and `nbf`. Whole seconds, at most an hour. Default: 60 s.
    pub fn clock_tolerance(mut self, tolerance: Duration) -> Self {
        self.clock_tolerance = tolerance;
        self
    }

    /// Sets whether an introspection response without `iss` is accepted. RFC 7662 makes `iss` optional. A wrong one
    /// is always rejected. Default: no.
    pub fn accept_missing_issuer(mut self, accept: bool) -> Self {
        self.accept_missing_issuer = accept;
        self
    }

    /// Sets how certificate-bound tokens are checked (RFC 8705). Default: [`CertificateBinding::WhenPresent`].
    pub fn certificate_binding(mut self, binding: CertificateBinding) -> Self {
        self.binding = binding;
        self
    }

    /// Sets whether JWTs are introspected too, so that a revocation takes effect at the next request. If keys are
    /// published, a JWT is verified locally first. Requires a [`client`](Self::client). Default: no.
    pub fn introspect_jwt_tokens(mut self, introspect: bool) -> Self {
        self.tuning.introspect_jwt_tokens = introspect;
        self
    }

    /// Sets the signature algorithms that JWTs may use. Default: all of [`Algorithm::ALL`].
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.tuning.algorithms = algorithms.into_iter().collect();
        self
    }

    /// Sets whether the header of a JWT must have the type `at+jwt` (RFC 9068 section 4). Default: no; `JWT` or no
    /// type is accepted too.
    pub fn require_at_jwt(mut self, require: bool) -> Self {
        self.tuning.require_at_jwt = require;
        self
    }

    /// Sets whether verified JWTs are cached while the key set stays the same. The token itself is not stored, and
    /// all other checks (also the expiry) run on each request. Default: yes.
    pub fn remember_jwts(mut self, remember: bool) -> Self {
        self.tuning.remember_jwts = remember;
        self
    }

    /// Sets the `realm` of challenges. Default: none.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.tuning.realm = Some(realm.into());
        self
    }

    /// Adds a resource of this API, by its public URL or as a [`Resource`]. Its metadata document (RFC 9728) is served by
    /// [`resource_metadata`](ProtectApi::resource_metadata), and challenges contain the URL of the document. If there are
    /// several resources, the path of a request selects one. Default: none.
    pub fn resource(mut self, resource: impl Into<Resource>) -> Self {
        self.resources.push(resource.into());
        self
    }

    /// Sets the `resource_metadata` of challenges (RFC 9728 section 5.1), if the document is served elsewhere. Otherwise use
    /// [`resource`](Self::resource). Every caller can read this URL, so
    /// credentials in it are an error. Default: none.
    pub fn resource_metadata(mut self, url: impl Into<String>) -> Self {
        self.tuning.resource_metadata = Some(url.into().into());
        self
    }

    /// Sets whether the challenge of a missing group, or of a [claim rule](Self::claim_rule) that is not met, has
    /// `error="insufficient_scope"`, as in the SDK. Clients then request a new token, which does not help. Default: no.
    pub fn insufficient_scope_for_groups(mut self, has_error: bool) -> Self {
        self.tuning.insufficient_scope_for_groups = has_error;
        self
    }

    /// Sets whether the default body of a rejection contains a random `reference`. The log record has the same
    /// reference, so the operator can find the reason without revealing it to the caller. A
    /// [`renderer`](Self::renderer) gets it from [`AuthError::reference`](crate::AuthError::reference). Default:
    /// no.
    pub fn error_reference(mut self, show: bool) -> Self {
        self.tuning.error_reference = show;
        self
    }

    /// Returns the settings that disable a check. The documentation of each setting states its risk.
    pub fn dangerous(self) -> Dangerous {
        Dangerous(self)
    }

    /// Validates everything and creates the [`ProtectApi`]. Makes no network call, so the server may start before
    /// the issuer.
    ///
    /// Equal configurations of one process share their caches, keys and calls in flight. Resolvers, renderers and
    /// stores are equal only if they are the same object.
    ///
    /// # Errors
    /// Lists every problem of the configuration.
    pub fn build(self) -> Result<ProtectApi, ConfigError> {
        let state = self.state()?;
        state.log_configured();
        Ok(ProtectApi::from_state(state))
    }

    fn state(self) -> Result<Arc<State>, ConfigError> {
        let hooks = self.hooks.clone();
        Ok(State::obtain(self.validate()?, hooks))
    }

    /// Like [`build`](Self::build), for a configuration that protects no API, with the connections of another one. It is not
    /// logged.
    pub(crate) fn state_with(self, network: &Network) -> Result<Arc<State>, ConfigError> {
        let hooks = self.hooks.clone();
        let settings = Settings { network: network.clone(), ..self.validate()? };
        Ok(State::obtain(settings, hooks))
    }
}

/// Settings that disable a check; see [`ProtectApiBuilder::dangerous`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct Dangerous(ProtectApiBuilder);

impl Dangerous {
    /// Accepts introspection responses and tokens without `aud`. A wrong one is still rejected.
    ///
    /// **A token that was issued for another API is then accepted by this one**, unless the authorization server
    /// responds `active: false` to this client for such tokens.
    pub fn accept_missing_audience(mut self) -> ProtectApiBuilder {
        self.0.accept_missing_audience = true;
        self.0
    }
}
