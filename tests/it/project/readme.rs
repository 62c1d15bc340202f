//! The first program of the README as a real program: it runs in a child process, against the test issuer, and its log
//! contains the reason of each rejection.

use std::{
    env,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use actix_protect_api::test::TestIssuer;
use actix_web::http::Method;
use serde_json::json;

use crate::support::child;

mod program {
    include!("readme/program.rs");

    pub(super) fn start() -> std::io::Result<()> {
        main()
    }
}

const README: &str = include_str!("../../../README.md");
const PROGRAM: &str = include_str!("readme/program.rs");
const MARK: &str = "PROTECT_API_TEST_README";

#[test]
fn the_program_that_is_run_is_the_first_one_of_the_readme() {
    let block = README.split("```rust,no_run\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert_eq!(block.matches("8080").count(), 1, "the port was not found");
    let any_port = block.replace("8080", "0");
    assert_eq!(PROGRAM, any_port, "copy the program to tests/it/project/readme/program.rs, with the port 0");
}

#[test]
fn the_badges_state_the_version_of_rust_and_the_licence_of_the_manifest() {
    let manifest = include_str!("../../../Cargo.toml");
    let value = |name: &str| {
        let line = manifest.lines().find_map(|line| line.strip_prefix(&format!("{name} = \"")));
        line.unwrap().trim_end_matches('"').to_owned()
    };
    let rust = format!("badge/rust-{}%2B-", value("rust-version"));
    let licence = format!("badge/licence-{}-", value("license").replace('-', "--").replace(' ', "%20"));
    for text in [rust, licence] {
        assert!(README.contains(&text), "the README has no badge with {text}");
    }
    assert!(README.contains(&format!("Rust {} or later", value("rust-version"))));
}

#[test]
#[ignore = "runs as a child process"]
fn child_runs_the_program() {
    if env::var_os(MARK).is_some() {
        program::start().unwrap();
    }
}

/// The running program, and what it writes to its standard error. Killed when dropped.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut child = child::command(module_path!(), "child_runs_the_program")
            .envs(variables)
            .env(MARK, "1")
            // The value of the README. The records of the server contain the port.
            .env("RUST_LOG", "actix_protect_api=debug,actix_server=info")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let written = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || written.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Waits for a line with this text. Fails if the program ends, or writes nothing for long.
    fn line_with(&self, text: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(60)) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => before.push(line),
                Err(error) => panic!("no line has {text:?} ({error}): {before:#?}"),
            }
        }
    }

    fn base(&self) -> String {
        let line = self.line_with("listening on: ");
        format!("http://{}", line.rsplit(' ').next().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn status(method: Method, url: String, token: Option<&str>) -> u16 {
    let mut request = awc::Client::default().request(method, url).timeout(Duration::from_secs(60));
    if let Some(token) = token {
        request = request.insert_header(("Authorization", format!("Bearer {token}")));
    }
    request.send().await.unwrap().status().as_u16()
}

#[actix_web::test]
async fn the_log_of_the_program_has_the_reason_of_each_rejection() {
    let issuer = TestIssuer::start();
    let program = Program::start(issuer.variables());
    let base = program.base();
    let reader = issuer.opaque(json!({ "sub": "alice", "scope": "posts:read" }));
    let writer = issuer.opaque(json!({ "sub": "bob", "scope": "posts:write" }));
    for (method, path, token, expected, reason) in [
        (Method::GET, "/api/data", None, 401, "no bearer token"),
        (Method::GET, "/api/data", Some("unknown"), 401, "the token is not active"),
        (Method::GET, "/api/data", Some(&*reader), 200, ""),
        (Method::POST, "/api/posts", Some(&*reader), 403, "a required scope is missing"),
        (Method::POST, "/api/posts", Some(&*writer), 200, ""),
    ] {
        assert_eq!(status(method, format!("{base}{path}"), token).await, expected, "{path} {token:?}");
        if expected != 200 {
            let line = program.line_with("request rejected: ");
            assert!(line.contains("DEBUG actix_protect_api]"), "{line}");
            assert!(line.contains(&format!("request rejected: {reason}")), "{line}");
        }
    }
}

#[actix_web::test]
async fn the_log_of_the_program_has_the_reason_of_a_500() {
    let issuer = TestIssuer::start();
    let mut variables = issuer.variables();
    variables.push(("MONOCLOUD_BACKEND_CLIENT_SECRET".to_owned(), "not the secret".to_owned()));
    let program = Program::start(variables);
    let base = program.base();
    let token = issuer.opaque(json!({}));
    assert_eq!(status(Method::GET, format!("{base}/api/data"), Some(&token)).await, 500);
    let line = program.line_with("request rejected: ");
    assert!(line.contains("ERROR"), "{line}");
    assert!(line.contains("the introspection endpoint rejected the request: status 401"), "{line}");
}
