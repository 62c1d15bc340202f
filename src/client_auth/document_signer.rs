//! Signs the metadata document of a resource (RFC 9728 section 2.2).

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use serde_json::{Map, Value};

use super::{SecretSource, signer::JwtSigner};
use crate::secret::Secret;

/// Signs documents with a private key. Clones share the last signature.
#[derive(Clone)]
pub(crate) struct DocumentSigner(Arc<DocumentSignerInner>);

struct DocumentSignerInner {
    /// The party that attests to the document.
    issuer: String,
    /// A private JWK.
    key: SecretSource,
    last: ArcSwapOption<SignedDocument>,
}

/// The last signed document, and the key that signed it. A signature has a random part, so a document is signed once: its
/// `ETag` stays the same.
struct SignedDocument {
    secret: Arc<Secret>,
    signer: Arc<JwtSigner>,
    claims: Vec<u8>,
    jwt: Arc<str>,
}

impl DocumentSigner {
    pub(crate) fn new(issuer: String, key: SecretSource) -> Self {
        Self(Arc::new(DocumentSignerInner { issuer, key, last: ArcSwapOption::empty() }))
    }

    /// Checks at start-up whether the key can be used. The error states the expected input, without the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.sign(&Map::new()).map(|_| ())
    }

    /// Returns the signed document: a JWT with the members of the document and `iss` as claims.
    ///
    /// # Errors
    /// If the key cannot be used. A key that becomes unusable after [`check`](Self::check) is no error: the last one signs.
    pub(crate) fn sign(&self, document: &Map<String, Value>) -> Result<Arc<str>, String> {
        let DocumentSignerInner { issuer, key, last } = &*self.0;
        let secret = key.current()?;
        let last_signed = last.load_full();
        let mut claims = document.clone();
        claims.insert("iss".to_owned(), issuer.as_str().into());
        let claims = Value::Object(claims).to_string().into_bytes();
        let is_same_key = |last: &&Arc<SignedDocument>| Arc::ptr_eq(&last.secret, &secret);
        let signer = match last_signed.as_ref().filter(is_same_key) {
            Some(last) if last.claims == claims => return Ok(Arc::clone(&last.jwt)),
            Some(last) => Arc::clone(&last.signer),
            None => match (JwtSigner::private(secret.expose()), &last_signed) {
                (Ok(signer), _) => Arc::new(signer),
                (Err(problem), Some(last)) => {
                    record!(log::Level::Warn, event = "credential_kept"; "{key:?}: {problem}; the last good content stays in use");
                    Arc::clone(&last.signer)
                }
                (Err(problem), None) => return Err(problem),
            },
        };
        let jwt: Arc<str> = signer.sign(&claims).map_err(|_| "signing failed")?.into();
        last.store(Some(Arc::new(SignedDocument { secret, signer, claims, jwt: Arc::clone(&jwt) })));
        Ok(jwt)
    }
}

impl PartialEq for DocumentSigner {
    fn eq(&self, other: &Self) -> bool {
        self.0.issuer == other.0.issuer && self.0.key == other.0.key
    }
}

impl Eq for DocumentSigner {}

impl fmt::Debug for DocumentSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentSigner({:?}, {:?})", self.0.issuer, self.0.key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::Jwk};
    use serde_json::json;

    use super::*;
    use crate::client_auth::testing::{Folder, ec_jwk, ed25519_jwk};

    fn document(name: &str) -> Map<String, Value> {
        json!({ "resource": "https://api.example.test", "resource_name": name }).as_object().unwrap().clone()
    }

    /// Returns the claims, after another library has verified the signature with the public key.
    fn verified(jwt: &str, private: &Value, algorithm: Algorithm) -> Value {
        let mut public = private.clone();
        public.as_object_mut().unwrap().remove("d");
        let key = DecodingKey::from_jwk(&serde_json::from_value::<Jwk>(public).unwrap()).unwrap();
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["iss"]);
        validation.set_issuer(&["https://api.example.test"]);
        validation.validate_exp = false;
        decode::<Value>(jwt, &key, &validation).unwrap().claims
    }

    fn signer(key: impl Into<SecretSource>) -> DocumentSigner {
        DocumentSigner::new("https://api.example.test".to_owned(), key.into())
    }

    #[test]
    fn a_signed_document_has_its_members_and_the_issuer_as_claims() {
        for (jwk, algorithm) in [(ec_jwk("P-256"), Algorithm::ES256), (ed25519_jwk(), Algorithm::EdDSA)] {
            let signer = signer(jwk.to_string());
            signer.check().unwrap();
            let jwt = signer.sign(&document("a")).unwrap();
            assert_eq!(decode_header(&*jwt).unwrap().kid.as_deref(), jwk["kid"].as_str());
            let claims = verified(&jwt, &jwk, algorithm);
            assert_eq!(
                claims,
                json!({ "iss": "https://api.example.test", "resource": "https://api.example.test", "resource_name": "a" })
            );
        }
    }

    #[test]
    fn a_document_is_signed_once() {
        let signer = signer(ec_jwk("P-256").to_string());
        let first = signer.sign(&document("a")).unwrap();
        assert!(Arc::ptr_eq(&first, &signer.clone().sign(&document("a")).unwrap()));
        let other = signer.sign(&document("b")).unwrap();
        assert_ne!(first, other);
    }

    #[test]
    fn a_new_key_in_the_file_signs_and_an_unusable_one_does_not() {
        let folder = Folder::new();
        let (first, second) = (ec_jwk("P-256"), ec_jwk("P-256"));
        let path = folder.write("key", first.to_string());
        let signer = signer(SecretSource::watching(&path, Duration::ZERO));
        verified(&signer.sign(&document("a")).unwrap(), &first, Algorithm::ES256);
        folder.write("key", second.to_string());
        verified(&signer.sign(&document("a")).unwrap(), &second, Algorithm::ES256);
        folder.write("key", "{}");
        verified(&signer.sign(&document("b")).unwrap(), &second, Algorithm::ES256);
    }

    #[test]
    fn an_unusable_key_is_an_error_without_the_key() {
        for bad in ["", "hunter2", "{\"kty\":\"oct\",\"k\":\"hunter2\"}"] {
            let signer = signer(bad);
            let error = signer.check().unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
            assert!(!format!("{signer:?}").contains("hunter2"));
        }
    }
}
