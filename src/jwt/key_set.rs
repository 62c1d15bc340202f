//! The key set of the issuer (RFC 7517 section 5): parses it, and selects the keys that may have signed a token.
//! Fetching and refreshing it are not part of this module.

use aws_lc_rs::signature::ParsedPublicKey;
use derive_more::Display;
use serde_json::Value;

use crate::{
    algorithm::Algorithm,
    claims::object::{strict_object, without_byte_order_mark},
    jwt::key::{Unusable, VerifyingKey},
};

/// The maximum number of keys of a set. Servers publish two to ten. Each key costs memory, and time during
/// selection.
const MAX_KEYS: usize = 100;

/// The maximum number of keys that are tried for one token, if it has no `kid` or several keys have its `kid`. Because
/// of this limit, one invalid signature cannot cause many verifications.
pub(crate) const MAX_TRIED: usize = 16;

/// The maximum number of unusable keys that are reported individually.
const MAX_REPORTED: usize = 20;

/// The longest `kid` that is reported, in characters.
const MAX_REPORTED_KID: usize = 64;

/// A usable key of the issuer; see [`ProtectApi::published_keys`](crate::ProtectApi::published_keys).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishedKey {
    /// Its `kid`.
    pub kid: Option<String>,
    /// The algorithms that it verifies.
    pub algorithms: Vec<Algorithm>,
}

/// The usable keys of an issuer.
#[derive(Debug)]
pub(crate) struct KeySet {
    keys: Box<[VerifyingKey]>,
    skipped: usize,
    reported: Vec<SkippedKey>,
}

/// A key that is not used, for the log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SkippedKey {
    /// The start of its `kid`, without control characters.
    pub(crate) kid: String,
    pub(crate) reason: Unusable,
}

impl SkippedKey {
    fn new(jwk: &Value, reason: Unusable) -> Self {
        let kid = jwk.get("kid").and_then(Value::as_str).unwrap_or_default();
        let printable = |char: char| if char.is_ascii_graphic() { char } else { '?' };
        Self { kid: kid.chars().take(MAX_REPORTED_KID).map(printable).collect(), reason }
    }
}

/// The reason why a document is not a key set. It contains no text of the response.
#[derive(Clone, Copy, Debug, Display, PartialEq, Eq)]
pub(crate) enum KeySetFault {
    /// Not JSON, not an object, or an object with a member that occurs twice.
    #[display("the key set is not a JSON object")]
    NotAnObject,
    /// `keys` is missing or is not an array.
    #[display("the key set has no array of keys")]
    NoKeys,
}

impl std::error::Error for KeySetFault {}

