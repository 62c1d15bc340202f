//! Signs JWTs: client assertions (RFC 7523 section 3), which prove the possession of a key, and metadata documents.

use aws_lc_rs::{
    error::Unspecified,
    hmac,
    rand::{self, SystemRandom},
    signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair, RsaSignatureEncoding},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;

use crate::client_auth::jwk::{self, SigningKey};

/// The lifetime of an assertion, in seconds.
const LIFETIME: i64 = 60;

/// A parsed key with the encoded header of the JWTs that it signs.
pub(super) struct JwtSigner {
    header: String,
    key: Key,
}

/// A signing key. It is parsed once and bound to one algorithm.
pub(super) enum Key {
    Hmac(Box<hmac::Key>),
    Rsa(Box<RsaKeyPair>, &'static RsaSignatureEncoding),
    Ec(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// The claims of an assertion (RFC 7523 section 3).
#[derive(Serialize)]
struct AssertionClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: &'a str,
    iat: i64,
    exp: i64,
}

#[derive(Serialize)]
struct AssertionHeader<'a> {
    alg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    typ: &'a str,
}

impl JwtSigner {
    /// Creates the signer for `client_secret_jwt`: HS256 with the bytes of the secret, or a symmetric JWK whose
    /// `alg` selects the algorithm.
    pub(super) fn symmetric(secret: &str) -> Result<Self, String> {
        // A secret may start with a brace, but is unlikely to contain a key type by chance.
        if secret.trim_start().starts_with('{') && secret.contains("\"kty\"") {
            return Self::new(jwk::symmetric(secret)?);
        }
        let key = Key::hmac(hmac::HMAC_SHA256, secret.as_bytes());
        Self::new(SigningKey { key, algorithm: "HS256", kid: None })
    }

    /// Creates the signer for `private_key_jwt` from a private JWK.
    pub(super) fn private(jwk: &str) -> Result<Self, String> {
        Self::new(jwk::private(jwk)?)
    }

    fn new(SigningKey { key, algorithm, kid }: SigningKey) -> Result<Self, String> {
        let header = AssertionHeader { alg: algorithm, kid: kid.as_deref(), typ: "JWT" };
        let header = serde_json::to_vec(&header).map_err(|_| "the JWK's \"kid\" cannot be written")?;
        Ok(Self { header: URL_SAFE_NO_PAD.encode(header), key })
    }

    /// Creates an assertion: `iss` and `sub` are the client, `aud` is this audience, `now` is in seconds since
    /// 1970.
    pub(super) fn assertion(&self, client_id: &str, audience: &str, now: i64) -> Result<String, Unspecified> {
        let mut random = [0; 16];
        rand::fill(&mut random)?;
        let jti = URL_SAFE_NO_PAD.encode(random);
        let claims = AssertionClaims {
            iss: client_id,
            sub: client_id,
            aud: audience,
            jti: &jti,
            iat: now,
            exp: now.saturating_add(LIFETIME),
        };
        self.sign(&serde_json::to_vec(&claims).map_err(|_| Unspecified)?)
    }

    /// Creates a JWT with these claims, which are a JSON object.
    pub(super) fn sign(&self, claims: &[u8]) -> Result<String, Unspecified> {
        let mut jwt = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let signature = self.key.sign(jwt.as_bytes())?;
        jwt.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
        Ok(jwt)
    }
}

impl Key {
    /// Creates an HMAC key. RFC 7518 section 3.2 requires a key as long as the hash. Issuers create shorter
    /// secrets, so this is only a warning.
    pub(super) fn hmac(algorithm: hmac::Algorithm, secret: &[u8]) -> Self {
        let wanted = algorithm.tag_len();
        if secret.len() < wanted {
            record!(log::Level::Warn, event = "short_client_secret"; "the client secret that signs assertions should have at least {wanted} bytes");
        }
        Self::Hmac(Box::new(hmac::Key::new(algorithm, secret)))
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        match self {
            Self::Hmac(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature).map(|()| signature)
            }
            Self::Ec(pair) => pair.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
            Self::Ed25519(pair) => pair.try_sign(message).map(|signature| signature.as_ref().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, UnparsedPublicKey};
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::Jwk};
    use serde_json::{Value, json};

    use super::*;
    use crate::client_auth::testing::{ec_jwk, ed25519_jwk, rsa_jwk};

    const NOW: i64 = 1_700_000_000;

    fn assertion(signer: &JwtSigner) -> String {
        signer.assertion("the client", "https://issuer.example", NOW).unwrap()
    }

    /// Returns the claims, after another library has verified the signature.
    fn verified(jwt: &str, key: &DecodingKey, algorithm: Algorithm) -> Value {
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&["https://issuer.example"]);
        validation.validate_exp = false;
        decode::<Value>(jwt, key, &validation).unwrap().claims
    }

