use serde_json::json;

use super::*;
use crate::jwt::testing::{TestSigner, b64};

fn algorithms(jwk: &Value) -> Vec<Algorithm> {
    let Ok(key) = VerifyingKey::from_jwk(jwk) else { return Vec::new() };
    assert!(!key.parsed.is_empty(), "a key that fits nothing is no key: {jwk}");
    key.parsed.iter().map(|(algorithm, _)| *algorithm).collect()
}

/// Returns an odd number with this many bits.
fn modulus(bits: usize) -> Vec<u8> {
    let mut number = vec![0xa5; bits.div_ceil(8)];
    number[0] = 1 << ((bits - 1) % 8);
    number
}

fn rsa_jwk(n: impl AsRef<[u8]>, e: impl AsRef<[u8]>) -> Value {
    json!({"kty": "RSA", "n": b64(n), "e": b64(e)})
}

#[test]
fn verifies_what_the_private_key_signed() {
    for &algorithm in Algorithm::ALL {
        let signer = TestSigner::new(algorithm);
        let key = VerifyingKey::from_jwk(&signer.jwk(json!({"kid": "k"}))).unwrap();
        let parsed = key.parsed_for(algorithm).unwrap();
        assert_eq!(key.kid(), Some("k"));
        parsed.verify_sig(b"message", &signer.sign(algorithm, b"message")).unwrap();
        parsed.verify_sig(b"massage", &signer.sign(algorithm, b"message")).unwrap_err();
    }
}

#[test]
fn a_key_fits_the_algorithms_of_its_type_only() {
    assert_eq!(algorithms(&TestSigner::new(Algorithm::RS256).jwk(json!({}))), Algorithm::ALL[..6]);
    for &algorithm in &Algorithm::ALL[6..] {
        assert_eq!(algorithms(&TestSigner::new(algorithm).jwk(json!({}))), [algorithm]);
    }
}

#[test]
fn alg_pins_the_key() {
    for &of_key in Algorithm::ALL {
        let signer = TestSigner::new(of_key);
        let fits = algorithms(&signer.jwk(json!({})));
        for &pinned in Algorithm::ALL {
            let expected: &[_] = if fits.contains(&pinned) { &[pinned] } else { &[] };
            assert_eq!(algorithms(&signer.jwk(json!({"alg": pinned.name()}))), expected, "{of_key} {pinned}");
        }
        for odd in [json!("none"), json!("HS256"), json!("RSA-OAEP"), json!("rs256"), json!(""), json!(1)] {
            assert_eq!(algorithms(&signer.jwk(json!({"alg": odd}))), [], "{of_key} {odd}");
        }
    }
    assert_eq!(
        algorithms(&TestSigner::new(Algorithm::EdDSA).jwk(json!({"alg": "Ed25519"}))),
        [Algorithm::EdDSA]
    );
}

#[test]
fn a_key_that_is_not_for_verifying_is_skipped() {
    let signer = TestSigner::new(Algorithm::ES256);
    for skipped in [
        json!({"use": "enc"}),
        json!({"use": ""}),
        json!({"use": "SIG"}),
        json!({"use": ["sig"]}),
        json!({"key_ops": []}),
        json!({"key_ops": ["sign"]}),
        json!({"key_ops": ["deriveKey", "encrypt"]}),
        json!({"key_ops": "verify"}),
        json!({"key_ops": {"verify": true}}),
        json!({"key_ops": ["verify"], "use": "enc"}),
    ] {
        assert_eq!(algorithms(&signer.jwk(skipped.clone())), [], "{skipped}");
    }
    for used in [
        json!({"use": "sig"}),
        json!({"key_ops": ["verify"]}),
        json!({"key_ops": ["sign", "verify"], "use": "sig"}),
        json!({"use": null, "key_ops": null, "alg": null, "kid": null, "x5c": null}),
    ] {
        assert_eq!(algorithms(&signer.jwk(used.clone())), [Algorithm::ES256], "{used}");
    }
}

