//! The authorization server's metadata: OpenID Connect Discovery 1.0 section 4 and RFC 8414 section 3.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    claims::object::{strict_object, without_byte_order_mark},
    deadline::Deadline,
    error::{AuthError, AuthErrorKind, SetupFault},
    issuer::http::{self, CallLimits, bad_answer},
    redact::redacted,
    settings::{ClientSettings, EndpointUrl, IssuerUrl},
};

/// The members of the metadata that are used.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    /// The issuer as the document spells it. The `iss` of tokens must be equal to it.
    pub(crate) issuer: String,
    pub(crate) introspection_endpoint: PublishedEndpoint,
    pub(crate) jwks_uri: PublishedEndpoint,
    /// `introspection_endpoint_auth_methods_supported`. `None` if it is absent, which gives no information (RFC
    /// 8414 section 2).
    pub(crate) introspection_auth_methods: Option<Vec<String>>,
    /// The error of another document that could not be fetched, if the fetched documents lack an endpoint.
    pub(crate) interruption: Option<AuthError>,
    /// The documents, in the order in which they were fetched. Empty without discovery.
    pub(crate) documents: Vec<Arc<Value>>,
}

/// An endpoint of the metadata. An unusable one is an error only for a request that needs it.
#[derive(Clone, Debug, Default)]
pub(crate) enum PublishedEndpoint {
    #[default]
    Absent,
    Usable(EndpointUrl),
    Unusable(AuthError),
}

impl PublishedEndpoint {
    pub(crate) fn usable(&self) -> Option<&EndpointUrl> {
        if let Self::Usable(endpoint) = self { Some(endpoint) } else { None }
    }

    /// Returns the endpoint. `name` is the name of the member, for the error if it is absent.
    pub(crate) fn require(&self, name: &str) -> Result<&EndpointUrl, AuthError> {
        match self {
            Self::Usable(endpoint) => Ok(endpoint),
            Self::Unusable(error) => Err(error.clone()),
            Self::Absent => Err(AuthError::setup(SetupFault::Endpoint)
                .with_source(format!("the metadata has no {name} that this configuration can use"))),
        }
    }

    /// Returns the other endpoint if it is usable and this one is not, otherwise this one.
    pub(crate) fn or(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::Absent, _) | (Self::Unusable(_), Self::Usable(_)) => other,
            _ => self,
        }
    }
}

impl From<Option<EndpointUrl>> for PublishedEndpoint {
    fn from(configured: Option<EndpointUrl>) -> Self {
        configured.map_or(Self::Absent, Self::Usable)
    }
}

/// The endpoints that a configuration needs, and the names of their members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an endpoint or a way to it")]
pub(crate) struct RequiredEndpoints {
    pub(crate) introspection: bool,
    pub(crate) jwks: bool,
    /// Whether published keys are used, although no request fails without them.
    pub(crate) jwks_if_usable: bool,
    /// Whether introspection uses mutual TLS. Then the endpoint is an alias (RFC 8705 section 5), from the trust
    /// store if one is named.
    pub(crate) mtls: bool,
    pub(crate) trust_store: Option<String>,
}

impl RequiredEndpoints {
    /// Returns the endpoints that a configuration with these settings needs. `introspects` is whether JWTs are
    /// introspected; `has_endpoint` and `has_keys` are whether the endpoint, or the keys or their URL, are configured.
    pub(crate) fn new(
        client: Option<&ClientSettings>,
        trust_store: Option<&str>,
        introspects: bool,
        has_endpoint: bool,
        has_keys: bool,
    ) -> Self {
        Self {
            introspection: client.is_some() && !has_endpoint,
            jwks: !introspects && !has_keys,
            jwks_if_usable: introspects && !has_keys,
            mtls: client.is_some_and(|client| client.authentication.uses_mtls()),
            trust_store: trust_store.map(str::to_owned),
        }
    }

    fn uses_jwks(&self) -> bool {
        self.jwks || self.jwks_if_usable
    }
}

