//! The meaning of a verdict and the next steps, for a reader who sees one for the first time.

use leakgate_judge::sample::{Metric, Run};
use leakgate_judge::verdict::{Class, Finding, MetricVerdict, Verdict};

/// Notes of a target that are repeated in a report; the rest is in `run.json`.
pub const MAX_NOTES: usize = 5;

/// One sentence on what the verdict means.
pub fn explain_finding(verdict: Finding) -> &'static str {
    match verdict {
        Finding::Pass | Finding::Shown => "No leak of the smallest detectable size (last column) or more was found.",
        Finding::Leak => {
            "The server leaks: something accumulates at every restart, or intermittently, and is never released."
        }
        Finding::Saturating => {
            "Growth slows down, comes in steps, began late or is too noisy to judge: a cache that is still filling, or a leak. This run is too short to tell."
        }
        Finding::Retention => {
            "The server's memory grows while its heap does not: the allocator retains freed memory, or the memory comes from mmap or C code."
        }
        Finding::Inconclusive => {
            "A metric could not be judged: the run is too short or too noisy, readings are missing, or the metric still grows at four times the restarts, though not steadily."
        }
        Finding::Invalid => "The run proves neither a leak nor the absence of one. This is not a pass.",
    }
}

/// The same of a verdict, which may be on nothing: a shard to which nothing falls.
pub fn explain_verdict(verdict: &Verdict) -> &'static str {
    match verdict.verdict {
        Finding::Pass if verdict.targets.is_empty() => {
            "Nothing was measured, so this verdict says nothing about leaks."
        }
        finding => explain_finding(finding),
    }
}

/// The next steps, in order.
pub fn next_steps(verdict: &Verdict, run: &Run) -> Vec<String> {
    let mut steps = match verdict.verdict {
        Finding::Pass | Finding::Shown => return Vec::new(),
        Finding::Leak => leak_steps(verdict, run),
        Finding::Saturating => vec!["Run again with twice the restarts, and at most once more with four times: a cache stops growing, a leak does not.".into()],
        Finding::Retention => vec![
            "Compare a run with another allocator or with MALLOC_ARENA_MAX=1: if the growth disappears, the allocator caused it.".into(),
        ],
        Finding::Inconclusive => vec![
            "Run again with more restarts (at least 300). Growth that continues at four times the restarts is an unbounded cache or a slow leak: `leakgate profile` names the lines of code.".into(),
        ],
        Finding::Invalid => invalid_steps(verdict),
    };
    steps
        .push("The raw series are in run.json beside this report; `leakgate judge run.json` judges them again.".into());
    if !run.environment.command.is_empty() {
        steps.push(format!("To measure again: {}", run.environment.command));
    }
    steps
}

/// The notes of the targets that did not pass: what was left, by name, and the first errors.
pub fn failed_notes<'a>(verdict: &Verdict, run: &'a Run) -> Vec<&'a str> {
    let failed = run.targets.iter().zip(&verdict.targets).filter(|(_, judged)| judged.verdict > Finding::Pass);
    failed.flat_map(|(target, _)| target.notes.iter().take(MAX_NOTES)).map(String::as_str).collect()
}

fn leak_steps(verdict: &Verdict, run: &Run) -> Vec<String> {
    let leaking = || verdict.metrics.iter().filter(|row| row.verdict == Finding::Leak);
    let mut steps = Vec::new();
    steps.extend(memory_step(run, leaking()));
    if leaking().any(is_process) {
        steps.push(
            "An old CLI process outlives its restart: check what still holds its handle, and what reaps it.".into(),
        );
    }
    if leaking().any(|row| matches!(row.name, Metric::FdsPipe | Metric::FdsSocket | Metric::FdsFile | Metric::FdsAnon))
    {
        steps.push(
            "A descriptor stays open: `ls -l /proc/PID/fd` of the running server shows what it points to.".into(),
        );
    }
    if leaking().any(|row| matches!(row.name, Metric::Threads | Metric::Tasks)) {
        steps.push(
            "A thread or task does not end: look for one that is started at each restart and never joined.".into(),
        );
    }
    if leaking().any(|row| matches!(row.name, Metric::Lost | Metric::MixedUp)) {
        steps.push("Requests were lost or replies mixed up: the notes name the first ones.".into());
    }
    steps
}

/// How to get from memory that leaks to the line that keeps it: by our own profiler, or by one of the server's language.
fn memory_step<'a>(run: &Run, mut leaking: impl Iterator<Item = &'a MetricVerdict>) -> Option<String> {
    let row = leaking.find(|row| matches!(row.class, Class::Heap | Class::Noisy))?;
    let target = run.targets.get(row.run)?;
    Some(if target.plan.outside.is_some() {
        "`leakgate profile` works for the wrapper only. Compare two heap snapshots of your server, some hundred restarts apart, \
         with a profiler for its language: tracemalloc or memray, node --inspect, pprof, heaptrack or dhat."
            .to_owned()
    } else if !target.sites.is_empty() {
        "Look at the lines under \"Where the heap grew\"; the notes say where the flame graph and dhat's own file are."
            .to_owned()
    } else if row.class == Class::Heap {
        format!("`leakgate profile {}` names the lines of code that hold the memory.", row.scenario)
    } else {
        format!(
            "`leakgate profile {}` names the lines of code if the leak is in the server's heap; it does not see child processes, mmap or C code.",
            row.scenario
        )
    })
}

fn is_process(row: &MetricVerdict) -> bool {
    matches!(row.name, Metric::LiveInvokers | Metric::Processes | Metric::Zombies | Metric::Orphans)
}

fn invalid_steps(verdict: &Verdict) -> Vec<String> {
    if verdict.suite.as_ref().is_some_and(|suite| suite.merged) && verdict.controls.iter().all(|control| control.passed)
    {
        vec!["Run the shards named above again and merge all shards of the suite; `leakgate judge` tells what a single shard found.".into()]
    } else if verdict.controls.iter().any(|control| !control.passed) {
        vec![
            "A control failed, so this gate misses leaks or raises false alarms: fix the probe or the rule that the control names first."
                .into(),
        ]
    } else {
        vec!["Fix what is named above, then run again.".into()]
    }
}
