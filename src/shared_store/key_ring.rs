//! The keys of a shared store: one encrypts, all decrypt, so that keys can be replaced while replicas run.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use zeroize::{Zeroize as _, Zeroizing};

/// The length of a key in bytes.
const KEY: usize = 32;

/// The longest name of a key.
const MAX_ID: usize = 32;

/// The keys of a shared store. The first key encrypts.
pub(crate) struct KeyRing(Vec<RingKey>);

pub(crate) struct RingKey {
    id: String,
    secret: Zeroizing<[u8; KEY]>,
}

impl KeyRing {
    /// Parses one key per line: `id:key`, or a key alone, whose id is then derived from it. A key is 32 bytes in
    /// base64url or in hexadecimal digits. Empty lines are skipped. The error contains no part of the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<RingKey> = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let key = RingKey::parse(line.trim())
                .map_err(|problem| format!("line {}: {problem}", number.saturating_add(1)))?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(format!("line {}: the key id is used twice", number.saturating_add(1)));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err("expected at least one key, found none".into()) } else { Ok(Self(keys)) }
    }

    /// Returns the key that encrypts.
    pub(crate) fn first(&self) -> Option<&RingKey> {
        self.0.first()
    }

    /// Returns the key with this id.
    pub(crate) fn find(&self, id: &[u8]) -> Option<&RingKey> {
        self.0.iter().find(|key| key.id.as_bytes() == id)
    }
}

impl RingKey {
    fn parse(line: &str) -> Result<Self, &'static str> {
        let (id, text) = match line.split_once(':') {
            Some((id, text)) => (Some(id.trim()), text.trim()),
            None => (None, line),
        };
        let secret = decode(text).ok_or("expected a key of 32 bytes in base64url or hexadecimal digits")?;
        let id = id.map_or_else(|| derived_id(&secret), str::to_owned);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(is_plain) {
            return Err("expected a key id of 1 to 32 letters, digits, `-`, `_` or `.`");
        }
        Ok(Self { id, secret })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secret(&self) -> &[u8; KEY] {
        &self.secret
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(RingKey::id)).finish()
    }
}

fn decode(text: &str) -> Option<Zeroizing<[u8; KEY]>> {
    let bytes = Zeroizing::new(if text.len() == 2 * KEY {
        from_hex(text)?
    } else {
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?
    });
    let mut key: [u8; KEY] = bytes.as_slice().try_into().ok()?;
    let secret = Zeroizing::new(key);
    key.zeroize();
    Some(secret)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit =
        |character: &u8| char::from(*character).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    pairs.map(byte).collect()
}

/// Returns the first eight hexadecimal digits of the digest of the key.
fn derived_id(secret: &[u8; KEY]) -> String {
    let digest = digest(&SHA256, secret);
    digest.as_ref().iter().take(4).fold(String::new(), |id, byte| id + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64URL: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    #[test]
    fn a_key_is_hexadecimal_or_base64url_with_or_without_an_id() {
        let expected: Vec<u8> = (0..32).collect();
        for text in [HEX, BASE64URL, &format!("{BASE64URL}="), &format!("a:{HEX}\n"), &format!(" a : {HEX} ")]
        {
            let ring = KeyRing::parse(text).unwrap();
            assert_eq!(ring.first().unwrap().secret().as_slice(), expected, "{text}");
        }
        let derived = KeyRing::parse(HEX).unwrap().first().unwrap().id().to_owned();
        assert_eq!(derived, KeyRing::parse(BASE64URL).unwrap().first().unwrap().id());
        assert_eq!(derived, "630dcd29");
    }

    #[test]
    fn the_first_key_encrypts_and_every_key_is_found() {
        let ring = KeyRing::parse(&format!("new:{HEX}\r\n\nold:{BASE64URL}\n")).unwrap();
        assert_eq!(ring.first().unwrap().id(), "new");
        assert_eq!(ring.find(b"old").unwrap().id(), "old");
        assert!(ring.find(b"other").is_none());
        assert_eq!(format!("{ring:?}"), r#"["new", "old"]"#);
    }

    #[test]
    fn a_wrong_key_is_an_error_that_contains_no_part_of_it() {
        let short = HEX.split_at(62).0;
        for (text, part) in [
            ("", "found none"),
            ("\n \n", "found none"),
            (short, "line 1: expected a key of 32 bytes"),
            ("hunter2", "line 1: expected a key of 32 bytes"),
            (&format!("{HEX}00"), "expected a key of 32 bytes"),
            (&format!("a:{HEX}\nhunter2:x"), "line 2: expected a key of 32 bytes"),
            (&format!(":{HEX}"), "expected a key id"),
            (&format!("hunter 2:{HEX}"), "expected a key id"),
            (&format!("{}:{HEX}", "a".repeat(33)), "expected a key id"),
            (&format!("a:{HEX}\na:{HEX}"), "line 2: the key id is used twice"),
        ] {
            let error = KeyRing::parse(text).unwrap_err();
            assert!(error.contains(part) && !error.contains("hunter"), "{text}: {error}");
        }
    }
}
