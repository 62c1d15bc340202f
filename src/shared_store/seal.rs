//! Encrypts and authenticates the values of a shared store, so that access to the store neither reveals claims nor
//! is enough to create a verdict or a record.

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hmac, rand,
};

use super::{
    StoreError,
    key_ring::{KeyRing, RingKey},
};
use crate::{
    cache::CacheKey, client_auth::SecretSource, secret::Secret, telemetry::log_throttle::LogThrottle,
};

/// The version of the format: `version, length of the key id, key id, nonce, ciphertext, tag`.
const VERSION: u8 = 1;

/// The place of a value in the store. A value that was copied to another place cannot be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    Verdict(&'a CacheKey),
    Record,
}

/// Seals and opens the values of a store with the current keys.
pub(crate) struct Sealer {
    source: SecretSource,
    ring: ArcSwapOption<CurrentRing>,
    warnings: LogThrottle,
}

/// The keys, and the text that they were parsed from.
struct CurrentRing {
    text: Arc<Secret>,
    keys: Result<KeyRing, String>,
}

/// The keys at one time.
pub(super) struct CurrentKeys(Arc<CurrentRing>);

impl Sealer {
    pub(crate) fn new(source: SecretSource) -> Self {
        Self { source, ring: ArcSwapOption::empty(), warnings: LogThrottle::default() }
    }

    /// Checks the keys of a source.
    pub(crate) fn check(source: &SecretSource) -> Result<(), String> {
        KeyRing::parse(source.current()?.expose()).map(drop)
    }

    /// Returns the current keys, unless they cannot be read.
    pub(super) fn keys(&self) -> Option<CurrentKeys> {
        self.current().ok().map(CurrentKeys)
    }

    /// Returns whether the keys are not those of an earlier time.
    pub(super) fn have_changed(&self, earlier: &CurrentKeys) -> bool {
        self.current().is_ok_and(|current| !Arc::ptr_eq(&current, &earlier.0))
    }

    /// Encrypts a value with the first key.
    pub(crate) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let current = self.current().map_err(StoreError::new)?;
        let keys = current.keys.as_ref().map_err(|problem| StoreError::new(problem.clone()))?;
        let key = keys.first().ok_or_else(|| StoreError::new("no key"))?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| StoreError::new("no random numbers"))?;
        let mut sealed = header(key);
        sealed.extend_from_slice(&nonce);
        let mut ciphertext = plain.to_vec();
        let aad = Aad::from(associated(key, place));
        cipher(key, place)
            .and_then(|cipher| {
                cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut ciphertext)
            })
            .map_err(|_| StoreError::new("the value cannot be encrypted"))?;
        sealed.append(&mut ciphertext);
        Ok(sealed)
    }

    /// Decrypts a value. Returns `None` and logs a warning if it was not sealed for this place with one of the keys.
    pub(crate) fn open(&self, place: Place<'_>, sealed: &[u8], now: Duration) -> Option<Vec<u8>> {
        match self.try_open(place, sealed) {
            Ok(plain) => Some(plain),
            Err(problem) => {
                if self.warnings.is_due_at(now) {
                    record!(
                        log::Level::Warn, event = "store_value_rejected";
                        "a value of the shared store is ignored: {problem}"
                    );
                }
                None
            }
        }
    }

    fn try_open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, String> {
        let current = self.current()?;
        let keys = current.keys.as_ref().map_err(Clone::clone)?;
        let (id, nonce, ciphertext) = parse(sealed).ok_or("its format is unknown")?;
        let key = keys.find(id).ok_or("its key id is unknown")?;
        let mut plain = ciphertext.to_vec();
        let aad = Aad::from(associated(key, place));
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = cipher(key, place)
            .and_then(|cipher| cipher.open_in_place(nonce, aad, &mut plain).map(|opened| opened.len()))
            .map_err(|_| "its authentication failed")?;
        plain.truncate(length);
        Ok(plain)
    }

    /// Returns the current keys. If the text of the source has changed and is not usable, the keys stay as they are.
    fn current(&self) -> Result<Arc<CurrentRing>, String> {
        let text = self.source.current()?;
        let known = self.ring.load_full();
        if let Some(known) = known.as_ref().filter(|known| Arc::ptr_eq(&known.text, &text)) {
            return Ok(Arc::clone(known));
        }
        let keys = match (KeyRing::parse(text.expose()), known) {
            (Err(problem), Some(known)) if known.keys.is_ok() => {
                if self.warnings.is_due() {
                    record!(
                        log::Level::Warn, event = "credential_kept";
                        "the keys of the shared store: {problem}; the last good keys stay in use"
                    );
                }
                return Ok(known);
            }
            (keys, _) => keys,
        };
        let current = Arc::new(CurrentRing { text, keys });
        self.ring.store(Some(Arc::clone(&current)));
        Ok(current)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The bytes before the nonce.
fn header(key: &RingKey) -> Vec<u8> {
    let length = u8::try_from(key.id().len()).unwrap_or(0);
    let mut header = vec![VERSION, length];
    header.extend_from_slice(key.id().as_bytes());
    header
}

fn parse(sealed: &[u8]) -> Option<(&[u8], [u8; NONCE_LEN], &[u8])> {
    let (&[version, length], rest) = sealed.split_first_chunk::<2>()?;
    let (id, rest) = rest.split_at_checked(usize::from(length))?;
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>()?;
    (version == VERSION).then_some((id, *nonce, ciphertext))
}

/// The associated data: the format, the key id and the place.
fn associated(key: &RingKey, place: Place<'_>) -> Vec<u8> {
    let mut data = b"actix-protect-api".to_vec();
    data.append(&mut header(key));
    data.append(&mut label(place));
    data
}

fn label(place: Place<'_>) -> Vec<u8> {
    match place {
        Place::Verdict(key) => [&b"verdict"[..], key.as_bytes()].concat(),
        Place::Record => b"record".to_vec(),
    }
}

/// Returns the cipher of this place. Each place has a key that is derived from the key of the ring, because random
/// nonces allow at most 2^32 values per key: so this limit applies to one token, and not to all of them.
fn cipher(key: &RingKey, place: Place<'_>) -> Result<LessSafeKey, Unspecified> {
    let ring_key = hmac::Key::new(hmac::HMAC_SHA256, key.secret());
    let derived = hmac::sign(&ring_key, &associated(key, place));
    UnboundKey::new(&AES_256_GCM, derived.as_ref()).map(LessSafeKey::new)
}
