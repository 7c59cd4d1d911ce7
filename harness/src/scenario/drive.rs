//! Drives one target through one scenario and measures it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Scenario;
use super::details::Details;
use super::schedule::Schedule;
use super::settle::{SettleError, Settled, settle};
use crate::event::{Event, Listener, Live, Subject};
use crate::load::script::Script;
use crate::load::{Counts, Load, Shape};
use crate::probe::{Probe, files};
use crate::sample::{Bounds, Checkpoint, Outcome, Plan, Proof, Signal, TargetRun, TracePoint};
use crate::strays;
use crate::target::stats::Stats;
use crate::target::{Launch, Stopped, Target, TargetError};

/// Readings of the noisy signals in one run, about: enough for four windows in its second half, few enough to be cheap.
const TRACE_POINTS: u64 = 160;
/// How long the first invoker may take; a little longer than the server's own deadline for it.
const READY_DEADLINE: Duration = Duration::from_secs(35);
/// How long a pool may take to come to rest between two batches; a reading is taken all the same.
const REST: Duration = Duration::from_millis(500);
/// How long a tree may take to be gone after its server.
const CLEAR_DEADLINE: Duration = Duration::from_secs(2);
/// So many batches in a row without any restart: the target does not restart at all.
const IDLE_BATCHES: u32 = 20;
/// How many oddities of each kind are noted.
const NOTED: usize = 5;

/// One target to be driven.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// What is asked of it.
    pub scenario: Scenario,
    /// The target's name.
    pub target: &'static str,
    /// How it is started.
    pub launch: Launch,
    /// The CLI that it starts.
    pub cli: PathBuf,
    /// When it is read.
    pub schedule: Schedule,
    /// What is sent to it.
    pub script: Arc<Script>,
    /// The seed of the load.
    pub seed: u64,
    /// It has a leak planted, or is the clean control.
    pub control: bool,
}

/// Drives the target to the end, or as far as it goes, and stops it. It leaves no process behind, unless it is dropped
/// before its end.
pub async fn drive(assignment: &Assignment, listener: &dyn Listener) -> TargetRun {
    let start = Instant::now();
    listener.event(Event::Began { subject: assignment.subject() });
    let mut run = assignment.empty_run();
    match Driver::start(assignment, listener).await {
        Ok(mut driver) => {
            run.outcome = driver.measure().await;
            driver.finish(&mut run).await;
        }
        Err(error) => run.outcome = Outcome::Failed { what: error.to_string() },
    }
    run.seconds = start.elapsed().as_secs_f64();
    let ended = Event::Ended { subject: assignment.subject(), outcome: &run.outcome, seconds: run.seconds };
    listener.event(ended);
    run
}

impl Assignment {
    /// What the events name it.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject { name: self.scenario.name, target: self.target, control: self.control, goal: self.schedule.end() }
    }

    fn empty_run(&self) -> TargetRun {
        TargetRun {
            scenario: self.scenario.name.to_owned(),
            target: self.target.to_owned(),
            plan: self.plan(),
            outcome: Outcome::Completed,
            checkpoints: Vec::new(),
            trace: Vec::new(),
            totals: BTreeMap::new(),
            proof: Proof::default(),
            bounds: Bounds::default(),
            seconds: 0.0,
            notes: Vec::new(),
        }
    }

    fn plan(&self) -> Plan {
        let scenario = &self.scenario;
        Plan {
            slots: scenario.slots,
            warm_up: scenario.warm_up,
            restarts: scenario.restarts,
            connections: scenario.connections,
            max_turns: scenario.max_turns,
            server_rss_cap_mb: scenario.server_rss_cap_mb,
            tree_rss_cap_mb: scenario.tree_rss_cap_mb(),
            errors_allowed: scenario.errors_allowed,
        }
    }

    fn shape(&self) -> Shape {
        Shape {
            connections: self.scenario.connections,
            streamed: self.scenario.streamed,
            leaving: self.scenario.leaving,
            deadline: self.scenario.deadline,
            seed: self.seed,
        }
    }
}

/// A target that is being driven, and what was read of it so far.
struct Driver<'a> {
    assignment: &'a Assignment,
    listener: &'a dyn Listener,
    target: Target,
    probe: Probe,
    load: Load,
    schedule: Schedule,
    checkpoints: Vec<Checkpoint>,
    trace: Vec<TracePoint>,
    bounds: Bounds,
    details: Option<Details>,
    latest: Option<Stats>,
    notes: Vec<String>,
}

