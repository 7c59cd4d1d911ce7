//! One server from its start to its end: what kind it is, load, checkpoints, the stop, and what is left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sysinfo::System;

use super::checkpoint::{READINGS, lowest, settle};
use super::server::Server;
use super::settings::{Home, Mock, Origin, Restart, Settings};
use super::watch::Watch;
use crate::event::{Event, Listener, Live, Subject};
use crate::load::endpoint::{Endpoint, Strictness};
use crate::load::script::Script;
use crate::load::want::Mix;
use crate::load::{Load, Shape};
use crate::probe::details::{Details, History};
use crate::probe::{files, listener};
use crate::sample::{Checkpoint, Outcome, Outside, Per, Plan, Proof, Signal, TargetRun, TracePoint};
use crate::scenario::schedule::Schedule;
use crate::strays;
use crate::target::TargetError;

/// What it is called in a report.
pub const NAME: &str = "outside";

/// So many requests without a restart: it restarts nothing, as far as can be seen.
const LEARNING: u64 = 200;
/// So many restarts that were asked for without one that was seen: they don't happen.
const ASKED_IN_VAIN: u32 = 5;
/// Of the turns, so many with a new CLI process each: it starts one for each request. One for every two would be half.
const ONE_EACH: f64 = 0.75;
/// Turns after which that can be told.
const TURNS_TO_TELL: u64 = 30;
/// Readings of memory in a run, about.
const TRACE_POINTS: u64 = 120;
/// Batches without progress, each expected to make some.
const IDLE_BATCHES: u32 = 20;
/// Less memory than this share of the system's, and the run ends before the system suffers.
const MEMORY_LEFT: f64 = 0.1;
/// How many things of a kind are noted.
const NOTED: usize = 5;

/// A server to be driven.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// What it is and what is asked of it.
    pub settings: Arc<Settings>,
    /// What is sent to it.
    pub script: Arc<Script>,
    /// The mock CLI.
    pub mock: PathBuf,
    /// The seed of the load.
    pub seed: u64,
    /// Its name in the report.
    pub name: String,
    /// The name of the control that it is, if it is one.
    pub control: Option<&'static str>,
}

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
                assignment.killed(&mut run).await;
            }
        }
        Err(error) => run.outcome = Outcome::Failed { what: error.to_string() },
    }
    run.seconds = start.elapsed().as_secs_f64();
    listener.event(Event::Ended { subject: assignment.subject(), outcome: &run.outcome, seconds: run.seconds });
    run
}

impl Assignment {
    /// What the events name it.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        match self.control {
            Some(name) => Subject { name, target: NAME, control: true, goal: self.goal() },
            None => Subject { name: NAME, target: &self.name, control: false, goal: self.goal() },
        }
    }

    /// Restarts that it is to reach.
    #[must_use]
    pub fn goal(&self) -> u64 {
        self.settings.warm_up + self.settings.restarts
    }

    /// What is stored of a run that has measured nothing.
    #[must_use]
    pub fn empty_run(&self) -> TargetRun {
        TargetRun::new(NAME, &self.name, self.plan())
    }

    fn plan(&self) -> Plan {
        let settings = &self.settings;
        let mut unmeasured = Vec::new();
        match &settings.origin {
            Origin::Started(started) if started.home == Home::Keep => {
                unmeasured.push("files in its HOME were not counted: it kept the caller's".to_owned());
            }
            Origin::Started(_) => {}
            Origin::Process(_) | Origin::Cgroup(_) => unmeasured.push(
                "it ran before leakgate came: files, and what would be left after its end, were not counted".to_owned(),
            ),
        }
        Plan {
            slots: 0,
            warm_up: settings.warm_up,
            restarts: settings.restarts,
            connections: settings.load.concurrency,
            max_turns: if let Restart::Turns(Some(turns)) = settings.restart { turns } else { 0 },
            server_rss_cap_mb: settings.server_rss_mb.unwrap_or(0),
            tree_rss_cap_mb: settings.tree_rss_mb.unwrap_or(0),
            memory_noise_mb: 0,
            errors_allowed: settings.errors_allowed,
            outside: Some(Outside {
                per: Per::Restart,
                cli_processes_allowed: settings.cli_processes,
                memory_floor: settings.memory_floor,
                exceptions: settings.exceptions.clone(),
                unmeasured,
            }),
        }
    }

    fn endpoint(&self) -> Endpoint {
        let Settings { url, load, .. } = &*self.settings;
        Endpoint {
            address: url.address,
            host: url.host.clone(),
            path: url.path(&load.path),
            model: load.model.clone(),
            key: load.key.clone(),
            strictness: Strictness::Marks,
        }
    }

    fn shape(&self) -> Shape {
        let load = &self.settings.load;
        Shape {
            connections: load.concurrency,
            mix: Mix::TEXT,
            filler: 0,
            json: load.json,
            streamed: load.streamed,
            leaving: 0.0,
            deadline: load.deadline,
            seed: self.seed,
        }
    }

    fn load(&self, shape: Shape) -> Load {
        Load::new(self.endpoint(), Arc::clone(&self.script), shape)
    }

    /// A second, short life, which SIGKILL ends: what is left of its tree then, nobody will ever end.
    async fn killed(&self, run: &mut TargetRun) {
        let Origin::Started(_) = self.settings.origin else { return };
        let tried = async {
            let server = Server::start(&self.settings, &self.mock).await?;
            let mut watch = Watch::new(server.probe()?, server.counter());
            let mut load = self.load(self.shape());
            watch.during(load.batch(2 * self.settings.load.concurrency)).await;
            load.close().await;
            let tree = watch.look();
            let answers = listener::of(&tree, self.settings.url.address).unwrap_or(server.pid());
            let folder = server.kill(answers).await;
            let left = strays::clear(&mut watch.probe).await;
            drop(folder);
            Ok::<_, TargetError>(left)
        };
        match tried.await {
            Ok(left) => {
                run.totals.insert(Signal::LeftByKill, left.len() as u64);
                run.notes
                    .extend(left.iter().take(NOTED).map(|command| format!("left after SIGKILL: process {command}")));
            }
            Err(error) => {
                let first = error.to_string().lines().next().unwrap_or_default().to_owned();
                note_unmeasured(
                    run,
                    format!("what SIGKILL leaves was not counted, for it did not start again: {first}"),
                );
            }
        }
    }
}

