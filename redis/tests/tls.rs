//! Connections with TLS, and a certificate of a private authority.

use std::{
    env, fs,
    io::Write as _,
    process::{Command, Stdio},
};

use actix_protect_api::shared_store::SharedStore as _;
use actix_protect_api_redis::RedisStore;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{
    DAY,
    server::{Server, folder, free_port},
};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Runs [`connect`] in child processes, because the trusted authority is configured by a variable.
#[test]
fn rediss_is_tls_and_the_certificate_is_verified() {
    let (trusted, other, key) = (authority(), authority(), KeyPair::generate().unwrap());
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &trusted).unwrap();
    let folder = folder();
    let write = |name: &str, text: String| {
        let path = folder.join(name).to_str().unwrap().to_owned();
        fs::write(&path, text).unwrap();
        path
    };
    let (ca, other) = (write("ca.pem", trusted.pem()), write("other.pem", other.pem()));
    let (cert, key) = (write("cert.pem", certificate.pem()), write("key.pem", key.serialize_pem()));
    let port = free_port();
    let options = ["--tls-port", &port.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key];
    let _server = Server::start_with(
        &[&options[..], &["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"]].concat(),
    );
    let cases = [
        ("localhost", Some(&ca), "connected"),
        ("127.0.0.1", Some(&ca), "rejected"),
        ("localhost", Some(&other), "rejected"),
        ("localhost", None, "rejected"),
    ];
    let children = cases.map(|(host, authority, expected)| {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--ignored", "--exact", "tls::connect", "--nocapture"]).stdout(Stdio::piped());
        child
            .env("TLS_URL", format!("rediss://{host}:{port}"))
            .envs(authority.map(|ca| ("SSL_CERT_FILE", ca)));
        (child.spawn().unwrap(), host, authority, expected)
    });
    for (child, host, authority, expected) in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains(expected), "{host}, {authority:?}: {text}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
#[ignore = "a part of the test of TLS"]
async fn connect() {
    let store = RedisStore::open(&env::var("TLS_URL").unwrap()).unwrap();
    let outcome = match store.append(b"1", DAY).await {
        Ok(_) => "connected",
        Err(_) => "rejected",
    };
    std::io::stdout().write_all(outcome.as_bytes()).unwrap();
}
