//! Minted JWTs and the keys that verify them.

use actix_protect_api::test::{Algorithm, Endpoint, JwtOptions, Rotation, TestIssuer, TestKey, bearer};
use aws_lc_rs::{
    rsa::{KeyPairComponents, PublicKeyComponents},
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING,
        ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, EcdsaKeyPair, Ed25519KeyPair,
        RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};

use super::{decoded, get, introspect, is_active};

const ALL: [Algorithm; 10] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::ES512,
    Algorithm::EdDSA,
];

fn jwks(issuer: &TestIssuer) -> Value {
    get(&issuer.url(Endpoint::Jwks)).json()
}

fn kids(issuer: &TestIssuer) -> Vec<String> {
    jwks(issuer)["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

/// Verifies the token as a client with the published keys does.
fn verified(issuer: &TestIssuer, token: &str) -> Result<Value, String> {
    let text = |error: jsonwebtoken::errors::Error| error.to_string();
    let header = decode_header(token).map_err(text)?;
    let set: JwkSet = serde_json::from_value(jwks(issuer)).unwrap();
    let jwk = set.find(header.kid.as_deref().ok_or("no kid")?).ok_or("unknown key")?;
    let key = DecodingKey::from_jwk(jwk).map_err(text)?;
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[issuer.issuer()]);
    validation.set_audience(&[issuer.audience()]);
    validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
    decode::<Value>(token, &key, &validation).map(|data| data.claims).map_err(text)
}

fn bytes(jwk: &Value, member: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap_or_else(|| panic!("{member}"))).unwrap()
}

#[test]
fn a_header_carries_a_token_with_the_claims() {
    let issuer = TestIssuer::start();
    let (name, value) = issuer.bearer(json!({ "sub": "alice" }));
    let token = value.strip_prefix("Bearer ").unwrap();
    assert_eq!((name, value.as_str()), ("Authorization", bearer(token).1.as_str()));
    assert_eq!(verified(&issuer, token).unwrap()["sub"], "alice");
}

#[test]
fn a_jwt_is_what_rfc_9068_describes() {
    let issuer = TestIssuer::start();
    let token = issuer.jwt(json!({ "sub": "alice", "scope": "read" }));
    let (header, claims) = decoded(&token);
    assert_eq!(header, json!({ "alg": "ES256", "typ": "at+jwt", "kid": "es256-1" }));
    assert_eq!(verified(&issuer, &token).unwrap(), claims);
    for (name, value) in [
        ("iss", json!(issuer.issuer())),
        ("aud", json!(issuer.audience())),
        ("sub", json!("alice")),
        ("client_id", json!("app")),
        ("scope", json!("read")),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    assert_ne!(decoded(&issuer.jwt(json!({}))).1["jti"], claims["jti"]);
    assert_eq!(decoded(&issuer.jwt(json!({}))).1["sub"], "app");
    assert_eq!(decoded(&issuer.jwt(json!({ "sub": null }))).1.get("sub"), None);

    let mut answer = introspect(&issuer, &token).json();
    assert_eq!(answer.as_object_mut().unwrap().remove("active"), Some(json!(true)));
    assert_eq!(answer, claims);
    issuer.revoke(&token);
    assert!(!is_active(&issuer, &token));
}

#[test]
fn every_algorithm_verifies_with_the_published_key() {
    let issuer = TestIssuer::builder().algorithms(ALL).start();
    assert_eq!(kids(&issuer).len(), ALL.len());
    let mut tokens = Vec::new();
    for algorithm in ALL {
        let token = issuer.jwt_with(JwtOptions::new().algorithm(algorithm), json!({}));
        assert_eq!(decoded(&token).0["alg"], algorithm.name());
        // jsonwebtoken has no ES512.
        if algorithm == Algorithm::ES512 {
            assert!(verifies_p521(&jwks(&issuer), &token));
        } else {
            verified(&issuer, &token).unwrap_or_else(|error| panic!("{algorithm:?}: {error}"));
        }
        tokens.push(token);
    }
    issuer.rotate_keys(Rotation::SameKid);
    for token in &tokens {
        assert!(verified(&issuer, token).is_err());
    }
    assert!(!verifies_p521(&jwks(&issuer), &tokens[8]));
}

fn verifies_p521(jwks: &Value, token: &str) -> bool {
    let jwk = jwks["keys"].as_array().unwrap().iter().find(|key| key["alg"] == "ES512").unwrap();
    assert_eq!((&jwk["crv"], bytes(jwk, "x").len(), bytes(jwk, "y").len()), (&json!("P-521"), 66, 66));
    let point = [vec![4], bytes(jwk, "x"), bytes(jwk, "y")].concat();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, &point).verify(signed.as_bytes(), &signature).is_ok()
}

