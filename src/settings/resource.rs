//! A protected resource and its metadata (RFC 9728).

use url::Url;

use super::issuer_url::is_secure;
use crate::{
    client_auth::{DocumentSigner, SecretSource},
    redact::UrlText,
    response::challenge::{imitated_parameter, is_quotable},
};

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// A resource of this API, for its metadata document (RFC 9728) and the `resource_metadata` of challenges.
///
/// ```
/// use actix_protect_api::{ProtectApi, Resource};
///
/// let resource = Resource::new("https://api.example/mcp")
///     .name("Inventory")
///     .documentation("https://api.example/docs");
/// let protect = ProtectApi::builder("https://issuer.example", "https://api.example/mcp")
///     .resource(resource)
///     .build()?;
/// # Ok::<(), actix_protect_api::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a resource has no effect until it is given to the builder"]
pub struct Resource {
    pub(crate) url: UrlText,
    pub(crate) name: Option<String>,
    pub(crate) documentation: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) terms_of_service: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) authorization_servers: Vec<String>,
    pub(crate) jwks_uri: Option<String>,
    pub(crate) signer: Option<DocumentSigner>,
    mapping: Option<(String, String)>,
    is_at_root: bool,
}

impl Resource {
    /// Creates a resource with this identifier: the public https URL (http on a loopback host) as clients write it, without
    /// query and fragment. Clients compare it with the URL that they call.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into().into(),
            name: None,
            documentation: None,
            policy: None,
            terms_of_service: None,
            scopes: Vec::new(),
            authorization_servers: Vec::new(),
            jwks_uri: None,
            signer: None,
            mapping: None,
            is_at_root: false,
        }
    }

    /// Sets `resource_name`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets `resource_documentation`: a URL for developers.
    pub fn documentation(mut self, url: impl Into<String>) -> Self {
        self.documentation = Some(url.into());
        self
    }

    /// Sets `resource_policy_uri`: a URL with the rules for the use of the data.
    pub fn policy(mut self, url: impl Into<String>) -> Self {
        self.policy = Some(url.into());
        self
    }

    /// Sets `resource_tos_uri`: a URL with the terms of service.
    pub fn terms_of_service(mut self, url: impl Into<String>) -> Self {
        self.terms_of_service = Some(url.into());
        self
    }

    /// Adds to `scopes_supported`, for scopes that no mount requires, such as those of an extractor. With several resources,
    /// a list replaces the scopes of the mounts. `offline_access` is never listed.
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Sets `authorization_servers`. Default: the configured issuers.
    pub fn authorization_servers(mut self, issuers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.authorization_servers = issuers.into_iter().map(Into::into).collect();
        self
    }

    /// Adds `signed_metadata`: the members of the document as a JWT (RFC 9728 section 2.2), signed with a private JWK as for
    /// [`private_key_jwt`](crate::ClientAuthentication::private_key_jwt). `issuer` is its `iss`: the party that attests to the
    /// document, such as the API or a federation. Clients must know the public key; [`jwks_uri`](Self::jwks_uri) can name it.
    /// A key in a [file](SecretSource::file) may be replaced without a restart. Use a separate key for this purpose.
    ///
    /// The JWT has no `exp`: it is as old as the document, which clients fetch over TLS.
    pub fn signed_metadata(mut self, issuer: impl Into<String>, jwk: impl Into<SecretSource>) -> Self {
        self.signer = Some(DocumentSigner::new(issuer.into(), jwk.into()));
        self
    }

    /// Sets `jwks_uri`: the URL of the public keys of this resource, which the application serves. An https URL (http on a
    /// loopback host).
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.jwks_uri = Some(url.into());
        self
    }

    /// States that a proxy replaces the start of the public path: with `.mapped("/edge", "/")`, requests for
    /// `https://api.example/edge/mcp` have the path `/mcp` here.
    pub fn mapped(mut self, public: impl Into<String>, local: impl Into<String>) -> Self {
        self.mapping = Some((public.into(), local.into()));
        self
    }

    /// Serves the document at the well-known address without a path too. Only one resource of a host can do so.
    pub fn also_at_root(mut self) -> Self {
        self.is_at_root = true;
        self
    }

    /// Validates the resource.
    ///
    /// # Errors
    /// The text states the expected form.
    pub(crate) fn place(self) -> Result<PlacedResource, &'static str> {
        const EXPECTED: &str =
            "an https URL (http is for loopback hosts only) without query, fragment and credentials";
        let text = self.url.as_str();
        let url = Url::parse(text).map_err(|_| EXPECTED)?;
        let is_plain = url.query().is_none()
            && url.fragment().is_none()
            && !self.url.may_hold_credentials()
            && !text.contains(char::is_whitespace);
        if !is_plain || !is_secure(&url) || !is_quotable(text) || imitated_parameter(text).is_some() {
            return Err(EXPECTED);
        }
        let is_secure_url = |text: &String| Url::parse(text).is_ok_and(|url| is_secure(&url));
        if !self.jwks_uri.as_ref().is_none_or(is_secure_url) {
            return Err("a `jwks_uri` that is an https URL (http is for loopback hosts only)");
        }
        let path = if url.path() == "/" { "" } else { url.path() };
        let local = match &self.mapping {
            None => path.to_owned(),
            Some((public, local)) => mapped(path, public, local)
                .ok_or("a URL whose path starts with the first path of `mapped`, and both with a slash")?,
        };
        let mut paths = vec![format!("{WELL_KNOWN}{path}")];
        let others = [Some(format!("{WELL_KNOWN}{local}")), self.is_at_root.then(|| WELL_KNOWN.to_owned())];
        for other in others.into_iter().flatten() {
            if !paths.contains(&other) {
                paths.push(other);
            }
        }
        let metadata_url = format!("{}{WELL_KNOWN}{path}", url.origin().ascii_serialization()).into();
        Ok(PlacedResource { metadata_url, paths, local, resource: self })
    }
}

