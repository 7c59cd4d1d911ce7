//! A suite that was cut into shards, as each shard stores it: enough to tell what belongs together and what is missing.

use serde::{Deserialize, Serialize};

use super::{Environment, Run, TargetRun};

/// The suite that a run is a part of, or that was put together again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suite {
    /// So many shards make it up.
    pub shards: u64,
    /// All its units, in the order in which a run of the whole has them.
    pub units: Vec<Unit>,
    /// The options that change what is measured, as the command line has them, in order.
    pub options: Vec<String>,
    /// The run was put together from several; else it is one shard, by itself.
    #[serde(default)]
    pub merged: bool,
    /// The shards that this run holds.
    pub parts: Vec<Part>,
}

/// The smallest part of a suite: a scenario with a seed, on all its targets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unit {
    /// The scenario's name.
    pub scenario: String,
    /// The seed of its load and its faults.
    pub seed: u64,
    /// The shard that it falls to, from 1.
    pub shard: u64,
}

/// One shard, and where it ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Which, from 1.
    pub shard: u64,
    /// Where and with what it ran. Shards may run on different machines.
    pub environment: Environment,
    /// The file that it was read from, when it was merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Why it is no part of this suite; then nothing of it is in the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// The most shards that a suite may have.
pub(crate) const MAX_SHARDS: u64 = 10_000;

impl Suite {
    /// The numbers of its shards, as far as a suite may have so many.
    pub fn shard_numbers(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.shards.min(MAX_SHARDS)
    }

    /// The units that fall to a shard.
    pub fn units_of(&self, shard: u64) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(move |unit| unit.shard == shard)
    }

    /// The parts that belong to it, of one shard.
    pub fn parts_of(&self, shard: u64) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(move |part| part.shard == shard && part.refused.is_none())
    }
}

impl Unit {
    /// Whether this was measured for it.
    #[must_use]
    pub fn matches(&self, target: &TargetRun, run: &Run) -> bool {
        target.scenario == self.scenario && target.seed.unwrap_or(run.seed) == self.seed
    }

    /// `restarts with seed 3`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} with seed {}", self.scenario, self.seed)
    }
}

impl Part {
    /// `shard 2 of 4`.
    #[must_use]
    pub fn name(&self, suite: &Suite) -> String {
        format!("shard {} of {}", self.shard, suite.shards)
    }

    /// The properties of its machine that influence the measurements.
    #[must_use]
    pub fn machine_description(&self) -> String {
        format!("kernel {}, {} CPUs", self.environment.kernel, self.environment.cpus)
    }
}
