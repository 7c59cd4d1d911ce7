//! A server that is not ours as a target: everything about it is seen from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::assignment::ExternalAssignment;
use super::cli_check::OwnCli;
use super::server::Server;
use super::settings::{Restart, Settings};
use super::settle::settle;
use super::sigkill;
use super::watch::Watch;
use crate::load::{Counts, Load};
use crate::orphans;
use crate::probe::{files, listener};
use crate::scenario::schedule::Schedule;
use crate::target::{Ended, Limits, Rest, Sample, Target, TargetError};
use leakgate_judge::sample::{GrowthUnit, Outcome};

/// Samples of memory in a run, about.
const TRACE_POINTS: u64 = 120;
/// Readings of a checkpoint. The server may start its next CLI only with the next request, so that one process more is no
/// growth but the moment; what leaks is in all of them.
const READINGS: u32 = 5;

/// A server that is not ours while it runs.
pub(super) struct ExternalTarget {
    pub(super) assignment: ExternalAssignment,
    pub(super) server: Server,
    /// The process that answers: it may be another one than was started.
    pub(super) answers: u32,
    pub(super) watch: Watch,
    /// Requests beside the load: the first of each form.
    pub(super) asked: u64,
    pub(super) per: GrowthUnit,
    pub(super) turns_per_step: f64,
    /// Batches until the kind of the server is known.
    pub(super) learning: u32,
    /// Forms of requests that the server refuses.
    pub(super) left_out: Vec<String>,
}

impl Target for ExternalTarget {
    type Assignment = ExternalAssignment;

    async fn start(assignment: &ExternalAssignment) -> Result<Self, TargetError> {
        let (server, watch) = Server::start(&assignment.settings, &assignment.mock).await?;
        Ok(Self {
            assignment: assignment.clone(),
            answers: server.pid(),
            server,
            watch,
            asked: 0,
            per: GrowthUnit::Restart,
            turns_per_step: 1.0,
            learning: 0,
            left_out: Vec::new(),
        })
    }

    async fn prove_identity(&mut self) -> Result<(), Outcome> {
        // A launcher (a shell, npm, uv) may have started the process that listens.
        let tree = self.watch.read_tree();
        self.answers = listener::listening_process(&tree, self.settings().url.address).unwrap_or(self.answers);
        self.watch.probe.set_server(self.answers);
        self.prove_mock().await
    }

    fn open_load(&self) -> Load {
        self.assignment.load(self.assignment.shape())
    }

    async fn begin_counting(&mut self, load: &mut Load) -> Result<(), Outcome> {
        self.send_first_requests(load).await?;
        self.watch.begin();
        Ok(())
    }

    fn plan_checkpoints(&mut self, counts: &Counts, is_cut_short: bool) -> Result<Option<Schedule>, Outcome> {
        if !self.is_detected(counts, is_cut_short)? {
            return Ok(None);
        }
        let goal = if self.per == GrowthUnit::Turn { self.settings().turns } else { self.settings().restarts };
        Ok(Some(Schedule::exact(self.count_steps(self.restart_count(), counts.requests), goal)))
    }

    fn batch_size(&self, missing: u64, schedule: &Schedule) -> u64 {
        let step = (schedule.end() / TRACE_POINTS).max(1);
        times(step.min(missing), self.turns_per_step).next_multiple_of(self.settings().load.concurrency)
    }

    fn limits(&self) -> Option<Limits> {
        let settings = self.settings();
        Some(Limits { time: settings.longest, tree_rss: settings.tree_rss_mb.map(|mb| mb * 1_000_000) })
    }

    async fn run_load(&mut self, load: &mut Load, requests: u64) -> Result<(), Outcome> {
        if let Err(own) = self.watch.watch_during(load.run_batch(requests)).await {
            return Err(self.own_cli(&own, load));
        }
        if let Some(what) = self.server.describe_exit() {
            return Err(self.failure(what));
        }
        // A signal has to reach the process that answers, not its launcher.
        let (restarts, answers) = (self.watch.restart_count(), self.answers);
        let restarted = self.watch.watch_during(self.server.restart(answers)).await;
        if let Err(problem) = restarted.map_err(|own| self.own_cli(&own, load))? {
            return Err(self.failure(format!("it could not be told to restart its CLI: {problem}")));
        }
        if !matches!(self.settings().restart, Restart::Turns(_)) && self.watch.restart_count() == restarts {
            // A server may restart after its answer, or only with the next request.
            let pause = sleep(Duration::from_millis(100));
            self.watch.watch_during(pause).await.map_err(|own| self.own_cli(&own, load))?;
        }
        Ok(())
    }

