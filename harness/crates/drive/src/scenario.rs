//! The scenarios for our server: load, faults, limits and readings, as data.

use std::time::Duration;

use crate::load::reply_format::Mix;
use leakgate_judge::sample::Exception;

pub mod bodies;
pub mod crashes;
pub mod overnight;
pub mod real;
pub mod restarts;
pub mod schedule;
pub mod streams;
pub mod structured;
pub mod tools;

/// Bytes of filler in each prompt that take as long as the restarts do: `bodies` takes six to seven times as long as `crashes`.
const FILLER_OF_ONE: u64 = 500_000;

/// How a server is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By `stop` on its stats channel.
    Stopped,
    /// SIGKILL in the middle of a turn; then a second one starts in its folders, and is told to stop.
    Killed,
}

/// A load plan, faults and limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// A description in one sentence.
    pub about: &'static str,
    /// Slots of the server.
    pub slots: u64,
    /// Turns after which the server replaces an invoker.
    pub max_turns: u64,
    /// Requests at the same time.
    pub connections: u64,
    /// Restarts before the first checkpoint.
    pub warm_up: u64,
    /// Restarts after it.
    pub restarts: u64,
    /// Requests at least, however many restarts they make.
    pub requests: u64,
    /// The recording that the CLI replays.
    pub recording: String,
    /// The kinds of requests, and how the CLI answers them.
    pub mix: Mix,
    /// Bytes of filler in each prompt.
    pub filler: usize,
    /// Share of requests that ask for a stream.
    pub streamed: f64,
    /// Share of those whose client leaves in the middle.
    pub leaving: f64,
    /// A request without an ending after this long is lost.
    pub deadline: Duration,
    /// More flags for the server.
    pub server_flags: Vec<String>,
    /// More flags for the mock CLI.
    pub cli_flags: Vec<String>,
    /// How the server is ended.
    pub ending: Ending,
    /// How long the pool may take to come to rest between two batches; a reading is taken all the same.
    pub rest: Duration,
    /// The silence before each reply of the stand-in for the API, where a real CLI asks it.
    pub api_delay: Duration,
    /// How far apart two readings of the tree's memory may be without meaning anything, in MB (10^6 bytes).
    pub memory_noise_mb: u64,
    /// Share of restarts that have to be recoveries: a scenario of crashes without crashes proves nothing.
    pub recovering: f64,
    /// Share of requests that may end in an error.
    pub errors_allowed: f64,
    /// Growth that is known and allowed for a while.
    pub exceptions: Vec<Exception>,
    /// Cap on the server's own RSS, in MB (10^6 bytes).
    pub server_rss_cap_mb: u64,
    /// Cap on the tree's RSS for each slot and one more, in MB (10^6 bytes).
    pub invoker_rss_cap_mb: u64,
}

impl Scenario {
    /// All scenarios, the default one first.
    #[must_use]
    pub fn all() -> [Self; 8] {
        [
            restarts::scenario(),
            overnight::scenario(),
            crashes::scenario(),
            streams::scenario(),
            structured::scenario(),
            tools::scenario(),
            bodies::scenario(),
            real::scenario(),
        ]
    }

    /// The scenario of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|scenario| scenario.name == name)
    }

    /// The cost of a run, in restarts: only to divide a suite evenly. How long a scenario takes goes with its restarts
    /// (12 to 14 ms each on `sut` in the reference report), and hardly with its turns.
    #[must_use]
    pub fn cost(&self) -> u64 {
        let restarts = (self.warm_up + self.restarts).max(self.requests / self.max_turns.max(1));
        restarts.saturating_mul(1 + self.filler as u64 / FILLER_OF_ONE)
    }

    /// Cap on the whole tree's RSS, in MB: one server, and an invoker for each slot and one more.
    #[must_use]
    pub fn tree_rss_cap_mb(&self) -> u64 {
        self.server_rss_cap_mb + self.invoker_rss_cap_mb * (self.slots + 1)
    }
}
