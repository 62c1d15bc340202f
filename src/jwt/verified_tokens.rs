//! The cache of JWTs whose signature was verified. A lookup is about fifty times faster than a verification.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use quick_cache::sync::Cache;
use zeroize::Zeroizing;

use crate::{
    cache::bounded::{BySize, EntrySize, bounded_by_size},
    claims::Claims,
};

/// The maximum number of cached tokens: 1 to 2 KiB each with common claims, 4 KiB if the application reads the
/// claims as a map.
const CAPACITY: usize = 10_000;

/// The maximum memory in bytes, estimated from the claims. A token that needs more than 1 MiB may not be cached.
const MAX_BYTES: u64 = 64 << 20;

/// The verified tokens. They are stored under their [tags](TokenTag); the tokens themselves are not stored.
pub(crate) struct VerifiedTokens {
    tokens: Cache<TokenTag, VerifiedToken, BySize>,
    key: LessSafeKey,
}

/// The claims of a verified token, and the key set that verified it. The policy is applied to the claims on every
/// request.
#[derive(Clone)]
struct VerifiedToken {
    claims: Claims,
    key_set: KeySetId,
}

impl EntrySize for VerifiedToken {
    fn entry_size(&self) -> u64 {
        // The slots of the map, and the allocation of the claims.
        const ENTRY: usize = 400;
        u64::try_from(ENTRY + self.claims.footprint()).unwrap_or(u64::MAX)
    }
}

/// The digest of a key set's document.
pub(crate) type KeySetId = [u8; 32];

/// The cache key of a token in this process: its GMAC (NIST SP 800-38D) under a random key that never leaves this
/// module.
///
/// A token with the tag of another one would be accepted as that one. Without the key, an attacker can only guess:
/// the probability to match one of ten thousand is less than 2^-100. One nonce for all tags is safe only because
/// tags are secret: two of them would reveal the key. No code may print, store or compare them outside of this
/// file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenTag([u8; 16]);

impl VerifiedTokens {
    /// Returns `None` without a source of randomness. Then verified tokens are not cached.
    pub(crate) fn new() -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key).ok()?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).ok()?);
        Some(Self { tokens: bounded_by_size(CAPACITY, MAX_BYTES), key })
    }

    pub(crate) fn tag(&self, token: &str) -> Option<TokenTag> {
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(token.as_bytes()), &mut []).ok()?;
        tag.as_ref().try_into().ok().map(TokenTag)
    }

    /// Returns the claims of a token that was verified with this key set.
    pub(crate) fn get(&self, tag: &TokenTag, current: &KeySetId) -> Option<Claims> {
        let VerifiedToken { claims, key_set } = self.tokens.get(tag)?;
        (key_set == *current).then_some(claims)
    }

    pub(crate) fn insert(&self, tag: TokenTag, claims: Claims, key_set: KeySetId) {
        self.tokens.insert(tag, VerifiedToken { claims, key_set });
    }
}

/// Prints only the number of tokens.
impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedTokens").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    fn claims(subject: &str) -> Claims {
        Claims::from_members(Map::from_iter([("sub".to_owned(), Value::from(subject))])).unwrap()
    }

    fn verified(tokens: &[&str]) -> VerifiedTokens {
        let verified = VerifiedTokens::new().unwrap();
        for token in tokens {
            verified.insert(verified.tag(token).unwrap(), claims(token), [1; 32]);
        }
        verified
    }

    fn subject(verified: &VerifiedTokens, token: &str, key_set: KeySetId) -> Option<String> {
        let claims = verified.get(&verified.tag(token).unwrap(), &key_set)?;
        claims.subject().map(str::to_owned)
    }

    #[test]
    fn a_token_is_known_with_the_keys_that_verified_it_only() {
        let verified = verified(&["alice", "bob"]);
        assert_eq!(subject(&verified, "alice", [1; 32]).as_deref(), Some("alice"));
        assert_eq!(subject(&verified, "alice", [2; 32]), None);
        assert_eq!(subject(&verified, "alic", [1; 32]), None);
    }

    #[test]
    fn their_number_and_their_bytes_are_bounded() {
        let fill = |count: usize, members: usize| {
            let members = (0..members).map(|n| (format!("{n}"), Value::Array(vec![Value::from(1); 4])));
            let claims = Claims::from_members(members.collect()).unwrap();
            let verified = verified(&[]);
            for n in 0..count {
                let tag = verified.tag(&n.to_string()).unwrap();
                verified.insert(tag, claims.clone(), [1; 32]);
            }
            (verified.tokens.len(), claims.footprint())
        };
        let (held, size) = fill(1_000, 500);
        assert!((100..1_000).contains(&held) && held * size <= 64 << 20, "{held} of {size} bytes");
        let (held, size) = fill(12_000, 1);
        assert!((9_000..=CAPACITY).contains(&held), "{held} of {size} bytes");
    }

    #[test]
    fn another_process_has_other_tags() {
        let tag = |verified: &VerifiedTokens| verified.tag("token").unwrap().0;
        assert_ne!(tag(&verified(&[])), tag(&verified(&[])));
    }

    #[test]
    fn debug_tells_the_number() {
        assert_eq!(format!("{:?}", verified(&["alice"])), "VerifiedTokens { tokens: 1, .. }");
    }

    proptest! {
        /// Includes texts that differ in length or by trailing zeros, which a wrong GHASH would pad to the same
        /// block.
        #[test]
        fn tags_are_equal_only_for_equal_tokens(one in "[ab\\x00]{0,40}", other in "[ab\\x00]{0,40}") {
            let verified = verified(&[]);
            prop_assert_eq!(verified.tag(&one) == verified.tag(&other), one == other);
        }
    }
}
