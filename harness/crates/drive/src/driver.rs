//! The one driver of every [`Target`]: load up to each checkpoint, samples between batches, the stop, and the leftovers.

use std::collections::BTreeMap;
use std::time::Instant;

use sysinfo::System;

use crate::assignment::Assignment;
use crate::event::{Event, Listener, Live};
use crate::load::Load;
use crate::probe::details::DetailHistory;
use crate::scenario::schedule::Schedule;
use crate::target::{Ended, Rest, Target};
use leakgate_judge::sample::{Checkpoint, Metric, Outcome, Proof, TargetRun, TracePoint};

/// Batches without any progress, each of which was sized to make some: the server does not restart any more.
const MAX_IDLE_BATCHES: u32 = 20;
/// With less than this share of the system's memory left the run ends, before the system suffers.
const MIN_FREE_MEMORY: f64 = 0.1;
/// How many things of each kind the notes name.
const MAX_NAMED: usize = 5;

/// Drives the target to the end, or as far as it goes, and stops it. Of what leakgate started nothing is left, unless this
/// is dropped before its end.
pub(crate) async fn drive<T: Target>(assignment: &T::Assignment, listener: &dyn Listener) -> TargetRun {
    let start = Instant::now();
    listener.event(Event::Began { subject: assignment.subject() });
    let mut run = assignment.empty_run();
    match T::start(assignment).await {
        Ok(target) => {
            let mut driver = Driver::new(target, assignment, listener);
            run.outcome = driver.measure_target().await.err().unwrap_or(Outcome::Completed);
            let is_complete = run.outcome == Outcome::Completed;
            driver.stop_and_store(&mut run, is_complete).await;
        }
        Err(error) => run.outcome = error.into_outcome(),
    }
    report_end(assignment, listener, start, &mut run);
    run
}

/// Starts the target, proves that it is what it should be, and stops it, without any load. The result is what is stored when
/// the proof fails.
pub(crate) async fn check_start<T: Target>(assignment: &T::Assignment, listener: &dyn Listener) -> Option<TargetRun> {
    let start = Instant::now();
    let mut run = assignment.empty_run();
    match T::start(assignment).await {
        Ok(target) => {
            let mut driver = Driver::new(target, assignment, listener);
            let proved = driver.target.prove_identity().await;
            // Nothing was measured: a second life to be killed would send requests that were never meant.
            driver.stop_and_store(&mut run, false).await;
            run.outcome = proved.err()?;
        }
        Err(error) => run.outcome = error.into_outcome(),
    }
    report_end(assignment, listener, start, &mut run);
    Some(run)
}

fn report_end(assignment: &impl Assignment, listener: &dyn Listener, start: Instant, run: &mut TargetRun) {
    run.seconds = start.elapsed().as_secs_f64();
    listener.event(Event::Ended { subject: assignment.subject(), outcome: &run.outcome, seconds: run.seconds });
}

/// A target that is being driven, and what was read of it so far.
pub(crate) struct Driver<'a, T> {
    pub(crate) target: T,
    pub(crate) load: Load,
    assignment: &'a dyn Assignment,
    listener: &'a dyn Listener,
    checkpoints: Vec<Checkpoint>,
    trace: Vec<TracePoint>,
    history: DetailHistory,
    start: Instant,
    cut_short: Option<String>,
}

impl<'a, T: Target> Driver<'a, T> {
    /// A driver of a target that has been started.
    pub(crate) fn new(target: T, assignment: &'a dyn Assignment, listener: &'a dyn Listener) -> Self {
        Self {
            load: target.open_load(),
            target,
            assignment,
            listener,
            checkpoints: Vec::new(),
            trace: Vec::new(),
            history: DetailHistory::default(),
            start: Instant::now(),
            cut_short: None,
        }
    }

    /// Load and checkpoints until the last one, or until something fails.
    async fn measure_target(&mut self) -> Result<(), Outcome> {
        self.target.prove_identity().await?;
        self.target.begin_counting(&mut self.load).await?;
        let mut schedule = self.until_planned().await?;
        while let Some(goal) = schedule.next() {
            self.load_until(goal, &schedule).await?;
            self.take_checkpoint().await?;
            schedule.advance(self.steps_so_far());
            // Without a second checkpoint nothing could be compared.
            if self.cut_short.is_some() && self.checkpoints.len() > 1 {
                break;
            }
        }
        Ok(())
    }

    /// Load until the target knows when to take checkpoints.
    async fn until_planned(&mut self) -> Result<Schedule, Outcome> {
        loop {
            if let Some(schedule) = self.target.plan_checkpoints(self.load.counts(), self.cut_short.is_some())? {
                return Ok(schedule);
            }
            let (_, requests) = self.target.readings();
            self.run_batch(2 * requests).await?;
        }
    }

    /// Load until the target has made `goal` steps, and before the last checkpoint until enough was asked.
    pub(crate) async fn load_until(&mut self, goal: u64, schedule: &Schedule) -> Result<(), Outcome> {
        let mut idle = 0;
        loop {
            let before = self.steps_so_far();
            let is_enough = !schedule.is_last() || self.load.counts().requests >= self.target.min_requests();
            if self.cut_short.is_some() || (before >= goal && is_enough) {
                return Ok(());
            }
            self.run_batch(self.target.batch_size(goal.saturating_sub(before), schedule)).await?;
            // A single batch without a step is normal for a server that restarts by time or late.
            idle = if self.steps_so_far() == before { idle + 1 } else { 0 };
            if idle == MAX_IDLE_BATCHES {
                return Err(self.target.describe_stall(self.load.counts()));
            }
        }
    }

