//! A target under load: batches, readings between them, checkpoints.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{interval, sleep};

use super::drive::Assignment;
use super::ending;
use super::latency::{Latencies, PACE};
use super::schedule::Schedule;
use super::settle::{SettleError, Settled, settle};
use crate::event::{Event, Listener, Live};
use crate::load::Load;
use crate::load::endpoint::Endpoint;
use crate::probe::Probe;
use crate::probe::details::History;
use crate::target::{Target, TargetError};
use leakgate_judge::sample::{Bounds, Checkpoint, Outcome, TracePoint};
use leakgate_session::stats::Stats;

/// Readings of the noisy signals in one run, about: enough for four windows in its second half, few enough to be cheap.
const TRACE_POINTS: u64 = 160;
/// Readings that a run has at least, whatever its restarts: the four windows of its second half need three each.
const LEAST_READINGS: u64 = 48;
/// How long the first invoker may take; a little longer than the server's own deadline for it.
const READY_DEADLINE: Duration = Duration::from_secs(35);
/// A look at the tree takes a quarter of the time at most: what watches must not be what the server waits for.
const LOOKING: u32 = 4;
/// So many batches in a row without any restart: the target does not restart at all.
const IDLE_BATCHES: u32 = 20;

/// A target that is being driven, and what was read of it so far.
pub(super) struct Driver<'a> {
    pub(super) assignment: &'a Assignment,
    listener: &'a dyn Listener,
    pub(super) target: Target,
    pub(super) probe: Probe,
    pub(super) load: Load,
    schedule: Schedule,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) trace: Vec<TracePoint>,
    pub(super) bounds: Bounds,
    pub(super) history: History,
    pub(super) latencies: Latencies,
    /// How much a real CLI kept in its HOME at a checkpoint, at most: its settings.
    pub(super) kept_at_home: usize,
    pub(super) latest: Option<Stats>,
}

impl<'a> Driver<'a> {
    /// Starts the target.
    pub(super) async fn start(assignment: &'a Assignment, listener: &'a dyn Listener) -> Result<Self, TargetError> {
        let target = Target::start(&assignment.launch).await?;
        let probe = Probe::new(target.pid(), target.folder(), &assignment.cli)
            .map_err(|error| TargetError::Probe { what: error.to_string() })?;
        let load = Load::new(Endpoint::ours(target.address()), Arc::clone(&assignment.script), assignment.shape());
        Ok(Self {
            assignment,
            listener,
            target,
            probe,
            load,
            schedule: assignment.schedule.clone(),
            checkpoints: Vec::new(),
            trace: Vec::new(),
            bounds: Bounds::default(),
            history: History::default(),
            latencies: Latencies::default(),
            kept_at_home: 0,
            latest: None,
        })
    }

    /// Load and checkpoints until the last one, or until something fails.
    pub(super) async fn measure(&mut self) -> Outcome {
        if let Err(error) = self.until_ready().await {
            return Outcome::Failed { what: error.to_string() };
        }
        while let Some(goal) = self.schedule.next() {
            let reached = match self.load_until(goal).await {
                Ok(()) => self.checkpoint().await,
                Err(error) => Err(error),
            };
            match reached {
                Ok(()) => {}
                Err(SettleError::Moving { moving }) => return Outcome::NotSettled { moving },
                Err(SettleError::Target(error)) => return Outcome::Failed { what: error.to_string() },
            }
        }
        Outcome::Completed
    }

