//! The messages of the stats channel: one line asks, one JSON line answers, over the stdin and stdout of `sut`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The first line: the server tells where it listens.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Listening {
    /// The address, with the port that the system chose.
    pub listening: SocketAddr,
}

/// The answer to `restart`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Restarted {
    /// How many slots got a new invoker.
    pub restarted: u64,
}

/// The word before the path of a profile that begins, and alone for one that ends.
pub const PROFILE: &str = "profile";

/// The answer to `profile PATH` and to `profile`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Profiled {
    /// Whether a profile of stacks is on now.
    pub profiled: bool,
}
