//! Parses private and symmetric keys in JWK form (RFC 7517, RFC 7518 section 6, RFC 8037) into signing keys.
//!
//! Error messages name the expected input and never show a member of the key.

use aws_lc_rs::{
    hmac,
    rsa::{KeyPairComponents, PublicKeyComponents},
    signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::{
    client_auth::signer::Key,
    jwk::{Curve, MODULUS_BITS, RSA, bit_length, uncompressed_point, without_leading_zeros},
};

/// A key with its algorithm (RFC 7518 section 3.1) and its `kid`, if it has one.
pub(super) struct SigningKey {
    pub(super) key: Key,
    pub(super) algorithm: &'static str,
    pub(super) kid: Option<String>,
}

/// A private key for `private_key_jwt`.
pub(super) fn private(json: &str) -> Result<SigningKey, String> {
    let jwk = Jwk::parse(json)?;
    let (key, algorithm) = match jwk.kty.as_str() {
        "RSA" => rsa(&jwk)?,
        "EC" => ec(&jwk)?,
        "OKP" => okp(&jwk)?,
        "oct" => return Err("a symmetric key cannot be used: expected a private RSA, EC or OKP key".into()),
        _ => return Err("the JWK's \"kty\" is unknown: expected RSA, EC or OKP".into()),
    };
    Ok(SigningKey { key, algorithm, kid: jwk.kid })
}

/// A symmetric key for `client_secret_jwt`.
pub(super) fn symmetric(json: &str) -> Result<SigningKey, String> {
    let jwk = Jwk::parse(json)?;
    if jwk.kty != "oct" {
        return Err("the JWK's \"kty\" must be \"oct\": expected a symmetric key".into());
    }
    let (algorithm, hash) = match jwk.alg.as_deref() {
        None | Some("HS256") => ("HS256", hmac::HMAC_SHA256),
        Some("HS384") => ("HS384", hmac::HMAC_SHA384),
        Some("HS512") => ("HS512", hmac::HMAC_SHA512),
        Some(_) => return Err("the JWK's \"alg\" does not fit: expected HS256, HS384 or HS512".into()),
    };
    let secret = bytes("k", jwk.k.as_ref())?;
    if secret.is_empty() {
        return Err("the JWK's \"k\" is empty".into());
    }
    Ok(SigningKey { key: Key::hmac(hash, &secret), algorithm, kid: jwk.kid })
}

fn rsa(jwk: &Jwk) -> Result<(Key, &'static str), String> {
    let alg = jwk.alg.as_deref().unwrap_or("RS256");
    let (algorithm, _, encoding) = RSA.into_iter().find(|(algorithm, ..)| algorithm.name() == alg).ok_or(
        "the JWK's \"alg\" does not fit an RSA key: expected RS256, RS384, RS512, PS256, PS384 or PS512",
    )?;
    let (n, e, d) = (bytes("n", jwk.n.as_ref())?, bytes("e", jwk.e.as_ref())?, bytes("d", jwk.d.as_ref())?);
    let (n, e) = (without_leading_zeros(&n), without_leading_zeros(&e));
    let (bits, least) = (bit_length(n), *MODULUS_BITS.start());
    if bits < least {
        return Err(format!("the RSA key has {bits} bits: expected at least {least}"));
    }
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d,
        p: bytes("p", jwk.p.as_ref())?,
        q: bytes("q", jwk.q.as_ref())?,
        dP: bytes("dp", jwk.dp.as_ref())?,
        dQ: bytes("dq", jwk.dq.as_ref())?,
        qInv: bytes("qi", jwk.qi.as_ref())?,
    };
    let pair = RsaKeyPair::from_components(&components).map_err(
        |_| "the RSA key is not valid: its members do not fit together, or it has more than 8192 bits",
    )?;
    Ok((Key::Rsa(Box::new(pair), encoding), algorithm.name()))
}

fn ec(jwk: &Jwk) -> Result<(Key, &'static str), String> {
    let curve = jwk.crv.as_deref().and_then(Curve::from_name);
    let curve = curve.ok_or("the EC key's \"crv\" must be P-256, P-384 or P-521")?;
    let (algorithm, size) = (curve.algorithm.name(), curve.length);
    if jwk.alg.as_deref().is_some_and(|alg| alg != algorithm) {
        return Err(format!("the JWK's \"alg\" does not fit its curve: expected {algorithm}"));
    }
    let (x, y, d) = (bytes("x", jwk.x.as_ref())?, bytes("y", jwk.y.as_ref())?, bytes("d", jwk.d.as_ref())?);
    if [&x, &y, &d].iter().any(|member| member.len() != size) {
        return Err(format!(
            "the EC key's \"x\", \"y\" and \"d\" must be {size} bytes each (RFC 7518 section 6.2)"
        ));
    }
    let pair = EcdsaKeyPair::from_private_key_and_public_key(curve.signing, &d, &uncompressed_point(&x, &y))
        .map_err(|_| "the EC key is not valid: its members do not fit together")?;
    Ok((Key::Ec(Box::new(pair)), algorithm))
}

