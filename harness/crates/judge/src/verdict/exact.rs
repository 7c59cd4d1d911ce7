//! Settled counts: fds, threads, tasks, processes, invokers, files.
//!
//! At a settled checkpoint they have no variance, so the tolerance is 0: a leak is x(last) − x(first) > 0. Growth is not
//! asked for at every step, because a leak that strikes now and then would slip through: one that strikes with
//! probability p at each of N restarts is seen with 95 % when p ≥ 3/N (the rule of three).
//!
//! The warm-up of a server that is not ours has an unknown length: a pool of threads may still be filling after the first
//! checkpoint. There, growth before the middle checkpoint with none after it is saturating.

use super::words::{format_amount, format_rate, to_f64};
use super::{Class, Finding, MetricVerdict, words};
use crate::sample::{Checkpoint, Metric, TargetRun};

/// Judges every exact metric that all checkpoints have. The checkpoints must be in order (`validity` sees to it).
pub(crate) fn judge_counts(run: &TargetRun) -> Vec<MetricVerdict> {
    Metric::COUNTED.iter().filter_map(|&metric| judge_one(run, metric)).collect()
}

/// A metric's readings with the restarts, or turns, of each, when every checkpoint has it.
pub(super) fn metric_series(run: &TargetRun, metric: Metric) -> Option<Vec<(u64, u64)>> {
    let reading =
        |point: &Checkpoint| point.values.get(&metric).map(|&value| (point.steps(run.plan.growth_unit()), value));
    run.checkpoints.iter().map(reading).collect()
}

fn judge_one(run: &TargetRun, metric: Metric) -> Option<MetricVerdict> {
    let series = metric_series(run, metric)?;
    let (&(from, first), &(to, last)) = (series.first()?, series.last()?);
    let restarts = to.checked_sub(from).filter(|&restarts| restarts > 0)?;
    let max = series.iter().map(|&(_, value)| value).max()?;
    // A settled tree has reaped its children: a zombie at any checkpoint is one too many, though a later one be clean.
    let reached = if metric == Metric::Zombies { max } else { last };
    let growth = to_f64(reached) - to_f64(first);
    let mut row = MetricVerdict::new(run, metric, Class::Exact);
    row.growth_per_restart = Some(growth / to_f64(restarts));
    row.smallest_detectable = Some(1.0 / to_f64(restarts));
    (row.first, row.last, row.max) = (Some(first), Some(last), Some(max));
    let name = words::metric_name(metric);
    let (low, high) = (format_amount(metric, to_f64(first)), format_amount(metric, to_f64(reached)));
    (row.verdict, row.reason) = if reached > first && stands_still(run, &series) {
        (Finding::Saturating, format!("{name} grew in the first half (from {low} to {high}) and not in the second"))
    } else if reached > first {
        let (rate, per) = (format_rate(metric, growth / to_f64(restarts)), run.plan.growth_unit().name());
        (Finding::Leak, format!("{name} grew by {rate} per {per} (from {low} to {high})"))
    } else {
        (Finding::Pass, format!("{name} did not grow"))
    };
    Some(row)
}

/// A server that is not ours, and no growth from the middle checkpoint to the last.
fn stands_still(run: &TargetRun, series: &[(u64, u64)]) -> bool {
    match series {
        [_, .., (_, middle), (_, last)] if run.plan.outside.is_some() => last <= middle,
        _ => false,
    }
}
