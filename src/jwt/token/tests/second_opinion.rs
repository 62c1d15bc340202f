//! A property test against a second implementation: `jsonwebtoken` accepts every token that this crate accepts, with the
//! same keys, audience, issuer and tolerance.

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use proptest::{collection::vec, sample::select, test_runner::TestRunner};

use super::*;
use crate::{
    certificate::CertificateBinding,
    claims::scope_mapping::ScopeMapping,
    policy::{self, GroupsMapping, Rules},
};

/// The algorithms that both implementations have: `jsonwebtoken` has no ES512.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

const ISSUER: &str = "https://as.example.test";
const AUDIENCE: &str = "https://api.example.test";
const TOLERANCE: u32 = 60;

/// The keys of an issuer: the six RSA algorithms have a common one.
struct Keys {
    signers: Vec<(&'static str, TestSigner)>,
    jwks: Value,
}

impl Keys {
    fn new() -> Self {
        let signers: Vec<_> = [
            ("rsa", Algorithm::RS256),
            ("es256", Algorithm::ES256),
            ("es384", Algorithm::ES384),
            ("ed", Algorithm::EdDSA),
        ]
        .map(|(kid, algorithm)| (kid, TestSigner::new(algorithm)))
        .into();
        let keys: Vec<_> = signers.iter().map(|(kid, signer)| signer.jwk(json!({ "kid": kid }))).collect();
        Self { signers, jwks: json!({ "keys": keys }) }
    }

