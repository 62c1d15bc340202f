//! A client certificate with its private key, for mutual TLS (RFC 8705).

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    client_auth::watched_files::{Content, RECHECK, WatchedFiles},
    secret::Secret,
};

/// A certificate chain and its private key as PEM, presented in the TLS handshake with the authorization server.
///
/// The first certificate is that of the API, the others lead to its CA. The key is unencrypted PKCS#8, PKCS#1 (RSA)
/// or SEC 1 (EC). A check at start-up ensures that the key belongs to the certificate. The expiry of the
/// certificate is not checked: the authorization server does so in the handshake.
///
/// Two identities are equal if they name the same files, or contain the same PEM. A clone is cheap.
#[derive(Clone)]
pub struct ClientIdentity(Arc<IdentityOrigin>);

enum IdentityOrigin {
    Files(WatchedFiles<Loaded>),
    Inline { certificate: Secret, key: Secret, loaded: Result<Arc<Loaded>, String> },
}

impl ClientIdentity {
    /// Creates an identity from two PEM files, which may be the same file.
    ///
    /// While connections are made, the files are checked once a second and loaded again after a change. If they
    /// cannot be used then (half written, or key and certificate do not match), the last good pair is used and a
    /// warning is logged. Open connections keep their certificate.
    pub fn from_pem_files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        Self::watching([certificate.as_ref().into(), key.as_ref().into()], RECHECK)
    }

    /// Creates an identity from PEM text, which does not change while the process runs.
    pub fn from_pem(certificate: impl Into<Secret>, key: impl Into<Secret>) -> Self {
        let (certificate, key) = (certificate.into(), key.into());
        let loaded = load(certificate.expose().as_bytes(), key.expose().as_bytes()).map(Arc::new);
        Self(Arc::new(IdentityOrigin::Inline { certificate, key, loaded }))
    }

    pub(crate) fn watching(paths: [PathBuf; 2], every: Duration) -> Self {
        Self(Arc::new(IdentityOrigin::Files(WatchedFiles::new(paths, every, load_files))))
    }

    /// Returns an error that names the expected input if there is no usable certificate and key now.
    pub(super) fn check(&self) -> Result<(), String> {
        self.load().map(|_| ())
    }

    fn load(&self) -> Result<Arc<Loaded>, String> {
        match &*self.0 {
            IdentityOrigin::Files(files) => files.get(),
            IdentityOrigin::Inline { loaded, .. } => loaded.clone(),
        }
    }
}

impl PartialEq for ClientIdentity {
    fn eq(&self, other: &Self) -> bool {
        match (&*self.0, &*other.0) {
            (IdentityOrigin::Files(left), IdentityOrigin::Files(right)) => left.paths() == right.paths(),
            (
                IdentityOrigin::Inline { certificate, key, .. },
                IdentityOrigin::Inline { certificate: other_certificate, key: other_key, .. },
            ) => certificate == other_certificate && key == other_key,
            _ => false,
        }
    }
}

impl Eq for ClientIdentity {}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            IdentityOrigin::Files(files) => write!(f, "ClientIdentity({files:?})"),
            IdentityOrigin::Inline { .. } => f.write_str("ClientIdentity([redacted])"),
        }
    }
}

fn load_files(contents: &[Content]) -> Result<Loaded, String> {
    match contents {
        [certificate, key] => load(certificate, key),
        _ => Err("expected a certificate and a key".into()),
    }
}

#[cfg(feature = "rustls")]
use tls::{Loaded, load};

#[cfg(feature = "rustls")]
mod tls {
    use std::sync::Arc;

    use rustls::{
        SignatureScheme,
        client::ResolvesClientCert,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        sign::CertifiedKey,
    };

    use super::ClientIdentity;

    pub(super) type Loaded = CertifiedKey;

    /// Parses certificate and key and checks that they match. The error texts of the parsers are omitted, because
    /// they may quote the input.
    pub(super) fn load(certificate: &[u8], key: &[u8]) -> Result<Loaded, String> {
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| "the certificate chain is not valid PEM")?;
        if chain.is_empty() {
            return Err("no certificate found: expected PEM with \"BEGIN CERTIFICATE\"".into());
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            "no private key found: expected unencrypted PEM with \"BEGIN PRIVATE KEY\", \"BEGIN RSA PRIVATE KEY\" or \
             \"BEGIN EC PRIVATE KEY\""
        })?;
        CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => "the private key does not belong to the first certificate".into(),
            rustls::Error::InvalidCertificate(_) => "the first certificate is not a valid X.509 certificate".into(),
            _ => "the private key cannot be used: expected RSA of at least 2048 bits, P-256, P-384, P-521 or Ed25519"
                .into(),
        })
    }

    impl ClientIdentity {
        /// Returns a resolver that gives rustls the current certificate in each handshake.
        pub(crate) fn resolver(&self) -> Arc<dyn ResolvesClientCert> {
            Arc::new(Resolver(self.clone()))
        }
    }

    #[derive(Debug)]
    struct Resolver(ClientIdentity);

    impl ResolvesClientCert for Resolver {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            self.0
                .load()
                .inspect_err(|problem| record!(log::Level::Error, event = "no_client_certificate"; "no client certificate: {problem}"))
                .ok()
        }

        fn has_certs(&self) -> bool {
            true
        }
    }
}

