//! The data of the charts of nights: values over time, and the breaks in the line between them.

use leakgate_history::baseline::Baseline;
use leakgate_history::{Growth, Measured, Night, environment_differences};
use leakgate_judge::sample::Metric;
use leakgate_judge::verdict::words::{metric_name, metric_unit, to_f64};
use leakgate_judge::verdict::{Class, Finding};

/// Nights further apart than this have one missing between them, in seconds.
const MAX_NIGHT_GAP_SECONDS: u64 = 36 * 3600;

/// One target of one scenario.
#[derive(Debug)]
pub(super) struct TargetCharts {
    pub(super) scenario: String,
    pub(super) target: String,
    /// The finding of the latest night.
    pub(super) latest: Finding,
    pub(super) lines: Vec<Line>,
    /// Metrics that were 0 in every night.
    pub(super) flat: Vec<&'static str>,
}

/// One chart.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    /// A description of the drawn value.
    pub(super) what: &'static str,
    pub(super) unit: Unit,
    /// A dot for each night, in order; none where the night has no value.
    pub(super) dots: Vec<Option<Dot>>,
    /// The latest night's bound.
    pub(super) limit: Option<f64>,
    /// The finding of the latest night.
    pub(super) latest: Finding,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Count,
    Milliseconds,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Dot {
    pub(super) value: f64,
    pub(super) verdict: Finding,
}

/// When the nights were, and what lies between them.
#[derive(Debug, PartialEq)]
pub(super) struct Times {
    /// The beginning of each night, in seconds since 1970-01-01 UTC, in order.
    pub(super) nights: Vec<u64>,
    /// Nights after which one is missing, by their place.
    pub(super) gaps: Vec<usize>,
    /// Nights that were made differently than the one before, by their place.
    pub(super) changes: Vec<usize>,
    /// Nights that were accepted, by their place.
    pub(super) baselines: Vec<usize>,
}

impl Times {
    pub(super) fn of(nights: &[Night], baselines: &[Baseline]) -> Self {
        let began: Vec<u64> = nights.iter().map(|night| night.environment.started_unix).collect();
        let pairs = || nights.iter().zip(nights.iter().skip(1)).enumerate();
        let started = |night: &Night| night.environment.started_unix;
        let is_gap =
            |before: &Night, after: &Night| started(after).saturating_sub(started(before)) > MAX_NIGHT_GAP_SECONDS;
        let is_change = |a: &Night, b: &Night| !environment_differences(&a.environment, &b.environment).is_empty();
        let is_accepted = |night: &Night| baselines.iter().any(|baseline| baseline.night == night.id);
        Self {
            gaps: pairs().filter(|(_, (a, b))| is_gap(a, b)).map(|(at, _)| at).collect(),
            changes: pairs().filter(|(_, (a, b))| is_change(a, b)).map(|(at, _)| at + 1).collect(),
            baselines: nights.iter().enumerate().filter(|(_, night)| is_accepted(night)).map(|(at, _)| at).collect(),
            nights: began,
        }
    }

    /// Whether the line goes on from the night before to this one.
    pub(super) fn is_joined(&self, at: usize) -> bool {
        at > 0 && !self.gaps.contains(&(at - 1)) && !self.changes.contains(&at)
    }
}