fn okp(jwk: &Jwk) -> Result<(Key, &'static str), String> {
    if jwk.crv.as_deref() != Some("Ed25519") {
        return Err("the OKP key's \"crv\" must be Ed25519".into());
    }
    let algorithm = match jwk.alg.as_deref() {
        None | Some("EdDSA") => "EdDSA",
        // The fully specified name of the same algorithm, RFC 9864.
        Some("Ed25519") => "Ed25519",
        Some(_) => return Err("the JWK's \"alg\" does not fit an Ed25519 key: expected EdDSA".into()),
    };
    let (x, d) = (bytes("x", jwk.x.as_ref())?, bytes("d", jwk.d.as_ref())?);
    let pair = Ed25519KeyPair::from_seed_and_public_key(&d, &x)
        .map_err(|_| "the Ed25519 key is not valid: its members do not fit together")?;
    Ok((Key::Ed25519(Box::new(pair)), algorithm))
}

/// The supported members; others are ignored (RFC 7517 section 4). Duplicates are rejected.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    alg: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    k: Option<Member>,
    n: Option<Member>,
    e: Option<Member>,
    d: Option<Member>,
    p: Option<Member>,
    q: Option<Member>,
    dp: Option<Member>,
    dq: Option<Member>,
    qi: Option<Member>,
    x: Option<Member>,
    y: Option<Member>,
}

impl Jwk {
    fn parse(json: &str) -> Result<Self, String> {
        if json.trim_start().starts_with("-----BEGIN") {
            return Err("PEM is not supported here: expected a JWK as JSON".into());
        }
        // The text of the parser's error may quote the key.
        let jwk = serde_json::from_str::<Self>(json).map_err(|error| {
            format!(
                "not a valid JWK (line {}, column {}): expected one key as a JSON object with \"kty\", not a key set",
                error.line(),
                error.column()
            )
        })?;
        let signs = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
            && jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "sign"));
        if signs { Ok(jwk) } else { Err("the JWK's \"use\" or \"key_ops\" does not allow signing".into()) }
    }
}

/// One base64url member, wiped when dropped.
struct Member(Zeroizing<String>);

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

