//! One `leakgate run`: the controls, then each scenario on each target.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::control::Control;
use crate::environment;
use crate::event::{Event, Listener};
use crate::fake_api::tape::Tape;
use crate::load::script::{NothingToReplay, Script};
use crate::recording::{self, RecordingError};
use crate::sample::{self, FORMAT, Outcome, Run, TargetRun};
use crate::scenario::Scenario;
use crate::scenario::drive::{Assignment, drive};
use crate::scenario::schedule::Schedule;
use crate::siblings::Siblings;
use crate::target::Launch;
use crate::verdict::{Finding, target};

/// Controls that run at the same time. Exact counts do not mind company, and most of a control's time is waiting.
const CONTROLS_AT_ONCE: usize = 2;

/// What is to be measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The scenarios, in order.
    pub scenarios: Vec<Scenario>,
    /// Whether the controls run first.
    pub controls: bool,
    /// A leak that is planted in the scenarios.
    pub plant: Option<Control>,
    /// Seed of the loads and of the mock's faults.
    pub seed: u64,
    /// The programs.
    pub siblings: Siblings,
    /// The CLI to run, where it is not the mock beside leakgate.
    pub cli: Option<Cli>,
    /// The only target of the scenarios; both without it.
    pub target: Option<Kind>,
}

/// A CLI that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cli {
    /// A mock: it takes the mock's flags.
    Mock(PathBuf),
    /// A real one, of this version: it asks the stand-in for the API.
    Real(PathBuf, String),
}

/// A build of our wrapper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// On the system's allocator: memory as the system sees it.
    Sut,
    /// Under dhat: the exact heap.
    SutHeap,
}

