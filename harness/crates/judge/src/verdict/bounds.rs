//! Limits that hold at every instant, and counts that are taken once, after the stop.
//!
//! Live invokers stay within `slots` + 1, by the target's own high-water mark, which misses no instant, and by the
//! operating system's count, which does not believe the target. Memory stays under the scenario's caps. After the stop
//! nothing is left; no request is lost and no reply mixed up.

use super::words::{format_bytes, to_f64};
use super::{Class, Finding, MetricVerdict, trend, words};
use crate::sample::{Metric, Outcome, TargetRun, TracePoint};

/// Holds the high-water marks against `slots` + 1; the result goes into the row of [`Metric::LiveInvokers`], which is
/// made when the checkpoints have none. A server that is not ours counts no invokers: `cli_processes` is for those.
pub(crate) fn judge_invokers(run: &TargetRun, rows: &mut Vec<MetricVerdict>) {
    if let Some(outside) = &run.plan.outside {
        return cli_processes(run, outside.cli_processes_allowed, rows);
    }
    let most = run.bounds.live_invokers_max.max(run.bounds.cli_processes_max);
    let place = rows.iter().position(|row| row.name == Metric::LiveInvokers);
    if place.is_none() && most == 0 {
        return;
    }
    let place = place.unwrap_or_else(|| {
        let mut row = MetricVerdict::new(run, Metric::LiveInvokers, Class::Exact);
        (row.verdict, row.reason) = (Finding::Pass, "live_invokers stayed within slots + 1".to_owned());
        rows.insert(0, row);
        0
    });
    let Some(row) = rows.get_mut(place) else { return };
    row.max = row.max.max(Some(most));
    let allowed = run.plan.slots.saturating_add(1);
    if most <= allowed || row.verdict == Finding::Leak {
        return;
    }
    row.verdict = Finding::Leak;
    row.reason = if run.bounds.live_invokers_max > allowed {
        format!("live_invokers reached {most}, over slots + 1 = {allowed}")
    } else {
        format!("live_invokers: the system showed {most} CLI processes at once, over slots + 1 = {allowed}")
    };
}

/// Holds what the operating system showed against the limit that was set, if there is one.
fn cli_processes(run: &TargetRun, allowed: Option<u64>, rows: &mut [MetricVerdict]) {
    let most = run.bounds.cli_processes_max;
    let Some(row) = rows.iter_mut().find(|row| row.name == Metric::CliProcesses) else { return };
    row.max = row.max.max(Some(most));
    if let Some(allowed) = allowed.filter(|&allowed| most > allowed && row.verdict != Finding::Leak) {
        row.verdict = Finding::Leak;
        row.reason = format!("cli_processes reached {most}, over the limit of {allowed}");
    }
}

/// Judges what is counted after the stop: any at all is a leak. Files of a server that is not ours are shown only: it may
/// keep what it likes from one start to the next, as long as a restart of its CLI leaves none.
pub(crate) fn judge_totals(run: &TargetRun) -> Vec<MetricVerdict> {
    let total = |metric| run.totals.get(&metric).copied();
    // Counted twice, by the load and by the stop: the higher count is the one to answer for.
    let lost = run.proof.lost.max(total(Metric::Lost).unwrap_or(0));
    let mixed_up = run.proof.mixed_up.max(total(Metric::MixedUp).unwrap_or(0));
    [
        (Metric::Orphans, total(Metric::Orphans), "process", "processes", "left after the stop"),
        (Metric::LeftByKill, total(Metric::LeftByKill), "process", "processes", "left after SIGKILL"),
        (Metric::FilesLeft, total(Metric::FilesLeft), "file", "files", "left after the stop"),
        (Metric::Lost, Some(lost), "request", "requests", "got no ending"),
        (Metric::MixedUp, Some(mixed_up), "reply", "replies", "mixed up or cut"),
    ]
    .into_iter()
    .filter_map(|(metric, count, one, more, what)| {
        Some(judge_total(run, metric, count?, if count == Some(1) { one } else { more }, what))
    })
    .collect()
}

/// Holds RSS against the caps. Not for a target under dhat, whose bookkeeping counts there. A cap of 0 is none.
pub(crate) fn judge_caps(run: &TargetRun) -> Vec<MetricVerdict> {
    let (seen, plan) = (run.bounds, &run.plan);
    let trace = |of: fn(&crate::sample::TracePoint) -> u64| run.trace.iter().map(of).collect::<Vec<_>>();
    vec![
        judge_cap(
            run,
            Metric::ServerRss,
            &trace(|point| point.server_rss),
            seen.server_rss_max_mb,
            plan.server_rss_cap_mb,
        ),
        judge_cap(run, Metric::TreeRss, &trace(|point| point.tree_rss), seen.tree_rss_max_mb, plan.tree_rss_cap_mb),
    ]
}

fn judge_total(run: &TargetRun, metric: Metric, count: u64, noun: &str, what: &str) -> MetricVerdict {
    let mut row = MetricVerdict::new(run, metric, Class::Total);
    let restarts = to_f64(run.proof.restarts.max(1));
    row.growth_per_restart = Some(to_f64(count) / restarts);
    row.smallest_detectable = Some(1.0 / restarts);
    (row.last, row.max) = (Some(count), Some(count));
    (row.verdict, row.reason) = if count == 0 {
        (Finding::Pass, format!("{}: none", words::metric_name(metric)))
    } else if metric == Metric::FilesLeft && run.plan.outside.is_some() {
        (Finding::Shown, format!("{count} {noun} {what}"))
    } else if metric == Metric::Lost && run.outcome != Outcome::Completed {
        // Whoever talks to a target that dies is left without an ending; the target's failure is what is reported.
        (Finding::Shown, format!("{count} {noun} {what}, but the run ended early"))
    } else {
        (Finding::Leak, format!("{}: {count} {noun} {what}", words::metric_name(metric)))
    };
    row
}

fn judge_cap(run: &TargetRun, metric: Metric, series: &[u64], seen_mb: f64, cap_mb: u64) -> MetricVerdict {
    let mut row = MetricVerdict::new(run, metric, Class::Cap);
    let most = series.iter().copied().max();
    (row.first, row.last, row.max) = (series.first().copied(), series.last().copied(), most);
    row.growth_per_restart = overall_rate(run, series);
    let most = (seen_mb * 1e6).max(most.map_or(0.0, to_f64));
    let (name, most_text, cap_text) =
        (words::metric_name(metric), format_bytes(most), format_bytes(to_f64(cap_mb) * 1e6));
    (row.verdict, row.reason) = if trend::is_profiled(run) {
        (Finding::Shown, format!("{name} reached {most_text}, most of it dhat's"))
    } else if cap_mb == 0 {
        (Finding::Shown, format!("{name} reached {most_text}; the scenario sets no cap"))
    } else if most > to_f64(cap_mb) * 1e6 {
        (Finding::Leak, format!("{name} reached {most_text}, over the cap of {cap_text}"))
    } else {
        (Finding::Pass, format!("{name} stayed under its cap of {cap_text}"))
    };
    row
}

/// From the first reading to the last, to look at: this number is judged by nobody.
fn overall_rate(run: &TargetRun, series: &[u64]) -> Option<f64> {
    let steps = |point: &TracePoint| point.steps(run.plan.growth_unit());
    let steps = steps(run.trace.last()?).checked_sub(steps(run.trace.first()?)).filter(|&count| count > 0)?;
    Some((to_f64(*series.last()?) - to_f64(*series.first()?)) / to_f64(steps))
}