#[test]
fn secrets_and_missing_signatures_are_not_published() {
    let issuer = TestIssuer::start();
    let unsigned = issuer.jwt_with(JwtOptions::new().algorithm(Algorithm::None), json!({}));
    assert!(unsigned.ends_with('.'));
    assert_eq!(decoded(&unsigned).0["alg"], "none");

    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let token = issuer.jwt_with(JwtOptions::new().algorithm(algorithm), json!({}));
        let secret = bytes(&issuer.key(algorithm).jwk(), "k");
        let mut validation = Validation::new(decode_header(&token).unwrap().alg);
        validation.set_audience(&[issuer.audience()]);
        decode::<Value>(&token, &DecodingKey::from_secret(&secret), &validation).unwrap();
    }
    assert_eq!(kids(&issuer), ["es256-1"]);

    let pem = issuer.key(Algorithm::ES256).public_pem();
    let confused =
        issuer.jwt_with(JwtOptions::new().key(&TestKey::hmac(pem.as_bytes(), "es256-1")), json!({}));
    let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
    validation.set_audience(&[issuer.audience()]);
    decode::<Value>(&confused, &DecodingKey::from_secret(pem.as_bytes()), &validation).unwrap();
    assert!(verified(&issuer, &confused).is_err());
}

#[test]
fn header_and_payload_can_be_anything() {
    let issuer = TestIssuer::start();
    let options =
        || JwtOptions::new().header("typ", "JWT").header("crit", json!(["x"])).header("kid", Value::Null);
    let (header, _) = decoded(&issuer.jwt_with(options(), json!({})));
    assert_eq!(header, json!({ "alg": "ES256", "typ": "JWT", "crit": ["x"] }));
    assert_eq!(decoded(&issuer.jwt_with(options().kid("../k"), json!({}))).0["kid"], "../k");

    let lying = issuer.jwt_with(JwtOptions::new().header("alg", "HS256"), json!({}));
    assert_eq!(decoded(&lying).0["alg"], "HS256");
    assert!(verified(&issuer, &lying).is_err());

    let raw_header = r#"{"alg":"ES256","alg":"none"}"#;
    let token = issuer.jwt_with(JwtOptions::new().raw_header(raw_header).raw_payload("[]"), json!({}));
    let parts: Vec<_> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    assert_eq!((parts[0].as_slice(), parts[1].as_slice()), (raw_header.as_bytes(), &b"[]"[..]));
}

#[test]
fn a_key_of_somebody_else_is_not_published() {
    let issuer = TestIssuer::start();
    let stranger = TestKey::generate(Algorithm::ES256, "es256-1");
    let forged = issuer.jwt_with(JwtOptions::new().key(&stranger), json!({}));
    assert_eq!(verified(&issuer, &forged).unwrap_err(), "InvalidSignature");
    let unknown = issuer.jwt_with(JwtOptions::new().key(&stranger.with_kid("other")), json!({}));
    assert_eq!(verified(&issuer, &unknown).unwrap_err(), "unknown key");
    assert_eq!(kids(&issuer), ["es256-1"]);
}

#[test]
fn rotation_adds_replaces_or_reuses() {
    let issuer = TestIssuer::start();
    let first = issuer.jwt(json!({}));
    issuer.rotate_keys(Rotation::Add);
    let second = issuer.jwt(json!({}));
    assert_eq!(kids(&issuer), ["es256-1", "es256-2"]);
    assert!(verified(&issuer, &first).is_ok() && verified(&issuer, &second).is_ok());

    issuer.rotate_keys(Rotation::SameKid);
    let third = issuer.jwt(json!({}));
    assert_eq!(kids(&issuer), ["es256-1", "es256-2"]);
    assert_eq!(verified(&issuer, &second).unwrap_err(), "InvalidSignature");
    assert!(verified(&issuer, &first).is_ok() && verified(&issuer, &third).is_ok());

    issuer.rotate_keys(Rotation::Replace);
    assert_eq!(kids(&issuer), ["es256-3"]);
    assert_eq!(verified(&issuer, &first).unwrap_err(), "unknown key");
    assert!(verified(&issuer, &issuer.jwt(json!({}))).is_ok());
}