/// Fetches the metadata within one deadline, from this URL or from the well-known ones. Returns the first document
/// that has the needed endpoints. Another document adds the endpoints that the first one lacks: some servers publish
/// an OIDC document without `introspection_endpoint` and an RFC 8414 document with it. Errors that [`log_errors`]
/// should report are added to `errors`.
pub(crate) async fn fetch(
    client: &awc::Client,
    issuer: &IssuerUrl,
    url: Option<&EndpointUrl>,
    needs: &RequiredEndpoints,
    limits: CallLimits,
    errors: &mut Vec<AuthError>,
) -> Result<Metadata, AuthError> {
    let deadline = Deadline::after(limits.deadline);
    let mut found: Option<Metadata> = None;
    let (mut absence, mut interruption) = (None, None);
    let urls = url.map_or_else(|| issuer.well_known_urls(), |url| vec![url.text.to_string()]);
    let advice = if url.is_some() { "check this URL" } else { "check the path of TENANT_DOMAIN" };
    for url in urls {
        // If another document times out, half of the time is left for the fetch of the keys.
        let until = if found.is_some() { deadline.half() } else { deadline };
        match document(client, issuer, (&url, advice), needs, limits.until(until)).await {
            Ok(metadata) => {
                let merged = match found.take() {
                    Some(first) => first.completed_by(metadata),
                    None => metadata,
                };
                if merged.has(needs) {
                    return Ok(merged);
                }
                found = Some(merged);
            }
            Err(error) if is_absence(&error) => {
                if matches!(error.kind(), AuthErrorKind::Misconfigured(_)) {
                    errors.push(error.clone());
                }
                absence.get_or_insert(error);
            }
            // If the server is unreachable or failing, the other two URLs are not tried.
            Err(error) if found.is_none() => return Err(error),
            // The first document is used nevertheless.
            Err(error) => {
                interruption.get_or_insert(error);
            }
        }
    }
    let Some(metadata) = found else { return Err(absence.unwrap_or_else(|| bad_answer("no metadata"))) };
    usable(metadata, interruption, needs, errors)
}

/// Reads documents that were not fetched, like fetched ones. `is_local` is whether they come from this machine.
pub(crate) fn read(
    documents: &[impl AsRef<[u8]>],
    issuer: &IssuerUrl,
    is_local: bool,
    needs: &RequiredEndpoints,
    errors: &mut Vec<AuthError>,
) -> Result<Metadata, AuthError> {
    let mut parsed =
        documents.iter().map(|document| Metadata::parse(document.as_ref(), issuer, is_local, needs));
    let first = parsed.next().unwrap_or_else(|| Err(bad_answer("no metadata")))?;
    let merged = parsed.try_fold(first, |first, next| next.map(|next| first.completed_by(next)))?;
    usable(merged, None, needs, errors)
}

/// Returns the metadata, unless none of its needed endpoints can be used because of an error.
fn usable(
    metadata: Metadata,
    interruption: Option<AuthError>,
    needs: &RequiredEndpoints,
    errors: &mut Vec<AuthError>,
) -> Result<Metadata, AuthError> {
    let unusable = metadata.unusable(needs);
    errors.extend_from_slice(&unusable);
    match interruption.clone().or_else(|| unusable.into_iter().next()) {
        // No endpoint is usable: the metadata is fetched again soon, and the last good metadata stays in use.
        Some(error) if !metadata.has_any(needs) => Err(error),
        // The metadata is returned without all endpoints. A request that needs a missing one reports it.
        _ => Ok(metadata.interrupted_by(interruption, needs)),
    }
}

impl Metadata {
    fn has(&self, needs: &RequiredEndpoints) -> bool {
        (!needs.introspection || self.introspection_endpoint.usable().is_some())
            && (!needs.jwks || self.jwks_uri.usable().is_some())
    }

    /// Adds the endpoints of another document. Both name the configured issuer, except for a trailing slash. The
    /// spelling of the first one is used.
    fn completed_by(self, other: Self) -> Self {
        Self {
            introspection_endpoint: self.introspection_endpoint.or(other.introspection_endpoint),
            jwks_uri: self.jwks_uri.or(other.jwks_uri),
            introspection_auth_methods: self.introspection_auth_methods.or(other.introspection_auth_methods),
            documents: [self.documents, other.documents].concat(),
            ..self
        }
    }

    /// Stores the error of a document that could not be fetched, because an absent endpoint may be in that
    /// document.
    fn interrupted_by(mut self, interruption: Option<AuthError>, needs: &RequiredEndpoints) -> Self {
        let missing = |is_needed: bool| match &interruption {
            Some(error) if is_needed => PublishedEndpoint::Unusable(error.clone()),
            _ => PublishedEndpoint::Absent,
        };
        self.introspection_endpoint = self.introspection_endpoint.or(missing(needs.introspection));
        self.jwks_uri = self.jwks_uri.or(missing(needs.uses_jwks()));
        self.interruption = interruption;
        self
    }

    fn has_any(&self, needs: &RequiredEndpoints) -> bool {
        (needs.introspection && self.introspection_endpoint.usable().is_some())
            || (needs.jwks && self.jwks_uri.usable().is_some())
    }

    /// Returns the errors of the needed endpoints.
    fn unusable(&self, needs: &RequiredEndpoints) -> Vec<AuthError> {
        let endpoints = [(needs.introspection, &self.introspection_endpoint), (needs.jwks, &self.jwks_uri)];
        let faults = endpoints.into_iter().filter_map(|(is_needed, endpoint)| match endpoint {
            PublishedEndpoint::Unusable(error) if is_needed => Some(error.clone()),
            _ => None,
        });
        faults.collect()
    }

