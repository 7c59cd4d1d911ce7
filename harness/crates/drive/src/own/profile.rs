//! The server's heap profiled by stacks: the windows and the lives of [`leakgate_judge::attribution::growth`], one process each
//! for the windows and for either life.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use thiserror::Error;

use super::{OwnAssignment, OwnTarget};
use crate::assignment::Assignment;
use crate::driver::Driver;
use crate::event::{Event, Listener, Live, Subject};
use crate::scenario::Ending;
use crate::scenario::schedule::Schedule;
use crate::target::{Target, TargetError};
use leakgate_judge::attribution::dhat::{self, DhatError};
use leakgate_judge::attribution::growth::{self, Growth, Pair, Window};
use leakgate_judge::attribution::profile::Windows;
use leakgate_judge::sample::Outcome;

/// The target's name in events.
pub const TARGET: &str = "sut-heap, profiled";

/// A profiled scenario.
#[derive(Debug)]
pub struct Profiled {
    /// The growing sites and stacks.
    pub growth: Growth,
    /// How many restarts each profile saw.
    pub windows: Windows,
    /// dhat's own file of the longer window, for its viewer.
    pub raw: Vec<u8>,
}

/// Why there is no profile.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// The server could not be driven.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The same, found while it ran.
    #[error("{0}")]
    Failed(String),
    /// It did not come to rest where a profile begins or ends.
    #[error("the server did not come to rest where a profile begins or ends: {moving}")]
    Moving {
        /// The counts that kept changing.
        moving: String,
    },
    /// There is no folder for the profiles.
    #[error("cannot prepare the profile: {0}")]
    Prepare(std::io::Error),
    /// There is no file although the server said so.
    #[error("the server wrote no profile to {}: {source}; is the disk full?", path.display())]
    NotWritten {
        /// Where it should be.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The file is not what dhat writes.
    #[error("cannot read the server's profile {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DhatError,
    },
}

impl From<Outcome> for ProfileError {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::NotSettled { moving } => Self::Moving { moving },
            Outcome::Failed { what } => Self::Failed(what),
            Outcome::Completed => Self::Failed("it ended too soon".to_owned()),
        }
    }
}

/// How long the windows and the lives are, in restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    warm_up: u64,
    window: u64,
}

impl Length {
    /// For a first window of `window` restarts. The warm-up is no longer than it: a vector that only grows does so within
    /// the window only if that doubles the restarts.
    #[must_use]
    pub fn new(warm_up: u64, window: u64) -> Self {
        Self { warm_up: warm_up.min(window), window }
    }

    fn life(self) -> u64 {
        self.warm_up + self.window
    }

    /// Restarts of all three processes.
    #[must_use]
    pub fn total(self) -> u64 {
        self.warm_up + 3 * self.window + 3 * self.life()
    }
}

/// Profiles the scenario of `assignment`, which is one for `sut-heap`. No process is left, unless this is dropped before
/// its end.
pub async fn profile(
    assignment: &OwnAssignment,
    length: Length,
    listener: &dyn Listener,
) -> Result<Profiled, ProfileError> {
    let start = std::time::Instant::now();
    let subject = Subject { target: TARGET, goal: length.total(), ..assignment.subject() };
    listener.event(Event::Began { subject });
    let result = Box::pin(run_three_processes(assignment, length, listener, subject)).await;
    let outcome = match &result {
        Ok(_) => Outcome::Completed,
        Err(error) => Outcome::Failed { what: error.to_string() },
    };
    listener.event(Event::Ended { subject, outcome: &outcome, seconds: start.elapsed().as_secs_f64() });
    result
}

async fn run_three_processes(
    assignment: &OwnAssignment,
    length: Length,
    listener: &dyn Listener,
    subject: Subject<'_>,
) -> Result<Profiled, ProfileError> {
    // What becomes of the server at its end is another run's business.
    let mut assignment = assignment.clone();
    assignment.scenario.ending = Ending::Stopped;
    let folder = tempfile::Builder::new().prefix("leakgate-profile-").tempdir().map_err(ProfileError::Prepare)?;
    let part = |base| Part { inner: listener, subject, base };
    let windows = Process::new(&assignment, &folder, &part(0)).profile_windows(length).await?;
    let base = length.warm_up + 3 * length.window;
    let short = Process::new(&assignment, &folder, &part(base)).profile_life(length.life()).await?;
    // Twice what the shorter life came to, not twice what it was to come to.
    let (base, goal) = (base + length.life(), 2 * short.restarts);
    let long = Process::new(&assignment, &folder, &part(base)).profile_life(goal).await?;
    let lives = Pair { short, long };
    Ok(Profiled {
        growth: growth::find_growing_sites(&windows.pair, &lives),
        windows: Windows {
            warm_up: windows.warm_up,
            short: windows.pair.short.restarts,
            long: windows.pair.long.restarts,
            short_life: lives.short.restarts,
            long_life: lives.long.restarts,
        },
        raw: windows.raw,
    })
}

