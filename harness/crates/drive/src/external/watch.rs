//! Looks at a server's processes again and again while something else goes on: a CLI process that was not there before
//! is a restart, the highest counts are those of any moment, and a CLI that is not the mock ends whatever goes on.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::cli_check::{CliCheck, OwnCli};
use super::scout::{Pace, Scout, lock};
use crate::probe::tree::{Identity, Scope};
use crate::probe::{Probe, Tree};
use leakgate_judge::sample::{Bounds, TracePoint};

/// Between two looks, at least. A CLI process that lives shorter may be missed.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause is at least so many times as long as a look: where there are many processes a look takes milliseconds, and
/// whoever watches must not take the server's processor.
const REST: u32 = 9;

/// A watched server.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) probe: Probe,
    pub(super) bounds: Bounds,
    seen: BTreeSet<Identity>,
    /// Where the mock counts its processes, so that the shortest is not missed.
    counter: Option<PathBuf>,
    counted: u64,
    before: Started,
    /// Where its CLI has to be the mock: what was seen of it, and where to look.
    check: Option<(Scope, Arc<Mutex<CliCheck>>)>,
    pub(super) pace: Pace,
}

/// CLI processes so far.
#[derive(Debug, Clone, Copy, Default)]
struct Started {
    /// Seen in the tree.
    seen: u64,
    /// By the mock's own count.
    counted: u64,
}

impl Watch {
    pub(super) fn new(probe: Probe, counter: Option<PathBuf>, check: Option<(Scope, CliCheck)>) -> Self {
        Self {
            check: check.map(|(scope, check)| (scope, Arc::new(Mutex::new(check)))),
            pace: Pace::Proof,
            probe,
            bounds: Bounds::default(),
            seen: BTreeSet::new(),
            counter,
            counted: 0,
            before: Started::default(),
        }
    }

    /// From here on a new CLI process is a restart.
    pub(super) fn begin(&mut self) {
        self.read_tree();
        self.before = self.count_started();
    }

    /// CLI processes that were started since then, as far as they were seen or counted.
    pub(super) fn restart_count(&self) -> u64 {
        let now = self.count_started();
        // The mock counts each of its processes, and the tree shows those that are not the mock: the higher is right.
        (now.seen - self.before.seen).max(now.counted - self.before.counted)
    }

    fn count_started(&self) -> Started {
        Started { seen: self.seen.len() as u64, counted: self.counted }
    }

    /// Looks once.
    pub(super) fn read_tree(&mut self) -> Tree {
        let tree = self.probe.read_tree();
        self.seen.extend(tree.cli.iter().copied());
        // A file that is not there yet, or is just being written, says nothing; the next look will.
        let count = self.counter.as_ref().and_then(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
        self.counted = self.counted.max(count.unwrap_or_default());
        self.bounds.cli_processes_max = self.bounds.cli_processes_max.max(tree.cli.len() as u64);
        if let Some((_, check)) = &self.check {
            let mut check = lock(check);
            tree.members.iter().filter(|member| !member.zombie).for_each(|member| check.see(member.id.pid));
            check.review();
        }
        tree
    }

    /// How many processes the mock has counted.
    pub(super) fn mock_count(&mut self) -> u64 {
        self.read_tree();
        self.counted
    }

    /// The evidence about the server's CLI; none where any CLI is right.
    pub(super) fn cli_check<T>(&self, ask: impl FnOnce(&mut CliCheck) -> T) -> Option<T> {
        self.check.as_ref().map(|(_, check)| ask(&mut lock(check)))
    }

    fn own_cli(&self) -> Option<OwnCli> {
        self.cli_check(|check| check.own().cloned()).flatten()
    }

    /// Looks until `work` is done. The error is a CLI of the server's own: `work` is dropped then.
    pub(super) async fn watch_during<T>(&mut self, work: impl Future<Output = T>) -> Result<T, OwnCli> {
        tokio::pin!(work);
        let mut pause = Duration::ZERO;
        let pace = self.pace;
        let scout = self.check.as_ref().map(|(scope, check)| Scout::start(scope.clone(), Arc::clone(check), pace));
        loop {
            tokio::select! {
                done = &mut work => {
                    drop(scout);
                    return self.own_cli().map_or(Ok(done), Err);
                }
                () = sleep(pause) => {
                    let start = Instant::now();
                    self.read_tree();
                    if let Some(own) = self.own_cli() {
                        return Err(own);
                    }
                    // A slow reading means a busy machine: the watcher then takes a smaller share of it.
                    pause = PAUSE.max(start.elapsed() * REST);
                }
            }
        }
    }

    /// A reading of the memory, after so many requests.
    pub(super) fn read_memory(&mut self, requests: u64) -> TracePoint {
        let tree = self.read_tree();
        let reading = self.probe.read_memory(&tree).trace_point(self.restart_count(), requests);
        self.bounds.raise_to(&reading);
        reading
    }
}