    async fn take_sample(&mut self, counts: &Counts) -> Result<Sample, Outcome> {
        let point = self.watch.read_memory(counts.requests);
        Ok(Sample { point, invokers: self.watch.read_tree().cli.len() as u64 })
    }

    fn readings(&self) -> (u32, u64) {
        (READINGS, self.settings().load.concurrency)
    }

    async fn read_at_rest(&mut self) -> Result<Rest, Outcome> {
        let restarts = self.watch.restart_count();
        let values = settle(&self.server, &mut self.watch).await.map_err(|moving| Outcome::NotSettled { moving })?;
        let tree = self.watch.read_tree();
        // The tasks in it could only be told by the server itself.
        Ok(Rest { restarts, values, details: self.watch.probe.read_details(&tree, BTreeMap::new()) })
    }

    fn count_steps(&self, restarts: u64, requests: u64) -> u64 {
        self.per.steps(restarts, requests)
    }

    fn restart_count(&self) -> u64 {
        self.watch.restart_count()
    }

    fn describe_stall(&mut self, counts: &Counts) -> Outcome {
        let steps = self.count_steps(self.restart_count(), counts.requests);
        let seen = self.nothing_seen(counts.requests);
        self.failure(format!("it stopped restarting at {steps} restarts: {seen}"))
    }

    async fn stop_and_inspect(mut self, _counts: &Counts, is_complete: bool) -> Ended {
        let mut ended = Ended {
            restarts: if self.per == GrowthUnit::Turn { 0 } else { self.watch.restart_count() },
            per: Some(self.per),
            bounds: self.watch.bounds,
            notes: self.server.withheld().into_iter().collect(),
            unmeasured: self.left_out,
            ..Ended::default()
        };
        let Some(stopped) = self.server.stop().await else { return ended };
        ended.orphans = Some(orphans::clear_tree(&mut self.watch.probe).await);
        ended.left = Some(files::list_below(stopped.folder.path()));
        if !stopped.in_time {
            let seconds = self.assignment.settings.stop_deadline.as_secs();
            let what = format!("it did not end within {seconds} s after SIGTERM, and was killed\n{}", stopped.output);
            ended.failure = Some(what.trim_end().to_owned());
        } else if is_complete {
            sigkill::check(&self.assignment, &mut ended).await;
        }
        ended
    }
}

impl ExternalTarget {
    pub(super) fn settings(&self) -> &Settings {
        &self.assignment.settings
    }

    pub(super) fn nothing_seen(&mut self, turns: u64) -> String {
        let tree = self.watch.read_tree();
        let commands = tree.members.iter().map(|member| member.command.join(" ").chars().take(60).collect::<String>());
        let names = self.settings().cli.join(", ");
        let commands = commands.take(10).collect::<Vec<_>>().join("; ");
        format!(
            "after {turns} requests there is no new CLI process. A CLI process is one whose program is called {names} \
             (--cli-match changes that); the server's processes are: {commands}"
        )
    }

    pub(super) fn failure(&self, what: String) -> Outcome {
        let output = self.server.last_output();
        let output = output.trim_end();
        let output = if output.is_empty() { String::new() } else { format!("\nthe end of what it output:\n{output}") };
        Outcome::Failed { what: what + &output }
    }

    /// Which variables did not reach it, as the end of a sentence.
    pub(super) fn withheld(&self) -> String {
        self.server.withheld_note()
    }

    /// The end of the run, for a CLI of the server's own.
    pub(super) fn own_cli(&self, own: &OwnCli, load: &Load) -> Outcome {
        self.failure(own.message(self.asked + load.requests_sent()))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
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
