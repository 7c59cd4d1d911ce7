//! One `leakgate run`: the controls, then each scenario on each target.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::mem::replace;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use thiserror::Error;
use tokio::task::JoinSet;

use crate::control::Control;
use crate::environment;
use crate::programs::Programs;
use leakgate_drive::assignment::Assignment;
use leakgate_drive::event::{Event, Listener};
use leakgate_drive::external;
use leakgate_drive::external::assignment::ExternalAssignment;
use leakgate_drive::external::settings::{Settings, SettingsError};
use leakgate_drive::load::script::{NothingToReplay, Script};
use leakgate_drive::own::{Launch, OwnAssignment, SUT, SUT_HEAP};
use leakgate_drive::scenario::Scenario;
use leakgate_judge::sample::{self, FORMAT, MAX_DOUBLINGS, Outcome, Run, TargetRun};
use leakgate_judge::verdict::{Finding, target};
use leakgate_mock::fake_api::tape::Tape;
use leakgate_session::recording::{self, RecordingError};

pub mod builds;
pub mod profile;

/// Controls that run at the same time. Exact counts do not mind company, and most of a control's time is waiting; from
/// outside nearly all of it.
const MAX_CONTROLS_AT_ONCE: usize = 2;
const MAX_EXTERNAL_CONTROLS_AT_ONCE: usize = 4;

/// The recording whose prompts go to a server that is not ours: the default of the mock CLI, so that its replies match.
const DEFAULT_RECORDING: &str = "ten-turns";

/// Turns between two restarts of a control that is seen from outside: more than one, or each would be a turn's own.
const EXTERNAL_CONTROL_TURNS: u64 = 2;

/// A run as the command line asks for it.
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
    pub programs: Programs,
    /// The CLI to run, where it is not the mock beside leakgate.
    pub cli: Option<Cli>,
    /// The only target of the scenarios; both without it.
    pub target: Option<Kind>,
    /// Somebody else's server, instead of scenarios on ours.
    pub external: Option<Arc<Settings>>,
    /// The folder for the profiles of what leaks in the heap; without it none is made.
    pub profiles: Option<PathBuf>,
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
    /// A control cannot be laid out.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// Everything that a request expands to: controls and targets, in order.
#[derive(Debug)]
pub struct RunPlan {
    controls: Vec<(Control, Job)>,
    targets: Vec<Job>,
    versions: BTreeSet<String>,
    seed: u64,
    planted: Option<String>,
    profiles: Option<PathBuf>,
}

/// One target to be measured.
#[derive(Debug)]
struct Job {
    assignment: Box<dyn Assignment>,
    /// Our own server, whose heap can be profiled.
    own: Option<OwnAssignment>,
}

impl From<OwnAssignment> for Job {
    fn from(assignment: OwnAssignment) -> Self {
        Self { own: Some(assignment.clone()), assignment: Box::new(assignment) }
    }
}

impl From<ExternalAssignment> for Job {
    fn from(assignment: ExternalAssignment) -> Self {
        Self { own: None, assignment: Box::new(assignment) }
    }
}

impl Job {
    /// Drives it, and where the result is saturating a longer one, as often as it is worth it. The shorter runs go to
    /// `shorter`; the last run is returned, with what it was asked.
    async fn drive_until_it_decides(self, shorter: &mut Vec<TargetRun>, listener: &dyn Listener) -> (Self, TargetRun) {
        let mut job = self;
        let mut run = job.assignment.drive(listener).await;
        while job.assignment.can_repeat()
            && run.plan.doubled < MAX_DOUBLINGS
            && target::judge_target(&run).0.verdict == Finding::Saturating
        {
            job.assignment = job.assignment.with_doubled_restarts();
            listener.event(Event::Doubled { subject: job.assignment.subject() });
            shorter.push(replace(&mut run, job.assignment.drive(listener).await));
        }
        (job, run)
    }
}

impl Request {
    /// Reads the recordings and lays out the run, every scenario with the run's seed.
    pub fn plan(&self) -> Result<RunPlan, RunError> {
        let all: Vec<_> = self.scenarios.iter().map(|scenario| (scenario.clone(), None)).collect();
        self.plan_units(&all)
    }