impl<T: Into<String>> From<T> for Resource {
    fn from(url: T) -> Self {
        Self::new(url)
    }
}

/// Replaces the start of a path, at the end of a segment.
fn mapped(path: &str, public: &str, local: &str) -> Option<String> {
    if !public.starts_with('/') || !local.starts_with('/') {
        return None;
    }
    let rest = path.strip_prefix(public.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then(|| format!("{}{rest}", local.trim_end_matches('/')))
}

/// A validated resource, and the places of its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlacedResource {
    pub(crate) resource: Resource,
    /// The public URL of the document, for challenges.
    pub(crate) metadata_url: std::sync::Arc<str>,
    /// The paths at which the document is served, as requests have them here.
    pub(crate) paths: Vec<String>,
    /// The path of the resource, as requests have it here, without a final slash.
    local: String,
}

impl PlacedResource {
    /// Returns the number of bytes of the resource's path if a request with this path belongs to the resource.
    fn matches(&self, path: &str) -> Option<usize> {
        let base = self.local.trim_end_matches('/');
        let rest = path.strip_prefix(base)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(base.len())
    }

    /// Returns the resource of a request: the one with the longest matching path, or the first one.
    pub(crate) fn select<'r>(resources: &'r [Self], path: &str) -> Option<&'r Self> {
        let matching = resources.iter().filter_map(|one| Some((one.matches(path)?, one)));
        matching.max_by_key(|(length, _)| *length).map(|(_, one)| one).or_else(|| resources.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(resource: impl Into<Resource>) -> PlacedResource {
        resource.into().place().unwrap()
    }

    #[test]
    fn the_well_known_part_is_between_host_and_path() {
        for (resource, url, paths) in [
            (
                Resource::new("https://api.example/mcp"),
                "https://api.example/.well-known/oauth-protected-resource/mcp",
                &["/.well-known/oauth-protected-resource/mcp"][..],
            ),
            (
                Resource::new("https://api.example:8443/").also_at_root(),
                "https://api.example:8443/.well-known/oauth-protected-resource",
                &["/.well-known/oauth-protected-resource"],
            ),
            (
                Resource::new("https://api.example/edge/mcp").mapped("/edge", "/").also_at_root(),
                "https://api.example/.well-known/oauth-protected-resource/edge/mcp",
                &[
                    "/.well-known/oauth-protected-resource/edge/mcp",
                    "/.well-known/oauth-protected-resource/mcp",
                    "/.well-known/oauth-protected-resource",
                ],
            ),
        ] {
            let placed = place(resource);
            assert_eq!(
                (&*placed.metadata_url, placed.paths.as_slice()),
                (url, &paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>()[..])
            );
        }
    }

    #[test]
    fn the_longest_path_selects_the_resource_of_a_request() {
        let resources = [
            place("https://api.example/a"),
            place("https://api.example/a/b/"),
            place(Resource::new("https://api.example/edge/c").mapped("/edge", "/inner/")),
        ];
        for (path, expected) in [
            ("/a", "/a"),
            ("/a/x", "/a"),
            ("/ab", "/a"),
            ("/a/b", "/a/b/"),
            ("/a/b/c", "/a/b/"),
            ("/a/bc", "/a"),
            ("/inner/c/d", "/edge/c"),
            ("/edge/c", "/a"),
            ("/other", "/a"),
        ] {
            let selected = PlacedResource::select(&resources, path).unwrap();
            assert_eq!(selected.resource.url.as_str(), format!("https://api.example{expected}"), "{path}");
        }
        assert_eq!(PlacedResource::select(&[], "/"), None);
    }

    #[test]
    fn other_identifiers_are_rejected() {
        for bad in [
            "",
            "api.example",
            "http://api.example/a",
            "https://api.example/a?b",
            "https://api.example/a#b",
            "https://me@api.example/a",
            "https://api.example/a b",
            "https://api.example/scope=a",
        ] {
            assert!(Resource::new(bad).place().is_err(), "{bad}");
        }
        let place_with_keys =
            |url: &str| Resource::new("https://api.example/a").jwks_uri(url).place().is_ok();
        assert!(place_with_keys("https://api.example/jwks") && place_with_keys("http://127.0.0.1:1/jwks"));
        assert!(!place_with_keys("http://api.example/jwks") && !place_with_keys("jwks"));
        for (public, local) in [("/other", "/"), ("/edg", "/"), ("edge", "/"), ("/edge", "")] {
            let resource = Resource::new("https://api.example/edge/a").mapped(public, local);
            assert!(resource.place().is_err(), "{public} {local}");
        }
    }
}
