//! Leaked resources and growing sites, by name.

use serde::{Deserialize, Serialize};

/// Resources of one kind that a server leaked between two checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grown {
    /// Their kind.
    pub what: Thing,
    /// Their common name: a command line, a path or a name without its numbers, where a descriptor leads, or the
    /// line that spawned a task.
    pub name: String,
    /// How many more there were.
    pub more: u64,
    /// The chain of processes that started the newest of them, up to the server. Only for processes.
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

/// A kind of resource that a server can leak and that has a name.
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
