//! The alert rules and the dashboard name only metrics, labels and values of `docs/observability.md`.

use serde_json::Value;

use super::page::{CLASSES, documented_metrics, documented_words};

const ALERTS: &str = include_str!("../../../docs/monitoring/alerts.yml");
const ALERT_TESTS: &str = include_str!("../../../docs/monitoring/alerts_test.yml");
const DASHBOARD: &str = include_str!("../../../docs/monitoring/dashboard.json");
const PAGE: &str = include_str!("../../../docs/observability.md");

/// The values that a label may have besides those of `AuthErrorKind::fault`, which are not listed.
fn has_value(metric: &str, label: &str, value: &str) -> bool {
    let words = |key: &str| documented_words(key).contains(value);
    match (metric, label) {
        (_, "via") if value.is_empty() => true,
        (_, "issuer" | "fault") => true,
        ("protect_api_decisions_total", "outcome") => {
            words("`outcome` of a decision") || CLASSES.contains(&value)
        }
        ("protect_api_upstream_seconds", "outcome") => {
            words("`outcome` of a call") || ["unreachable", "timed_out", "failing"].contains(&value)
        }
        (_, "outcome") => words("`outcome` of an event"),
        (_, label) => words(&format!("`{label}`")),
    }
}

/// The selectors of a text: metric without the suffix of its kind, and matchers.
fn selectors(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in text.split("protect_api_").skip(1) {
        let name: String =
            part.chars().take_while(|char| char.is_ascii_lowercase() || *char == '_').collect();
        let matchers =
            part.strip_prefix(&*name).unwrap().strip_prefix('{').and_then(|rest| rest.split('}').next());
        let name = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(&name);
        found.push((format!("protect_api_{name}"), matchers.unwrap_or_default().to_owned()));
    }
    found
}

fn check(text: &str) -> usize {
    let metrics = documented_metrics();
    let selectors = selectors(text);
    for (metric, matchers) in &selectors {
        let (_, labels) = metrics.get(metric).unwrap_or_else(|| panic!("{metric} is not documented"));
        for matcher in matchers.split(", ").map(str::trim).filter(|matcher| !matcher.is_empty()) {
            let (label, value) = matcher.split_once(['=', '!']).unwrap();
            assert!(labels.contains(label), "{metric} has no label {label}");
            let values = value.trim_start_matches(['=', '~']).trim_matches('"');
            for value in values.split('|').filter(|value| *value != "$issuer") {
                assert!(has_value(metric, label, value), "{metric} has no {label} {value:?}");
            }
        }
    }
    selectors.len()
}

#[test]
fn the_alert_rules_name_documented_metrics_labels_and_values() {
    assert!(check(ALERTS) >= 5);
    assert!(check(ALERT_TESTS) >= 10);
    let names: Vec<_> = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(names.len(), 4);
    for name in names {
        assert!(PAGE.contains(&format!("| `{name}` |")), "{name} is not documented");
        assert!(ALERT_TESTS.contains(&format!("alertname: {name}")), "{name} is not tested");
    }
}

#[test]
fn the_dashboard_names_documented_metrics_labels_and_values() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut seen = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            seen += check(target["expr"].as_str().unwrap());
        }
    }
    assert!(seen >= 10);
    for metric in documented_metrics().keys() {
        assert!(DASHBOARD.contains(metric.as_str()), "{metric} has no panel");
    }
}
