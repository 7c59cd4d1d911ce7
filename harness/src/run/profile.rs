//! Profiles of a heap: the one that was asked for, and the one that a leak asks for by itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Job, Kind, Request, RunError};
use crate::environment;
use leakgate_drive::assignment::Assignment;
use leakgate_drive::event::{Event, Listener, Subject};
use leakgate_drive::own::OwnAssignment;
use leakgate_drive::own::profile::{self, Length, ProfileError, Profiled};
use leakgate_judge::attribution::fold;
use leakgate_judge::attribution::profile::{FORMAT, Profile};
use leakgate_judge::sample::{Environment, Frame, Metric, TargetRun};
use leakgate_judge::store::{self, StoreError};
use leakgate_judge::verdict::{Class, Finding, MetricVerdict};

/// dhat's own file, for its viewer.
pub const RAW: &str = "dhat-heap.json";
/// The growing sites.
pub const SITES: &str = "profile.json";
/// The growing stacks, folded.
pub const FOLDED: &str = "growth.folded";
/// The flame graph of them; there is none where nothing grows.
pub const PICTURE: &str = "growth.svg";

/// Restarts of the first window, where nothing is known of the leak.
pub const DEFAULT_WINDOW: u64 = 60;
/// The fewest of a profile that a leak asks for.
const MIN_WINDOW: u64 = 40;
/// So many of what leaks should be seen in the difference of the windows: one that strikes by chance is then not missed.
const MIN_STRIKES: f64 = 10.0;

/// One scenario to be profiled.
#[derive(Debug)]
pub struct ProfilePlan {
    assignment: OwnAssignment,
    length: Length,
    planted: Option<String>,
    environment: Environment,
}

/// The result of profiling a heap.
#[derive(Debug)]
pub struct HeapProfile {
    /// The sites.
    pub profile: Profile,
    stacks: Vec<(Vec<Frame>, u64)>,
    raw: Vec<u8>,
}

impl Request {
    /// Lays out a profile of the first scenario, with a first window of so many restarts; none where there is no scenario.
    pub fn plan_profile(&self, window: u64) -> Result<Option<ProfilePlan>, RunError> {
        let Some(scenario) = self.scenarios.first() else { return Ok(None) };
        let scenario = match &self.plant {
            Some(planted) => planted.change.apply_to(scenario.clone()),
            None => scenario.clone(),
        };
        let mut versions = BTreeSet::new();
        let assignment = self.own_assignment(scenario, Kind::SutHeap, false, &mut versions)?;
        let planted = self.planted_name();
        Ok(Some(ProfilePlan::new(&assignment, window, planted, environment::describe(versions, self.seed))))
    }
}

impl ProfilePlan {
    /// A profile of this scenario, with a first window of so many restarts.
    #[must_use]
    pub fn new(assignment: &OwnAssignment, window: u64, planted: Option<String>, environment: Environment) -> Self {
        let length = Length::new(assignment.scenario.warm_up, window);
        Self { assignment: assignment.clone(), length, planted, environment }
    }

    /// The subject of its events.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject { target: profile::TARGET, goal: self.length.total(), ..self.assignment.subject() }
    }

    /// Makes the profile.
    pub async fn run(self, listener: &dyn Listener) -> Result<HeapProfile, ProfileError> {
        let Profiled { growth, windows, raw } = profile::profile(&self.assignment, self.length, listener).await?;
        let profile = Profile {
            format: FORMAT,
            scenario: self.assignment.scenario.name.to_owned(),
            planted: self.planted,
            seed: self.assignment.seed,
            windows,
            sites: growth.sites,
            environment: self.environment,
        };
        Ok(HeapProfile { profile, stacks: growth.stacks, raw })
    }

    /// Makes it and stores it in `folder`. The error is in words.
    async fn run_and_save(self, folder: &Path, listener: &dyn Listener) -> Result<HeapProfile, String> {
        let found = self.run(listener).await.map_err(|error| error.to_string())?;
        found.save(folder).map_err(|error| error.to_string())?;
        Ok(found)
    }
}

impl HeapProfile {
    /// Writes everything into `folder`. Files of an earlier profile are removed first, also a flame graph that this one does not have.
    pub fn save(&self, folder: &Path) -> Result<(), StoreError> {
        let lines = fold::fold_stacks(&self.stacks);
        let windows = &self.profile.windows;
        let title = format!(
            "Heap growth in {}: bytes kept by {} restarts, less those of {}",
            self.profile.scenario, windows.long, windows.short
        );
        remove_profile(folder);
        store::save_json(&folder.join(SITES), &self.profile)?;
        store::save_bytes(&folder.join(RAW), &self.raw)?;
        store::save_bytes(&folder.join(FOLDED), lines.as_bytes())?;
        let path = folder.join(PICTURE);
        match fold::draw_flame_graph(&lines, &title) {
            Ok(None) => Ok(()),
            Ok(Some(picture)) => store::save_bytes(&path, &picture),
            Err(source) => Err(StoreError::Write { path, source }),
        }
    }
}

