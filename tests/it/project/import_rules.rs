//! Rules for the sources: which files may use which dependencies, the layers, the length of files, and the comments.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The files of `src`, by their path below `src`.
fn files() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
    let files: Vec<_> = found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect();
    assert!(files.len() > 30, "the sources were not found");
    files
}

/// The same without tests, and without the test issuer.
pub(crate) fn sources() -> Vec<(String, String)> {
    let is_test = |name: &str| {
        name.starts_with("test/")
            || name == "test.rs"
            || name.ends_with("testing.rs")
            || name.ends_with("tests.rs")
            || name.contains("/tests/")
    };
    let sources = files().into_iter().filter(|(name, _)| !is_test(name));
    sources.map(|(name, text)| (name, split_tests(&text).0.trim_end().to_owned())).collect()
}

/// The code, and the module of unit tests at the end of the file; that is empty if the file has none.
fn split_tests(text: &str) -> (&str, &str) {
    text.split_once("#[cfg(test)]\nmod tests {\n").unwrap_or((text, ""))
}

/// Lines of code, not of documentation, that name it.
fn naming(sources: &[(String, String)], is_named: impl Fn(&str) -> bool) -> Vec<(&str, &str)> {
    let lines =
        sources.iter().flat_map(|(name, text)| text.lines().map(move |line| (name.as_str(), line.trim())));
    lines.filter(|(_, line)| !line.starts_with("//")).filter(|(_, line)| is_named(line)).collect()
}

#[track_caller]
fn only(allowed: &[&str], is_named: impl Fn(&str) -> bool) {
    let sources = sources();
    let seen = naming(&sources, is_named);
    let outside: Vec<_> = seen.iter().filter(|(name, _)| !allowed.contains(name)).collect();
    assert!(outside.is_empty(), "{outside:#?}");
    for name in allowed {
        assert!(
            seen.iter().any(|(seen, _)| seen == name),
            "{name} is allowed to and does not: shorten the list"
        );
    }
}

/// Returns whether the line contains the path as a whole, not as the end of another name.
fn names(line: &str, path: &str) -> bool {
    let mut parts = line.split(path).peekable();
    while let Some(before) = parts.next() {
        let is_own =
            !before.ends_with(|character: char| character.is_alphanumeric() || "_:".contains(character));
        if is_own && parts.peek().is_some() {
            return true;
        }
    }
    false
}

#[test]
fn only_the_http_client_makes_calls() {
    only(&["issuer/http.rs", "issuer/http/client.rs", "issuer/http/connector.rs"], |line| {
        names(&line.replace("awc::Client", ""), "awc::") || line.contains("use awc")
    });
}

#[test]
fn only_response_creates_statuses_and_only_the_http_client_reads_them() {
    only(&["response.rs", "issuer/http.rs"], |line| line.contains("StatusCode"));
}

#[test]
fn only_the_reader_of_variables_reads_the_environment() {
    only(&["protect_api/env.rs"], |line| {
        line.contains("std::env")
            || names(line, "envy::")
            || line.contains("std::{env")
            || names(line, "env::var")
    });
}

/// Only files that create TLS clients or contain their certificates.
#[test]
fn few_files_use_rustls() {
    only(&["client_auth/identity.rs", "issuer/tls.rs", "issuer/http/connector.rs"], |line| {
        names(line, "rustls::") || names(line, "rustls_native_certs::") || line.contains("use rustls")
    });
}

#[test]
fn nothing_validates_tokens_with_a_second_library() {
    only(&[], |line| line.contains("jsonwebtoken"));
}

#[test]
fn nothing_prints() {
    only(&[], |line| ["println!", "eprintln!", "dbg!", "print!"].iter().any(|name| names(line, name)));
}

/// The limit in lines, and the files that are still longer, with their limits: these are to be split.
const LONGEST: usize = 350;
const STILL_LONGER: [(&str, usize); 3] =
    [("introspection/circuit_breaker.rs", 450), ("issuer/refresh.rs", 370), ("protect_api/env.rs", 370)];

#[test]
fn no_file_is_too_long() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        let longest =
            STILL_LONGER.iter().find(|(longer, _)| *longer == name).map_or(LONGEST, |(_, lines)| *lines);
        assert!(lines <= longest, "{name} has {lines} lines without its tests, expected at most {longest}");
    }
}

