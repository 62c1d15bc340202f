//! Folders and keys for the tests.

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::Value;

use crate::test::{Algorithm, TestKey};

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

/// Returns an RSA key as a private JWK. All tests share it, because creating one is slow.
pub(super) fn rsa_jwk() -> Value {
    static KEY: LazyLock<TestKey> = LazyLock::new(|| TestKey::generate(Algorithm::RS256, "rsa key"));
    without_algorithm(&KEY)
}

/// Creates an EC key as a private JWK.
pub(super) fn ec_jwk(curve: &str) -> Value {
    let algorithm = match curve {
        "P-256" => Algorithm::ES256,
        "P-384" => Algorithm::ES384,
        _ => Algorithm::ES512,
    };
    without_algorithm(&TestKey::generate(algorithm, curve))
}

/// Creates an Ed25519 key as a private JWK.
pub(super) fn ed25519_jwk() -> Value {
    without_algorithm(&TestKey::generate(Algorithm::EdDSA, "ed"))
}

fn without_algorithm(key: &TestKey) -> Value {
    let mut jwk = key.private_jwk();
    jwk.as_object_mut().unwrap().retain(|name, _| !["alg", "use"].contains(&name.as_str()));
    jwk
}
