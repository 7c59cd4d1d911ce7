//! Does the gate see? Each control is judged alone, by the same rules as a scenario.

use super::words::metric_name;
use super::{ControlVerdict, Finding, target};
use crate::sample::{Control, Metric, Outcome};

/// A planted leak is caught when one of its metrics is called a leak. The clean control passes when it completed, is
/// valid, and nothing is called a leak; that it is too short for the noisy metric is no fault of it.
pub(crate) fn judge_control(control: &Control) -> ControlVerdict {
    let (judged, rows) = target::judge_target(&control.run);
    let named: Vec<Metric> = rows.iter().filter(|row| row.verdict == Finding::Leak).map(|row| row.name).collect();
    let clean = control.planted.is_empty();
    let shown_by = control.planted.iter().copied().find(|metric| named.contains(metric));
    let caught = shown_by.is_some();
    let valid = control.run.outcome == Outcome::Completed && judged.invalid.is_empty();
    let passed = if clean { valid && named.is_empty() } else { caught };
    let reason = match (clean, passed) {
        (true, true) => "nothing planted, no leak reported".to_owned(),
        (true, false) => unclean_reason(&named, &judged.invalid),
        (false, true) => format!("caught as {}", join_names(&named)),
        (false, false) => missed_reason(&control.planted, &named, &judged.invalid),
    };
    let metric = shown_by.or_else(|| control.planted.first().copied());
    ControlVerdict {
        name: control.name.clone(),
        shard: control.shard,
        metric,
        planted: control.planted.clone(),
        caught,
        passed,
        named,
        reason,
    }
}

fn unclean_reason(named: &[Metric], invalid: &[String]) -> String {
    match invalid.first() {
        Some(problem) => problem.clone(),
        None => format!("nothing was planted, but a leak was reported in {}", join_names(named)),
    }
}

fn missed_reason(planted: &[Metric], named: &[Metric], invalid: &[String]) -> String {
    let instead = if named.is_empty() {
        "no leak was reported".to_owned()
    } else {
        format!("a leak was reported only in {}", join_names(named))
    };
    let because = invalid.first().map(|problem| format!("; {problem}")).unwrap_or_default();
    format!("planted in {}, but {instead}{because}", join_names(planted))
}

fn join_names(metrics: &[Metric]) -> String {
    metrics.iter().map(|&metric| metric_name(metric)).collect::<Vec<_>>().join(", ")
}
