//! What a server of ours tells about itself: the one line that answers `stats`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One answer. `P` is the pool's status: [`Pool`] for who reads, the wrapper's own type for who writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats<P = Pool> {
    /// Tokio tasks alive.
    pub tasks: u64,
    /// Where those were spawned that a set of tasks knows.
    #[serde(default)]
    pub spawned: Vec<Spawned>,
    /// The heap, where a profiler runs.
    pub heap: Option<Heap>,
    /// The pool.
    pub pool: P,
}

/// The tasks alive that were spawned at one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawned {
    /// `file:line`.
    pub at: String,
    /// How many.
    pub alive: u64,
}

/// What tasks are called that no set knows.
const UNTRACKED: &str = "elsewhere, not through shutdown::Tasks";

impl<P> Stats<P> {
    /// The tasks alive by the line that spawned them, those of no known line included.
    #[must_use]
    pub fn tasks_by_line(&self) -> BTreeMap<String, u64> {
        let mut tasks = BTreeMap::new();
        for Spawned { at, alive } in &self.spawned {
            *tasks.entry(at.clone()).or_default() += alive;
        }
        let known: u64 = tasks.values().sum();
        tasks.insert(UNTRACKED.to_owned(), self.tasks.saturating_sub(known));
        tasks
    }
}

/// Live heap, by dhat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heap {
    /// Live blocks.
    pub blocks: u64,
    /// Live bytes.
    pub bytes: u64,
}

/// The part of the pool's status that a run needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Pool {
    /// `starting`, `ready`, `offline` or `stopping`.
    pub state: String,
    /// Why it is offline.
    pub offline_reason: Option<String>,
    /// Invokers alive.
    pub live: u64,
    /// The most invokers that were ever alive at once.
    pub high_water: u64,
    /// Invokers that wait to take over a slot.
    pub standby: u64,
    /// Turns that run now.
    pub busy: u64,
    /// Requests that wait for a slot.
    pub waiting: u64,
    /// Nothing runs, waits, starts or stops.
    pub settled: bool,
    /// Turns ended.
    pub turns: u64,
    /// Restarts by reason.
    pub restarts: Restarts,
}

/// Restarts since the server's start, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Restarts {
    turns: u64,
    tokens: u64,
    age: u64,
    idle: u64,
    memory: u64,
    isolation: u64,
    admin: u64,
    recovery: u64,
}

impl Restarts {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.turns + self.tokens + self.age + self.idle + self.memory + self.isolation + self.admin + self.recovery
    }

    /// Those after a failure.
    #[must_use]
    pub fn recoveries(&self) -> u64 {
        self.recovery
    }
}
