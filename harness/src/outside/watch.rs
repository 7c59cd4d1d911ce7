//! Looks at a server's processes again and again while something else goes on: a CLI process that was not there before
//! is a restart, and the highest counts are those of any moment.

use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::probe::tree::Identity;
use crate::probe::{Probe, Tree};
use crate::sample::{Bounds, TracePoint};

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
    pub(super) fn new(probe: Probe, counter: Option<PathBuf>) -> Self {
        Self {
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
        self.look();
        self.before = self.started();
    }

    /// CLI processes that were started since then, as far as they were seen or counted.
    pub(super) fn restarts(&self) -> u64 {
        let now = self.started();
        (now.seen - self.before.seen).max(now.counted - self.before.counted)
    }

    fn started(&self) -> Started {
        Started { seen: self.seen.len() as u64, counted: self.counted }
    }

    /// Looks once.
    pub(super) fn look(&mut self) -> Tree {
        let tree = self.probe.tree();
        self.seen.extend(tree.cli.iter().copied());
        // A file that is not there yet, or is just being written, says nothing; the next look will.
        let count = self.counter.as_ref().and_then(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
        self.counted = self.counted.max(count.unwrap_or_default());
        self.bounds.cli_processes_max = self.bounds.cli_processes_max.max(tree.cli.len() as u64);
        tree
    }

    /// Looks until `work` is done.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = sleep(pause) => {
                    let start = Instant::now();
                    self.look();
                    pause = PAUSE.max(start.elapsed() * REST);
                }
            }
        }
    }

    /// A reading of the memory, after so many requests.
    pub(super) fn memory(&mut self, requests: u64) -> TracePoint {
        let tree = self.look();
        let reading = self.probe.memory(&tree).reading(self.restarts(), requests);
        self.bounds.note(&reading);
        reading
    }
}
