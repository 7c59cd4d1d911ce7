//! From raw series to a verdict: a pure function of a [`Run`], the same today and in a year.
//!
//! The functions do no IO, read no clock and use no random numbers. Each class of metric has its own rule, in its own file:
//! - [`exact`]: settled counts, which have no variance: any growth between the first and the last checkpoint is a leak.
//! - [`heap`]: dhat's blocks and bytes, where caches fill and vectors double: growth that does not slow down is a leak.
//! - [`trend`]: memory seen from outside, which is noisy: a growth that lasts over four `windows` is a leak.
//! - [`bounds`]: what holds at every instant (invokers, memory caps) and what is counted after the stop.
//! - `exceptions`: growth that somebody answers for until a day is no leak until then.
//!
//! [`target`] applies them to one target, [`validity`] checks whether a run proves anything, and [`control`] whether the
//! gate detects planted leaks. [`judge`] combines them, in order of precedence: an incomplete suite (`suite`) or a missed
//! control proves nothing; then a leak is a leak, also beside a target that failed; then a target that proved nothing; then
//! anything not conclusive.

pub mod bounds;
pub mod control;
pub mod exact;
mod exceptions;
pub mod heap;
mod suite;
mod summary;
pub mod target;
pub mod trend;
pub mod validity;
mod windows;
pub mod words;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::sample::suite::Suite;
use crate::sample::{Environment, Metric, ReplyKinds, Run};
use target::TargetVerdict;

/// The version of `verdict.json` that this build writes.
pub const FORMAT: u32 = 1;

/// The finding on a metric, a target or a whole run; from harmless to fatal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Finding {
    /// Measured and shown, but not judged here. Never the verdict of a run.
    Shown,
    /// Does not leak, down to the smallest leak that would have been seen.
    Pass,
    /// The measurements do not decide.
    Inconclusive,
    /// Grows ever more slowly, in steps or only lately, or is too noisy to judge: a cache that fills, or a leak in disguise.
    /// Only a longer run tells.
    Saturating,
    /// The server's memory grows while its exact heap does not: kept by the allocator, or beyond dhat's sight.
    Retention,
    /// Leaks.
    Leak,
    /// Proves nothing.
    Invalid,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Shown => "shown",
            Self::Pass => "PASS",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Saturating => "SATURATING",
            Self::Retention => "RETENTION",
            Self::Leak => "LEAK",
            Self::Invalid => "INVALID",
        })
    }
}

/// The rule by which a metric was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Settled counts: [`exact`].
    Exact,
    /// dhat's blocks and bytes: [`heap`].
    Heap,
    /// Noisy memory: [`trend`].
    Noisy,
    /// Counted once, after the stop: [`bounds`].
    Total,
    /// Held against a cap, its trend shown only: [`bounds`].
    Cap,
}

/// One metric of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricVerdict {
    /// The position of its run in [`Run::targets`]: a repeated run has the same scenario and target.
    pub run: usize,
    /// The scenario.
    pub scenario: String,
    /// The target.
    pub target: String,
    /// The metric.
    pub name: Metric,
    /// The finding.
    pub verdict: Finding,
    /// The rule that found it.
    pub class: Class,
    /// The unit of its readings.
    pub unit: String,
    /// Growth for each restart (or turn: [`crate::sample::GrowthUnit`]), in units; absent where nothing could be computed.
    pub growth_per_restart: Option<f64>,
    /// Growth for each restart up to which it is no leak, in units.
    pub tolerance: f64,
    /// The smallest steady leak, in units for each restart, that this run would have called a leak. A row that passes has no
    /// growth above it.
    pub smallest_detectable: Option<f64>,
    /// The first reading.
    pub first: Option<u64>,
    /// The last reading.
    pub last: Option<u64>,
    /// The highest reading.
    pub max: Option<u64>,
    /// Why, in words.
    pub reason: String,
}

/// One planted leak, or the clean control, and whether the gate saw what it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlVerdict {
    /// Its name.
    pub name: String,
    /// The shard that it ran in, where several were merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u64>,
    /// The planted metric that showed it, or the first that should have; absent for the clean control.
    #[serde(alias = "signal")]
    pub metric: Option<Metric>,
    /// All metrics of which at least one has to show it; empty for the clean control.
    pub planted: Vec<Metric>,
    /// A leak was planted and at least one of its metrics was called a leak.
    pub caught: bool,
    /// The control proves what it is there for: the leak was caught, or the clean run was called clean.
    pub passed: bool,
    /// Every metric that was called a leak. A kept process shows in several.
    pub named: Vec<Metric>,
    /// The reason, in words.
    pub reason: String,
}