    /// Parses and validates a document. `is_local` is whether it comes from this machine.
    fn parse(
        bytes: &[u8],
        issuer: &IssuerUrl,
        is_local: bool,
        needs: &RequiredEndpoints,
    ) -> Result<Self, AuthError> {
        let members = strict_object(without_byte_order_mark(bytes))
            .map_err(|error| bad_answer(format!("metadata that is no JSON object: {error}")))?;
        let stated = members
            .get("issuer")
            .and_then(Value::as_str)
            .ok_or_else(|| bad_answer("metadata without issuer"))?;
        if !issuer.accepts(stated) {
            let detail = format!("configured is {:?}, stated is {:?}", issuer.as_str(), redacted(stated));
            return Err(AuthError::setup(SetupFault::Issuer).with_source(detail));
        }
        let holder =
            if needs.mtls { mtls_aliases(&members, needs.trust_store.as_deref()) } else { Some(&members) };
        let metadata = Self {
            issuer: stated.to_owned(),
            introspection_endpoint: published(
                holder.filter(|_| needs.introspection),
                "introspection_endpoint",
                is_local,
            ),
            jwks_uri: published(needs.uses_jwks().then_some(&members), "jwks_uri", is_local),
            introspection_auth_methods: auth_methods(&members),
            interruption: None,
            documents: Vec::new(),
        };
        Ok(Self { documents: vec![Arc::new(Value::Object(members))], ..metadata })
    }
}

/// Returns the mutual-TLS aliases (RFC 8705 section 5). A trust store has separate aliases. The plain endpoint is
/// never used instead.
fn mtls_aliases<'m>(
    members: &'m Map<String, Value>,
    trust_store: Option<&str>,
) -> Option<&'m Map<String, Value>> {
    match trust_store {
        Some(id) => members.get("mtls_additional_endpoint_aliases")?.get(id)?.as_object(),
        None => members.get("mtls_endpoint_aliases")?.as_object(),
    }
}

/// Returns the client authentication methods of the introspection endpoint. Malformed members are ignored.
fn auth_methods(members: &Map<String, Value>) -> Option<Vec<String>> {
    let methods = members.get("introspection_endpoint_auth_methods_supported")?.as_array()?;
    Some(methods.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Returns a member that contains the URL of an endpoint. Plain http to this machine is allowed only in a document
/// from this machine. Another server could otherwise send the client credentials to a local service.
fn published(members: Option<&Map<String, Value>>, name: &str, is_local: bool) -> PublishedEndpoint {
    let text = match members.and_then(|members| members.get(name)) {
        None | Some(Value::Null) => return PublishedEndpoint::Absent,
        Some(Value::String(text)) => text,
        Some(_) => {
            return PublishedEndpoint::Unusable(bad_answer(format!("metadata whose {name} is not a string")));
        }
    };
    let expected = match EndpointUrl::parse(text) {
        Ok(endpoint) if is_local || endpoint.uri.scheme_str() == Some("https") => {
            return PublishedEndpoint::Usable(endpoint);
        }
        Ok(_) => "an https URL (http to a loopback host is for issuers on a loopback host only)",
        Err(expected) => expected,
    };
    PublishedEndpoint::Unusable(
        AuthError::setup(SetupFault::InsecureEndpoint)
            .with_source(format!("{name} is {:?}, expected {expected}", redacted(text))),
    )
}

/// Fetches one document. `advice` names the setting to check if there is none.
async fn document(
    client: &awc::Client,
    issuer: &IssuerUrl,
    (url, advice): (&str, &str),
    needs: &RequiredEndpoints,
    limits: CallLimits,
) -> Result<Metadata, AuthError> {
    let endpoint = EndpointUrl::parse(url)
        .map_err(|expected| AuthError::setup(SetupFault::InsecureEndpoint).with_source(expected))?;
    let reply = http::get(client, &endpoint.uri, limits).await.map_err(|error| error.with_url(&endpoint))?;
    // The content type is ignored, because static hosting may serve `text/plain`. The content is validated instead.
    if !reply.is_ok() {
        return Err(bad_answer(format!("no metadata at {endpoint} (status {}), {advice}", reply.status)));
    }
    Metadata::parse(&reply.body, issuer, endpoint.is_loopback(), needs)
        .map_err(|error| error.with_url(&endpoint))
}

/// Reports in one log record why documents, or endpoints in them, are not used.
pub(crate) fn log_errors(issuer: &IssuerUrl, errors: &[AuthError], level: log::Level) {
    let Some(first) = errors.first() else { return };
    let (issuer, fault) = (issuer.as_str(), first.kind().fault());
    let texts = errors.iter().map(|error| error.describe(issuer).to_string()).collect::<Vec<_>>().join("; ");
    record!(level, event = "metadata_refused", issuer, fault; "{texts}");
}

/// Returns whether an error means that the document does not exist, so that another well-known URL is tried.
pub(crate) fn is_absence(error: &AuthError) -> bool {
    use crate::error::{SetupFault, UpstreamFault::BadAnswer};
    match error.kind() {
        // The server was not reached.
        AuthErrorKind::Misconfigured(SetupFault::Proxy) => false,
        kind => matches!(kind, AuthErrorKind::Upstream(BadAnswer) | AuthErrorKind::Misconfigured(_)),
    }
}