#[test]
fn keys_of_other_types_and_malformed_keys_are_skipped() {
    let ec = TestSigner::new(Algorithm::ES256);
    let ed = TestSigner::new(Algorithm::EdDSA);
    let p384 = TestSigner::new(Algorithm::ES384).jwk(json!({}));
    let x = ec.jwk(json!({}))["x"].as_str().unwrap().to_owned();
    let point = [&x, ec.jwk(json!({}))["y"].as_str().unwrap()]
        .map(|one| URL_SAFE_NO_PAD.decode(one).unwrap())
        .concat();
    for jwk in [
        json!(null),
        json!([]),
        json!("RSA"),
        json!({}),
        json!({"kty": 7}),
        json!({"kty": "oct", "k": b64([7; 32]), "alg": "HS256"}),
        json!({"kty": "oct", "k": b64([7; 32])}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": b64([7; 1312])}),
        json!({"kty": "RSA"}),
        json!({"kty": "EC", "crv": "P-256"}),
        json!({"kty": "OKP", "crv": "Ed25519"}),
        ec.jwk(json!({"kty": "ec"})),
        ec.jwk(json!({"kid": 7})),
        ec.jwk(json!({"kid": "k".repeat(MAX_KID + 1)})),
        ec.jwk(json!({"crv": "secp256k1"})),
        ec.jwk(json!({"crv": "P-384"})),
        ec.jwk(json!({"crv": null})),
        ec.jwk(json!({"x": p384["x"], "y": p384["y"]})),
        ec.jwk(json!({"x": format!("{x}=A")})),
        ec.jwk(json!({"x": format!(" {x}")})),
        ec.jwk(json!({"x": b64([0; 31])})),
        ec.jwk(json!({"x": b64(&point[..31]), "y": b64(&point[31..])})),
        ec.jwk(json!({"x": b64([0; 33])})),
        ec.jwk(json!({"x": b64([0; 32]), "y": b64([0; 32])})),
        ec.jwk(json!({"x": b64([1; 32]), "y": b64([1; 32])})),
        ec.jwk(json!({"x": [1], "y": null})),
        ed.jwk(json!({"crv": "Ed448"})),
        ed.jwk(json!({"crv": "X25519"})),
        ed.jwk(json!({"x": b64([7; 31])})),
        ed.jwk(json!({"x": b64([7; 33])})),
        ed.jwk(json!({"x": b64(ed.spki())})),
        ed.jwk(json!({"x": ""})),
    ] {
        assert_eq!(algorithms(&jwk), [], "{jwk}");
    }
    assert_eq!(algorithms(&ec.jwk(json!({"kid": "k".repeat(MAX_KID)}))), [Algorithm::ES256]);
}

#[test]
fn rsa_moduli_have_2048_to_8192_bits() {
    const E: [u8; 3] = [1, 0, 1];
    for bits in [2048, 2049, 3072, 4096, 8191, 8192] {
        assert_eq!(algorithms(&rsa_jwk(modulus(bits), E)).len(), 6, "{bits}");
    }
    for bits in [1, 8, 512, 1024, 2040, 2047, 8193, 8200, 16_384, 100_000] {
        assert_eq!(algorithms(&rsa_jwk(modulus(bits), E)), [], "{bits}");
    }
    let padded = [vec![0; 256], modulus(1024)].concat();
    assert_eq!(algorithms(&rsa_jwk(padded, E)), [], "leading zeros do not count");
    let mut even = modulus(2048);
    even[255] = 2;
    assert_eq!(algorithms(&rsa_jwk(even, E)), []);
    assert_eq!(algorithms(&rsa_jwk("", E)), []);
    assert_eq!(algorithms(&rsa_jwk([0; 256], E)), []);
}

#[test]
fn rsa_exponents_are_odd_and_from_3_to_33_bits() {
    for e in [&[3][..], &[17], &[1, 0, 1], &[0, 1, 0, 1], &[1, 0xff, 0xff, 0xff, 0xff]] {
        assert_eq!(algorithms(&rsa_jwk(modulus(2048), e)).len(), 6, "{e:?}");
    }
    for e in [&[][..], &[0], &[1], &[2], &[0, 1], &[1, 0, 0], &[2, 0, 0, 0, 1], &[1; 8], &[1; 9], &[1; 256]] {
        assert_eq!(algorithms(&rsa_jwk(modulus(2048), e)), [], "{e:?}");
    }
}

#[test]
fn a_zero_byte_in_front_of_the_modulus_does_not_matter() {
    let signer = TestSigner::new(Algorithm::RS256);
    let n = URL_SAFE_NO_PAD.decode(signer.jwk(json!({}))["n"].as_str().unwrap()).unwrap();
    let key = VerifyingKey::from_jwk(&signer.jwk(json!({"n": b64([vec![0], n].concat())}))).unwrap();
    let signature = signer.sign(Algorithm::PS256, b"message");
    key.parsed_for(Algorithm::PS256).unwrap().verify_sig(b"message", &signature).unwrap();
}

#[test]
fn padding_the_standard_alphabet_and_a_zero_byte_do_not_matter() {
    let standard = |text: &Value| text.as_str().unwrap().replace('-', "+").replace('_', "/");
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::ES512, Algorithm::EdDSA] {
        let signer = TestSigner::new(algorithm);
        let signature = signer.sign(algorithm, b"message");
        let verifies = |jwk: &Value| {
            let key = VerifyingKey::from_jwk(jwk).unwrap();
            key.parsed_for(algorithm).unwrap().verify_sig(b"message", &signature).unwrap();
        };
        let mut jwk = signer.jwk(json!({}));
        for name in ["n", "e", "x", "y"] {
            let Some(text) = jwk.get(name).map(standard) else { continue };
            let padding = "=".repeat((4 - text.len() % 4) % 4);
            jwk[name] = format!("{text}{padding}").into();
        }
        verifies(&jwk);
        for name in ["n", "e", "x", "y"] {
            let Some(text) = signer.jwk(json!({})).get(name).and_then(Value::as_str).map(str::to_owned)
            else {
                continue;
            };
            let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
            jwk[name] = b64([&[0], &*bytes].concat()).into();
        }
        // An Ed25519 coordinate is little endian and has a fixed length, so an additional byte makes another key.
        if algorithm == Algorithm::EdDSA {
            assert_eq!(VerifyingKey::from_jwk(&jwk).unwrap_err(), Unusable::Malformed);
        } else {
            verifies(&jwk);
        }
    }
}

