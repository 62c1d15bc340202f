//! The key of a cached verdict. It is a digest, so that no cache, store, dump or log contains a token.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256, digest};

/// The key of a verdict in an [`IntrospectionCache`](super::IntrospectionCache): SHA-256 over the token, the
/// issuer, the introspection endpoint, the client id, and additional fields of the request that are not secret.
///
/// Two resource servers may share one store: a verdict for one client or from one issuer is never used for another.
/// The token cannot be recovered from the key. `Debug` prints the first eight hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// Returns the 32 bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the digest as 64 lower-case hexadecimal digits, for stores with text keys.
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Creates a key from its bytes, for tests of a store.
    pub fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Returns a key for tests of other modules that have no token.
    #[cfg(test)]
    pub(crate) fn numbered(number: u64) -> Self {
        Self(sha256(&number.to_be_bytes()))
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, _) = self.0.split_at(4);
        write!(f, "CacheKey({}…)", hex(head))
    }
}

/// Computes the keys for one issuer, endpoint, client and form of the request. No other code turns a token into a [`CacheKey`].
///
/// The hash state already contains the first block, which is the digest of these. Each token then costs a copy
/// of that state and, if it has at most 47 bytes, one further block.
pub(crate) struct CacheKeyHasher {
    prefix: Context,
}

impl CacheKeyHasher {
    #[cfg(any(test, feature = "__bench"))]
    pub(crate) fn new(issuer: &str, endpoint: &str, client_id: &str) -> Self {
        Self::with_fields(issuer, endpoint, client_id, std::iter::empty())
    }

    /// `fields` are the parts of the request that may change the verdict.
    pub(crate) fn with_fields<'f>(
        issuer: &'f str,
        endpoint: &'f str,
        client_id: &'f str,
        fields: impl IntoIterator<Item = &'f str>,
    ) -> Self {
        let mut prefix = Context::new(&SHA256);
        prefix.update(&first_block([issuer, endpoint, client_id].into_iter().chain(fields)));
        Self { prefix }
    }

    pub(crate) fn key(&self, token: &str) -> CacheKey {
        let mut context = self.prefix.clone();
        context.update(&length(token));
        context.update(token.as_bytes());
        CacheKey(bytes(context.finish().as_ref()))
    }
}

impl fmt::Debug for CacheKeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKeyHasher")
    }
}

/// The block length of SHA-256.
const BLOCK: usize = 64;

/// Returns exactly one block: the digest of the issuer, endpoint, client id and further parts, then zeros. Each of them is
/// preceded by its length, so that two different lists never have the same bytes.
fn first_block<'p>(parts: impl Iterator<Item = &'p str>) -> [u8; BLOCK] {
    let mut framed = Vec::new();
    for part in parts {
        framed.extend_from_slice(&length(part));
        framed.extend_from_slice(part.as_bytes());
    }
    let mut block = [0; BLOCK];
    for (place, byte) in block.iter_mut().zip(sha256(&framed)) {
        *place = byte;
    }
    block
}

fn length(text: &str) -> [u8; 8] {
    u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes()
}

fn sha256(input: &[u8]) -> [u8; 32] {
    bytes(digest(&SHA256, input).as_ref())
}

/// Returns the digest as an array. SHA-256 always has 32 bytes; another length would leave zeros, which the tests
/// would detect.
fn bytes(digest: &[u8]) -> [u8; 32] {
    digest.try_into().unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(parts: [&str; 4]) -> CacheKey {
        let [issuer, endpoint, client_id, token] = parts;
        CacheKeyHasher::new(issuer, endpoint, client_id).key(token)
    }

    const BASE: [&str; 4] = ["https://as.example.test", "https://as.example.test/introspect", "api", "token"];

    #[test]
    fn the_same_token_of_another_issuer_endpoint_or_client_has_another_key() {
        for (index, other) in
            ["https://as.example.test/", "https://as.example.test/b", "api2", "tokem"].iter().enumerate()
        {
            let mut parts = BASE;
            parts[index] = other;
            assert_ne!(key(BASE), key(parts), "part {index}");
        }
        assert_eq!(key(BASE), key(BASE));
    }

    #[test]
    fn moving_a_border_between_two_parts_gives_another_key() {
        assert_ne!(key(["ab", "c", "d", "e"]), key(["a", "bc", "d", "e"]));
        assert_ne!(key(["a", "bc", "d", "e"]), key(["a", "b", "cd", "e"]));
        assert_ne!(key(["a", "b", "cd", "e"]), key(["a", "b", "c", "de"]));
        assert_ne!(key(["a|b", "c", "", "e"]), key(["a", "b|c", "", "e"]));
        assert_ne!(key(["", "", "", ""]), key(["", "", "", "\0"]));
    }

    /// Fixes the format: a new version must be able to read the entries of a shared store.
    #[test]
    fn the_key_is_sha_256_of_the_framed_parts() {
        let mut framed = Vec::new();
        for part in &BASE[..3] {
            framed.extend(u64::try_from(part.len()).unwrap().to_be_bytes());
            framed.extend(part.as_bytes());
        }
        let mut input = digest(&SHA256, &framed).as_ref().to_vec();
        input.resize(64, 0);
        for length in [0, 5, 47, 48, 2000] {
            let token = "t".repeat(length);
            let mut input = input.clone();
            input.extend(u64::try_from(length).unwrap().to_be_bytes());
            input.extend(token.as_bytes());
            let [issuer, endpoint, client_id, _] = BASE;
            let key = key([issuer, endpoint, client_id, &token]);
            assert_eq!(key.as_bytes().as_slice(), digest(&SHA256, &input).as_ref(), "{length}");
        }
    }

    #[test]
    fn debug_shows_eight_digits_and_hex_all_of_them() {
        let key = key(BASE);
        let hex = key.to_hex();
        assert_eq!(hex.len(), 64);
        for (digits, byte) in hex.as_bytes().chunks(2).zip(key.as_bytes()) {
            assert_eq!(digits, format!("{byte:02x}").as_bytes());
        }
        assert_eq!(format!("{key:?}"), format!("CacheKey({}…)", hex.split_at(8).0));
        assert_eq!(format!("{:?}", CacheKeyHasher::new("i", "e", "c")), "CacheKeyHasher");
    }

    proptest! {
        /// Two quadruples have the same key only if they are equal, wherever the text is divided into four parts.
        #[test]
        fn keys_are_equal_only_for_equal_parts(
            text in "[a-c|\\x00\\x01]{0,12}",
            left in proptest::array::uniform3(0_usize..13),
            right in proptest::array::uniform3(0_usize..13),
        ) {
            let (left, right) = (cut(&text, left), cut(&text, right));
            prop_assert_eq!(key(left) == key(right), left == right);
        }

        #[test]
        fn every_token_length_hashes(token in "[A-Za-z0-9._~+/-]{0,400}") {
            prop_assert_eq!(key(["i", "e", "c", &token]), key(["i", "e", "c", &token.clone()]));
            prop_assert_ne!(key(["i", "e", "c", &token]), key(["i", "e", "c", &format!("{token}x")]));
        }
    }

    fn cut(text: &str, mut at: [usize; 3]) -> [&str; 4] {
        at.sort_unstable();
        let [a, b, c] = at.map(|place| place.min(text.len()));
        let (rest, fourth) = text.split_at(c);
        let (rest, third) = rest.split_at(b);
        let (first, second) = rest.split_at(a);
        [first, second, third, fourth]
    }
}
