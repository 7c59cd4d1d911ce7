//! Reasons why a measurement proves nothing, however good its numbers look.

use super::words::{metric_name, pluralize, to_f64};
use super::{heap, trend};
use crate::sample::{GrowthUnit, Metric, Outcome, TargetRun};

/// The readings that an exact metric needs: one after the warm-up and one at the end.
pub(crate) const MIN_CHECKPOINTS: u64 = 2;

/// Why this run proves nothing, each reason in words; empty when it is valid.
pub(crate) fn run_problems(run: &TargetRun) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(outcome_problem(&run.outcome));
    found.extend(exercise_problem(run));
    found.extend(error_problem(run));
    found.extend(enough_checkpoints(run));
    if !in_order(run) {
        found.push(
            "the count of restarts or turns does not rise from checkpoint to checkpoint: did the target restart?"
                .into(),
        );
    }
    found.extend(missing_readings(run));
    found
}

/// The restarts, or turns, rise from each checkpoint to the next and never fall in the trace: otherwise no rate means anything.
pub(crate) fn in_order(run: &TargetRun) -> bool {
    let per = run.plan.growth_unit();
    run.checkpoints.is_sorted_by(|a, b| a.steps(per) < b.steps(per))
        && run.trace.is_sorted_by(|a, b| a.steps(per) <= b.steps(per))
}

fn outcome_problem(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Completed => None,
        Outcome::NotSettled { moving } => Some(format!("the target did not settle; still moving: {moving}")),
        Outcome::Failed { what } => Some(format!("the target could not be driven to the end: {what}")),
    }
}

fn exercise_problem(run: &TargetRun) -> Option<String> {
    if run.proof.requests == 0 {
        return Some("nothing was exercised: no request was sent".to_owned());
    }
    let none = run.proof.restarts == 0 && run.plan.growth_unit() == GrowthUnit::Restart;
    none.then(|| "nothing was exercised: no restart happened".to_owned())
}

fn error_problem(run: &TargetRun) -> Option<String> {
    let (errors, requests) = (run.proof.errors, run.proof.requests);
    let share = to_f64(errors) / to_f64(requests.max(1));
    // An allowance that is not a number allows nothing.
    if share == 0.0 || share <= run.plan.errors_allowed {
        return None;
    }
    let first = run.notes.first().map(|note| format!("; first note: {note}")).unwrap_or_default();
    Some(format!("the target answered {errors} of {} with errors{first}", pluralize(requests, "request")))
}

fn enough_checkpoints(run: &TargetRun) -> Option<String> {
    let (needed, what) =
        if trend::is_profiled(run) { (heap::MIN_CHECKPOINTS, "a heap's growth") } else { (MIN_CHECKPOINTS, "growth") };
    let found = u64::try_from(run.checkpoints.len()).unwrap_or(u64::MAX);
    (found < needed).then(|| format!("there is only {}, and {what} needs {needed}", pluralize(found, "checkpoint")))
}

/// Metrics that some checkpoints have and others lack. A metric that all lack is not readable on this target, which is no
/// fault; but without any readable metric nothing was measured.
fn missing_readings(run: &TargetRun) -> Vec<String> {
    let metrics = Metric::COUNTED.into_iter().chain([Metric::HeapBlocks, Metric::HeapBytes]);
    let mut any = false;
    let mut found: Vec<String> = metrics
        .filter_map(|metric| {
            let lacking = run.checkpoints.iter().find(|point| !point.values.contains_key(&metric));
            let having = run.checkpoints.iter().any(|point| point.values.contains_key(&metric));
            any |= having;
            let lacking = lacking.filter(|_| having)?;
            let per = run.plan.growth_unit();
            Some(format!("the checkpoint at {} {} lacks {}", per.name(), lacking.steps(per), metric_name(metric)))
        })
        .collect();
    if !any && !run.checkpoints.is_empty() {
        found.push("no metric could be read at the checkpoints".to_owned());
    }
    found
}
