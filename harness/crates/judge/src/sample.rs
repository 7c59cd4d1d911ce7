//! The measurements of a run, as `run.json` stores them: raw series without a verdict.
//!
//! Measuring writes these types and knows nothing of verdicts; judging reads them and knows nothing of processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use grown::{Frame, Grown, Site, Thing};
pub use metric::Metric;
pub use plan::{Exception, GrowthUnit, MAX_DOUBLINGS, Outside, Plan};
use suite::Suite;

mod grown;
mod metric;
mod plan;
pub mod suite;

/// The version of `run.json` that this build writes and reads.
pub const FORMAT: u32 = 1;

/// Everything that one `leakgate run` measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// [`FORMAT`].
    pub format: u32,
    /// The scenarios' common seed.
    pub seed: u64,
    /// Where and with what it ran.
    pub environment: Environment,
    /// The controls, in the order in which they ran; empty when they were left out.
    pub controls: Vec<Control>,
    /// The scenarios, one entry per target, in the order in which they ran.
    pub targets: Vec<TargetRun>,
    /// The suite that it is a shard of, or was put together from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<Suite>,
}

/// A run with a leak planted on purpose, or with none (`planted` is empty): proof that the gate can see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Its name, for example `fd` or `clean`.
    pub name: String,
    /// The metrics of which at least one has to show it; empty for the clean control.
    pub planted: Vec<Metric>,
    /// The measurements.
    pub run: TargetRun,
    /// The shard that it ran in, where several were merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u64>,
}

/// One scenario against one process of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetRun {
    /// The scenario's name.
    pub scenario: String,
    /// `sut`, `sut-heap`, or the command of somebody else's server.
    pub target: String,
    /// Its seed, where the run has several; else it is the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The load on it, and its limits.
    pub plan: Plan,
    /// How the measuring ended.
    pub outcome: Outcome,
    /// Settled readings, in order; the first is taken after the warm-up.
    pub checkpoints: Vec<Checkpoint>,
    /// Readings between batches of load, in order, for the noisy metrics.
    pub trace: Vec<TracePoint>,
    /// Totals after the stop: [`Metric::Orphans`], [`Metric::LeftByKill`], [`Metric::FilesLeft`],
    /// [`Metric::Lost`], [`Metric::MixedUp`]. A metric that was not counted is absent.
    pub totals: BTreeMap<Metric, u64>,
    /// Resources of which the last checkpoint had more than the first, by name; the most numerous of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grown: Vec<Grown>,
    /// Where the heap grew, by a profile of the same scenario; the fastest first. Empty where none was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<Site>,
    /// Proof that something was exercised.
    pub proof: Proof,
    /// Highest values seen at any time.
    pub bounds: Bounds,
    /// How long requests took, where it was watched.
    #[serde(default)]
    pub latency: Option<Latency>,
    /// From the start of the process to its end, in seconds.
    pub seconds: f64,
    /// Leftovers after the stop and other findings, by name: command lines, paths, the first errors.
    pub notes: Vec<String>,
}

impl TargetRun {
    /// A run without any measurement.
    #[must_use]
    pub fn new(scenario: &str, target: &str, plan: Plan) -> Self {
        Self {
            scenario: scenario.to_owned(),
            target: target.to_owned(),
            seed: None,
            plan,
            outcome: Outcome::Completed,
            checkpoints: Vec::new(),
            trace: Vec::new(),
            totals: BTreeMap::new(),
            grown: Vec::new(),
            sites: Vec::new(),
            proof: Proof::default(),
            bounds: Bounds::default(),
            latency: None,
            seconds: 0.0,
            notes: Vec::new(),
        }
    }
}

impl Bounds {
    /// Holds a reading of the memory, in bytes, against the highest ones so far.
    pub fn raise_to(&mut self, reading: &TracePoint) {
        self.server_rss_max_mb = self.server_rss_max_mb.max(to_megabytes(reading.server_rss));
        self.tree_rss_max_mb = self.tree_rss_max_mb.max(to_megabytes(reading.tree_rss));
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory stays far below 2^53 bytes")]
fn to_megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

impl TargetRun {
    /// Whether `next`, the run that was stored after this one, measured the same for longer. A repetition that was cut
    /// short before it got further than this run adds nothing to it.
    #[must_use]
    pub(crate) fn is_continued_by(&self, next: &Self) -> bool {
        let is_same = self.scenario == next.scenario && self.target == next.target && self.seed == next.seed;
        is_same && next.plan.doubled == self.plan.doubled + 1 && next.progress() > self.progress()
    }

    /// Restarts and requests at the last checkpoint.
    fn progress(&self) -> (u64, u64) {
        self.checkpoints.last().map_or((0, 0), |point| (point.restarts, point.requests))
    }
}

impl Checkpoint {
    /// How far the run had come.
    #[must_use]
    pub fn steps(&self, per: GrowthUnit) -> u64 {
        per.steps(self.restarts, self.requests)
    }
}

impl TracePoint {
    /// How far the run had come.
    #[must_use]
    pub fn steps(&self, per: GrowthUnit) -> u64 {
        per.steps(self.restarts, self.requests)
    }
}

/// How the measuring of one target ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Every checkpoint was taken and the target stopped when it was told to.
    Completed,
    /// The target did not come to rest before a checkpoint.
    NotSettled {
        /// The metrics that still changed.
        moving: String,
    },
    /// The target could not be driven to the end.
    Failed {
        /// The failure, with the end of the target's stderr.
        what: String,
    },
}

/// A settled reading: nothing in flight, nothing starting or stopping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Restarts since the target's start.
    pub restarts: u64,
    /// Requests ended since the target's start.
    pub requests: u64,
    /// The value of every metric that can be read at a checkpoint of this target.
    pub values: BTreeMap<Metric, u64>,
}

