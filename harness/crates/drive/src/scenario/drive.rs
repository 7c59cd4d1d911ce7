//! Drives one target through one scenario and measures it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpListener;

use super::Scenario;
use super::driver::Driver;
use super::ending::{self, Ended};
use super::schedule::Schedule;
use crate::event::{Event, Listener, Subject};
use crate::load::Shape;
use crate::load::script::Script;
use crate::real_cli;
use crate::target::Launch;
use leakgate_judge::sample::{Bounds, Outcome, Plan, Proof, Signal, TargetRun};
use leakgate_mock::fake_api::answer::Maker;
use leakgate_mock::fake_api::{self, FakeApi, Source};

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
    /// The stand-in for the API, where the CLI is a real one: the texts that it answers.
    pub api: Option<Vec<Vec<String>>>,
    /// When it is read.
    pub schedule: Schedule,
    /// What is sent to it.
    pub script: Arc<Script>,
    /// The seed of the load.
    pub seed: u64,
    /// The same, where the run has several, so that reports have to tell them apart.
    pub own_seed: Option<u64>,
    /// How often the scenario's restarts were doubled.
    pub doubled: u64,
    /// It has a leak planted, or is the clean control.
    pub control: bool,
}

/// Drives the target to the end, or as far as it goes, and stops it. It leaves no process behind, unless it is dropped
/// before its end.
pub async fn drive(assignment: &Assignment, listener: &dyn Listener) -> TargetRun {
    let start = Instant::now();
    listener.event(Event::Began { subject: assignment.subject() });
    let mut run = assignment.empty_run();
    match assignment.with_api().await {
        Ok((assignment, api)) => {
            measure(&assignment, listener, &mut run).await;
            run.notes.extend(api.iter().flat_map(FakeApi::unknown).map(|what| format!("the CLI asked for {what}")));
        }
        Err(error) => run.outcome = Outcome::Failed { what: format!("cannot serve the stand-in for the API: {error}") },
    }
    run.seconds = start.elapsed().as_secs_f64();
    let ended = Event::Ended { subject: assignment.subject(), outcome: &run.outcome, seconds: run.seconds };
    listener.event(ended);
    run
}

async fn measure(assignment: &Assignment, listener: &dyn Listener, run: &mut TargetRun) {
    match Driver::start(assignment, listener).await {
        Ok(mut driver) => {
            run.outcome = driver.measure().await;
            driver.finish(run).await;
        }
        Err(error) => run.outcome = Outcome::Failed { what: error.to_string() },
    }
}

impl Assignment {
    /// The assignment with the address of the API that its CLI asks; none for the mock, which asks nobody.
    pub(super) async fn with_api(&self) -> std::io::Result<(Self, Option<FakeApi>)> {
        let mut told = self.clone();
        let Some(replies) = &self.api else { return Ok((told, None)) };
        let maker = Maker::new(fake_api::scenario::Scenario::default(), replies.clone(), true, self.scenario.api_delay);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let api = FakeApi::start(listener, Source::Made(maker), 1, |_| {})?;
        told.launch.env.extend(real_cli::variables(&api.url()));
        Ok((told, Some(api)))
    }

    /// What the events name it.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject { name: self.scenario.name, target: self.target, control: self.control, goal: self.schedule.end() }
    }

    /// What is stored of a run that has measured nothing.
    #[must_use]
    pub fn empty_run(&self) -> TargetRun {
        TargetRun { seed: self.own_seed, ..TargetRun::new(self.scenario.name, self.target, self.plan()) }
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
            memory_noise_mb: scenario.memory_noise_mb,
            doubled: self.doubled,
            errors_allowed: scenario.errors_allowed,
            exceptions: scenario.exceptions.clone(),
            outside: None,
        }
    }

    pub(super) fn shape(&self) -> Shape {
        Shape {
            connections: self.scenario.connections,
            mix: self.scenario.mix,
            filler: self.scenario.filler,
            json: 0.0,
            streamed: self.scenario.streamed,
            leaving: self.scenario.leaving,
            deadline: self.scenario.deadline,
            seed: self.seed,
        }
    }
}

impl Driver<'_> {
    /// A scenario whose faults did not come proves nothing.
    fn exercised(&self) -> Outcome {
        let scenario = &self.assignment.scenario;
        let counts = self.load.counts();
        let restarts = self.latest.as_ref().map(|stats| stats.pool.restarts).unwrap_or_default();
        // Half of what is drawn by chance is far below what chance does.
        let leavers = share(counts.requests, scenario.streamed * scenario.leaving / 2.0);
        let crashes = share(restarts.total(), scenario.recovering);
        let repeats = share(counts.complete, scenario.mix.wrong / 2.0);
        let turns = self.latest.as_ref().map_or(0, |stats| stats.pool.turns);
        let missing = if restarts.recoveries() < crashes {
            format!("{} of {} restarts were recoveries", restarts.recoveries(), restarts.total())
        } else if counts.cancelled < leavers {
            format!("{} of {} clients left", counts.cancelled, counts.requests)
        } else if turns < counts.complete + repeats {
            format!("{turns} turns were needed for {} replies, of which many were wrong at first", counts.complete)
        } else {
            return Outcome::Completed;
        };
        Outcome::Failed { what: format!("the scenario's faults did not come: only {missing}") }
    }

    /// Stops the target, counts and ends what it left, and writes everything into `run`.
    async fn finish(mut self, run: &mut TargetRun) {
        self.load.close().await;
        if let Ok(stats) = self.target.stats().await {
            self.latest = Some(stats);
        }
        if run.outcome == Outcome::Completed {
            run.outcome = self.exercised();
        }
        let Ended { orphans, by_kill, left, failure } =
            ending::end(self.target, &mut self.probe, self.assignment, self.kept_at_home).await;
        let counts = self.load.counts();
        run.notes.extend(counts.notes.iter().cloned());
        run.grown = self.history.grown();
        run.notes.extend(orphans.iter().take(NOTED).map(|command| format!("left after the stop: process {command}")));
        run.notes
            .extend(by_kill.iter().flatten().take(NOTED).map(|command| format!("left by the kill: process {command}")));
        run.notes.extend(left.iter().take(NOTED).map(|path| format!("left after the stop: {}", path.display())));
        if let (Outcome::Completed, Some(what)) = (&run.outcome, failure) {
            run.outcome = Outcome::Failed { what };
        }
        run.totals = BTreeMap::from([
            (Signal::Orphans, orphans.len() as u64),
            (Signal::FilesLeft, left.len() as u64),
            (Signal::Lost, counts.lost),
            (Signal::MixedUp, counts.mixed_up),
        ]);
        run.totals.extend(by_kill.map(|left| (Signal::LeftByKill, left.len() as u64)));
        let high_water = self.latest.as_ref().map_or(0, |stats| stats.pool.high_water);
        run.latency = self.latencies.summary();
        run.bounds = Bounds { live_invokers_max: high_water, ..self.bounds };
        let pool = self.latest.as_ref().map(|stats| &stats.pool);
        run.proof = Proof {
            restarts: pool.map_or(0, |pool| pool.restarts.total()),
            turns: pool.map_or(0, |pool| pool.turns),
            ..counts.proof(self.checkpoints.len() as u64)
        };
        run.checkpoints = self.checkpoints;
        run.trace = self.trace;
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count is a count again, and both stay far below 2^53"
)]
fn share(count: u64, share: f64) -> u64 {
    (count as f64 * share) as u64
}