impl KeySet {
    /// Parses a key set. A key that cannot be used is skipped (see [`VerifyingKey::from_jwk`]), as RFC 7517 section
    /// 5 requires, so the set may be empty. The caller must limit the length of the input.
    ///
    /// # Errors
    /// If the input is not an object with an array `keys`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, KeySetFault> {
        let set = strict_object(without_byte_order_mark(bytes)).map_err(|_| KeySetFault::NotAnObject)?;
        let Some(Value::Array(jwks)) = set.get("keys") else {
            return Err(KeySetFault::NoKeys);
        };
        let (mut keys, mut reported) = (Vec::new(), Vec::new());
        for jwk in jwks {
            match VerifyingKey::from_jwk(jwk) {
                Ok(key) if keys.len() < MAX_KEYS => keys.push(key),
                Ok(_) => break,
                Err(reason) if reported.len() < MAX_REPORTED => reported.push(SkippedKey::new(jwk, reason)),
                Err(_) => {}
            }
        }
        let skipped = jwks.len().saturating_sub(keys.len());
        Ok(Self { keys: keys.into(), skipped, reported })
    }

    /// Returns the number of usable keys.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Returns the identifiers and algorithms of the usable keys.
    pub(crate) fn published(&self) -> Vec<PublishedKey> {
        let published = |key: &VerifyingKey| PublishedKey {
            kid: key.kid().map(str::to_owned),
            algorithms: key.algorithms().collect(),
        };
        self.keys.iter().map(published).collect()
    }

    /// Returns whether no key can be used.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the number of skipped keys: encryption keys, unsupported and malformed ones.
    pub(crate) fn skipped(&self) -> usize {
        self.skipped
    }

    /// Returns the first skipped keys, with the reasons.
    pub(crate) fn reported(&self) -> &[SkippedKey] {
        &self.reported
    }

    /// Returns the keys that may have signed a token with this `kid` and `alg`.
    ///
    /// With a `kid`, these are the keys that have it and fit the algorithm; without, the keys that fit the
    /// algorithm. At most [`MAX_TRIED`] keys, in the order of the set.
    pub(crate) fn choose(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &ParsedPublicKey> {
        self.fitting(kid, algorithm).take(MAX_TRIED)
    }

    /// Returns the number of keys that fit such a token, but exceed [`MAX_TRIED`].
    pub(crate) fn not_chosen(&self, kid: Option<&str>, algorithm: Algorithm) -> usize {
        self.fitting(kid, algorithm).skip(MAX_TRIED).count()
    }

    fn fitting(&self, kid: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &ParsedPublicKey> {
        self.keys
            .iter()
            .filter(move |key| kid.is_none() || key.kid() == kid)
            .filter_map(move |key| key.parsed_for(algorithm))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::jwt::testing::{TestSigner, b64};

    fn set(keys: &[Value]) -> KeySet {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_is_no_key_set_is_an_error() {
        for text in ["", "<html>", "[]", "null", "{", r#"{"keys":[],"keys":[]}"#, r#"{"keys":[1e999]}"#] {
            assert_eq!(KeySet::parse(text.as_bytes()).unwrap_err(), KeySetFault::NotAnObject, "{text}");
        }
        for text in ["{}", r#"{"keys":null}"#, r#"{"keys":{}}"#, r#"{"keys":"x"}"#, r#"{"Keys":[]}"#] {
            assert_eq!(KeySet::parse(text.as_bytes()).unwrap_err(), KeySetFault::NoKeys, "{text}");
        }
        let empty = set(&[]);
        assert!(empty.is_empty());
        assert_eq!((empty.len(), empty.skipped()), (0, 0));
    }

    #[test]
    fn unusable_keys_do_not_poison_the_rest() {
        let good = TestSigner::new(Algorithm::ES256).jwk(json!({"kid": "good"}));
        let bad = [
            json!(null),
            json!(7),
            json!({"kty": "oct", "k": b64([7; 32]), "kid": "good"}),
            json!({"kty": "RSA", "n": "!", "e": "AQAB"}),
            json!({"kty": "unheard-of"}),
            json!({"kty": {"nested": []}}),
            TestSigner::new(Algorithm::RS256).jwk(json!({"use": "enc", "kid": "good"})),
        ];
        let mut keys = bad.to_vec();
        keys.insert(4, good);
        let keys = set(&keys);
        assert_eq!((keys.len(), keys.skipped()), (1, bad.len()));
        assert!(!keys.is_empty());
        assert_eq!(keys.choose(Some("good"), Algorithm::ES256).count(), 1);
        assert_eq!(keys.choose(Some("good"), Algorithm::RS256).count(), 0);
    }

    #[test]
    fn kid_and_algorithm_choose_the_key() {
        let (one, two) = (TestSigner::new(Algorithm::ES256), TestSigner::new(Algorithm::ES256));
        let keys = set(&[
            one.jwk(json!({"kid": "one"})),
            two.jwk(json!({"kid": "two"})),
            TestSigner::new(Algorithm::EdDSA).jwk(json!({"kid": "one"})),
            TestSigner::new(Algorithm::RS256).jwk(json!({})),
        ]);
        let signed = two.sign(Algorithm::ES256, b"message");
        let chosen: Vec<_> = keys.choose(Some("two"), Algorithm::ES256).collect();
        assert_eq!(chosen.len(), 1);
        chosen[0].verify_sig(b"message", &signed).unwrap();
        assert_eq!(keys.choose(Some("one"), Algorithm::EdDSA).count(), 1);
        for (kid, algorithm) in [
            ("two", Algorithm::EdDSA),
            ("two", Algorithm::ES384),
            ("One", Algorithm::ES256),
            ("", Algorithm::ES256),
            ("", Algorithm::RS256),
            ("three", Algorithm::RS256),
            ("../../one", Algorithm::ES256),
            ("' OR 1=1 --", Algorithm::ES256),
        ] {
            assert_eq!(keys.choose(Some(kid), algorithm).count(), 0, "{kid} {algorithm}");
        }
    }

    #[test]
    fn without_kid_every_fitting_key_is_chosen() {
        let keys = set(&[
            TestSigner::new(Algorithm::ES256).jwk(json!({"kid": "one"})),
            TestSigner::new(Algorithm::ES256).jwk(json!({})),
            TestSigner::new(Algorithm::EdDSA).jwk(json!({"kid": "ed"})),
            TestSigner::new(Algorithm::RS256).jwk(json!({"alg": "RS256"})),
        ]);
        for (algorithm, count) in [
            (Algorithm::ES256, 2),
            (Algorithm::ES384, 0),
            (Algorithm::EdDSA, 1),
            (Algorithm::RS256, 1),
            (Algorithm::PS256, 0),
        ] {
            assert_eq!(keys.choose(None, algorithm).count(), count, "{algorithm}");
        }
    }

    #[test]
    fn keys_of_one_kid_are_all_tried_up_to_a_bound() {
        let jwks: Vec<_> =
            (0..18).map(|_| TestSigner::new(Algorithm::ES256).jwk(json!({"kid": "k"}))).collect();
        assert_eq!(set(&jwks[..3]).choose(Some("k"), Algorithm::ES256).count(), 3);
        assert_eq!(set(&jwks).choose(Some("k"), Algorithm::ES256).count(), MAX_TRIED);
        assert_eq!(set(&jwks).choose(None, Algorithm::ES256).count(), MAX_TRIED);
        assert_eq!(set(&jwks).not_chosen(None, Algorithm::ES256), 2);
        assert_eq!(set(&jwks[..16]).not_chosen(Some("k"), Algorithm::ES256), 0);
        assert_eq!(set(&jwks).not_chosen(Some("other"), Algorithm::ES256), 0);
    }

    #[test]
    fn at_most_a_hundred_keys_are_used() {
        let signer = TestSigner::new(Algorithm::EdDSA);
        let mut jwks = vec![json!({"kty": "oct"}); 30];
        jwks.extend((0..150).map(|n| signer.jwk(json!({"kid": n.to_string()}))));
        let keys = set(&jwks);
        assert_eq!((keys.len(), keys.skipped()), (100, 80));
        assert_eq!(keys.choose(Some("99"), Algorithm::EdDSA).count(), 1);
        assert_eq!(keys.choose(Some("100"), Algorithm::EdDSA).count(), 0);
    }

    #[test]
    fn keys_that_are_passed_over_are_reported_with_a_clean_kid() {
        let mut jwks = vec![
            json!({"kty": "oct", "kid": format!("a\n\u{1b}[2J{}", "x".repeat(500))}),
            TestSigner::new(Algorithm::ES256).jwk(json!({"use": "enc", "kid": "enc"})),
            TestSigner::new(Algorithm::ES256).jwk(json!({"x": "!", "kid": "bad"})),
            TestSigner::new(Algorithm::ES256).jwk(json!({"alg": "RS256", "kid": 7})),
        ];
        let keys = set(&jwks);
        let seen: Vec<_> = keys.reported().iter().map(|key| (&*key.kid, key.reason)).collect();
        let long = format!("a??[2J{}", "x".repeat(58));
        let expected = [
            (&*long, Unusable::Type),
            ("enc", Unusable::Purpose),
            ("bad", Unusable::Malformed),
            ("", Unusable::Algorithm),
        ];
        assert_eq!(seen[..3], expected[..3]);
        assert_eq!(seen.len(), 4);
        jwks.extend(vec![json!({"kty": "oct"}); 500]);
        assert_eq!((set(&jwks).reported().len(), set(&jwks).skipped()), (MAX_REPORTED, 504));
    }

    #[test]
    fn debug_shows_no_key_material() {
        let keys = set(&[TestSigner::new(Algorithm::EdDSA).jwk(json!({"kid": "k"}))]);
        assert_eq!(
            format!("{keys:?}"),
            r#"KeySet { keys: [VerifyingKey { kid: Some("k"), kty: "OKP", alg: [EdDSA] }], skipped: 0, reported: [] }"#
        );
    }

    fn any_member() -> impl Strategy<Value = Value> {
        prop_oneof![
            prop::sample::select(vec![
                "RSA", "EC", "OKP", "oct", "P-256", "P-384", "P-521", "Ed25519", "sig", "enc", "verify",
                "RS256", "ES256", "EdDSA", "AQAB", "Aw", "AA", "",
            ])
            .prop_map(Value::from),
            prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::from(b64(bytes))),
            prop::sample::select(vec![32, 48, 66, 256, 1024])
                .prop_flat_map(|length| prop::collection::vec(any::<u8>(), length))
                .prop_map(|bytes| Value::from(b64(bytes))),
            ".*".prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            Just(Value::Null),
            Just(json!(["verify"])),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_parsed(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            drop(KeySet::parse(&bytes));
        }

        #[test]
        fn any_members_can_be_parsed(jwk in prop::collection::hash_map(
            prop::sample::select(vec!["kty", "crv", "x", "y", "n", "e", "alg", "use", "key_ops", "kid", "d", "k"]),
            any_member(),
            0..10,
        )) {
            let keys = set(&[json!(jwk)]);
            prop_assert_eq!(keys.len() + keys.skipped(), 1);
        }
    }
}