#[test]
fn the_key_set_can_be_replaced_by_anything() {
    let issuer = TestIssuer::start();
    let answer = get(&issuer.url(Endpoint::Jwks));
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.json(), issuer.jwks());
    let mut changed = issuer.jwks();
    changed["keys"].as_array_mut().unwrap().insert(0, json!({ "kty": "odd" }));
    issuer.publish_jwks(changed.clone());
    issuer.set_jwks_content_type("application/json");
    let answer = get(&issuer.url(Endpoint::Jwks));
    assert_eq!((answer.header("content-type"), answer.json()), (Some("application/json"), changed));
    issuer.rotate_keys(Rotation::Replace);
    assert_eq!(kids(&issuer), ["es256-2"]);
}

#[test]
fn private_keys_are_complete_and_public_ones_show_nothing_private() {
    let message = b"message";
    let ec = TestKey::generate(Algorithm::ES256, "k");
    let jwk = ec.private_jwk();
    let point = [vec![4], bytes(&jwk, "x"), bytes(&jwk, "y")].concat();
    EcdsaKeyPair::from_private_key_and_public_key(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &bytes(&jwk, "d"),
        &point,
    )
    .unwrap();

    let ed = TestKey::generate(Algorithm::EdDSA, "k");
    let jwk = ed.private_jwk();
    Ed25519KeyPair::from_seed_and_public_key(&bytes(&jwk, "d"), &bytes(&jwk, "x")).unwrap();

    let rsa = TestKey::generate(Algorithm::RS256, "k");
    let jwk = rsa.private_jwk();
    let member = |name| bytes(&jwk, name);
    let public_key = PublicKeyComponents { n: member("n"), e: member("e") };
    assert_eq!(
        (public_key.n.len(), public_key.n[0] >= 0x80, public_key.e.as_slice()),
        (256, true, &[1, 0, 1][..])
    );
    RsaKeyPair::from_components(&KeyPairComponents {
        public_key: public_key.clone(),
        d: member("d"),
        p: member("p"),
        q: member("q"),
        dP: member("dp"),
        dQ: member("dq"),
        qInv: member("qi"),
    })
    .unwrap();
    public_key.verify(&RSA_PKCS1_2048_8192_SHA256, message, &rsa.sign(message)).unwrap();

    for key in [&ec, &ed, &rsa] {
        let public = key.jwk();
        assert!(["d", "p", "q", "dp", "dq", "qi", "k"].iter().all(|name| public.get(name).is_none()));
        let private = key.private_jwk();
        let debug = format!("{key:?}");
        assert!(!debug.contains(private["d"].as_str().unwrap()), "{debug}");
    }
    for key in [TestKey::generate(Algorithm::ES256, "k"), TestKey::generate(Algorithm::ES384, "k"), ed] {
        let verification: &'static dyn aws_lc_rs::signature::VerificationAlgorithm = match key.algorithm() {
            Algorithm::ES256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::ES384 => &ECDSA_P384_SHA384_FIXED,
            _ => &ED25519,
        };
        UnparsedPublicKey::new(verification, key.public_der()).verify(message, &key.sign(message)).unwrap();
    }
    assert!(
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, ec.public_der())
            .verify(message, &ec.sign(message))
            .is_err()
    );
    let pem = ec.public_pem();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n") && pem.ends_with("\n-----END PUBLIC KEY-----\n"));
    assert!(pem.lines().all(|line| line.len() <= 64));
}

#[test]
fn a_saved_key_is_read_again() {
    for algorithm in ALL.into_iter().chain([Algorithm::HS256, Algorithm::HS512]) {
        let name = algorithm.name();
        let saved = TestKey::generate(algorithm, "saved").private_jwk();
        let again = TestKey::from_private_jwk(&saved).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((again.kid(), again.algorithm()), ("saved", algorithm));
        assert_eq!(again.private_jwk(), saved, "{name}");
        for member in ["alg", "kid", if saved["kty"] == "oct" { "k" } else { "d" }] {
            let mut incomplete = saved.clone();
            incomplete.as_object_mut().unwrap().remove(member);
            assert!(TestKey::from_private_jwk(&incomplete).is_none(), "{name} without {member}");
        }
    }
    let unknown = json!({ "kty": "EC", "alg": "ES255", "kid": "1" });
    assert!(TestKey::from_private_jwk(&unknown).is_none());
}

#[test]
#[should_panic(expected = "cannot use this key with that algorithm")]
fn a_curve_signs_with_one_algorithm() {
    drop(TestKey::generate(Algorithm::ES256, "k").with_algorithm(Algorithm::ES384));
}