#[test]
fn long_unit_tests_are_in_a_file() {
    for (name, text) in files() {
        let lines = split_tests(&text).1.lines().count();
        assert!(lines <= 200, "{name} has {lines} lines of tests: move them to a file `tests.rs`");
    }
}

/// The two patterns that make comments hard to read: a clause as the subject, and "of its own" and the like.
#[test]
fn comments_are_literal() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut comments) = (Vec::new(), 0);
    let mut paths: Vec<_> =
        ["src", "tests", "examples", "benches", "redis"].map(|folder| root.join(folder)).into();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        for line in fs::read_to_string(&path).unwrap().lines() {
            let Some(comment) = line.trim_start().strip_prefix("//") else { continue };
            comments += 1;
            let comment = comment.trim_start_matches(['/', '!']).trim_start();
            if !is_literal(comment) {
                found.push(format!("{}: {comment}", path.strip_prefix(root).unwrap().display()));
            }
        }
    }
    assert!(comments > 3000, "the comments were not found");
    assert!(found.is_empty(), "{found:#?}");
}

/// Whether no sentence of the line starts with a clause, and nothing is "of its own" or the like.
fn is_literal(comment: &str) -> bool {
    let clauses = ["What", "Who", "Whoever"];
    let is_clause = |sentence: &str| clauses.contains(&sentence.split([' ', ',']).next().unwrap_or_default());
    let possessives = [
        " of its own",
        " of their own",
        " of our own",
        " of your own",
        " of one's own",
        "'s own,",
        "'s own.",
        "'s own;",
        " of yours",
        " of ours",
    ];
    let has_possessive = possessives.iter().any(|possessive| format!("{comment} ").contains(possessive));
    !has_possessive && !comment.split(". ").any(is_clause)
}

#[test]
fn comments_with_a_clause_as_subject_or_a_possessive_are_found() {
    for bad in [
        "What nobody knows yet.",
        "Yes. Who asks",
        "Whoever, perhaps",
        "a store of ours.",
        "of a test's own.",
    ] {
        assert!(!is_literal(bad), "{bad}");
    }
    for good in ["Returns the value. Whose it is does not matter.", "A whole one", "its own certificate"] {
        assert!(is_literal(good), "{good}");
    }
}

/// The modules of the crate from bottom to top. Each may use only those before it.
const LAYERS: [&str; 32] = [
    "record",
    "clock",
    "secret",
    "redact",
    "algorithm",
    "jwk",
    "claims",
    "error",
    "deadline",
    "duration_text",
    "bearer",
    "waiting_room",
    "revocation",
    "telemetry",
    "response",
    "certificate",
    "policy",
    "client_auth",
    "cache",
    "shared_store",
    "settings",
    "issuer",
    "jwt",
    "introspection",
    "validator",
    "protect_api",
    "profile",
    "events",
    "caller",
    "middleware",
    "mcp",
    "lib",
];

/// The modules of this crate that a line of code names: `crate::a::…`, or the first names in `crate::{a, b::…}`.
fn modules_in(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in code.split("crate::").skip(1) {
        let Some(list) = part.strip_prefix('{') else {
            found.push(part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            continue;
        };
        let (mut depth, mut name, mut is_first) = (0_usize, String::new(), true);
        for character in list.chars() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                _ if depth > 0 => {}
                ',' => {
                    found.push(std::mem::take(&mut name));
                    is_first = true;
                }
                ':' => is_first = false,
                c if is_first && (c.is_alphanumeric() || c == '_') => name.push(c),
                _ => {}
            }
        }
        found.push(name);
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn modules_use_only_lower_layers() {
    let layer = |module: &str| LAYERS.iter().position(|known| *known == module);
    let mut upward = Vec::new();
    for (file, text) in sources() {
        let own = file.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        // The front page, the guide and the hooks of the benchmarks stand above everything.
        if ["lib", "guide", "bench"].contains(&own.as_str()) {
            continue;
        }
        let own_layer = layer(&own).unwrap_or_else(|| panic!("{file}: add {own} to the layers"));
        let is_comment = |line: &&str| line.trim_start().starts_with("//");
        let code: Vec<&str> = text.lines().filter(|line| !is_comment(line)).collect();
        for module in modules_in(&code.join("\n")) {
            if let Some(used) = layer(&module).filter(|used| *used > own_layer) {
                upward.push(format!("{file} uses {}", LAYERS[used]));
            }
        }
    }
    assert!(upward.is_empty(), "{upward:#?}");
}
