//! The tables of the page.

use std::collections::BTreeSet;

use log::Level;

use super::{Line, Walked};

const PAGE: &str = include_str!("../../../docs/troubleshooting.md");

/// The one target of all records.
const TARGET: &str = "actix_protect_api";

/// A row of a table: the heading above it, and its first cell.
pub(super) struct Row {
    pub(super) section: &'static str,
    cell: &'static str,
}

pub(super) fn rows() -> Vec<Row> {
    let (mut rows, mut section, mut is_in_body) = (Vec::new(), "", false);
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading;
        } else if line.starts_with("| --- |") {
            is_in_body = true;
        } else if let Some(cells) = line.strip_prefix("| ").filter(|_| is_in_body) {
            let cell = cells.split(" | ").next().unwrap();
            rows.push(Row { section, cell });
        } else {
            is_in_body = false;
        }
    }
    assert!(rows.len() > 40, "the tables of the page were not found");
    rows
}

impl Row {
    /// Symptoms are in plain words; everywhere else the first quote is the name.
    pub(super) fn name(&self) -> &'static str {
        if self.section == "Other symptoms" { self.cell } else { self.quotes()[0] }
    }

    fn quotes(&self) -> Vec<&'static str> {
        self.cell.split('`').skip(1).step_by(2).collect()
    }

    /// Returns the lines that are not on the page, and the quotes of the page that are not among the lines.
    pub(super) fn complaints(&self, lines: &[Line]) -> Vec<String> {
        if self.section == "Other symptoms" {
            return Vec::new();
        }
        let (name, quotes) = (self.name(), self.quotes());
        let at = format!("{}, `{name}`", self.section);
        let mut complaints = Vec::new();
        for quote in &quotes {
            if !lines.iter().any(|line| self.quotes_line(quote, line)) {
                complaints.push(format!("{at}: nothing like `{quote}` was seen"));
            }
        }
        for line in lines {
            if !quotes.iter().any(|quote| self.quotes_line(quote, line)) {
                complaints.push(format!("{at}: the page has nothing like {line}"));
            }
        }
        complaints
    }

    /// Whether the line is word for word what the page leads the reader to look for.
    fn quotes_line(&self, quote: &str, line: &Line) -> bool {
        let levels: &[Level] = match self.section {
            "400" | "401" | "403" => &[Level::Debug],
            "500" => &[Level::Error, Level::Debug],
            "503" => &[Level::Warn, Level::Debug],
            _ => &[Level::Error, Level::Warn, Level::Info],
        };
        let is_refusal = self.section.parse::<u16>().is_ok();
        match line {
            Line::Message(text) => fits(quote, text),
            Line::Logged(record) if record.target != TARGET || !levels.contains(&record.level) => false,
            Line::Logged(record) if is_refusal => {
                let reference = record.value("reference");
                assert_eq!(reference.len(), 16, "{record}");
                // The text of a 500 and a 503 names the fault, and the server if one is concerned.
                let server = if record.value("issuer").is_empty() { "" } else { ", http…" };
                let suffix = match self.section {
                    "500" | "503" => format!(" ({}{server})", record.value("fault")),
                    _ => String::new(),
                };
                fits(&format!("request rejected: {quote}{suffix} [{reference}]"), &record.text)
            }
            Line::Logged(record) => fits(quote, &record.text),
        }
    }

    /// As a row of a table. Lines that differ by their reference only are shown once.
    pub(super) fn as_seen(&self, walked: &Walked) -> String {
        let shown = walked.lines.iter().map(|line| format!("`{line}`").replace('|', "\\|"));
        let lines: Vec<_> = shown.collect::<BTreeSet<_>>().into_iter().collect();
        let lines = if lines.is_empty() { "(no line)".to_owned() } else { lines.join("<br>") };
        format!("| {} | {} | {lines} | {} |", self.section, self.cell, walked.after)
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(text) => f.write_str(text),
            Self::Logged(record) => {
                let named = format!(" [{}]", record.value("reference"));
                write!(f, "{} {}: {}", record.level, record.target, record.text.replace(&named, " […]"))
            }
        }
    }
}

/// Whether the text is the quote, in which `…` stands for anything.
fn fits(quote: &str, text: &str) -> bool {
    let Some((before, after)) = quote.split_once('…') else { return quote == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).filter_map(|at| rest.get(at..)).any(|end| fits(after, end))
}

#[test]
fn three_dots_stand_for_anything_and_everything_else_for_itself() {
    for (quote, text, holds) in [
        ("a b", "a b", true),
        ("a b", "a b c", false),
        ("a b", "x a b", false),
        ("a …", "a b c", true),
        ("… c", "a b c", true),
        ("… c", "a c b c", true),
        ("a … c", "a b c", true),
        ("a … c", "a b d", false),
        ("a … c", "a b c d", false),
        ("a: …", "a", false),
        ("… b …", "a b c", true),
    ] {
        assert_eq!(fits(quote, text), holds, "{quote} {text}");
    }
}
