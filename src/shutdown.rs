//! A set of tasks that are told to stop together and joined.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// The only site where the product spawns: every task is counted here and joined at the end.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    spawn_counts: SpawnCounts,
    stop: CancellationToken,
    hurry: CancellationToken,
}

impl Tasks {
    /// An empty set whose tasks have not been told to stop.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` as a task of this set, known by the line that calls this.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let alive = self.spawn_counts.count_spawn(Location::caller());
        self.tracker.spawn(future.map(move |output| {
            drop(alive);
            output
        }))
    }

    /// Where the tasks of this set were spawned.
    #[must_use]
    pub fn spawn_counts(&self) -> SpawnCounts {
        self.spawn_counts.clone()
    }

    /// How many tasks of this set have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Tells every task to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends when [`Tasks::stop`] is called.
    pub fn wait_for_stop(&self) -> WaitForCancellationFutureOwned {
        self.stop.clone().cancelled_owned()
    }

    /// Tells every task that the grace period is over.
    pub fn hurry(&self) {
        self.hurry.cancel();
    }

    /// Ends when [`Tasks::hurry`] is called.
    pub fn wait_for_hurry(&self) -> WaitForCancellationFutureOwned {
        self.hurry.clone().cancelled_owned()
    }

    /// Waits until every task has ended, `deadline` at most. False: some are still running.
    pub async fn join(&self, deadline: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok()
    }
}

/// The number of live tasks by the source line that spawned them. Memory is one entry for each such line and nothing for
/// each task.
#[derive(Debug, Clone, Default)]
pub struct SpawnCounts {
    alive: Arc<Mutex<BTreeMap<SpawnSite, usize>>>,
}

type SpawnSite = &'static Location<'static>;

impl SpawnCounts {
    /// The lines, as `src/pool.rs:171`, with how many tasks of each are alive.
    #[must_use]
    pub fn alive_by_site(&self) -> Vec<(String, usize)> {
        let alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        alive.iter().map(|(site, &count)| (format!("{}:{}", site.file(), site.line()), count)).collect()
    }

    fn count_spawn(&self, site: SpawnSite) -> TaskCount {
        self.update_count(site, |count| count + 1);
        TaskCount { counts: self.clone(), site }
    }

    fn update_count(&self, site: SpawnSite, to: impl FnOnce(usize) -> usize) {
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        let count = alive.entry(site).or_default();
        *count = to(*count);
    }
}

/// Counts one live task. A guard, so that aborted and panicked tasks are counted down as well.
struct TaskCount {
    counts: SpawnCounts,
    site: SpawnSite,
}

impl Drop for TaskCount {
    fn drop(&mut self) {
        self.counts.update_count(self.site, |count| count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(tasks: &Tasks) -> Vec<usize> {
        tasks.spawn_counts().alive_by_site().into_iter().map(|(_, count)| count).collect()
    }

    #[tokio::test]
    async fn a_live_task_is_known_by_the_line_that_spawned_it() {
        let tasks = Tasks::new();
        let line = line!() + 1;
        let spawn = || tasks.spawn(tasks.wait_for_stop());
        let (first, second) = (spawn(), spawn());
        assert_eq!(tasks.spawn_counts().alive_by_site(), [(format!("src/shutdown.rs:{line}"), 2)]);
        tasks.stop();
        assert!(first.await.is_ok() && second.await.is_ok());
        assert_eq!(alive(&tasks), [0]);
    }

    #[tokio::test]
    async fn an_aborted_task_and_one_that_panicked_are_not_alive() {
        let tasks = Tasks::new();
        let aborted = tasks.spawn(std::future::pending::<()>());
        aborted.abort();
        assert!(aborted.await.is_err());
        let panicked = tasks.spawn(async { panic!("on purpose") });
        assert!(panicked.await.is_err());
        assert_eq!(alive(&tasks), [0, 0]);
    }
}
