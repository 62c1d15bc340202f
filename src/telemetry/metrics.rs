//! The metrics of one configuration, recorded through the `metrics` facade.

use std::{sync::Arc, time::Duration};

use metrics::{Key, Label, Level, Metadata, Recorder, Unit, with_recorder};

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

type Describe = fn(&dyn Recorder, metrics::KeyName, Option<Unit>, metrics::SharedString);

const COUNTER: Describe = |recorder, name, unit, text| recorder.describe_counter(name, unit, text);
const GAUGE: Describe = |recorder, name, unit, text| recorder.describe_gauge(name, unit, text);
const HISTOGRAM: Describe = |recorder, name, unit, text| recorder.describe_histogram(name, unit, text);

const DECISIONS: &str = "protect_api_decisions_total";
const UPSTREAM: &str = "protect_api_upstream_seconds";
const IN_FLIGHT: &str = "protect_api_introspections_in_flight";
const PAUSED: &str = "protect_api_introspection_paused";
const EVENTS: &str = "protect_api_revocation_events_total";
const BLIND: &str = "protect_api_store_blind";
const WOULD_REJECT: &str = "protect_api_would_reject_total";
const LEASES: &str = "protect_api_leases";
const LEASES_ENDED: &str = "protect_api_leases_ended_total";
const FETCHED: &str = "protect_api_fetched_timestamp_seconds";

/// The names, units and descriptions. A test compares them with `docs/observability.md`.
const DESCRIPTIONS: [(Describe, &str, Unit, &str); 10] = [
    (COUNTER, DECISIONS, Unit::Count, "decisions of mounts, and rejections by handlers"),
    (
        COUNTER,
        WOULD_REJECT,
        Unit::Count,
        "requests that were accepted, and would be rejected by a rule that is only reported",
    ),
    (HISTOGRAM, UPSTREAM, Unit::Seconds, "duration of calls"),
    (GAUGE, IN_FLIGHT, Unit::Count, "introspections in flight"),
    (GAUGE, PAUSED, Unit::Count, "1 while introspection is paused or being probed, else 0"),
    (COUNTER, EVENTS, Unit::Count, "events from sources of revocations; issuer is that of the protected API"),
    (
        GAUGE,
        BLIND,
        Unit::Count,
        "1 while the revocations in the shared store are not read, or it accepts no new ones, else 0; of the process",
    ),
    (GAUGE, LEASES, Unit::Count, "long streams with a lease"),
    (COUNTER, LEASES_ENDED, Unit::Count, "leases that ended before their streams were closed"),
    (
        GAUGE,
        FETCHED,
        Unit::Seconds,
        "time of the last successful fetch of metadata or keys, in seconds since 1970",
    ),
];

/// Describes the metrics to the exporter. Exporters use the last description, so more than one is harmless.
pub(crate) fn describe() {
    with_recorder(|recorder| {
        for (describe, name, unit, text) in DESCRIPTIONS {
            describe(recorder, name.into(), Some(unit), text.into());
        }
    });
}

const INTROSPECTION: &str = "introspection";
const ANSWERED: &str = "answered";

impl Metrics {
    pub(crate) fn new(issuer: &str) -> Self {
        let issuer: Arc<str> = issuer.into();
        Self {
            allowed: VerdictSource::ALL.map(|via| decision(&issuer, "allowed", "", via.name())),
            answered: call(&issuer, INTROSPECTION, ANSWERED),
            in_flight: key(IN_FLIGHT, &issuer, []),
            paused: key(PAUSED, &issuer, []),
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
        count(&key(EVENTS, &self.issuer, labels));
    }

    /// Adds this number to the number of leases.
    pub(crate) fn leases(&self, change: f64) {
        let key = key(LEASES, &self.issuer, []);
        with_recorder(|recorder| recorder.register_gauge(&key, &METADATA).increment(change));
    }

    pub(crate) fn lease_ended(&self, end: &'static str) {
        count(&key(LEASES_ENDED, &self.issuer, [("end", end)]));
    }

    pub(crate) fn would_reject(&self, rule: &'static str, fault: &'static str, client: Arc<str>) {
        let labels = [("rule", rule), ("fault", fault)];
        let key = key(WOULD_REJECT, &self.issuer, labels);
        count(&key.with_extra_labels(vec![Label::new("client", client)]));
    }

    pub(crate) fn fetched(&self, call: &'static str, unix_time: i64) {
        let key = key(FETCHED, &self.issuer, [("call", call)]);
        gauge(&key, u32::try_from(unix_time).unwrap_or(u32::MAX).into());
    }
}

/// Of the process, because several issuers may share a store.
pub(crate) fn blind(is_blind: bool) {
    gauge(&Key::from_static_name(BLIND), u8::from(is_blind).into());
}

fn decision(issuer: &Arc<str>, outcome: &'static str, fault: &'static str, via: &'static str) -> Key {
    key(DECISIONS, issuer, [("outcome", outcome), ("fault", fault), ("via", via)])
}

fn call(issuer: &Arc<str>, call: &'static str, outcome: &'static str) -> Key {
    key(UPSTREAM, issuer, [("call", call), ("outcome", outcome)])
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
