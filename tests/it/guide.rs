//! The guide is whole: every page is there, is listed, and hides no code from the compiler.

use std::{collections::BTreeSet, fs, path::Path};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The pages in `docs`, by their names.
fn pages() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_page_is_included_under_its_name_and_listed() {
    let guide = read("src/guide.rs");
    for page in pages() {
        let module = format!("#[doc = include_str!(\"../docs/{page}.md\")]\npub mod {page} {{}}");
        assert!(guide.contains(&module), "{page} is not included");
        assert!(guide.contains(&format!("| [`{page}`] |")), "{page} is not listed");
    }
    for page in [
        "getting_started",
        "jwt_or_introspection",
        "caching",
        "scopes_and_groups",
        "errors",
        "observability",
        "mtls",
        "testing",
        "proxies",
        "tuning",
        "troubleshooting",
        "configuration",
        "limits",
    ] {
        assert!(pages().contains(page), "{page} is missing");
    }
}

#[test]
fn every_block_of_rust_is_compiled() {
    const COMPILED: [&str; 3] = ["", "no_run", "rust,no_run"];
    const NO_RUST: [&str; 3] = ["sh", "toml", "text"];
    let mut compiled = 0;
    let texts = pages().into_iter().map(|page| format!("docs/{page}.md"));
    for file in texts.chain(["README.md", "SECURITY.md", "DESIGN.md", "CHANGELOG.md"].map(str::to_owned)) {
        let mut block = None;
        for (number, line) in read(&file).lines().enumerate() {
            let at = format!("{file}:{}: {line}", number + 1);
            match (line.strip_prefix("```"), block) {
                (Some(kind), None) => {
                    assert!(COMPILED.contains(&kind) || NO_RUST.contains(&kind), "{at}");
                    compiled += usize::from(COMPILED.contains(&kind));
                    block = Some(COMPILED.contains(&kind));
                }
                (Some(kind), Some(_)) => {
                    assert_eq!(kind, "", "{at}");
                    block = None;
                }
                // What is not compiled must not be Rust.
                (None, Some(false)) => assert!(!line.starts_with("use ") && !line.contains("fn "), "{at}"),
                (None, _) => {}
            }
        }
        assert_eq!(block, None, "{file} ends in a block");
    }
    assert!(compiled > 20, "{compiled} blocks were found");
}