/// Removes the files of an earlier profile, so that nobody takes them for those of this run.
pub fn remove_profile(folder: &Path) {
    for name in [RAW, SITES, FOLDED, PICTURE] {
        // Most often there is none; one that cannot be removed is written over, or that fails and is told.
        let _ = fs::remove_file(folder.join(name));
    }
    // Fails on purpose while other files are in it.
    let _ = fs::remove_dir(folder);
}

/// Where `leakgate run` puts the profile of a scenario, with its seed where there are several.
#[must_use]
pub fn profile_folder(out: &Path, scenario: &str, seed: Option<u64>) -> PathBuf {
    let seed = seed.map(|seed| format!("-{seed}")).unwrap_or_default();
    out.join(format!("profile-{scenario}{seed}"))
}

/// Profiles of what a run finds to leak.
pub(super) struct LeakProfiler<'a> {
    /// Where the run is stored; without it nothing is profiled.
    pub(super) folder: Option<PathBuf>,
    /// The leak that was planted, if one was.
    pub(super) planted: Option<String>,
    /// The run's own.
    pub(super) environment: &'a Environment,
}

impl LeakProfiler<'_> {
    /// Profiles what leaks in the heap, and puts the sites into its run.
    pub(super) async fn profile_leak(
        &self,
        job: &Job,
        run: &mut TargetRun,
        rows: &[MetricVerdict],
        listener: &dyn Listener,
    ) {
        let (Some(out), Some(assignment)) = (&self.folder, &job.own) else { return };
        let Some(window) = leak_window(rows, run.plan.restarts) else { return };
        let program = ProfilePlan::new(assignment, window, self.planted.clone(), self.environment.clone());
        listener.event(Event::Profiled { subject: program.subject() });
        let folder = profile_folder(out, assignment.scenario.name, assignment.own_seed);
        match program.run_and_save(&folder, listener).await {
            Ok(found) => {
                run.sites = found.profile.sites;
                run.notes.push(format!("the profile of its heap is in {}", folder.display()));
            }
            Err(error) => run.notes.push(format!("its heap could not be profiled: {error}")),
        }
    }
}

/// The first window of a profile for the leak in these rows; none where no heap leaks.
fn leak_window(rows: &[MetricVerdict], restarts: u64) -> Option<u64> {
    let mut leaks = rows.iter().filter(|row| row.class == Class::Heap && row.verdict == Finding::Leak).peekable();
    leaks.peek()?;
    let blocks = leaks.find(|row| row.name == Metric::HeapBlocks).and_then(|row| row.growth_per_restart);
    let window = blocks.filter(|&rate| rate > 0.0).map_or(DEFAULT_WINDOW, |rate| saturating_ceil(MIN_STRIKES / rate));
    Some(window.clamp(MIN_WINDOW.min(restarts), restarts.max(1)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number of restarts; it saturates"
)]
fn saturating_ceil(restarts: f64) -> u64 {
    restarts.ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakgate_judge::sample::{Checkpoint, Plan};
    use leakgate_judge::verdict::target;
    use std::collections::BTreeMap;

    /// A run of `sut-heap` with these blocks at cumulative 50, 100 and 200 restarts.
    fn rows(blocks: [u64; 3]) -> Vec<MetricVerdict> {
        let plan = Plan {
            slots: 1,
            warm_up: 50,
            restarts: 150,
            connections: 1,
            max_turns: 1,
            server_rss_cap_mb: 0,
            tree_rss_cap_mb: 0,
            memory_noise_mb: 0,
            doubled: 0,
            errors_allowed: 0.0,
            exceptions: Vec::new(),
            outside: None,
        };
        let mut run = TargetRun::new("restarts", "sut-heap", plan);
        for (restarts, blocks) in [50, 100, 200].into_iter().zip(blocks) {
            let values = BTreeMap::from([(Metric::HeapBlocks, blocks), (Metric::HeapBytes, 100 * blocks)]);
            run.checkpoints.push(Checkpoint { restarts, requests: restarts, values });
        }
        target::judge_target(&run).1
    }

    #[test]
    fn a_profile_is_made_of_what_leaks_and_is_long_enough_for_ten_strikes() {
        assert_eq!(leak_window(&rows([900, 900, 900]), 300), None);
        assert_eq!(leak_window(&rows([900, 950, 1050]), 300), Some(40));
        // One block in ten restarts.
        assert_eq!(leak_window(&rows([900, 905, 915]), 300), Some(100));
        assert_eq!(leak_window(&rows([900, 905, 915]), 60), Some(60));
        assert_eq!(leak_window(&rows([900, 950, 1050]), 24), Some(24));
    }
}
