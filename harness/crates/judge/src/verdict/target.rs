//! One scenario against one target: every rule applied to it, and what two runs of a scenario say together.

use serde::{Deserialize, Serialize};

use super::words::{metric_name, metric_unit};
use super::{Class, Finding, MetricVerdict, ProofVerdict, bounds, exact, exceptions, heap, summary, trend, validity};
use crate::sample::{MAX_DOUBLINGS, Metric, Outcome, TargetRun};

/// The verdict on one target of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetVerdict {
    /// The scenario.
    pub scenario: String,
    /// The target.
    pub target: String,
    /// Its seed, where the run has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The worst finding; [`Finding::Leak`] also beside a reason why the run is otherwise invalid.
    pub verdict: Finding,
    /// Why it proves nothing; empty when it is valid.
    pub invalid: Vec<String>,
    /// Proof of the load.
    pub proof: ProofVerdict,
    /// Live invokers that it may have, or CLI processes of a server that is not ours; absent where there is no limit.
    pub live_invokers_allowed: Option<u64>,
    /// From the start of the process to its end, in seconds.
    pub seconds: f64,
}

impl MetricVerdict {
    /// A row about `metric` with nothing found yet.
    pub(super) fn new(run: &TargetRun, metric: Metric, class: Class) -> Self {
        Self {
            run: 0,
            scenario: run.scenario.clone(),
            target: run.target.clone(),
            name: metric,
            verdict: Finding::Shown,
            class,
            unit: metric_unit(metric).to_owned(),
            growth_per_restart: None,
            tolerance: 0.0,
            smallest_detectable: None,
            first: None,
            last: None,
            max: None,
            reason: String::new(),
        }
    }
}

/// Judges one run by itself.
pub fn judge_target(run: &TargetRun) -> (TargetVerdict, Vec<MetricVerdict>) {
    // The rows stay in the order of causes, invokers first and memory last: the summary names the first that fails.
    let invalid = validity::run_problems(run);
    let mut rows = Vec::new();
    if validity::in_order(run) {
        rows.extend(exact::judge_counts(run));
        rows.extend(heap::judge_heap(run));
    }
    bounds::judge_invokers(run, &mut rows);
    if validity::in_order(run) && run.outcome == Outcome::Completed {
        rows.extend(trend::judge_memory(run));
    }
    rows.extend(bounds::judge_caps(run));
    rows.extend(bounds::judge_totals(run));
    exceptions::apply_exceptions(run, &mut rows);
    if run.plan.doubled >= MAX_DOUBLINGS {
        mark_inconclusive(&mut rows);
    }
    let verdict = TargetVerdict {
        scenario: run.scenario.clone(),
        target: run.target.clone(),
        seed: run.seed,
        verdict: worst_finding(&rows, &invalid),
        invalid,
        proof: summary::sum_proof(std::slice::from_ref(run)),
        live_invokers_allowed: match &run.plan.outside {
            Some(outside) => outside.cli_processes_allowed,
            None => Some(run.plan.slots.saturating_add(1)),
        },
        seconds: run.seconds,
    };
    (verdict, rows)
}

/// Judges every run, and then what only two targets of the same scenario can tell together.
pub(super) fn judge_all(runs: &[TargetRun]) -> (Vec<TargetVerdict>, Vec<MetricVerdict>) {
    let mut judged: Vec<_> = runs.iter().map(judge_target).collect();
    let flat: Vec<bool> = judged.iter().map(|(verdict, rows)| has_flat_heap(verdict, rows)).collect();
    for (run, (verdict, rows)) in runs.iter().zip(&mut judged) {
        let heap_is_flat = runs.iter().zip(&flat).any(|(other, &flat)| flat && other.scenario == run.scenario);
        if heap_is_flat {
            reclassify_as_retention(run, rows);
            verdict.verdict = worst_finding(rows, &verdict.invalid);
        }
    }
    for (pair, (verdict, rows)) in runs.windows(2).zip(&mut judged) {
        if matches!(pair, [run, next] if run.is_continued_by(next)) {
            defer_to_longer_run(rows);
            verdict.verdict = worst_finding(rows, &verdict.invalid);
        }
    }
    let mut verdicts = Vec::with_capacity(judged.len());
    let mut metrics = Vec::new();
    for (at, (verdict, rows)) in judged.into_iter().enumerate() {
        verdicts.push(verdict);
        metrics.extend(rows.into_iter().map(|row| MetricVerdict { run: at, ..row }));
    }
    (verdicts, metrics)
}

/// Saturating growth was measured again with twice the restarts; the longer run decides.
fn defer_to_longer_run(rows: &mut [MetricVerdict]) {
    for row in rows.iter_mut().filter(|row| row.verdict == Finding::Saturating) {
        row.verdict = Finding::Shown;
        row.reason.push_str("; measured again for twice as long");
    }
}

/// Still growing after the last doubling: inconclusive.
fn mark_inconclusive(rows: &mut [MetricVerdict]) {
    for row in rows.iter_mut().filter(|row| row.verdict == Finding::Saturating) {
        row.verdict = Finding::Inconclusive;
        row.reason.push_str(", also at four times the restarts");
    }
}

fn worst_finding(rows: &[MetricVerdict], invalid: &[String]) -> Finding {
    let worst = rows.iter().map(|row| row.verdict).max().unwrap_or(Finding::Shown).max(Finding::Pass);
    if worst == Finding::Leak || invalid.is_empty() { worst } else { Finding::Invalid }
}

fn has_flat_heap(verdict: &TargetVerdict, rows: &[MetricVerdict]) -> bool {
    let mut heap = rows.iter().filter(|row| row.class == Class::Heap).peekable();
    verdict.invalid.is_empty() && heap.peek().is_some() && heap.all(|row| row.verdict == Finding::Pass)
}

/// Memory that grows outside while the exact heap of the same scenario is flat is no leak of the heap: the allocator
/// keeps it, or it is beyond dhat's sight (mmap, C code). Only where the growth is the server's own, because dhat says
/// nothing about its children, and only where nothing else leaks.
fn reclassify_as_retention(run: &TargetRun, rows: &mut [MetricVerdict]) {
    let leaks = rows.iter().filter(|row| row.verdict == Finding::Leak).count();
    if leaks != 1 || !trend::is_the_servers_own(run) {
        return;
    }
    if let Some(row) = rows.iter_mut().find(|row| row.name == Metric::AnonPss && row.verdict == Finding::Leak) {
        row.verdict = Finding::Retention;
        row.reason = format!("{} grows in the server while its exact heap is flat", metric_name(Metric::AnonPss));
    }
}
