//! The table that a program prints, and whether its bounds held.

use std::{
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::memory;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Counts panics of all threads from now on; they are printed as ever.
pub(crate) fn count_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        print(panic);
    }));
}

pub(crate) struct Report {
    name: &'static str,
    started: Instant,
    panics_before: u64,
    rows: Vec<Row>,
}

struct Row {
    what: String,
    seen: String,
    bound: String,
    holds: bool,
}

impl Report {
    pub(crate) fn new(name: &'static str) -> Self {
        let panics_before = PANICS.load(Ordering::Relaxed);
        Self { name, started: Instant::now(), panics_before, rows: Vec::new() }
    }

    /// A number for the reader.
    pub(crate) fn tell(&mut self, what: impl Into<String>, seen: impl Display) {
        self.row(what.into(), seen.to_string(), String::new(), true);
    }

    pub(crate) fn exactly(&mut self, what: impl Into<String>, seen: usize, wanted: usize) {
        self.row(what.into(), seen.to_string(), format!("= {wanted}"), seen == wanted);
    }

    pub(crate) fn at_most(&mut self, what: impl Into<String>, seen: usize, most: usize) {
        self.row(what.into(), seen.to_string(), format!("<= {most}"), seen <= most);
    }

    pub(crate) fn at_least(&mut self, what: impl Into<String>, seen: usize, least: usize) {
        self.row(what.into(), seen.to_string(), format!(">= {least}"), seen >= least);
    }

    /// Reports the growth of the process since this many KiB. Nothing if the system has no value for it.
    pub(crate) fn growth(&mut self, since: Option<usize>, most: usize) {
        if let (Some(before), Some(now)) = (since, memory::resident()) {
            self.tell("resident memory, before and after", format!("{before} and {now} KiB"));
            self.at_most("its growth in KiB", now.saturating_sub(before), most);
        }
    }

    fn row(&mut self, what: String, seen: String, bound: String, holds: bool) {
        self.rows.push(Row { what, seen, bound, holds });
    }

    /// Prints the table; whether all bounds held.
    pub(crate) fn finish(mut self) -> bool {
        let panics = PANICS.load(Ordering::Relaxed).saturating_sub(self.panics_before);
        self.exactly("panics", usize::try_from(panics).unwrap_or(usize::MAX), 0);
        println!("\n{} ({:.1} s)", self.name, self.started.elapsed().as_secs_f64());
        for Row { what, seen, bound, holds } in &self.rows {
            let verdict = match (holds, bound.is_empty()) {
                (_, true) => "",
                (true, _) => "ok",
                (false, _) => "BROKEN",
            };
            println!("  {verdict:<7}{what:<58}{seen:>14}  {bound}");
        }
        self.rows.iter().all(|row| row.holds)
    }
}

/// Median, 99th percentile and maximum, in milliseconds.
pub(crate) fn latencies(mut all: Vec<Duration>) -> String {
    all.sort_unstable();
    let at = |percent: usize| all.get((all.len() * percent / 100).min(all.len().saturating_sub(1)));
    let [p50, p99, max] = [50, 99, 100].map(|percent| at(percent).map_or(0, Duration::as_millis));
    format!("p50 {p50}, p99 {p99}, max {max} ms")
}
