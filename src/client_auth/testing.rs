//! Folders and keys for the tests.

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::{
    encoding::{AsBigEndian, AsDer, Curve25519SeedBin, EcPrivateKeyBin, Pkcs8V1Der},
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
        EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// A temporary folder for one test, removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("protect-api-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), content).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns an RSA key of 2048 bits as PKCS#8. All tests share it, because creating one is slow.
pub(crate) fn rsa_pkcs8() -> &'static [u8] {
    static KEY: OnceLock<Vec<u8>> = OnceLock::new();
    KEY.get_or_init(|| {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref().to_vec()
    })
}

/// Returns the PKCS#1 key inside a PKCS#8 key, or the SEC 1 key.
pub(crate) fn inner_key(pkcs8: &[u8]) -> &[u8] {
    elements(elements(pkcs8)[0])[2]
}

/// Returns that RSA key as a private JWK.
pub(super) fn rsa_jwk() -> Value {
    let numbers = elements(elements(inner_key(rsa_pkcs8()))[0]);
    let mut jwk = json!({"kty": "RSA", "kid": "rsa key"});
    for (name, number) in ["n", "e", "d", "p", "q", "dp", "dq", "qi"].into_iter().zip(&numbers[1..]) {
        let start = number.iter().position(|byte| *byte != 0).unwrap();
        jwk[name] = URL_SAFE_NO_PAD.encode(&number[start..]).into();
    }
    jwk
}

/// Creates an EC key as a private JWK.
pub(super) fn ec_jwk(curve: &str) -> Value {
    let algorithm = match curve {
        "P-256" => &ECDSA_P256_SHA256_FIXED_SIGNING,
        "P-384" => &ECDSA_P384_SHA384_FIXED_SIGNING,
        _ => &ECDSA_P521_SHA512_FIXED_SIGNING,
    };
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
    let d = AsBigEndian::<EcPrivateKeyBin<'_>>::as_be_bytes(&pair.private_key()).unwrap();
    let [x, y, d] = [x, y, d.as_ref()].map(|member| URL_SAFE_NO_PAD.encode(member));
    json!({"kty": "EC", "kid": curve, "crv": curve, "x": x, "y": y, "d": d})
}

/// Creates an Ed25519 key as a private JWK.
pub(super) fn ed25519_jwk() -> Value {
    let pair = Ed25519KeyPair::generate().unwrap();
    let seed = pair.seed().unwrap();
    let seed = AsBigEndian::<Curve25519SeedBin<'_>>::as_be_bytes(&seed).unwrap();
    let [x, d] = [pair.public_key().as_ref(), seed.as_ref()].map(|member| URL_SAFE_NO_PAD.encode(member));
    json!({"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": x, "d": d})
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// Returns the contents of consecutive DER elements.
fn elements(mut der: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let [_, length, rest @ ..] = der {
        let octets = usize::from(length & 0x7f);
        let (length, rest) = if length & 0x80 == 0 {
            (octets, rest)
        } else {
            let length = rest[..octets].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, &rest[octets..])
        };
        found.push(&rest[..length]);
        der = &rest[length..];
    }
    found
}
