//! Bencher Metric Format: benchmark → measure → value, with a lower and an upper value where there is a spread.
//!
//! A benchmark is a metric of a scenario on a target; its measures are the growth for each restart or turn and the last
//! reading. Names say the unit, because the format has none. Nothing that is not a number goes in.

use std::collections::BTreeMap;

use serde::Serialize;

use super::facts::{Facts, Target};
use leakgate_judge::sample::LatencyOf;
use leakgate_judge::verdict::trend::{Window, windows_of};
use leakgate_judge::verdict::words::to_f64;
use leakgate_judge::verdict::{Class, MetricVerdict};

/// Bencher's own measure `latency` is in nanoseconds.
const NANOSECONDS: f64 = 1e6;

/// Benchmark → measure → metric.
pub(super) type Metrics = BTreeMap<String, BTreeMap<String, Metric>>;

/// One number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Metric {
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lower_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upper_value: Option<f64>,
}

/// Every number of the run.
pub(super) fn collect_metrics(facts: &Facts) -> Metrics {
    let mut all = Metrics::new();
    for target in &facts.targets {
        for row in &target.rows {
            add_finite(&mut all, format!("{}/{}", target.short_name(), row.name.name()), metric_measures(target, row));
        }
        for (when, latency) in target.latencies().into_iter().flatten().filter(|(_, latency)| latency.requests > 0) {
            add_finite(
                &mut all,
                format!("{}/requests {when}", target.short_name()),
                vec![("latency", latency_measure(latency))],
            );
        }
    }
    all
}

fn add_finite(all: &mut Metrics, benchmark: String, measures: Vec<(&str, Metric)>) {
    let finite = measures.into_iter().filter(|(_, metric)| metric.value.is_finite());
    let measures: BTreeMap<String, Metric> = finite.map(|(name, metric)| (name.to_owned(), metric)).collect();
    if !measures.is_empty() {
        all.insert(benchmark, measures);
    }
}

fn metric_measures(target: &Target, row: &MetricVerdict) -> Vec<(&'static str, Metric)> {
    let bytes = row.unit == "bytes";
    let growth = match (bytes, target.per()) {
        (true, "turn") => "growth-bytes-per-turn",
        (true, _) => "growth-bytes-per-restart",
        (false, "turn") => "growth-per-turn",
        (false, _) => "growth-per-restart",
    };
    let last = if bytes { "last-bytes" } else { "last" };
    let spread = (row.class == Class::Noisy).then(|| windows_of(target.measured)).flatten();
    let grown = row.growth_per_restart.map(|value| (growth, with_spread(value, spread)));
    let reading = row.last.map(|value| (last, Metric::exact(to_f64(value))));
    grown.into_iter().chain(reading).collect()
}

/// The slowest and the fastest of the windows' rates around the overall one.
fn with_spread(value: f64, windows: Option<[Window; 4]>) -> Metric {
    let Some(windows) = windows else { return Metric::exact(value) };
    let rates = windows.windows(2).filter_map(|pair| match pair {
        [a, b] => Some((b.median - a.median) / (b.to - a.to)),
        _ => None,
    });
    let (low, high) = rates.fold((value, value), |(low, high), rate| (low.min(rate), high.max(rate)));
    Metric { value, lower_value: Some(low), upper_value: Some(high) }
}

fn latency_measure(latency: LatencyOf) -> Metric {
    let [value, upper] = [latency.p50_ms, latency.p95_ms].map(|ms| ms * NANOSECONDS);
    Metric { value, lower_value: None, upper_value: Some(upper) }
}

impl Metric {
    fn exact(value: f64) -> Self {
        Self { value, lower_value: None, upper_value: None }
    }
}
