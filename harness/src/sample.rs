//! What a run measures, as it is stored: the raw series in `run.json`, before anybody judges them.
//!
//! Measuring writes these types and knows nothing of verdicts; judging reads them and knows nothing of processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use suite::Suite;

pub mod suite;

/// The version of `run.json` that this build writes and reads.
pub const FORMAT: u32 = 1;

/// One measured quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Invokers that the target says are alive (its pool's own count).
    LiveInvokers,
    /// CLI processes that the operating system shows in the server's tree.
    CliProcesses,
    /// Live heap blocks of the server, by dhat.
    HeapBlocks,
    /// Live heap bytes of the server, by dhat.
    HeapBytes,
    /// Pipe ends open in the server.
    FdsPipe,
    /// Sockets open in the server.
    FdsSocket,
    /// Files, folders and devices open in the server.
    FdsFile,
    /// Other descriptors of the server: epoll, eventfd, pidfd, timerfd.
    FdsAnon,
    /// Threads of the server.
    Threads,
    /// Tokio tasks alive in the server.
    Tasks,
    /// Processes in the server's tree, itself included.
    Processes,
    /// Processes in the server's tree that have ended and were not reaped.
    Zombies,
    /// Files in the folders that the run gave to the server and its CLI (HOME, TMPDIR, runtime).
    Files,
    /// Processes of the server's tree that are left after it stopped.
    Orphans,
    /// Processes of the server's tree that are left after the server was killed with SIGKILL.
    LeftByKill,
    /// Files in the same folders that are left after it stopped.
    FilesLeft,
    /// Requests that were sent and got no ending.
    Lost,
    /// Replies that carried another request's mark, lacked their own, or were cut.
    MixedUp,
    /// Anonymous proportional memory of the server's tree, in bytes.
    AnonPss,
    /// Resident memory of the server's tree, in bytes.
    TreeRss,
    /// Resident memory of the server's own process, in bytes.
    ServerRss,
}

impl Signal {
    /// Those that stand in a checkpoint and have no variance once the target is settled: the exact rule judges them, and
    /// each has a control.
    pub const COUNTED: [Self; 11] = [
        Self::LiveInvokers,
        Self::CliProcesses,
        Self::FdsPipe,
        Self::FdsSocket,
        Self::FdsFile,
        Self::FdsAnon,
        Self::Threads,
        Self::Tasks,
        Self::Processes,
        Self::Zombies,
        Self::Files,
    ];

    /// Its name, as `run.json` and `verdict.json` write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LiveInvokers => "live_invokers",
            Self::CliProcesses => "cli_processes",
            Self::HeapBlocks => "heap_blocks",
            Self::HeapBytes => "heap_bytes",
            Self::FdsPipe => "fds_pipe",
            Self::FdsSocket => "fds_socket",
            Self::FdsFile => "fds_file",
            Self::FdsAnon => "fds_anon",
            Self::Threads => "threads",
            Self::Tasks => "tasks",
            Self::Processes => "processes",
            Self::Zombies => "zombies",
            Self::Files => "files",
            Self::Orphans => "orphans",
            Self::LeftByKill => "left_by_kill",
            Self::FilesLeft => "files_left",
            Self::Lost => "lost",
            Self::MixedUp => "mixed_up",
            Self::AnonPss => "anon_pss",
            Self::TreeRss => "tree_rss",
            Self::ServerRss => "server_rss",
        }
    }
}

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
    /// The signals of which at least one has to show it; empty for the clean control.
    pub planted: Vec<Signal>,
    /// What was measured.
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
    /// What was asked of it.
    pub plan: Plan,
    /// How the measuring ended.
    pub outcome: Outcome,
    /// Settled readings, in order; the first is taken after the warm-up.
    pub checkpoints: Vec<Checkpoint>,
    /// Readings between batches of load, in order, for the noisy signals.
    pub trace: Vec<TracePoint>,
    /// Totals after the stop: [`Signal::Orphans`], [`Signal::LeftByKill`], [`Signal::FilesLeft`],
    /// [`Signal::Lost`], [`Signal::MixedUp`]. One that was not counted is absent.
    pub totals: BTreeMap<Signal, u64>,
    /// What there was more of at the last checkpoint than at the first, by name; the most numerous of each kind.
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
    /// What is left after the stop and other oddities, named: command lines, paths, the first errors.
    pub notes: Vec<String>,
}

/// Things of one kind that a server kept between two checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grown {
    /// What they are.
    pub what: Thing,
    /// What they have in common: a command line, a path or a name without its numbers, where a descriptor leads, or the
    /// line that spawned a task.
    pub name: String,
    /// How many more there were.
    pub more: u64,
    /// Who started the newest of them, up to the server; of processes alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The restarts at the last checkpoint at which there were no more of them than at the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

/// A place in the code that allocates what is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// The call stack, the allocation first, without addresses.
    pub frames: Vec<Frame>,
    /// The position in `frames` of the first frame in the code under test; absent where there is none.
    pub own: Option<usize>,
    /// Live blocks more for each restart.
    pub blocks_per_restart: f64,
    /// Live bytes more for each restart.
    pub bytes_per_restart: f64,
}

/// One frame of a call stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// The function, with its path and without its hash.
    pub function: String,
    /// The source file: relative to the repository where it lies in it.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
}

/// What a server can keep that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Thing {
    /// A process of its tree.
    Process,
    /// An open file descriptor.
    Descriptor,
    /// A thread.
    Thread,
    /// A task of tokio's.
    Task,
    /// A file in the folders that the run gave to it.
    File,
}