impl<'a> Driver<'a> {
    async fn start(assignment: &'a Assignment, listener: &'a dyn Listener) -> Result<Self, TargetError> {
        let target = Target::start(&assignment.launch).await?;
        let probe = Probe::new(target.pid(), target.folder(), &assignment.cli)
            .map_err(|error| TargetError::Probe { what: error.to_string() })?;
        let load = Load::new(target.address(), Arc::clone(&assignment.script), assignment.shape());
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
            details: None,
            latest: None,
            notes: Vec::new(),
        })
    }

    /// Load and checkpoints until the last one, or until something fails.
    async fn measure(&mut self) -> Outcome {
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
    async fn until_ready(&mut self) -> Result<(), TargetError> {
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
            self.load.batch(self.batch_size(goal)).await;
            self.read_between().await?;
            idle = if self.restarts() == restarts { idle + 1 } else { 0 };
            restarts = self.restarts();
            if idle == IDLE_BATCHES {
                return Err(self.stuck().into());
            }
        }
    }

    fn restarts(&self) -> u64 {
        self.latest.as_ref().map_or(0, |stats| stats.pool.restarts.total())
    }

    /// Enough requests for the restarts between two readings, and not for many more than are missing.
    fn batch_size(&self, goal: u64) -> u64 {
        let scenario = &self.assignment.scenario;
        let missing = goal.saturating_sub(self.restarts()).max(1);
        let between = (self.schedule.end() / TRACE_POINTS).max(1);
        scenario.max_turns * missing.min(between).next_multiple_of(scenario.slots)
    }

    /// A look at the tree while the restart that the batch ended with may still go on, then a reading at rest.
    async fn read_between(&mut self) -> Result<(), TargetError> {
        let start = Instant::now();
        let (stats, tree) = loop {
            let tree = self.probe.tree();
            self.bounds.cli_processes_max = self.bounds.cli_processes_max.max(tree.cli_processes);
            let stats = self.target.stats().await?;
            if stats.pool.settled || start.elapsed() > REST {
                break (stats, tree);
            }
            sleep(Duration::from_millis(2)).await;
        };
        let memory = self.probe.memory(&tree);
        let restarts = stats.pool.restarts.total();
        self.trace.push(TracePoint {
            restarts,
            anon_pss: memory.tree.anon_pss,
            tree_rss: memory.tree.rss,
            server_rss: memory.server.rss,
        });
        self.bounds.server_rss_max_mb = self.bounds.server_rss_max_mb.max(megabytes(memory.server.rss));
        self.bounds.tree_rss_max_mb = self.bounds.tree_rss_max_mb.max(megabytes(memory.tree.rss));
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

    /// Brings the target to rest with a fresh invoker in each slot, and reads every exact signal.
    async fn checkpoint(&mut self) -> Result<(), SettleError> {
        self.load.close().await;
        self.target.restart().await?;
        let Settled { values, stats } = settle(&mut self.target, &mut self.probe).await?;
        let restarts = stats.pool.restarts.total();
        self.checkpoints.push(Checkpoint { restarts, requests: self.load.counts().requests, values });
        let details = Details::read(self.target.pid(), &self.probe.tree());
        match &self.details {
            Some(first) if self.schedule.is_last() => self.notes.extend(details.more_than(first)),
            Some(_) => {}
            None => self.details = Some(details),
        }
        self.schedule.taken(restarts);
        self.latest = Some(stats);
        Ok(())
    }

    /// Stops the target, counts and ends what it left, and writes everything into `run`.
    async fn finish(mut self, run: &mut TargetRun) {
        self.load.close().await;
        if let Ok(stats) = self.target.stats().await {
            self.latest = Some(stats);
        }
        let stopped = self.target.stop().await;
        let orphans = clear(&mut self.probe).await;
        let left = files::below(stopped.folder.path());
        let counts = self.load.counts();
        run.notes.extend(counts.notes.iter().cloned());
        run.notes.append(&mut self.notes);
        run.notes.extend(orphans.iter().take(NOTED).map(|command| format!("left after the stop: process {command}")));
        run.notes.extend(left.iter().take(NOTED).map(|path| format!("left after the stop: {}", path.display())));
        run.outcome = outcome(run.outcome.clone(), &stopped);
        run.totals = BTreeMap::from([
            (Signal::Orphans, orphans.len() as u64),
            (Signal::FilesLeft, left.len() as u64),
            (Signal::Lost, counts.lost),
            (Signal::MixedUp, counts.mixed_up),
        ]);
        let high_water = self.latest.as_ref().map_or(0, |stats| stats.pool.high_water);
        run.bounds = Bounds { live_invokers_max: high_water, ..self.bounds };
        run.proof = proof(self.latest.as_ref(), counts, self.checkpoints.len() as u64);
        run.checkpoints = self.checkpoints;
        run.trace = self.trace;
    }
}

/// Waits until the tree is gone, and ends what is not. Returns the command lines of those that had to be ended.
async fn clear(probe: &mut Probe) -> Vec<String> {
    let start = Instant::now();
    let mut left = probe.orphans();
    while !left.is_empty() && start.elapsed() < CLEAR_DEADLINE {
        sleep(Duration::from_millis(10)).await;
        left = probe.orphans();
    }
    let ids: Vec<_> = left.iter().map(|member| member.id).collect();
    if !ids.is_empty() {
        // Waiting for a killed process blocks the thread; what survives even that is named by the count below.
        let _ = tokio::task::spawn_blocking(move || strays::end(&ids)).await;
    }
    left.into_iter().map(|member| member.command.join(" ")).collect()
}

/// A run that went well is a failure all the same when the server did not stop well.
fn outcome(measured: Outcome, stopped: &Stopped) -> Outcome {
    let what = match (measured, stopped.status) {
        (Outcome::Completed, Some(status)) if status.success() => return Outcome::Completed,
        (Outcome::Completed, Some(status)) => format!("the server stopped with {status}"),
        (Outcome::Completed, None) => "the server did not stop when it was told to, and was killed".to_owned(),
        (other, _) => return other,
    };
    Outcome::Failed { what: format!("{what}\n{}", stopped.stderr).trim_end().to_owned() }
}

fn proof(stats: Option<&Stats>, counts: &Counts, checkpoints: u64) -> Proof {
    Proof {
        restarts: stats.map_or(0, |stats| stats.pool.restarts.total()),
        turns: stats.map_or(0, |stats| stats.pool.turns),
        requests: counts.requests,
        errors: counts.errors,
        cancelled: counts.cancelled,
        lost: counts.lost,
        mixed_up: counts.mixed_up,
        checkpoints,
        bytes_replayed: counts.bytes,
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory stays far below 2^53 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