    /// The same with these scenarios and, where there are several, with a seed for each.
    pub fn plan_units(&self, units: &[(Scenario, Option<u64>)]) -> Result<RunPlan, RunError> {
        let mut program = RunPlan {
            controls: Vec::new(),
            targets: Vec::new(),
            versions: BTreeSet::new(),
            seed: self.seed,
            planted: self.planted_name(),
            profiles: self.profiles.clone(),
        };
        for control in Control::all().into_iter().filter(|_| self.controls) {
            let job = if self.external.is_none() {
                let kind = if control.profiled { Kind::SutHeap } else { Kind::Sut };
                self.own_assignment(control.scenario(), kind, true, &mut program.versions)?.into()
            } else if control.is_visible_externally() {
                let settings = Arc::new(self.external_control_settings(&control)?);
                self.external_assignment(&settings, Some(control.name), &mut program.versions)?.into()
            } else {
                continue;
            };
            program.controls.push((control, job));
        }
        if let Some(settings) = &self.external {
            program.targets.push(self.external_assignment(settings, None, &mut program.versions)?.into());
            return Ok(program);
        }
        for (scenario, own) in units {
            let unit = Self { seed: own.unwrap_or(self.seed), ..self.clone() };
            let scenario = match &self.plant {
                Some(planted) => planted.change.apply_to(scenario.clone()),
                None => scenario.clone(),
            };
            for kind in
                [Kind::Sut, Kind::SutHeap].into_iter().filter(|kind| self.target.is_none_or(|only| only == *kind))
            {
                let assignment = unit.own_assignment(scenario.clone(), kind, false, &mut program.versions)?;
                program.targets.push(OwnAssignment { own_seed: *own, ..assignment }.into());
            }
        }
        Ok(program)
    }

    /// The leak that is planted in the scenarios, by name.
    fn planted_name(&self) -> Option<String> {
        self.plant.as_ref().map(|plant| plant.change.plant.clone().unwrap_or_else(|| plant.name.to_owned()))
    }

    fn external_assignment(
        &self,
        settings: &Arc<Settings>,
        control: Option<&'static str>,
        versions: &mut BTreeSet<String>,
    ) -> Result<ExternalAssignment, RunError> {
        let session = recording::load(DEFAULT_RECORDING)?;
        if external::assignment::is_mocked(settings) {
            versions.insert(session.header.cli.clone());
        }
        Ok(ExternalAssignment {
            settings: Arc::clone(settings),
            script: Arc::new(Script::from_session(&session)?),
            mock: self.programs.mock.clone(),
            seed: self.seed,
            doubled: 0,
            name: settings.name(),
            control,
        })
    }

    /// Our own server with this leak planted, as any server: nothing but signals and requests.
    fn external_control_settings(&self, control: &Control) -> Result<Settings, RunError> {
        let mut command = vec![self.programs.sut.display().to_string(), "serve".to_owned(), "--no-channel".to_owned()];
        let turns = EXTERNAL_CONTROL_TURNS;
        command.extend(["--listen=127.0.0.1:{port}", "--cli={mock}", "--cli-arg=--mock-echo-mark"].map(str::to_owned));
        command.push(format!("--max-turns={turns}"));
        command.extend(control.change.plant.iter().map(|plant| format!("--plant={plant}")));
        command.extend(control.change.server_flags.iter().cloned());
        command.extend(control.change.cli_flags.iter().map(|flag| format!("--cli-arg={flag}")));
        Ok(Settings::control(command, turns, &self.programs.mock)?)
    }

