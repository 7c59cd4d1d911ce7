//! The plan of a run: the load on a target, and the unit by which its growth is judged.

use serde::{Deserialize, Serialize};

use super::Metric;

/// A run is repeated with twice the restarts at most this often: a cache that still fills at four times the restarts would
/// not stop at eight times either. (`reports/METHODOLOGY.md`)
pub const MAX_DOUBLINGS: u64 = 2;

/// The load of a scenario on a target, and its limits.
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

impl Plan {
    /// Growth that is known and allowed for a while, of whichever server.
    pub fn exceptions(&self) -> impl Iterator<Item = &Exception> {
        self.exceptions.iter().chain(self.outside.iter().flat_map(|outside| &outside.exceptions))
    }

    /// The unit by which growth is judged.
    #[must_use]
    pub fn growth_unit(&self) -> GrowthUnit {
        self.outside.as_ref().map_or(GrowthUnit::Restart, |outside| outside.per)
    }
}

/// The unit by which growth is judged: growth is measured per restart or per turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrowthUnit {
    /// Restarts of the CLI.
    #[default]
    Restart,
    /// Turns: of a server that restarts nothing, or starts a CLI for each of them.
    Turn,
}

/// Settings for a server that is not ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outside {
    /// The unit by which its growth is judged.
    pub per: GrowthUnit,
    /// The most CLI processes that it may have at once; without a number nothing is held against one.
    pub cli_processes_allowed: Option<u64>,
    /// Growth of memory for each restart or turn up to which it is no leak, in bytes, where somebody chose it; else it
    /// comes from the run's length and its own noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_floor: Option<u64>,
    /// Growth that is known and allowed for a while.
    pub exceptions: Vec<Exception>,
    /// Measurements that were not possible, each with its reason.
    pub unmeasured: Vec<String>,
}

/// Known growth of one metric that is allowed until a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The metric.
    #[serde(alias = "signal")]
    pub metric: Metric,
    /// Growth over the whole run, in the metric's units, up to which it is no leak.
    pub allow: u64,
    /// Why it is allowed.
    pub reason: String,
    /// The person or team that is responsible for it.
    pub owner: String,
    /// The last day on which it holds, as `YYYY-MM-DD`.
    pub expires: String,
}

impl GrowthUnit {
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
pub(super) fn is_zero(count: &u64) -> bool {
    *count == 0
}
