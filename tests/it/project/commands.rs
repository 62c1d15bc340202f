//! Each command in a block `sh` of the documentation: CI runs it, or this list has the reason why not.

use std::{collections::BTreeSet, fs, path::Path};

/// The files with commands for readers.
const FILES: [&str; 5] =
    ["README.md", "CONTRIBUTING.md", "examples/README.md", "redis/README.md", "template/README.md"];

const EXAMPLES: (&str, &str) = (".ci/run", "cargo run --quiet --locked --example \"$name\" -- --check");
const FIRST_PROGRAM: (&str, &str) =
    ("tests/it/project/readme.rs", ".env(\"RUST_LOG\", \"actix_protect_api=debug");
const NEW_APPLICATION: (&str, &str) = (".ci/run", "step \"first commands of the README\"");
const TEMPLATE: (&str, &str) = (".ci/run", "step \"template\" check_template");
const ON_CALL: (&str, &str) = ("tests/it/project/on_call.rs", "fn the_commands_of_the_page_show_the_cause");
/// All commands of the page `local_development`.
const LOCAL_DEVELOPMENT: (&str, &str) = (".ci/run", "timeout 600 .ci/local_development\n");

/// Each command that is run, and the place that runs it: a file, and a text in this file.
const RUN: &[(&str, (&str, &str))] = &[
    (".ci/run", (".github/workflows/ci.yml", "- run: .ci/run\n")),
    ("cargo new my-api && cd my-api", NEW_APPLICATION),
    ("cargo add actix-web env_logger", NEW_APPLICATION),
    ("cargo add actix-protect-api --path ../actix-protect-api", NEW_APPLICATION),
    (
        "cargo clippy --all-targets -- -D warnings",
        (".ci/run", "cargo clippy --locked --all-targets -- -D warnings"),
    ),
    ("cargo run", FIRST_PROGRAM),
    ("RUST_LOG=actix_protect_api=debug cargo run", FIRST_PROGRAM),
    ("curl -i -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8080/api/data", FIRST_PROGRAM),
    ("cargo run --example dev_issuer", LOCAL_DEVELOPMENT),
    ("cargo run --example quickstart", EXAMPLES),
    ("cargo run --example quickstart -- --check", EXAMPLES),
    ("RUST_LOG=info cargo run --example scopes", EXAMPLES),
    ("cargo test", TEMPLATE),
    ("cargo test --locked", (".ci/run", "step \"tests\" cargo test --locked\n")),
    ("cp .env.example .env", TEMPLATE),
];

/// Each command that is not run, and the reason.
const NOT_RUN: &[(&str, &str)] = &[
    ("apt-get install gcc-aarch64-linux-gnu", "changes the machine"),
    (
        "cargo add actix-protect-api --features mcp",
        "needs a published crate; the example mcp_server is built",
    ),
    (
        "cargo add actix-protect-api --features metrics,tracing",
        "needs a published crate; the template has the feature metrics, and is built",
    ),
    (
        "cargo add metrics-exporter-prometheus --no-default-features",
        "the template has this dependency, and is built",
    ),
    (
        "cargo add actix-protect-api actix-protect-api-redis",
        "needs published crates; the example fleet is built",
    ),
    (
        "cargo add actix-protect-api-redis --path ../actix-protect-api/redis",
        "the example fleet has this dependency, and is built",
    ),
    (
        "cargo add --dev actix-protect-api --features test-util",
        "needs a published crate; the template has this dependency, and is built",
    ),
    ("cargo add rmcp rmcp-actix-web", "the example mcp_server has these dependencies, and is built"),
    (
        "cargo build --release --locked --target aarch64-unknown-linux-gnu",
        "needs the standard library of another target",
    ),
    (
        "cargo generate --path actix-protect-api/template --name my-api",
        "cargo-generate takes longer to build than all tests; .ci/run replaces the placeholders itself",
    ),
    ("cargo test --lib policy", "a part of `cargo test --locked`"),
    (
        "curl -i -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8080/api/me",
        "the tests of the template make this request",
    ),
    ("curl -i http://127.0.0.1:8080/health", "the tests of the template make this request"),
    ("curl -i http://127.0.0.1:8080/ready", "the tests of the template make this request"),
    ("kubectl create secret generic my-api --from-file=client-secret=./client-secret", "needs a cluster"),
    ("rustup target add aarch64-unknown-linux-gnu", "changes the toolchain"),
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Whether the line only sets variables, as in `export NAME=value` or `NAME=value`.
fn is_assignment(line: &str) -> bool {
    let mut words = line.strip_prefix("export ").unwrap_or(line).split(' ');
    let is_set = |word: &str| {
        word.split_once('=').is_some_and(|(name, _)| {
            name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        })
    };
    let value_has_spaces = line.contains('"');
    is_set(words.next().unwrap_or_default()) && (value_has_spaces || words.next().is_none())
}

/// The commands of a file, without their comments.
pub(super) fn commands(file: &str) -> Vec<String> {
    let (text, mut found) = (read(file).replace("\\\n", ""), Vec::new());
    for block in text.split("\n```sh\n").skip(1) {
        let lines = block.split("\n```").next().unwrap_or_default().lines();
        let lines = lines.map(|line| line.split("  # ").next().unwrap_or_default().trim());
        let is_command = |line: &&str| !line.is_empty() && !line.starts_with('#') && !is_assignment(line);
        found.extend(lines.filter(is_command).map(str::to_owned));
    }
    found
}

#[test]
fn each_documented_command_is_run_or_has_a_reason() {
    let pages = super::guide::pages().into_iter().map(|page| format!("docs/{page}.md"));
    let mut unused: BTreeSet<&str> = RUN.iter().map(|(command, _)| *command).collect();
    unused.extend(NOT_RUN.iter().map(|(command, _)| *command));
    let mut complaints = Vec::new();
    for file in FILES.map(str::to_owned).into_iter().chain(pages) {
        for command in commands(&file) {
            unused.remove(&*command);
            let place = RUN.iter().find(|(run, _)| *run == command).map(|(_, place)| *place);
            let place = match &*file {
                "docs/on_call.md" => Some(ON_CALL),
                "docs/local_development.md" => Some(LOCAL_DEVELOPMENT),
                _ => place,
            };
            match place {
                Some((script, text)) if !read(script).contains(text) => {
                    complaints.push(format!("{command}: {script} does not contain {text:?} any more"));
                }
                None if !NOT_RUN.iter().any(|(named, _)| *named == command) => {
                    complaints.push(format!("{file}: nothing runs {command:?}, and it has no reason"));
                }
                _ => {}
            }
        }
    }
    complaints.extend(unused.iter().map(|command| format!("no page has the command {command:?}")));
    assert!(complaints.is_empty(), "{complaints:#?}");
}
