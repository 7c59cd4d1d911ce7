//! A server that is being driven: batches of requests, readings, checkpoints, the stop, and what is left.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sysinfo::System;

use super::assignment::Assignment;
use super::checkpoint::{READINGS, Values, lowest, settle};
use super::server::Server;
use super::settings::{Restart, Settings};
use super::watch::Watch;
use crate::event::{Event, Listener, Live};
use crate::load::Load;
use crate::orphans;
use crate::probe::details::{Details, History};
use crate::probe::files;
use crate::target::TargetError;
use leakgate_judge::sample::{Checkpoint, Outcome, Per, Proof, Signal, TargetRun, TracePoint};

/// Less memory than this share of the system's, and the run ends before the system suffers.
const MEMORY_LEFT: f64 = 0.1;
/// How many things of a kind are noted.
const NOTED: usize = 5;

/// A server that is being driven, and what was read of it so far.
pub(super) struct Driver<'a> {
    pub(super) assignment: &'a Assignment,
    listener: &'a dyn Listener,
    server: Server<'a>,
    pub(super) answers: u32,
    pub(super) watch: Watch,
    pub(super) load: Load,
    /// Requests beside the load: the first of each form.
    pub(super) asked: u64,
    pub(super) start: Instant,
    pub(super) per: Per,
    pub(super) turns_per_step: f64,
    pub(super) cut_short: Option<String>,
    pub(super) left_out: Vec<String>,
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) trace: Vec<TracePoint>,
    history: History,
    system: System,
}

impl<'a> Driver<'a> {
    pub(super) async fn start(assignment: &'a Assignment, listener: &'a dyn Listener) -> Result<Self, TargetError> {
        let (server, watch) = Server::start(&assignment.settings, &assignment.mock).await?;
        Ok(Self {
            assignment,
            listener,
            answers: server.pid(),
            server,
            watch,
            load: assignment.load(assignment.shape()),
            asked: 0,
            start: Instant::now(),
            per: Per::Restart,
            turns_per_step: 1.0,
            cut_short: None,
            left_out: Vec::new(),
            checkpoints: Vec::new(),
            trace: Vec::new(),
            history: History::default(),
            system: System::new().map_err(|error| TargetError::Probe { what: error.to_string() })?,
        })
    }

