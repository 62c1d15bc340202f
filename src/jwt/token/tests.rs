use std::sync::LazyLock;

use aws_lc_rs::hmac;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::jwt::{
    testing::{TestSigner, b64},
    token::*,
};

const HEADER: &str = r#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#;
const PAYLOAD: &str = r#"{"iss":"https://as.example.test","sub":"alice","exp":1900000000}"#;

/// An issuer with one key, `k`, for one algorithm.
struct Issuer {
    algorithm: Algorithm,
    signer: TestSigner,
    keys: KeySet,
}

impl Default for JwtRules {
    fn default() -> Self {
        Self::new(&Tuning::default())
    }
}

/// The issuer of tests that do not depend on the algorithm.
static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::new(Algorithm::ES256));

impl Issuer {
    fn new(algorithm: Algorithm) -> Self {
        let signer = TestSigner::new(algorithm);
        let keys = key_set(&[signer.jwk(json!({"kid": "k"}))]);
        Self { algorithm, signer, keys }
    }

    fn header(&self) -> String {
        json!({"alg": self.algorithm.name(), "kid": "k"}).to_string()
    }

    fn token(&self) -> String {
        self.signer.token(self.algorithm, &self.header(), PAYLOAD)
    }

    fn verify(&self, token: &str) -> Result<Claims, TokenFault> {
        verify(token, &self.keys, &JwtRules::default())
    }

    /// Signs these two segments without encoding them.
    fn seal(&self, header: &str, payload: &str) -> String {
        let input = format!("{header}.{payload}");
        let signature = b64(self.signer.sign(self.algorithm, input.as_bytes()));
        format!("{input}.{signature}")
    }
}

fn key_set(jwks: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": jwks}).to_string().as_bytes()).unwrap()
}

/// Verifies a token. Returns [`TokenFault::Unsupported`] for an opaque one.
fn verify(token: &str, keys: &KeySet, rules: &JwtRules) -> Result<Claims, TokenFault> {
    Jwt::read(token)?.map_or(Err(TokenFault::Unsupported), |jwt| jwt.verify(keys, rules))
}

/// Verifies a correctly signed token with this header.
fn with_header(header: &str) -> Result<Claims, TokenFault> {
    ISSUER.verify(&ISSUER.signer.token(ISSUER.algorithm, header, PAYLOAD))
}

/// Verifies a correctly signed token with this payload, whose header has no `typ`.
fn with_payload(payload: &str) -> Result<Claims, TokenFault> {
    ISSUER.verify(&ISSUER.signer.token(ISSUER.algorithm, &ISSUER.header(), payload))
}

/// The same, with these claims added to those of a valid token.
fn with_claims(header: &str, claims: &Value) -> Result<Claims, TokenFault> {
    let mut payload: Value = serde_json::from_str(PAYLOAD).unwrap();
    payload.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    ISSUER.verify(&ISSUER.signer.token(ISSUER.algorithm, header, &payload.to_string()))
}