/// A reading between two batches of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePoint {
    /// Restarts since the target's start.
    pub restarts: u64,
    /// Requests ended since the target's start.
    #[serde(default)]
    pub requests: u64,
    /// [`Metric::AnonPss`], in bytes.
    pub anon_pss: u64,
    /// [`Metric::TreeRss`], in bytes.
    pub tree_rss: u64,
    /// [`Metric::ServerRss`], in bytes.
    pub server_rss: u64,
}

/// Proof of the load, counted by the harness and not by the target, except for `restarts` and `turns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Proof {
    /// Restarts that the target counted.
    pub restarts: u64,
    /// Turns that the target counted.
    pub turns: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests that ended in an error.
    pub errors: u64,
    /// Requests that the client itself gave up, as planned.
    pub cancelled: u64,
    /// Requests with no ending.
    pub lost: u64,
    /// Replies that were not exactly their own.
    pub mixed_up: u64,
    /// Checkpoints taken.
    pub checkpoints: u64,
    /// Bytes of replies received from recordings.
    pub bytes_replayed: u64,
    /// Replies without any mark, so that a mix-up among them cannot be detected. Only for a server that is not ours, whose
    /// CLI may not set marks.
    #[serde(default, skip_serializing_if = "plan::is_zero")]
    pub unmarked: u64,
    /// Replies that are no text.
    #[serde(default, skip_serializing_if = "ReplyKinds::is_none")]
    pub kinds: ReplyKinds,
}

/// Replies of a server that is not ours that the API allows and that are no text, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplyKinds {
    /// The model refused.
    pub refusals: u64,
    /// Calls of tools.
    pub tool_calls: u64,
    /// Calls of functions in their older form.
    pub function_calls: u64,
    /// Audio.
    pub audio: u64,
    /// Nothing, for a limit on the length.
    pub truncated: u64,
    /// Nothing, for a filter.
    pub filtered: u64,
    /// Nothing, for no such reason.
    pub empty: u64,
}

impl ReplyKinds {
    /// All of them, with their names for a report.
    #[must_use]
    pub fn counts_by_name(&self) -> [(u64, &'static str); 7] {
        [
            (self.refusals, "refusals"),
            (self.tool_calls, "tool calls"),
            (self.function_calls, "function calls"),
            (self.audio, "audio"),
            (self.truncated, "empty at a length limit"),
            (self.filtered, "empty by a content filter"),
            (self.empty, "empty"),
        ]
    }

    /// Adds those of another load.
    pub fn add(&mut self, other: Self) {
        let sum = u64::saturating_add;
        *self = Self {
            refusals: sum(self.refusals, other.refusals),
            tool_calls: sum(self.tool_calls, other.tool_calls),
            function_calls: sum(self.function_calls, other.function_calls),
            audio: sum(self.audio, other.audio),
            truncated: sum(self.truncated, other.truncated),
            filtered: sum(self.filtered, other.filtered),
            empty: sum(self.empty, other.empty),
        };
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Latency of requests that got their own reply. Shown only, never judged.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Requests that overlapped a restart.
    pub during: LatencyOf,
    /// All other requests.
    pub between: LatencyOf,
}

/// Latencies, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LatencyOf {
    /// How many requests.
    pub requests: u64,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 95 % took no longer.
    pub p95_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// Highest values seen at any time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Bounds {
    /// The target's own high-water mark of live invokers.
    pub live_invokers_max: u64,
    /// The most CLI processes that the operating system showed at once, sampled.
    pub cli_processes_max: u64,
    /// RSS of the tree, in MB (10^6 bytes).
    pub tree_rss_max_mb: f64,
    /// RSS of the server's own process, in MB (10^6 bytes).
    pub server_rss_max_mb: f64,
}

/// Where and with what a run was made: what is needed to make it again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Environment {
    /// The command line.
    pub command: String,
    /// Seconds since 1970-01-01 UTC at the start.
    pub started_unix: u64,
    /// leakgate's version.
    pub leakgate: String,
    /// The commit that was checked out, where there was one, with `+changes` when the tree was dirty.
    pub commit: Option<String>,
    /// `rustc --version` of the build.
    pub rustc: String,
    /// The kernel's release.
    pub kernel: String,
    /// Versions of the recordings that were replayed.
    pub cli_versions: Vec<String>,
    /// Processors that this process may use.
    pub cpus: u64,
    /// The system's allocator, on which `sut` runs: the C library and its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocator: Option<String>,
}
