//! The data of a metric's chart: readings, limits and windows. No drawing here.

use crate::facts::Target;
use crate::text::sanitize;
use leakgate_judge::sample::{Checkpoint, Metric, TracePoint};
use leakgate_judge::verdict::trend::{self, Window};
use leakgate_judge::verdict::words::{format_bytes, format_rate, to_f64};
use leakgate_judge::verdict::{Class, MetricVerdict, heap};

/// Points that a line has at most; more than the pixels of a chart would only make the file larger.
const MAX_POINTS: usize = 240;

/// A place in a chart: restarts or turns, and a value in the metric's unit.
pub(super) type Point = (f64, f64);

/// A chart before it is drawn.
#[derive(Debug, PartialEq)]
pub(super) struct Series {
    /// The readings, in order.
    pub(super) points: Vec<Point>,
    /// They are few and settled, so each is drawn as a dot.
    pub(super) dotted: bool,
    /// Where the checkpoints are.
    pub(super) checkpoints: Vec<f64>,
    /// The limits of the readings.
    pub(super) limits: Vec<Limit>,
    /// The windows whose medians were compared.
    pub(super) windows: Vec<Window>,
    /// Where the run ends.
    pub(super) end: f64,
    /// Begins at 0, because a cap means nothing without the whole below it.
    pub(super) from_zero: bool,
}

/// A limit of the readings, as a line.
#[derive(Debug, PartialEq)]
pub(super) struct Limit {
    pub(super) from: Point,
    pub(super) to: Point,
    pub(super) label: String,
}

impl Series {
    /// Absent for what is counted once, after the stop: there is nothing to draw against restarts.
    pub(super) fn of(target: &Target, row: &MetricVerdict) -> Option<Self> {
        let per = target.measured.plan.growth_unit();
        let checkpoints: Vec<f64> = target.measured.checkpoints.iter().map(|point| to_f64(point.steps(per))).collect();
        let traced = trace_reading(row.name);
        let points = match traced {
            Some(value) => {
                thin_out(target.measured.trace.iter().map(|at| (to_f64(at.steps(per)), to_f64(value(at)))).collect())
            }
            None => checkpoint_points(target, row.name),
        };
        let end = points.iter().map(|point| point.0).chain(checkpoints.iter().copied()).fold(0.0, f64::max);
        if points.is_empty() || row.class == Class::Total {
            return None;
        }
        let windows = if row.class == Class::Noisy { trend::windows_of(target.measured) } else { None };
        let windows: Vec<Window> = windows.into_iter().flatten().collect();
        let limits = metric_limits(target, row, &points, &windows, end);
        let from_zero = row.class == Class::Cap && !limits.is_empty();
        Some(Self { points, dotted: traced.is_none(), checkpoints, limits, windows, end, from_zero })
    }
}

fn trace_reading(metric: Metric) -> Option<fn(&TracePoint) -> u64> {
    match metric {
        Metric::AnonPss => Some(|at| at.anon_pss),
        Metric::TreeRss => Some(|at| at.tree_rss),
        Metric::ServerRss => Some(|at| at.server_rss),
        _ => None,
    }
}

fn checkpoint_points(target: &Target, metric: Metric) -> Vec<Point> {
    let per = target.measured.plan.growth_unit();
    let reading = |at: &Checkpoint| at.values.get(&metric).map(|&value| (to_f64(at.steps(per)), to_f64(value)));
    target.measured.checkpoints.iter().filter_map(reading).collect()
}

/// The lowest and the highest of each part, in their order, so that no peak is lost.
fn thin_out(points: Vec<Point>) -> Vec<Point> {
    let part = points.len().div_ceil(MAX_POINTS / 2).max(1);
    if part <= 2 {
        return points;
    }
    let by_value = |a: &&Point, b: &&Point| a.1.total_cmp(&b.1);
    let ends = |part: &[Point]| {
        let (low, high) = (part.iter().min_by(by_value).copied(), part.iter().max_by(by_value).copied());
        let mut two: Vec<Point> = low.into_iter().chain(high).collect();
        two.sort_by(|a, b| a.0.total_cmp(&b.0));
        two
    };
    points.chunks(part).flat_map(ends).collect()
}