    pub(super) fn settings(&self) -> &'a Settings {
        &self.assignment.settings
    }

    pub(super) fn nothing_seen(&mut self, turns: u64) -> String {
        let tree = self.watch.look();
        let commands = tree.members.iter().map(|member| member.command.join(" ").chars().take(60).collect::<String>());
        let names = self.settings().cli.join(", ");
        let commands = commands.take(10).collect::<Vec<_>>().join("; ");
        format!(
            "after {turns} requests there is no new CLI process. A CLI process is one whose program is called {names} \
             (--cli-match changes that); the server's processes are: {commands}"
        )
    }

    pub(super) fn failed(&self, what: String) -> Outcome {
        let said = self.server.said();
        let said = said.trim_end();
        let said = if said.is_empty() { String::new() } else { format!("\nthe end of what it said:\n{said}") };
        Outcome::Failed { what: what + &said }
    }

    /// Which variables did not reach it, as the end of a sentence.
    pub(super) fn withheld(&self) -> String {
        self.server.withheld_note()
    }

    pub(super) fn progress(&self) -> u64 {
        self.per.steps(self.watch.restarts(), self.load.counts().requests)
    }

    /// Requests, then a restart where one has to be asked for, then a reading of the memory.
    pub(super) async fn batch(&mut self, requests: u64) -> Result<(), Outcome> {
        if let Err(own) = self.watch.during(self.load.batch(requests)).await {
            return Err(self.own_cli(&own));
        }
        if let Some(what) = self.server.ended() {
            return Err(self.failed(what));
        }
        let (restarts, answers) = (self.watch.restarts(), self.answers);
        let restarted = self.watch.during(self.server.restart(answers)).await;
        if let Err(problem) = restarted.map_err(|own| self.own_cli(&own))? {
            return Err(self.failed(format!("it could not be told to restart its CLI: {problem}")));
        }
        if !matches!(self.settings().restart, Restart::Turns(_)) && self.watch.restarts() == restarts {
            // A server may restart after its answer, or only with the next request.
            let pause = tokio::time::sleep(Duration::from_millis(100));
            self.watch.during(pause).await.map_err(|own| self.own_cli(&own))?;
        }
        let point = self.watch.memory(self.load.counts().requests);
        self.trace.push(point);
        let live = Live {
            restarts: self.progress(),
            invokers: self.watch.look().cli.len() as u64,
            server_rss: point.server_rss,
            tree_rss: point.tree_rss,
        };
        self.listener.event(Event::Moved { subject: self.assignment.subject(), live });
        self.limit(point.tree_rss);
        Ok(())
    }

    /// A run ends before its time when it takes too long, or before the machine has no memory left.
    fn limit(&mut self, tree_rss: u64) {
        if self.cut_short.is_some() {
            return;
        }
        self.system.refresh_memory();
        let (free, all) = (self.system.available_memory(), self.system.total_memory());
        let cap = self.settings().tree_rss_mb.map(|mb| mb * 1_000_000);
        let reason = if self.start.elapsed() > self.settings().longest {
            "its time was over (limits.minutes)"
        } else if ratio(free, all) < MEMORY_LEFT {
            "the machine has less than a tenth of its memory left"
        } else if cap.is_some_and(|cap| tree_rss > cap) {
            "its tree is over limits.tree-rss-mb"
        } else {
            return;
        };
        self.cut_short = Some(format!("the run was cut short, for {reason}"));
    }

    /// A reading of every count, and of what the counted things are, both the lowest of several.
    pub(super) async fn checkpoint(&mut self) -> Result<(), Outcome> {
        let (restarts, requests) = (self.watch.restarts(), self.load.counts().requests);
        let mut low = self.reading().await?;
        for _ in 1..READINGS {
            self.batch(self.settings().load.concurrency).await?;
            let (values, details) = self.reading().await?;
            low = (lowest(low.0, &values), low.1.lowest(&details));
        }
        let (values, details) = low;
        self.checkpoints.push(Checkpoint { restarts, requests, values });
        self.history.add(self.per.steps(restarts, requests), details);
        Ok(())
    }

    async fn reading(&mut self) -> Result<(Values, Details), Outcome> {
        self.load.close().await;
        let values = settle(&self.server, &mut self.watch).await.map_err(|moving| Outcome::NotSettled { moving })?;
        let tree = self.watch.look();
        // What tasks it has, only the server itself could tell.
        Ok((values, self.watch.probe.details(&tree, BTreeMap::new())))
    }

    pub(super) async fn finish(mut self, run: &mut TargetRun) {
        self.load.close().await;
        let counts = self.load.counts().clone();
        if let Some(outside) = &mut run.plan.outside {
            outside.per = self.per;
            outside.unmeasured.append(&mut self.left_out);
            outside.unmeasured.extend(self.cut_short.take());
        }
        run.notes.extend(counts.notes.iter().cloned());
        run.totals = BTreeMap::from([(Signal::Lost, counts.lost), (Signal::MixedUp, counts.mixed_up)]);
        let restarts = if self.per == Per::Turn { 0 } else { self.watch.restarts() };
        run.proof = Proof { restarts, ..counts.proof(self.checkpoints.len() as u64) };
        run.bounds = self.watch.bounds;
        run.checkpoints = self.checkpoints;
        run.trace = self.trace;
        run.grown = self.history.grown();
        run.notes.extend(self.server.withheld());
        let Some(stopped) = self.server.stop().await else { return };
        let orphans = orphans::clear(&mut self.watch.probe).await;
        let left = files::below(stopped.folder.path());
        run.totals.insert(Signal::Orphans, orphans.len() as u64);
        run.totals.insert(Signal::FilesLeft, left.len() as u64);
        run.notes.extend(orphans.iter().take(NOTED).map(|command| format!("left after the stop: process {command}")));
        run.notes.extend(left.iter().take(NOTED).map(|path| format!("left after the stop: {}", path.display())));
        if run.outcome == Outcome::Completed && !stopped.in_time {
            let seconds = self.assignment.settings.stop_deadline.as_secs();
            let what = format!("it did not end within {seconds} s after SIGTERM, and was killed\n{}", stopped.said);
            run.outcome = Outcome::Failed { what: what.trim_end().to_owned() };
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes stay far below 2^53")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
