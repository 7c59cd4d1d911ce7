//! Runs with a leak planted on purpose, one for each metric, and a clean one: the gate proves that it can see.

use std::time::Duration;

use leakgate_drive::scenario::{Scenario, restarts};
use leakgate_judge::sample::Metric;

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// Its name; `--plant` takes it too.
    pub name: &'static str,
    /// The metrics of which at least one has to show the leak; empty for the clean one.
    pub planted: Vec<Metric>,
    /// Under dhat.
    pub profiled: bool,
    /// The changes to the scenario.
    pub change: Change,
    /// Restarts that it needs after its warm-up.
    pub restarts: u64,
}

/// The changes that a planted leak makes to a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The value of the target's `--plant`.
    pub plant: Option<String>,
    /// More flags for the server.
    pub server_flags: Vec<String>,
    /// More flags for the mock CLI.
    pub cli_flags: Vec<String>,
    /// Another deadline for requests.
    pub deadline: Option<Duration>,
}

/// Restarts of a control: enough for a leak at every restart to show in every exact rule.
const DEFAULT_RESTARTS: u64 = 60;
/// Restarts before its first checkpoint.
const WARM_UP_RESTARTS: u64 = 10;
/// An intermittent leak strikes at one restart of ten: so many show it for certain.
const INTERMITTENT_RESTARTS: u64 = 100;
/// The slow one is seen in memory alone, where only time tells a leak from noise.
const SLOW_RESTARTS: u64 = 150;

impl Control {
    /// All controls, the longest first, so that none is left alone at the end.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let planted = |name, metrics: &[Metric]| Self {
            name,
            planted: metrics.to_vec(),
            profiled: false,
            change: Change { plant: Some(name.to_owned()), ..Change::default() },
            restarts: DEFAULT_RESTARTS,
        };
        let heap = |name, metrics: &[Metric]| Self { profiled: true, ..planted(name, metrics) };
        let mut intermittent = heap("intermittent", &[Metric::HeapBlocks]);
        intermittent.change.plant = Some("heap-block,every=10".to_owned());
        intermittent.restarts = INTERMITTENT_RESTARTS;
        vec![
            Self { restarts: SLOW_RESTARTS, ..planted("slow", &[Metric::AnonPss]) },
            intermittent,
            planted("kept-invoker", &[Metric::LiveInvokers, Metric::CliProcesses]),
            lost_control(planted("lost", &[Metric::Lost])),
            heap("heap-block", &[Metric::HeapBlocks]),
            heap("heap-bytes", &[Metric::HeapBytes]),
            Self { change: Change::default(), ..heap("clean", &[]) },
            planted("process", &[Metric::Processes]),
            planted("zombie", &[Metric::Zombies]),
            planted("fd", &[Metric::FdsFile]),
            planted("fd-pipe", &[Metric::FdsPipe]),
            planted("fd-socket", &[Metric::FdsSocket]),
            planted("fd-anon", &[Metric::FdsAnon]),
            planted("thread", &[Metric::Threads]),
            planted("task", &[Metric::Tasks]),
            planted("file", &[Metric::Files]),
            planted("file-left", &[Metric::FilesLeft]),
            planted("orphan", &[Metric::Orphans]),
            mixed_up_control(planted("mixed-up", &[Metric::MixedUp])),
        ]
    }

    /// The control of this name, which may carry what [`leakgate_sut::plant::Spec`] takes, for the target.
    #[must_use]
    pub fn from_plant_option(plant: &str) -> Option<Self> {
        let (name, how) = plant.split_once(',').map_or((plant, None), |(name, how)| (name, Some(how)));
        let mut control = Self::all().into_iter().find(|control| control.name == name)?;
        match (&mut control.change.plant, how) {
            (Some(planted), Some(how)) => {
                let kind = planted.split(',').next().unwrap_or(name);
                *planted = format!("{kind},{how}");
            }
            (None, Some(_)) => return None,
            (_, None) => {}
        }
        Some(control)
    }

    /// Whether it shows to a gate that sees a server only from outside: no heap and no tasks, and of memory only what is
    /// above the bound for a server that is not ours.
    #[must_use]
    pub fn is_visible_externally(&self) -> bool {
        let seen = |metric: &Metric| {
            matches!(
                metric,
                Metric::CliProcesses
                    | Metric::Processes
                    | Metric::Zombies
                    | Metric::FdsPipe
                    | Metric::FdsSocket
                    | Metric::FdsFile
                    | Metric::FdsAnon
                    | Metric::Threads
                    | Metric::Files
                    | Metric::Orphans
                    | Metric::MixedUp
            )
        };
        self.planted.is_empty() || self.planted.iter().any(seen)
    }

    /// The short scenario in which it runs: a restart at every turn.
    #[must_use]
    pub fn scenario(&self) -> Scenario {
        let scenario = Scenario {
            name: self.name,
            max_turns: 1,
            warm_up: WARM_UP_RESTARTS,
            restarts: self.restarts,
            server_rss_cap_mb: 0,
            ..restarts::scenario()
        };
        self.change.apply_to(scenario)
    }
}

impl Change {
    /// `scenario` with this leak in it.
    #[must_use]
    pub fn apply_to(&self, mut scenario: Scenario) -> Scenario {
        scenario.server_flags.extend(self.plant.iter().map(|plant| format!("--plant={plant}")));
        scenario.server_flags.extend(self.server_flags.iter().cloned());
        scenario.cli_flags.extend(self.cli_flags.iter().cloned());
        scenario.deadline = self.deadline.unwrap_or(scenario.deadline);
        scenario
    }
}

/// A CLI that falls silent, and a server that has no deadline for it: the client waits in vain.
fn lost_control(mut control: Control) -> Control {
    control.change = Change {
        plant: None,
        // A CLI that does not obey the interrupt either is a failure each time, and must not take the server offline.
        server_flags: ["--silence-timeout=3600", "--turn-timeout=3600", "--max-failures=1000"]
            .map(str::to_owned)
            .to_vec(),
        cli_flags: vec!["--mock-fault=hang@turn=1@every=25".to_owned()],
        deadline: Some(Duration::from_secs(1)),
    };
    control
}

/// A CLI that puts another request's mark into a reply, which is what a server that mixes replies up would do.
fn mixed_up_control(mut control: Control) -> Control {
    let flags = vec!["--mock-fault=wrong-mark@every=20".to_owned()];
    control.change = Change { cli_flags: flags, ..Change::default() };
    control
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_that_is_judged_has_a_control() {
        let planted: Vec<Metric> = Control::all().into_iter().flat_map(|control| control.planted).collect();
        let others = [
            Metric::HeapBlocks,
            Metric::HeapBytes,
            Metric::Orphans,
            Metric::FilesLeft,
            Metric::Lost,
            Metric::MixedUp,
            Metric::AnonPss,
        ];
        for metric in Metric::COUNTED.into_iter().chain(others) {
            assert!(planted.contains(&metric), "{metric:?}");
        }
        assert!(Control::all().iter().any(|control| control.planted.is_empty()));
    }

    #[test]
    fn a_plant_may_say_how_often() {
        assert_eq!(Control::from_plant_option("fd,every=3").unwrap().change.plant.unwrap(), "fd,every=3");
        assert_eq!(Control::from_plant_option("fd").unwrap().change.plant.unwrap(), "fd");
        assert_eq!(
            Control::from_plant_option("intermittent,every=3").unwrap().change.plant.unwrap(),
            "heap-block,every=3"
        );
        assert!(Control::from_plant_option("lost,every=3").is_none());
        assert!(Control::from_plant_option("nothing").is_none());
    }
}
