//! The calibration cases: each leak, its trials, and the detection rate that the gate promises.

use crate::control::Control;
use crate::run::Kind;
use leakgate_drive::scenario::{Scenario, real, restarts};
use leakgate_judge::sample::Metric;

/// One leak of one size, or none.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its name on the command line and in the table.
    pub name: &'static str,
    /// The leak as the table describes it; empty where nothing is planted.
    pub leak: &'static str,
    /// The planted leak, in the syntax of `--plant`.
    plant: Option<&'static str>,
    /// The metrics of which at least one has to be called a leak; empty where nothing is planted.
    pub metrics: Vec<Metric>,
    /// The leak strikes at one of so many restarts; its first strike is spread evenly over them.
    every: Option<u64>,
    /// The scenarios, which the trials take in turn.
    pub scenarios: Vec<Scenario>,
    /// Restarts after the warm-up.
    pub restarts: u64,
    /// The build of the server.
    pub target: Kind,
    /// How often it is tried.
    pub trials: u64,
    /// In how many of a hundred trials the gate promises to catch it; absent where it promises nothing.
    pub promised: Option<u64>,
}

/// One trial: the scenario, the leak, the build and the seed.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialPlan {
    /// The scenario.
    pub scenario: Scenario,
    /// The leak.
    pub plant: Option<Control>,
    /// The build of the server.
    pub target: Kind,
    /// The seed of the load.
    pub seed: u64,
}

/// Restarts of most cases: those of the default scenario.
const DEFAULT_RESTARTS: u64 = 300;

