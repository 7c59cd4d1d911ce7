//! Looks at a server's processes again and again while something else goes on: a CLI process that was not there before
//! is a restart, and the highest counts are those of any moment.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::probe::tree::Identity;
use crate::probe::{Probe, Tree};
use crate::sample::{Bounds, TracePoint};

/// Between two looks. A CLI process that lives shorter may be missed.
const PAUSE: Duration = Duration::from_millis(20);

/// A watched server.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) probe: Probe,
    pub(super) bounds: Bounds,
    seen: BTreeSet<Identity>,
    before: usize,
}

impl Watch {
    pub(super) fn new(probe: Probe) -> Self {
        Self { probe, bounds: Bounds::default(), seen: BTreeSet::new(), before: 0 }
    }

    /// From here on a new CLI process is a restart.
    pub(super) fn begin(&mut self) {
        self.look();
        self.before = self.seen.len();
    }

    /// CLI processes that were seen since then and had not been seen before.
    pub(super) fn restarts(&self) -> u64 {
        (self.seen.len() - self.before) as u64
    }

    /// Looks once.
    pub(super) fn look(&mut self) -> Tree {
        let tree = self.probe.tree();
        self.seen.extend(tree.cli.iter().copied());
        self.bounds.cli_processes_max = self.bounds.cli_processes_max.max(tree.cli.len() as u64);
        tree
    }

    /// Looks until `work` is done.
    pub(super) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => drop(self.look()),
            }
        }
    }

    /// A reading of the memory, at `progress` restarts or turns.
    pub(super) fn memory(&mut self, progress: u64) -> TracePoint {
        let tree = self.look();
        let memory = self.probe.memory(&tree);
        let most = &mut self.bounds;
        most.server_rss_max_mb = most.server_rss_max_mb.max(megabytes(memory.server.rss));
        most.tree_rss_max_mb = most.tree_rss_max_mb.max(megabytes(memory.tree.rss));
        TracePoint {
            restarts: progress,
            anon_pss: memory.tree.anon_pss,
            tree_rss: memory.tree.rss,
            server_rss: memory.server.rss,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory stays far below 2^53 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
