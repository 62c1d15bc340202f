//! The metrics of one configuration, recorded through the `metrics` facade.

use std::{sync::Arc, time::Duration};

use metrics::{Key, Label, Level, Metadata, with_recorder};

use crate::telemetry::VerdictSource;

/// Metric keys with their labels. Keys used on every request are built once. The recorder is looked up each time,
/// because the application may install it later.
#[derive(Debug)]
pub(crate) struct Metrics {
    issuer: Arc<str>,
    allowed: [Key; VerdictSource::ALL.len()],
    answered: Key,
    in_flight: Key,
    paused: Key,
}

const METADATA: Metadata<'static> = Metadata::new(crate::LOG, Level::INFO, Some(module_path!()));

const INTROSPECTION: &str = "introspection";
const ANSWERED: &str = "answered";

impl Metrics {
    pub(crate) fn new(issuer: &str) -> Self {
        let issuer: Arc<str> = issuer.into();
        Self {
            allowed: VerdictSource::ALL.map(|via| decision(&issuer, "allowed", "", via.name())),
            answered: call(&issuer, INTROSPECTION, ANSWERED),
            in_flight: key("protect_api_introspections_in_flight", &issuer, []),
            paused: key("protect_api_introspection_paused", &issuer, []),
            issuer,
        }
    }

    pub(crate) fn allowed(&self, via: VerdictSource) {
        if let Some((_, key)) = VerdictSource::ALL.iter().zip(&self.allowed).find(|(known, _)| **known == via)
        {
            count(key);
        }
    }

    pub(crate) fn decision(&self, outcome: &'static str, fault: &'static str, via: &'static str) {
        count(&decision(&self.issuer, outcome, fault, via));
    }

    pub(crate) fn call(&self, name: &'static str, outcome: &'static str, elapsed: Duration) {
        let record = |key: &Key| {
            with_recorder(|recorder| {
                recorder.register_histogram(key, &METADATA).record(elapsed.as_secs_f64());
            });
        };
        if (name, outcome) == (INTROSPECTION, ANSWERED) {
            record(&self.answered);
        } else {
            record(&call(&self.issuer, name, outcome));
        }
    }

    pub(crate) fn in_flight(&self, count: usize) {
        gauge(&self.in_flight, u32::try_from(count).unwrap_or(u32::MAX).into());
    }

    pub(crate) fn paused(&self, paused: bool) {
        gauge(&self.paused, u8::from(paused).into());
    }

    pub(crate) fn revocation_event(&self, source: &'static str, kind: &'static str, outcome: &'static str) {
        let labels = [("source", source), ("kind", kind), ("outcome", outcome)];
        count(&key("protect_api_revocation_events_total", &self.issuer, labels));
    }

    /// Adds this number to the number of leases.
    pub(crate) fn leases(&self, change: f64) {
        let key = key("protect_api_leases", &self.issuer, []);
        with_recorder(|recorder| recorder.register_gauge(&key, &METADATA).increment(change));
    }

    pub(crate) fn lease_ended(&self, end: &'static str) {
        count(&key("protect_api_leases_ended_total", &self.issuer, [("end", end)]));
    }

    pub(crate) fn fetched(&self, call: &'static str, unix_time: i64) {
        let key = key("protect_api_fetched_timestamp_seconds", &self.issuer, [("call", call)]);
        gauge(&key, u32::try_from(unix_time).unwrap_or(u32::MAX).into());
    }
}

/// Of the process, because several issuers may share a store.
pub(crate) fn blind(is_blind: bool) {
    gauge(&Key::from_static_name("protect_api_store_blind"), u8::from(is_blind).into());
}

fn decision(issuer: &Arc<str>, outcome: &'static str, fault: &'static str, via: &'static str) -> Key {
    key("protect_api_decisions_total", issuer, [("outcome", outcome), ("fault", fault), ("via", via)])
}

fn call(issuer: &Arc<str>, call: &'static str, outcome: &'static str) -> Key {
    key("protect_api_upstream_seconds", issuer, [("call", call), ("outcome", outcome)])
}

fn key<const N: usize>(
    name: &'static str,
    issuer: &Arc<str>,
    labels: [(&'static str, &'static str); N],
) -> Key {
    let issuer = Label::new("issuer", Arc::clone(issuer));
    let others = labels.into_iter().map(|(name, value)| Label::from_static_parts(name, value));
    Key::from_parts(name, [issuer].into_iter().chain(others).collect::<Vec<_>>())
}

fn count(key: &Key) {
    with_recorder(|recorder| recorder.register_counter(key, &METADATA).increment(1));
}

fn gauge(key: &Key, value: f64) {
    with_recorder(|recorder| recorder.register_gauge(key, &METADATA).set(value));
}