    fn steps_so_far(&self) -> u64 {
        self.target.count_steps(self.target.restart_count(), self.load.counts().requests)
    }

    /// Requests, then a sample.
    async fn run_batch(&mut self, requests: u64) -> Result<(), Outcome> {
        self.target.run_load(&mut self.load, requests).await?;
        let sample = self.target.take_sample(self.load.counts()).await?;
        let point = sample.point;
        let live = Live {
            restarts: self.steps_so_far(),
            invokers: sample.invokers,
            server_rss: point.server_rss,
            tree_rss: point.tree_rss,
        };
        self.listener.event(Event::Moved { subject: self.assignment.subject(), live });
        self.check_limits(point.tree_rss);
        self.trace.push(point);
        Ok(())
    }

    /// A run ends before its time when it takes too long, or before the machine has no memory left.
    fn check_limits(&mut self, tree_rss: u64) {
        let Some(limits) = self.target.limits().filter(|_| self.cut_short.is_none()) else { return };
        let reason = if self.start.elapsed() > limits.time {
            "its time was over (limits.minutes)"
        } else if free_memory().is_some_and(|share| share < MIN_FREE_MEMORY) {
            "the machine has less than a tenth of its memory left"
        } else if limits.tree_rss.is_some_and(|most| tree_rss > most) {
            "its tree is over limits.tree-rss-mb"
        } else {
            return;
        };
        self.cut_short = Some(format!("the run was cut short, for {reason}"));
    }

    /// Waits until nothing moves, without load, and reads every count.
    pub(crate) async fn read_at_rest(&mut self) -> Result<Rest, Outcome> {
        // Idle keep-alive connections of the clients are descriptors of the server.
        self.load.close().await;
        self.target.read_at_rest().await
    }

    /// A reading of every count, and of what the counted things are: the lowest of several where the moment counts.
    async fn take_checkpoint(&mut self) -> Result<(), Outcome> {
        let requests = self.load.counts().requests;
        let mut low = self.read_at_rest().await?;
        // Each count by itself: two counts may be low at different moments.
        let (readings, between) = self.target.readings();
        for _ in 1..readings {
            self.run_batch(between).await?;
            low = low.min_counts(&self.read_at_rest().await?);
        }
        let Rest { restarts, values, details } = low;
        self.checkpoints.push(Checkpoint { restarts, requests, values });
        self.history.add(self.target.count_steps(restarts, requests), details);
        Ok(())
    }

    /// Stops the target, and writes everything that was read of it, and what it left, into `run`.
    async fn stop_and_store(mut self, run: &mut TargetRun, is_complete: bool) {
        self.load.close().await;
        let counts = self.load.counts();
        let ended = self.target.stop_and_inspect(counts, is_complete).await;
        run.notes.extend(counts.notes.iter().cloned());
        run.totals = BTreeMap::from([(Metric::Lost, counts.lost), (Metric::MixedUp, counts.mixed_up)]);
        let proof = counts.proof(self.checkpoints.len() as u64);
        run.proof = Proof { restarts: ended.restarts, turns: ended.turns.unwrap_or(proof.turns), ..proof };
        run.checkpoints = self.checkpoints;
        run.trace = self.trace;
        run.grown = self.history.grown_things();
        note_end(ended, self.cut_short, run);
    }
}

/// Writes into `run` what a stopped target left and told.
fn note_end(ended: Ended, cut_short: Option<String>, run: &mut TargetRun) {
    if let Some(outside) = &mut run.plan.outside {
        outside.per = ended.per.unwrap_or(outside.per);
        outside.unmeasured.extend(ended.unmeasured.into_iter().chain(cut_short));
    }
    run.bounds = ended.bounds;
    run.latency = ended.latency;
    run.notes.extend(ended.notes);
    let processes = [("the stop", Metric::Orphans, ended.orphans), ("SIGKILL", Metric::LeftByKill, ended.by_kill)];
    for (end, metric, commands) in processes {
        let Some(commands) = commands else { continue };
        run.totals.insert(metric, commands.len() as u64);
        run.notes.extend(commands.iter().take(MAX_NAMED).map(|command| format!("left after {end}: process {command}")));
    }
    if let Some(left) = ended.left {
        run.totals.insert(Metric::FilesLeft, left.len() as u64);
        run.notes.extend(left.iter().take(MAX_NAMED).map(|path| format!("left after the stop: {}", path.display())));
    }
    if let (Outcome::Completed, Some(what)) = (&run.outcome, ended.failure) {
        run.outcome = Outcome::Failed { what };
    }
}

/// The share of the system's memory that is available.
#[expect(clippy::cast_precision_loss, reason = "bytes of memory stay far below 2^53")]
fn free_memory() -> Option<f64> {
    // Without the process list: only the totals are read.
    let mut system = System::new().ok()?;
    system.refresh_memory();
    Some(system.available_memory() as f64 / system.total_memory().max(1) as f64)
}
