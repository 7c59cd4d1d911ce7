//! One server from its start to its end: what kind it is, load up to each checkpoint, the stop, and a second life.

use std::time::Instant;

use super::assignment::Assignment;
use super::driver::Driver;
use super::killed::killed;
use crate::event::{Event, Listener};
use crate::probe::listener;
use crate::scenario::schedule::Schedule;
use leakgate_judge::sample::{Outcome, Per, TargetRun};

/// Readings of memory in a run, about.
const TRACE_POINTS: u64 = 120;
/// Batches without progress, each expected to make some.
const IDLE_BATCHES: u32 = 20;

/// Drives the server to the end, or as far as it goes. Of what leakgate started nothing is left after it.
pub async fn drive(assignment: &Assignment, listener: &dyn Listener) -> TargetRun {
    let start = Instant::now();
    listener.event(Event::Began { subject: assignment.subject() });
    let mut run = assignment.empty_run();
    match Driver::start(assignment, listener).await {
        Ok(mut driver) => {
            run.outcome = driver.measure().await;
            driver.finish(&mut run).await;
            if run.outcome == Outcome::Completed {
                killed(assignment, &mut run).await;
            }
        }
        Err(error) => run.outcome = Outcome::Failed { what: error.to_string() },
    }
    run.seconds = start.elapsed().as_secs_f64();
    listener.event(Event::Ended { subject: assignment.subject(), outcome: &run.outcome, seconds: run.seconds });
    run
}

/// Proves that the server starts, and that its CLI is the mock, without any load. The result is what is stored when it does
/// not.
pub async fn check_start(assignment: &Assignment, listener: &dyn Listener) -> Option<TargetRun> {
    let start = Instant::now();
    let mut run = assignment.empty_run();
    match Driver::start(assignment, listener).await {
        Ok(mut driver) => {
            driver.find_server();
            let proved = driver.prove_mock().await;
            driver.finish(&mut run).await;
            run.outcome = proved.err()?;
        }
        Err(error) => run.outcome = Outcome::Failed { what: error.to_string() },
    }
    run.seconds = start.elapsed().as_secs_f64();
    listener.event(Event::Ended { subject: assignment.subject(), outcome: &run.outcome, seconds: run.seconds });
    Some(run)
}

impl Driver<'_> {
    /// Finds the process that answers: it may be another one than was started.
    fn find_server(&mut self) {
        let tree = self.watch.look();
        self.answers = listener::of(&tree, self.settings().url.address).unwrap_or(self.answers);
        self.watch.probe.set_server(self.answers);
    }

    async fn measure(&mut self) -> Outcome {
        match self.try_measure().await {
            Ok(()) => Outcome::Completed,
            Err(outcome) => outcome,
        }
    }

    async fn try_measure(&mut self) -> Result<(), Outcome> {
        self.find_server();
        self.prove_mock().await?;
        self.first_requests().await?;
        self.watch.begin();
        self.learn().await?;
        let mut schedule = match self.per {
            Per::Restart => Schedule::exact(self.progress(), self.settings().restarts),
            Per::Turn => Schedule::exact(self.progress(), self.settings().turns),
        };
        let step = (schedule.end() / TRACE_POINTS).max(1);
        while let Some(goal) = schedule.next() {
            self.load_until(goal, step).await?;
            self.checkpoint().await?;
            schedule.taken(self.progress());
            if self.cut_short.is_some() && self.checkpoints.len() > 1 {
                break;
            }
        }
        Ok(())
    }

    async fn load_until(&mut self, goal: u64, step: u64) -> Result<(), Outcome> {
        let mut idle = 0;
        while self.progress() < goal && self.cut_short.is_none() {
            let before = self.progress();
            let requests = times(step.min(goal - before), self.turns_per_step);
            self.batch(requests.next_multiple_of(self.settings().load.concurrency)).await?;
            idle = if self.progress() == before { idle + 1 } else { 0 };
            if idle == IDLE_BATCHES {
                let turns = self.load.counts().requests;
                let seen = self.nothing_seen(turns);
                return Err(self.failed(format!("it stopped restarting at {before} restarts: {seen}")));
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small count times a small ratio"
)]
fn times(steps: u64, ratio: f64) -> u64 {
    (steps as f64 * ratio).ceil() as u64
}