fn segments(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

mod second_opinion;

mod signatures {
    use super::*;

    #[test]
    fn every_algorithm_verifies() {
        for &algorithm in Algorithm::ALL {
            let issuer = Issuer::new(algorithm);
            let claims = issuer.verify(&issuer.token()).unwrap();
            assert_eq!(claims.subject(), Some("alice"), "{algorithm}");
            assert_eq!(claims.issuer(), Some("https://as.example.test"));
            assert_eq!(claims.expires_at(), Some(1_900_000_000));
            let without_kid = json!({"alg": algorithm.name()}).to_string();
            issuer.verify(&issuer.signer.token(algorithm, &without_kid, PAYLOAD)).unwrap();
        }
        let ed = Issuer::new(Algorithm::EdDSA);
        ed.verify(&ed.signer.token(ed.algorithm, r#"{"alg":"Ed25519","kid":"k"}"#, PAYLOAD)).unwrap();
    }

    #[test]
    fn another_key_of_the_same_kid_does_not_verify() {
        for &algorithm in Algorithm::ALL {
            let issuer = Issuer::new(algorithm);
            let forged = TestSigner::other(algorithm).token(algorithm, &issuer.header(), PAYLOAD);
            assert_eq!(issuer.verify(&forged), Err(TokenFault::Signature), "{algorithm}");
        }
    }

    #[test]
    fn a_key_of_another_type_or_curve_is_not_chosen() {
        for &algorithm in Algorithm::ALL {
            let issuer = Issuer::new(algorithm);
            let (is_rsa, name) = (issuer.signer.is_rsa(), algorithm.name());
            let others: Vec<_> = Algorithm::ALL
                .iter()
                .filter(|other| **other != algorithm)
                .map(|other| (TestSigner::new(*other), other.name()))
                .filter(|(signer, _)| !(is_rsa && signer.is_rsa()))
                .map(|(signer, _)| signer.jwk(json!({"kid": "k"})))
                .collect();
            let verdict = verify(&issuer.token(), &key_set(&others), &JwtRules::default());
            assert_eq!(verdict, Err(TokenFault::UnknownKey), "{name}");
        }
    }

    #[test]
    fn the_headers_algorithm_is_the_one_that_verifies() {
        for &signed in &Algorithm::ALL[..6] {
            let issuer = Issuer::new(signed);
            for &said in Algorithm::ALL.iter().filter(|said| **said != signed) {
                let header = json!({"alg": said.name(), "kid": "k"}).to_string();
                let token = issuer.signer.token(signed, &header, PAYLOAD);
                let expected = if Algorithm::ALL[..6].contains(&said) {
                    TokenFault::Signature
                } else {
                    TokenFault::UnknownKey
                };
                assert_eq!(issuer.verify(&token), Err(expected), "{signed} as {said}");
            }
        }
    }

    #[test]
    fn the_keys_own_alg_rules_over_the_headers() {
        let signer = TestSigner::new(Algorithm::RS256);
        let keys = key_set(&[signer.jwk(json!({"kid": "k", "alg": "RS256"}))]);
        for (algorithm, expected) in [
            (Algorithm::RS256, None),
            (Algorithm::RS512, Some(TokenFault::UnknownKey)),
            (Algorithm::PS256, Some(TokenFault::UnknownKey)),
        ] {
            let header = json!({"alg": algorithm.name(), "kid": "k"}).to_string();
            let token = signer.token(algorithm, &header, PAYLOAD);
            assert_eq!(verify(&token, &keys, &JwtRules::default()).err(), expected, "{algorithm}");
        }
    }

    #[test]
    fn parts_of_two_good_tokens_do_not_make_a_third() {
        for &algorithm in Algorithm::ALL {
            let issuer = Issuer::new(algorithm);
            let header = json!({"alg": algorithm.name(), "kid": "k", "typ": "JWT"}).to_string();
            let admin = PAYLOAD.replace("alice", "admin");
            let tokens = [issuer.token(), issuer.signer.token(algorithm, &header, &admin)];
            let parts = [segments(&tokens[0]), segments(&tokens[1])];
            for mix in 0..8_usize {
                let [h, p, s] = [mix & 1, mix >> 1 & 1, mix >> 2 & 1];
                let token = format!("{}.{}.{}", parts[h][0], parts[p][1], parts[s][2]);
                let expected = if h == p && p == s { None } else { Some(TokenFault::Signature) };
                assert_eq!(issuer.verify(&token).err(), expected, "{algorithm} {mix}");
            }
        }
    }

    #[test]
    fn a_changed_signature_does_not_verify() {
        for &algorithm in Algorithm::ALL {
            let issuer = Issuer::new(algorithm);
            let token = issuer.token();
            let [header, payload, signature] = segments(&token);
            let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let mut first = signature.clone();
            first[0] ^= 1;
            let changed = [
                first,
                signature[1..].to_vec(),
                signature[..signature.len() - 1].to_vec(),
                [&signature[..], &[0]].concat(),
                [&[0], &signature[..]].concat(),
                vec![0; signature.len()],
                vec![0xff; signature.len()],
                vec![0],
                vec![0; MAX_SIGNATURE],
                vec![0; MAX_SIGNATURE + 1],
                vec![0; 30_000],
            ];
            for changed in changed {
                let token = format!("{header}.{payload}.{}", b64(&changed));
                assert_eq!(
                    issuer.verify(&token),
                    Err(TokenFault::Signature),
                    "{algorithm} {}",
                    changed.len()
                );
            }
            let empty = format!("{header}.{payload}.");
            assert_eq!(issuer.verify(&empty), Err(TokenFault::Signature), "{algorithm}");
        }
    }

    #[test]
    fn a_signature_is_strict_base64url() {
        let token = ISSUER.token();
        let (input, signature) = token.rsplit_once('.').unwrap();
        let last = char::from(signature.as_bytes()[85] + 1);
        let uncanonical = format!("{}{last}", signature.strip_suffix(|_| true).unwrap());
        for odd in [
            format!("{signature}="),
            format!("{signature}=="),
            format!(" {signature}"),
            format!("{signature}\n"),
            "+/".repeat(43),
            "!".to_owned(),
            "A".to_owned(),
            uncanonical,
        ] {
            assert_eq!(ISSUER.verify(&format!("{input}.{odd}")), Err(TokenFault::Malformed), "{odd}");
        }
    }

    #[test]
    fn the_longest_signature_fits_the_buffer() {
        let decode =
            |length: usize| decode_signature(&b64(vec![7; length]), &mut [0; MAX_SIGNATURE]).map(<[u8]>::len);
        assert_eq!(decode(1), Ok(1));
        assert_eq!(decode(1024), Ok(1024));
        assert_eq!(decode(1025), Err(TokenFault::Signature));
        assert_eq!(decode(0), Err(TokenFault::Signature));
    }

    #[test]
    fn an_ecdsa_signature_in_der_does_not_verify() {
        use aws_lc_rs::{
            rand::SystemRandom,
            signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
        };

        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let keys = key_set(&[json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y), "kid": "k"})]);
        let input = format!("{}.{}", b64(HEADER), b64(PAYLOAD));
        let signature = pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        let token = format!("{input}.{}", b64(signature));
        assert_eq!(verify(&token, &keys, &JwtRules::default()), Err(TokenFault::Signature));
    }

    #[test]
    fn no_flipped_bit_passes() {
        for algorithm in
            [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES512, Algorithm::EdDSA]
        {
            let issuer = Issuer::new(algorithm);
            let good = issuer.token();
            let mut bytes = good.clone().into_bytes();
            let mut read = 0;
            for position in 0..bytes.len() {
                for bit in 0..8 {
                    bytes[position] ^= 1 << bit;
                    if let Ok(token) = str::from_utf8(&bytes) {
                        assert!(issuer.verify(token).is_err(), "{algorithm} {position} {bit}");
                        read += usize::from(matches!(Jwt::read(token), Ok(Some(_))));
                    }
                    bytes[position] ^= 1 << bit;
                }
            }
            assert_eq!(bytes, good.as_bytes());
            // Most of them were not rejected because of their form.
            assert!(read > good.len() * 4, "{algorithm} {read}");
            issuer.verify(&good).unwrap();
        }
    }

    #[test]
    fn the_signature_is_checked_before_the_payload_is_looked_at() {
        let token = ISSUER.token();
        let [header, _, signature] = segments(&token);
        for payload in ["", "!", "e30", "bm90IGpzb24"] {
            let token = format!("{header}.{payload}.{signature}");
            assert_eq!(ISSUER.verify(&token), Err(TokenFault::Signature), "{payload}");
        }
    }
}

mod algorithms {
    use super::*;

