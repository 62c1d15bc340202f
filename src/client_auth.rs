//! Client authentication at the introspection endpoint.

#[cfg(test)]
mod tests;

mod assertion_audience;
mod credential;
mod document_signer;
mod identity;
mod jwk;
mod secret_source;
mod signer;
#[cfg(test)]
pub(crate) mod testing;
mod watched_files;

use std::{fmt, path::Path, sync::Arc};

use actix_web::http::header::HeaderValue;
use arc_swap::ArcSwapOption;
use form_urlencoded::Serializer;

use self::credential::ClientCredential;
pub(crate) use self::document_signer::DocumentSigner;
pub(crate) use self::watched_files::read as read_file;
pub use self::{
    assertion_audience::{ClientAssertionAudience, UnknownClientAssertionAudience},
    identity::ClientIdentity,
    secret_source::SecretSource,
};
use crate::{
    error::{AuthError, SetupFault},
    secret::Secret,
};

/// The client authentication of this API at the authorization server (RFC 6749 section 2.3).
///
/// Created by the constructor of a method. At start-up, the secret, key or certificate is validated for the method.
/// If a credential cannot be used later (its file is missing, or a JWT-SVID has expired), this is a fault of the
/// setup of this API ([`SetupFault::Credentials`]) and never a fault of the caller.
///
/// Two values are equal if they use the same method with the same credential. A clone is cheap.
#[derive(Clone)]
pub struct ClientAuthentication(Arc<ClientAuthInner>);

struct ClientAuthInner {
    method: Method,
    credential: Credential,
    ready: ArcSwapOption<Prepared>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    SecretPost,
    SecretBasic,
    SecretBasicRaw,
    SecretJwt,
    PrivateKeyJwt,
    SpiffeJwt,
    Bearer,
    /// A client certificate. The methods of this kind differ only in their registered name.
    MutualTls(&'static str),
}

#[derive(Debug, PartialEq)]
enum Credential {
    Secret(SecretSource),
    Identity(ClientIdentity),
}

/// The last prepared credential, and the secret and client id that it was prepared from.
struct Prepared {
    secret: Arc<Secret>,
    client_id: Box<str>,
    proof: Arc<ClientCredential>,
}

impl ClientAuthentication {
    /// `client_secret_post`: client id and secret as fields of the form (RFC 6749 section 2.3.1).
    pub fn client_secret_post(secret: impl Into<SecretSource>) -> Self {
        Self::secret(Method::SecretPost, secret)
    }

    /// `client_secret_basic`: client id and secret in the `Authorization` header. Each is form-encoded first, as
    /// RFC 6749 section 2.3.1 requires.
    pub fn client_secret_basic(secret: impl Into<SecretSource>) -> Self {
        Self::secret(Method::SecretBasic, secret)
    }

    /// `client_secret_basic` for authorization servers that do not decode: client id and secret are written into
    /// the header without form-encoding. The same as [`client_secret_basic`](Self::client_secret_basic) while both
    /// consist of letters, digits, `*`, `-`, `.` and `_`.
    pub fn client_secret_basic_raw(secret: impl Into<SecretSource>) -> Self {
        Self::secret(Method::SecretBasicRaw, secret)
    }

    /// `client_secret_jwt`: an assertion (RFC 7523) with an HMAC. The client secret is the key.
    ///
    /// The algorithm is HS256. If the secret is a JWK of the type `oct`, as JSON, its `alg` selects HS256, HS384 or
    /// HS512, and its `kid` is written into the header.
    pub fn client_secret_jwt(secret: impl Into<SecretSource>) -> Self {
        Self::secret(Method::SecretJwt, secret)
    }

    /// `private_key_jwt`: an assertion (RFC 7523) signed with a private key, given as JWK in JSON.
    ///
    /// Keys are RSA of 2048 to 8192 bits with all members of RFC 7518 section 6.3.2 (RS256, or the `alg` of the
    /// key: RS384, RS512, PS256, PS384 or PS512), EC on P-256, P-384 or P-521 (ES256, ES384, ES512), or OKP with
    /// Ed25519 (`EdDSA`). The `kid` of the JWK is written into the header.
    ///
    /// Assertions are valid for 60 seconds and have a fresh `jti`. Their audience is the issuer by default; see
    /// [`client_assertion_audience`](crate::ProtectApiBuilder::client_assertion_audience).
    pub fn private_key_jwt(jwk: impl Into<SecretSource>) -> Self {
        Self::secret(Method::PrivateKeyJwt, jwk)
    }

    /// An access token of this API in the `Authorization` header (RFC 7662 section 2.1, RFC 6750). With
    /// [`SecretSource::file`], another program can renew the token. The client id is not sent; it separates the verdicts of
    /// different clients in caches.
    pub fn bearer(token: impl Into<SecretSource>) -> Self {
        Self::secret(Method::Bearer, token)
    }

    /// `tls_client_auth`: a client certificate of a public key infrastructure (RFC 8705 section 2.1).
    pub fn tls_client_auth(identity: ClientIdentity) -> Self {
        Self::mutual_tls("tls_client_auth", identity)
    }