impl Case {
    /// Every case; each leak is tried `trials` times, and nothing `clean` times.
    #[must_use]
    pub fn all(trials: u64, clean: u64) -> Vec<Self> {
        let leak = |name, leak, plant: &'static str| {
            let control = Control::from_plant_option(plant);
            Self {
                name,
                leak,
                plant: Some(plant),
                metrics: control.as_ref().map(|control| control.planted.clone()).unwrap_or_default(),
                every: None,
                scenarios: vec![restarts::scenario()],
                restarts: DEFAULT_RESTARTS,
                target: if control.is_some_and(|control| control.profiled) { Kind::SutHeap } else { Kind::Sut },
                trials,
                promised: Some(100),
            }
        };
        let seldom = |name, words, plant, every| Self { every: Some(every), ..leak(name, words, plant) };
        let none = |name, restarts, target, trials| Self {
            name,
            leak: "",
            plant: None,
            metrics: Vec::new(),
            every: None,
            scenarios: vec![restarts::scenario()],
            restarts,
            target,
            trials,
            promised: None,
        };
        vec![
            seldom("invoker-100", "a kept CLI process with its pipes, 1 in 100 restarts", "kept-invoker", 100),
            seldom("process-100", "a child process, 1 in 100 restarts", "process", 100),
            seldom("zombie-100", "a zombie, 1 in 100 restarts", "zombie", 100),
            seldom("thread-100", "a thread, 1 in 100 restarts", "thread", 100),
            seldom("task-100", "a task, 1 in 100 restarts", "task", 100),
            seldom("fd-100", "an open file, 1 in 100 restarts", "fd", 100),
            seldom("fd-pipe-100", "a pipe, 1 in 100 restarts", "fd-pipe", 100),
            seldom("fd-socket-100", "a pair of sockets, 1 in 100 restarts", "fd-socket", 100),
            seldom("fd-anon-100", "an eventfd, 1 in 100 restarts", "fd-anon", 100),
            seldom("file-100", "a file on the disk, 1 in 100 restarts", "file", 100),
            leak("fd-late", "an open file, 1 in 50 restarts, not before restart 201", "fd,every=50,from=201"),
            Self { restarts: 100, ..leak("orphan-once", "one process that outlives the server", "orphan") },
            Self { restarts: 100, ..leak("file-left-once", "one file that outlives the server", "file-left") },
            Self {
                restarts: 100,
                ..leak("mixed-up", "a reply with another's mark, 1 in 20 CLI processes", "mixed-up")
            },
            Self { restarts: 100, ..leak("lost", "a request without an end, 1 in 25 CLI processes", "lost") },
            leak("block-1", "a heap block of 64 B, each restart", "heap-block"),
            seldom("block-10", "a heap block of 64 B, 1 in 10 restarts", "heap-block", 10),
            Self {
                promised: Some(95),
                ..seldom("block-100", "a heap block of 64 B, 1 in 100 restarts", "heap-block", 100)
            },
            leak("block-late", "a heap block of 64 B, each restart, not before restart 201", "heap-block,from=201"),
            leak("block-16B", "a heap block of 16 B, each restart", "heap-block,bytes=16"),
            leak("vector-512B", "a vector that doubles, 512 B each restart", "heap-bytes"),
            leak("vector-16B", "a vector that doubles, 16 B each restart", "heap-bytes,bytes=16"),
            Self {
                promised: None,
                ..leak(
                    "vector-below",
                    "a vector that doubles, 8 B in 10 restarts: below the floor",
                    "heap-bytes,bytes=8,every=10",
                )
            },
            leak("memory-4KiB", "4 KiB of memory, each restart", "slow,bytes=4096"),
            leak("memory-1KiB", "1 KiB of memory, each restart", "slow,bytes=1024"),
            leak("memory-256B", "256 B of memory, each restart", "slow,bytes=256"),
            Self {
                promised: None,
                ..leak("memory-128B", "128 B of memory, each restart: near the bound", "slow,bytes=128")
            },
            Self {
                promised: None,
                ..leak(
                    "memory-late",
                    "4 KiB of memory, each restart, not before restart 201",
                    "slow,bytes=4096,from=201",
                )
            },
            Self {
                restarts: 2 * DEFAULT_RESTARTS,
                ..leak("memory-128B-600", "128 B of memory, each restart", "slow,bytes=128")
            },
            Self {
                restarts: 4 * DEFAULT_RESTARTS,
                ..leak("memory-64B-1200", "64 B of memory, each restart", "slow,bytes=64")
            },
            none("clean", DEFAULT_RESTARTS, Kind::Sut, clean),
            none("clean-heap", DEFAULT_RESTARTS, Kind::SutHeap, clean),
            Self {
                scenarios: Scenario::all().into_iter().filter(|scenario| scenario.name != real::NAME).collect(),
                ..none("clean-night", 4 * DEFAULT_RESTARTS, Kind::Sut, clean)
            },
        ]
    }

    /// The plan of trial number `trial`; `seed` is the seed of trial 0.
    #[must_use]
    pub fn plan_trial(&self, trial: u64, seed: u64) -> TrialPlan {
        let plant = self.plant.map(|plant| match self.every {
            Some(every) => format!("{plant},every={every},from={}", self.first_strike(trial, every)),
            None => plant.to_owned(),
        });
        let turn = self.scenarios.iter().cycle().nth(usize::try_from(trial).unwrap_or(0));
        TrialPlan {
            scenario: Scenario { restarts: self.restarts, ..turn.cloned().unwrap_or_else(restarts::scenario) },
            plant: plant.as_deref().and_then(Control::from_plant_option),
            target: self.target,
            seed: seed.wrapping_add(trial),
        }
    }

    /// Spread evenly: a leak that always struck at the restarts that suit the checkpoints would be seen too often.
    fn first_strike(&self, trial: u64, every: u64) -> u64 {
        1 + (2 * trial + 1) * every / (2 * self.trials.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use leakgate_sut::plant::Spec;

    #[test]
    fn every_case_has_a_name_of_its_own_and_plants_what_the_target_takes() {
        let cases = Case::all(20, 200);
        assert_eq!(cases.iter().map(|case| case.name).collect::<BTreeSet<_>>().len(), cases.len());
        for case in cases.iter().filter(|case| !case.leak.is_empty()) {
            assert!(!case.metrics.is_empty(), "{}", case.name);
            let control = case.plan_trial(7, 1).plant.unwrap();
            if let Some(plant) = control.change.plant {
                plant.parse::<Spec>().unwrap();
            }
        }
    }

    #[test]
    fn clean_nights_take_every_scenario_of_a_night_in_turn() {
        let cases = Case::all(20, 100);
        let night = cases.iter().find(|case| case.name == "clean-night").unwrap();
        let names: Vec<&str> = (0..8).map(|trial| night.plan_trial(trial, 1).scenario.name).collect();
        assert_eq!(names, ["restarts", "overnight", "crashes", "streams", "structured", "tools", "bodies", "restarts"]);
        assert_eq!(night.plan_trial(6, 1).scenario.restarts, 1200);
    }

    #[test]
    fn first_strikes_are_spread_over_all_restarts_between_two() {
        let cases = Case::all(20, 0);
        let case = cases.iter().find(|case| case.name == "fd-100").unwrap();
        let strikes: Vec<u64> = (0..20).map(|trial| case.first_strike(trial, 100)).collect();
        assert_eq!((strikes[0], strikes[19]), (3, 98));
        assert!(strikes.windows(2).all(|pair| pair[1] - pair[0] == 5));
    }

    #[test]
    fn every_signal_that_is_judged_is_leaked_in_some_case() {
        let leaked: BTreeSet<Metric> = Case::all(1, 0).into_iter().flat_map(|case| case.metrics).collect();
        let others = [Metric::HeapBlocks, Metric::HeapBytes, Metric::AnonPss, Metric::Orphans, Metric::FilesLeft];
        for metric in Metric::COUNTED.into_iter().chain(others).chain([Metric::Lost, Metric::MixedUp]) {
            assert!(leaked.contains(&metric), "{metric:?}");
        }
    }
}