fn bytes(name: &str, member: Option<&Member>) -> Result<Zeroizing<Vec<u8>>, String> {
    let text = member.ok_or_else(|| match name {
        "d" => "the JWK has no \"d\": expected the private key, not the public one".to_owned(),
        name => format!("the JWK has no \"{name}\""),
    })?;
    URL_SAFE_NO_PAD
        .decode(text.0.as_bytes())
        .map(Zeroizing::new)
        .map_err(|_| format!("the JWK's \"{name}\" is not base64url without padding"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client_auth::testing::{ec_jwk, ed25519_jwk, rsa_jwk};

    fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
        jwk[name] = value.into();
        jwk
    }

    fn without(mut jwk: Value, name: &str) -> Value {
        jwk.as_object_mut().unwrap().remove(name).unwrap();
        jwk
    }

    fn refusal(jwk: &Value) -> String {
        let problem = private(&jwk.to_string()).err().unwrap();
        for (name, member) in jwk.as_object().unwrap() {
            let member = member.as_str().unwrap_or_default();
            assert!(member.len() < 16 || !problem.contains(member), "{name} is shown: {problem}");
        }
        problem
    }

    #[test]
    fn the_algorithm_follows_from_key_and_alg() {
        let algorithm = |jwk: Value| private(&jwk.to_string()).map(|key| key.algorithm);
        assert_eq!(algorithm(rsa_jwk()), Ok("RS256"));
        for name in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"] {
            assert_eq!(algorithm(with(rsa_jwk(), "alg", name)), Ok(name));
        }
        for (curve, name) in [("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512")] {
            assert_eq!(algorithm(ec_jwk(curve)), Ok(name));
            assert_eq!(algorithm(with(ec_jwk(curve), "alg", name)), Ok(name));
        }
        for (alg, name) in [(json!(null), "EdDSA"), (json!("EdDSA"), "EdDSA"), (json!("Ed25519"), "Ed25519")]
        {
            assert_eq!(algorithm(with(ed25519_jwk(), "alg", alg)), Ok(name));
        }
    }

    #[test]
    fn an_algorithm_of_another_key_is_refused() {
        for (jwk, alg) in [
            (rsa_jwk(), "ES256"),
            (rsa_jwk(), "HS256"),
            (rsa_jwk(), "none"),
            (ec_jwk("P-256"), "ES384"),
            (ec_jwk("P-521"), "RS256"),
            (ed25519_jwk(), "ES256"),
        ] {
            assert!(refusal(&with(jwk, "alg", alg)).contains("\"alg\" does not fit"));
        }
    }

    #[test]
    fn a_public_key_is_refused() {
        for jwk in [rsa_jwk(), ec_jwk("P-256"), ed25519_jwk()] {
            assert!(refusal(&without(jwk, "d")).contains("expected the private key, not the public one"));
        }
    }

    #[test]
    fn each_missing_member_is_named() {
        for name in ["n", "e", "p", "q", "dp", "dq", "qi"] {
            assert_eq!(refusal(&without(rsa_jwk(), name)), format!("the JWK has no \"{name}\""));
        }
        for name in ["x", "y"] {
            assert_eq!(refusal(&without(ec_jwk("P-384"), name)), format!("the JWK has no \"{name}\""));
        }
        assert!(refusal(&without(ec_jwk("P-384"), "crv")).contains("\"crv\""));
    }

    #[test]
    fn a_key_that_is_too_weak_or_of_another_kind_is_refused() {
        let modulus = URL_SAFE_NO_PAD.encode([0xff; 128]);
        assert!(refusal(&with(rsa_jwk(), "n", modulus)).contains("1024 bits: expected at least 2048"));
        let modulus = [&[0][..], &[0x7f], &[0xff; 255]].concat();
        assert!(refusal(&with(rsa_jwk(), "n", URL_SAFE_NO_PAD.encode(modulus))).contains("2047 bits"));
        assert!(refusal(&json!({"kty": "oct", "k": "AAAA"})).contains("symmetric key cannot be used"));
        assert!(refusal(&json!({"kty": "AKP"})).contains("RSA, EC or OKP"));
        assert!(refusal(&with(ec_jwk("P-256"), "crv", "secp256k1")).contains("P-256, P-384 or P-521"));
        assert!(refusal(&with(ed25519_jwk(), "crv", "X25519")).contains("Ed25519"));
    }

    #[test]
    fn members_that_do_not_fit_together_are_refused() {
        let other = ec_jwk("P-256");
        assert!(refusal(&with(ec_jwk("P-256"), "d", other["d"].clone())).contains("do not fit together"));
        let other = ed25519_jwk();
        assert!(refusal(&with(ed25519_jwk(), "x", other["x"].clone())).contains("do not fit together"));
        let swapped = with(rsa_jwk(), "p", rsa_jwk()["q"].clone());
        assert!(refusal(&swapped).contains("do not fit together"));
        assert!(refusal(&with(ec_jwk("P-256"), "x", "AAAA")).contains("32 bytes each"));
        assert!(refusal(&with(ec_jwk("P-256"), "d", "not+base64/url")).contains("\"d\" is not base64url"));
    }

    #[test]
    fn a_zero_in_front_of_the_modulus_is_tolerated() {
        let modulus = URL_SAFE_NO_PAD.decode(rsa_jwk()["n"].as_str().unwrap()).unwrap();
        let padded = URL_SAFE_NO_PAD.encode([&[0][..], &modulus].concat());
        assert!(private(&with(rsa_jwk(), "n", padded).to_string()).is_ok());
    }

    #[test]
    fn what_is_no_key_for_signing_is_refused_without_being_quoted() {
        let pem = "-----BEGIN PRIVATE KEY-----\nhunter2hunter2\n-----END PRIVATE KEY-----";
        assert!(private(pem).err().unwrap().contains("PEM is not supported here"));
        for text in
            ["hunter2", "{\"kty\":\"hunter2", "{\"kty\":[\"hunter2\"]}", "{\"keys\":[]}", "\"hunter2\"", ""]
        {
            let problem = private(text).err().unwrap();
            assert!(problem.contains("not a valid JWK") && !problem.contains("hunter2"), "{problem}");
        }
        assert!(private(r#"{"kty":"EC","d":"AA","d":"AB"}"#).err().unwrap().contains("not a valid JWK"));
        assert!(refusal(&with(ec_jwk("P-256"), "use", "enc")).contains("does not allow signing"));
        assert!(
            refusal(&with(ec_jwk("P-256"), "key_ops", json!(["verify"]))).contains("does not allow signing")
        );
        assert!(private(&with(ec_jwk("P-256"), "key_ops", json!(["sign"])).to_string()).is_ok());
    }

    #[test]
    fn a_symmetric_key_chooses_its_hash() {
        let key = |jwk: Value| symmetric(&jwk.to_string()).map(|key| key.algorithm);
        let oct = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 64])});
        assert_eq!(key(oct.clone()), Ok("HS256"));
        for name in ["HS256", "HS384", "HS512"] {
            assert_eq!(key(with(oct.clone(), "alg", name)), Ok(name));
        }
        assert!(key(with(oct.clone(), "alg", "RS256")).unwrap_err().contains("HS256, HS384 or HS512"));
        assert!(key(with(oct.clone(), "k", "")).unwrap_err().contains("is empty"));
        assert!(key(without(oct, "k")).unwrap_err().contains("no \"k\""));
        assert!(key(rsa_jwk()).unwrap_err().contains("must be \"oct\""));
    }
}
