//! The parts of a verdict that are about the whole run: sums, reasons, and the one sentence.

use super::target::TargetVerdict;
use super::words::{pluralize, to_f64};
use super::{
    BoundsVerdict, Class, ControlVerdict, FalseAlarms, Finding, MetricVerdict, ProofVerdict, Verdict, suite, trend,
};
use crate::sample::{ReplyKinds, Run, TargetRun};

/// Everything that makes the run invalid, controls first, each reason with its place.
pub(super) fn invalid_reasons(
    broken: Vec<String>,
    controls: &[ControlVerdict],
    targets: &[TargetVerdict],
    run: &Run,
) -> Vec<String> {
    let missed = controls.iter().filter(|control| !control.passed).map(|control| {
        let what = if control.planted.is_empty() { "failed" } else { "was missed" };
        let shard = control.shard.map(|shard| format!(" in shard {shard}")).unwrap_or_default();
        format!("control {} {what}{shard}: {}", control.name, control.reason)
    });
    let places = targets.iter().flat_map(|target| {
        let place = describe_run(&target.scenario, &target.target, target.seed);
        target.invalid.iter().map(move |reason| format!("{place}: {reason}"))
    });
    let mut found: Vec<String> = broken.into_iter().chain(missed).chain(places).collect();
    if targets.is_empty() && !suite::is_empty_shard(run) {
        found.push("nothing was exercised: no scenario was run".to_owned());
    }
    found
}

/// Warnings that weaken the verdict without invalidating it.
pub(super) fn run_warnings(run: &Run, metrics: &[MetricVerdict]) -> Vec<String> {
    let mut found = suite::suite_warnings(run);
    if suite::is_empty_shard(run) {
        return found;
    }
    if run.controls.is_empty() {
        found.push("not proven: controls were skipped, so nothing shows that this gate detects leaks".to_owned());
    } else if !run.controls.iter().any(|control| control.planted.is_empty()) {
        found.push(
            "not proven: no clean control was run, so nothing shows that this gate raises no false alarms".to_owned(),
        );
    }
    let [.., shortest] = trend::BOUNDS;
    for run in &run.targets {
        let place = describe_run(&run.scenario, &run.target, run.seed);
        let unmeasured = run.plan.outside.iter().flat_map(|outside| &outside.unmeasured);
        found.extend(unmeasured.map(|what| format!("{place}: {what}")));
    }
    let ours = |row: &&MetricVerdict| run.targets.get(row.run).is_some_and(|run| run.plan.outside.is_none());
    for row in metrics.iter().filter(|row| row.class == Class::Noisy && row.tolerance > shortest.b).filter(ours) {
        let place = describe_row(row, run);
        found.push(format!(
            "{place}: fewer than {} restarts; the bound on anon_pss is widened and not calibrated",
            shortest.from
        ));
    }
    found
}

/// Sums over targets.
pub(super) fn sum_proof(runs: &[TargetRun]) -> ProofVerdict {
    let sum = |of: fn(&TargetRun) -> u64| runs.iter().map(of).fold(0, u64::saturating_add);
    ProofVerdict {
        restarts: sum(|run| run.proof.restarts),
        turns: sum(|run| run.proof.turns),
        requests: sum(|run| run.proof.requests),
        errors: sum(|run| run.proof.errors),
        lost: sum(|run| run.proof.lost),
        mixed_up: sum(|run| run.proof.mixed_up),
        checkpoints: sum(|run| u64::try_from(run.checkpoints.len()).unwrap_or(u64::MAX)),
        bytes_replayed: sum(|run| run.proof.bytes_replayed),
        unmarked: sum(|run| run.proof.unmarked),
        kinds: runs.iter().fold(ReplyKinds::default(), |mut all, run| {
            all.add(run.proof.kinds);
            all
        }),
    }
}

/// The highest over targets.
pub(super) fn peak_bounds(runs: &[TargetRun]) -> BoundsVerdict {
    runs.iter().fold(BoundsVerdict::default(), |most, run| BoundsVerdict {
        slots: most.slots.max(run.plan.slots),
        live_invokers_max: most.live_invokers_max.max(run.bounds.live_invokers_max),
        cli_processes_max: most.cli_processes_max.max(run.bounds.cli_processes_max),
        tree_rss_max_mb: most.tree_rss_max_mb.max(run.bounds.tree_rss_max_mb),
        server_rss_max_mb: most.server_rss_max_mb.max(run.bounds.server_rss_max_mb),
    })
}

/// The claims about false alarms, by class. Where none of n runs alarmed, their share is below 1 - 0.05^(1/n) with 95 %
/// confidence; those runs were of our own server.
pub(super) fn false_alarms(runs: &[TargetRun]) -> Vec<FalseAlarms> {
    let claim = |class, bound: &str| FalseAlarms { class, bound: bound.to_owned() };
    let noisy = if runs.iter().any(|run| run.plan.outside.is_some()) {
        "none in 66 runs of sound example servers in Python, Node and bash; the tolerance comes from the run's own length, \
         noise and warm-up, or is limits.memory-per-restart-kb"
            .to_owned()
    } else {
        let runs = trend::CLEAN_RUNS;
        let most = 1.0 - 0.05_f64.powf(1.0 / to_f64(runs));
        format!(
            "0 of {runs} leak-free runs, every scenario in turn: under {:.0} % (95 % confidence)",
            (100.0 * most).ceil()
        )
    };
    vec![
        claim(
            Class::Exact,
            "none from noise, because settled readings have no variance; a first use after the warm-up can cause one",
        ),
        claim(
            Class::Heap,
            "none from noise; a buffer that first grows between 2T and 4T, above the floor, can cause one",
        ),
        claim(Class::Noisy, &noisy),
        claim(Class::Total, "none from noise, because they are counted once, after the stop"),
        claim(Class::Cap, "none below the cap"),
    ]
}

/// The verdict in one sentence, for a headline, a log line or a chat message.
pub(super) fn summary_sentence(verdict: &Verdict, run: &Run) -> String {
    match verdict.verdict {
        Finding::Pass if suite::is_empty_shard(run) => "nothing was to be measured here".to_owned(),
        Finding::Pass | Finding::Shown if verdict.proof.restarts == 0 => {
            format!("no leak in {}", pluralize(verdict.proof.turns, "turn"))
        }
        Finding::Pass | Finding::Shown => format!("no leak in {}", pluralize(verdict.proof.restarts, "restart")),
        // One line of it: a reason may carry the end of a target's stderr.
        Finding::Invalid => {
            verdict.invalid.first().and_then(|reason| reason.lines().next()).unwrap_or_default().to_owned()
        }
        wanted => worst_row(verdict, wanted)
            .map(|row| format!("{} in {}", row.reason, describe_row(row, run)))
            .unwrap_or_default(),
    }
}

/// The row to name first: the one nearest to the cause. Rows are in order from invokers to memory, and what is kept in
/// one shows in those after it.
fn worst_row(verdict: &Verdict, wanted: Finding) -> Option<&MetricVerdict> {
    verdict.metrics.iter().find(|row| row.verdict == wanted)
}

fn describe_row(row: &MetricVerdict, run: &Run) -> String {
    describe_run(&row.scenario, &row.target, run.targets.get(row.run).and_then(|target| target.seed))
}

fn describe_run(scenario: &str, target: &str, seed: Option<u64>) -> String {
    let seed = seed.map(|seed| format!(" with seed {seed}")).unwrap_or_default();
    format!("scenario {scenario} on {target}{seed}")
}