/// Without the feature `rustls` the certificate is never presented, so only its outer form is checked.
#[cfg(not(feature = "rustls"))]
struct Loaded;

#[cfg(not(feature = "rustls"))]
fn load(certificate: &[u8], key: &[u8]) -> Result<Loaded, String> {
    let has = |pem: &[u8], label: &str| pem.windows(label.len()).any(|part| part == label.as_bytes());
    if !has(certificate, "-----BEGIN CERTIFICATE-----") {
        return Err("no certificate found: expected PEM with \"BEGIN CERTIFICATE\"".into());
    }
    if !has(key, "PRIVATE KEY-----") {
        return Err("no private key found: expected PEM with \"BEGIN PRIVATE KEY\"".into());
    }
    Ok(Loaded)
}

#[cfg(feature = "rustls")]
#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};

    use super::*;
    use crate::{
        client_auth::testing::Folder,
        test::der::{pem, pkcs8_key},
    };

    /// All tests share this key, because creating one is slow.
    static RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());

    fn self_signed(key: &KeyPair) -> String {
        CertificateParams::new(["client".to_owned()]).unwrap().self_signed(key).unwrap().pem()
    }

    fn rsa() -> (String, String) {
        (self_signed(&RSA), RSA.serialize_pem())
    }

    #[test]
    fn pkcs8_pkcs1_and_sec1_keys_are_read() {
        let (certificate, pkcs8) = rsa();
        assert_eq!(ClientIdentity::from_pem(&*certificate, pkcs8).check(), Ok(()));
        let pkcs1 = pem("RSA PRIVATE KEY", pkcs8_key(RSA.serialized_der()));
        assert_eq!(ClientIdentity::from_pem(certificate, pkcs1).check(), Ok(()));

        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = self_signed(&pair);
        assert_eq!(ClientIdentity::from_pem(&*certificate, pair.serialize_pem()).check(), Ok(()));
        let sec1 = pem("EC PRIVATE KEY", pkcs8_key(pair.serialized_der()));
        assert_eq!(ClientIdentity::from_pem(certificate, sec1).check(), Ok(()));
    }

    #[test]
    fn one_file_may_hold_both() {
        let (folder, (certificate, key)) = (Folder::new(), rsa());
        let path = folder.write("both.pem", format!("{key}{certificate}"));
        assert_eq!(ClientIdentity::from_pem_files(&path, &path).check(), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_refused_without_being_shown() {
        let (certificate, key) = rsa();
        let stranger = KeyPair::generate().unwrap().serialize_pem();
        let body = key.lines().nth(1).unwrap();
        for (certificate, key, wanted) in [
            ("", &*key, "no certificate found"),
            (&*key, &*key, "no certificate found"),
            (&*certificate, "", "no private key found"),
            (&*certificate, &*certificate, "no private key found"),
            (&*certificate, &*key.replace("PRIVATE", "ENCRYPTED PRIVATE"), "unencrypted PEM"),
            (&*certificate, &*key.replace("-----END", "-----"), "no private key found"),
            (&*certificate, &*stranger, "does not belong to the first certificate"),
            (&*certificate, &*pem("PRIVATE KEY", b"hunter2"), "cannot be used"),
            (&*pem("CERTIFICATE", b"hunter2"), &*key, "not a valid X.509 certificate"),
            ("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----", &*key, "not valid PEM"),
        ] {
            let problem = ClientIdentity::from_pem(certificate, key).check().unwrap_err();
            assert!(problem.contains(wanted), "{problem}, not {wanted}");
            assert!(!problem.contains(body) && !problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let (folder, (certificate, _)) = (Folder::new(), rsa());
        let identity =
            ClientIdentity::from_pem_files(folder.write("cert.pem", certificate), folder.path("key.pem"));
        assert!(identity.check().unwrap_err().contains("key.pem cannot be read"));
    }

    #[test]
    fn identities_are_equal_by_path_or_by_content_and_show_no_content() {
        assert_eq!(ClientIdentity::from_pem_files("a", "b"), ClientIdentity::from_pem_files("a", "b"));
        assert_ne!(ClientIdentity::from_pem_files("a", "b"), ClientIdentity::from_pem_files("a", "c"));
        assert_eq!(
            ClientIdentity::from_pem("hunter2", "hunter3"),
            ClientIdentity::from_pem("hunter2", "hunter3")
        );
        assert_ne!(
            ClientIdentity::from_pem("hunter2", "hunter3"),
            ClientIdentity::from_pem("hunter2", "hunter4")
        );
        assert_ne!(ClientIdentity::from_pem("a", "b"), ClientIdentity::from_pem_files("a", "b"));
        assert_eq!(
            format!("{:?}", ClientIdentity::from_pem("hunter2", "hunter3")),
            "ClientIdentity([redacted])"
        );
        assert_eq!(format!("{:?}", ClientIdentity::from_pem_files("a", "b")), "ClientIdentity(a, b)");
    }
}