/// Every target of every scenario that any night had, in the order in which they first came.
pub(super) fn collect_targets(nights: &[Night]) -> Vec<TargetCharts> {
    let mut keys: Vec<(&str, &str)> = Vec::new();
    for target in nights.iter().flat_map(|night| &night.targets) {
        let key = (target.scenario.as_str(), target.target.as_str());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys.into_iter().map(|(scenario, target)| collect_target(nights, scenario, target)).collect()
}

fn collect_target(nights: &[Night], scenario: &str, target: &str) -> TargetCharts {
    let here = |night| worst_measurement(night, scenario, target);
    let runs: Vec<Option<&Measured>> = nights.iter().map(here).collect();
    let latest = runs.iter().rev().flatten().next().map_or(Finding::Shown, |run| run.verdict);
    let mut metrics: Vec<Metric> =
        runs.iter().flatten().flat_map(|run| run.metrics.iter().map(|growth| growth.metric)).collect();
    metrics.sort_unstable();
    metrics.dedup();
    let (mut lines, mut flat) = (Vec::new(), Vec::new());
    for metric in metrics {
        match growth_line(&runs, metric) {
            Some(line) if line.dots.iter().flatten().any(is_worth_drawing) => lines.push(line),
            Some(line) => flat.push(line.name),
            None => {}
        }
    }
    lines.extend(memory_lines(&runs));
    TargetCharts { scenario: scenario.to_owned(), target: target.to_owned(), latest, lines, flat }
}

/// The worst where a night measured it more than once, because it leaked or was saturating; of equal ones the last, which
/// is the longest.
fn worst_measurement<'a>(night: &'a Night, scenario: &str, target: &str) -> Option<&'a Measured> {
    let same = night.targets.iter().filter(|run| run.scenario == scenario && run.target == target);
    same.max_by_key(|run| run.verdict)
}

fn is_worth_drawing(dot: &Dot) -> bool {
    dot.value.abs() > 0.0 || dot.verdict > Finding::Pass
}

/// Of what is counted once after the stop, the count itself. The caps on RSS are in the lines of memory.
fn growth_line(runs: &[Option<&Measured>], metric: Metric) -> Option<Line> {
    let found = |run: &&Measured| run.metrics.iter().find(|growth| growth.metric == metric).cloned();
    let rows: Vec<Option<Growth>> = runs.iter().map(|run| run.as_ref().and_then(found)).collect();
    let latest = rows.iter().rev().flatten().next()?.clone();
    if latest.class == Class::Cap {
        return None;
    }
    let is_total = latest.class == Class::Total;
    let value = |row: &Growth| if is_total { row.last.map(to_f64) } else { row.per_restart };
    let dot = |row: &Growth| Some(Dot { value: value(row).filter(|value| value.is_finite())?, verdict: row.verdict });
    Some(Line {
        name: metric_name(metric),
        what: if is_total { "counted after the stop" } else { "growth per restart" },
        unit: if metric_unit(metric) == "bytes" { Unit::Bytes } else { Unit::Count },
        dots: rows.iter().map(|row| row.as_ref().and_then(dot)).collect(),
        limit: Some(latest.tolerance).filter(|tolerance| *tolerance > 0.0 && tolerance.is_finite()),
        latest: latest.verdict,
    })
}

/// Reads a figure of a night's run that is not a metric.
type Value = fn(&Measured) -> Option<f64>;

/// The highest memory, and the latency.
fn memory_lines(runs: &[Option<&Measured>]) -> Vec<Line> {
    let all: [(&str, &str, Unit, Value); 4] = [
        ("server_rss", "peak RSS of the server", Unit::Bytes, |run| Some(run.server_rss_mb * 1e6)),
        ("tree_rss", "peak RSS of the whole tree", Unit::Bytes, |run| Some(run.tree_rss_mb * 1e6)),
        ("latency", "p95 of requests between restarts", Unit::Milliseconds, |run| {
            run.latency.filter(|latency| latency.between.requests > 0).map(|latency| latency.between.p95_ms)
        }),
        ("latency in a restart", "p95 of requests that a restart touched", Unit::Milliseconds, |run| {
            run.latency.filter(|latency| latency.during.requests > 0).map(|latency| latency.during.p95_ms)
        }),
    ];
    let line = |(name, what, unit, value): (&'static str, &'static str, Unit, Value)| {
        // A run that measured nothing has no memory of 0 bytes.
        let value = |run: &&Measured| value(run).filter(|value| value.is_finite() && *value > 0.0);
        let values = runs.iter().map(|run| run.as_ref().and_then(value));
        let dots: Vec<Option<Dot>> = values.map(|value| Some(Dot { value: value?, verdict: Finding::Shown })).collect();
        let any = dots.iter().any(Option::is_some);
        any.then_some(Line { name, what, unit, dots, limit: None, latest: Finding::Shown })
    };
    all.into_iter().filter_map(line).collect()
}
