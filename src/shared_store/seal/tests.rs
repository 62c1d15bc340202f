use super::*;
use crate::client_auth::testing::Folder;

const A: &str = "a:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const B: &str = "b:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHiA";

fn sealer(text: &str) -> Sealer {
    Sealer::new(text.into())
}

fn open(sealer: &Sealer, place: Place<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
    sealer.open(place, bytes, Duration::ZERO)
}

#[test]
fn a_sealed_value_is_opened_by_another_replica_and_does_not_show_its_content() {
    let key = CacheKey::numbered(1);
    for place in [Place::Verdict(&key), Place::Record] {
        let bytes = sealer(A).seal(place, b"alice").unwrap();
        assert!(!bytes.windows(5).any(|part| part == b"alice"));
        assert_eq!(open(&sealer(A), place, &bytes).unwrap(), b"alice");
        assert_ne!(sealer(A).seal(place, b"alice").unwrap(), bytes, "the nonce is random");
    }
}

#[test]
fn a_value_of_another_place_is_not_opened() {
    let (one, two) = (CacheKey::numbered(1), CacheKey::numbered(2));
    let sealer = sealer(A);
    let verdict = sealer.seal(Place::Verdict(&one), b"alice").unwrap();
    let record = sealer.seal(Place::Record, b"alice").unwrap();
    for (place, bytes) in
        [(Place::Verdict(&two), &verdict), (Place::Record, &verdict), (Place::Verdict(&one), &record)]
    {
        assert_eq!(open(&sealer, place, bytes), None, "{place:?}");
    }
}

#[test]
fn a_value_with_any_changed_bit_and_every_part_of_it_is_not_opened() {
    let sealer = sealer(&format!("{A}\n{B}"));
    let bytes = sealer.seal(Place::Record, b"alice").unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&sealer, Place::Record, &changed), None, "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert_eq!(open(&sealer, Place::Record, &bytes[..length]), None, "{length} bytes");
    }
    assert_eq!(open(&sealer, Place::Record, &[bytes.as_slice(), b"x"].concat()), None);
    assert!(open(&sealer, Place::Record, &bytes).is_some());
}

#[test]
fn a_key_is_replaced_in_two_steps() {
    let (old, both, new) = (sealer(A), sealer(&format!("{B}\n{A}")), sealer(B));
    let by_old = old.seal(Place::Record, b"1").unwrap();
    let by_both = both.seal(Place::Record, b"2").unwrap();
    assert!(open(&both, Place::Record, &by_old).is_some());
    assert!(open(&new, Place::Record, &by_both).is_some());
    assert_eq!(open(&new, Place::Record, &by_old), None);
    assert_eq!(open(&old, Place::Record, &by_both), None);
}

#[test]
fn a_key_with_the_same_id_but_other_bytes_opens_nothing() {
    let other = B.replace("b:", "a:");
    let bytes = sealer(A).seal(Place::Record, b"alice").unwrap();
    assert_eq!(open(&sealer(&other), Place::Record, &bytes), None);
}

#[test]
fn a_new_content_of_the_file_is_used_and_a_wrong_one_is_not() {
    let folder = Folder::new();
    let path = folder.write("keys", A);
    let sealer = Sealer::new(SecretSource::watching(&path, Duration::ZERO));
    folder.write("keys", format!("{B}\n{A}"));
    let bytes = sealer.seal(Place::Record, b"alice").unwrap();
    assert!(bytes.starts_with(&[VERSION, 1, b'b']));
    folder.write("keys", "hunter2");
    assert!(sealer.seal(Place::Record, b"alice").unwrap().starts_with(&[VERSION, 1, b'b']));
    assert!(open(&sealer, Place::Record, &bytes).is_some());
}

#[test]
fn a_source_without_usable_keys_is_an_error() {
    assert!(Sealer::check(&"hunter2".into()).unwrap_err().contains("expected a key of 32 bytes"));
    let missing = SecretSource::file("/does/not/exist");
    assert!(Sealer::check(&missing).is_err());
    Sealer::new(missing).seal(Place::Record, b"alice").unwrap_err();
}
