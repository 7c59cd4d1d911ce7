//! Nights: their history, baselines, budgets and conclusions.
//!
//! A night is a run of every scenario with the long count of restarts. Measurements and verdicts are those of any run
//! ([`leakgate_judge::sample`], [`leakgate_judge::verdict`]); this package adds what spans several runs:
//! - [`history`]: one `SQLite` file with a row for each night, and for each target and metric of it.
//! - [`baseline`]: a night that somebody accepted, which later ones are held against; [`builds`] keeps its programs.
//! - [`compare`]: two builds side by side, by [`statistics`]. Pure.
//! - [`budget`]: limits and exceptions that somebody answers for until a day. Pure, but for reading the file.
//!
//! Growth of different nights is shown and never compared: machines, kernels and compilers change. Compared builds
//! run side by side in one night.

pub mod baseline;
pub mod budget;
pub mod builds;
pub mod compare;
pub mod figure;
pub mod history;
pub mod statistics;

use std::fmt;

use serde::{Deserialize, Serialize};

use compare::{Change, Comparison};
use leakgate_judge::exit::Exit;
use leakgate_judge::sample::{Environment, Latency, Metric, Run, TargetRun};
use leakgate_judge::verdict::target::TargetVerdict;
use leakgate_judge::verdict::{Class, Finding, MetricVerdict, Verdict};

/// One night.
#[derive(Debug, Clone, PartialEq)]
pub struct Night {
    /// Its number in the history; 0 until it is there.
    pub id: i64,
    /// Where, when and with what it ran.
    pub environment: Environment,
    /// The gate's verdict.
    pub verdict: Finding,
    /// The gate's verdict in one sentence.
    pub summary: String,
    /// Controls that ran; 0 where they were left out.
    pub controls: u64,
    /// The kept programs: the name of their folder below `builds`.
    pub build: Option<String>,
    /// The folder with its `run.json` and reports.
    pub folder: String,
    /// The targets, in the order in which they ran.
    pub targets: Vec<Measured>,
    /// How it compares with the baseline, where there was one of another build.
    pub comparison: Option<Comparison>,
    /// Further remarks from nightly checks.
    pub remarks: Vec<Remark>,
}

/// One target of a night.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The scenario.
    pub scenario: String,
    /// `sut` or `sut-heap`.
    pub target: String,
    /// The verdict on it.
    pub verdict: Finding,
    /// Restarts.
    pub restarts: u64,
    /// Requests.
    pub requests: u64,
    /// From the start of the process to its end, in seconds.
    pub seconds: f64,
    /// The highest RSS of the server's own process, in MB (10^6 bytes).
    pub server_rss_mb: f64,
    /// The highest RSS of its tree, in MB (10^6 bytes).
    pub tree_rss_mb: f64,
    /// How long requests took, where it was watched.
    pub latency: Option<Latency>,
    /// Its metrics.
    pub metrics: Vec<Growth>,
}

/// One metric of a target.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    /// The metric.
    pub metric: Metric,
    /// The rule that judged it.
    pub class: Class,
    /// The finding.
    pub verdict: Finding,
    /// Growth for each restart, in the metric's units.
    pub per_restart: Option<f64>,
    /// Growth for each restart up to which it is no leak.
    pub tolerance: f64,
    /// The first reading.
    pub first: Option<u64>,
    /// The last reading.
    pub last: Option<u64>,
    /// The highest reading.
    pub max: Option<u64>,
}

/// Something that a nightly check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// The conclusion that it forces on the night; [`Conclusion::Pass`] for a mere notice.
    pub means: Conclusion,
    /// The remark, with what to do.
    pub what: String,
    /// The responsible person or team.
    pub owner: Option<String>,
}

/// The conclusion of a night: the worst of its findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// All is well.
    Pass,
    /// Something could not be decided, checked or compared.
    NotConclusive,
    /// A budget or an exception is over its day: nobody answers for it any more.
    Expired,
    /// Over a budget.
    OverBudget,
    /// The build's memory grows faster than the baseline's.
    Regression,
    /// Something leaks.
    Leak,
    /// The night proves nothing.
    Invalid,
}