/// What is counted along a run: growth is judged for each of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Restarts of the CLI.
    #[default]
    Restart,
    /// Turns: of a server that restarts nothing, or starts a CLI for each of them.
    Turn,
}

/// What is judged otherwise for a server that is not ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outside {
    /// What its growth is judged by.
    pub per: Per,
    /// The most CLI processes that it may have at once; without a number nothing is held against one.
    pub cli_processes_allowed: Option<u64>,
    /// Growth of memory for each restart up to which it is no leak, in bytes. Runtimes with a garbage collector need
    /// more room than the calibrated bound leaves.
    pub memory_floor: u64,
    /// Growth that is known and allowed for a while.
    pub exceptions: Vec<Exception>,
    /// What could not be measured and why, in words.
    pub unmeasured: Vec<String>,
}

/// Growth of one signal that somebody answers for until a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The signal.
    pub signal: Signal,
    /// Growth over the whole run, in the signal's units, up to which it is no leak.
    pub allow: u64,
    /// Why it is allowed.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// The last day on which it holds, as `YYYY-MM-DD`.
    pub expires: String,
}

impl TargetRun {
    /// What is stored of a run that has measured nothing.
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
    pub fn note(&mut self, reading: &TracePoint) {
        self.server_rss_max_mb = self.server_rss_max_mb.max(megabytes(reading.server_rss));
        self.tree_rss_max_mb = self.tree_rss_max_mb.max(megabytes(reading.tree_rss));
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory stays far below 2^53 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Often enough: a cache that still fills at four times the restarts is no matter of patience. (`reports/METHODOLOGY.md`)
pub const DOUBLED_AT_MOST: u64 = 2;

impl TargetRun {
    /// Whether `next`, the run that was stored after this one, measured the same for twice as long.
    #[must_use]
    pub fn is_continued_by(&self, next: &Self) -> bool {
        let is_same = self.scenario == next.scenario && self.target == next.target && self.seed == next.seed;
        is_same && next.plan.doubled == self.plan.doubled + 1
    }
}

impl Plan {
    /// Growth that is known and allowed for a while, of whichever server.
    pub fn exceptions(&self) -> impl Iterator<Item = &Exception> {
        self.exceptions.iter().chain(self.outside.iter().flat_map(|outside| &outside.exceptions))
    }

    /// What growth is judged by.
    #[must_use]
    pub fn per(&self) -> Per {
        self.outside.as_ref().map_or(Per::Restart, |outside| outside.per)
    }
}

impl Checkpoint {
    /// How far the run had come.
    #[must_use]
    pub fn steps(&self, per: Per) -> u64 {
        per.steps(self.restarts, self.requests)
    }
}

impl TracePoint {
    /// How far the run had come.
    #[must_use]
    pub fn steps(&self, per: Per) -> u64 {
        per.steps(self.restarts, self.requests)
    }
}

impl Per {
    /// How many of them there were after so many restarts and requests.
    #[must_use]
    pub fn steps(self, restarts: u64, requests: u64) -> u64 {
        match self {
            Self::Restart => restarts,
            Self::Turn => requests,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Turn => "turn",
        }
    }
}

/// What a scenario asks of a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Slots of the server.
    pub slots: u64,
    /// Restarts before the first checkpoint.
    pub warm_up: u64,
    /// Restarts after it.
    pub restarts: u64,
    /// Connections that send requests at the same time.
    pub connections: u64,
    /// Turns after which the server replaces an invoker.
    pub max_turns: u64,
    /// The server's own RSS must stay below this, in MB (10^6 bytes).
    pub server_rss_cap_mb: u64,
    /// The whole tree's RSS must stay below this, in MB (10^6 bytes).
    pub tree_rss_cap_mb: u64,
    /// How far apart two readings of the tree's memory may be without meaning anything, in MB (10^6 bytes).
    #[serde(default)]
    pub memory_noise_mb: u64,
    /// How often the restarts were doubled, because shorter runs, the ones before this one, were saturating.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub doubled: u64,
    /// Share of requests that may end in an error (a scenario that crashes the CLI on purpose needs some), 0 to 1.
    pub errors_allowed: f64,
    /// Growth of our own server that is known and allowed for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Exception>,
    /// Present for a server that is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<Outside>,
}

/// How the measuring of one target ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Every checkpoint was taken and the target stopped when it was told to.
    Completed,
    /// The target did not come to rest before a checkpoint.
    NotSettled {
        /// What was still moving.
        moving: String,
    },
    /// The target could not be driven to the end.
    Failed {
        /// What happened, with the end of the target's stderr.
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
    /// The value of every signal that can be read at a checkpoint of this target.
    pub values: BTreeMap<Signal, u64>,
}

/// A reading between two batches of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePoint {
    /// Restarts since the target's start.
    pub restarts: u64,
    /// Requests ended since the target's start.
    #[serde(default)]
    pub requests: u64,
    /// [`Signal::AnonPss`], in bytes.
    pub anon_pss: u64,
    /// [`Signal::TreeRss`], in bytes.
    pub tree_rss: u64,
    /// [`Signal::ServerRss`], in bytes.
    pub server_rss: u64,
}

/// What was exercised, counted by the harness and not by the target, except for `restarts` and `turns`.
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
    /// Replies without any mark: nobody can tell whose they are. Only of a server that is not ours, whose CLI may be one
    /// that marks nothing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unmarked: u64,
}

/// How long requests took that got their own reply. Nobody judges it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Those that a restart touched.
    pub during: LatencyOf,
    /// The others.
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