    fn own_assignment(
        &self,
        scenario: Scenario,
        kind: Kind,
        control: bool,
        versions: &mut BTreeSet<String>,
    ) -> Result<OwnAssignment, RunError> {
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
            Kind::Sut => (SUT, &self.programs.sut),
            Kind::SutHeap => (SUT_HEAP, &self.programs.sut_heap),
        };
        Ok(OwnAssignment {
            target,
            launch: Launch {
                program: program.clone(),
                args: self.server_args(&scenario, real.map(|(path, _)| path)),
                env: Vec::new(),
            },
            cli: real.map_or_else(|| self.mock_cli(), |(path, _)| path).clone(),
            api: real.map(|_| Tape::from_session(&session).replies()),
            script: Arc::new(Script::from_session(&session)?),
            seed: self.seed,
            own_seed: None,
            doubled: 0,
            control,
            scenario,
        })
    }

    fn mock_cli(&self) -> &PathBuf {
        match &self.cli {
            Some(Cli::Mock(path)) => path,
            _ => &self.programs.mock,
        }
    }

    fn server_args(&self, scenario: &Scenario, real: Option<&PathBuf>) -> Vec<OsString> {
        let mut args: Vec<OsString> = ["serve", "--listen=127.0.0.1:0"].map(OsString::from).to_vec();
        args.push("--cli".into());
        args.push(real.unwrap_or_else(|| self.mock_cli()).into());
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

impl RunPlan {
    /// Measures everything. The result holds whatever could be measured; judging it is not done here, except to know
    /// whether a leak has to be shown a second time.
    pub async fn run(self, listener: Arc<dyn Listener>) -> Run {
        let environment = environment::describe(self.versions, self.seed);
        let all = self.controls.iter().map(|(_, job)| job).chain(&self.targets).map(|job| job.assignment.subject());
        listener.event(Event::Planned { restarts: all.map(|subject| subject.goal).sum() });
        let mut targets = Vec::new();
        // A server that cannot be measured is told before the controls have taken their time.
        for job in self.targets.iter().filter(|_| !self.controls.is_empty()) {
            if job.assignment.is_external() {
                targets.extend(job.assignment.check_start(&*listener).await);
            }
        }
        if !targets.is_empty() {
            return Run { format: FORMAT, seed: self.seed, environment, controls: Vec::new(), targets, suite: None };
        }
        let controls = run_controls(self.controls, &listener).await;
        let profiles =
            profile::LeakProfiler { folder: self.profiles, planted: self.planted, environment: &environment };
        for job in self.targets {
            let (job, mut run) = job.drive_until_it_decides(&mut targets, &*listener).await;
            let (verdict, rows) = target::judge_target(&run);
            // One that ran before leakgate came has no fresh process.
            let repeats = job.assignment.can_repeat() && verdict.verdict == Finding::Leak && profiles.planted.is_none();
            let mut again = None;
            if repeats {
                listener.event(Event::Repeated { subject: job.assignment.subject() });
                again = Some(job.assignment.drive(&*listener).await);
            }
            profiles.profile_leak(&job, &mut run, &rows, &*listener).await;
            targets.push(run);
            targets.extend(again);
        }
        Run { format: FORMAT, seed: self.seed, environment, controls, targets, suite: None }
    }
}

/// Runs the controls, some at a time, and gives their results in the order in which they were listed. One that a
/// defect of leakgate ends is a control that failed, not one that is missing.
async fn run_controls(controls: Vec<(Control, Job)>, listener: &Arc<dyn Listener>) -> Vec<sample::Control> {
    let external = controls.iter().any(|(_, job)| job.assignment.is_external());
    let at_once = if external { MAX_EXTERNAL_CONTROLS_AT_ONCE } else { MAX_CONTROLS_AT_ONCE };
    let mut waiting = controls.into_iter().enumerate();
    let mut running = JoinSet::new();
    let mut pending = BTreeMap::new();
    let mut done = Vec::new();
    loop {
        while running.len() < at_once {
            let Some((at, (control, job))) = waiting.next() else { break };
            let empty = job.assignment.empty_run();
            let listener = Arc::clone(listener);
            let task = running.spawn(async move { job.assignment.drive(&*listener).await });
            pending.insert(task.id(), (at, control, empty));
        }
        let (id, result) = match running.join_next_with_id().await {
            Some(Ok((id, run))) => (id, Ok(run)),
            Some(Err(error)) => (error.id(), Err(error)),
            None => break,
        };
        if let Some((at, control, empty)) = pending.remove(&id) {
            let failed = |error| TargetRun { outcome: Outcome::Failed { what: format!("leakgate: {error}") }, ..empty };
            done.push((at, control_record(control, result.unwrap_or_else(failed))));
        }
    }
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, control)| control).collect()
}

fn control_record(control: Control, run: TargetRun) -> sample::Control {
    sample::Control { name: control.name.to_owned(), planted: control.planted, run, shard: None }
}