    fn signer(&self, algorithm: Algorithm) -> &(&'static str, TestSigner) {
        let at = match algorithm {
            Algorithm::ES256 => 1,
            Algorithm::ES384 => 2,
            Algorithm::EdDSA => 3,
            _ => 0,
        };
        &self.signers[at]
    }
}

/// One change of a token. Some changes leave it valid.
#[derive(Clone, Debug)]
enum Change {
    Header(&'static str, Value),
    WithoutHeader(&'static str),
    /// Replaces a part of the header's text.
    HeaderText(&'static str, &'static str),
    Claim(&'static str, Value),
    WithoutClaim(&'static str),
    /// Replaces a part of the payload's text.
    PayloadText(&'static str, &'static str),
    /// Signs with another algorithm, and with the key for it.
    SignedWith(Algorithm),
    /// Signs with a key that is not in the set.
    SignedByAnother,
    /// Flips one bit of the decoded signature.
    SignatureBit(usize),
    /// Replaces, inserts or removes one character of the token.
    Replaced(usize, char),
    Inserted(usize, char),
    Removed(usize),
    /// Appends this text to the token.
    Appended(&'static str),
}

#[expect(clippy::too_many_lines, reason = "one entry for each kind of change")]
fn change() -> impl Strategy<Value = Change> {
    let far = 4_102_444_800_u64;
    let header = select(vec![
        ("typ", json!("JWT")),
        ("typ", json!("application/at+jwt")),
        ("typ", json!("AT+JWT")),
        ("typ", json!("dpop+jwt")),
        ("typ", json!(7)),
        ("kid", json!("unknown")),
        ("kid", json!("rsa")),
        ("kid", json!("es256")),
        ("kid", json!("")),
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("RS256")),
        ("alg", json!("PS512")),
        ("alg", json!("ES384")),
        ("alg", json!("ES512")),
        ("alg", json!("EdDSA")),
        ("alg", json!("rs256")),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("enc", json!("A128GCM")),
        ("zip", json!("DEF")),
        ("zip", json!("NONE")),
        ("cty", json!("JWT")),
        ("jku", json!("https://evil.example.test/keys")),
        ("x5u", json!("https://evil.example.test/certificate")),
        ("x5c", json!(["MIIB"])),
        ("other", json!({ "nested": [1, null, 2.5] })),
    ]);
    // Two known differences are not among these: jsonwebtoken rejects `nbf: null` and an `exp` of 1e300. This crate treats
    // `null` as absent, and a time after the year 9999 as no limit.
    let claim = select(vec![
        ("aud", json!([AUDIENCE])),
        ("aud", json!(["https://other.example.test", AUDIENCE])),
        ("aud", json!("https://other.example.test")),
        ("aud", json!([])),
        ("aud", json!([AUDIENCE, 7])),
        ("aud", json!(7)),
        ("aud", Value::Null),
        ("iss", json!("https://other.example.test")),
        ("iss", json!([ISSUER])),
        ("iss", json!(format!("{ISSUER}/"))),
        ("iss", Value::Null),
        ("exp", json!(1)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!(far)),
        ("exp", json!(4_102_444_800.5)),
        ("exp", json!("4102444800")),
        ("exp", json!(true)),
        ("exp", Value::Null),
        ("nbf", json!(1)),
        ("nbf", json!(far)),
        ("nbf", json!(1.5)),
        ("nbf", json!("1")),
        ("iat", json!(0)),
        ("iat", json!(far)),
        ("sub", json!("b\u{f6}b \u{1f600}")),
        ("sub", json!(7)),
        ("scope", json!("read write")),
        ("scope", json!(["read", "write"])),
        ("nonce", json!("n")),
        ("token_use", json!("id")),
        ("token_use", json!("access")),
        ("extra", json!({ "nested": [1, 2.5, null, true, "\\"] })),
    ]);
    let name = || select(vec!["alg", "kid", "typ"]);
    let header_text = select(vec![
        ("{", " {\n\t"),
        ("}", " } "),
        ("}", ",\"alg\":\"none\"}"),
        ("}", ",\"kid\":\"rsa\"}"),
        ("}", ""),
        ("\"alg\"", "\"\\u0061lg\""),
        ("\"alg\"", "\"ALG\""),
        ("{", "{\"ALG\":\"none\","),
        ("{", "\u{feff}{"),
    ]);
    let payload_text = select(vec![
        ("{", " {\n"),
        ("}", "} "),
        ("{", "{\"exp\":4102444800,"),
        ("{", "{\"aud\":\"https://api.example.test\","),
        ("\"exp\"", "\"\\u0065xp\""),
        ("\"iss\"", "\"ISS\""),
        ("}", ""),
        ("{", "[{"),
        ("{", "\u{feff}{"),
    ]);
    let character = || {
        select(('0'..='z').filter(char::is_ascii_alphanumeric).chain("-_.=+/ ".chars()).collect::<Vec<_>>())
    };
    prop_oneof![
        5 => header.prop_map(|(name, value)| Change::Header(name, value)),
        1 => name().prop_map(Change::WithoutHeader),
        2 => header_text.prop_map(|(from, to)| Change::HeaderText(from, to)),
        6 => claim.prop_map(|(name, value)| Change::Claim(name, value)),
        1 => select(vec!["iss", "aud", "exp", "sub"]).prop_map(Change::WithoutClaim),
        2 => payload_text.prop_map(|(from, to)| Change::PayloadText(from, to)),
        1 => select(ALGORITHMS.to_vec()).prop_map(Change::SignedWith),
        1 => Just(Change::SignedByAnother),
        2 => any::<usize>().prop_map(Change::SignatureBit),
        1 => (any::<usize>(), character()).prop_map(|(at, c)| Change::Replaced(at, c)),
        1 => (any::<usize>(), character()).prop_map(|(at, c)| Change::Inserted(at, c)),
        1 => any::<usize>().prop_map(Change::Removed),
        1 => select(vec!["=", "==", "A", ".", ".A", "\n"]).prop_map(Change::Appended),
    ]
}

/// Signs a good token of this algorithm with these changes.
fn token(keys: &Keys, algorithm: Algorithm, changes: &[Change]) -> String {
    let (kid, _) = keys.signer(algorithm);
    let mut header = json!({ "alg": algorithm.name(), "kid": kid, "typ": "at+jwt" });
    let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "exp": 4_000_000_000_u64, "sub": "alice" });
    let (mut signed_with, mut by_another) = (algorithm, false);
    for change in changes {
        match change {
            Change::Header(name, value) => header[*name] = value.clone(),
            Change::WithoutHeader(name) => drop(header.as_object_mut().unwrap().remove(*name)),
            Change::Claim(name, value) => claims[*name] = value.clone(),
            Change::WithoutClaim(name) => drop(claims.as_object_mut().unwrap().remove(*name)),
            Change::SignedWith(other) => signed_with = *other,
            Change::SignedByAnother => by_another = true,
            _ => {}
        }
    }
    let (mut header, mut claims) = (header.to_string(), claims.to_string());
    for change in changes {
        match change {
            Change::HeaderText(from, to) => header = header.replacen(from, to, 1),
            Change::PayloadText(from, to) => claims = claims.replacen(from, to, 1),
            _ => {}
        }
    }
    let another = by_another.then(|| TestSigner::other(signed_with));
    let signer = another.as_ref().unwrap_or_else(|| &keys.signer(signed_with).1);
    let input = format!("{}.{}", b64(header), b64(claims));
    let mut signature = signer.sign(signed_with, input.as_bytes());
    for change in changes {
        if let Change::SignatureBit(bit) = change {
            let bit = bit % (signature.len() * 8);
            signature[bit / 8] ^= 1 << (bit % 8);
        }
    }
    let mut token: Vec<char> = format!("{input}.{}", b64(signature)).chars().collect();
    for change in changes {
        match change {
            Change::Replaced(at, character) => {
                let at = at % token.len();
                token[at] = *character;
            }
            Change::Inserted(at, character) => token.insert(at % (token.len() + 1), *character),
            Change::Removed(at) => drop(token.remove(at % token.len())),
            Change::Appended(text) => token.extend(text.chars()),
            _ => {}
        }
    }
    token.into_iter().collect()
}

/// Returns whether this crate accepts the token: its signature, its form and its claims.
fn is_accepted(keys: &KeySet, token: &str) -> bool {
    let rules = Rules {
        token_issuers: Vec::new(),
        audiences: vec![AUDIENCE.to_owned()],
        accept_missing_issuer: false,
        accept_missing_audience: false,
        allowed_clients: Vec::new(),
        required_claims: Vec::new(),
        max_token_age: None,
        custom: Vec::new(),
        clock_skew: 0,
        clock_tolerance: TOLERANCE.into(),
        hierarchy: crate::claims::scope_hierarchy::ScopeHierarchy::default(),
        scopes: ScopeMapping::default(),
        groups: GroupsMapping::new(&["groups".to_owned()], false),
        groups_match_all: false,
        binding: CertificateBinding::WhenPresent,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap();
    verify(token, keys, &JwtRules::default())
        .is_ok_and(|claims| policy::check_token(&claims, &rules, ISSUER, now).is_ok())
}

/// Checks that `jsonwebtoken` accepts the token with a key of the set that the header may mean.
fn second_opinion(keys: &JwkSet, token: &str) -> Result<(), String> {
    let text = |error: jsonwebtoken::errors::Error| error.to_string();
    let header = decode_header(token).map_err(text)?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.validate_nbf = true;
    validation.leeway = TOLERANCE.into();
    let mut outcome = Err("no key".to_owned());
    for key in keys.keys.iter().filter(|key| header.kid.is_none() || key.common.key_id == header.kid) {
        outcome = DecodingKey::from_jwk(key)
            .and_then(|key| decode::<Value>(token, &key, &validation))
            .map(|_| ())
            .map_err(text);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

#[test]
fn jsonwebtoken_accepts_every_token_that_this_crate_accepts() {
    let keys = Keys::new();
    let ours = KeySet::parse(keys.jwks.to_string().as_bytes()).unwrap();
    let theirs: JwkSet = serde_json::from_value(keys.jwks.clone()).unwrap();
    let accepted = RefCell::new([0; ALGORITHMS.len()]);
    let cases = (0..ALGORITHMS.len(), prop_oneof![2 => vec(change(), 0..3), 1 => vec(change(), 3..6)]);
    TestRunner::new(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })
        .run(&cases, |(index, changes)| {
            let token = token(&keys, ALGORITHMS[index], &changes);
            if is_accepted(&ours, &token) {
                accepted.borrow_mut()[index] += 1;
                prop_assert_eq!(second_opinion(&theirs, &token), Ok(()), "{}", token);
            }
            Ok(())
        })
        .unwrap();
    // The property says nothing if no token is accepted.
    assert!(accepted.borrow().iter().all(|count| *count >= 30), "{accepted:?}");
}