/// Why nothing can be measured.
#[derive(Debug, Error)]
pub enum RunError {
    /// A recording cannot be read.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// A scenario's faults are the mock's.
    #[error("the scenario {0} lets the mock CLI fail on purpose, which a real CLI does not; leave out --cli")]
    NeedsMock(&'static str),
    /// A recording holds nothing to replay.
    #[error(transparent)]
    Nothing(#[from] NothingToReplay),
}

/// Everything that a request amounts to.
#[derive(Debug)]
pub struct Program {
    controls: Vec<(Control, Assignment)>,
    targets: Vec<Assignment>,
    versions: BTreeSet<String>,
    seed: u64,
    planted: bool,
}

impl Request {
    /// Reads the recordings and lays out the run.
    pub fn plan(&self) -> Result<Program, RunError> {
        let mut program = Program {
            controls: Vec::new(),
            targets: Vec::new(),
            versions: BTreeSet::new(),
            seed: self.seed,
            planted: self.plant.is_some(),
        };
        for control in Control::all().into_iter().filter(|_| self.controls) {
            let kind = if control.profiled { Kind::SutHeap } else { Kind::Sut };
            let assignment = self.assignment(control.scenario(), kind, true, &mut program.versions)?;
            program.controls.push((control, assignment));
        }
        for scenario in &self.scenarios {
            let scenario = match &self.plant {
                Some(planted) => planted.change.applied_to(scenario.clone()),
                None => scenario.clone(),
            };
            for kind in
                [Kind::Sut, Kind::SutHeap].into_iter().filter(|kind| self.target.is_none_or(|only| only == *kind))
            {
                let assignment = self.assignment(scenario.clone(), kind, false, &mut program.versions)?;
                program.targets.push(assignment);
            }
        }
        Ok(program)
    }

    fn assignment(
        &self,
        scenario: Scenario,
        kind: Kind,
        control: bool,
        versions: &mut BTreeSet<String>,
    ) -> Result<Assignment, RunError> {
        let session = recording::load(&scenario.recording)?;
        let real = match &self.cli {
            // Its controls prove what the gate can see; that needs hundreds of restarts, and the mock.
            Some(Cli::Real(..)) if !scenario.cli_flags.is_empty() && !control => {
                return Err(RunError::NeedsMock(scenario.name));
            }
            Some(Cli::Real(path, version)) if !control => Some((path, version)),
            _ => None,
        };
        versions.insert(real.map_or_else(|| session.header.cli.clone(), |(_, version)| format!("{version} (real)")));
        let (target, program) = match kind {
            Kind::Sut => ("sut", &self.siblings.sut),
            Kind::SutHeap => ("sut-heap", &self.siblings.sut_heap),
        };
        let schedule = match kind {
            Kind::Sut => Schedule::exact,
            Kind::SutHeap => Schedule::doubling,
        };
        Ok(Assignment {
            target,
            launch: Launch {
                program: program.clone(),
                args: self.server_args(&scenario, real.map(|(path, _)| path)),
                env: Vec::new(),
            },
            cli: real.map_or_else(|| self.mock(), |(path, _)| path).clone(),
            api: real.map(|_| Tape::of(&session).replies()),
            schedule: schedule(scenario.warm_up, scenario.restarts),
            script: Arc::new(Script::of(&session)?),
            seed: self.seed,
            control,
            scenario,
        })
    }

    fn mock(&self) -> &PathBuf {
        match &self.cli {
            Some(Cli::Mock(path)) => path,
            _ => &self.siblings.mock,
        }
    }

    fn server_args(&self, scenario: &Scenario, real: Option<&PathBuf>) -> Vec<OsString> {
        let mut args: Vec<OsString> = ["serve", "--listen=127.0.0.1:0"].map(OsString::from).to_vec();
        args.push("--cli".into());
        args.push(real.unwrap_or_else(|| self.mock()).into());
        args.push(format!("--slots={}", scenario.slots).into());
        args.push(format!("--max-turns={}", scenario.max_turns).into());
        args.extend(scenario.server_flags.iter().map(OsString::from));
        if real.is_some() {
            args.push("--auth=api-key".into());
            return args;
        }
        let own = [
            "--mock-echo-mark".to_owned(),
            format!("--mock-recording={}", scenario.recording),
            format!("--mock-seed={}", self.seed),
        ];
        args.extend(own.iter().chain(&scenario.cli_flags).map(|flag| format!("--cli-arg={flag}").into()));
        args
    }
}

impl Program {
    /// Measures everything. The result holds whatever could be measured; judging it is not done here, except to know
    /// whether a leak has to be shown a second time.
    pub async fn run(self, listener: Arc<dyn Listener>) -> Run {
        let environment = environment::describe(self.versions, self.seed);
        let all = self.controls.iter().map(|(_, assignment)| assignment).chain(&self.targets);
        listener.event(Event::Planned { restarts: all.map(|assignment| assignment.schedule.end()).sum() });
        let controls = controls(self.controls, &listener).await;
        let mut targets = Vec::new();
        for assignment in &self.targets {
            let run = drive(assignment, &*listener).await;
            let leaks = target::judge(&run).0.verdict == Finding::Leak;
            targets.push(run);
            if leaks && !self.planted {
                listener.event(Event::Repeated { subject: assignment.subject() });
                targets.push(drive(assignment, &*listener).await);
            }
        }
        Run { format: FORMAT, seed: self.seed, environment, controls, targets }
    }
}

/// Runs the controls, some at a time, and gives their results in the order in which they were listed. One that a
/// defect of leakgate ends is a control that failed, not one that is missing.
async fn controls(controls: Vec<(Control, Assignment)>, listener: &Arc<dyn Listener>) -> Vec<sample::Control> {
    let mut waiting = controls.into_iter().enumerate();
    let mut running = JoinSet::new();
    let mut pending = BTreeMap::new();
    let mut done = Vec::new();
    loop {
        while running.len() < CONTROLS_AT_ONCE {
            let Some((at, (control, assignment))) = waiting.next() else { break };
            let empty = assignment.empty_run();
            let listener = Arc::clone(listener);
            let task = running.spawn(async move { drive(&assignment, &*listener).await });
            pending.insert(task.id(), (at, control, empty));
        }
        let (id, result) = match running.join_next_with_id().await {
            Some(Ok((id, run))) => (id, Ok(run)),
            Some(Err(error)) => (error.id(), Err(error)),
            None => break,
        };
        if let Some((at, control, empty)) = pending.remove(&id) {
            let failed = |error| TargetRun { outcome: Outcome::Failed { what: format!("leakgate: {error}") }, ..empty };
            done.push((at, stored(control, result.unwrap_or_else(failed))));
        }
    }
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, control)| control).collect()
}

fn stored(control: Control, run: TargetRun) -> sample::Control {
    sample::Control { name: control.name.to_owned(), planted: control.planted, run }
}
