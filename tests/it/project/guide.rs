//! The guide: every page is included and listed, its code is compiled, and its language and layout follow CONTRIBUTING.

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

/// The files that are rendered as pages, by their paths.
fn texts() -> Vec<String> {
    let docs = pages().into_iter().map(|page| format!("docs/{page}.md"));
    docs.chain(["README.md", "SECURITY.md", "DESIGN.md", "CHANGELOG.md"].map(str::to_owned)).collect()
}

/// The lines of a file, each with its place and whether it is in a block of code.
fn lines(file: &str) -> Vec<(String, String, bool)> {
    let (mut is_code, mut lines) = (false, Vec::new());
    for (number, line) in read(file).lines().enumerate() {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        lines.push((format!("{file}:{}: {line}", number + 1), line.to_owned(), is_code && !is_fence));
    }
    lines
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
        "servers",
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
    for file in texts() {
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
                // A block that is not compiled must not be Rust.
                (None, Some(false)) => assert!(!line.starts_with("use ") && !line.contains("fn "), "{at}"),
                (None, _) => {}
            }
        }
        assert_eq!(block, None, "{file} ends in a block");
    }
    assert!(compiled > 20, "{compiled} blocks were found");
}

/// The two patterns that made sentences hard to read: a clause as the subject, and "of its own".
fn is_hard_to_read(line: &str) -> bool {
    const SUBJECTS: [&str; 3] = ["What", "Who", "Whoever"];
    const OWNERS: [&str; 8] = [
        "of its own",
        "of their own",
        "of your own",
        "of our own",
        "of yours",
        "of ours",
        "of hers",
        "of theirs",
    ];
    let cells = line.split(['.', ':', ';', '|']).map(|part| part.trim_start_matches([' ', '*', '-', '"']));
    let mut starts = cells.map(|part| part.split(' ').next().unwrap_or_default());
    starts.any(|word| SUBJECTS.contains(&word)) || OWNERS.iter().any(|owner| line.contains(owner))
}

#[test]
fn no_sentence_has_a_clause_as_its_subject() {
    for hard in
        ["What nobody knows yet.", "- Who asks", "Yes. What else", "| Whoever |", "a store of your own"]
    {
        assert!(is_hard_to_read(hard), "{hard}");
    }
    for plain in ["### Why is it so?", "Whose token", "on the user's own page", "It says what to do."] {
        assert!(!is_hard_to_read(plain), "{plain}");
    }
    let lines = texts().into_iter().flat_map(|file| lines(&file));
    let hard: Vec<_> = lines.filter(|(_, line, _)| is_hard_to_read(line)).map(|(at, ..)| at).collect();
    assert!(hard.is_empty(), "{hard:#?}");
}

#[test]
fn tables_and_code_fit_into_the_rendered_page() {
    let mut wide = Vec::new();
    for (at, line, is_code) in texts().into_iter().flat_map(|file| lines(&file)) {
        let columns = line.replace("\\|", "").matches('|').count();
        let is_hidden = line == "#" || line.starts_with("# ");
        if is_code && !is_hidden && line.chars().count() > 88
            || !is_code && line.starts_with('|') && columns > 5
        {
            wide.push(at);
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

/// The blocks of code of a text, without the marks of a comment in front of its lines.
fn blocks(text: &str) -> Vec<String> {
    let plain = |line: &str| line.strip_prefix("//!").map_or(line, str::trim_start).to_owned();
    let text: Vec<_> = text.lines().map(plain).collect();
    text.join("\n").split("\n```").skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_complete_program_installs_a_logger() {
    let mut programs = 0;
    for file in texts().into_iter().chain(["src/lib.rs".to_owned()]) {
        for block in blocks(&read(&file)).iter().filter(|block| block.contains("\nasync fn main()")) {
            assert!(block.contains("env_logger::init();"), "{file}: {block}");
            programs += 1;
        }
    }
    assert!(programs >= 3, "{programs} programs were found");
}

#[test]
fn every_example_installs_a_logger() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut programs) = (vec![root.join("examples")], 0);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = if path.extension().is_some_and(|end| end == "rs") {
                fs::read_to_string(&path).unwrap()
            } else {
                String::new()
            };
            if text.contains("\nasync fn main()") {
                let starts = ["support::init_logger();", "env_logger::init_from_env("];
                assert!(starts.iter().any(|start| text.contains(start)), "{}", path.display());
                programs += 1;
            }
        }
    }
    assert!(programs >= 15, "{programs} programs were found");
}
