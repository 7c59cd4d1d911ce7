//! `profile.json`: the result of `leakgate profile`.

use serde::{Deserialize, Serialize};

use crate::sample::{Environment, Site};

/// The version of `profile.json` that this build writes and reads.
pub const FORMAT: u32 = 1;

/// Where a server's heap grows: `profile.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// [`FORMAT`].
    pub format: u32,
    /// The scenario.
    pub scenario: String,
    /// The leak that was planted, if one was.
    pub planted: Option<String>,
    /// The seed of the load.
    pub seed: u64,
    /// The restarts by which growth was found.
    pub windows: Windows,
    /// Growing sites, the fastest first.
    pub sites: Vec<Site>,
    /// Where and with what it was made.
    pub environment: Environment,
}

/// How many restarts each of the four profiles saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Windows {
    /// Restarts before the first window, without a profile of stacks.
    pub warm_up: u64,
    /// The first window.
    pub short: u64,
    /// The second one.
    pub long: u64,
    /// The shorter life, from a process's start.
    pub short_life: u64,
    /// The longer one.
    pub long_life: u64,
}
