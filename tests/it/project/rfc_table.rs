//! `tests/README.md`: the table from the RFCs to the tests.

use std::{collections::BTreeSet, fs, path::Path};

const PAGE: &str = include_str!("../../README.md");

/// Adds the names of the test functions in this folder and below.
fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(tests_in(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The functions after `#[test]` and the like, also those of `proptest!`.
fn tests_in(text: &str) -> Vec<String> {
    let (mut names, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.ends_with("test]") && line.starts_with("#[") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| is_test) {
            names.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            is_test = false;
        }
    }
    names
}

#[test]
fn every_test_of_the_rfc_table_exists() {
    let mut names = BTreeSet::new();
    for folder in ["src", "tests/it"] {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut names);
    }
    let (_, tables) = PAGE.split_once("## From the RFCs to the tests").unwrap();
    let is_row = |line: &&str| {
        line.starts_with("| ") && !["| Section", "| ---"].iter().any(|head| line.starts_with(head))
    };
    let rows: Vec<_> = tables.lines().filter(is_row).collect();
    assert!(rows.len() > 50, "the table was not found");
    let mut missing = BTreeSet::new();
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        assert!(tests.contains('`'), "no test is named: {row}");
        missing.extend(tests.split('`').skip(1).step_by(2).filter(|name| !names.contains(*name)));
    }
    assert!(missing.is_empty(), "these tests do not exist: {missing:#?}");
}