impl Conclusion {
    /// The exit code that tells it to a script.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::Pass => Exit::Pass,
            Self::NotConclusive => Exit::NotConclusive,
            Self::Expired => Exit::Usage,
            Self::OverBudget | Self::Regression | Self::Leak => Exit::Leak,
            Self::Invalid => Exit::Invalid,
        }
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Pass => "PASS",
            Self::NotConclusive => "NOT CONCLUSIVE",
            Self::Expired => "EXPIRED",
            Self::OverBudget => "OVER BUDGET",
            Self::Regression => "REGRESSION",
            Self::Leak => "LEAK",
            Self::Invalid => "INVALID",
        })
    }
}

impl From<Finding> for Conclusion {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::Pass => Self::Pass,
            Finding::Leak => Self::Leak,
            Finding::Invalid => Self::Invalid,
            Finding::Shown | Finding::Inconclusive | Finding::Saturating | Finding::Retention => Self::NotConclusive,
        }
    }
}

impl Night {
    /// The night of a run and its verdict.
    #[must_use]
    pub fn of(run: &Run, verdict: &Verdict) -> Self {
        let measured = |(at, (run, judged)): (usize, (&TargetRun, &TargetVerdict))| Measured {
            scenario: run.scenario.clone(),
            target: run.target.clone(),
            verdict: judged.verdict,
            restarts: run.proof.restarts,
            requests: run.proof.requests,
            seconds: run.seconds,
            server_rss_mb: run.bounds.server_rss_max_mb,
            tree_rss_mb: run.bounds.tree_rss_max_mb,
            latency: run.latency,
            metrics: verdict.metrics.iter().filter(|row| row.run == at).map(Growth::of).collect(),
        };
        Self {
            id: 0,
            environment: run.environment.clone(),
            verdict: verdict.verdict,
            summary: verdict.summary.clone(),
            controls: run.controls.len() as u64,
            build: None,
            folder: String::new(),
            targets: run.targets.iter().zip(&verdict.targets).enumerate().map(measured).collect(),
            comparison: None,
            remarks: Vec::new(),
        }
    }

    /// The worst of all that was found.
    #[must_use]
    pub fn conclusion(&self) -> Conclusion {
        let remarks = self.remarks.iter().map(|remark| remark.means);
        remarks.chain([self.comparison_conclusion(), self.verdict.into()]).max().unwrap_or(Conclusion::Pass)
    }

    /// The conclusion by the comparison alone.
    fn comparison_conclusion(&self) -> Conclusion {
        match self.comparison.as_ref().map(|comparison| comparison.change) {
            None | Some(Change::None) => Conclusion::Pass,
            Some(Change::Regression) => Conclusion::Regression,
            Some(Change::Unknown) => Conclusion::NotConclusive,
        }
    }

    /// Why it comes to that, in one sentence: the first reason for the worst.
    #[must_use]
    pub fn sentence(&self) -> String {
        let worst = self.conclusion();
        if Conclusion::from(self.verdict) == worst {
            return self.summary.clone();
        }
        let compared = self.comparison.as_ref().filter(|_| self.comparison_conclusion() == worst).map(|of| &of.reason);
        let remark = self.remarks.iter().find(|remark| remark.means == worst).map(|remark| &remark.what);
        compared.or(remark).cloned().unwrap_or_default()
    }
}

impl Growth {
    fn of(row: &MetricVerdict) -> Self {
        Self {
            metric: row.name,
            class: row.class,
            verdict: row.verdict,
            per_restart: row.growth_per_restart,
            tolerance: row.tolerance,
            first: row.first,
            last: row.last,
            max: row.max,
        }
    }
}

/// In what two nights were made differently, in words; their figures are not to be compared then. The commit and the
/// version of leakgate's own are what nights are there to tell apart, and no difference of this kind.
#[must_use]
pub fn environment_differences(before: &Environment, after: &Environment) -> Vec<String> {
    let pairs = [
        ("kernel", before.kernel.clone(), after.kernel.clone()),
        ("CPUs", before.cpus.to_string(), after.cpus.to_string()),
        ("rustc", before.rustc.clone(), after.rustc.clone()),
        ("allocator", before.allocator.clone().unwrap_or_default(), after.allocator.clone().unwrap_or_default()),
        ("CLI", before.cli_versions.join(" "), after.cli_versions.join(" ")),
    ];
    let named = |text: String| if text.is_empty() { "unknown".to_owned() } else { text };
    let differing = pairs.into_iter().filter(|(_, before, after)| before != after);
    differing.map(|(what, before, after)| format!("{what} {}, before {}", named(after), named(before))).collect()
}