    fn part(jwt: &str, index: usize) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(jwt.split('.').nth(index).unwrap()).unwrap()
    }

    fn public(jwk: &Value) -> DecodingKey {
        let mut jwk = jwk.clone();
        for name in ["d", "p", "q", "dp", "dq", "qi"] {
            jwk.as_object_mut().unwrap().remove(name);
        }
        DecodingKey::from_jwk(&serde_json::from_value::<Jwk>(jwk).unwrap()).unwrap()
    }

    #[test]
    fn the_public_key_verifies_what_the_private_one_signed() {
        let with_alg = |mut jwk: Value, alg: &str| {
            jwk["alg"] = alg.into();
            jwk
        };
        for (jwk, name, algorithm) in [
            (rsa_jwk(), "RS256", Algorithm::RS256),
            (with_alg(rsa_jwk(), "RS384"), "RS384", Algorithm::RS384),
            (with_alg(rsa_jwk(), "RS512"), "RS512", Algorithm::RS512),
            (with_alg(rsa_jwk(), "PS256"), "PS256", Algorithm::PS256),
            (with_alg(rsa_jwk(), "PS384"), "PS384", Algorithm::PS384),
            (with_alg(rsa_jwk(), "PS512"), "PS512", Algorithm::PS512),
            (ec_jwk("P-256"), "ES256", Algorithm::ES256),
            (ec_jwk("P-384"), "ES384", Algorithm::ES384),
            (ed25519_jwk(), "EdDSA", Algorithm::EdDSA),
        ] {
            let jwt = assertion(&JwtSigner::private(&jwk.to_string()).unwrap());
            let header = serde_json::from_slice::<Value>(&part(&jwt, 0)).unwrap();
            assert_eq!(header, json!({"alg": name, "kid": jwk["kid"], "typ": "JWT"}));
            verified(&jwt, &public(&jwk), algorithm);
        }
    }

    #[test]
    fn es512_is_signed_as_rfc_7518_wants_it() {
        let jwk = ec_jwk("P-521");
        let jwt = assertion(&JwtSigner::private(&jwk.to_string()).unwrap());
        assert_eq!(serde_json::from_slice::<Value>(&part(&jwt, 0)).unwrap()["alg"], "ES512");
        let [x, y] = ["x", "y"].map(|name| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap());
        let (message, _) = jwt.rsplit_once('.').unwrap();
        let signature = part(&jwt, 2);
        assert_eq!(signature.len(), 132);
        UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, [&[4][..], &x, &y].concat())
            .verify(message.as_bytes(), &signature)
            .unwrap();
    }

    #[test]
    fn the_claims_are_those_of_rfc_7523_and_no_others() {
        let jwk = ec_jwk("P-256");
        let jwt = assertion(&JwtSigner::private(&jwk.to_string()).unwrap());
        let claims = verified(&jwt, &public(&jwk), Algorithm::ES256);
        assert_eq!(
            claims,
            json!({
                "iss": "the client",
                "sub": "the client",
                "aud": "https://issuer.example",
                "iat": NOW,
                "exp": NOW + 60,
                "jti": claims["jti"],
            })
        );
        assert_eq!(URL_SAFE_NO_PAD.decode(claims["jti"].as_str().unwrap()).unwrap().len(), 16);
    }

    #[test]
    fn no_two_assertions_share_a_jti() {
        let signer = JwtSigner::symmetric("a secret of at least thirty-two bytes").unwrap();
        let seen = (0..100)
            .map(|_| {
                serde_json::from_slice::<Value>(&part(&assertion(&signer), 1)).unwrap()["jti"].to_string()
            })
            .collect::<HashSet<_>>();
        assert_eq!(seen.len(), 100);
    }

    #[test]
    fn a_plain_secret_signs_with_hs256_also_if_it_begins_with_a_brace() {
        for secret in
            ["a secret of at least thirty-two bytes", "{a secret of at least thirty-two bytes", "short"]
        {
            let jwt = assertion(&JwtSigner::symmetric(secret).unwrap());
            assert_eq!(decode_header(&jwt).unwrap().kid, None);
            verified(&jwt, &DecodingKey::from_secret(secret.as_bytes()), Algorithm::HS256);
        }
    }

    #[test]
    fn a_symmetric_jwk_signs_with_its_own_algorithm_and_kid() {
        for (name, algorithm) in
            [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)]
        {
            let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 64]), "alg": name, "kid": "one"});
            let jwt = assertion(&JwtSigner::symmetric(&jwk.to_string()).unwrap());
            assert_eq!(decode_header(&jwt).unwrap().kid.as_deref(), Some("one"));
            verified(&jwt, &DecodingKey::from_secret(&[7; 64]), algorithm);
        }
        assert!(
            JwtSigner::symmetric("{\"kty\":\"oct\",").is_err(),
            "a broken JWK is not taken for a plain secret"
        );
    }

    #[test]
    fn a_kid_cannot_break_out_of_the_header() {
        let mut jwk = ed25519_jwk();
        jwk["kid"] = "\",\"alg\":\"none".into();
        let jwt = assertion(&JwtSigner::private(&jwk.to_string()).unwrap());
        let header = serde_json::from_slice::<Value>(&part(&jwt, 0)).unwrap();
        assert_eq!(header, json!({"alg": "EdDSA", "kid": jwk["kid"], "typ": "JWT"}));
    }
}