    /// Waits until the first invoker serves; an unusable CLI is told at once instead of by every request.
    pub(super) async fn until_ready(&mut self) -> Result<(), TargetError> {
        let start = Instant::now();
        loop {
            let stats = self.target.stats().await?;
            if stats.pool.state == "ready" {
                self.latest = Some(stats);
                return Ok(());
            }
            if stats.pool.state == "offline" || start.elapsed() > READY_DEADLINE {
                let reason = stats.pool.offline_reason.unwrap_or_else(|| "no invoker became ready".to_owned());
                return Err(TargetError::Gone { what: reason, stderr: self.target.stderr() });
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Batches of load until the target has restarted `goal` times, and before the last reading until enough was asked.
    async fn load_until(&mut self, goal: u64) -> Result<(), SettleError> {
        let mut restarts = self.restarts();
        let mut idle = 0;
        loop {
            let enough = !self.schedule.is_last() || self.load.counts().requests >= self.assignment.scenario.requests;
            if restarts >= goal && enough {
                return Ok(());
            }
            self.batch(self.batch_size(goal)).await;
            self.read_between().await?;
            idle = if self.restarts() == restarts { idle + 1 } else { 0 };
            restarts = self.restarts();
            if idle == IDLE_BATCHES {
                return Err(self.stuck().into());
            }
        }
    }

    /// One batch, while the server is asked now and then whether it restarts.
    async fn batch(&mut self, requests: u64) {
        let Self { load, target, latencies, assignment, .. } = self;
        {
            let mut batch = pin!(load.batch(requests));
            let mut pace = interval(PACE);
            let mut answers = true;
            loop {
                tokio::select! {
                    () = &mut batch => break,
                    _ = pace.tick(), if answers => {}
                }
                // Outside of the `select!`: an answer that nobody waits for would be taken for the next one.
                match target.stats().await {
                    Ok(stats) => {
                        let under_way = stats.pool.live != assignment.scenario.slots;
                        latencies.look(Instant::now(), stats.pool.restarts.total(), under_way);
                    }
                    // Whatever is wrong is found by the next reading, once the requests have had their endings.
                    Err(_) => answers = false,
                }
            }
        }
        latencies.sort(&load.take_timings());
    }

    fn restarts(&self) -> u64 {
        self.latest.as_ref().map_or(0, |stats| stats.pool.restarts.total())
    }

    /// Enough requests for the restarts between two readings, and not for many more than are missing.
    fn batch_size(&self, goal: u64) -> u64 {
        let scenario = &self.assignment.scenario;
        let missing = goal.saturating_sub(self.restarts()).max(1);
        let between = (self.schedule.end() / TRACE_POINTS).max(1);
        let turns = scenario.max_turns * missing.min(between).next_multiple_of(scenario.slots);
        // A short run of a server that restarts seldom needs readings within an invoker's life, too.
        let often_enough = scenario.max_turns * self.schedule.end() / LEAST_READINGS;
        turns.min(often_enough.max(scenario.connections))
    }

    /// A look at the tree while the restart that the batch ended with may still go on, then a reading at rest.
    async fn read_between(&mut self) -> Result<(), TargetError> {
        let start = Instant::now();
        let mut next_look = start;
        let stats = loop {
            let now = Instant::now();
            if now >= next_look {
                let moving = self.probe.tree();
                self.bounds.cli_processes_max = self.bounds.cli_processes_max.max(moving.cli.len() as u64);
                next_look = now + now.elapsed() * LOOKING;
            }
            let stats = self.target.stats().await?;
            if stats.pool.settled || start.elapsed() > self.assignment.scenario.rest {
                break stats;
            }
            sleep(Duration::from_millis(2)).await;
        };
        // Only now is every invoker of the tree there, and no other.
        let tree = self.probe.tree();
        let memory = self.probe.memory(&tree);
        let restarts = stats.pool.restarts.total();
        let reading = memory.reading(restarts, self.load.counts().requests);
        self.bounds.note(&reading);
        self.trace.push(reading);
        let live =
            Live { restarts, invokers: stats.pool.live, server_rss: memory.server.rss, tree_rss: memory.tree.rss };
        self.listener.event(Event::Moved { subject: self.assignment.subject(), live });
        self.latest = Some(stats);
        Ok(())
    }

    fn stuck(&self) -> TargetError {
        let counts = self.load.counts();
        let notes = counts.notes.first().map(|note| format!("; first note: {note}")).unwrap_or_default();
        let what = format!(
            "it stopped restarting at {} restarts: {} requests, of which {} ended in an error and {} were lost{notes}",
            self.restarts(),
            counts.requests,
            counts.errors,
            counts.lost
        );
        TargetError::Gone { what, stderr: self.target.stderr() }
    }

    /// Load until the target has restarted `goal` times, and then rest. Returns the restarts that there were by then.
    pub(super) async fn rest_at(&mut self, goal: u64) -> Result<u64, SettleError> {
        self.load_until(goal).await?;
        let Settled { stats, .. } = self.rest().await?;
        let restarts = stats.pool.restarts.total();
        self.latest = Some(stats);
        Ok(restarts)
    }

    /// Brings the target to rest with a fresh invoker in each slot, and reads every exact signal.
    async fn rest(&mut self) -> Result<Settled, SettleError> {
        self.load.close().await;
        self.target.restart().await?;
        settle(&mut self.target, &mut self.probe).await
    }

    async fn checkpoint(&mut self) -> Result<(), SettleError> {
        let Settled { values, stats } = self.rest().await?;
        let restarts = stats.pool.restarts.total();
        self.checkpoints.push(Checkpoint { restarts, requests: self.load.counts().requests, values });
        if self.assignment.api.is_some() {
            self.kept_at_home = self.kept_at_home.max(ending::at_home(self.target.folder()).len());
        }
        let tree = self.probe.tree();
        self.history.add(restarts, self.probe.details(&tree, stats.tasks_by_line()));
        self.schedule.taken(restarts);
        self.latest = Some(stats);
        Ok(())
    }
}