/// Proof of the load, summed over the scenarios' targets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProofVerdict {
    /// Restarts.
    pub restarts: u64,
    /// Turns.
    pub turns: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that ended in an error.
    pub errors: u64,
    /// Requests with no ending.
    pub lost: u64,
    /// Replies that were not exactly their own.
    pub mixed_up: u64,
    /// Settled checkpoints.
    pub checkpoints: u64,
    /// Bytes of replies received from recordings.
    pub bytes_replayed: u64,
    /// Replies without any mark, of a server that is not ours.
    #[serde(default)]
    pub unmarked: u64,
    /// Replies that are no text, of a server that is not ours.
    #[serde(default, skip_serializing_if = "ReplyKinds::is_none")]
    pub kinds: ReplyKinds,
}

/// The highest values seen at any time in the scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct BoundsVerdict {
    /// The most slots of any scenario. Each target is held against its own.
    pub slots: u64,
    /// Live invokers, by the targets' own high-water marks.
    pub live_invokers_max: u64,
    /// CLI processes, by the operating system.
    pub cli_processes_max: u64,
    /// RSS of a tree, in MB (10^6 bytes).
    pub tree_rss_max_mb: f64,
    /// RSS of a server's own process, in MB (10^6 bytes).
    pub server_rss_max_mb: f64,
}

/// The verdict on a run: what `verdict.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// [`FORMAT`].
    pub format: u32,
    /// The verdict.
    pub verdict: Finding,
    /// The verdict in one sentence.
    pub summary: String,
    /// Why the run, or a part of it, proves nothing; empty for a run that is valid as a whole.
    pub invalid: Vec<String>,
    /// Warnings beside the verdict.
    pub warnings: Vec<String>,
    /// Every metric of every target of the scenarios.
    #[serde(alias = "signals")]
    pub metrics: Vec<MetricVerdict>,
    /// The controls; empty when they were left out.
    pub controls: Vec<ControlVerdict>,
    /// Proof of the load, over all scenarios.
    pub proof: ProofVerdict,
    /// The highest values seen, in all scenarios together.
    pub bounds: BoundsVerdict,
    /// Each target with its own verdict, in the order of [`Run::targets`].
    pub targets: Vec<TargetVerdict>,
    /// How often each rule raises a false alarm, in words.
    pub false_alarms: Vec<FalseAlarms>,
    /// Where and with what it was measured; of several shards, what the first has.
    pub environment: Environment,
    /// The suite that the run is a shard of, or was put together from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<Suite>,
}

/// How often the rule of a class calls a healthy server a leak.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FalseAlarms {
    /// The class.
    pub class: Class,
    /// The bound, in words.
    pub bound: String,
}

impl Verdict {
    /// The exit code that tells it to a script.
    pub fn exit(&self) -> Exit {
        match self.verdict {
            Finding::Pass => Exit::Pass,
            Finding::Leak => Exit::Leak,
            Finding::Invalid => Exit::Invalid,
            Finding::Shown | Finding::Inconclusive | Finding::Saturating | Finding::Retention => Exit::NotConclusive,
        }
    }
}

/// Judges a run. Any `Run` gets a verdict; one that makes no sense is [`Finding::Invalid`].
pub fn judge(run: &Run) -> Verdict {
    let controls: Vec<ControlVerdict> = run.controls.iter().map(control::judge_control).collect();
    let (targets, metrics) = target::judge_all(&run.targets);
    let broken = suite::suite_problems(run);
    let verdict = if !broken.is_empty() || controls.iter().any(|control| !control.passed) {
        Finding::Invalid
    } else if suite::is_empty_shard(run) {
        Finding::Pass
    } else {
        overall_finding(&targets, &metrics)
    };
    let invalid = summary::invalid_reasons(broken, &controls, &targets, run);
    let mut result = Verdict {
        format: FORMAT,
        verdict,
        summary: String::new(),
        invalid,
        warnings: summary::run_warnings(run, &metrics),
        metrics,
        controls,
        proof: summary::sum_proof(&run.targets),
        bounds: summary::peak_bounds(&run.targets),
        targets,
        false_alarms: summary::false_alarms(&run.targets),
        environment: run.environment.clone(),
        suite: run.suite.clone(),
    };
    result.summary = summary::summary_sentence(&result, run);
    result
}

/// Which finding wins where the gate can see, as the module's doc says.
fn overall_finding(targets: &[TargetVerdict], metrics: &[MetricVerdict]) -> Finding {
    let worst = metrics.iter().map(|row| row.verdict).max().unwrap_or(Finding::Shown);
    if worst == Finding::Leak {
        return Finding::Leak;
    }
    if targets.is_empty() || targets.iter().any(|target| target.verdict == Finding::Invalid) {
        return Finding::Invalid;
    }
    worst.max(Finding::Pass)
}