    /// `self_signed_tls_client_auth`: a client certificate whose key is registered at the authorization server (RFC
    /// 8705 section 2.2).
    pub fn self_signed_tls_client_auth(identity: ClientIdentity) -> Self {
        Self::mutual_tls("self_signed_tls_client_auth", identity)
    }

    /// `spiffe_jwt`: a JWT-SVID as assertion, read from a file that a SPIFFE agent refreshes.
    ///
    /// The JWT-SVID that was read last is used until its `exp`. Its `aud` and signature are not checked here, because
    /// the authorization server checks them.
    pub fn spiffe_jwt(path: impl AsRef<Path>) -> Self {
        Self::secret(Method::SpiffeJwt, SecretSource::file(path))
    }

    /// `spiffe_x509`: an X.509-SVID as client certificate.
    pub fn spiffe_x509(identity: ClientIdentity) -> Self {
        Self::mutual_tls("spiffe_x509", identity)
    }

    fn secret(method: Method, source: impl Into<SecretSource>) -> Self {
        Self::new(method, Credential::Secret(source.into()))
    }

    fn mutual_tls(name: &'static str, identity: ClientIdentity) -> Self {
        Self::new(Method::MutualTls(name), Credential::Identity(identity))
    }

    fn new(method: Method, credential: Credential) -> Self {
        Self(Arc::new(ClientAuthInner { method, credential, ready: ArcSwapOption::empty() }))
    }

    /// Returns the registered name of the method, as in `token_endpoint_auth_methods_supported`.
    pub(crate) fn method(&self) -> &'static str {
        match self.0.method {
            Method::SecretPost => "client_secret_post",
            Method::SecretBasic | Method::SecretBasicRaw => "client_secret_basic",
            Method::SecretJwt => "client_secret_jwt",
            Method::PrivateKeyJwt => "private_key_jwt",
            Method::SpiffeJwt => "spiffe_jwt",
            Method::Bearer => "bearer",
            Method::MutualTls(name) => name,
        }
    }

    /// Returns whether the client is authenticated by the TLS connection.
    pub(crate) fn uses_mtls(&self) -> bool {
        self.identity().is_some()
    }

    /// Returns the certificate to present, if the method uses one.
    pub(crate) fn identity(&self) -> Option<&ClientIdentity> {
        match &self.0.credential {
            Credential::Identity(identity) => Some(identity),
            Credential::Secret(_) => None,
        }
    }

    /// Checks at start-up whether the credential can be used for the method. The error states the expected input,
    /// without the secret.
    pub(crate) fn check(&self, client_id: &str) -> Result<(), String> {
        match &self.0.credential {
            Credential::Identity(identity) => identity.check(),
            Credential::Secret(source) => self.proof(source, client_id).map(|_| ()),
        }
    }

    /// Adds the credentials of this client to a request: fields of the form, or the value of the `Authorization`
    /// header. `audience` is the audience of an assertion; `now` is in seconds since 1970.
    pub(crate) fn apply(
        &self,
        client_id: &str,
        audience: &str,
        now: i64,
        form: &mut Serializer<'_, String>,
    ) -> Result<Option<HeaderValue>, AuthError> {
        match &self.0.credential {
            Credential::Identity(identity) => identity.check().map(|()| {
                form.append_pair("client_id", client_id);
                None
            }),
            Credential::Secret(source) => {
                self.proof(source, client_id).and_then(|proof| proof.write_to(client_id, audience, now, form))
            }
        }
        .map_err(|problem| AuthError::setup(SetupFault::Credentials).with_source(problem))
    }

    /// Returns the credential for the current secret. Prepares it if the secret or the client id has changed.
    fn proof(&self, source: &SecretSource, client_id: &str) -> Result<Arc<ClientCredential>, String> {
        let secret = source.current()?;
        let last = self.0.ready.load_full().filter(|last| &*last.client_id == client_id);
        if let Some(last) = &last
            && Arc::ptr_eq(&last.secret, &secret)
        {
            return Ok(Arc::clone(&last.proof));
        }
        let proof = match (ClientCredential::new(self.0.method, client_id, &secret), last) {
            (Ok(proof), _) => Arc::new(proof),
            // The new content is unusable. The last good credential stays in use, and this content is not tried again.
            (Err(problem), Some(last)) => {
                record!(log::Level::Warn, event = "credential_kept"; "{source:?}: {problem}; the last good content stays in use");
                Arc::clone(&last.proof)
            }
            (Err(problem), None) => return Err(problem),
        };
        let ready = Prepared { secret, client_id: client_id.into(), proof: Arc::clone(&proof) };
        self.0.ready.store(Some(Arc::new(ready)));
        Ok(proof)
    }
}

impl PartialEq for ClientAuthentication {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.method == other.0.method && self.0.credential == other.0.credential)
    }
}

impl Eq for ClientAuthentication {}

impl fmt::Debug for ClientAuthentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientAuthentication({:?}, {:?})", self.0.method, self.0.credential)
    }
}
