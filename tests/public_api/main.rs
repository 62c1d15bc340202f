//! The public API as a text that is committed, `public-api.txt`: no change of it goes unseen, and no type of another
//! crate gets into it unnoticed.
//!
//! ```text
//! cargo test --locked --test public_api                         compares
//! UPDATE_PUBLIC_API=1 cargo test --locked --test public_api     writes the text anew
//! ```
//!
//! Plain `cargo test` leaves it out, because rustdoc's JSON belongs to a version of the compiler.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The format that rustdoc of Rust 1.95 writes, and that `public-api` in the version of this package reads.
const FORMAT: u64 = 57;

/// Crates whose types signatures may name. `actix_http`, `actix_service` and `http` are where actix-web's own names lead;
/// `serde_core` is where serde's traits live.
const KNOWN: [&str; 10] = [
    "actix_http",
    "actix_service",
    "actix_web",
    "alloc",
    "awc",
    "core",
    "http",
    "serde_core",
    "serde_json",
    "std",
];

#[test]
fn the_public_api_is_the_one_that_is_committed() {
    let file = root().join("public-api.txt");
    let seen = listing().join("\n") + "\n";
    if std::env::var_os("UPDATE_PUBLIC_API").is_some() {
        fs::write(&file, seen).unwrap();
        return;
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    if committed == seen {
        return;
    }
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (committed.lines().collect(), seen.lines().collect());
    let gone = old.difference(&new).map(|line| format!("- {line}"));
    let come = new.difference(&old).map(|line| format!("+ {line}"));
    let changes: Vec<_> = gone.chain(come).collect();
    panic!(
        "the public API is another one:\n{}\n\
         If that is meant: UPDATE_PUBLIC_API=1 cargo test --locked --test public_api, and a line in CHANGELOG.md.",
        changes.join("\n")
    );
}

#[test]
fn signatures_name_no_types_of_other_crates() {
    let is_foreign = |root: &str| root != "actix_protect_api" && !KNOWN.contains(&root);
    let foreign: Vec<_> = listing().into_iter().filter(|line| roots(line).any(is_foreign)).collect();
    assert!(foreign.is_empty(), "{foreign:#?}");
}

/// The first names of the paths in a line, as far as they are crates.
fn roots(line: &str) -> impl Iterator<Item = &str> {
    let paths = line.split(|character: char| !character.is_alphanumeric() && !"_:".contains(character));
    paths.filter_map(|path| path.split_once("::")).map(|(root, _)| root).filter(|root| {
        // Not `Self::Item`, `F::resolve`, `<T as Trait>::Output`.
        root.starts_with(|first: char| first.is_ascii_lowercase())
    })
}

/// One line per item, with all features; what is `doc(hidden)` is not part of it.
fn listing() -> Vec<String> {
    let json = rustdoc_json();
    let api = public_api::Builder::from_rustdoc_json(json).omit_blanket_impls(true).build().unwrap();
    api.items().map(ToString::to_string).filter(|line| !is_noise(line)).collect()
}

/// Of the traits that the compiler implements by itself only `Send` and `Sync` are promises; the others change with
/// what is inside of a type.
fn is_noise(line: &str) -> bool {
    let traits =
        ["Freeze", "RefUnwindSafe", "StructuralPartialEq", "Unpin", "UnsafeUnpin", "UnwindSafe"].into_iter();
    line.starts_with("impl") && traits.map(|name| format!("::{name} for ")).any(|part| line.contains(&part))
}

fn rustdoc_json() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let status = Command::new(env!("CARGO"))
        .current_dir(root())
        .env("RUSTDOC", root().join(".ci/rustdoc"))
        .args("rustdoc --quiet --locked -p actix-protect-api --lib --all-features --target-dir".split(' '))
        .arg(target)
        .args(["--", "-Zunstable-options", "--output-format", "json"])
        .status()
        .unwrap();
    assert!(status.success(), "rustdoc failed");

    let json = target.join("doc/actix_protect_api.json");
    let document: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let format = document.get("format_version").and_then(Value::as_u64).unwrap_or_default();
    assert!(
        format == FORMAT,
        "this compiler's rustdoc writes JSON of format {format}, and public-api reads {FORMAT}. Run this test with the \
         compiler that .github/workflows/ci.yml names, or let tests/public_api/Cargo.toml take the public-api that \
         reads the new format, write the listing anew and look at what changed in it",
    );
    json
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
