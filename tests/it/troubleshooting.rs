//! `docs/troubleshooting.md`, symptom by symptom: each row is provoked over HTTP, the line that the page quotes must be in
//! the log word for word, and what the row names as its fix must mend it. A row without a walk, and a walk without a row,
//! fail: page and behaviour cannot drift apart.
//!
//! `cargo test --test it troubleshooting -- --nocapture` prints what was seen, row by row.

pub(crate) mod api;
mod misconfigured;
mod page;
mod process;
mod records;
mod refused;
mod shared_store;
mod start;
mod symptoms;
mod unauthorized;
mod unavailable;

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::sync::OnceCell;

use self::page::{Row, rows};
use crate::support::{logs, metering};

/// The observations of a walk through one row.
pub(crate) struct Walked {
    /// The texts that the page quotes, as they were really written.
    lines: Vec<Line>,
    /// The observation after the fix.
    after: String,
}

pub(crate) enum Line {
    /// A message of the start.
    Message(String),
    Logged(logs::Record),
}

impl From<logs::Record> for Line {
    fn from(record: logs::Record) -> Self {
        Self::Logged(record)
    }
}

impl Walked {
    fn new(lines: impl IntoIterator<Item = impl Into<Line>>, after: impl Into<String>) -> Self {
        Self { lines: lines.into_iter().map(Into::into).collect(), after: after.into() }
    }

    /// A symptom without a log record.
    fn silent(after: impl Into<String>) -> Self {
        Self { lines: Vec::new(), after: after.into() }
    }
}

type Walk = fn() -> LocalBoxFuture<'static, Walked>;

fn named(row: &'static str, walk: Walk) -> (&'static str, Walk) {
    (row, walk)
}

/// `"a row's first quote" => walk, …`
macro_rules! walks {
    ($($row:literal => $walk:path,)*) => {
        vec![$($crate::troubleshooting::named($row, || Box::pin($walk()))),*]
    };
}
use walks;

/// Every way into a row of the page and out of it, by section.
fn all() -> Vec<(&'static str, Vec<(&'static str, Walk)>)> {
    vec![
        ("It does not start", start::walks()),
        ("400", refused::malformed()),
        ("401", unauthorized::walks()),
        ("403", refused::forbidden()),
        ("500", misconfigured::walks()),
        ("503", unavailable::walks()),
        ("Other records", [records::walks(), shared_store::walks()].concat()),
        ("Other symptoms", symptoms::walks()),
    ]
}

/// The results of all walks: the complaints, and the table of observations.
pub(crate) struct Outcome {
    complaints: Vec<String>,
    table: Vec<String>,
}

/// Walks every row, once for all tests that need the records of it.
pub(crate) async fn walk_the_page() -> &'static Outcome {
    static ONCE: OnceCell<Outcome> = OnceCell::const_new();
    ONCE.get_or_init(walk_every_row).await
}

async fn walk_every_row() -> Outcome {
    logs::capture();
    metering::start();
    let (mut complaints, mut table) = (Vec::new(), Vec::new());
    let mut rows = rows();
    for (section, walks) in all() {
        for (name, walk) in walks {
            let Some(at) = rows.iter().position(|row| row.section == section && row.name() == name) else {
                complaints.push(format!("{section}: the page has no row `{name}`"));
                continue;
            };
            let row = rows.remove(at);
            match AssertUnwindSafe(walk()).catch_unwind().await {
                Ok(walked) => {
                    complaints.extend(row.complaints(&walked.lines));
                    table.push(row.as_seen(&walked));
                }
                Err(panic) => complaints.push(format!("{section}, `{name}`: {}", message(&*panic))),
            }
        }
    }
    let unwalked = |row: &Row| format!("{}: nothing provokes the row `{}`", row.section, row.name());
    complaints.extend(rows.iter().map(unwalked));
    Outcome { complaints, table }
}

pub(crate) fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

#[actix_web::test]
async fn every_row_of_the_page_is_provoked_and_mended() {
    let Outcome { complaints, table } = walk_the_page().await;
    println!("| Section | Row | Seen | After the fix |\n| --- | --- | --- | --- |\n{}", table.join("\n"));
    assert!(complaints.is_empty(), "{} rows:\n  {}", complaints.len(), complaints.join("\n  "));
}
