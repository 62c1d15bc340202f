//! What the crate writes to the log, at every level. All tests of the binary write into one list.

use std::sync::{Mutex, Once, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

static RECORDS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static START: Once = Once::new();

struct Memory;

impl Log for Memory {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("actix_protect_api")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            struct Pairs(String);
            impl<'kvs> log::kv::VisitSource<'kvs> for Pairs {
                fn visit_pair(
                    &mut self,
                    key: log::kv::Key<'kvs>,
                    value: log::kv::Value<'kvs>,
                ) -> Result<(), log::kv::Error> {
                    self.0.extend([" ", key.as_str(), "=", &value.to_string()]);
                    Ok(())
                }
            }
            let mut pairs = Pairs(String::new());
            record.key_values().visit(&mut pairs).unwrap();
            let line = format!("{} {}: {}{}", record.level(), record.target(), record.args(), pairs.0);
            RECORDS.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    fn flush(&self) {}
}

/// Listens from now on.
pub(crate) fn capture() {
    START.call_once(|| {
        log::set_logger(&Memory).expect("another logger is there");
        log::set_max_level(LevelFilter::Trace);
    });
}

/// Whether there is a record, written as `LEVEL target: text key=value`, of which this holds.
pub(crate) fn any(holds: impl Fn(&str) -> bool) -> bool {
    records().iter().any(|record| holds(record))
}

pub(crate) fn records() -> Vec<String> {
    RECORDS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