/// One server process of a profile.
struct Process<'a> {
    assignment: &'a OwnAssignment,
    folder: &'a TempDir,
    listener: &'a dyn Listener,
    /// Sizes the batches: that of the whole run.
    schedule: Schedule,
}

struct InOneProcess {
    warm_up: u64,
    pair: Pair,
    raw: Vec<u8>,
}

impl<'a> Process<'a> {
    fn new(assignment: &'a OwnAssignment, folder: &'a TempDir, listener: &'a dyn Listener) -> Self {
        Self { assignment, folder, listener, schedule: assignment.schedule() }
    }

    /// The warm-up, and then two windows.
    async fn profile_windows(&self, length: Length) -> Result<InOneProcess, ProfileError> {
        let mut driver = self.start().await?;
        let result = async {
            let warm_up = self.rest_at(&mut driver, length.warm_up).await?;
            let short = self.profile_window(&mut driver, warm_up, length.window).await?.0;
            let (long, raw) = self.profile_window(&mut driver, warm_up + short.restarts, 2 * short.restarts).await?;
            Ok(InOneProcess { warm_up, pair: Pair { short, long }, raw })
        }
        .await;
        self.stop(driver, result).await
    }

    /// One profile of a process from its start until it has restarted `goal` times.
    async fn profile_life(&self, goal: u64) -> Result<Window, ProfileError> {
        let mut driver = self.start().await?;
        let result = async {
            let begin = self.rest_at(&mut driver, 0).await?;
            Ok(self.profile_window(&mut driver, begin, goal.saturating_sub(begin)).await?.0)
        }
        .await;
        self.stop(driver, result).await
    }

    async fn start(&self) -> Result<Box<Driver<'_, OwnTarget>>, ProfileError> {
        let target = Box::pin(OwnTarget::start(self.assignment)).await?;
        let mut driver = Box::new(Driver::new(target, self.assignment, self.listener));
        match driver.target.prove_identity().await {
            Ok(()) => Ok(driver),
            Err(outcome) => self.stop(driver, Err(outcome.into())).await,
        }
    }

    /// Load until the server has restarted `goal` times, and then rest. Returns the restarts that there were by then.
    async fn rest_at(&self, driver: &mut Driver<'_, OwnTarget>, goal: u64) -> Result<u64, ProfileError> {
        driver.load_until(goal, &self.schedule).await?;
        Ok(driver.read_at_rest().await?.restarts)
    }

    /// A profile over at least `restarts` more than the `begin` that there have been.
    async fn profile_window(
        &self,
        driver: &mut Driver<'_, OwnTarget>,
        begin: u64,
        restarts: u64,
    ) -> Result<(Window, Vec<u8>), ProfileError> {
        let path = self.folder.path().join("dhat-heap.json");
        driver.target.server.begin_profile(&path).await?;
        let end = self.rest_at(driver, begin + restarts).await?;
        driver.target.server.end_profile().await?;
        let raw = read(&path)?;
        let heap = dhat::read(&raw).map_err(|source| ProfileError::Unreadable { path: path.clone(), source })?;
        Ok((Window { heap, restarts: end.saturating_sub(begin) }, raw))
    }

    async fn stop<T>(
        &self,
        driver: Box<Driver<'_, OwnTarget>>,
        result: Result<T, ProfileError>,
    ) -> Result<T, ProfileError> {
        let Driver { target, mut load, .. } = *driver;
        load.close().await;
        // What it leaves is ended; whether it leaves anything is judged by the run itself.
        Box::pin(target.stop_and_inspect(load.counts(), false)).await;
        result
    }
}

/// Reads the file and removes it, so that the next profile is not taken for it.
fn read(path: &Path) -> Result<Vec<u8>, ProfileError> {
    let not_written = |source| ProfileError::NotWritten { path: path.to_owned(), source };
    let raw = std::fs::read(path).map_err(not_written)?;
    std::fs::remove_file(path).map_err(not_written)?;
    Ok(raw)
}

/// The events of one process as those of a part of the profile.
struct Part<'a> {
    inner: &'a dyn Listener,
    subject: Subject<'a>,
    base: u64,
}

impl Listener for Part<'_> {
    fn event(&self, event: Event<'_>) {
        if let Event::Moved { live, .. } = event {
            let live = Live { restarts: self.base + live.restarts, ..live };
            self.inner.event(Event::Moved { subject: self.subject, live });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_never_shorter_than_the_warm_up() {
        assert_eq!(Length::new(50, 20), Length { warm_up: 20, window: 20 });
        assert_eq!(Length::new(50, 100), Length { warm_up: 50, window: 100 });
        assert_eq!(Length::new(20, 20).total(), 20 + 60 + 40 + 80);
    }
}
