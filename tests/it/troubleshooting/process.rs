//! The trusted certificates, which each process reads once, from the places that variables name. The tests run child
//! processes: this binary with one ignored test.

use std::env;

use actix_protect_api::{ProtectApi, test::TestIssuer};
use actix_web::{App, test, web};
use serde_json::json;

use crate::support::{app::whoami, child, folder::Folder, logs, service::status_of};

const TOKEN: &str = "PROTECT_API_TEST_TOKEN";

/// Where a process finds the certificates that it trusts.
pub(super) struct Certificates {
    file: String,
    directory: Option<String>,
    configured: Option<String>,
    _folder: Folder,
}

impl Certificates {
    /// The issuer's authority.
    pub(super) fn of_the_issuer(issuer: &TestIssuer) -> Self {
        Self::with(issuer.ca_pem().unwrap())
    }

    /// A file without any.
    pub(super) fn none() -> Self {
        Self::with("")
    }

    fn with(content: &str) -> Self {
        let folder = Folder::new();
        Self { file: folder.file("roots.pem", content), directory: None, configured: None, _folder: folder }
    }

    /// And a directory that is not there.
    pub(super) fn and_a_missing_directory(self) -> Self {
        Self { directory: Some(format!("{}-of-nothing", self.file)), ..self }
    }

    /// And the issuer's authority in the configuration.
    pub(super) fn and_configured(self, issuer: &TestIssuer) -> Self {
        Self { configured: issuer.ca_pem().map(str::to_owned), ..self }
    }
}

/// Starts a process that trusts these certificates and calls an API of this issuer. Returns the status and the log records.
pub(super) fn calls(issuer: &TestIssuer, trusted: &Certificates) -> (String, Vec<logs::Record>) {
    let mut command = child::command(module_path!(), "child_calls_an_api");
    command
        .envs(issuer.variables())
        .env(TOKEN, issuer.opaque(json!({})))
        .env("SSL_CERT_FILE", &trusted.file)
        .env_remove("SSL_CERT_DIR");
    if let Some(directory) = &trusted.directory {
        command.env("SSL_CERT_DIR", directory);
    }
    if let Some(pem) = &trusted.configured {
        command.env("MONOCLOUD_BACKEND_ROOT_CERTIFICATES", pem);
    }
    let output = child::output(command);
    let text = String::from_utf8_lossy(&output.stdout);
    let said = |what: &'static str| {
        text.lines().filter_map(move |line| line.split_once(what)).map(|(_, said)| said.to_owned())
    };
    let status = said("STATUS ").next().unwrap_or_else(|| panic!("no status: {text}"));
    let record = |line: String| {
        let parts: Vec<_> = line.split('\t').collect();
        let [level, target, text, pairs @ ..] = &parts[..] else { panic!("no record: {line}") };
        let pair =
            |pair: &&str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        logs::Record {
            level: level.parse().unwrap(),
            target: (*target).to_owned(),
            text: (*text).to_owned(),
            pairs: pairs.iter().filter_map(pair).collect(),
        }
    };
    let records: Vec<_> = said("RECORD ").map(record).collect();
    logs::add(&records);
    (status, records)
}

#[actix_web::test]
#[ignore = "runs as a child process"]
async fn child_calls_an_api() {
    // Without the variable there is no API to call.
    let Ok(token) = env::var(TOKEN) else { return };
    logs::capture();
    let app = App::new().wrap(ProtectApi::from_env()).route("/", web::get().to(whoami));
    let status = status_of(&test::init_service(app).await, "/", &token).await;
    for record in logs::records() {
        let pairs: Vec<_> = record.pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        println!("RECORD {}\t{}\t{}\t{}", record.level, record.target, record.text, pairs.join("\t"));
    }
    println!("STATUS {status}");
}
