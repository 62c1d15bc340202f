//! The commands of `docs/on_call.md`, run by a shell: `kubectl` is a script that prints the log of the API, everything else is real.
#![cfg(unix)]

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
    time::Duration,
};

use actix_protect_api::{
    ClientAuthentication, ProtectApi,
    test::{Endpoint, Fault, TestClock, TestIssuer},
};
use actix_web::{App, HttpResponse, rt::time::sleep, web};
use serde_json::json;

use super::commands::commands;
use crate::support::{
    app::{TestApp, serve},
    folder::Folder,
    logs,
    service::introspecting,
};

/// An API with the probe of the page, which responds with the error of the check.
fn api(protect: &ProtectApi) -> TestApp {
    async fn ready(protect: web::Data<ProtectApi>) -> HttpResponse {
        match protect.check().await {
            Ok(()) => HttpResponse::Ok().body("ready"),
            Err(error) => HttpResponse::ServiceUnavailable().body(error.to_string()),
        }
    }
    let protect = protect.clone();
    serve!(1, move || {
        App::new()
            .app_data(web::Data::new(protect.clone()))
            .route("/ready", web::get().to(ready))
            .service(web::scope("/api").wrap(protect.clone()).route("/", web::get().to(HttpResponse::Ok)))
    })
}

/// The shell, with the variables of the page and a `kubectl` that prints the log until now.
struct Shell {
    folder: Folder,
    variables: [(&'static str, String); 3],
}

impl Shell {
    fn new(app: &TestApp, issuer: &str) -> Self {
        let folder = Folder::new();
        let records: Vec<_> =
            logs::records().into_iter().map(|record| format!("{} {}", record.level, record.text)).collect();
        // Other tests write records at the same time.
        let records: Vec<_> = records.into_iter().filter(|text| text.contains(issuer)).collect();
        let log = folder.file("log", &records.join("\n"));
        let kubectl = folder.file("kubectl", &format!("#!/bin/sh\nexec cat {log}\n"));
        fs::set_permissions(kubectl, fs::Permissions::from_mode(0o755)).unwrap();
        let api = format!("http://{}", app.address());
        Self { folder, variables: [("API", api), ("ISSUER", issuer.to_owned()), ("POD", "pod".to_owned())] }
    }

    /// Runs a command and returns its output.
    fn run(&self, command: &str) -> String {
        let path = format!("{}:{}", self.folder.path("."), env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).envs(self.variables.clone()).env("PATH", path).env("NO_PROXY", "*");
        let Output { stdout, stderr, .. } = shell.output().unwrap();
        let text = String::from_utf8(stdout).unwrap();
        assert!(!text.is_empty(), "{command} prints nothing: {}", String::from_utf8_lossy(&stderr));
        text
    }
}

#[actix_web::test]
async fn the_commands_of_the_page_show_the_cause() {
    logs::capture();
    let commands = commands("docs/on_call.md");
    let [alert_one, alert_two, alert_three] = commands.chunks(3).collect::<Vec<_>>()[..] else {
        panic!("expected three commands for each alert of an authorization server, got {commands:#?}");
    };

    // A wrong secret.
    let issuer = TestIssuer::start();
    let wrong = ClientAuthentication::client_secret_basic("a wrong secret");
    let protect = ProtectApi::builder(issuer.issuer(), issuer.audience()).client(issuer.client_id(), wrong);
    let app = api(&protect.build().unwrap());
    assert_eq!(app.get("/api/").token(&issuer.opaque(json!({}))).send().await.status, 500);
    let shell = Shell::new(&app, issuer.issuer());
    expect(
        &shell,
        alert_one,
        &[
            "status 401 (invalid_client) (refused",
            "request rejected: the introspection",
            "introspection_endpoint",
        ],
    );

    // A server that fails.
    let issuer = TestIssuer::start();
    issuer.fault(Endpoint::Introspection, Fault::status(503).always());
    let app = api(&introspecting(&issuer).build().unwrap());
    assert_eq!(app.get("/api/").token(&issuer.opaque(json!({}))).send().await.status, 503);
    let shell = Shell::new(&app, issuer.issuer());
    expect(
        &shell,
        alert_two,
        &["status 503 (failing", "request rejected: the authorization server", " in 0"],
    );

    // Keys that cannot be fetched any more.
    let issuer = TestIssuer::start();
    let clock = TestClock::new();
    let protect = introspecting(&issuer).clock(clock.clone()).build().unwrap();
    let app = api(&protect);
    assert_eq!(app.get("/api/").token(&issuer.jwt(json!({}))).send().await.status, 200);
    issuer.fault(Endpoint::Jwks, Fault::status(502).always());
    clock.advance(Duration::from_secs(2000));
    assert_eq!(app.get("/api/").token(&issuer.jwt(json!({}))).send().await.status, 200);
    let failed =
        |record: &str| record.contains("fetching the key set failed") && record.contains(issuer.issuer());
    while !logs::any(failed) {
        sleep(Duration::from_millis(5)).await;
    }
    let shell = Shell::new(&app, issuer.issuer());
    expect(&shell, alert_three, &["", "fetching the key set failed", issuer.issuer()]);
}

fn expect(shell: &Shell, commands: &[String], texts: &[&str]) {
    for (command, text) in commands.iter().zip(texts) {
        let output = shell.run(command);
        assert!(output.contains(text), "{command}: expected {text:?}, got {output}");
    }
}
