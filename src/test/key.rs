//! Signing keys and signatures.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    encoding::{AsBigEndian, AsDer, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    rsa::{KeyPairComponents, KeySize, PublicKeyComponents},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::test::{algorithm::Algorithm, der, expect_ok};

/// A key pair, or a shared secret, for tests: its private half can be read. `Debug` does not show it.
///
/// A clone is the same key.
#[derive(Clone)]
pub struct TestKey {
    kid: String,
    algorithm: Algorithm,
    material: Arc<Material>,
}

enum Material {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Secret(Vec<u8>),
}

impl TestKey {
    /// Creates a key: RSA with 2048 bits (this takes a moment), or on the algorithm's curve, or a secret of 64
    /// random bytes; nothing for [`Algorithm::None`].
    pub fn generate(algorithm: Algorithm, kid: &str) -> Self {
        let material = match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Material::Rsa(Box::new(expect_ok(
                RsaKeyPair::generate(KeySize::Rsa2048),
                "generate an RSA key",
            ))),
            Algorithm::ES256 => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::ES384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::ES512 => ec(&ECDSA_P521_SHA512_FIXED_SIGNING),
            Algorithm::EdDSA => {
                Material::Ed(expect_ok(Ed25519KeyPair::generate(), "generate an Ed25519 key"))
            }
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                Material::Secret(random::<64>().to_vec())
            }
            Algorithm::None => Material::Secret(Vec::new()),
        };
        Self { kid: kid.to_owned(), algorithm, material: Arc::new(material) }
    }

    /// Creates a shared secret from any bytes, with HS256: for example the bytes of a public key, which must never
    /// verify.
    pub fn hmac(secret: impl Into<Vec<u8>>, kid: &str) -> Self {
        Self {
            kid: kid.to_owned(),
            algorithm: Algorithm::HS256,
            material: Arc::new(Material::Secret(secret.into())),
        }
    }

    /// Reads a key that [`private_jwk`](Self::private_jwk) returned, for example from a file, so that a server keeps its key.
    /// Returns `None` for another document.
    ///
    /// ```
    /// # use actix_protect_api::test::{Algorithm, TestKey};
    /// let key = TestKey::generate(Algorithm::ES256, "key-1");
    /// let file = key.private_jwk().to_string();
    ///
    /// let again = TestKey::from_private_jwk(&serde_json::from_str(&file)?);
    /// assert_eq!(again.map(|again| again.jwk()), Some(key.jwk()));
    /// # Ok::<_, serde_json::Error>(())
    /// ```
    pub fn from_private_jwk(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let algorithm = Algorithm::from_name(text("alg")?)?;
        let ec = |signing| {
            let point = [&[4][..], &bytes("x")?, &bytes("y")?].concat();
            EcdsaKeyPair::from_private_key_and_public_key(signing, &bytes("d")?, &point).ok()
        };
        let material = match algorithm {
            Algorithm::ES256 => Material::Ec(ec(&ECDSA_P256_SHA256_FIXED_SIGNING)?),
            Algorithm::ES384 => Material::Ec(ec(&ECDSA_P384_SHA384_FIXED_SIGNING)?),
            Algorithm::ES512 => Material::Ec(ec(&ECDSA_P521_SHA512_FIXED_SIGNING)?),
            Algorithm::EdDSA => {
                Material::Ed(Ed25519KeyPair::from_seed_and_public_key(&bytes("d")?, &bytes("x")?).ok()?)
            }
            _ if algorithm.is_rsa() => {
                let components = KeyPairComponents {
                    public_key: PublicKeyComponents { n: bytes("n")?, e: bytes("e")? },
                    d: bytes("d")?,
                    p: bytes("p")?,
                    q: bytes("q")?,
                    dP: bytes("dp")?,
                    dQ: bytes("dq")?,
                    qInv: bytes("qi")?,
                };
                Material::Rsa(Box::new(RsaKeyPair::from_components(&components).ok()?))
            }
            _ => Material::Secret(bytes("k")?),
        };
        Some(Self { kid: text("kid")?.to_owned(), algorithm, material: Arc::new(material) })
    }

    /// Returns the same key with another `kid`.
    #[must_use]
    pub fn with_kid(mut self, kid: &str) -> Self {
        kid.clone_into(&mut self.kid);
        self
    }

    /// Returns the same key for another algorithm of its family: one RSA key can sign RS256 and PS512.
    ///
    /// # Panics
    /// If the key cannot sign with that algorithm.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        let fits = algorithm == self.algorithm
            || match *self.material {
                Material::Rsa(_) => algorithm.is_rsa(),
                Material::Secret(_) => algorithm.hmac().is_some(),
                Material::Ec(_) | Material::Ed(_) => false,
            };
        expect_ok(fits.then_some(()).ok_or(algorithm), "use this key with that algorithm");
        self.algorithm = algorithm;
        self
    }

    /// Returns the identifier in a token's header and in the key set.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Returns the algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the public key as a JWK (RFC 7517) with `kid`, `alg` and `use`. A shared secret has no public half
    /// and is returned itself, as `oct`.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &*self.material {
            Material::Rsa(pair) => {
                let numbers = der::integers(pair.public_key().as_ref());
                json!({ "kty": "RSA", "n": number(&numbers, 0), "e": number(&numbers, 1) })
            }
            Material::Ec(pair) => {
                // An uncompressed point: 4, x, y (SEC 1 section 2.3.3).
                let point = pair.public_key().as_ref().get(1..).unwrap_or_default();
                let (x, y) = point.split_at(point.len() / 2);
                json!({ "kty": "EC", "crv": self.algorithm.curve(), "x": base64url(x), "y": base64url(y) })
            }
            Material::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(pair.public_key().as_ref()) })
            }
            Material::Secret(secret) => json!({ "kty": "oct", "k": base64url(secret) }),
        };
        insert(&mut jwk, "kid", json!(self.kid));
        insert(&mut jwk, "alg", json!(self.algorithm.name()));
        insert(&mut jwk, "use", json!("sig"));
        jwk
    }

    /// Returns the private key as a JWK: the value of `MONOCLOUD_BACKEND_CLIENT_SECRET` with `private_key_jwt`.
    pub fn private_jwk(&self) -> Value {
        let mut jwk = self.jwk();
        match &*self.material {
            Material::Rsa(pair) => {
                let pkcs8 = expect_ok(pair.as_der(), "encode an RSA key");
                let numbers = der::integers(der::pkcs8_key(pkcs8.as_ref()));
                for (index, name) in [(3, "d"), (4, "p"), (5, "q"), (6, "dp"), (7, "dq"), (8, "qi")] {
                    insert(&mut jwk, name, json!(number(&numbers, index)));
                }
            }
            Material::Ec(pair) => {
                let d = expect_ok(pair.private_key().as_be_bytes(), "encode an EC key");
                insert(&mut jwk, "d", json!(base64url(d.as_ref())));
            }
            Material::Ed(pair) => {
                let seed = expect_ok(pair.seed(), "encode an Ed25519 key");
                let d = expect_ok(seed.as_be_bytes(), "encode an Ed25519 key");
                insert(&mut jwk, "d", json!(base64url(d.as_ref())));
            }
            Material::Secret(_) => {}
        }
        jwk
    }

    /// Returns the public key as DER (`SubjectPublicKeyInfo`, RFC 5280 section 4.1.2.7); for a shared secret, the
    /// secret.
    pub fn public_der(&self) -> Vec<u8> {
        let der: Result<PublicKeyX509Der<'_>, _> = match &*self.material {
            Material::Rsa(pair) => pair.public_key().as_der(),
            Material::Ec(pair) => pair.public_key().as_der(),
            Material::Ed(pair) => pair.public_key().as_der(),
            Material::Secret(secret) => return secret.clone(),
        };
        expect_ok(der, "encode a public key").as_ref().to_vec()
    }

    /// Returns [`public_der`](Self::public_der) as PEM (RFC 7468).
    pub fn public_pem(&self) -> String {
        der::pem("PUBLIC KEY", &self.public_der())
    }

    /// Returns the signature of these bytes, in the form of a JWS (RFC 7515 section 5.1). Empty for
    /// [`Algorithm::None`].
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &*self.material {
            Material::Rsa(pair) => {
                let encoding =
                    expect_ok(self.algorithm.rsa_encoding().ok_or(self.algorithm), "sign with RSA");
                let mut signature = vec![0; pair.public_modulus_len()];
                expect_ok(pair.sign(encoding, &random, message, &mut signature), "sign with RSA");
                signature
            }
            Material::Ec(pair) => expect_ok(pair.sign(&random, message), "sign with ECDSA").as_ref().to_vec(),
            Material::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Material::Secret(secret) => self
                .algorithm
                .hmac()
                .map(|algorithm| hmac::sign(&hmac::Key::new(algorithm, secret), message).as_ref().to_vec())
                .unwrap_or_default(),
        }
    }

    /// Returns a JWS in compact form (RFC 7515 section 7.1) with exactly this header and payload.
    pub fn jws(&self, header: &Value, payload: &Value) -> String {
        self.jws_of(&header.to_string(), &payload.to_string())
    }

    pub(super) fn jws_of(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(payload.as_bytes()));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", base64url(&signature))
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let public: &[u8] = match &*self.material {
            Material::Rsa(pair) => pair.public_key().as_ref(),
            Material::Ec(pair) => pair.public_key().as_ref(),
            Material::Ed(pair) => pair.public_key().as_ref(),
            Material::Secret(secret) => {
                return self.algorithm.hmac().is_some_and(|algorithm| {
                    hmac::verify(&hmac::Key::new(algorithm, secret), message, signature).is_ok()
                });
            }
        };
        self.algorithm.verification().is_some_and(|algorithm| {
            UnparsedPublicKey::new(algorithm, public).verify(message, signature).is_ok()
        })
    }
}

impl fmt::Debug for TestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Returns this many random bytes.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    expect_ok(aws_lc_rs::rand::fill(&mut bytes), "draw random bytes");
    bytes
}

pub(super) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn number(numbers: &[&[u8]], index: usize) -> String {
    base64url(numbers.get(index).copied().unwrap_or_default())
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> Material {
    Material::Ec(expect_ok(EcdsaKeyPair::generate(algorithm), "generate an EC key"))
}
