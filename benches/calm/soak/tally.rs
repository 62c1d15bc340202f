//! Judges each answer and counts.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{LONGEST, weather::Weather};
use crate::report::Report;

/// The true state of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Good,
    Bad,
}

/// Violations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Breach {
    /// Neither 200 nor a fault of the server's, for a good token.
    GoodRefused,
    BadLetThrough,
    /// 503 although the server has been well for long enough.
    NotRecovered,
    /// 500 although nothing was set up wrongly.
    Blamed,
    /// A status that this API never sends.
    Odd,
    /// No answer, or none in time.
    Hung,
    BrokenConnection,
}

const BREACHES: [(Breach, &str); 7] = [
    (Breach::GoodRefused, "good tokens refused (4xx), ever"),
    (Breach::BadLetThrough, "revoked, unknown, expired, forged tokens let through"),
    (Breach::NotRecovered, "503 though the server was well again"),
    (Breach::Blamed, "500 without a misconfiguration"),
    (Breach::Odd, "other statuses"),
    (Breach::Hung, "requests that did not end in time"),
    (Breach::BrokenConnection, "broken connections"),
];

#[derive(Default)]
pub(super) struct Tally {
    statuses: RefCell<BTreeMap<u16, usize>>,
    breaches: RefCell<BTreeMap<Breach, usize>>,
    slowest: Cell<Duration>,
    good_in_calm: Cell<usize>,
}

impl Tally {
    /// `status` is `None` where the connection broke.
    pub(super) fn count(
        &self,
        truth: Truth,
        what: &str,
        status: Option<u16>,
        started: Instant,
        weather: &Weather,
    ) {
        let time = started.elapsed();
        self.slowest.set(self.slowest.get().max(time));
        if let Some(status) = status {
            *self.statuses.borrow_mut().entry(status).or_default() += 1;
        }
        let is_calm = weather.was_calm_since(started);
        if truth == Truth::Good && is_calm {
            self.good_in_calm.set(self.good_in_calm.get() + 1);
        }
        let breach = match (truth, status) {
            _ if time > LONGEST => Some(Breach::Hung),
            (_, None) => Some(Breach::BrokenConnection),
            (_, Some(503)) => is_calm.then_some(Breach::NotRecovered),
            (_, Some(500)) => (!weather.was_misconfigured_since(started)).then_some(Breach::Blamed),
            (Truth::Good, Some(200)) | (Truth::Bad, Some(401)) => None,
            (Truth::Good, Some(400..500)) => Some(Breach::GoodRefused),
            (Truth::Bad, Some(200)) => Some(Breach::BadLetThrough),
            (_, Some(_)) => Some(Breach::Odd),
        };
        if let Some(breach) = breach {
            *self.breaches.borrow_mut().entry(breach).or_default() += 1;
            println!(
                "  BROKEN {breach:?}: {what}, {status:?} after {} ms, {}",
                time.as_millis(),
                weather.describe()
            );
        }
    }

    pub(super) fn line(&self) -> String {
        let breaches: usize = self.breaches.borrow().values().sum();
        format!("{}; broken {breaches}", self.statuses_text())
    }

    fn statuses_text(&self) -> String {
        let statuses = self.statuses.borrow();
        statuses.iter().map(|(status, count)| format!("{status}: {count}")).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn report(&self, report: &mut Report, weather: &Weather) {
        let statuses = self.statuses.borrow();
        report.tell("requests", statuses.values().sum::<usize>());
        for (status, count) in &*statuses {
            report.tell(format!("answered {status}"), count);
        }
        report.tell("outages", weather.outages());
        report.at_least("good requests while the server was well", self.good_in_calm.get(), 100);
        for (breach, what) in BREACHES {
            report.exactly(what, self.breaches.borrow().get(&breach).copied().unwrap_or(0), 0);
        }
        report.tell("the slowest request", format!("{} ms", self.slowest.get().as_millis()));
    }
}