    /// Returns the public key in every form that an implementation may use as an HMAC secret.
    fn public_forms(signer: &TestSigner) -> Vec<Vec<u8>> {
        let der = signer.spki();
        let base64 = STANDARD.encode(&der);
        let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
        let jwk = signer.jwk(json!({"kid": "k"}));
        let mut forms: Vec<Vec<u8>> = vec![
            format!("{pem}\n").into(),
            pem.replace('\n', "\r\n").into(),
            format!("  {pem}  ").into(),
            pem.replace('\n', "").into(),
            pem.into(),
            base64.into(),
            der,
            serde_json::to_vec_pretty(&jwk).unwrap(),
            serde_json::to_vec(&json!({"keys": [jwk]})).unwrap(),
            serde_json::to_vec(&jwk).unwrap(),
            Vec::new(),
        ];
        for member in ["n", "x", "y", "e"] {
            if let Some(text) = jwk.get(member).and_then(Value::as_str) {
                forms.push(text.into());
                forms.push(URL_SAFE_NO_PAD.decode(text).unwrap());
            }
        }
        forms
    }

    #[test]
    fn a_public_key_is_no_hmac_secret() {
        for &algorithm in Algorithm::ALL {
            let issuer = Issuer::new(algorithm);
            for secret in public_forms(&issuer.signer) {
                for (name, hash) in [
                    ("HS256", hmac::HMAC_SHA256),
                    ("HS384", hmac::HMAC_SHA384),
                    ("HS512", hmac::HMAC_SHA512),
                    ("hs256", hmac::HMAC_SHA256),
                ] {
                    let header = b64(json!({"alg": name, "kid": "k"}).to_string());
                    let input = format!("{header}.{}", b64(PAYLOAD));
                    let tag = hmac::sign(&hmac::Key::new(hash, &secret), input.as_bytes());
                    let token = format!("{input}.{}", b64(tag));
                    assert_eq!(issuer.verify(&token), Err(TokenFault::Algorithm), "{algorithm} {name}");
                }
                let input = format!("{}.{}", b64(issuer.header()), b64(PAYLOAD));
                let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), input.as_bytes());
                let token = format!("{input}.{}", b64(tag));
                assert_eq!(issuer.verify(&token), Err(TokenFault::Signature), "{algorithm}");
            }
        }
    }

    #[test]
    fn a_symmetric_key_in_the_set_is_not_used() {
        let secret = [7; 32];
        let keys =
            key_set(&[json!({"kty": "oct", "k": b64(secret), "kid": "k", "alg": "HS256", "use": "sig"})]);
        let input = format!("{}.{}", b64(r#"{"alg":"HS256","kid":"k"}"#), b64(PAYLOAD));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), input.as_bytes());
        let token = format!("{input}.{}", b64(tag));
        assert_eq!(verify(&token, &keys, &JwtRules::default()), Err(TokenFault::Algorithm));
        assert!(keys.is_empty());
    }

    #[test]
    fn none_is_refused_in_every_letter_case() {
        for name in ["none", "None", "nOnE", "NONE", "nonE", "", " none", "none\u{0}", "null"] {
            let header = json!({"alg": name, "kid": "k"}).to_string();
            let signed = ISSUER.signer.token(ISSUER.algorithm, &header, PAYLOAD);
            let unsigned = format!("{}.{}.", b64(&header), b64(PAYLOAD));
            for token in [signed, unsigned] {
                assert_eq!(ISSUER.verify(&token), Err(TokenFault::Algorithm), "{name:?}");
            }
        }
    }

    #[test]
    fn names_are_case_sensitive_and_unknown_ones_refused() {
        for name in [
            "es256",
            "Es256",
            "ES256 ",
            "ES256K",
            "ES256-R",
            "RSA1_5",
            "RSA-OAEP",
            "dir",
            "A128KW",
            "ML-DSA-44",
        ] {
            let header = json!({"alg": name, "kid": "k"}).to_string();
            assert_eq!(with_header(&header), Err(TokenFault::Algorithm), "{name:?}");
        }
    }

    #[test]
    fn an_algorithm_outside_the_allow_list_is_refused() {
        for &algorithm in Algorithm::ALL {
            let issuer = Issuer::new(algorithm);
            let others = Algorithm::ALL.iter().copied().filter(|other| *other != algorithm).collect();
            let rules = JwtRules { algorithms: others, ..JwtRules::default() };
            assert_eq!(
                verify(&issuer.token(), &issuer.keys, &rules),
                Err(TokenFault::Algorithm),
                "{algorithm}"
            );
            let rules = JwtRules { algorithms: [algorithm].into(), ..JwtRules::default() };
            verify(&issuer.token(), &issuer.keys, &rules).unwrap();
        }
    }
}

mod headers {
    use super::*;

    #[test]
    fn members_that_occur_twice_are_refused() {
        for header in [
            r#"{"alg":"ES256","alg":"ES256","kid":"k"}"#,
            r#"{"alg":"none","alg":"ES256","kid":"k"}"#,
            r#"{"alg":"ES256","kid":"other","kid":"k"}"#,
            r#"{"alg":"ES256","kid":"k","typ":"JWT","typ":"JWT"}"#,
            r#"{"alg":"ES256","kid":"k","x5t":"a","x5t":"a"}"#,
            r#"{"alg":"ES256","kid":"k","\u0061lg":"ES256"}"#,
            r#"{"alg":"ES256","kid":"k","x5t":1,"x5\u0074":1}"#,
        ] {
            assert_eq!(with_header(header), Err(TokenFault::Malformed), "{header}");
        }
    }

    #[test]
    fn critical_extensions_compression_and_encryption_are_refused() {
        for member in ["crit", "b64", "zip", "enc"] {
            for value in [
                json!(["exp"]),
                json!([]),
                json!(["b64"]),
                json!(null),
                json!(false),
                json!(true),
                json!("DEF"),
                json!(""),
                json!({}),
            ] {
                let header = json!({"alg": "ES256", "kid": "k", member: value}).to_string();
                assert_eq!(with_header(&header), Err(TokenFault::Malformed), "{header}");
            }
        }
        assert_eq!(with_header(r#"{"alg":"ES256","kid":"k","cri\u0074":["x"]}"#), Err(TokenFault::Malformed));
        with_header(r#"{"alg":"ES256","kid":"k","CRIT":[]}"#).unwrap();
        // ForgeRock writes this in tokens without compression.
        with_header(r#"{"alg":"ES256","kid":"k","zip":"NONE"}"#).unwrap();
        for zip in ["none", "NONE ", "DEF", "GZIP"] {
            let header = json!({"alg": "ES256", "kid": "k", "zip": zip}).to_string();
            assert_eq!(with_header(&header), Err(TokenFault::Malformed), "{header}");
        }
        let twice = r#"{"alg":"ES256","kid":"k","zip":"NONE","zip":"NONE"}"#;
        assert_eq!(with_header(twice), Err(TokenFault::Malformed));
    }

    #[test]
    fn kid_is_a_string_where_present() {
        for kid in [json!(null), json!(1), json!(true), json!(["k"]), json!({"k": "k"})] {
            let header = json!({"alg": "ES256", "kid": kid}).to_string();
            assert_eq!(with_header(&header), Err(TokenFault::Malformed), "{header}");
        }
        with_header(r#"{"alg":"ES256","kid":"\u006b"}"#).unwrap();
        with_header(r#"{"alg":"ES256"}"#).unwrap();
    }

    #[test]
    fn an_unknown_or_endless_kid_is_an_unknown_key() {
        for kid in [
            "",
            "K",
            "k ",
            "k\0",
            "../../dev/null",
            "' OR '1'='1",
            "k\u{301}",
            &"k".repeat(257),
            &"k".repeat(10_000),
        ] {
            let header = json!({"alg": "ES256", "kid": kid}).to_string();
            assert_eq!(with_header(&header), Err(TokenFault::UnknownKey), "{kid:?}");
        }
    }

    #[test]
    fn a_key_in_the_header_is_neither_used_nor_fetched() {
        let attacker = TestSigner::new(Algorithm::ES256);
        let jwk = attacker.jwk(json!({"kid": "k"}));
        for member in [
            json!({"jwk": jwk}),
            json!({"jku": "http://127.0.0.1:1/jwks"}),
            json!({"x5u": "http://127.0.0.1:1/x5u"}),
            json!({"x5c": [STANDARD.encode(attacker.spki())]}),
            json!({"x5t": "a", "x5t#S256": "b"}),
        ] {
            let mut header = json!({"alg": "ES256", "kid": "k"});
            header.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
            let header = header.to_string();
            let forged = attacker.token(Algorithm::ES256, &header, PAYLOAD);
            assert_eq!(ISSUER.verify(&forged), Err(TokenFault::Signature), "{member}");
            with_header(&header).unwrap();
        }
    }

    #[test]
    fn typ_is_absent_jwt_or_at_jwt() {
        let strict = JwtRules { require_at_jwt: true, ..JwtRules::default() };
        for (typ, ordinary, at_jwt) in [
            (None, None, Some(TokenFault::Type)),
            (Some(json!("JWT")), None, Some(TokenFault::Type)),
            (Some(json!("jwt")), None, Some(TokenFault::Type)),
            (Some(json!("application/jwt")), None, Some(TokenFault::Type)),
            (Some(json!("Application/JWT")), None, Some(TokenFault::Type)),
            (Some(json!("application/application/jwt")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("application/")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("application/logout+jwt")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("at+jwt")), None, None),
            (Some(json!("AT+JWT")), None, None),
            (Some(json!("application/at+jwt")), None, None),
            (Some(json!("Application/AT+jwt")), None, None),
            (Some(json!("")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("JWS")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("JOSE")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("dpop+jwt")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("logout+jwt")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("secevent+jwt")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("token-introspection+jwt")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("oauth-authz-req+jwt")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("at+jwt ")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("application/application/at+jwt")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!("text/at+jwt")), Some(TokenFault::Type), Some(TokenFault::Type)),
            (Some(json!(null)), Some(TokenFault::Malformed), Some(TokenFault::Malformed)),
            (Some(json!(["at+jwt"])), Some(TokenFault::Malformed), Some(TokenFault::Malformed)),
        ] {
            let mut header = json!({"alg": "ES256", "kid": "k"});
            if let Some(typ) = &typ {
                header["typ"] = typ.clone();
            }
            let token = ISSUER.signer.token(ISSUER.algorithm, &header.to_string(), PAYLOAD);
            assert_eq!(ISSUER.verify(&token).err(), ordinary, "{header}");
            assert_eq!(verify(&token, &ISSUER.keys, &strict).err(), at_jwt, "{header}");
        }
    }

    #[test]
    fn many_or_large_members_are_refused_and_some_are_not() {
        let many = |count: usize| {
            let mut header = json!({"alg": "ES256", "kid": "k"});
            header.as_object_mut().unwrap().extend((0..count).map(|n| (format!("m{n}"), json!([n]))));
            header.to_string()
        };
        with_header(&many(32)).unwrap();
        assert_eq!(with_header(&many(33)), Err(TokenFault::Malformed));
        assert_eq!(with_header(&many(900)), Err(TokenFault::Malformed));
        let long = |length: usize| format!(r#"{{"alg":"ES256","kid":"k","x5c":["{}"]}}"#, "A".repeat(length));
        // Some hundred bytes, and the end of what is taken for a header.
        for length in (460..490).chain([12_200]) {
            with_header(&long(length)).unwrap();
        }
        assert_eq!(with_header(&long(12_300)), Err(TokenFault::Malformed));
        assert_eq!(with_header(&long(48_000)), Err(TokenFault::Malformed), "longer than any JWT");
    }

    #[test]
    fn nesting_in_the_header_does_no_harm() {
        for member in ["alg", "kid", "typ", "jwk", "crit"] {
            for open in ["[", r#"{"a":"#] {
                let header = format!(r#"{{"alg":"ES256","{member}":{}"#, open.repeat(2_000));
                assert_eq!(with_header(&header), Err(TokenFault::Malformed), "{member}");
            }
        }
        let nested = |depth| format!(r#"{{"alg":"ES256","jwk":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        with_header(&nested(126)).unwrap();
        for depth in [128, 4_000] {
            assert_eq!(with_header(&nested(depth)), Err(TokenFault::Malformed), "{depth}");
        }
    }
}

mod keys {
    use super::*;

    #[test]
    fn after_a_rotation_the_same_token_passes_with_the_new_set() {
        let token = ISSUER.token();
        let jwt = Jwt::read(&token).unwrap().unwrap();
        let old = key_set(&[TestSigner::new(Algorithm::ES256).jwk(json!({"kid": "old"}))]);
        assert_eq!(jwt.verify(&old, &JwtRules::default()), Err(TokenFault::UnknownKey));
        assert_eq!(jwt.verify(&key_set(&[]), &JwtRules::default()), Err(TokenFault::UnknownKey));
        jwt.verify(&ISSUER.keys, &JwtRules::default()).unwrap();
    }

    #[test]
    fn a_token_with_kid_does_not_match_keys_without() {
        let keys = key_set(&[ISSUER.signer.jwk(json!({}))]);
        assert_eq!(verify(&ISSUER.token(), &keys, &JwtRules::default()), Err(TokenFault::UnknownKey));
        let without = ISSUER.signer.token(Algorithm::ES256, r#"{"alg":"ES256"}"#, PAYLOAD);
        verify(&without, &keys, &JwtRules::default()).unwrap();
    }

    #[test]
    fn a_token_without_kid_is_tried_with_each_fitting_key() {
        let keys = key_set(&[
            TestSigner::new(Algorithm::ES256).jwk(json!({"kid": "a"})),
            ISSUER.signer.jwk(json!({"kid": "k"})),
        ]);
        let without = ISSUER.signer.token(Algorithm::ES256, r#"{"alg":"ES256"}"#, PAYLOAD);
        verify(&without, &keys, &JwtRules::default()).unwrap();
        let others: Vec<_> = (0..16).map(|_| TestSigner::new(Algorithm::ES256).jwk(json!({}))).collect();
        let keys = key_set(&[&others[..], &[ISSUER.signer.jwk(json!({"kid": "k"}))]].concat());
        assert_eq!(
            verify(&without, &keys, &JwtRules::default()),
            Err(TokenFault::Signature),
            "over the limit"
        );
        verify(&ISSUER.token(), &keys, &JwtRules::default()).unwrap();
    }

    #[test]
    fn of_several_keys_with_one_kid_each_is_tried() {
        let mut jwks: Vec<_> =
            (0..3).map(|_| TestSigner::new(Algorithm::ES256).jwk(json!({"kid": "k"}))).collect();
        jwks.push(TestSigner::new(Algorithm::EdDSA).jwk(json!({"kid": "k"})));
        assert_eq!(
            verify(&ISSUER.token(), &key_set(&jwks), &JwtRules::default()),
            Err(TokenFault::Signature)
        );
        jwks.push(ISSUER.signer.jwk(json!({"kid": "k"})));
        verify(&ISSUER.token(), &key_set(&jwks), &JwtRules::default()).unwrap();
    }

    #[test]
    fn an_encryption_key_does_not_verify() {
        for member in [json!({"use": "enc"}), json!({"key_ops": ["wrapKey"]}), json!({"alg": "ECDH-ES"})] {
            let mut jwk = ISSUER.signer.jwk(json!({"kid": "k"}));
            jwk.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
            let verdict = verify(&ISSUER.token(), &key_set(&[jwk]), &JwtRules::default());
            assert_eq!(verdict, Err(TokenFault::UnknownKey), "{member}");
        }
    }
}

mod shapes {
    use super::*;

    #[test]
    fn a_token_that_is_not_meant_as_a_jwt_is_opaque() {
        let token = ISSUER.token();
        let [header, payload, signature] = segments(&token);
        let with = |header: &str| format!("{}.{payload}.{signature}", b64(header));
        for opaque in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "a.b.c".to_owned(),
            "opaque-reference".to_owned(),
            header.to_owned(),
            format!("{header}.{payload}"),
            format!("{token}."),
            format!(".{token}"),
            format!("{token}.{signature}"),
            format!("{header}..{payload}.{signature}.{signature}"),
            with(""),
            with("ES256"),
            with("[]"),
            with(r#"["a","b"]"#),
        ] {
            assert!(matches!(Jwt::read(&opaque), Ok(None)), "{opaque}");
        }
    }

    #[test]
    fn a_jwt_whose_header_the_strict_reader_refuses_is_malformed() {
        let token = ISSUER.token();
        let [header, payload, signature] = segments(&token);
        let with = |header: &str| format!("{}.{payload}.{signature}", b64(header));
        let last = char::from(b64(format!("{HEADER} ")).as_bytes()[54] + 1);
        for malformed in [
            format!("{header}=.{payload}.{signature}"),
            format!("{header}==.{payload}.{signature}"),
            format!(" {token}"),
            format!("{header}\n.{payload}.{signature}"),
            format!("{}{last}.{payload}.{signature}", b64(format!("{HEADER} ")).get(..54).unwrap()),
            format!("{}.{payload}.{signature}", STANDARD.encode(HEADER.replace("\"k\"", "\"k>>>???\""))),
            with("{}"),
            with(r#"{"kid":"k"}"#),
            with(r#"{"alg":null}"#),
            with(r#"{"alg":256}"#),
            with(r#"{"alg":["ES256"]}"#),
            with(r#"{"alg":{"":"ES256"}}"#),
            with(r#"{"ALG":"ES256"}"#),
            with(r#"{"alg":"ES256""#),
            with(r#"{"alg":"ES256"}x"#),
            with(r#"{"alg":"ES256"}{}"#),
            with(r#"{"alg":"ES256",}"#),
            with("\u{feff}{\"alg\":\"ES256\"}"),
            format!("{}.{payload}.{signature}", b64(b"{\"alg\":\"ES256\",\"x\":\"\xff\"}")),
            format!("{}.{payload}.{signature}", b64(b"{\"alg\":\"ES256\",\"\xff\":1}")),
        ] {
            assert_eq!(Jwt::read(&malformed).err(), Some(TokenFault::Malformed), "{malformed}");
        }
        assert!(matches!(Jwt::read(&token), Ok(Some(_))));
        assert!(matches!(Jwt::read(&with(" {\"alg\" : \"ES256\"}\n")), Ok(Some(_))));
    }

    #[test]
    fn dots_and_endless_tokens_do_no_harm() {
        for opaque in [".".repeat(64 * 1024), ".".repeat(10_000_000), format!("{}..", "A".repeat(65_000))] {
            assert!(matches!(Jwt::read(&opaque), Ok(None)));
        }
        assert!(matches!(Jwt::read(&format!("{}{}", b64(HEADER), ".".repeat(64 * 1024))), Ok(None)));
        let padding = |length: usize| {
            let payload = format!(r#"{{"iss":"i","exp":1,"x":"{}"}}"#, "x".repeat(length));
            ISSUER.signer.token(ISSUER.algorithm, HEADER, &payload)
        };
        let (under, over) = (padding(48_990), padding(49_100));
        assert!(under.len() > 65_400 && under.len() <= 65_536 && over.len() > 65_536);
        ISSUER.verify(&under).unwrap();
        assert_eq!(Jwt::read(&over).err(), Some(TokenFault::Malformed));
    }

    #[test]
    fn the_payload_is_strict_base64url() {
        let header = b64(HEADER);
        let good = b64(PAYLOAD);
        ISSUER.verify(&ISSUER.seal(&header, &good)).unwrap();
        // Payloads of all three lengths modulo 3, so that there are left-over bits to set.
        let (one_over, two_over) = (b64(format!("{PAYLOAD} ")), b64(format!("{PAYLOAD}  ")));
        assert_eq!([good.len() % 4, one_over.len() % 4, two_over.len() % 4].iter().sum::<usize>(), 5);
        let mut odd = vec![
            format!("{good}="),
            format!("{good}=="),
            format!(" {good}"),
            format!("{good} "),
            format!("{good}\n"),
            good.replacen('e', "e\r\n", 1),
            format!("{good}A"),
            format!("{good}+"),
            STANDARD.encode(format!("{PAYLOAD}{}", "\u{3fff}".repeat(30))),
        ];
        for segment in [&good, &one_over, &two_over].into_iter().filter(|segment| segment.len() % 4 != 0) {
            let (start, last) = segment.split_at(segment.len() - 1);
            odd.push(format!("{start}{}", char::from(last.as_bytes()[0] + 1)));
        }
        assert_eq!(odd.len(), 11);
        for odd in odd {
            assert_eq!(ISSUER.verify(&ISSUER.seal(&header, &odd)), Err(TokenFault::Malformed), "{odd}");
        }
    }

    #[test]
    fn the_payload_is_a_json_object_with_different_members() {
        for payload in [
            "",
            "null",
            "[]",
            "\"text\"",
            "{",
            "not json",
            r#"{"iss":"i","exp":1}x"#,
            r#"{"iss":"i","exp":1,"exp":9}"#,
            r#"{"iss":"i","iss":"i","exp":1}"#,
            r#"{"iss":"i","exp":1,"\u0065xp":9}"#,
            r#"[{"iss":"i","exp":1}]"#,
        ] {
            assert_eq!(with_payload(payload), Err(TokenFault::Malformed), "{payload}");
        }
        let not_utf8 = ISSUER.seal(&b64(HEADER), &b64(b"{\"iss\":\"\xff\",\"exp\":1}"));
        assert_eq!(ISSUER.verify(&not_utf8), Err(TokenFault::Malformed));
        let nested = ISSUER.token();
        let wrapped = ISSUER.seal(&b64(HEADER), &b64(nested));
        assert_eq!(ISSUER.verify(&wrapped), Err(TokenFault::Malformed));
    }

    #[test]
    fn deep_nesting_in_the_payload_is_refused() {
        let nested =
            |depth: usize| format!(r#"{{"iss":"i","exp":1,"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        with_payload(&nested(100)).unwrap();
        assert_eq!(with_payload(&nested(200)), Err(TokenFault::Malformed));
        assert_eq!(with_payload(&nested(20_000)), Err(TokenFault::Malformed));
    }

    #[test]
    fn iss_and_exp_are_there_and_well_formed() {
        for (payload, expected) in [
            (r#"{"iss":"i","exp":1}"#, None),
            (r#"{"iss":"i","exp":1.5}"#, None),
            (r#"{"iss":"i"}"#, Some(TokenFault::MissingClaim)),
            (r#"{"exp":1}"#, Some(TokenFault::MissingClaim)),
            (r#"{"iss":"i","exp":null}"#, Some(TokenFault::MissingClaim)),
            (r#"{"iss":null,"exp":1}"#, Some(TokenFault::MissingClaim)),
            ("{}", Some(TokenFault::MissingClaim)),
            (r#"{"iss":"i","exp":"1"}"#, Some(TokenFault::Malformed)),
            (r#"{"iss":"i","exp":true}"#, Some(TokenFault::Malformed)),
            (r#"{"iss":"i","exp":-1}"#, Some(TokenFault::Malformed)),
            (r#"{"iss":"i","exp":1e300}"#, None),
            (r#"{"iss":"i","exp":9223372036854775807}"#, None),
            (r#"{"iss":"i","exp":1e999}"#, Some(TokenFault::Malformed)),
            (r#"{"iss":"i","exp":1,"nbf":"1"}"#, Some(TokenFault::Malformed)),
            (r#"{"iss":"i","exp":1,"iat":"1"}"#, Some(TokenFault::Malformed)),
            (r#"{"iss":["https://evil","i"],"exp":1}"#, Some(TokenFault::Malformed)),
            (r#"{"iss":{"i":1},"exp":1}"#, Some(TokenFault::Malformed)),
            (r#"{"iss":"i","exp":1,"sub":1}"#, Some(TokenFault::Malformed)),
            (r#"{"iss":"i","exp":1,"aud":{}}"#, Some(TokenFault::Malformed)),
        ] {
            assert_eq!(with_payload(payload).err(), expected, "{payload}");
        }
    }
}

mod types {
    use super::*;

    const JWT: &str = r#"{"alg":"ES256","kid":"k","typ":"JWT"}"#;
    const UNTYPED: &str = r#"{"alg":"ES256","kid":"k"}"#;

    #[test]
    fn tokens_of_other_types_are_refused_whatever_the_header_says() {
        let logout = "http://schemas.openid.net/event/backchannel-logout";
        for claims in [
            json!({"at_hash": "x"}),
            json!({"c_hash": "x"}),
            json!({"s_hash": "x"}),
            json!({"events": {logout: {}}, "sid": "s"}),
            json!({"events": {}}),
            json!({"token_introspection": {"active": true}}),
            json!({"token_use": "id"}),
            json!({"token_use": "refresh"}),
            json!({"token_type": "refresh_token"}),
            json!({"token_type": "Refresh"}),
            json!({"token_type": "urn:ietf:params:oauth:token-type:id_token"}),
            json!({"token_type": "urn:ietf:params:oauth:token-type:refresh_token"}),
            json!({"typ": "ID"}),
            json!({"typ": "Refresh"}),
            json!({"typ": "Offline"}),
            json!({"typ": "Logout"}),
            json!({"typ": "logout+jwt"}),
            json!({"typ": "InitialAccessToken"}),
            json!({"typ": "RegistrationAccessToken"}),
            json!({"typ": "Bearer", "token_use": "id"}),
            json!({"tokenType": "id-token"}),
            json!({"tokenType": "refresh-token"}),
            json!({"tokenType": "RefreshToken", "scope": "read"}),
            json!({"token_class": "id"}),
            json!({"token_class": "refresh_token"}),
            json!({"token_class": "code"}),
            json!({"token_use": "code", "scope": "read"}),
            json!({"token_use": "authorization_code"}),
            json!({"token_use": "Auth-Code"}),
            json!({"token_class": "device_code"}),
            json!({"token_class": "user_code"}),
            json!({"typ": "Serialized-ID"}),
            json!({"typ": "serialized_id"}),
            json!({"token_class": "serializedid"}),
            json!({"token_use": "userinfo"}),
            json!({"token_use": "registration_access_token"}),
            json!({"token_use": "initial_access_token"}),
            json!({"token_use": "offline_token"}),
            json!({"token_use": "logout-token"}),
            json!({"token_type": "application/logout+jwt"}),
            json!({"typ": "txntoken+jwt"}),
            json!({"token_type": "urn:ietf:params:oauth:token-type:txn_token"}),
            json!({"token_type": "URN:ietf:params:oauth:token-type:refresh_token"}),
            json!({"token_type": "urn:ietf:params:oauth:token-type:id-jag"}),
            json!({"typ": "oauth-authz-req+jwt"}),
            json!({"typ": "client-authentication+jwt"}),
            json!({"token_use": "client_assertion"}),
            json!({"typ": "token-introspection+jwt"}),
            json!({"at_hash": "x", "scope": "read"}),
            json!({"typ": "Bearer", "at_hash": "x"}),
            json!({"typ": "ID", "token_use": "access"}),
        ] {
            for header in [HEADER, JWT, UNTYPED] {
                // A private claim may have this name if the header has the type of an access token.
                if header == HEADER && claims.get("events").is_some() {
                    with_claims(header, &claims).unwrap();
                    continue;
                }
                assert_eq!(with_claims(header, &claims), Err(TokenFault::Type), "{header} {claims}");
            }
        }
    }

    #[test]
    fn a_nonce_is_a_sign_of_an_id_token_unless_something_says_access_token() {
        let nonce = json!({"nonce": "n"});
        assert_eq!(with_claims(JWT, &nonce), Err(TokenFault::Type));
        assert_eq!(with_claims(UNTYPED, &nonce), Err(TokenFault::Type));
        with_claims(HEADER, &nonce).unwrap();
        with_claims(JWT, &json!({"nonce": "n", "typ": "Bearer"})).unwrap();
        with_claims(JWT, &json!({"nonce": "n", "token_use": "access"})).unwrap();
        // Azure AD B2C, authentik, Casdoor.
        with_claims(JWT, &json!({"nonce": "n", "scp": "posts.read", "azp": "app", "ver": "1.0"})).unwrap();
        with_claims(JWT, &json!({"nonce": "n", "scope": "openid profile", "azp": "app", "acr": "x"}))
            .unwrap();
        with_claims(JWT, &json!({"nonce": "n", "scope": ["read"]})).unwrap();
        with_claims(JWT, &json!({"nonce": "n", "tokenType": "access-token", "owner": "o"})).unwrap();
        with_claims(JWT, &json!({"nonce": "n", "token_class": "access_token"})).unwrap();
        assert_eq!(with_claims(JWT, &json!({"nonce": "n", "scope": ""})), Err(TokenFault::Type));
        assert_eq!(with_claims(JWT, &json!({"nonce": "n", "scope": []})), Err(TokenFault::Type));
        assert_eq!(
            with_claims(JWT, &json!({"nonce": "n", "scope": "a", "tokenType": "id-token"})),
            Err(TokenFault::Type)
        );
        with_claims(JWT, &json!({"nonce": null, "at_hash": null})).unwrap();
        assert_eq!(with_claims(JWT, &json!({"nonce": "n", "typ": "ID"})), Err(TokenFault::Type));
        assert_eq!(with_claims(JWT, &json!({"nonce": "n", "typ": "whatever"})), Err(TokenFault::Type));
        assert_eq!(with_claims(JWT, &json!({"nonce": "n", "typ": ["Bearer"]})), Err(TokenFault::Type));
    }

    #[test]
    fn an_id_token_as_servers_issue_it_is_refused() {
        for claims in [
            // OpenID Connect Core section 2, from the code flow.
            json!({"aud": "client", "nonce": "n", "auth_time": 1, "acr": "0", "azp": "client"}),
            // Keycloak.
            json!({"typ": "ID", "aud": "client", "azp": "client", "sid": "s", "at_hash": "h", "acr": "1"}),
            // Cognito.
            json!({"token_use": "id", "aud": "client", "cognito:username": "alice", "origin_jti": "j"}),
        ] {
            assert_eq!(with_claims(JWT, &claims), Err(TokenFault::Type), "{claims}");
        }
    }

    #[test]
    fn access_tokens_as_servers_issue_them_are_accepted() {
        for (header, claims) in [
            // Keycloak; before version 25 with the nonce of the login.
            (
                JWT,
                json!({"typ": "Bearer", "azp": "app", "aud": "account", "scope": "openid", "sid": "s",
                "allowed-origins": ["*"], "realm_access": {"roles": ["a"]}, "acr": "1", "jti": "j"}),
            ),
            (
                JWT,
                json!({"typ": "Bearer", "azp": "app", "nonce": "n", "session_state": "s", "scope": "openid"}),
            ),
            (JWT, json!({"typ": "DPoP", "azp": "app", "cnf": {"jkt": "x"}})),
            // Auth0: its default profile and that of RFC 9068.
            (
                JWT,
                json!({"aud": ["api", "https://as/userinfo"], "azp": "app", "scope": "openid", "gty": "password"}),
            ),
            (HEADER, json!({"aud": "api", "client_id": "app", "scope": "a", "jti": "j"})),
            // Entra ID.
            (
                JWT,
                json!({"aud": "api://x", "azp": "app", "azpacr": "1", "idtyp": "user", "scp": "a b", "ver": "2.0",
                "oid": "o", "tid": "t", "uti": "u", "rh": "r"}),
            ),
            // Okta, whose header has no typ.
            (
                UNTYPED,
                json!({"aud": "api://default", "cid": "app", "uid": "u", "scp": ["a"], "ver": 1, "jti": "AT.x"}),
            ),
            // Cognito.
            (
                UNTYPED,
                json!({"token_use": "access", "client_id": "app", "scope": "a", "event_id": "e", "auth_time": 1}),
            ),
            // RFC 9068, as in node-oidc-provider and MonoCloud.
            (
                HEADER,
                json!({"aud": "api", "client_id": "app", "scope": "a", "jti": "j", "iat": 1, "groups": ["g"]}),
            ),
            // Unregistered names of types.
            (JWT, json!({"token_type": "Bearer"})),
            (JWT, json!({"token_type": "urn:ietf:params:oauth:token-type:access_token"})),
            (JWT, json!({"token_type": "urn:ietf:params:oauth:token-type:jwt"})),
            (JWT, json!({"token_type": "user", "typ": 7, "event": "e"})),
            (JWT, json!({"typ": "", "token_use": "-", "token_class": "urn:ietf:params:oauth:token-type:"})),
            (JWT, json!({"token_use": "Access Token", "nonce": "n"})),
            (JWT, json!({"typ": "application/AT+JWT", "nonce": "n"})),
            (JWT, json!({"token_use": "code_of_conduct", "typ": "identity"})),
        ] {
            with_claims(header, &claims).unwrap_or_else(|fault| panic!("{fault:?}: {claims}"));
        }
    }
}

mod properties {
    use super::*;

    fn segment() -> impl Strategy<Value = String> {
        let json = prop_oneof![
            Just(HEADER.to_owned()),
            Just(PAYLOAD.to_owned()),
            prop::sample::select(vec!["ES256", "none", "HS256", "RS256", "EdDSA", "x"])
                .prop_map(|alg| json!({"alg": alg}).to_string()),
            (".*", ".*").prop_map(|(name, value)| json!({"alg": "ES256", name: value}).to_string()),
        ];
        prop_oneof![
            json.prop_map(b64),
            prop::collection::vec(any::<u8>(), 0..100).prop_map(b64),
            "[A-Za-z0-9_-]{0,90}",
            ".{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn no_text_passes(token in ".{0,300}") {
            prop_assert!(ISSUER.verify(&token).is_err());
        }

        #[test]
        fn no_made_up_segments_pass(segments in prop::collection::vec(segment(), 0..6)) {
            prop_assert!(ISSUER.verify(&segments.join(".")).is_err());
        }

        #[test]
        fn no_forged_signature_passes(signature in prop::collection::vec(any::<u8>(), 64)) {
            let token = format!("{}.{}.{}", b64(HEADER), b64(PAYLOAD), b64(signature));
            prop_assert_eq!(ISSUER.verify(&token), Err(TokenFault::Signature));
        }

        #[test]
        fn no_replaced_piece_passes(
            start in any::<prop::sample::Index>(),
            length in 0..20_usize,
            piece in "[A-Za-z0-9_.=-]{0,20}",
        ) {
            let good = ISSUER.token();
            let start = start.index(good.len());
            let end = (start + length).min(good.len());
            let mut changed = good.clone();
            changed.replace_range(start..end, &piece);
            prop_assume!(changed != good);
            prop_assert!(ISSUER.verify(&changed).is_err());
        }

        #[test]
        fn any_signed_payload_can_be_read(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let token = ISSUER.seal(&b64(HEADER), &b64(payload));
            prop_assert!(ISSUER.verify(&token).is_err());
        }
    }
}