#[test]
fn a_coordinate_without_its_leading_zeros_is_the_same_number() {
    // About one key in 256 has such a coordinate.
    let (signer, jwk) = std::iter::repeat_with(|| TestSigner::new(Algorithm::ES256))
        .map(|signer| {
            let jwk = signer.jwk(json!({}));
            (signer, jwk)
        })
        .find(|(_, jwk)| {
            let x = jwk["x"].as_str().unwrap();
            x.starts_with('A') && x.as_bytes()[1] < b'Q' && x.as_bytes()[1] >= b'A'
        })
        .unwrap();
    let x = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
    let key = VerifyingKey::from_jwk(&signer.jwk(json!({"x": b64(without_leading_zeros(&x))}))).unwrap();
    let signature = signer.sign(Algorithm::ES256, b"message");
    key.parsed_for(Algorithm::ES256).unwrap().verify_sig(b"message", &signature).unwrap();
}

#[test]
fn an_ed25519_key_of_small_order_is_refused_in_every_encoding() {
    let little = |first: u8, rest: u8| [&[first][..], &[rest; 31]].concat();
    let order_8 = [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ]
    .map(|hex| {
        (0..32)
            .map(|n| u8::from_str_radix(hex.get(2 * n..2 * n + 2).unwrap(), 16).unwrap())
            .collect::<Vec<_>>()
    });
    let mut keys = vec![little(0, 0), little(1, 0)];
    keys.extend(order_8);
    // p - 1, and everything from p to 2^255 - 1.
    keys.extend((0xec..=0xff).map(|first| {
        let mut key = little(first, 0xff);
        key[31] = 0x7f;
        key
    }));
    for mut key in keys {
        for sign in [0, 0x80] {
            key[31] = key[31] & 0x7f | sign;
            let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(&key)});
            assert_eq!(VerifyingKey::from_jwk(&jwk).unwrap_err(), Unusable::Malformed, "{key:x?}");
        }
    }
    for _ in 0..20 {
        VerifyingKey::from_jwk(&TestSigner::new(Algorithm::EdDSA).jwk(json!({}))).unwrap();
    }
}

#[test]
fn debug_shows_neither_private_members_nor_the_key() {
    let signer = TestSigner::new(Algorithm::ES256);
    let key = VerifyingKey::from_jwk(&signer.jwk(json!({"kid": "k", "d": b64([7; 32])}))).unwrap();
    assert_eq!(format!("{key:?}"), r#"VerifyingKey { kid: Some("k"), kty: "EC", alg: [ES256] }"#);
}
