//! The metrics of all tests of the binary.

use std::sync::OnceLock;

use metrics::{SharedString, Unit};
use metrics_util::{
    CompositeKey, MetricKind,
    debugging::{DebugValue, DebuggingRecorder, Snapshotter},
};

static SNAPSHOTTER: OnceLock<Snapshotter> = OnceLock::new();

/// A recorded metric: one for each combination of labels.
pub(crate) struct Told {
    pub(crate) kind: MetricKind,
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) unit: Option<Unit>,
    pub(crate) description: String,
}

/// Starts recording.
pub(crate) fn start() {
    SNAPSHOTTER.get_or_init(|| {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        recorder.install().expect("another recorder is there");
        snapshotter
    });
}

pub(crate) fn told() -> Vec<Told> {
    let snapshot = SNAPSHOTTER.get().expect("recording was not started").snapshot().into_vec();
    let told =
        |(key, unit, description, _): (CompositeKey, Option<Unit>, Option<SharedString>, DebugValue)| {
            let (kind, key) = key.into_parts();
            let labels =
                key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
            let description = description.unwrap_or_default().into_owned();
            Told { kind, name: key.name().to_owned(), labels, unit, description }
        };
    snapshot.into_iter().map(told).collect()
}
