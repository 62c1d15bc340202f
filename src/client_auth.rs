//! Client authentication at the introspection endpoint.

mod assertion_audience;
mod credential;
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
pub use self::{
    assertion_audience::{ClientAssertionAudience, UnknownClientAssertionAudience},
    identity::ClientIdentity,
    secret_source::SecretSource,
};
use crate::{
    error::{AuthError, SetupFault},
    secret::Secret,
};

/// How this API authenticates itself to the authorization server (RFC 6749 section 2.3).
///
/// Made by the constructor of a method. Whether secret, key or certificate fit the method is checked at start-up; a
/// credential that cannot be used later on, a file that is gone or a JWT-SVID that has expired, is a fault of this
/// API's setup ([`SetupFault::Credentials`]) and never blamed on the caller.
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
    /// A client certificate. The methods of this kind differ only in their registered name.
    MutualTls(&'static str),
}

#[derive(Debug, PartialEq)]
enum Credential {
    Secret(SecretSource),
    Identity(ClientIdentity),
}

/// The proof that was made last, and what it was made from.
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

    /// `client_secret_basic`: client id and secret in the `Authorization` header, each form-encoded first as RFC 6749
    /// section 2.3.1 asks.
    pub fn client_secret_basic(secret: impl Into<SecretSource>) -> Self {
        Self::secret(Method::SecretBasic, secret)
    }

    /// `client_secret_basic` for authorization servers that do not decode: client id and secret go into the header as
    /// they are. The same as [`client_secret_basic`](Self::client_secret_basic) while both consist of letters, digits,
    /// `*`, `-`, `.` and `_`.
    pub fn client_secret_basic_raw(secret: impl Into<SecretSource>) -> Self {
        Self::secret(Method::SecretBasicRaw, secret)
    }

    /// `client_secret_jwt`: an assertion (RFC 7523) with an HMAC under the client secret.
    ///
    /// The algorithm is HS256. A secret that is a JWK of the type `oct`, as JSON, chooses HS256, HS384 or HS512 by its
    /// `alg` and names itself by its `kid`.
    pub fn client_secret_jwt(secret: impl Into<SecretSource>) -> Self {
        Self::secret(Method::SecretJwt, secret)
    }

    /// `private_key_jwt`: an assertion (RFC 7523) signed with a private key, given as JWK in JSON.
    ///
    /// Keys are RSA of 2048 to 8192 bits with all members of RFC 7518 section 6.3.2 (RS256 unless `alg` says RS384,
    /// RS512, PS256, PS384 or PS512), EC on P-256, P-384 or P-521 (ES256, ES384, ES512), or OKP with Ed25519 (`EdDSA`).
    /// The JWK's `kid` goes into the header.
    ///
    /// Assertions live 60 seconds and have a fresh `jti`. Their audience is the issuer, unless
    /// [`client_assertion_audience`](crate::ProtectApiBuilder::client_assertion_audience) says otherwise.
    pub fn private_key_jwt(jwk: impl Into<SecretSource>) -> Self {
        Self::secret(Method::PrivateKeyJwt, jwk)
    }

    /// `tls_client_auth`: a client certificate of a public key infrastructure (RFC 8705 section 2.1).
    pub fn tls_client_auth(identity: ClientIdentity) -> Self {
        Self::mutual_tls("tls_client_auth", identity)
    }

    /// `self_signed_tls_client_auth`: a client certificate that the authorization server knows by its key (RFC 8705
    /// section 2.2).
    pub fn self_signed_tls_client_auth(identity: ClientIdentity) -> Self {
        Self::mutual_tls("self_signed_tls_client_auth", identity)
    }

    /// `spiffe_jwt`: a JWT-SVID in a file, which a SPIFFE agent keeps fresh, as assertion.
    ///
    /// The last one read is used until its `exp`. Its `aud` and signature are not looked at here: the authorization
    /// server does that.
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

    /// The method's registered name, as in `token_endpoint_auth_methods_supported`.
    pub(crate) fn method(&self) -> &'static str {
        match self.0.method {
            Method::SecretPost => "client_secret_post",
            Method::SecretBasic | Method::SecretBasicRaw => "client_secret_basic",
            Method::SecretJwt => "client_secret_jwt",
            Method::PrivateKeyJwt => "private_key_jwt",
            Method::SpiffeJwt => "spiffe_jwt",
            Method::MutualTls(name) => name,
        }
    }

    /// Whether the TLS connection proves who the client is.
    pub(crate) fn uses_mtls(&self) -> bool {
        self.identity().is_some()
    }

    /// The certificate to present, for the methods that do.
    pub(crate) fn identity(&self) -> Option<&ClientIdentity> {
        match &self.0.credential {
            Credential::Identity(identity) => Some(identity),
            Credential::Secret(_) => None,
        }
    }

    /// Whether the credential can be used for the method: for start-up. The error says what is wanted, without the
    /// secret.
    pub(crate) fn check(&self, client_id: &str) -> Result<(), String> {
        match &self.0.credential {
            Credential::Identity(identity) => identity.check(),
            Credential::Secret(source) => self.proof(source, client_id).map(|_| ()),
        }
    }

    /// Adds this client's credentials to a request: fields of the form, or the value of the `Authorization` header.
    /// `audience` is that of an assertion; `now` is in seconds since 1970.
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

    /// The proof for the secret as it is now; made when secret or client id are others than the last time.
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
            // A new content that is of no use (yet): the last good one stays, and this one is not tried again.
            (Err(problem), Some(last)) => {
                log::warn!(target: crate::LOG, event = "credential_kept"; "{source:?}: {problem}; the last good content stays in use");
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

#[cfg(test)]
mod tests {
    use std::{error::Error as _, fs, time::Duration};

    use base64::{
        Engine as _,
        engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    };
    use rcgen::generate_simple_self_signed;

    use super::{
        testing::{Folder, ec_jwk, rsa_jwk},
        *,
    };
    use crate::error::AuthErrorKind;

    const ISSUER: &str = "https://issuer.example";
    const NOW: i64 = 1_700_000_000;

    type Fields = Vec<(String, String)>;

    fn applied(
        authentication: &ClientAuthentication,
        client_id: &str,
    ) -> Result<(Option<HeaderValue>, Fields), AuthError> {
        let mut form = Serializer::new(String::new());
        let header = authentication.apply(client_id, ISSUER, NOW, &mut form)?;
        Ok((header, form_urlencoded::parse(form.finish().as_bytes()).into_owned().collect()))
    }

    fn fields(authentication: &ClientAuthentication) -> Fields {
        let (header, fields) = applied(authentication, "me").unwrap();
        assert_eq!(header, None);
        fields
    }

    fn names(fields: &Fields) -> Vec<&str> {
        fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn basic(authentication: &ClientAuthentication, client_id: &str) -> String {
        let (header, fields) = applied(authentication, client_id).unwrap();
        let header = header.unwrap();
        assert!(header.is_sensitive() && fields.is_empty());
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap().to_owned();
        String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
    }

    fn problem(authentication: &ClientAuthentication) -> String {
        let error = applied(authentication, "me").unwrap_err();
        assert_eq!(error.kind(), AuthErrorKind::Misconfigured(SetupFault::Credentials));
        error.source().unwrap().to_string()
    }

    fn svid(claims: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    fn identity() -> ClientIdentity {
        let made = generate_simple_self_signed(["client".to_owned()]).unwrap();
        ClientIdentity::from_pem(made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn watching(method: Method, path: impl AsRef<Path>) -> ClientAuthentication {
        ClientAuthentication::secret(method, SecretSource::watching(path, Duration::ZERO))
    }

    #[test]
    fn post_sends_id_and_secret_in_the_form() {
        let mut form = Serializer::new(String::new());
        form.append_pair("token", "t");
        let header = ClientAuthentication::client_secret_post("a&b=c d+é%")
            .apply("me&you", ISSUER, NOW, &mut form)
            .unwrap();
        assert_eq!(header, None);
        assert_eq!(form.finish(), "token=t&client_id=me%26you&client_secret=a%26b%3Dc+d%2B%C3%A9%25");
    }

    #[test]
    fn basic_form_encodes_id_and_secret_before_base64() {
        for (plain, encoded) in [
            ("abc-._*019XYZ", "abc-._*019XYZ"),
            ("%", "%25"),
            ("+", "%2B"),
            (":", "%3A"),
            ("=", "%3D"),
            (" ", "+"),
            ("/", "%2F"),
            ("?", "%3F"),
            ("&", "%26"),
            ("~", "%7E"),
            ("%20", "%2520"),
            ("é", "%C3%A9"),
            ("€", "%E2%82%AC"),
            ("p@ss:w/rd", "p%40ss%3Aw%2Frd"),
        ] {
            let authentication = ClientAuthentication::client_secret_basic(plain);
            assert_eq!(basic(&authentication, "me"), format!("me:{encoded}"));
            let authentication = ClientAuthentication::client_secret_basic("secret");
            assert_eq!(basic(&authentication, plain), format!("{encoded}:secret"));
        }
    }

    #[test]
    fn basic_raw_sends_both_as_they_are() {
        let authentication = ClientAuthentication::client_secret_basic_raw("a:b c%é");
        assert_eq!(basic(&authentication, "me/you"), "me/you:a:b c%é");
        assert!(authentication.check("a:b").unwrap_err().contains("colon"));
    }

    #[test]
    fn jwt_methods_send_an_assertion_instead_of_a_secret() {
        for authentication in [
            ClientAuthentication::client_secret_jwt("a secret of at least thirty-two bytes"),
            ClientAuthentication::private_key_jwt(ec_jwk("P-256").to_string()),
        ] {
            let (first, second) = (fields(&authentication), fields(&authentication));
            assert_eq!(names(&first), ["client_id", "client_assertion_type", "client_assertion"]);
            assert_eq!(first[0].1, "me");
            assert_eq!(first[1].1, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
            assert_eq!(first[2].1.split('.').count(), 3);
            assert_ne!(first[2].1, second[2].1);
        }
    }

    #[test]
    fn certificate_methods_send_the_client_id_alone() {
        for (authentication, method) in [
            (ClientAuthentication::tls_client_auth(identity()), "tls_client_auth"),
            (ClientAuthentication::self_signed_tls_client_auth(identity()), "self_signed_tls_client_auth"),
            (ClientAuthentication::spiffe_x509(identity()), "spiffe_x509"),
        ] {
            assert_eq!(fields(&authentication), [("client_id".to_owned(), "me".to_owned())]);
            assert_eq!(authentication.method(), method);
            assert!(authentication.uses_mtls() && authentication.identity().is_some());
        }
    }

    #[test]
    fn an_svid_is_sent_as_it_is_followed_when_it_changes_and_used_until_it_expires() {
        let folder = Folder::new();
        let (first, second) =
            (svid(&format!("{{\"exp\":{}}}", NOW + 1)), svid(&format!("{{\"exp\":{}.5}}", NOW + 9)));
        let path = folder.write("svid", format!("{first}\n"));
        let authentication = watching(Method::SpiffeJwt, &path);
        let sent = fields(&authentication);
        assert_eq!(names(&sent), ["client_id", "client_assertion_type", "client_assertion"]);
        assert_eq!(sent[1].1, "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe");
        assert_eq!(sent[2].1, first);
        folder.write("svid", &second);
        assert_eq!(fields(&authentication)[2].1, second);

        fs::remove_file(&path).unwrap();
        assert_eq!(fields(&authentication)[2].1, second, "still good");
        folder.write("svid", svid(&format!("{{\"exp\":{NOW}}}")));
        assert_eq!(problem(&authentication), "the JWT-SVID has expired");
    }

    #[test]
    fn what_is_no_svid_is_refused() {
        let folder = Folder::new();
        for text in ["hunter2", "a.b", "a.b.c.d", "a.!.c", &svid("{}"), &svid("{\"exp\":\"1\"}"), &svid("[]")]
        {
            let authentication = ClientAuthentication::spiffe_jwt(folder.write("svid", text));
            let problem = authentication.check("me").unwrap_err();
            assert!(problem.contains("expected a JWT-SVID") && !problem.contains(text), "{problem}");
        }
    }

    #[test]
    fn a_changed_secret_file_changes_what_is_sent() {
        let folder = Folder::new();
        let path = folder.write("secret", "one\n");
        let (post, header) = (watching(Method::SecretPost, &path), watching(Method::SecretBasic, &path));
        assert_eq!((fields(&post)[1].1.as_str(), basic(&header, "me").as_str()), ("one", "me:one"));
        folder.write("secret", "two\n");
        assert_eq!((fields(&post)[1].1.as_str(), basic(&header, "me").as_str()), ("two", "me:two"));
    }

    #[test]
    fn a_key_file_that_turns_bad_leaves_the_last_good_key_in_use() {
        let folder = Folder::new();
        let path = folder.write("key", ec_jwk("P-256").to_string());
        let authentication = watching(Method::PrivateKeyJwt, &path);
        let header = |fields: &Fields| fields[2].1.split_once('.').unwrap().0.to_owned();
        let first = header(&fields(&authentication));
        folder.write("key", "half a key");
        assert_eq!(header(&fields(&authentication)), first);
        assert_eq!(header(&fields(&authentication)), first);
        folder.write("key", ec_jwk("P-384").to_string());
        assert_ne!(header(&fields(&authentication)), first);
    }

    #[test]
    fn work_is_done_once_per_secret_and_client() {
        let authentication = ClientAuthentication::private_key_jwt(rsa_jwk().to_string());
        let Credential::Secret(source) = &authentication.0.credential else { panic!() };
        let proof = |client_id| authentication.proof(source, client_id).unwrap();
        let first = proof("me");
        assert!(Arc::ptr_eq(&first, &proof("me")));
        assert!(!Arc::ptr_eq(&first, &proof("you")));
    }

    #[test]
    fn another_client_id_never_gets_the_first_ones_proof() {
        let authentication = ClientAuthentication::client_secret_basic("secret");
        assert_eq!(basic(&authentication, "me"), "me:secret");
        assert_eq!(basic(&authentication, "you"), "you:secret");
    }

    #[test]
    fn an_empty_secret_is_refused_by_every_method() {
        for authentication in [
            ClientAuthentication::client_secret_post(""),
            ClientAuthentication::client_secret_basic(""),
            ClientAuthentication::client_secret_basic_raw(""),
            ClientAuthentication::client_secret_jwt(""),
            ClientAuthentication::private_key_jwt(""),
        ] {
            assert_eq!(authentication.check("me"), Err("the secret is empty".to_owned()));
            assert_eq!(problem(&authentication), "the secret is empty");
        }
    }

    #[test]
    fn an_unusable_credential_is_found_at_start_up_and_never_sent() {
        let folder = Folder::new();
        for (authentication, wanted) in [
            (ClientAuthentication::private_key_jwt("hunter2"), "not a valid JWK"),
            (
                ClientAuthentication::client_secret_post(SecretSource::file(folder.path("gone"))),
                "cannot be read",
            ),
            (ClientAuthentication::spiffe_jwt(folder.path("gone")), "cannot be read"),
            (
                ClientAuthentication::tls_client_auth(ClientIdentity::from_pem("hunter2", "hunter2")),
                "no certificate",
            ),
        ] {
            let found = authentication.check("me").unwrap_err();
            assert!(found.contains(wanted) && !found.contains("hunter2"), "{found}");
            assert_eq!(problem(&authentication), found);
        }
    }

    #[test]
    fn a_failure_leaves_the_form_as_it_was() {
        let mut form = Serializer::new("token=t".to_owned());
        ClientAuthentication::client_secret_post("").apply("me", ISSUER, NOW, &mut form).unwrap_err();
        assert_eq!(form.finish(), "token=t");
    }

    #[test]
    fn equality_is_by_method_and_credential() {
        let post = ClientAuthentication::client_secret_post;
        assert_eq!(post("a"), post("a"));
        assert_ne!(post("a"), post("b"));
        assert_ne!(post("a"), ClientAuthentication::client_secret_basic("a"));
        assert_ne!(
            ClientAuthentication::client_secret_basic_raw("a"),
            ClientAuthentication::client_secret_basic("a")
        );
        let certificate = identity();
        assert_eq!(
            ClientAuthentication::tls_client_auth(certificate.clone()),
            ClientAuthentication::tls_client_auth(certificate.clone())
        );
        assert_ne!(
            ClientAuthentication::tls_client_auth(certificate.clone()),
            ClientAuthentication::spiffe_x509(certificate)
        );
        let used = post("a");
        fields(&used);
        assert_eq!(used, post("a"), "what was made on the way does not count");
    }

    #[test]
    fn debug_shows_no_secret() {
        let authentication = ClientAuthentication::client_secret_post("hunter2");
        fields(&authentication);
        assert_eq!(
            format!("{authentication:?}"),
            "ClientAuthentication(SecretPost, Secret(SecretSource([redacted])))"
        );
        let jwk = ec_jwk("P-256");
        let authentication = ClientAuthentication::private_key_jwt(jwk.to_string());
        fields(&authentication);
        assert!(!format!("{authentication:?}").contains(jwk["d"].as_str().unwrap()));
        let (header, _) = applied(&ClientAuthentication::client_secret_basic("hunter2"), "me").unwrap();
        assert_eq!(format!("{:?}", header.unwrap()), "Sensitive");
    }

    #[test]
    fn method_names_are_the_registered_ones() {
        for (authentication, name) in [
            (ClientAuthentication::client_secret_post("a"), "client_secret_post"),
            (ClientAuthentication::client_secret_basic("a"), "client_secret_basic"),
            (ClientAuthentication::client_secret_basic_raw("a"), "client_secret_basic"),
            (ClientAuthentication::client_secret_jwt("a"), "client_secret_jwt"),
            (ClientAuthentication::private_key_jwt("a"), "private_key_jwt"),
            (ClientAuthentication::spiffe_jwt("a"), "spiffe_jwt"),
        ] {
            assert_eq!(authentication.method(), name);
            assert!(!authentication.uses_mtls());
        }
    }
}
