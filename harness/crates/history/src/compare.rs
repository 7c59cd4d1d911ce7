//! Two builds side by side: does the newer one's memory grow faster? A pure function of what was measured.
//!
//! Five processes of each build are driven in turn, on the same machine in the same hour, so that whatever disturbs them
//! disturbs both. Each process gives one number, the Theil–Sen slope of its anonymous memory: readings of one process
//! are not independent of each other, processes are. The two samples are compared by the exact test of Mann and Whitney,
//! and a difference that is sure but too small to matter is none.

use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::statistics::{hodges_lehmann_shift, mann_whitney, theil_sen};
use leakgate_judge::sample::{Environment, Outcome, TargetRun, TracePoint};
use leakgate_judge::statistics::median;
use leakgate_judge::verdict::words::{format_bytes, to_f64};

/// Processes of each build.
pub const PROCESSES: usize = 5;
/// The largest p that is called a regression. With 5 and 5 processes the next smaller one that can come is 2 / 252: as
/// often does it call two equal builds different, if their difference reaches [`MIN_EFFECT`] as well.
pub(crate) const MAX_P: f64 = 0.015;
/// The smallest difference of growth that is called a regression, in bytes for each restart.
pub(crate) const MIN_EFFECT: f64 = 48.0;
/// Readings that a slope needs: those that the trend of one run needs in its windows.
const MIN_READINGS: usize = 12;

/// The runs of two builds, in the order in which they were measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pairs {
    /// The scenario.
    pub scenario: String,
    /// Where the night ran; both builds ran there.
    pub environment: Environment,
    /// The processes of the baseline's build.
    pub baseline: Vec<TargetRun>,
    /// The processes of the night's build, each run after one of the baseline's.
    pub candidate: Vec<TargetRun>,
}

/// The result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// No growth beyond the baseline's that this comparison can see.
    None,
    /// The newer build's memory grows faster.
    Regression,
    /// The measurements do not tell.
    Unknown,
}

/// One number of each build.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricPair {
    /// The figure.
    pub metric: Figure,
    /// The median of the baseline's processes.
    pub baseline: f64,
    /// The median of the night's.
    pub candidate: f64,
}

/// The night's build held against the baseline's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The baseline's number in the history.
    pub baseline: i64,
    /// The scenario.
    pub scenario: String,
    /// Restarts of each process, about.
    pub restarts: u64,
    /// The result.
    pub change: Change,
    /// Why, in words.
    pub reason: String,
    /// The slope of each process of the baseline's build, in bytes for each restart.
    pub baseline_slopes: Vec<f64>,
    /// The same of the night's build.
    pub candidate_slopes: Vec<f64>,
    /// How much faster the night's build grows, in bytes for each restart.
    pub effect: Option<f64>,
    /// The one-sided p of that.
    pub p: Option<f64>,
    /// Shown, and judged by nobody unless there is a budget.
    pub beside: Vec<MetricPair>,
}

/// Compares. `baseline` is the baseline's number.
#[must_use]
pub fn compare(baseline: i64, pairs: &Pairs) -> Comparison {
    let all = || pairs.baseline.iter().chain(&pairs.candidate);
    let mut result = Comparison {
        baseline,
        scenario: pairs.scenario.clone(),
        restarts: all().map(|run| run.proof.restarts).min().unwrap_or(0),
        change: Change::Unknown,
        reason: String::new(),
        baseline_slopes: pairs.baseline.iter().filter_map(memory_slope).collect(),
        candidate_slopes: pairs.candidate.iter().filter_map(memory_slope).collect(),
        effect: None,
        p: None,
        beside: Figure::ALL.into_iter().filter_map(|metric| median_pair(metric, pairs)).collect(),
    };
    result.effect = hodges_lehmann_shift(&result.baseline_slopes, &result.candidate_slopes);
    result.p = mann_whitney(&result.baseline_slopes, &result.candidate_slopes);
    (result.change, result.reason) = match broken_reason(pairs) {
        Some(why) => (Change::Unknown, why),
        None => decide_change(&result),
    };
    result
}

fn decide_change(of: &Comparison) -> (Change, String) {
    let slopes = (of.baseline_slopes.len(), of.candidate_slopes.len());
    let (Some(effect), Some(p), (PROCESSES, PROCESSES)) = (of.effect, of.p, slopes) else {
        let few = format!("{} and {} of {PROCESSES} processes gave a slope", slopes.0, slopes.1);
        return (
            Change::Unknown,
            format!("only {few}: too few restarts for {MIN_READINGS} readings in their last half"),
        );
    };
    let Comparison { baseline, scenario, .. } = of;
    if p <= MAX_P && effect >= MIN_EFFECT {
        let faster =
            format!("anon_pss grows by {} per restart faster than in baseline {baseline}", format_bytes(effect));
        (Change::Regression, format!("{faster} (scenario {scenario}, p = {p:.3})"))
    } else if p <= MAX_P {
        let small = format!("below the {} that count as a regression", format_bytes(MIN_EFFECT));
        (Change::None, format!("anon_pss grows by {} per restart faster, {small} (p = {p:.3})", format_bytes(effect)))
    } else {
        (Change::None, format!("anon_pss grows no faster than in baseline {baseline} (p = {p:.3})"))
    }
}

/// Why the processes are not what they should be: too few, or one that did not do its work.
fn broken_reason(pairs: &Pairs) -> Option<String> {
    for (side, runs) in [("baseline's", &pairs.baseline), ("night's", &pairs.candidate)] {
        for (at, run) in runs.iter().enumerate() {
            let what = match &run.outcome {
                Outcome::Completed => continue,
                Outcome::NotSettled { moving } => format!("did not come to rest: {moving}"),
                Outcome::Failed { what } => format!("failed: {what}"),
            };
            return Some(format!("process {} of the {side} build {what}", at + 1));
        }
    }
    let wrong = pairs.baseline.len() != PROCESSES || pairs.candidate.len() != PROCESSES;
    let few = || format!("{} and {} processes were driven", pairs.baseline.len(), pairs.candidate.len());
    wrong.then(|| format!("{} instead of {PROCESSES} and {PROCESSES}", few()))
}

/// The slope of a process's anonymous memory over the last half of its restarts, in bytes for each. The first half is
/// left out as in the trend of one run: caches fill in it, as fast in one process as in the other or not.
fn memory_slope(run: &TargetRun) -> Option<f64> {
    let end = run.trace.last()?.restarts;
    let late: Vec<&TracePoint> = run.trace.iter().filter(|at| at.restarts > end / 2 && at.anon_pss > 0).collect();
    let points: Vec<(f64, f64)> = late.iter().map(|at| (to_f64(at.restarts), to_f64(at.anon_pss))).collect();
    if points.len() < MIN_READINGS { None } else { theil_sen(&points) }
}

fn median_pair(metric: Figure, pairs: &Pairs) -> Option<MetricPair> {
    let middle = |runs: &[TargetRun]| median(&runs.iter().filter_map(|run| metric.of(run)).collect::<Vec<_>>());
    Some(MetricPair { metric, baseline: middle(&pairs.baseline)?, candidate: middle(&pairs.candidate)? })
}