fn note_unmeasured(run: &mut TargetRun, what: String) {
    if let Some(outside) = &mut run.plan.outside {
        outside.unmeasured.push(what);
    }
}

/// A server that is being driven, and what was read of it so far.
struct Driver<'a> {
    assignment: &'a Assignment,
    listener: &'a dyn Listener,
    server: Server<'a>,
    answers: u32,
    watch: Watch,
    load: Load,
    start: Instant,
    per: Per,
    turns_per_step: f64,
    cut_short: Option<String>,
    left_out: Vec<String>,
    checkpoints: Vec<Checkpoint>,
    trace: Vec<TracePoint>,
    history: History,
    system: System,
}

impl<'a> Driver<'a> {
    async fn start(assignment: &'a Assignment, listener: &'a dyn Listener) -> Result<Self, TargetError> {
        let server = Server::start(&assignment.settings, &assignment.mock).await?;
        let watch = Watch::new(server.probe()?, server.counter());
        Ok(Self {
            assignment,
            listener,
            answers: server.pid(),
            server,
            watch,
            load: assignment.load(assignment.shape()),
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

    async fn measure(&mut self) -> Outcome {
        match self.try_measure().await {
            Ok(()) => Outcome::Completed,
            Err(outcome) => outcome,
        }
    }

    async fn try_measure(&mut self) -> Result<(), Outcome> {
        let tree = self.watch.look();
        self.answers = listener::of(&tree, self.settings().url.address).unwrap_or(self.answers);
        self.watch.probe.set_server(self.answers);
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

    fn settings(&self) -> &'a Settings {
        &self.assignment.settings
    }

    /// One request of each form. A form that the server refuses is left out of the load and named; a server that answers
    /// not even a plain request can't be driven.
    async fn first_requests(&mut self) -> Result<(), Outcome> {
        let mut shape = self.assignment.shape();
        let forms = [("plain", 0.0, 0.0), ("streamed", 1.0, 0.0), ("JSON", 0.0, 1.0)];
        for (form, streamed, json) in forms {
            let wanted = (streamed == 0.0 || shape.streamed > 0.0) && (json == 0.0 || shape.json > 0.0);
            if !wanted {
                continue;
            }
            let mut load = self.assignment.load(Shape { connections: 1, streamed, json, ..self.assignment.shape() });
            self.watch.during(load.batch(1)).await;
            load.close().await;
            if load.counts().complete == 1 {
                continue;
            }
            let problem = load.counts().notes.first().cloned().unwrap_or_default();
            match form {
                "plain" => return Err(self.failed(format!("the first request failed: {problem}"))),
                "streamed" => shape.streamed = 0.0,
                _ => shape.json = 0.0,
            }
            self.left_out.push(format!("{form} requests were left out, for the first one failed: {problem}"));
        }
        self.load.reshape(shape);
        Ok(())
    }

    /// Loads it until it is known what a step of the run is, and the warm-up is over.
    async fn learn(&mut self) -> Result<(), Outcome> {
        let Settings { load, restart, warm_up, .. } = self.settings();
        let mut asked = 0;
        let patience = match restart {
            Restart::Turns(Some(turns)) => LEARNING.max(3 * turns * load.concurrency),
            _ => LEARNING,
        };
        loop {
            self.batch(2 * load.concurrency).await?;
            asked += 1;
            let (restarts, turns) = (self.watch.restarts(), self.load.counts().requests);
            if restarts >= *warm_up && turns >= TURNS_TO_TELL {
                self.turns_per_step = ratio(turns, restarts);
                let one_each = ratio(restarts, turns) >= ONE_EACH && matches!(restart, Restart::Turns(None));
                self.per = if one_each { Per::Turn } else { Per::Restart };
                break;
            }
            match restart {
                Restart::Turns(None) if restarts == 0 && turns >= patience => {
                    self.per = Per::Turn;
                    break;
                }
                Restart::Turns(Some(_)) if restarts == 0 && turns >= patience => {
                    let seen = self.nothing_seen(turns);
                    return Err(self.failed(seen));
                }
                Restart::Http { .. } | Restart::Signal(_) if restarts == 0 && asked >= ASKED_IN_VAIN => {
                    let seen = self.nothing_seen(turns);
                    return Err(self.failed(format!("{asked} restarts were asked for, and none was seen: {seen}")));
                }
                _ => {}
            }
            if self.cut_short.is_some() {
                break;
            }
        }
        if self.per == Per::Turn {
            self.turns_per_step = 1.0;
        }
        Ok(())
    }

    fn nothing_seen(&mut self, turns: u64) -> String {
        let tree = self.watch.look();
        let commands = tree.members.iter().map(|member| member.command.join(" ").chars().take(60).collect::<String>());
        let names = self.settings().cli.join(", ");
        let commands = commands.take(10).collect::<Vec<_>>().join("; ");
        format!(
            "after {turns} requests there is no new CLI process. A CLI process is one whose program is called {names} \
             (--cli-match changes that); the server's processes are: {commands}"
        )
    }

    fn failed(&self, what: String) -> Outcome {
        let said = self.server.said();
        let said = said.trim_end();
        let said = if said.is_empty() { String::new() } else { format!("\nthe end of what it said:\n{said}") };
        Outcome::Failed { what: what + &said }
    }

    fn progress(&self) -> u64 {
        self.per.steps(self.watch.restarts(), self.load.counts().requests)
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

    /// Requests, then a restart where one has to be asked for, then a reading of the memory.
    async fn batch(&mut self, requests: u64) -> Result<(), Outcome> {
        self.watch.during(self.load.batch(requests)).await;
        if let Some(what) = self.server.ended() {
            return Err(self.failed(what));
        }
        let (restarts, answers) = (self.watch.restarts(), self.answers);
        if let Err(problem) = self.watch.during(self.server.restart(answers)).await {
            return Err(self.failed(format!("it could not be told to restart its CLI: {problem}")));
        }
        if !matches!(self.settings().restart, Restart::Turns(_)) && self.watch.restarts() == restarts {
            // A server may restart after its answer, or only with the next request.
            self.watch.during(tokio::time::sleep(Duration::from_millis(100))).await;
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

    async fn checkpoint(&mut self) -> Result<(), Outcome> {
        let (restarts, requests) = (self.watch.restarts(), self.load.counts().requests);
        let mut lowest_values = None;
        let mut lowest_details = None;
        for reading in 0..READINGS {
            if reading > 0 {
                self.batch(self.settings().load.concurrency).await?;
            }
            self.load.close().await;
            let now = settle(&self.server, &mut self.watch).await.map_err(|moving| Outcome::NotSettled { moving })?;
            lowest_values = Some(lowest_values.map_or_else(|| now.clone(), |low| lowest(low, &now)));
            let tree = self.watch.look();
            let now = self.watch.probe.details(&tree, BTreeMap::new());
            lowest_details = Some(lowest_details.map_or_else(|| now.clone(), |low: Details| low.lowest(&now)));
        }
        self.checkpoints.push(Checkpoint { restarts, requests, values: lowest_values.unwrap_or_default() });
        self.history.add(self.per.steps(restarts, requests), lowest_details.unwrap_or_default());
        Ok(())
    }

    async fn finish(mut self, run: &mut TargetRun) {
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
        let Some(stopped) = self.server.stop().await else { return };
        let orphans = strays::clear(&mut self.watch.probe).await;
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

/// Whether the mock plays the CLI, as far as leakgate knows.
#[must_use]
pub fn is_mocked(settings: &Settings) -> bool {
    matches!(&settings.origin, Origin::Started(started) if started.mock == Mock::Mock)
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes stay far below 2^53")]
fn ratio(part: u64, whole: u64) -> f64 {
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