fn metric_limits(target: &Target, row: &MetricVerdict, points: &[Point], windows: &[Window], end: f64) -> Vec<Limit> {
    let plan = &target.measured.plan;
    let level = |value: f64, label: String| Limit { from: (0.0, value), to: (end, value), label };
    let mut found = Vec::new();
    match row.class {
        Class::Exact => {
            let most = target.judged.live_invokers_allowed.filter(|_| has_bound(target, row.name));
            found.extend(most.map(|most| level(to_f64(most), format!("at most {most} at any instant"))));
            if let (None, Some(first)) = (most, points.first()) {
                let from = *first;
                found.push(Limit { from, to: (end, first.1), label: "no growth allowed".to_owned() });
            }
        }
        Class::Heap => found.extend(floor_limit(target, row)),
        Class::Noisy => found.extend(slope_limit(target, row, windows)),
        Class::Cap => {
            let cap = if row.name == Metric::ServerRss { plan.server_rss_cap_mb } else { plan.tree_rss_cap_mb };
            let judged = cap > 0 && !trend::is_profiled(target.measured);
            found.extend(judged.then(|| level(to_f64(cap) * 1e6, format!("cap {cap} MB"))));
        }
        Class::Total => {}
    }
    for exception in plan.exceptions().filter(|exception| exception.metric == row.name) {
        let label = format!("allowed until {}", sanitize(&exception.expires));
        found.extend(row.first.map(|first| level(to_f64(first) + to_f64(exception.allow), label)));
    }
    found
}

/// The metric that the bound on CLI processes is about.
fn has_bound(target: &Target, metric: Metric) -> bool {
    let bound = if target.measured.plan.outside.is_some() { Metric::CliProcesses } else { Metric::LiveInvokers };
    metric == bound
}

/// As much growth after the middle reading as is no leak.
fn floor_limit(target: &Target, row: &MetricVerdict) -> Option<Limit> {
    let [_, (from, value), (to, _)] = heap::judged_readings(target.measured, row.name)?;
    let (from, value, to) = (to_f64(from), to_f64(value), to_f64(to));
    let label = format!("floor {} per {}", format_rate(row.name, row.tolerance), target.per());
    Some(Limit { from: (from, value), to: (to, value + row.tolerance * (to - from)), label })
}

/// As much growth over the windows as is no leak.
fn slope_limit(target: &Target, row: &MetricVerdict, windows: &[Window]) -> Option<Limit> {
    let middle = |window: &Window| f64::midpoint(window.from, window.to);
    let (first, last) = (windows.first()?, windows.last()?);
    let (from, to) = (middle(first), middle(last));
    let label = format!("bound {} per {}", format_bytes(row.tolerance), target.per());
    Some(Limit { from: (from, first.median), to: (to, first.median + row.tolerance * (to - from)), label })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_ends_and_every_peak() {
        let points: Vec<Point> =
            (0..5_000_u32).map(|at| (f64::from(at), if at == 2_345 { 9.0 } else { 1.0 })).collect();
        let thin = thin_out(points);
        assert!(thin.len() <= MAX_POINTS, "{}", thin.len());
        assert!(thin.contains(&(2_345.0, 9.0)));
        assert!(thin.is_sorted_by(|a, b| a.0 <= b.0));
        assert!(thin.first().is_some_and(|point| point.0 < 50.0) && thin.last().is_some_and(|point| point.0 > 4_950.0));
    }

    #[test]
    fn a_short_line_is_kept_as_it_is() {
        let points: Vec<Point> = (0..200_u32).map(|at| (f64::from(at), 1.0)).collect();
        assert_eq!(thin_out(points.clone()), points);
    }
}
