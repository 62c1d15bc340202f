//! The log records, at every level. All tests of the binary write into one list at the same time: select the
//! records by a value that no other test has, such as the reference of a rejection or the port of an issuer.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use log::{Level, LevelFilter, Log, Metadata, kv};

static RECORDS: Mutex<Vec<Record>> = Mutex::new(Vec::new());
static START: Once = Once::new();
/// Whether records of other crates are kept too: actix writes many.
static FOREIGN: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) level: Level,
    pub(crate) target: String,
    pub(crate) text: String,
    pub(crate) pairs: Vec<(String, String)>,
}

impl Record {
    /// The value of a key; empty if there is none.
    pub(crate) fn value(&self, key: &str) -> &str {
        self.pairs.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }

    pub(crate) fn is_ours(&self) -> bool {
        is_ours(&self.target)
    }
}

/// `LEVEL target: text key=value`.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.level, self.target, self.text)?;
        self.pairs.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

fn is_ours(target: &str) -> bool {
    target.starts_with("actix_protect_api")
}

struct Memory;

impl Log for Memory {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata.target()) || FOREIGN.load(Ordering::Relaxed)
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            struct Pairs(Vec<(String, String)>);
            impl<'kvs> kv::VisitSource<'kvs> for Pairs {
                fn visit_pair(
                    &mut self,
                    key: kv::Key<'kvs>,
                    value: kv::Value<'kvs>,
                ) -> Result<(), kv::Error> {
                    self.0.push((key.as_str().to_owned(), value.to_string()));
                    Ok(())
                }
            }
            let mut pairs = Pairs(Vec::new());
            record.key_values().visit(&mut pairs).unwrap();
            kept().push(Record {
                level: record.level(),
                target: record.target().to_owned(),
                text: record.args().to_string(),
                pairs: pairs.0,
            });
        }
    }

    fn flush(&self) {}
}

/// Starts recording.
pub(crate) fn capture() {
    START.call_once(|| {
        log::set_logger(&Memory).expect("another logger is there");
        log::set_max_level(LevelFilter::Trace);
    });
}

/// Keeps the records of every crate as long as the guard lives.
pub(crate) fn capture_of_all_crates() -> impl Drop {
    struct Listening;
    impl Drop for Listening {
        fn drop(&mut self) {
            FOREIGN.store(false, Ordering::Relaxed);
        }
    }
    capture();
    FOREIGN.store(true, Ordering::Relaxed);
    Listening
}

fn kept() -> MutexGuard<'static, Vec<Record>> {
    RECORDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds the records of another process.
pub(crate) fn add(records: &[Record]) {
    kept().extend_from_slice(records);
}

/// Counts the records of which this holds.
pub(crate) fn count(of: impl Fn(&Record) -> bool) -> usize {
    kept().iter().filter(|record| of(record)).count()
}

/// The last record of which this holds.
pub(crate) fn last(holds: impl Fn(&Record) -> bool) -> Option<Record> {
    kept().iter().rev().find(|record| holds(record)).cloned()
}

/// Whether there is a record of which this holds, as it is displayed.
pub(crate) fn any(holds: impl Fn(&str) -> bool) -> bool {
    last(|record| holds(&record.to_string())).is_some()
}

pub(crate) fn records() -> Vec<Record> {
    kept().clone()
}
